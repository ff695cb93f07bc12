"""The application that is served, in a folder of its own, and the ways in which its next version can be broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

APP = '''\
"""Version {version}."""

import ctypes
import os
import time

KEPT = []
BLOCK = bytes(65536)


def hang(name):
    with open('hangs/' + name, 'w') as file:
        file.write(str(os.getpid()))
    time.sleep(1000)


def crash(write):
    write(b'%d\\n' % os.getpid())  # at once: what is yielded may wait for the next block, for a few milliseconds
    ctypes.string_at(0)


def application(environ, start_response):
    action, _, text = environ['PATH_INFO'][1:].partition('/')
    body = [text.encode() * 50]
    if action == 'pause':
        time.sleep(0.05)
    elif action == 'echo':
        body = [environ['wsgi.input'].read()]
    elif action == 'stream':
        body = (text.encode() for _ in range(50))
    elif action == 'large':
        body = (BLOCK for _ in range(256))
    elif action == 'hog':
        KEPT.append(b'.' * (120 << 20))
    elif action == 'hang':
        hang(text)
    write = start_response('200 OK', [('Content-Type', 'text/plain'), ('X-Worker', str(os.getpid()))])
    if action == 'crash':
        crash(write)
    return body


def factory(global_conf):
    return application
'''

BROKEN = {
    'reload a syntax error': 'def application(:\n',
    'reload an exception': 'raise RuntimeError("chaos wants it so")\n',
    'reload an exit': 'raise SystemExit(3)\n',
    'reload a sudden exit': 'import os\nos._exit(3)\n',
    'reload an endless import': 'import time\ntime.sleep(1000)\n',
}

REQUEST_TIMEOUT = 4.0
GRACEFUL_TIMEOUT = 6.0

INI = f"""\
[server:main]
use = egg:prefork
workers = {{workers}}
access_log = access.log
log_level = debug
load_timeout = 5
request_timeout = {REQUEST_TIMEOUT:g}
graceful_timeout = {GRACEFUL_TIMEOUT:g}
max_rss = 120M

[app:main]
paste.app_factory = chaosapp:factory
"""


class Site:
    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.ini = folder / 'chaos.ini'
        self._workers = workers
        self._version = 0
        (folder / 'hangs').mkdir()
        self.renew()

    def renew(self) -> None:
        """Write the next version of the application, one that works."""
        self._version += 1
        self._write('chaosapp.py', APP.format(version=self._version))
        self._write(self.ini.name, INI.format(workers=self._workers))

    def break_application(self, text: str) -> None:
        self._write('chaosapp.py', text)

    def break_options(self) -> None:
        self._write(self.ini.name, INI.format(workers='many'))

    def rotate_log(self) -> None:
        log = self.folder / 'access.log'
        if log.exists():
            log.rename(self.folder / 'access.log.1')

    def who_hangs(self, name: str) -> int | None:
        """The worker that ``name`` was given to."""
        try:
            return int((self.folder / 'hangs' / name).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _write(self, name: str, text: str) -> None:
        """Whole, for a mold that may read it at this moment."""
        new = self.folder / 'new'
        new.write_text(text)
        new.rename(self.folder / name)
