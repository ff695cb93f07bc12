"""Signals on a descriptor, and forks that neither lose one nor hear one of somebody else's."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from prefork.master.signals import Signals, fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def signals() -> Iterator[Signals]:
    opened = Signals((signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP))
    yield opened
    opened.close()


def next_signals(signals: Signals) -> list[int]:
    assert select.select([signals], [], [], 10)[0]
    return signals.read()


def test_a_signal_wakes_and_says_its_number(signals: Signals) -> None:
    assert signals.read() == []
    os.kill(os.getpid(), signal.SIGUSR1)
    assert next_signals(signals) == [signal.SIGUSR1]
    os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGUSR1)
    got = next_signals(signals)
    assert sorted(got) == [signal.SIGUSR1, signal.SIGUSR2]


def test_closing_gives_the_signals_back() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        Signals((signal.SIGUSR1,)).close()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def in_child(child: Callable[[], int]) -> int:
    """The exit status of a fork that runs ``child``."""
    return os.waitstatus_to_exitcode(os.waitpid(fork(child), 0)[1])


def test_a_fork_ends_with_what_its_function_returns() -> None:
    assert in_child(lambda: 7) == 7


def test_a_fork_never_comes_back() -> None:
    def fail() -> int:
        raise SystemExit(3)

    assert in_child(fail) == 70


def test_a_fork_hears_its_own_signals_alone(signals: Signals) -> None:
    """Were the wake-up descriptor shared for a moment, the parent would take the child's signal for its own."""
    reader, writer = os.pipe()

    def child() -> int:
        os.write(writer, b'.')
        os.read(block, 1)
        return 0

    block, release = os.pipe()
    pid = fork(child)
    os.kill(pid, signal.SIGHUP)  # it may be at any point between its fork and its function
    assert os.read(reader, 1) == b'.'
    os.kill(pid, signal.SIGUSR1)
    os.write(release, b'.')
    assert os.waitpid(pid, 0)[1] == 0, 'what is meant for the master does not end a child'
    assert signals.read() == []
    for descriptor in (reader, writer, block, release):
        os.close(descriptor)


DEFAULTS = {'SIGTERM': signal.SIGTERM, 'SIGALRM': signal.SIGALRM, 'SIGCHLD': signal.SIGCHLD}


@pytest.mark.parametrize('number', DEFAULTS.values(), ids=DEFAULTS)
def test_a_fork_begins_with_defaults(number: signal.Signals) -> None:
    before = signal.signal(number, lambda *_: None)
    try:
        assert in_child(lambda: int(signal.getsignal(number) is signal.SIG_DFL)) == 1
        assert in_child(lambda: len(signal.pthread_sigmask(signal.SIG_BLOCK, []))) == 0
    finally:
        signal.signal(number, before)


def test_programs_that_a_child_runs_are_not_deaf() -> None:
    """SIG_IGN would be inherited through exec, a handler is not: the shell would go on after its SIGHUP."""

    def child() -> int:
        shell = subprocess.run(['sh', '-c', 'kill -HUP $$; exit 5'], check=False)
        return -shell.returncode

    assert in_child(child) == signal.SIGHUP


def test_what_is_buffered_is_written_once() -> None:
    program = (
        'import os, sys; from prefork.master.signals import fork\n'
        'sys.stdout.write("once\\n"); os.waitpid(fork(lambda: 0), 0)'
    )
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONUNBUFFERED'}
    command = [sys.executable, '-c', program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == 'once\n'
