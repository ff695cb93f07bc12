"""Going to the background: the master in a session of its own, and the process that was started, which waits for it.

That one's exit status says whether the first generation serves; then whoever started it can rely on the server.
"""

from __future__ import annotations

import logging
import os
import signal

from prefork.errors import EX_SOFTWARE, EX_TEMPFAIL, PreforkError
from prefork.logs import STDERR, DescriptorHandler, logger, write_whole
from prefork.master.signals import fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Launch:
    """In the master: the pipe to the process that waits, until it has been told how the start went.

    What comes through it is text for the operator, then a zero byte and the exit status.
    """

    __slots__ = ('_handler', '_pipe')

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)  # who waits may have been stopped
        self._pipe: int | None = pipe
        self._handler = DescriptorHandler(pipe)
        self._handler.setLevel(logging.WARNING)

    def listen(self) -> None:
        """Have the operator told what is logged as a warning or worse."""
        logger.addHandler(self._handler)

    def tell(self, text: str) -> None:
        if self._pipe is not None:
            try:
                write_whole(self._pipe, text.encode('utf-8', 'backslashreplace'))
            except OSError:
                pass  # nobody waits any more

    def end(self, status: int) -> None:
        """The start has come to its end.  Only the first time counts."""
        self.tell(f'\0{status}')
        self.close()

    def close(self) -> None:
        """In a fork of the master, too."""
        logger.removeHandler(self._handler)
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


def launch(stay: Callable[[Launch], int]) -> int:
    """Run ``stay`` in the background; this process's exit status, which is 0 once ``stay`` has ended its Launch so.

    ``stay`` returns its own exit status, or raises a PreforkError.
    """
    reader, writer = os.pipe()
    between = fork(lambda: _leave(reader, writer, stay))
    os.close(writer)
    try:
        os.waitpid(between, 0)
        return _follow(reader, between)
    finally:
        os.close(reader)


def _leave(reader: int, writer: int, stay: Callable[[Launch], int]) -> int:
    """In the process between: lead a new session, so that its child, who doesn't, never gets a terminal."""
    os.close(reader)
    os.setsid()
    fork(lambda: _stay(writer, stay))
    return 0


def _stay(writer: int, stay: Callable[[Launch], int]) -> int:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in range(STDERR + 1):
        os.dup2(null, descriptor)
    os.close(null)
    launch = Launch(writer)
    try:
        status = stay(launch)
    except PreforkError as error:
        launch.tell(f'{error}\n')
        status = error.exit_status
    launch.end(status or EX_TEMPFAIL)  # where it ends well without having been ready, a signal has ended it
    return status


def _follow(reader: int, group: int) -> int:
    """Show what comes until the pipe is closed; the exit status that came with it."""
    status, ended = b'', False
    while data := _read(reader, group):
        if not ended:
            text, zero, data = data.partition(b'\0')
            write_whole(STDERR, text)
            ended = bool(zero)
        status += data
    return int(status or EX_SOFTWARE)


def _read(reader: int, group: int) -> bytes:
    while True:
        try:
            return os.read(reader, 1 << 16)
        except KeyboardInterrupt:
            os.killpg(group, signal.SIGINT)  # the terminal doesn't reach it any more
