"""sd_notify's protocol, against a socket of the test's own: what is said and when, and that it can do no harm."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from prefork.errors import EX_CONFIG
from prefork.master.report import Report, State
from prefork.master.systemd import PATIENCE, Manager
from tests.master.site import APP, Waiting, get, hang_up, molds, without_descriptors, workers
from tests.serving import start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.master.site import Site

PID = 4711
STARTING = Report(State.STARTING, 'starting', None, False)
READY = Report(State.READY, 'ready', None, True)
RELOADING = Report(State.RELOADING, 'reloading', None, True)
STOPPING = Report(State.STOPPING, 'stopping', None, True)
HUNG = Report(State.READY, 'ready', None, False)


class Notified:
    """A manager's socket, at ``address`` as NOTIFY_SOCKET has it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind('\0' + address[1:] if address.startswith('@') else address)
        self.environment = {'NOTIFY_SOCKET': address}
        self.history: list[str] = []
        """What was waited for, and what came before it."""

    def take(self) -> list[str]:
        """The messages that have come, each with its lines separated by blanks."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(4096, socket.MSG_DONTWAIT).decode().replace('\n', ' | '))
        return found

    def wait_for(self, pattern: str, timeout: float = 20.0) -> str:
        """The next message that matches."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0]:
                message = self._socket.recv(4096).decode().replace('\n', ' | ')
                self.history.append(message)
                if re.search(pattern, message):
                    return message
        raise AssertionError(f'no message with {pattern!r}; there were:\n' + '\n'.join(self.history))

    def fill(self) -> None:
        """Leave no room for another message."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(BlockingIOError):
            sock.setblocking(False)
            sock.connect(self._socket.getsockname())
            while True:
                sock.send(b'FULL=1')

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[Notified]:
    made = Notified(f'{tmp_path}/notify')
    yield made
    made.close()


@pytest.fixture
def manager(notified: Notified) -> Manager:
    return Manager(notified.environment, PID)


def watching(notified: Notified, microseconds: int, pid: int = PID) -> Manager:
    watchdog = {'WATCHDOG_USEC': str(microseconds), 'WATCHDOG_PID': str(pid)}
    return Manager({**notified.environment, **watchdog}, PID)


# --- what is told ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('address', ['{folder}/socket', '@prefork-test-{pid}'])
def test_a_life(address: str, tmp_path: Path) -> None:
    notified = Notified(address.format(folder=tmp_path, pid=os.getpid()))
    manager = Manager(notified.environment, PID)
    for now, report in enumerate((STARTING, STARTING, READY, READY, STOPPING, STOPPING)):
        manager.tell(float(now), report)
    assert notified.take() == [
        'STATUS=starting',
        'READY=1 | MAINPID=4711 | STATUS=ready',
        'STOPPING=1 | STATUS=stopping',
    ]
    notified.close()


def test_a_reload(manager: Manager, notified: Notified) -> None:
    manager.tell(0.0, READY)
    notified.take()
    manager.reloading(12.3456789)
    manager.tell(13.0, RELOADING)
    manager.tell(14.0, READY)
    manager.tell(15.0, READY)
    assert notified.take() == [
        'RELOADING=1 | MONOTONIC_USEC=12345678',
        'STATUS=reloading',
        'READY=1 | MAINPID=4711 | STATUS=ready',
    ]


def test_a_reload_that_fails_at_once(manager: Manager, notified: Notified) -> None:
    manager.tell(0.0, READY)
    notified.take()
    manager.reloading(1.0)
    manager.tell(1.0, READY)
    assert notified.take() == ['RELOADING=1 | MONOTONIC_USEC=1000000', 'READY=1 | MAINPID=4711']


def test_a_reload_that_is_superseded_is_over_when_the_last_one_is(manager: Manager, notified: Notified) -> None:
    manager.tell(0.0, READY)
    manager.reloading(1.0)
    manager.tell(1.0, RELOADING)
    manager.reloading(2.0)
    manager.tell(2.0, RELOADING)
    notified.take()
    manager.tell(3.0, READY)
    assert notified.take() == ['READY=1 | MAINPID=4711 | STATUS=ready']


def test_a_generation_that_nobody_asked_for_is_no_reload(manager: Manager, notified: Notified) -> None:
    """It replaces a dead mold."""
    manager.tell(0.0, READY)
    notified.take()
    manager.tell(1.0, RELOADING)
    manager.tell(2.0, READY)
    assert notified.take() == ['STATUS=reloading', 'STATUS=ready']


def test_a_hangup_during_the_start_is_no_reload(manager: Manager, notified: Notified) -> None:
    manager.tell(0.0, STARTING)
    manager.reloading(1.0)
    manager.tell(1.0, STARTING)
    manager.tell(2.0, READY)
    assert notified.take() == ['STATUS=starting', 'READY=1 | MAINPID=4711 | STATUS=ready']


def test_a_stop_during_a_reload(manager: Manager, notified: Notified) -> None:
    manager.tell(0.0, READY)
    manager.reloading(1.0)
    notified.take()
    manager.tell(2.0, STOPPING)
    assert notified.take() == ['STOPPING=1 | STATUS=stopping']


def test_a_line_is_not_too_long_for_a_message(manager: Manager, notified: Notified) -> None:
    manager.tell(0.0, Report(State.STARTING, '\N{GRINNING FACE}' * 10_000, None, False))
    (message,) = notified.take()
    assert len(message.encode()) < 4096
    manager.tell(1.0, Report(State.STARTING, '\udcff', None, False))
    assert notified.take() == ['STATUS=?'], 'what no encoding has is no reason to fail'


# --- time --------------------------------------------------------------------------------------------------------


def test_the_manager_is_asked_for_more_time_where_we_take_more_than_it_gives(
    manager: Manager, notified: Notified
) -> None:
    def until(when: float, state: State = State.STARTING) -> Report:
        return Report(state, '', when, False)

    manager.tell(100.0, until(100.0 + 60))
    assert notified.take() == [], 'a minute is less'
    manager.tell(110.0, until(110.0 + PATIENCE))
    assert notified.take() == ['EXTEND_TIMEOUT_USEC=95000000']
    manager.tell(111.0, until(110.0 + PATIENCE))
    assert notified.take() == [], 'it knows'
    manager.tell(120.0, until(120.0 + PATIENCE))
    assert notified.take() == ['EXTEND_TIMEOUT_USEC=95000000']
    manager.tell(121.0, until(121.0 + 300, State.STOPPING))
    assert notified.take() == ['STOPPING=1 | EXTEND_TIMEOUT_USEC=305000000']


def test_the_watchdog_is_fed_at_half_its_interval_while_somebody_answers(notified: Notified) -> None:
    manager = watching(notified, 10_000_000)
    assert manager.watchdog == 10
    manager.tell(0.0, STARTING)
    assert notified.take() == ['STATUS=starting']
    assert manager.next_deadline() is None, 'before it is ready there is nothing to feed'
    manager.tell(1.0, READY)
    assert notified.take() == ['READY=1 | MAINPID=4711 | STATUS=ready | WATCHDOG=1']
    assert manager.next_deadline() == 6
    manager.tell(5.9, READY)
    assert notified.take() == []
    manager.tell(6.0, READY)
    assert notified.take() == ['WATCHDOG=1']
    assert manager.next_deadline() == 11
    manager.tell(10.9, HUNG)
    assert manager.next_deadline() == 11
    manager.tell(11.0, HUNG)
    manager.tell(12.0, HUNG)
    assert notified.take() == []
    assert manager.next_deadline() is None, 'only an answer can change that'
    manager.tell(13.0, READY)
    assert notified.take() == ['WATCHDOG=1'], 'at once'
    assert manager.next_deadline() == 18


@pytest.mark.parametrize(
    'variables',
    [
        {},
        {'WATCHDOG_USEC': '0'},
        {'WATCHDOG_USEC': 'x'},
        {'WATCHDOG_USEC': '1000000', 'WATCHDOG_PID': '1'},
    ],
)
def test_no_watchdog_is_fed_where_there_is_none(variables: dict[str, str], notified: Notified) -> None:
    manager = Manager({**notified.environment, **variables}, PID)
    assert manager.watchdog is None
    manager.tell(0.0, READY)
    assert notified.take() == ['READY=1 | MAINPID=4711 | STATUS=ready']
    assert manager.next_deadline() is None


def test_a_watchdog_without_a_pid_is_ours(notified: Notified) -> None:
    assert Manager({**notified.environment, 'WATCHDOG_USEC': '1500000'}, PID).watchdog == 1.5


# --- what can go wrong -------------------------------------------------------------------------------------------


def test_what_there_is_no_room_for_is_told_later(manager: Manager, notified: Notified) -> None:
    manager.tell(0.0, STARTING)
    notified.fill()
    manager.tell(1.0, READY)
    assert manager.next_deadline() == pytest.approx(1.2)
    notified.take()
    manager.tell(1.2, READY)
    assert notified.take() == ['READY=1 | MAINPID=4711 | STATUS=ready']
    assert manager.next_deadline() is None
    notified.fill()
    manager.reloading(2.0)
    manager.tell(2.0, READY)
    notified.take()
    manager.tell(2.2, READY)
    assert notified.take() == ['RELOADING=1 | MONOTONIC_USEC=2000000', 'READY=1 | MAINPID=4711'], 'in their order'


def test_what_no_socket_can_be_made_for_is_told_later(manager: Manager, notified: Notified) -> None:
    with without_descriptors(os.getpid()):
        manager.tell(1.0, READY)
        assert manager.next_deadline() == pytest.approx(1.2)
    manager.tell(1.2, READY)
    assert notified.take() == ['READY=1 | MAINPID=4711 | STATUS=ready']


def test_nobody_there_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager = Manager({'NOTIFY_SOCKET': f'{tmp_path}/nobody'}, PID)
    manager.tell(0.0, STARTING)
    manager.tell(1.0, READY)
    assert manager.next_deadline() is None
    assert [record.getMessage() for record in caplog.records] == [
        'the service manager cannot be told anything: No such file or directory'
    ]


# --- processes ---------------------------------------------------------------------------------------------------


REASON = 'the application cannot be loaded: app:app: importing app failed: ValueError: no database'


def test_a_service_from_its_start_to_its_end(site: Site, notified: Notified) -> None:
    site.write(APP)
    before = time.monotonic_ns() // 1000
    with site.start(workers=1, env=notified.environment) as server:
        ready = notified.wait_for('READY=1')
        assert f'MAINPID={server.pid} | STATUS=generation 1: 1 of 1 workers' in ready
        site.change(version='two')
        hang_up(server)
        moment = int(notified.wait_for('RELOADING=1').partition('MONOTONIC_USEC=')[2])
        assert before < moment < time.monotonic_ns() // 1000
        notified.wait_for('STATUS=generation 1: 1 of 1 workers; generation 2 loads')
        notified.wait_for('READY=1')
        server.stderr.wait_for('generation 2: loaded, 1 worker')
        site.write('raise ValueError("no database")\n')
        hang_up(server)
        notified.wait_for('RELOADING=1')
        assert notified.wait_for('READY=1').endswith(
            f'STATUS=reload failed: {REASON}; generation 2 serves on: 1 of 1 workers'
        )
        server.terminate()
        notified.wait_for('STOPPING=1')
        assert server.wait() == 0
        assert notified.take()[-1] == 'STATUS=stopping: 0 workers left'


def test_a_reload_that_is_superseded(site: Site, notified: Notified) -> None:
    with site.serve(env=notified.environment) as server:
        notified.wait_for('READY=1')
        site.write(APP + 'wait()\n')
        hang_up(server)
        site.wait_for_arrival()
        site.change(version='three')
        hang_up(server)
        notified.wait_for('READY=1')
        assert get(server, '/version') == 'three'
        told = [message.partition('=')[0] for message in notified.history if not message.startswith('STATUS=')]
        assert told == ['READY', 'RELOADING', 'RELOADING', 'READY']


def test_a_configuration_that_cannot_be_used(site: Site, notified: Notified) -> None:
    site.write(APP + '\n\ndef factory(global_conf):\n    return app\n')
    path = site.folder / 'app.ini'
    path.write_text('[server:main]\nport = 0\nworkers = 1\n[app:main]\nuse = call:app:factory\n')
    environment = {**notified.environment, **site.environment(None), 'PYTHONPATH': str(site.folder)}
    with start('app.ini', cwd=site.folder, env=environment) as server:
        notified.wait_for('READY=1')
        path.write_text('[server:main]\ncolour = red\n')
        hang_up(server)
        notified.wait_for('RELOADING=1')
        notified.wait_for(r'READY=1 .*STATUS=reload failed: .*app.ini:2: \[server:main\] colour: no such option')


def test_a_start_that_fails_says_why(site: Site, notified: Notified) -> None:
    site.write('raise ValueError("no database")\n')
    with site.start(env=notified.environment) as server:
        notified.wait_for(f'STATUS=start failed: {REASON}')
        assert server.wait() == EX_CONFIG
        assert not any('READY=1' in message for message in notified.take())


def test_the_watchdog_is_starved_when_all_hang_and_fed_when_they_are_replaced(site: Site, notified: Notified) -> None:
    environment = {**notified.environment, 'WATCHDOG_USEC': '2400000'}
    with site.start(env=environment, workers=1) as server:
        server.wait_until_ready()
        for _ in range(2):
            notified.wait_for('WATCHDOG=1')
        (hung,) = workers(server)
        site.write('import time\ntime.sleep(1000)\n')  # what replaces them hangs, too
        for pid in (*molds(server), hung):
            os.kill(pid, signal.SIGSTOP)
        server.stderr.wait_for('no worker answers: the watchdog of the service manager is not fed')
        notified.take()
        site.write(APP)
        hang_up(server)
        notified.wait_for('WATCHDOG=1')
        ready = server.stderr.wait_for(r'worker \S+ \(pid (\d+)\) is ready')
        assert int(get(server)) == int(ready[1]) != hung


def test_the_environment_is_not_for_the_application(site: Site, notified: Notified) -> None:
    site.write(
        'import os\nimport subprocess\n\ndef app(environ, start_response):\n    start_response("200 OK", [])\n'
        '    return [subprocess.run(["env"], capture_output=True).stdout]\n'
    )
    environment = {**notified.environment, 'WATCHDOG_USEC': '30000000', 'WATCHDOG_PID': '1'}
    with site.serve(env=environment, workers=1) as server:
        seen = get(server)
        assert 'PATH=' in seen
        assert 'NOTIFY_SOCKET' not in seen
        assert 'WATCHDOG' not in seen


def test_it_is_silent_and_lean_without_a_manager(site: Site) -> None:
    code = 'import sys, prefork.master.master; print("prefork.master.systemd" in sys.modules)'
    shown = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env={})
    assert shown.stdout == 'False\n'
    with site.serve(env={'NOTIFY_SOCKET': 'vsock:2:9999'}, workers=1) as server:
        assert get(server)
        assert 'WARNING' not in server.stderr.text


def test_a_request_in_flight_at_a_stop_is_reported(site: Site, notified: Notified) -> None:
    with site.start(env=notified.environment, workers=1) as server:
        notified.wait_for('READY=1')
        server.wait_until_ready()
        waiting = Waiting(server)
        site.wait_for_arrival()
        server.terminate()
        notified.wait_for('STOPPING=1 .*STATUS=stopping: 1 worker left')
        site.open_gate('finished')
        assert waiting.result() == 'finished'
        assert server.wait() == 0
