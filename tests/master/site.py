"""A small application in a folder of its own, the server that serves it, and clients that count what they lose."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import re
import resource
import select
import signal
import ssl
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.serving import serve, start

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.serving import Server

APP = '''
import os

VERSION = 'one'


def wait():
    """Say through one FIFO that it has come so far, and wait for the other."""
    with open('arrivals', 'w') as arrivals:
        arrivals.write('.')
    with open('gate', 'rb') as gate:
        return gate.read()


def app(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/wait':
        body = wait()
    elif path == '/version':
        body = VERSION.encode()
    else:
        body = b'%d' % os.getpid()
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
'''


class Site:
    """``folder`` holds the application, whose text is the file ``app.py``, and the FIFOs ``arrivals`` and ``gate``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write(APP)
        os.mkfifo(folder / 'arrivals')
        os.mkfifo(folder / 'gate')

    def write(self, text: str) -> None:
        """Replace the application's text, which a mold that is being loaded may read at this moment."""
        new = self.folder / 'new'
        new.write_text(text)
        new.rename(self.folder / 'app.py')

    def change(self, **replacements: str) -> None:
        self.write(APP.replace("'one'", repr(replacements['version'])))

    def wait_for_arrival(self) -> None:
        """Block until a request, or whatever else waits, is in front of the gate."""
        with (self.folder / 'arrivals').open() as arrivals:
            assert arrivals.read() == '.'

    def open_gate(self, text: str) -> None:
        """Let one that waits go on."""
        with (self.folder / 'gate').open('w') as gate:
            gate.write(text)

    def serve(
        self, *flags: str, workers: int = 2, env: Mapping[str, str] | None = None
    ) -> contextlib.AbstractContextManager[Server]:
        return serve(*self.arguments(workers, flags), cwd=self.folder, env=self.environment(env))

    def start(
        self, *flags: str, workers: int = 2, env: Mapping[str, str] | None = None
    ) -> contextlib.AbstractContextManager[Server]:
        return start(*self.arguments(workers, flags), cwd=self.folder, env=self.environment(env))

    @staticmethod
    def arguments(workers: int, flags: tuple[str, ...]) -> list[str]:
        bind = [] if '--bind' in flags else ['--bind', '127.0.0.1:0']
        return ['app:app', *bind, '--workers', str(workers), '--access-log', 'off', '--log-level', 'debug', *flags]

    @staticmethod
    def environment(extra: Mapping[str, str] | None) -> dict[str, str]:
        # A changed source must be read again even within the second that bytecode files are stamped with.
        return {'PYTHONDONTWRITEBYTECODE': '1', **(extra or {})}


@contextlib.contextmanager
def open_site() -> Iterator[Site]:
    """A site that every user can read, unlike pytest's folders, with the folder ``open`` for everybody to write to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / 'open').mkdir()
        (folder / 'open').chmod(0o777)
        yield Site(folder)


# The command line, in a world that differs in one thing.
CHANGED = """
import sys
from prefork.master import child, linux, master
{change}
from prefork.cli import main
sys.exit(main())
"""


def changed(change: str) -> tuple[str, ...]:
    """The command for ``serve`` that makes ``change`` first."""
    return sys.executable, '-c', CHANGED.format(change=change)


# --- clients ----------------------------------------------------------------------------------------------------


def get(server: Server, path: str = '/pid') -> str:
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=20)
    try:
        connection.request('GET', path)
        response = connection.getresponse()
        assert response.status == 200
        return response.read().decode()
    finally:
        connection.close()


class Waiting:
    """A request that stays inside the application until the gate is opened."""

    def __init__(self, server: Server) -> None:
        self.answer = ''
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._ask, args=(server,))
        self._thread.start()

    def _ask(self, server: Server) -> None:
        try:
            self.answer = get(server, '/wait')
        except (OSError, http.client.HTTPException) as error:
            self.error = error

    @property
    def in_progress(self) -> bool:
        return self._thread.is_alive()

    def result(self) -> str:
        """The answer; raises whatever came in its place."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.answer


class Load:
    """Clients that ask without a pause, some on a new connection each time, and count every answer that isn't right.

    Each asks for something else each time: ``asked`` are the paths that were answered.
    """

    def __init__(self, server: Server, context: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._context = context  # where TLS is to be spoken
        self._end = threading.Event()
        self.answers = 0
        self.asked: list[str] = []
        self.failures: list[str] = []
        self._progress = threading.Condition()
        clients = {'a': False, 'b': False, 'c': True, 'd': True}
        self._threads = [threading.Thread(target=self._ask, args=each) for each in clients.items()]

    def _ask(self, name: str, keep: bool) -> None:
        host, port = '127.0.0.1', self._server.port
        connection = (
            http.client.HTTPSConnection(host, port, timeout=20, context=self._context)
            if self._context
            else http.client.HTTPConnection(host, port, timeout=20)
        )
        for number in itertools.count():
            if self._end.is_set():
                break
            path = f'/version?{name}{number}'
            try:
                connection.request('GET', path, headers={} if keep else {'Connection': 'close'})
                response = connection.getresponse()
                body = response.read()
                self.asked.append(path)
                if response.status != 200:
                    self.failures.append(f'{response.status} {body!r}')
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            with self._progress:
                self.answers += 1
                self._progress.notify_all()
        connection.close()

    def wait_for_more(self, count: int) -> None:
        """Block until so many more requests have been answered."""
        with self._progress:
            goal = self.answers + count
            assert self._progress.wait_for(lambda: self.answers >= goal, 20)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.wait_for_more(20)
        return self

    def __exit__(self, *problem: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(20)


# --- processes --------------------------------------------------------------------------------------------------


def children(pid: int) -> set[int]:
    """The children of a process."""
    return set(map(int, Path(f'/proc/{pid}/task/{pid}/children').read_text().split()))


def workers(server: Server) -> list[int]:
    """The pids of the workers there are, in the order in which they became ready."""
    ready = re.findall(r'worker \S+ \(pid (\d+)\) is ready', server.stderr.text)
    return [pid for pid in map(int, ready) if is_alive(pid)]


def molds(server: Server) -> list[int]:
    ready = re.findall(r'the mold of generation \d+ \(pid (\d+)\) is ready', server.stderr.text)
    return [pid for pid in map(int, ready) if is_alive(pid)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):  # before it was opened, or after
        return False


def open_files(pid: int) -> set[str]:
    """What the descriptors of a process lead to, in the form of /proc."""
    found = set()
    for link in Path(f'/proc/{pid}/fd').iterdir():
        with contextlib.suppress(OSError):  # it was closed meanwhile
            found.add(os.readlink(link))
    return found


@contextlib.contextmanager
def without_descriptors(pid: int, but: int = 0) -> Iterator[None]:
    """The process can open no file while the block lasts, ``but`` so many."""
    folder = Path(f'/proc/{pid}/fd')
    listed = list(folder.iterdir())
    taken = {int(link.name) for link in listed if link.is_symlink()}  # not what the list itself was read with
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, ([n for n in range(soft) if n not in taken][but], hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def watched(pid: int) -> Iterator[int]:
    """A descriptor that becomes readable when the process ends."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def until_it_has_ended(pid: int) -> None:
    try:
        with watched(pid) as end:
            assert select.select([end], [], [], 20)[0], f'{pid} goes on'
    except ProcessLookupError:
        pass  # before it could be watched


def hang_up(server: Server) -> None:
    server.send_signal(signal.SIGHUP)


def reload(server: Server) -> None:
    """Reload, and wait until the new generation is complete."""
    hang_up(server)
    server.stderr.wait_for(r'generation \d+: loaded, \d+ workers?')
