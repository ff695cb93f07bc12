"""Descriptors that run out in the master or its children: what cannot be done now is done later, and nobody dies."""

from __future__ import annotations

import contextlib
import http.client
import os
from signal import SIGKILL, SIGTTIN, SIGUSR1
from typing import TYPE_CHECKING

import pytest

from tests.master.site import changed, get, is_alive, molds, without_descriptors, workers
from tests.serving import serve

if TYPE_CHECKING:
    from tests.master.site import Site

WITHOUT_SUBREAPER = changed('linux.become_subreaper = lambda: False')


@pytest.mark.parametrize('command', [changed(''), WITHOUT_SUBREAPER], ids=['a mold forks', 'the master forks'])
def test_a_worker_that_cannot_be_started_is_started_later(command: tuple[str, ...], site: Site) -> None:
    with serve(*site.arguments(1, ()), cwd=site.folder, command=command) as server:
        with without_descriptors(server.pid):
            server.send_signal(SIGTTIN)
            server.stderr.wait_for('worker main/1/1 cannot be forked: Too many open files\ntried again in 0.5 s')
            assert int(get(server)) in workers(server)
        server.stderr.wait_for(r'worker main/1/1 \(pid \d+\) is ready')


def test_a_mold_that_cannot_be_started_is_started_later(site: Site) -> None:
    with site.serve(workers=1) as server:
        with without_descriptors(server.pid):
            os.kill(molds(server)[0], SIGKILL)
            server.stderr.wait_for('generation 2 is given up; .*: no mold can be forked: Too many open files')
            assert is_alive(int(get(server)))
        server.stderr.wait_for('generation 3: loaded, 1 worker')


def test_a_mold_without_room_for_a_channel_forks_later(site: Site) -> None:
    with site.serve(workers=1) as server:
        (mold,) = molds(server)
        with without_descriptors(mold):
            server.send_signal(SIGTTIN)
            told = "no descriptor is free in the mold: 'spawn' cannot be done"
            given_up = 'worker main/1/1 ended before it said its pid\ntried again in 0.5 s'
            server.stderr.wait_for(f'(?s)({told}.*{given_up}|{given_up}.*{told})')  # by two processes
        server.stderr.wait_for(r'worker main/1/1 \(pid \d+\) is ready')
        assert molds(server) == [mold]
        assert 'a bug' not in server.stderr.text


def test_who_has_no_room_for_a_reopened_log_says_so(site: Site) -> None:
    log = site.folder / 'access.log'
    with site.serve('--access-log', str(log), workers=1) as server:
        (mold,), (worker,) = molds(server), workers(server)
        # Who answers has raised its own limit by now, and a connection that stays open leaves no descriptor free.
        kept = http.client.HTTPConnection('127.0.0.1', server.port, timeout=20)
        kept.request('GET', '/pid')
        assert int(kept.getresponse().read()) == worker
        with contextlib.closing(kept), without_descriptors(mold), without_descriptors(worker):
            server.send_signal(SIGUSR1)
            server.stderr.wait_for('no descriptor is free')
            server.stderr.wait_for('no descriptor is free')
        assert f'[{mold}] ERROR no descriptor is free in the mold' in server.stderr.text
        assert f'[{worker}] ERROR no descriptor is free for a log that was reopened' in server.stderr.text
        assert 'Traceback' not in server.stderr.text
        assert int(get(server)) == worker
