"""Workers that are stuck, stopped or deaf: their siblings serve on, others take their place, and the log says where."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.master.site import (
    APP,
    Load,
    Waiting,
    changed,
    children,
    get,
    hang_up,
    is_alive,
    molds,
    until_it_has_ended,
    workers,
)
from tests.serving import serve

if TYPE_CHECKING:
    from tests.master.site import Site
    from tests.serving import Server

# The places where an application can be stuck: in C code without the interpreter's lock, in Python code, and in C code
# that keeps the lock, so that nothing in its process goes on.
STUCK = (
    APP.replace("if path == '/wait':", "if path in PLACES:\n        body = PLACES[path]()\n    elif path == '/wait':")
    + """

import ctypes
import logging
import time


def spin():
    try:
        while True:
            try:
                while True:
                    pass
            except Exception:
                pass
    finally:
        logging.getLogger('prefork').error('cleaned up by %d', os.getpid())


def hold_the_lock():
    ctypes.PyDLL(None).sleep(1000)


PLACES = {'/sleep': lambda: time.sleep(1000), '/spin': spin, '/gil': hold_the_lock}
"""
)

# Signs of life are asked for after a moment, and have a second to come.
IMPATIENT = 'from prefork.master import supervisor\nsupervisor.PING_INTERVAL = 0.2\nsupervisor.PING_TIMEOUT = 1.0'


def ask(server: Server, path: str) -> tuple[int, str]:
    """The status of the answer, and whatever else there is until the connection ends; 0 where there is none."""
    with socket.create_connection(('127.0.0.1', server.port), 30) as client:
        client.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
        parts = []
        try:
            while data := client.recv(65536):
                parts.append(data)
        except ConnectionResetError:
            pass
    text = b''.join(parts).decode()
    return int(text.split()[1]) if text else 0, text


def pid_of(match: re.Match[str]) -> int:
    return int(match[1])


# --- a stuck call -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('threads', [1, 4])
@pytest.mark.parametrize('path', ['/sleep', '/spin'])
def test_a_stuck_request_costs_nobody_else_anything(site: Site, path: str, threads: int) -> None:
    site.write(STUCK)
    flags = ('--request-timeout', '0.5', '--threads', str(threads))
    with site.serve(*flags) as server:
        log, before = server.stderr, set(workers(server))
        with Load(server) as load:
            status, text = ask(server, f'{path}?x=1')
            assert status == 504
            assert 'Connection: close' in text
            victim = pid_of(
                log.wait_for(rf'\[(\d+)\] ERROR GET {path}\?x=1 HTTP/1.1: no answer within request_timeout = 0.5 s')
            )
            log.wait_for(rf'app.py", line \d+, in {"spin" if path == "/spin" else "<lambda>"}')
            worn = r'\(pid (\d+)\) is to be replaced: a call has taken longer than request_timeout = 0.5 s'
            assert pid_of(log.wait_for(worn)) == victim
            successor = pid_of(log.wait_for(r'worker main/1/2 \(pid (\d+)\) is ready'))
            until_it_has_ended(victim)
            load.wait_for_more(20)
        assert load.failures == []
        assert set(workers(server)) == before - {victim} | {successor}
        assert ('cleaned up by' in log.text) == (path == '/spin')
        assert 'prefork/worker' not in log.text, 'only the frames of the application are shown'


def test_all_threads_of_all_workers_stuck(site: Site) -> None:
    site.write(STUCK)
    with site.serve('--request-timeout', '0.5', '--threads', '1') as server:
        before = workers(server)
        with ThreadPoolExecutor(4) as clients:
            assert {status for status, _ in clients.map(ask, [server] * 4, ['/sleep'] * 4)} == {504}
        for pid in before:
            until_it_has_ended(pid)
        assert int(get(server)) not in before


# --- a stopped worker ---------------------------------------------------------------------------------------------


def test_a_stopped_worker_is_replaced_and_its_stacks_are_shown(site: Site) -> None:
    with site.serve() as server:
        victim, sibling = workers(server)
        os.kill(victim, signal.SIGSTOP)
        server.stderr.wait_for(rf'\(pid {victim}\) was stopped by a signal; replaced')
        server.stderr.wait_for(r'worker main/1/2 \(pid \d+\) is ready')
        assert is_alive(victim), 'for a moment, in case that somebody continues it'
        server.stderr.wait_for(rf'\(pid {victim}\) is still stopped, and is aborted')
        server.stderr.wait_for(r'Fatal Python error: Aborted(.*\n)*.* in run_worker')
        until_it_has_ended(victim)
        assert sibling in workers(server)
        assert len(workers(server)) == 2


def test_a_worker_that_is_stopped_before_it_is_ready_fails_without_load_timeout(site: Site) -> None:
    site.write(APP + '\ndef prepare():\n    pass\n')
    with site.serve('--post-fork', 'app:prepare') as server:
        serving = children(server.pid)
        site.write(APP + '\nprepare = wait\n')
        hang_up(server)
        server.stderr.wait_for('the mold of generation 2 .* is ready')
        site.wait_for_arrival()
        (victim,) = children(server.pid) - serving - set(molds(server))
        os.kill(victim, signal.SIGSTOP)
        server.stderr.wait_for(rf'worker main/2/0 \(pid {victim}\) was stopped by a signal before it was ready')
        server.stderr.wait_for('generation 2 is given up; generation 1 serves on: worker main/2/0 .* was stopped')
        server.stderr.wait_for(r'app\.py", line \d+ in wait')
        until_it_has_ended(victim)
        assert int(get(server)) in serving


def test_a_stopped_worker_costs_its_own_clients_at_most(site: Site) -> None:
    with site.serve() as server:
        victim, sibling = workers(server)
        with Load(server) as load:
            os.kill(victim, signal.SIGSTOP)
            server.stderr.wait_for(rf'\(pid {victim}\) is still stopped, and is aborted')
            until_it_has_ended(victim)
            load.wait_for_more(100)
        assert len(load.failures) <= 4, 'whoever was connected to it'
        assert sibling in workers(server)
        assert len(workers(server)) == 2


def test_a_worker_that_is_stopped_and_continued_loses_nothing(site: Site) -> None:
    with site.serve(workers=1) as server:
        (old,) = workers(server)
        waiting = Waiting(server)
        site.wait_for_arrival()
        os.kill(old, signal.SIGSTOP)
        server.stderr.wait_for(rf'\(pid {old}\) was stopped by a signal; replaced')
        os.kill(old, signal.SIGCONT)
        server.stderr.wait_for(r'worker main/1/1 \(pid \d+\) is ready')
        site.open_gate('finished')
        assert waiting.result() == 'finished'
        until_it_has_ended(old)
        assert 'aborted' not in server.stderr.text


def test_a_stopped_mold_is_killed_and_a_new_generation_takes_over(site: Site) -> None:
    with site.serve() as server, Load(server) as load:
        os.kill(molds(server)[0], signal.SIGSTOP)
        server.stderr.wait_for(r'the mold of generation 1 \(pid \d+\) was stopped by a signal, and is killed')
        server.stderr.wait_for('generation 2: loaded, 2 workers')
    assert load.failures == []


# --- a deaf worker ------------------------------------------------------------------------------------------------


def test_a_worker_whose_lock_is_held_is_aborted_and_its_stacks_are_shown(site: Site) -> None:
    site.write(STUCK)
    arguments = site.arguments(2, ())
    with serve(*arguments, cwd=site.folder, command=changed(IMPATIENT)) as server:
        before = workers(server)
        started = time.monotonic()
        status, _ = ask(server, '/gil')
        assert status == 0, 'it is lost with its worker'
        victim = pid_of(server.stderr.wait_for(r'\(pid (\d+)\) has not answered for 1 s, and is aborted'))
        server.stderr.wait_for(r'Fatal Python error: Aborted')
        server.stderr.wait_for(r'line \d+ in hold_the_lock')
        server.stderr.wait_for(r'worker main/1/2 \(pid \d+\) is ready')
        until_it_has_ended(victim)
        assert time.monotonic() - started > 1.0
        (sibling,) = set(before) - {victim}
        assert sibling in workers(server)
        assert len(workers(server)) == 2
        assert int(get(server)) in workers(server)
