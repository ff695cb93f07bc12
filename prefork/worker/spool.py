"""A body on its way: in memory while it is small, then in a temporary file without a name."""

from __future__ import annotations

import io
import os

from prefork.errors import ProtocolError
from prefork.logs import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

NO_DIRECTORY = 'none'


def open_temporary(directory: str) -> int:
    """A descriptor, readable and writable, of a file that vanishes when it is closed.  Raises OSError."""
    if hasattr(os, 'O_TMPFILE'):
        try:
            return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except IsADirectoryError:
            pass  # what a kernel or file system without O_TMPFILE says
        except OSError as error:
            if error.errno != 95:  # EOPNOTSUPP
                raise
    path = os.path.join(directory, f'prefork-{os.urandom(8).hex()}')
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return descriptor


class Spool:
    """Collects a body of unknown size: ``limit`` bytes in memory, more in a file in ``directory``.

    Where the directory is ``none``, more is refused with 413; where the disk is full, with 507.
    """

    __slots__ = ('_directory', '_file', '_limit', 'size')

    def __init__(self, limit: int, directory: str) -> None:
        self._file: BinaryIO = io.BytesIO()
        self._limit = limit
        self._directory = directory
        self.size = 0

    def write(self, data: bytes) -> None:
        size = self.size + len(data)
        if size > self._limit >= self.size:
            self._overflow()
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failure(error) from error
        self.size = size

    def take(self) -> BinaryIO:
        """The body from its start.  The caller owns the file; the spool must not be used any more."""
        try:
            self._file.seek(0)  # writes what is still buffered
        except OSError as error:
            raise self._failure(error) from error
        return self._file

    def close(self) -> None:
        try:
            self._file.close()
        except OSError:
            pass  # what was buffered can't be written; it isn't wanted any more

    def _overflow(self) -> None:
        if self._directory == NO_DIRECTORY:
            raise ProtocolError('the body is larger than the memory there is for it', 413)
        memory = self._file
        try:
            file = os.fdopen(open_temporary(self._directory), 'w+b')
            self._file = file
            memory.seek(0)
            file.write(memory.read())
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> ProtocolError:
        """What the client is told; the operator is told where."""
        logger.error('spool_dir: %s: the body of a request cannot be kept: %s', self._directory, error.strerror)
        return ProtocolError(f'the body cannot be kept: {error.strerror}', 507)
