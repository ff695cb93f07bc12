"""As process 1, of a namespace of its own, as in a container: it reaps strangers, and no signal passes it by."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from prefork.errors import EX_CONFIG
from tests.master.site import APP, Waiting, changed, children, get, watched
from tests.namespaces import needs
from tests.serving import LISTENING, READY, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.master.site import Site
    from tests.serving import Server

FLAGS = ('--pid', '--fork', '--mount-proc')


class Process1:
    """``server`` is unshare(1), which ends as its child does, the master, whose number here is ``pid``."""

    def __init__(self, server: Server) -> None:
        self.server = server
        (self.pid,) = children(server.pid)

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


@contextlib.contextmanager
def started(site: Site, *flags: str, change: str = '') -> Iterator[Server]:
    needs(*FLAGS)
    command = ('unshare', *FLAGS, *changed(change))
    with start(*site.arguments(1, flags), cwd=site.folder, env=site.environment(None), command=command) as server:
        try:
            yield server
        finally:
            with contextlib.suppress(FileNotFoundError):  # it has ended
                for pid in children(server.pid):  # what is sent to unshare doesn't reach it
                    os.kill(pid, signal.SIGKILL)
            server.wait()


@contextlib.contextmanager
def serving(site: Site, *flags: str, change: str = '') -> Iterator[Process1]:
    with started(site, *flags, change=change) as server:
        server.wait_until_ready()
        assert '[1] INFO ready: 1 worker' in server.stderr.text
        yield Process1(server)


def test_it_reloads_and_stops(site: Site) -> None:
    with serving(site) as master:
        server = master.server
        assert get(server, '/version') == 'one'
        site.write('raise ValueError("broken")\n')
        master.send_signal(signal.SIGHUP)
        server.stderr.wait_for('generation 2 is given up; generation 1 serves on')
        site.change(version='two')
        master.send_signal(signal.SIGHUP)
        server.stderr.wait_for('generation 3: loaded, 1 worker')
        assert get(server, '/version') == 'two'
        waiting = Waiting(server)
        site.wait_for_arrival()
        master.send_signal(signal.SIGTERM)
        server.stderr.wait_for('stopping: finishing what there is')
        site.open_gate('finished')
        assert waiting.result() == 'finished'
        assert server.wait() == 0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGQUIT])
def test_it_stops_at_once(number: signal.Signals, site: Site) -> None:
    with serving(site) as master:
        master.send_signal(number)
        assert master.server.wait(5) == 0


def test_its_exit_status_is_passed_on(site: Site) -> None:
    site.write('raise ValueError("broken")\n')
    with started(site) as server:
        assert server.wait() == EX_CONFIG


ORPHANS = """
import subprocess

def app(environ, start_response):
    subprocess.run(['sh', '-c', '(exec >/dev/null 2>&1; exec cat < gate) &'])
    start_response('200 OK', [('Content-Length', '0')])
    return []
"""


def test_strangers_are_reaped(site: Site) -> None:
    """Process 1 gets every orphan of its namespace, whether it asked for them or not."""
    site.write(ORPHANS)
    with serving(site, change='linux.become_subreaper = lambda: False') as master:
        ours = children(master.pid)
        get(master.server)
        (orphan,) = children(master.pid) - ours
        with watched(orphan) as end:
            site.open_gate('')
            assert select.select([end], [], [], 10)[0]
        while orphan in children(master.pid):
            os.sched_yield()
        master.send_signal(signal.SIGTERM)
        assert master.server.wait() == 0
        assert 'ERROR' not in master.server.stderr.text


# --- signals before it serves: the kernel drops what process 1 has no handler for -------------------------------

SLOW = """
def load(deployment, load=master.Site):
    with open('arrivals', 'w') as arrivals:
        arrivals.write('.')
    with open('gate') as gate:
        gate.read()
    return load(deployment)
master.Site = load
"""


def test_while_it_reads_its_configuration(site: Site) -> None:
    with started(site, change=SLOW) as server:
        site.wait_for_arrival()
        Process1(server).send_signal(signal.SIGTERM)
        site.open_gate('')
        assert server.wait() == 0
        assert not READY.search(server.stderr.text)


def test_while_it_waits_for_an_address(site: Site) -> None:
    with (
        socket.create_server(('127.0.0.1', 0)) as other,
        started(site, '--bind', f'127.0.0.1:{other.getsockname()[1]}') as server,
    ):
        server.stderr.wait_for('trying for 5 s')
        Process1(server).send_signal(signal.SIGTERM)
        assert server.wait(2) == 0


def test_while_the_application_is_loaded(site: Site) -> None:
    site.write(APP + 'wait()\n')
    with started(site) as server:
        server.stderr.wait_for(LISTENING)
        site.wait_for_arrival()
        Process1(server).send_signal(signal.SIGTERM)
        assert server.wait(5) == 0


def test_it_cannot_go_to_the_background(site: Site) -> None:
    with started(site, '--daemon', 'true', '--error-log', 'off') as server:
        assert server.wait() == EX_CONFIG
        server.stderr.wait_for('daemon: this is process 1, with which everything else ends')
