"""What depends on the order in which the master hears of things, and can't be brought about from outside."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from prefork.logs import logger
from prefork.master import channel as channels
from prefork.master.master import Deployment, Master
from prefork.master.signals import fork
from prefork.master.site import Site
from prefork.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    child = master._children.adopt(('main', 1, 0), ours, Site(deployment()))
    master._receive(child)
    assert child.pid == pid
