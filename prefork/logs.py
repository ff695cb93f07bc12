"""The error log, through :mod:`logging` under the name ``prefork``, and the access log, a line a request.

Both end in a descriptor that this module opened or was given.  Reopening a log is therefore one ``dup2`` over the
old number, which can't fail half way.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from prefork.settings import Settings

logger = logging.getLogger('prefork')

STDOUT, STDERR = 1, 2
_MODE = 0o640


def claim_standard_descriptors() -> None:
    """Fill what is closed of descriptors 0 to 2 with /dev/null, before a socket gets their number and log lines.

    Some inits start services with all three closed.  Python's own streams are None then: those for output are made.
    """
    for descriptor in range(STDERR + 1):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which is the lowest number that is free
            os.set_inheritable(descriptor, True)  # as standard descriptors are: programs that are run expect them
    if sys.stdout is None:
        sys.stdout = open(STDOUT, 'w', errors='backslashreplace', closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(STDERR, 'w', errors='backslashreplace', closefd=False)  # noqa: SIM115


def open_file(path: str) -> int | None:
    """The descriptor to log to: ``-`` is standard output, ``off`` is None, all else a file that is appended to."""
    if path == 'off':
        return None
    if path == '-':
        return STDOUT
    # Not blocking: a FIFO that nobody reads would keep the master from its signals; so it is refused (ENXIO, open(2)).
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    descriptor = os.open(path, flags, _MODE)
    os.set_blocking(descriptor, True)
    return descriptor


def replace(descriptor: int, new: int) -> None:
    """Write what goes to ``descriptor`` to the file ``new`` from now on, in this process."""
    os.dup2(new, descriptor, os.get_inheritable(descriptor))


class DescriptorHandler(logging.Handler):
    """Writes each record with one write(2), so that the lines of several processes never mix."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        try:
            write_whole(self.descriptor, (self.format(record) + '\n').encode('utf-8', 'backslashreplace'))
        except OSError:
            pass  # the reader of the log is gone; nobody is left to be told


def setup(settings: Settings, descriptor: int) -> None:
    """Send the ``prefork`` logger to ``descriptor``, each line with time and process; what was there before goes."""
    handler = DescriptorHandler(descriptor)
    handler.setFormatter(logging.Formatter('%(asctime)s [%(process)d] %(levelname)s %(message)s'))
    logger.handlers[:] = [handler]
    logger.setLevel(settings.log_level.upper() if settings.error_log != 'off' else logging.CRITICAL + 1)
    logger.propagate = False


class Sparingly:
    """Warnings of what anybody on the network can cause, as often as they like: one is logged, the next are counted."""

    INTERVAL = 60.0
    """Seconds from one that is logged to the next."""

    __slots__ = ('_count', '_next')

    def __init__(self) -> None:
        self._next = float('-inf')
        self._count = 0

    def warn(self, now: float, message: str) -> None:
        """Log ``message``, with how many there were since the last one, or only count it."""
        if now < self._next:
            self._count += 1
            return
        others = f', and {self._count} more since the last such line' if self._count else ''
        logger.warning('%s%s', message, others)
        self._next = now + self.INTERVAL
        self._count = 0


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of ``data``, or raise OSError."""
    while data:
        data = data[os.write(descriptor, data) :]


# --- access log ---------------------------------------------------------------------------------------------------

COMMON = '%(client_ip)s - %(remote_user)s [%(date_time)s] "%(request_line)s" %(status_code)s %(body_length)s'
COMBINED = COMMON + ' "%(referer)s" "%(user_agent)s"'
_TEMPLATES = {'common': COMMON, 'combined': COMBINED}

# What may stand in a log line as it came.  Quotes and backslashes are the log's own syntax; the rest could move the
# cursor of whoever reads the log in a terminal, or forge a line.
_UNSAFE = re.compile(r'[^ !#-\[\]-~]')


def _escape(text: object) -> str:
    """``text`` from a client (code points below 256), with what isn't safe in a log written as \\xHH."""
    return _UNSAFE.sub(lambda match: f'\\x{ord(match[0]) & 0xFF:02x}', str(text))


class AccessLog:
    """Lines for a descriptor, kept in memory until :meth:`flush`, which the loop calls before it waits.

    Any thread may call :meth:`add`; one at a time may flush.
    """

    __slots__ = ('_clock', '_combined', '_lines', '_second', '_template', 'descriptor')

    def __init__(self, descriptor: int, format: str) -> None:
        self.descriptor = descriptor
        self._combined = format == 'combined'
        self._template = _TEMPLATES.get(format, format)
        self._lines: deque[str] = deque()
        self._second = 0
        self._clock = ''

    def add(
        self, client: tuple[str, int], environ: Mapping[str, Any], line: str, status: int, length: int, seconds: float
    ) -> None:
        """Note one answered request: ``line`` is its request line, ``length`` the bytes of the body that was sent,
        ``seconds`` the time from the whole request to the end of its response."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._clock = time.strftime('%d/%b/%Y:%H:%M:%S %z', time.localtime(now))
        referer = environ.get('HTTP_REFERER', '-')
        agent = environ.get('HTTP_USER_AGENT', '-')
        try:
            safe = not (_UNSAFE.search(line) or _UNSAFE.search(referer) or _UNSAFE.search(agent))
        except TypeError:
            safe = False  # the environ is the application's: anything can be there by now
        if not safe:
            line, referer, agent = _escape(line), _escape(referer), _escape(agent)
        user = environ.get('REMOTE_USER') or '-'
        if self._combined:
            user = _escape(user) if user != '-' else user
            text = f'{client[0] or "-"} - {user} [{self._clock}] "{line}" {status} {length} "{referer}" "{agent}"\n'
        else:
            fields = {
                'client_ip': client[0] or '-',
                'client_port': client[1],
                'date_time': self._clock,
                'request_line': line,
                'status_code': status,
                'body_length': length,
                'wall_seconds': seconds,
                'referer': referer,
                'user_agent': agent,
                'remote_user': _escape(user),
                'host': _escape(environ.get('HTTP_HOST', '-')),
            }
            text = self._template % fields + '\n'
        self._lines.append(text)

    def flush(self) -> None:
        """Write what was added, whole lines at a time."""
        lines = self._lines
        if not lines:
            return
        # A thread may append meanwhile: take what is there, one by one, and leave the rest for the next time.
        batch = ''.join([lines.popleft() for _ in range(len(lines))])
        try:
            write_whole(self.descriptor, batch.encode('latin-1', 'backslashreplace'))
        except OSError as error:
            logger.error('cannot write the access log: %s', error)
