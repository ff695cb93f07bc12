"""Deaths of workers, molds and the master, each by SIGKILL: who takes over, and what is left behind."""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from chaoslib import processes
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
    reload,
    watched,
    workers,
)
from tests.serving import serve, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.master.site import Site
    from tests.serving import Server


def test_a_killed_worker_is_replaced(site: Site) -> None:
    with site.serve() as server:
        victim, survivor = workers(server)
        os.kill(victim, signal.SIGKILL)
        server.stderr.wait_for(rf'worker main/1/\d \(pid {victim}\) was killed by SIGKILL.*; replaced')
        server.stderr.wait_for(r'worker main/1/\d \(pid \d+\) is ready')
        assert survivor in workers(server)
        assert len(workers(server)) == 2
        assert int(get(server)) in workers(server)


def test_a_worker_that_exits_is_told_by_its_status(site: Site) -> None:
    site.write('import os\n\ndef app(environ, start_response):\n    os._exit(3)\n')
    with site.serve(workers=1) as server:
        with socket.create_connection(('127.0.0.1', server.port), 10) as client:
            client.sendall(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
            assert client.recv(100) == b''
        server.stderr.wait_for(r'worker main/1/0 \(pid \d+\) exited with status 3; replaced')


LOOP_FAILS = """
from prefork.worker.loop import Loop
whole = Loop._prepare
Loop._prepare = lambda self: 1 // 0 if self.requests else whole(self)
"""


def test_a_worker_whose_loop_fails_says_so_by_its_status(site: Site) -> None:
    with serve(*site.arguments(1, ()), cwd=site.folder, command=changed(LOOP_FAILS)) as server:
        with socket.create_connection(('127.0.0.1', server.port), 10) as client:
            client.sendall(b'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
            client.recv(100)
        server.stderr.wait_for('CRITICAL the worker loop failed')
        server.stderr.wait_for(r'worker main/1/0 \(pid \d+\) exited with status 70; replaced')


def test_a_worker_that_crashes_shows_its_stacks_and_is_told_by_its_signal(site: Site) -> None:
    site.write('import ctypes\n\ndef app(environ, start_response):\n    ctypes.string_at(0)\n')
    with site.serve(workers=1) as server:
        (worker,) = workers(server)
        with socket.create_connection(('127.0.0.1', server.port), 10) as client:
            client.sendall(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
            assert client.recv(100) == b''
        server.stderr.wait_for('Fatal Python error: Segmentation fault')
        server.stderr.wait_for(r'app\.py", line 4 in app\n')
        server.stderr.wait_for(rf'worker main/1/0 \(pid {worker}\) was killed by SIGSEGV; replaced')


def test_sigterm_drains_a_worker_and_its_replacement_does_not_wait(site: Site) -> None:
    with site.serve(workers=1) as server:
        (old,) = workers(server)
        waiting = Waiting(server)
        site.wait_for_arrival()
        os.kill(old, signal.SIGTERM)
        server.stderr.wait_for(rf'worker main/1/0 \(pid {old}\) drains and is replaced')
        server.stderr.wait_for(r'worker main/1/1 \(pid \d+\) is ready')
        assert int(get(server)) != old
        assert is_alive(old)
        with watched(old) as end:
            site.open_gate('finished')
            assert waiting.result() == 'finished'
            assert select.select([end], [], [], 10)[0]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTTOU])
def test_what_is_for_the_master_does_not_harm_a_worker(number: signal.Signals, site: Site) -> None:
    """A terminal and a broad kill send it to every process of the group."""
    with site.serve(workers=1) as server:
        (worker,) = workers(server)
        os.kill(worker, number)
        assert int(get(server)) == worker


WRITES_INTO_THE_CHANNEL = """
import os, socket

def app(environ, start_response):
    for name in os.listdir('/proc/self/fd'):
        path = f'/proc/self/fd/{name}'
        # One of them was the list's own, and is closed.
        if os.path.exists(path) and os.readlink(path).startswith('socket:'):
            with socket.socket(fileno=os.dup(int(name))) as sock:
                if sock.family == socket.AF_UNIX:
                    sock.send(%r)
    start_response('200 OK', [])
    return [b'done']
"""


def test_an_application_that_writes_into_the_channel_harms_only_its_worker(site: Site) -> None:
    """Nor can it have the master, who may be root, kill somebody in its place."""
    with subprocess.Popen(['cat'], stdin=subprocess.PIPE) as stranger:
        site.write(WRITES_INTO_THE_CHANNEL % (b'["spawned", 0, {"pid": %d}]\n["hello", 0, {}]\n' % stranger.pid))
        with site.serve(workers=1) as server:
            (worker,) = workers(server)
            with contextlib.suppress(ConnectionError):
                get(server)
            server.stderr.wait_for(f'process {worker} is killed for what it sent: hello: ')
            server.stderr.wait_for(rf'\(pid {worker}\) was killed by SIGKILL.*; replaced')
            server.stderr.wait_for('is ready')
        assert stranger.poll() is None


def test_a_killed_mold_is_replaced_by_a_new_generation(site: Site) -> None:
    with site.serve() as server:
        before = workers(server)
        site.change(version='two')
        with Load(server) as load:
            os.kill(molds(server)[0], signal.SIGKILL)
            server.stderr.wait_for(r'the mold of generation 1 \(pid \d+\) was killed by SIGKILL.*; a new generation is')
            server.stderr.wait_for('generation 2: loaded, 2 workers')
        assert load.failures == []
        assert get(server, '/version') == 'two'
        assert int(get(server)) not in before


def test_a_killed_mold_whose_application_broke_meanwhile(site: Site) -> None:
    with site.serve() as server:
        site.write('import nothing_of_that_name\n')
        with Load(server) as load:
            os.kill(molds(server)[0], signal.SIGKILL)
            server.stderr.wait_for('generation 2 is given up; generation 1 serves on')
            server.stderr.wait_for('generation 3 is given up; generation 1 serves on')
            site.change(version='two')
            server.stderr.wait_for(r'generation \d+: loaded, 2 workers')
        assert load.failures == []
        assert get(server, '/version') == 'two'


def test_when_the_master_dies_workers_finish_and_a_new_master_binds_at_once(site: Site) -> None:
    with site.serve() as server:
        everybody = [*molds(server), *workers(server)]
        assert len(everybody) == 3
        waiting = Waiting(server)
        site.wait_for_arrival()
        server.send_signal(signal.SIGKILL)
        server.wait()
        with site.serve('--bind', f'127.0.0.1:{server.port}') as successor:
            # One of the old workers still has a request, and none of them the address.
            assert get(successor, '/version') == 'one'
            assert sum(map(is_alive, everybody)) == 1
            (busy,) = filter(is_alive, everybody)
            with watched(busy) as end:
                site.open_gate('finished')
                assert waiting.result() == 'finished'
                assert select.select([end], [], [], 10)[0]
        server.stderr.wait_for('the master is gone: finishing what there is')


def test_when_the_master_dies_idle_workers_and_the_mold_go_at_once(site: Site) -> None:
    with site.serve() as server:
        everybody = [*molds(server), *workers(server)]
        server.send_signal(signal.SIGKILL)
        server.wait()
        for pid in everybody:
            try:
                with watched(pid) as end:
                    assert select.select([end], [], [], 2)[0]
            except ProcessLookupError:
                pass  # gone before it could be watched


@pytest.mark.parametrize('whose', [workers, molds])
def test_when_the_master_dies_who_is_stopped_goes_on_and_gives_the_address_up(
    whose: Callable[[Server], list[int]], site: Site
) -> None:
    """It has the listener, too, and nobody is left who would end it."""
    with site.serve(workers=1) as server:
        (pid,) = whose(server)
        with watched(pid) as end:
            os.kill(server.pid, signal.SIGSTOP)  # else it would end a mold at once
            os.kill(pid, signal.SIGSTOP)
            server.send_signal(signal.SIGKILL)
            server.wait()
            with site.serve('--bind', f'127.0.0.1:{server.port}', workers=1) as successor:
                assert int(get(successor)) in workers(successor)
            assert select.select([end], [], [], 10)[0]


@pytest.mark.parametrize('flags', [[], ['--preload', 'false']], ids=['the mold', 'a worker'])
def test_when_the_master_dies_who_hangs_in_its_load_gives_the_address_up(flags: list[str], site: Site) -> None:
    with site.serve(*flags) as server:
        before = {*children(server.pid)}
        site.write(SLOW_TO_LOAD)
        hang_up(server)
        site.wait_for_arrival()
        loading = max(children(server.pid) - before)
        with watched(loading) as end:
            server.send_signal(signal.SIGKILL)
            assert select.select([end], [], [], 10)[0]
        server.wait()
        site.write(APP)
        with site.serve('--bind', f'127.0.0.1:{server.port}') as successor:
            assert get(successor, '/version') == 'one'


DIES_JUST_BEFORE = """
import os
end_when_orphaned, calls = linux.end_when_orphaned, []
def late():
    calls.append(1)
    if len(calls) == {call}:
        parent = os.getppid()
        os.kill(parent, 9)
        linux.wait_for_end(parent)
    return end_when_orphaned()
linux.end_when_orphaned = late
"""


@pytest.mark.parametrize(('call', 'preload'), [(1, 'true'), (2, 'false')], ids=['the mold', 'a worker'])
def test_when_the_master_dies_before_the_kernel_was_asked_to_tell_nobody_loads(
    call: int, preload: str, site: Site
) -> None:
    site.write(APP + 'wait()\n')
    arguments = site.arguments(1, ('--preload', preload))
    with start(*arguments, cwd=site.folder, command=changed(DIES_JUST_BEFORE.format(call=call))) as server:
        assert server.wait() == -signal.SIGKILL
        wait_for_nobody(server)


def test_when_the_master_dies_a_mold_that_hangs_is_ended_by_an_alarm(site: Site) -> None:
    """Where the kernel doesn't end it at once: it doesn't read its channel."""
    site.write(APP + 'wait()\n')
    arguments = site.arguments(1, ('--load-timeout', '30'))
    command = changed('child.ALARM_MARGIN = -29.5\nlinux.end_when_orphaned = lambda: False')
    with start(*arguments, cwd=site.folder, command=command) as server:
        site.wait_for_arrival()
        (mold,) = children(server.pid)
        with watched(mold) as end:
            server.send_signal(signal.SIGKILL)
            assert select.select([end], [], [], 10)[0]


def test_orphans_of_the_application_leave_no_zombies(site: Site) -> None:
    """They fall to the master, as a subreaper: a process whose parent, a program that the application ran, is gone."""
    site.write(
        'import subprocess\n\n'
        'def app(environ, start_response):\n'
        '    script = "(exec > /dev/null 2>&1; exec cat < gate) & echo $!"\n'
        '    done = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE)\n'
        '    start_response("200 OK", [("Content-Length", str(len(done.stdout)))])\n'
        '    return [done.stdout]\n'
    )
    with site.serve(workers=1) as server:
        orphan = int(get(server))
        assert orphan in children(server.pid)
        with watched(orphan) as end:
            site.open_gate('end\n')
            assert select.select([end], [], [], 10)[0]
        assert get(server)  # a turn of everybody's loop; what is left of the other orphan is ended with the server
        os.kill(workers(server)[0], signal.SIGKILL)
        server.stderr.wait_for('replaced')  # it was reaped after the orphan had ended, and all that have are
        assert orphan not in children(server.pid)


# --- in any state -----------------------------------------------------------------------------------------------

SLOW_TO_LOAD = APP.replace("'one'", "'two'") + '\n\nwait()\n'


def test_a_worker_killed_while_it_drains(site: Site) -> None:
    with site.serve(workers=1) as server:
        (old,) = workers(server)
        waiting = Waiting(server)
        site.wait_for_arrival()
        with Load(server) as load:
            os.kill(old, signal.SIGTERM)
            server.stderr.wait_for(r'worker main/1/1 \(pid \d+\) is ready')
            load.wait_for_more(50)  # whoever kept a connection to the old one has another by now
            os.kill(old, signal.SIGKILL)
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                waiting.result()
            server.stderr.wait_for(rf'\(pid {old}\) was killed by SIGKILL')
            load.wait_for_more(50)
        assert load.failures == []


@pytest.mark.parametrize('flags', [[], ['--preload', 'false']], ids=['the mold', 'a worker'])
def test_who_is_killed_while_it_loads(flags: list[str], site: Site) -> None:
    with site.serve(*flags) as server:
        before = {*children(server.pid)}
        site.write(SLOW_TO_LOAD)
        with Load(server) as load:
            hang_up(server)
            site.wait_for_arrival()
            loading = max(children(server.pid) - before - set(molds(server)))
            os.kill(loading, signal.SIGKILL)
            server.stderr.wait_for(rf'generation 2 is given up; .*\(pid {loading}\) was killed by SIGKILL')
            load.wait_for_more(50)
        assert load.failures == []
        assert get(server, '/version') == 'one'
        assert before <= children(server.pid)


def test_the_master_killed_while_a_generation_loads(site: Site) -> None:
    with site.serve() as server:
        waiting = Waiting(server)
        site.wait_for_arrival()
        site.write(SLOW_TO_LOAD)
        hang_up(server)
        site.wait_for_arrival()
        server.send_signal(signal.SIGKILL)
        server.wait()
        site.open_gate('')  # both of them
        assert waiting.result() == ''
        wait_for_nobody(server)


def test_the_master_killed_while_it_stops(site: Site) -> None:
    with site.serve() as server:
        waiting = Waiting(server)
        site.wait_for_arrival()
        server.terminate()
        server.stderr.wait_for('stopping: finishing what there is')
        server.send_signal(signal.SIGKILL)
        server.wait()
        site.open_gate('finished')
        assert waiting.result() == 'finished'
        wait_for_nobody(server)


def test_again_and_again(site: Site) -> None:
    """Whoever is killed, requests inside of it are lost, and no others; nobody is left over."""
    port, left = 0, []
    with contextlib.ExitStack() as servers:
        for _ in range(3):
            server = servers.enter_context(site.serve('--bind', f'127.0.0.1:{port}', '--workers', '3'))
            port = server.port
            with Load(server) as load:
                for _ in range(3):
                    victim = workers(server)[-1]
                    os.kill(victim, signal.SIGKILL)
                    server.stderr.wait_for(rf'\(pid {victim}\) was killed by SIGKILL.*; replaced')
                    os.kill(molds(server)[-1], signal.SIGKILL)
                    server.stderr.wait_for(r'the mold of .* was killed by SIGKILL.*; a new generation is')
                    hang_up(server)  # which waits for no back-off
                    server.stderr.wait_for('loaded, 3 workers')
            # Each of the four clients has one request at a time.
            assert len(load.failures) <= 3 * 4
            before = zombies(server)  # there may be some that end at this moment
            reload(server)
            assert not before & zombies(server)
            server.send_signal(signal.SIGKILL)
            server.wait()
            left.append(server)
        for server in left:
            wait_for_nobody(server)


def zombies(server: Server) -> set[int]:
    return {each.pid for each in processes.of_sessions({server.pid}) if each.state == processes.ZOMBIE}


def wait_for_nobody(server: Server) -> None:
    """Block until nobody is left of a server whose master was killed; to reap them is process 1's business."""
    deadline = time.monotonic() + 10
    for process in processes.of_sessions({server.pid}):
        processes.wait_for_end(process.pid, deadline - time.monotonic())
    assert [each for each in processes.of_sessions({server.pid}) if each.state != processes.ZOMBIE] == []
