"""What a loop waits with: epoll(7), or poll(2) on systems that don't have it, and what is called for whom.

``selectors`` makes a key and a mask of its own of each event, in Python: that took 8 % of the instructions of a short
request.  Here a round's events are what the system returned, and one look-up finds the callback of each.
"""

from __future__ import annotations

import select
from math import ceil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeAlias

    class Descriptor(Protocol):
        def fileno(self) -> int: ...

    Callback: TypeAlias = Callable[[int], None]

READ, WRITE = select.POLLIN, select.POLLOUT  # epoll(7) has the same bits


class Poller:
    """``poll(timeout)`` waits so many seconds (None: for ever) and returns pairs of a descriptor and the bits READ,
    WRITE, or of errors and hang-ups, which nobody has to ask for.  ``callbacks`` has who shall be told of a descriptor.

    A callback that has gone, or has another descriptor, since ``poll`` returned is the caller's to expect: so each is
    looked up just before its call, and takes it lightly when there is nothing to read.
    """

    __slots__ = ('_set', 'callbacks', 'poll')

    def __init__(self) -> None:
        self.callbacks: dict[int, Callback] = {}
        self.poll: Callable[[float | None], list[tuple[int, int]]]
        self._set: Any
        if hasattr(select, 'epoll'):
            self._set = select.epoll()
            self.poll = self._set.poll
        else:
            self._set = select.poll()
            self.poll = self._poll

    def register(self, watched: Descriptor, events: int, callback: Callback) -> None:
        """Watch for ``events`` from now on; the descriptor must not be registered.  Raises OSError."""
        descriptor = watched.fileno()
        self._set.register(descriptor, events)
        self.callbacks[descriptor] = callback

    def modify(self, watched: Descriptor, events: int) -> None:
        """Watch for other events."""
        self._set.modify(watched.fileno(), events)

    def unregister(self, watched: Descriptor) -> None:
        """Watch no more; before the descriptor is closed.  It may not be watched any more."""
        descriptor = watched.fileno()
        self.callbacks.pop(descriptor, None)
        try:
            self._set.unregister(descriptor)
        except (OSError, KeyError):
            pass  # an application has closed it: one that closes all that it finds, or something of its own twice

    def close(self) -> None:
        """Forget all."""
        self.callbacks.clear()
        if self.poll != self._poll:
            self._set.close()

    def _poll(self, timeout: float | None) -> list[tuple[int, int]]:
        events: list[tuple[int, int]] = self._set.poll(None if timeout is None else ceil(timeout * 1000))
        return events
