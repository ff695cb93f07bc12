"""Signals as bytes on a descriptor, and forking without one of them going astray."""

from __future__ import annotations

import os
import signal
import sys

from prefork.errors import EX_SOFTWARE
from prefork.logs import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType
    from typing import Any, Never

MASTER_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGWINCH,
    signal.SIGCHLD,
)

_HELD_WHILE_FORKING = signal.valid_signals() - {signal.SIGABRT}
"""That one is faulthandler's alone, and shows where a fork hangs in a hook of the application."""

_FOR_THE_MASTER_ALONE = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGWINCH,
)
"""What a terminal or a broad kill sends to the whole process group: the master decides what it means."""


def ignore(number: int, frame: FrameType | None) -> None:
    """Python's C handler has written the number to the wake-up descriptor by now; that is all there is to do."""


class Signals:
    """While it is open, the given signals do nothing but to appear in :meth:`read`.  Main thread only."""

    __slots__ = ('_previous', '_previous_wakeup', '_reader', '_writer')

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        # A full pipe holds thousands of signals that nobody has read; more of them would say nothing new.
        self._previous_wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._previous: dict[signal.Signals, Any] = {number: signal.signal(number, ignore) for number in numbers}

    def fileno(self) -> int:
        return self._reader

    def read(self) -> list[int]:
        """The numbers of the signals that have come since the last time, in their order."""
        try:
            return list(os.read(self._reader, 4096))
        except BlockingIOError:
            return []

    def put_back(self, numbers: list[int]) -> None:
        """Have :meth:`read` say these once more: they came too early to be obeyed."""
        os.write(self._writer, bytes(numbers))

    def close(self) -> None:
        """Give the signals back to whoever had them before."""
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._previous_wakeup)
        self.close_descriptors()

    def close_descriptors(self) -> None:
        """In a forked child, where the signals are others' already: close what was inherited."""
        os.close(self._reader)
        os.close(self._writer)


def in_foreground() -> bool:
    """Whether a terminal sends this process its signals: it is in the foreground group of its controlling terminal."""
    try:
        terminal = os.open('/dev/tty', os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # ENXIO: it has none
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def fork(child: Callable[[], int]) -> int:
    """Fork; the pid of a process that runs ``child`` and exits with what it returns, never to come back here.

    The child begins with nobody's signal handlers, and what is sent to it isn't heard by its parent: without the mask
    a signal that comes in between would go through the parent's wake-up descriptor.  Raises OSError.
    """
    flush_streams()  # else both processes would write what is buffered
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_WHILE_FORKING)
    try:
        pid = os.fork()
        if not pid:
            _run_and_exit(child, mask)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _run_and_exit(child: Callable[[], int], mask: Iterable[int]) -> Never:
    status = EX_SOFTWARE
    try:
        reset_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status = child()
    except BaseException:
        logger.exception('a bug of prefork itself')
    finally:
        flush_streams()
        os._exit(status)


def reset_signals() -> None:
    """A child's own start: defaults, but for what only the master answers to.

    Those get a handler rather than SIG_IGN, which programs that the application runs would inherit through exec.
    """
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    for number in _FOR_THE_MASTER_ALONE:
        signal.signal(number, ignore)


def flush_streams() -> None:
    """Write out what Python keeps for standard output and error, if anybody still wants it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass  # the reader is gone, or the application closed it
