"""scripts/chaos: its plan, what it takes for a loss and for an excuse, and as a whole, for a moment."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from chaoslib import actions, cli, processes, service
from chaoslib.clients import Client
from chaoslib.ledger import Gap, Harm, Ledger, Loss, excuse
from chaoslib.plan import DECK, steps
from chaoslib.service import Service
from chaoslib.site import BROKEN, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# --- the plan ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_plan() -> None:
    first, again, other = (list(itertools.islice(steps(seed), 100)) for seed in (1, 1, 2))
    assert first == again
    assert [step.action for step in first] != [step.action for step in other]


def test_a_plan_has_everything_in_it_before_it_begins_again() -> None:
    plan = list(itertools.islice(steps(3), 2 * sum(DECK.values())))
    for half in (plan[: len(plan) // 2], plan[len(plan) // 2 :]):
        assert sorted(step.action for step in half) == sorted(
            name for name, copies in DECK.items() for _ in range(copies)
        )


def test_every_action_of_the_plan_can_be_done() -> None:
    assert actions._ACTS.keys() == DECK.keys()


# --- excuses ----------------------------------------------------------------------------------------------------

HARMS = [Harm(7, 'kill a worker', 10.0, 10.2)]
GAPS = [Gap(50.0, 52.0)]
KILLED, PERHAPS, NOBODY = 'its worker: kill a worker', 'on a new connection, while somebody: kill a worker', 'no master'


def lost(worker: int | None, began: float, ended: float, wrong: bool = False) -> Loss:
    return Loss('text', 'ConnectionResetError()', worker, began, ended, wrong)


@pytest.mark.parametrize(
    ('loss', 'reason'),
    [
        pytest.param(lost(7, 9.0, 10.1), KILLED, id='inside the killed worker'),
        pytest.param(lost(7, 10.3, 10.4), KILLED, id='on a connection to the killed worker, a moment later'),
        pytest.param(lost(7, 9.0, 9.9), '', id='before it was killed'),
        pytest.param(lost(7, 90.0, 90.1), '', id='its pid is another one'),
        pytest.param(lost(8, 9.0, 10.1), '', id='inside another worker'),
        pytest.param(lost(7, 9.0, 10.1, wrong=True), '', id='a wrong answer'),
        pytest.param(lost(None, 9.0, 10.1), PERHAPS, id='new connection, when somebody was killed'),
        pytest.param(lost(None, 9.0, 9.9), '', id='new connection, before that'),
        pytest.param(lost(None, 10.4, 10.5), '', id='new connection, after that'),
        pytest.param(lost(None, 9.0, 10.1, wrong=True), '', id='new connection, a wrong answer'),
        pytest.param(lost(None, 51.0, 51.1), NOBODY, id='new connection, without a master'),
        pytest.param(lost(None, 52.1, 52.2), '', id='new connection to the new master'),
        pytest.param(lost(8, 51.0, 51.1), '', id='inside a worker whose master was killed'),
    ],
)
def test_an_excuse(loss: Loss, reason: str) -> None:
    assert excuse(loss, HARMS, GAPS).endswith(reason)
    assert bool(excuse(loss, HARMS, GAPS)) == bool(reason)


# --- the report -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('loss', 'problem', 'answered', 'status'),
    [
        pytest.param(None, '', 1, 0, id='nothing is lost'),
        pytest.param(lost(7, 9.0, 10.1), '', 1, 0, id='what is lost is excused'),
        pytest.param(lost(8, 9.0, 10.1), '', 1, 1, id='something is lost'),
        pytest.param(None, 'something', 1, 1, id='a problem'),
        pytest.param(None, '', 0, 1, id='nothing is answered'),
    ],
)
def test_the_status_of_a_report(
    loss: Loss | None, problem: str, answered: int, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger()
    ledger.harms += HARMS
    for _ in range(answered):
        ledger.count_answer('text')
    if loss is not None:
        ledger.add(loss)
    if problem:
        ledger.complain(problem)
    assert cli.report(ledger) == status
    shown = capsys.readouterr().out
    assert ('ConnectionResetError() from' in shown.replace(',', '')) == (loss is not None and bool(status))
    assert problem in shown


# --- clients ----------------------------------------------------------------------------------------------------

# What a server says, in which TOKEN is what was asked for.
ANSWERS = {
    'right': (b'HTTP/1.1 200 OK\r\nConnection: close\r\nX-Worker: 7\r\nContent-Length: 800\r\n\r\nTOKEN', None, 7),
    'another one': (b'HTTP/1.1 200 OK\r\nConnection: close\r\nX-Worker: 7\r\nContent-Length: 5\r\n\r\nhello', True, 7),
    'another status': (b'HTTP/1.1 503 Full\r\nConnection: close\r\nContent-Length: 800\r\n\r\nTOKEN', True, None),
    'too short': (b'HTTP/1.1 200 OK\r\nConnection: close\r\nX-Worker: 7\r\nContent-Length: 800\r\n\r\nhello', False, 7),
    'broken off': (b'HTTP/1.1 200 OK\r\nX-Wor', False, None),
    'none': (b'', False, None),
    'not HTTP': (b'hello\r\n\r\n', False, None),
}


@pytest.mark.parametrize(('answer', 'wrong', 'worker'), ANSWERS.values(), ids=ANSWERS)
def test_a_client_looks_at_its_answer(answer: bytes, wrong: bool | None, worker: int | None) -> None:
    ledger = Ledger()
    with socket.create_server(('127.0.0.1', 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                token = connection.recv(1000).split()[1].rpartition(b'/')[2]
                text = token * 50
                connection.sendall(answer.replace(b'800', b'%d' % len(text)).replace(b'TOKEN', text))

        thread = threading.Thread(target=serve)
        thread.start()
        right = Client(0, listener.getsockname()[1], ledger, keeps=False).ask('text')
        thread.join()
    assert right == (wrong is None)
    assert ledger.answered.total() == right
    assert [(loss.wrong, loss.worker) for loss in ledger.losses] == ([] if right else [(wrong, worker)])


# --- the server -------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def served(tmp_path: Path, ledger: Ledger) -> Iterator[Service]:
    running = Service(Site(tmp_path, 2), ledger)
    try:
        yield running
    finally:
        running.close()


def test_who_is_left_over_by_a_dead_master_is_found(
    served: Service, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that doesn't read keeps one from ending."""
    monkeypatch.setattr(service, 'LEAVE_TIME', 0.0)
    with socket.create_connection(('127.0.0.1', served.port), 10) as client:
        client.sendall(b'GET /large/x HTTP/1.1\r\nHost: chaos\r\n\r\n')
        head = client.recv(65536)
        worker = re.search(rb'X-Worker: (\d+)', head)
        assert worker, head
        master = served.master
        served.kill_master()
        served._look(time.monotonic())
    assert f'left over by master {master}: process {int(worker[1])} (python' in ' '.join(ledger.problems)


def test_a_zombie_that_nobody_reaps_is_found(served: Service, ledger: Ledger) -> None:
    """The master is stopped, and a worker of it killed."""
    victim = served.workers()[0]
    served.signal(signal.SIGSTOP)
    os.kill(victim, signal.SIGKILL)
    processes.wait_for_end(victim, 10)
    for _ in range(service.ZOMBIE_LOOKS):
        served._look(time.monotonic())
    served.signal(signal.SIGCONT)
    assert re.search(rf'a zombie: {victim} ', ' '.join(ledger.problems))


def test_a_succession_that_takes_too_long_is_found(
    served: Service, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.kill_master()
    assert ledger.problems == []
    monkeypatch.setattr(service, 'SUCCESSION_TIME', 0.0)
    served.kill_master()
    assert re.fullmatch(r'for \d+\.\d s there was no master', ledger.problems[0])


def test_who_starts_is_told_from_who_serves(served: Service) -> None:
    assert served.newest() is None
    served._site.break_application(BROKEN['reload an endless import'])
    served.signal(signal.SIGHUP)
    while (newest := served.newest()) is None:  # not forked yet
        os.sched_yield()
    os.kill(newest, signal.SIGKILL)
    served._server.stderr.wait_for(rf'generation 2 is given up; .* \(pid {newest}\) was killed by SIGKILL', 10)


@pytest.mark.parametrize('text', service.FORBIDDEN)
def test_a_bug_in_the_log_is_found(text: str, served: Service, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    served.check_log()
    assert ledger.problems == []
    monkeypatch.setattr(served, 'log', lambda: f'ERROR {text}\n')
    served.check_log()
    assert ledger.problems == [f'{text!r} is in the log, 1 times']


def test_a_server_that_ends_badly_is_found(served: Service, ledger: Ledger) -> None:
    served.signal(signal.SIGKILL)
    served.stop()
    assert 'exit status -9' in ledger.problems


# --- as a whole -------------------------------------------------------------------------------------------------


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(cli.__file__).replace('chaoslib/cli.py', 'chaos')]
    return subprocess.run([*script, *argv], capture_output=True, text=True, timeout=50, check=False)


def test_a_moment_of_everything_and_nothing_is_lost() -> None:
    done = run('--seed', '4', '--seconds', '4', '--workers', '2', '--clients', '4', '--verbose')
    assert (done.returncode, done.stderr) == (0, ''), done.stdout
    assert 'the server: exit status 0' in done.stdout
    planned = [step.action for step in itertools.islice(steps(4), 3)]
    assert re.findall(r'^\d+\.\d+ (.*)$', done.stdout, re.MULTILINE)[:3] == planned


def test_the_plan_is_printed_and_nothing_done() -> None:
    done = run('--seed', '4', '--plan', '5')
    assert done.returncode == 0
    assert [line[:28].strip() for line in done.stdout.splitlines()] == [
        step.action for step in itertools.islice(steps(4), 5)
    ]
