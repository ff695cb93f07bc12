"""What depends on the order in which the master hears of things, and can't be brought about from outside."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

import pytest

from prefork.logs import logger
from prefork.master import channel as channels
from prefork.master.channel import Channel
from prefork.master.master import Deployment, Master
from prefork.master.signals import fork
from prefork.master.site import Site
from prefork.master.supervisor import Supervisor
from prefork.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from prefork.master.orders import Key, Order

KEY = ('main', 1, 0)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:] = [caplog.handler]
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield caplog
    logger.handlers[:], logger.level, logger.propagate = before


def deployment() -> Deployment:
    return Deployment({'main': Settings({'workers': 1})}, lambda name: None)  # type: ignore[arg-type, return-value]


def test_last_words_are_heard_before_the_death(log: pytest.LogCaptureFixture) -> None:
    """SIGCHLD may be all that select has returned for, with a message from the dead still to be read."""
    master = Master(deployment)
    ours, theirs = channels.pair()

    def fail() -> int:
        theirs.send('failed', reason='no database')
        return 78

    pid = fork(fail)
    theirs.close()
    site = Site(deployment())
    master._children.adopt(1, ours, site, pid)
    master._supervisor.reload(0.0, site.plan(forks_from_molds=True))
    master._supervisor.mold_started(0.0, 1, pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    master._reap()
    assert master._status == 78
    assert 'the application cannot be loaded: no database' in log.messages


def test_which_process_a_worker_is_the_kernel_says() -> None:
    """It may be another user's, and what it says of itself is whom root would kill."""
    master = Master(deployment)
    ours, theirs = channels.pair()

    def lie() -> int:
        theirs.send('spawned', pid=1)
        return 0

    pid = fork(lie)
    theirs.close()
    os.waitpid(pid, 0)
    child = master._children.adopt(KEY, ours, Site(deployment()))
    master._receive(child)
    assert child.pid == pid


@pytest.mark.parametrize('first', ['the worker', 'its mold'])
def test_the_mold_and_the_worker_may_both_say_who_it_is(first: str) -> None:
    """What they send is received at once: the kernel's word on the one isn't taken for that on the other."""
    master = Master(deployment)
    ours, theirs = channels.pair()

    def greet() -> int:
        theirs.send('spawned', pid=os.getpid())
        return 0

    child = master._children.adopt(KEY, ours, Site(deployment()), mold=os.getpid())
    mold = Channel(socket.socket(fileno=os.dup(theirs.fileno())))
    pid = fork(greet)
    if first == 'the worker':
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    mold.send('forked', pid=pid)
    os.waitpid(pid, 0)
    mold.close()
    theirs.close()
    master._receive(child)  # to its end, so that ours is closed
    assert child.pid == pid


def test_a_worker_says_of_no_other_that_it_was_forked(log: pytest.LogCaptureFixture) -> None:
    master = Master(deployment)
    ours, theirs = channels.pair()

    def lie() -> int:
        theirs.send('forked', pid=os.getppid())
        return 0

    pid = fork(lie)
    os.waitpid(pid, 0)
    child = master._children.adopt(KEY, ours, Site(deployment()), pid, mold=os.getpid())
    master._receive(child)
    assert child.pid == pid
    assert log.messages == [f"process {pid} is killed for what it sent: forked: LookupError('forked')"]
    theirs.close()


@pytest.mark.parametrize('pid', [0, -1, 1 << 31, 1 << 70, 'x', None])
def test_a_pid_that_is_none_is_not_the_end_of_the_master(pid: Any, log: pytest.LogCaptureFixture) -> None:
    master = Master(deployment)
    ours, theirs = channels.pair()
    child = master._children.adopt(KEY, ours, Site(deployment()), mold=os.getpid())
    theirs.send('forked', pid=pid)
    master._receive(child)
    assert (child.pid, child.reachable) == (0, False)
    assert 'is killed for what it sent: forked: ' in log.messages[0]
    theirs.close()


def test_what_a_worker_said_is_not_taken_for_the_next_one_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mold says why there is none, and its channel ends: by then another may have been ordered."""
    master = Master(deployment)
    site = Site(deployment())
    told: list[str] = []

    def unspawned(now: float, key: Key, reason: str) -> list[Order]:
        told.append(reason)
        master._children.release(key)
        master._children.adopt(key, channels.closed(), site)
        return []

    monkeypatch.setattr(Supervisor, 'unspawned', lambda self, *args: unspawned(*args))
    ours, theirs = channels.pair()
    child = master._children.adopt(KEY, ours, site, mold=os.getpid())
    theirs.send('unspawned', reason='no memory')
    theirs.send('unspawned', reason='not said')
    theirs.close()
    master._receive(child)
    assert told == ['no memory']
    for successor in master._children:
        master._children.hang_up(successor)
