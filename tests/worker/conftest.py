"""The fixtures of the worker's tests: a server, its log, and a gate for its application."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import pytest

from tests.certificates import certificates
from tests.worker.harness import Gate, Log, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from tests.worker.harness import App

    Serve = Callable[..., Worker]

__all__ = ['certificates']  # a fixture from there


@pytest.fixture
def log() -> Iterator[Log]:
    """The ``prefork`` logger's records of this test, whatever other tests did to the logger."""
    logger = logging.getLogger('prefork')
    handler = Log()
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield handler
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def serve(log: Log) -> Iterator[Serve]:
    """``serve(app, **options)`` is a Worker.  When the test is over it is gone, and no bug of ours was logged."""
    workers: list[Worker] = []

    def start(app: App, **options: Any) -> Worker:
        parts = {name: options.pop(name, None) for name in ('access_log', 'row', 'on_worn')}
        worker = Worker(app, options, **parts)
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.stop()
    assert 'could not be handled' not in log.text
    assert 'the worker loop failed' not in log.text


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is open to everybody when the test is over."""
    made = Gate()
    yield made
    made.let(1000)


@pytest.fixture
def short_turns() -> Iterator[None]:
    """Threads take turns after a few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
