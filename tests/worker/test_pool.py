"""The pool alone: slots that are used again, whom a newcomer may displace, and the descriptors that it all takes."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, cast

import pytest

from prefork.worker.phase import Phase
from prefork.worker.pool import Pool, allow_descriptors

if TYPE_CHECKING:
    from prefork.worker.connection import Connection


class Stub:
    """What the pool knows of a connection."""

    def __init__(self, name: str = '', phase: Phase = Phase.FREE, since: float = 0.0, waiter: object = None) -> None:
        self.name = name
        self.phase = phase
        self.since = since
        self.waiter = waiter


def pool_of(*stubs: Stub) -> Pool:
    waiting = list(stubs)
    pool = Pool(len(stubs), lambda: cast('Connection', waiting.pop(0)))
    for _ in stubs:
        pool.take()
    return pool


def test_slots_are_made_once() -> None:
    made: list[Stub] = []

    def make() -> Connection:
        made.append(Stub())
        return cast('Connection', made[-1])

    pool = Pool(2, make)
    assert (pool.full, len(made)) == (False, 0), 'none before it is needed'
    first = pool.take()
    second = pool.take()
    assert (pool.full, list(pool.used)) == (True, [first, second])
    pool.give_back(first)
    assert (pool.full, list(pool.used)) == (False, [second])
    assert pool.take() is first
    assert len(made) == 2


IDLE, RUNNING = Phase.IDLE, Phase.RUNNING


@pytest.mark.parametrize(
    ('stubs', 'victim'),
    [
        pytest.param([Stub('a', IDLE, 5), Stub('b', IDLE, 3), Stub('c', IDLE, 4)], 'b', id='the longest idle'),
        pytest.param([Stub('a', Phase.RECEIVING, 0), Stub('b', IDLE, 9.9)], 'b', id='idle before slow'),
        pytest.param([Stub('a', Phase.RECEIVING, 8), Stub('b', Phase.SENDING, 7)], 'b', id='the slowest'),
        pytest.param([Stub('a', Phase.HANDSHAKE, 8), Stub('b', RUNNING, 1)], 'a', id='a handshake'),
        pytest.param([Stub('a', Phase.RECEIVING, 9.5), Stub('b', Phase.SENDING, 9.5)], None, id='none is slow yet'),
        pytest.param([Stub('a', RUNNING, 0)], None, id='never a call'),
        pytest.param([Stub('a', Phase.SENDING, 0, object())], None, id='never a call that is parked'),
    ],
)
def test_the_victim(stubs: list[Stub], victim: str | None) -> None:
    found = pool_of(*stubs).victim(now=10.0)
    assert getattr(found, 'name', None) == victim


INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ('soft', 'hard', 'raised', 'short'),
    [
        pytest.param(1024, 4096, (2128, 4096), 0, id='raised as far as it takes'),
        pytest.param(1024, INFINITE, (2128, INFINITE), 0, id='the hard limit is none'),
        pytest.param(4096, 8192, None, 0, id='there are enough'),
        pytest.param(INFINITE, INFINITE, None, 0, id='there is no limit'),
        pytest.param(1024, 2000, (2000, 2000), 0, id='enough for the sockets alone'),
        pytest.param(1024, 1024, None, 104, id='not even for the sockets'),
    ],
)
def test_descriptors(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: tuple[int, int] | None, short: int
) -> None:
    """A thousand connections take a socket and at times a file each, and what is around them takes 128."""
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, 'getrlimit', lambda kind: (soft, hard))
    monkeypatch.setattr(resource, 'setrlimit', lambda kind, values: limits.append(values))
    assert allow_descriptors(1000) == short
    assert limits == ([] if raised is None else [raised])
