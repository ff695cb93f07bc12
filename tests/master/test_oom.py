"""Who is killed by the kernel, for want of memory, is told apart from who is killed by somebody."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prefork.master import oom
from prefork.master.oom import OomKills, candidates
from tests.master.site import APP, Load, get, workers
from tests.serving import PREFORK, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.master.site import Site

LIMIT = 256 << 20

HUNGRY = (
    APP.replace("if path == '/wait':", "if path == '/eat':\n        body = eat()\n    elif path == '/wait':")
    + """


def eat():
    kept = []
    while True:
        kept.append(b'.' * (8 << 20))
"""
)

# The shell enters the cgroup, and becomes the command.
ENTER = 'echo $$ > "$0"/cgroup.procs && exec "$@"'


@contextlib.contextmanager
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup in ours, or skip where none can be made."""
    texts = (Path('/proc/self', name).read_text() for name in ('cgroup', 'mountinfo'))
    counter = next(filter(Path.exists, map(Path, candidates(*texts))), None)
    if counter is None:
        pytest.skip('there is no memory cgroup')
    folder = counter.parent / f'prefork-test-{os.getpid()}'
    if counter.name == 'memory.events':
        limits = {'memory.max': str(LIMIT), 'memory.swap.max': '0'}
    else:
        limits = {'memory.limit_in_bytes': str(LIMIT), 'memory.swappiness': '0'}
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f'no cgroup can be made here: {error}')
    try:
        for name, limit in limits.items():
            try:
                (folder / name).write_text(limit)
            except OSError as error:
                pytest.skip(f'no memory cgroup can be made here: {name}: {error}')
        yield folder
    finally:
        folder.rmdir()


def test_a_worker_that_the_kernel_kills_for_want_of_memory(site: Site) -> None:
    site.write(HUNGRY)
    with small_cgroup() as cgroup:
        command = ('sh', '-c', ENTER, str(cgroup), *PREFORK)
        with serve(*site.arguments(2, ()), cwd=site.folder, command=command, env=site.environment(None)) as server:
            with Load(server) as load:
                with pytest.raises(ConnectionError):
                    get(server, '/eat')
                killed = server.stderr.wait_for(
                    r'\(pid (\d+)\) was killed by SIGKILL: the kernel was out of memory; replaced'
                )
                server.stderr.wait_for(r'worker main/1/\d \(pid \d+\) is ready')
            assert len(load.failures) <= 2, 'of those who keep their connections'
            # And the next one is killed by us.
            victim, _ = workers(server)
            assert victim != int(killed[1])
            os.kill(victim, signal.SIGKILL)
            server.stderr.wait_for(rf'\(pid {victim}\) was killed by SIGKILL; replaced')


@pytest.mark.parametrize('name', ['memory.events', 'memory.oom_control'])
def test_counting(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / name
    before = {'memory.events': 'low 0\nhigh 0\nmax 7\noom 1\n', 'memory.oom_control': 'under_oom 0\n'}[name]

    def count(kills: int) -> None:
        file.write_text(f'{before}oom_kill {kills}\n')

    count(3)
    monkeypatch.setattr(oom, 'candidates', lambda own, mounts: [str(file)])
    kills = OomKills()
    assert kills.any_new() is False
    count(5)
    assert kills.any_new() is True
    assert kills.any_new() is False
    file.unlink()
    assert kills.any_new() is None


@pytest.mark.parametrize('path', ['_OWN', '_MOUNTS'])
def test_another_kernel(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / 'nonsense'
    file.write_text('nothing that we know\n')
    monkeypatch.setattr(oom, path, str(file))
    assert OomKills().any_new() is None


@pytest.mark.parametrize('text', [None, '', 'nonsense\n', 'oom_kill many\n'], ids=repr)
def test_nothing_to_count(text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / 'memory.events'
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(oom, 'candidates', lambda own, mounts: [str(file)])
    assert OomKills().any_new() is None


UNIFIED = '30 23 0:26 {root} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw'
LEGACY = '31 23 0:27 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory'
OTHER = '29 23 0:25 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct'
PROC = '28 1 0:24 / /proc rw - proc proc rw'


PLACES = {
    'version 2': (
        '0::/system.slice/web.service',
        [PROC, UNIFIED],
        ['/sys/fs/cgroup/system.slice/web.service/memory.events'],
    ),
    'version 2, in a namespace': ('0::/', [PROC, UNIFIED], ['/sys/fs/cgroup/memory.events']),
    'version 1': (
        '4:memory:/web\n1:cpu:/x\n0::/',
        [OTHER, LEGACY],
        ['/sys/fs/cgroup/memory/web/memory.oom_control'],
    ),
    'a part is mounted': (
        '0::/box/web',
        [UNIFIED.replace('{root}', '/box')],
        ['/sys/fs/cgroup/web/memory.events'],
    ),
    'nothing is mounted': ('0::/web', [PROC], []),
    'no /proc': ('', [], []),
}


@pytest.mark.parametrize(('own', 'mounts', 'files'), PLACES.values(), ids=PLACES)
def test_where_the_count_is(own: str, mounts: list[str], files: list[str]) -> None:
    texts = ''.join(f'{mount}\n'.replace('{root}', '/') for mount in mounts)
    assert list(candidates(own, texts)) == files
