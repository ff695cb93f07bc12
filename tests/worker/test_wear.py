"""Wear: so many requests, or so much memory, and it is told once."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from resource import getpagesize
from typing import TYPE_CHECKING, Any

import pytest

from prefork.scoreboard import Scoreboard
from prefork.settings import Settings
from prefork.worker import memory, wear
from prefork.worker.wear import NEVER, WEIGH_INTERVAL, Wear
from tests.worker.harness import DEADLINE, hello

if TYPE_CHECKING:
    from tests.worker.conftest import Serve
    from tests.worker.harness import Log

MIB = 1 << 20


class Scale:
    """A process of a size that the test gives it."""

    size_now = 10 * MIB
    looks = 0

    def size(self) -> int:
        Scale.looks += 1
        return Scale.size_now


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> type[Scale]:
    monkeypatch.setattr(memory, 'Memory', Scale)
    Scale.size_now, Scale.looks = 10 * MIB, 0
    return Scale


def make(reasons: list[str], row: Any = None, **options: Any) -> Wear:
    return Wear(Settings(options), row, reasons.append)


def test_without_limits_nothing_is_looked_at(scale: type[Scale]) -> None:
    reasons: list[str] = []
    worn = make(reasons)
    assert worn.enough == NEVER
    assert worn.weigh(1000.0, 1000) == NEVER
    assert scale.looks == 0


def test_the_number_of_requests_has_a_jitter() -> None:
    assert make([], max_requests=100).enough == 100
    numbers = {make([], max_requests=100, max_requests_jitter=3).enough for _ in range(200)}
    assert numbers == {100, 101, 102, 103}


def test_where_nobody_wants_to_know_nothing_wears() -> None:
    worn = Wear(Settings({'max_requests': 1, 'max_rss': 1}), None, None)
    assert worn.enough == NEVER
    assert worn.weigh(1000.0, 1000) == NEVER
    worn.report('whatever')


def test_it_is_told_once(scale: type[Scale]) -> None:
    reasons: list[str] = []
    worn = make(reasons, max_requests=1, max_rss=20 * MIB)
    worn.report('one')
    worn.report('two')
    assert reasons == ['one']
    assert worn.enough == NEVER
    scale.size_now = 30 * MIB
    assert worn.weigh(1000.0, 1000) == NEVER
    assert reasons == ['one']


def test_memory_is_looked_at_now_and_then_and_only_after_requests(scale: type[Scale]) -> None:
    reasons: list[str] = []
    row = Scoreboard(1)[0]
    worn = make(reasons, row, max_rss=20 * MIB)
    assert (scale.looks, row.get('rss')) == (1, 10 * MIB)
    assert worn.weigh(100.0, 0) == NEVER
    assert scale.looks == 1
    scale.size_now = 20 * MIB
    assert worn.weigh(100.0, 5) == NEVER
    assert (scale.looks, row.get('rss')) == (2, 20 * MIB)
    assert worn.weigh(100.1, 6) == 100.0 + WEIGH_INTERVAL, 'it is to be looked at then'
    assert scale.looks == 2
    scale.size_now = 21 * MIB
    assert worn.weigh(100.0 + WEIGH_INTERVAL, 6) == NEVER
    assert reasons == ['it has 21 MiB of memory, more than max_rss']


def test_a_limit_that_no_worker_can_keep_is_an_error_and_not_a_loop(scale: type[Scale], log: Log) -> None:
    reasons: list[str] = []
    worn = make(reasons, max_rss=5 * MIB)
    assert worn.weigh(100.0, 5) == NEVER
    assert reasons == []
    assert 'max_rss has no effect: a fresh worker has 10 MiB already' in log.text


def test_memory_is_the_resident_one() -> None:
    size = memory.Memory().size()
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    assert size == pytest.approx(pages * getpagesize(), rel=0.2)


# --- in a loop ----------------------------------------------------------------------------------------------------


def test_a_worker_tells_when_it_has_answered_enough_and_serves_on(serve: Serve) -> None:
    reasons: SimpleQueue[str] = SimpleQueue()
    client = serve(hello, max_requests=3, on_worn=reasons.put).connect()
    for _ in range(2):
        client.get()
    assert reasons.empty()
    client.get()
    assert reasons.get(timeout=DEADLINE) == 'it has answered 3 requests'
    assert client.get().headers.get('connection') != 'close'
    assert reasons.empty()


def test_a_worker_tells_when_it_is_too_large_and_sleeps_between(
    serve: Serve, scale: type[Scale], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wear, 'WEIGH_INTERVAL', 0.2)
    reasons: SimpleQueue[str] = SimpleQueue()
    worker = serve(hello, max_rss=20 * MIB, on_worn=reasons.put)
    client = worker.connect()
    client.get()
    worker.in_loop(lambda: worker.loop._sweep(worker.loop.clock()))
    client.get()
    scale.size_now = 30 * MIB
    client.close()
    worker.until_connected(0)
    worker.in_loop(lambda: worker.loop._sweep(worker.loop.clock()))
    assert reasons.get(timeout=DEADLINE) == 'it has 30 MiB of memory, more than max_rss'
    worker.until(lambda: worker.loop._next_sweep == float('inf'))
    assert scale.looks == 3
