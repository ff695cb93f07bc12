"""The service manager is told how the service is: sd_notify(3), as systemd and others understand it.

What is told follows from one :class:`~prefork.master.report.Report` after the other: what the manager hasn't heard of
yet, or couldn't take at the time, is told with the next.  Nothing here blocks, and nothing raises.
"""

from __future__ import annotations

import errno
import socket

from prefork.logs import logger
from prefork.master.report import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefork.master.report import Report

PATIENCE = 90.0
"""Seconds that a manager gives a start, a reload or a stop where nobody configures it (systemd-system.conf(5))."""

_MARGIN = 5.0  # from our own deadline to the one that the manager is asked for
_RETRY = 0.2  # seconds until a manager that had no room for a message is tried again
_LONGEST = 700  # characters of a line: systemd ignores messages of more than 4096 bytes
_NO_ROOM = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_MICROSECONDS = 1_000_000


class Manager:
    """Who is told, at the NOTIFY_SOCKET of ``environ``; ``pid`` is this process's.

    ``watchdog`` is the seconds after which the manager ends a service that it hasn't heard of, None for never.
    """

    __slots__ = (
        '_address',
        '_extended',
        '_feed_at',
        '_pid',
        '_ready',
        '_reload_began',
        '_retry_at',
        '_silent',
        '_since',
        '_started',
        '_starved',
        '_state',
        '_stopping',
        '_text',
        'watchdog',
    )

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        path = environ['NOTIFY_SOCKET']
        # unix(7): an abstract name begins with a NUL, which no variable can hold.
        self._address = '\0' + path[1:] if path.startswith('@') else path
        self._pid = pid
        self.watchdog = _watchdog(environ, pid)
        self._feed_at = 0.0
        self._starved = False
        """Whether it is time to feed the watchdog, and there is no reason to."""
        self._state: State | None = None
        self._since = 0.0
        self._extended = 0.0
        """Until when the manager has been asked to wait for the end of the state."""
        self._ready = False
        """Whether it has been told of readiness since the start, or the last reload, began."""
        self._started = False
        """Whether it has ever been told of it."""
        self._reload_began: float | None = None
        """When a reload began that it has still to be told of."""
        self._stopping = False
        self._text = ''
        self._retry_at: float | None = None
        self._silent = False
        """Whether a message couldn't be sent at all, which is logged once."""

    def reloading(self, now: float) -> None:
        """A reload begins, ``now`` by CLOCK_MONOTONIC, and ends with the first report that says that all is ready."""
        if self._started:  # else to the manager it is still the start
            self._ready = False
            self._reload_began = now
            self._tell_of_reload()

    def tell(self, now: float, report: Report) -> None:
        """Tell what is new."""
        if report.state is not self._state:
            self._state, self._since, self._extended = report.state, now, 0.0
        lines = []
        if report.state is State.STOPPING and not self._stopping:
            lines.append('STOPPING=1')
        if report.state is State.READY and not self._ready:
            lines += ['READY=1', f'MAINPID={self._pid}']
        if report.text != self._text:
            lines.append(f'STATUS={report.text[:_LONGEST]}')
        overtime = self._overtime(report.until)
        if overtime:
            lines.append(f'EXTEND_TIMEOUT_USEC={int((overtime - now) * _MICROSECONDS)}')
        feeds = self._feeds(now, report)
        if feeds:
            lines.append('WATCHDOG=1')
        self._retry_at = None
        if not self._tell_of_reload() or (lines and not self._send(lines)):
            self._retry_at = now + _RETRY
            return
        self._ready = self._ready or report.state is State.READY
        self._started = self._started or self._ready
        self._stopping = report.state is State.STOPPING
        self._text = report.text
        self._extended = overtime or self._extended
        if feeds and self.watchdog:
            self._feed_at = now + self.watchdog / 2

    def next_deadline(self) -> float | None:
        """When ``tell`` has something to say although nothing has happened."""
        if self._retry_at is not None:
            return self._retry_at
        return self._feed_at if self.watchdog and not self._starved else None

    def _overtime(self, until: float | None) -> float | None:
        """Until when the manager has to be asked to wait: where we give the state more time than it might."""
        if until is None or until + _MARGIN <= max(self._since + PATIENCE, self._extended):
            return None
        return until + _MARGIN

    def _feeds(self, now: float, report: Report) -> bool:
        """Whether the watchdog gets its sign of life now."""
        if not self.watchdog or now < self._feed_at:
            return False
        if not report.healthy and not self._starved and self._started:
            logger.error('no worker answers: the watchdog of the service manager is not fed')
        self._starved = not report.healthy
        return report.healthy

    def _tell_of_reload(self) -> bool:
        """Whether the manager knows of the last reload."""
        if self._reload_began is None:
            return True
        if not self._send(['RELOADING=1', f'MONOTONIC_USEC={int(self._reload_began * _MICROSECONDS)}']):
            return False
        self._reload_began = None
        return True

    def _send(self, lines: list[str]) -> bool:
        """Whether that is done with: False where the manager, or this process, has no room for it at the moment.

        The socket is made for each message, so that there is nothing for children to inherit.
        """
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto('\n'.join(lines).encode('utf-8', 'replace'), self._address)
        except OSError as error:
            if error.errno in _NO_ROOM:
                return False
            if not self._silent:
                logger.warning('the service manager cannot be told anything: %s', error.strerror or error)
            self._silent = True
        return True


def _watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    """sd_watchdog_enabled(3)."""
    interval, owner = environ.get('WATCHDOG_USEC', ''), environ.get('WATCHDOG_PID', str(pid))
    if not (interval.isascii() and interval.isdigit()) or not int(interval) or owner != str(pid):
        return None
    return int(interval) / _MICROSECONDS
