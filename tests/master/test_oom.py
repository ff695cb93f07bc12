"""Who is killed by the kernel, for want of memory, is told apart from who is killed by somebody."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prefork.master import oom
from prefork.master.oom import OomKills, candidates
from tests.master.site import APP, Load, molds, workers
from tests.serving import PREFORK, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
                eater = http.client.HTTPConnection('127.0.0.1', server.port, timeout=20)
                eater.request('GET', '/pid')
                hungry = int(eater.getresponse().read())
                eater.request('GET', '/eat')
                with pytest.raises(ConnectionError):
                    eater.getresponse()
                death = rf'worker \S+ \(pid {hungry}\) was killed by SIGKILL: the kernel was out of memory; replaced'
                server.stderr.wait_for(death)
                load.wait_for_more(20)
            # Between the death and the freeing of the memory the kernel may kill the sibling too, never the master.
            killed = re.findall(
                r'\(pid (\d+)\) was killed by SIGKILL: the kernel was out of memory', server.stderr.text
            )
            assert 1 <= len(killed) <= 2
            assert len(load.failures) <= 4 * len(killed), 'what each of the four clients had there'
            # And the next one is killed by us.
            server.stderr.wait_for(r'worker main/1/\d \(pid \d+\) is ready')
            victim = workers(server)[-1]
            assert str(victim) not in killed
            os.kill(victim, signal.SIGKILL)
            server.stderr.wait_for(rf'\(pid {victim}\) was killed by SIGKILL; replaced')


@pytest.fixture(params=['memory.events', 'memory.oom_control'])
def count(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set what the kernel has counted; less than none: it can't be read any more."""
    file = tmp_path / request.param
    before = {'memory.events': 'low 0\nhigh 0\nmax 7\noom 1\n', 'memory.oom_control': 'under_oom 0\n'}[request.param]
    monkeypatch.setattr(oom, 'candidates', lambda own, mounts: [str(file)])

    def count(kills: int) -> None:
        file.write_text(f'{before}oom_kill {kills}\n')
        if kills < 0:
            file.unlink()

    count(3)
    return count


def test_each_kill_stands_for_one_process(count: Callable[[int], None]) -> None:
    kills = OomKills()
    assert kills.claim(100.0) is False
    count(5)
    assert [kills.claim(101.0), kills.claim(102.0), kills.claim(102.0)] == [True, True, False]
    count(6)
    assert [kills.claim(103.0), kills.claim(103.0)] == [True, False]
    count(-1)
    assert kills.claim(104.0) is None


def test_a_kill_that_was_not_ours_explains_nothing_later(count: Callable[[int], None]) -> None:
    kills = OomKills()
    count(6)
    assert kills.claim(100.0) is True
    assert kills.claim(104.9) is True
    assert kills.claim(106.0) is False


@pytest.mark.parametrize(('inherited', 'score'), [('0', '10'), ('-900', '-890'), ('995', '1000'), ('1000', '1000')])
def test_who_is_killed_first(inherited: str, score: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / 'oom_score_adj'
    file.write_text(f'{inherited}\n')
    monkeypatch.setattr(oom, '_SCORE', str(file))
    oom.go_before_parent()
    assert file.read_text().split()[0] == score


def test_no_say_in_who_is_killed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oom, '_SCORE', str(tmp_path / 'missing'))
    oom.go_before_parent()
    assert not list(tmp_path.iterdir())


def test_workers_go_before_molds_and_these_before_the_master(site: Site) -> None:
    with site.serve(workers=1) as server:
        pids = [server.pid, *molds(server), *workers(server)]
        scores = [int(Path(f'/proc/{pid}/oom_score_adj').read_text()) for pid in pids]
    assert scores == [scores[0], scores[0] + 10, scores[0] + 20]


@pytest.mark.parametrize('path', ['_OWN', '_MOUNTS'])
def test_another_kernel(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / 'nonsense'
    file.write_text('nothing that we know\n')
    monkeypatch.setattr(oom, path, str(file))
    assert OomKills().claim(0.0) is None


@pytest.mark.parametrize('text', [None, '', 'nonsense\n', 'oom_kill many\n'], ids=repr)
def test_nothing_to_count(text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / 'memory.events'
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(oom, 'candidates', lambda own, mounts: [str(file)])
    assert OomKills().claim(0.0) is None


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
