"""Workers that have served enough are replaced before they go, and those that crash are replaced ever more slowly."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from prefork.errors import EX_CONFIG
from tests.master.site import APP, Load, Waiting, changed, get, workers
from tests.serving import serve, start

if TYPE_CHECKING:
    from tests.master.site import Site

GROWING = (
    APP.replace("if path == '/wait':", "if path == '/grow':\n        body = grow()\n    elif path == '/wait':")
    + """

KEPT = []


def grow():
    KEPT.append(bytearray(os.urandom(1 << 20) * 200))
    return b'%d' % os.getpid()
"""
)

WITHOUT_PSUTIL = """
import sys
sys.modules['psutil'] = None
from prefork.cli import main
sys.exit(main())
"""

SHORT_LIVED = (
    APP
    + """

import threading


def live_shortly():
    threading.Thread(target=die).start()


def die():
    with open('deaths', 'rb') as deaths:
        deaths.read()
    os._exit(3)
"""
)


@pytest.mark.parametrize('flags', [[], ['--threads', '1'], ['--preload', 'false']], ids=' '.join)
def test_no_request_is_lost_when_workers_are_replaced(site: Site, flags: list[str]) -> None:
    """Half of the clients keep their connections, and are told in time that there will be no more on them."""
    with site.serve('--max-requests', '50', '--max-requests-jitter', '30', *flags) as server:
        before = workers(server)
        with Load(server) as load:
            for _ in range(12):
                answered = int(server.stderr.wait_for(r'is to be replaced: it has answered (\d+) requests')[1])
                assert answered >= 50
                server.stderr.wait_for(r'worker main/1/\d \(pid \d+\) is ready')
        assert load.failures == []
        assert not set(before) & set(workers(server))
        assert 'ERROR' not in server.stderr.text


def test_the_jitter_differs_between_workers(site: Site) -> None:
    """A pseudo-random generator that was seeded before the fork would give all of them the same."""
    with site.serve('--max-requests', '1', '--max-requests-jitter', '1000', workers=1) as server, Load(server):
        numbers = {server.stderr.wait_for(r'is to be replaced: it has answered (\d+) requests')[1] for _ in range(4)}
    assert len(numbers) > 1


def test_workers_are_replaced_one_at_a_time_and_each_by_one_that_is_ready(site: Site) -> None:
    """All of them are worn at once, all the time."""
    with site.serve('--max-requests', '1', workers=3) as server:
        with Load(server) as load:
            for _ in range(20):
                server.stderr.wait_for(r'is to be replaced')
        assert load.failures == []
        serving: set[str] = set()
        most = 0
        for match in re.finditer(r'\(pid (\d+)\) (is ready|exited)', server.stderr.text.partition('ready: 3')[2]):
            pid, what = match.groups()
            serving = serving | {pid} if what == 'is ready' else serving - {pid}
            most = max(most, len(serving))
        assert most <= 4, 'one more than wanted'
        assert len(workers(server)) >= 3


def test_a_worn_worker_finishes_what_it_has(site: Site) -> None:
    with site.serve('--max-requests', '2', workers=1) as server:
        (old,) = workers(server)
        waiting = Waiting(server)
        site.wait_for_arrival()
        assert int(get(server)) == old
        assert int(get(server)) == old
        server.stderr.wait_for(rf'\(pid {old}\) is to be replaced')
        server.stderr.wait_for(r'worker main/1/1 \(pid \d+\) is ready')
        site.open_gate('finished')
        assert waiting.result() == 'finished'
        server.stderr.wait_for(rf'\(pid {old}\) exited with status 0')


def test_a_worker_that_has_grown_is_replaced(site: Site) -> None:
    site.write(GROWING)
    arguments = site.arguments(2, ('--max-rss', '150M'))
    often = 'from prefork.worker import wear\nwear.WEIGH_INTERVAL = 0.1'
    with serve(*arguments, cwd=site.folder, command=changed(often)) as server:
        with Load(server) as load:
            grown = int(get(server, '/grow'))
            server.stderr.wait_for(rf'\(pid {grown}\) is to be replaced: it has 2\d\d MiB of memory, more than max_rss')
            server.stderr.wait_for(rf'\(pid {grown}\) exited with status 0')
        assert load.failures == []
        assert len(workers(server)) == 2
        assert grown not in workers(server)


def test_max_rss_needs_psutil(site: Site) -> None:
    command = (sys.executable, '-c', WITHOUT_PSUTIL)
    arguments = site.arguments(2, ('--max-rss', '150M'))
    with start(*arguments, cwd=site.folder, command=command) as server:
        assert server.wait() == EX_CONFIG
        server.stderr.wait_for(r'\[server:main\] max_rss: psutil is needed, and not installed')


# --- crash loops --------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_whenever_it_is_ready_is_replaced_ever_more_slowly(site: Site) -> None:
    os.mkfifo(site.folder / 'deaths')
    site.write(SHORT_LIVED)
    with site.serve('--post-fork', 'app:live_shortly', workers=1) as server:
        for remedy in ('replaced$', r'replaced in 0\.5 s$', 'replaced in 1 s$'):
            (site.folder / 'deaths').write_text('')
            server.stderr.wait_for(rf'(?m)worker main/1/0 \(pid \d+\) exited with status 3; {remedy}')
            server.stderr.wait_for(r'worker main/1/0 \(pid \d+\) is ready')
        assert len(re.findall(r'exited with status 3', server.stderr.text)) == 3
        assert get(server, '/version') == 'one'


def test_a_worker_that_dies_before_it_is_ready_ends_the_start(site: Site) -> None:
    site.write(APP + '\n\ndef die():\n    os.kill(os.getpid(), 11)\n')
    with site.start('--post-fork', 'app:die', workers=1) as server:
        assert server.wait() == EX_CONFIG
        text = server.stderr.text
    deaths = re.findall(r'was killed by SIGSEGV before it was ready(.*)', text)
    assert deaths == ['; replaced in 0.5 s', '; replaced in 1 s', '']
