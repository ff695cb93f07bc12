"""How large this process is.  Imported only where ``max_rss`` asks, as psutil takes some memory itself."""

from __future__ import annotations

import psutil


class Memory:
    """The resident memory of the process that makes it."""

    __slots__ = ('_process',)

    def __init__(self) -> None:
        self._process = psutil.Process()

    def size(self) -> int:
        """In bytes; pages that are shared with other processes count, too."""
        size: int = self._process.memory_info().rss
        return size
