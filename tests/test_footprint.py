"""What a plain run costs before it serves anybody: modules that it imports, its memory and the work of its start."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import urllib.request
from collections import defaultdict
from pathlib import Path

import psutil
import pytest

from tests import serving

PLAIN = """
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'plain']
"""

# prefork-wsgi as it is when it is installed, without what a virtual environment and pytest add to a process.
START = """
import sys
sys.path[:0] = {path!r}
{first}
from prefork.cli import main
sys.exit(main())
"""

# Every import of a module that isn't there yet asks all finders, in their order.
NOTE_IMPORTS = """
import os


class Notes:
    @staticmethod
    def find_spec(name, path=None, target=None):
        os.write(descriptor, f'{{os.getpid()}} {{name}}\\n'.encode())


descriptor = os.open({file!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
sys.meta_path.insert(0, Notes)
"""


class Plain:
    """A folder with an application, and its server: a master, a mold and two workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / 'plain.py').write_text(PLAIN)

    def serve(
        self, first: str = '', workers: int = 2, app: str = 'plain:app'
    ) -> contextlib.AbstractContextManager[serving.Server]:
        path = [str(self.folder), str(serving.ROOT)]
        interpreter = (sys.executable, '-I', '-S', '-X', f'pycache_prefix={self.folder / "bytecode"}')
        return serving.serve(
            *(app, '--bind', '127.0.0.1:0', '--workers', str(workers), '--access-log', 'off'),
            command=(*interpreter, '-c', START.format(path=path, first=first)),
        )

    def imports(self) -> dict[str, set[str]]:
        """What each process has imported by itself, until it has answered."""
        notes = self.folder / 'imports'
        with self.serve(NOTE_IMPORTS.format(file=str(notes))) as server:
            get(server)
            names = dict(zip(pids(server), ('master', 'mold', 'worker', 'worker'), strict=True))
        found = defaultdict(set)
        for line in notes.read_text().splitlines():
            pid, module = line.split()
            found[names.get(int(pid), 'between')].add(module)  # a mold forks twice for each worker
        return found


@pytest.fixture(scope='module')
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    plain = Plain(tmp_path_factory.mktemp('plain'))
    with plain.serve():  # compiles what the next ones import
        pass
    return plain


@pytest.fixture(scope='module')
def imports(plain: Plain) -> dict[str, set[str]]:
    return plain.imports()


def get(server: serving.Server) -> None:
    assert ask(server) == b'plain'


def ask(server: serving.Server) -> bytes:
    with urllib.request.urlopen(server.url, timeout=10) as response:
        answer: bytes = response.read()
    return answer


def pids(server: serving.Server) -> list[int]:
    """Master, mold and workers, in the order in which they were forked."""
    children = psutil.Process(server.pid).children()
    return [server.pid, *(child.pid for child in sorted(children, key=lambda child: (child.create_time(), child.pid)))]


# --- modules ----------------------------------------------------------------------------------------------------

# Packages too, with all that is in them.
WITHOUT = {
    'an ini file': ('prefork.deploy', 'configparser', 'urllib', 'importlib.metadata', 'pkgutil'),
    'TLS': ('ssl', 'prefork.net.tls', 'prefork.net.ssl_environ', 'prefork.net.groups'),
    'proxies': ('ipaddress', 'prefork.net.proxy', 'prefork.net.preface'),
    '--help': ('argparse', 'gettext', 'locale', 'shutil'),
    'names that are not ASCII': ('encodings.idna', 'stringprep', 'unicodedata'),
    'mistakes': ('difflib',),
    'a service manager': ('prefork.master.systemd', 'prefork.master.activation'),
    'the options of a service': ('prefork.master.daemon', 'prefork.master.pidfile', 'prefork.master.privileges'),
    'an upgrade': ('prefork.master.upgrade',),
    'ready_url': ('prefork.worker.probe',),
    'max_rss': ('psutil', 'prefork.worker.memory'),
    'the toolkit': ('prefork.toolkit', 'prefork.demo', 'webob', 'routes'),
    'the embeddable server': ('prefork.server',),
    'what is heavy': ('asyncio', 'dataclasses', 'datetime', 'inspect', 'random', 'subprocess', 'tempfile', 'typing'),
}


@pytest.mark.parametrize('without', WITHOUT)
def test_a_run_imports_nothing_for_what_it_does_without(without: str, imports: dict[str, set[str]]) -> None:
    everywhere = set().union(*imports.values())
    assert 'prefork.cli' in everywhere
    unwanted = WITHOUT[without]
    assert [name for name in sorted(everywhere) if name.startswith(unwanted) and within(name, unwanted)] == []


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(f'{name}.'.startswith(f'{package}.') for package in packages)


# Whatever is imported after a fork isn't shared.
BY_ITSELF = {
    'mold': {'plain', 'importlib', 'warnings'},
    'between': set(),
    'worker': set(),
}


@pytest.mark.parametrize('process', BY_ITSELF)
def test_what_is_imported_is_shared(process: str, imports: dict[str, set[str]]) -> None:
    assert 'plain' in imports['mold']
    assert imports.get(process, set()) <= BY_ITSELF[process]


# --- memory -----------------------------------------------------------------------------------------------------

MEMORY = 18 << 10
"""KiB of PSS of the four processes without the pages of files: those are Python's and the C library's, 6 MiB of them,
shared with whoever runs them besides.  15.5 to 16.5 MiB were measured when this was written, with Python 3.11 to 3.13.
"""


def own_memory(pid: int) -> int:
    """KiB of a process's proportional share of what isn't a file's (proc(5), smaps_rollup)."""
    fields = dict(line.split(':') for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()[1:])
    if 'Pss_Anon' not in fields:
        pytest.skip('the kernel is older than Linux 5.4')
    if not fields['AnonHugePages'].strip().startswith('0 '):
        pytest.skip('pages are of 2 MiB here, of which nobody knows how much is used')
    return int(fields['Pss_Anon'].split()[0])


measured = pytest.mark.skipif(
    not Path('/proc/self/smaps_rollup').exists() or sys.maxsize < 2**32 or bool(sys.abiflags),
    reason='/proc has no smaps_rollup, or this is no 64-bit release build, of which the figures are',
)


@measured
def test_memory(plain: Plain) -> None:
    with plain.serve() as server:
        for _ in range(20):
            get(server)
        found = {pid: own_memory(pid) for pid in pids(server)}
    assert len(found) == 4
    assert sum(found.values()) <= MEMORY, found


IDLE = 900
PER_CONNECTION = 2.5
"""KiB of an idle connection that has had an answer; 2.3 were measured when this was written, and 1.7 with 10,000."""


@measured
def test_memory_of_idle_connections(plain: Plain) -> None:
    with plain.serve(workers=1) as server, contextlib.ExitStack() as stack:
        *_, worker = pids(server)
        for _ in range(20):
            get(server)
        before = own_memory(worker)
        for number in range(IDLE):
            client = stack.enter_context(server.connect())
            client.sendall(b'GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n' % number)
            assert client.recv(4096).endswith(b'plain')
        assert (own_memory(worker) - before) / IDLE <= PER_CONNECTION


# A full collection of its own is due after some 93,000 objects, and a quarter of what is loaded is 150,000.
LOADED = """
import gc

gc.set_threshold(700, 10, 10)  # what it is without, too, before Python 3.13
loaded = [[] for _ in range(600_000)]


def app(environ, start_response):
    before = gc.get_stats()[-1]['collections']
    made = [[] for _ in range(120_000)]
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'%d' % (gc.get_stats()[-1]['collections'] - before)]
"""


def test_garbage_does_not_wait_for_a_quarter_of_what_is_loaded(plain: Plain) -> None:
    (plain.folder / 'loaded.py').write_text(LOADED)
    with plain.serve(workers=1, app='loaded:app') as server:
        assert ask(server) == b'1'


# Builds what it needs at its first request, and says where that was.
LAZY = """
import os

built = []


def application(environ, start_response):
    if environ['PATH_INFO'] == '/admin/login/':
        raise LookupError('no such page')
    if not built:
        built.append(b'%d %b' % (os.getpid(), environ['HTTP_HOST'].encode()))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return list(built)
"""


def test_what_first_requests_build_is_shared_as_the_manual_has_it(plain: Plain) -> None:
    """Its module, word for word; that one of its requests fails is logged and no more."""
    page = (serving.ROOT / 'man' / 'prefork-wsgi.ini.5').read_text()
    (example,) = (text for text in re.findall(r'\.Bd .*\n((?s:.*?))\.Ed\n', page) if 'SimpleHandler' in text)
    (plain.folder / 'mysite').mkdir()
    (plain.folder / 'mysite' / 'wsgi.py').write_text(LAZY)
    (plain.folder / 'mysite' / 'warm.py').write_text(example)
    with plain.serve(app='mysite.warm:application') as server:
        _, mold, *_ = pids(server)
        assert ask(server) == b'%d www.example.org' % mold
        assert 'LookupError: no such page' in server.stderr.text


# --- the start --------------------------------------------------------------------------------------------------

START_WORK = 11.0
"""Work of all processes until they serve, in starts of a bare interpreter; 8.5 to 9.4 were measured when this was
written, of 7 ms each, with Python 3.11 to 3.13."""

BARE = 'import sys; print(flush=True); sys.stdin.read()'
ROUNDS = 7


def work(pid: int) -> int:
    """Nanoseconds that a process has had a processor for; time says nothing on a machine that others use, too."""
    return int(Path(f'/proc/{pid}/schedstat').read_text().split()[0])


def bare_work() -> int:
    with subprocess.Popen(
        [sys.executable, '-I', '-S', '-c', BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b'\n'
        return work(process.pid)


@pytest.mark.skipif(not Path('/proc/self/schedstat').exists(), reason='/proc has no schedstat')
def test_the_work_of_a_start(plain: Plain) -> None:
    bare, started = [], []
    for _ in range(ROUNDS):
        bare.append(bare_work())
        with plain.serve() as server:
            started.append(sum(map(work, pids(server))))
    assert min(started) / min(bare) <= START_WORK
