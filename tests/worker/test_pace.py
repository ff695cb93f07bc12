"""How fast clients have to be: min_rate, and what it forgives; client_socket_timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prefork.worker.pace import BURST, GRACE, SAMPLE, Pace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RATE = 500
NEVER = float('inf')
LONG = 100_000.0  # seconds: whoever is not too slow by then never is


def end_of(
    moves: Iterable[tuple[float, int]], *, rate: int = RATE, patience: float = 0.0, until: float = LONG
) -> float:
    """When a client of whose transfer ``moves`` tells, as pairs of the time and what has moved by then, is too slow."""
    pace = Pace(rate, patience, 0)
    pace.wait(0.0, 0)
    deadline = pace.deadline(0.0, 0)
    for now, moved in moves:
        if now >= deadline or now > until:
            break
        deadline = pace.deadline(now, moved)
    return deadline if deadline <= until else NEVER


def steady(rate: float, *, step: int = 0, start: float = 0.0, before: int = 0) -> Iterator[tuple[float, int]]:
    """Moves at ``rate`` bytes a second, once a second or whenever ``step`` bytes are together."""
    interval = step / rate if step else 1.0
    for count in range(1, int(LONG / interval) + 2):
        yield start + count * interval, before + int(count * interval * rate)


def reader(rate: float) -> Iterator[tuple[float, int]]:
    """What is seen of a client over loopback: its kernel takes 64 KiB, and then more as soon as those are read."""
    yield 0.0, STEP
    yield from steady(rate, step=STEP, before=STEP)


STEP = 65536
MUCH = 10 * BURST
SAVED = GRACE + BURST / RATE


@pytest.mark.parametrize(
    ('moves', 'end'),
    [
        pytest.param([], GRACE, id='nothing'),
        pytest.param(steady(1), GRACE * (1 + 1 / RATE), id='a byte a second'),
        pytest.param(steady(RATE * 0.9), GRACE * 10, id='a little too slow'),
        pytest.param(steady(RATE), NEVER, id='just fast enough'),
        pytest.param(reader(RATE * 1.01), NEVER, id='fast enough in large steps'),
        pytest.param(reader(RATE * 0.9), GRACE + STEP / RATE, id='too slow in large steps'),
        pytest.param([(0.1, 1000)], GRACE + 1000 / RATE, id='a little, then nothing'),
        pytest.param([(0.1, MUCH)], 0.1 + SAVED, id='much, then nothing'),
        pytest.param([(0.1, MUCH), *steady(1, start=0.1, before=MUCH)], 0.1 + SAVED, id='much, then a byte a second'),
        pytest.param([(0.1, MUCH), (200.0, MUCH + 1), (250.0, 2 * MUCH)], 250 + SAVED, id='with long breaks'),
    ],
)
def test_the_rate(moves: Iterable[tuple[float, int]], end: float) -> None:
    # A step that is due is counted when it comes, and for a step that is late nobody waits.
    assert end_of(moves) == pytest.approx(end, rel=0.1)


def test_without_a_rate_only_silence_counts() -> None:
    assert end_of(steady(0.001), rate=0) == NEVER
    assert end_of([], rate=0, patience=900.0) == 900.0
    assert end_of(steady(0.01, step=1), rate=0, patience=90.0) == 90.0
    assert end_of(steady(0.01, step=1), rate=0, patience=110.0) == NEVER


def test_silence_ends_it_whatever_was_saved() -> None:
    assert end_of([(1.0, MUCH)], patience=60.0) == 61.0
    assert end_of([(1.0, MUCH), (2.0, MUCH)], patience=60.0) == 61.0, 'a look at it is no progress'


def test_what_the_application_takes_is_not_the_clients_time() -> None:
    pace = Pace(RATE, 60.0, 0)
    pace.wait(0.0, 0)
    pace.pause(4.0)
    pace.wait(1000.0, 0)
    assert pace.deadline(1000.0, 0) == 1000.0 + GRACE - 4.0
    pace.pause(1002.0)
    pace.wait(5000.0, 0)
    assert pace.deadline(5000.0, 1000) == 5000.0 + GRACE - 6.0 + 2.0, 'what came meanwhile is counted'


def test_a_transfer_that_others_precede() -> None:
    """What the kernel still had to send of a response before this one counts for it, and not against it."""
    pace = Pace(RATE, 0.0, -1000)
    assert pace.wait(0.0, -1000) == GRACE
    assert pace.deadline(1.0, 0) == GRACE + 1000 / RATE


def test_who_keeps_up() -> None:
    """Lately: what fills its buffer at once says nothing of how it goes on."""
    pace = Pace(RATE, 0.0, 0)
    pace.wait(100.0, MUCH)
    assert pace.keeps_up, 'nothing else is known'
    assert not pace.may_judge(100.0 + SAMPLE / 2)
    moved = MUCH
    for now, more, keeps_up in [(101.0, BURST, True), (103.0, 2 * RATE, True), (105.0, 2 * RATE - 1, False)]:
        moved += more
        assert pace.may_judge(now)
        pace.judge(now, moved)
        assert pace.keeps_up is keeps_up
    pace.wait(106.0, moved)
    assert pace.keeps_up, 'it read what it had to'
    free = Pace(0, 0.0, 0)
    free.wait(0.0, 0)
    free.judge(1e9, 0)
    assert free.keeps_up, 'nothing is asked of it'


def test_how_often_to_look() -> None:
    pace = Pace(RATE, 60.0, 0)
    pace.wait(100.0, 0)
    assert pace.next_look == 115.0
    assert Pace(RATE, 0.0, 0)._patience == NEVER
