"""PEP 3333's ``wsgi.file_wrapper``, and whether the kernel can send its file by itself."""

from __future__ import annotations

import io
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_BUFFERED = (io.BufferedReader, io.BufferedRandom)


class FileWrapper:
    """PEP 3333's ``wsgi.file_wrapper``: an iterable over a file that the server may send without reading it."""

    __slots__ = ('_block_size', '_file', 'close')

    def __init__(self, file: BinaryIO, block_size: int = 65536) -> None:
        self._file = file
        self._block_size = block_size
        close = getattr(file, 'close', None)
        if close is not None:
            self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self._file.read(self._block_size), b'')

    def region(self) -> tuple[int, int, int] | None:
        """A descriptor of our own, the offset and the bytes from there to the end; None where it isn't a plain file."""
        file = self._file
        # Others may have the descriptor of a file whose bytes aren't those that they read: gzip.GzipFile, a text file.
        if not isinstance(file.raw if isinstance(file, _BUFFERED) else file, io.FileIO):
            return None
        try:
            descriptor = file.fileno()
            offset = file.tell()
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return None
            return os.dup(descriptor), offset, max(status.st_size - offset, 0)
        except (OSError, ValueError):  # closed, or a pipe, or there is no descriptor left
            return None
