"""The pidfile: which process is the master, for scripts that send it signals.

A master locks its file for as long as it lives.  So what another one uses is told from what a dead one has left, even
where its number is that of some other process by now, or of this one, as in a container that was started again.
"""

from __future__ import annotations

import fcntl
import os
import stat

from prefork.errors import EX_NOPERM, ConfigError
from prefork.logs import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LONGEST = 32
_TO_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # whatever is there by now, it keeps nobody waiting


class Pidfile:
    """The file at ``path``, written when this is made.

    Raises ConfigError where another master has it, where there is a file of another kind, or where it can't be written.
    """

    __slots__ = ('_descriptor', 'path')

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            previous = _take_over(path)
            try:
                self._descriptor = _write(path)
            finally:
                if previous is not None:
                    os.close(previous)  # only now, lest two masters take over from the same one
        except OSError as error:
            failure = ConfigError(f'pidfile: {path}: {error.strerror or error}')
            if isinstance(error, PermissionError):
                failure.exit_status = EX_NOPERM
            raise failure from error

    @classmethod
    def inherit(cls, legacy: list[Any]) -> Pidfile:
        """The file that :meth:`bequeath` told of: its lock has outlived the exec."""
        pidfile = object.__new__(cls)
        pidfile.path, pidfile._descriptor = legacy
        return pidfile

    def bequeath(self) -> list[Any]:
        """For this process after an exec, in the terms of JSON."""
        return [self.path, self._descriptor]

    def remove(self) -> None:
        """Remove the file, if it still says this process."""
        try:
            if _read(self.path) == b'%d\n' % os.getpid():
                os.unlink(self.path)
        except OSError:
            pass  # it is gone already, or its folder can't be written to any more: the next master finds it stale
        self.close()

    def close(self) -> None:
        """In a fork of the master, too: the lock is held by whoever has the descriptor."""
        os.close(self._descriptor)


def _take_over(path: str) -> int | None:
    """Lock what is there and may be replaced; its descriptor, or None.  Raises ConfigError where it may not be."""
    try:
        descriptor = os.open(path, _TO_READ)
    except FileNotFoundError:
        return None
    try:
        text = os.read(descriptor, _LONGEST).strip()
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not (text.isdigit() or not text):
            raise ConfigError(f'pidfile: {path}: there is a file of that name that is no pidfile')
        pid = int(text or b'0')
        if not _lock(descriptor) and _exists(pid):
            raise ConfigError(f'pidfile: {path}: process {pid} has it, and runs')
        if pid != os.getpid():
            logger.warning('pidfile: %s is replaced: process %d, which it says, is gone or none of ours', path, pid)
        return descriptor
    except BaseException:
        os.close(descriptor)
        raise


def _write(path: str) -> int:
    """Put a new file in its place, locked; its descriptor."""
    new = f'{path}.{os.getpid()}'
    try:
        os.unlink(new)
    except FileNotFoundError:
        pass  # as it should be: it would be of a master that was killed while it wrote it
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.fchmod(descriptor, 0o644)
        os.write(descriptor, b'%d\n' % os.getpid())
        _lock(descriptor)
        os.rename(new, path)
    except BaseException:
        os.close(descriptor)
        os.unlink(new)
        raise
    return descriptor


def _read(path: str) -> bytes:
    descriptor = os.open(path, _TO_READ)
    try:
        return os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock the file if nobody else has; whether nobody has.  Some file systems have no locks, and nobody has one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _exists(pid: int) -> bool:
    """Whether there is such a process: whoever can read the file can lock it."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's
    return pid > 0
