"""The pool alone: slots that are used again, whom a newcomer may displace, and the descriptors that it all takes."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any, cast

import pytest

from prefork.worker.phase import Phase
from prefork.worker.pool import Pool, allow_descriptors

if TYPE_CHECKING:
    from prefork.worker.connection import Connection


class Stub:
    """What the pool knows of a connection."""

    def __init__(
        self,
        name: str = '',
        phase: Phase = Phase.FREE,
        since: float = 0.0,
        *,
        kept: bool = False,
        keeps_up: bool = False,
        waiter: object = None,
    ) -> None:
        self.name = name
        self.phase = phase
        self.since = since
        self.kept = kept
        self.keeps_up = keeps_up
        self.waiter = waiter


def kept(name: str, since: float) -> Stub:
    """One that was answered, and may ask again."""
    return Stub(name, Phase.IDLE, since, kept=True)


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


HANDSHAKE, IDLE, RECEIVING, RUNNING = Phase.HANDSHAKE, Phase.IDLE, Phase.RECEIVING, Phase.RUNNING
STREAMING, SENDING, LINGERING = Phase.STREAMING, Phase.SENDING, Phase.LINGERING
PARKED: dict[str, Any] = {'waiter': object()}


@pytest.mark.parametrize(
    ('stubs', 'victim'),
    [
        pytest.param([kept('a', 5), kept('b', 3), kept('c', 4)], 'b', id='the longest idle'),
        pytest.param([Stub('a', RECEIVING, 0), kept('b', 9.9)], 'b', id='idle before slow'),
        pytest.param([kept('a', 3), Stub('b', LINGERING, 9.9), Stub('c', LINGERING, 9.8)], 'c', id='lingering before'),
        pytest.param([Stub('a', RECEIVING, 8), Stub('b', SENDING, 7)], 'b', id='the slowest'),
        pytest.param([Stub('a', HANDSHAKE, 8), Stub('b', RUNNING, 1)], 'a', id='a handshake'),
        pytest.param([Stub('a', Phase.PREFACE, 8), Stub('b', RUNNING, 1)], 'a', id='a preface'),
        pytest.param([Stub('a', IDLE, 8), Stub('b', RUNNING, 1)], 'a', id='one that never asked'),
        pytest.param([Stub('a', IDLE, 9.5), Stub('b', RECEIVING, 8)], 'b', id='not one that has just come'),
        pytest.param([Stub('a', RECEIVING, 9.5), Stub('b', SENDING, 9.5)], None, id='none is slow yet'),
        pytest.param([Stub('a', SENDING, 2, keeps_up=True), Stub('b', RECEIVING, 8)], 'b', id='who keeps up is later'),
        pytest.param([Stub('a', SENDING, 2, keeps_up=True), Stub('b', RUNNING, 8)], 'a', id='but not never'),
        pytest.param([Stub('a', RUNNING, 0)], None, id='never a call'),
        pytest.param([Stub('a', SENDING, 0, **PARKED), Stub('b', SENDING, 8)], 'b', id='a thread sleeps on'),
        pytest.param([Stub('a', SENDING, 0, **PARKED), Stub('b', RUNNING, 8)], 'a', id='but not for ever'),
        pytest.param([Stub('a', STREAMING, 0, **PARKED), Stub('b', RUNNING, 8)], 'a', id='nor for a body'),
    ],
)
def test_the_victim(stubs: list[Stub], victim: str | None) -> None:
    found = pool_of(*stubs).victim(now=10.0)
    assert getattr(found, 'name', None) == victim


@pytest.mark.parametrize(
    ('stubs', 'stuck'),
    [
        pytest.param([Stub('a', SENDING, 8, **PARKED), Stub('b', STREAMING, 7, **PARKED)], 'b', id='the longest'),
        pytest.param([Stub('a', SENDING, 9.8, **PARKED)], None, id='not yet'),
        pytest.param(
            [Stub('a', SENDING, 0, keeps_up=True, **PARKED), Stub('b', SENDING, 8, **PARKED)], 'b', id='the other reads'
        ),
        pytest.param([Stub('a', SENDING, 0, keeps_up=True, **PARKED)], None, id='all read'),
        pytest.param([Stub('a', SENDING, 0), kept('b', 0), Stub('c', RUNNING, 0)], None, id='no thread sleeps'),
        pytest.param([Stub('waiting', SENDING, 0, **PARKED)], None, id='it waits for a place itself'),
    ],
)
def test_for_whom_a_thread_sleeps_too_long(stubs: list[Stub], stuck: str | None) -> None:
    sleepers = cast('list[Connection]', [stub for stub in stubs if stub.name == 'waiting'])
    found = pool_of(*stubs).stuck(10.0, sleepers)
    assert getattr(found, 'name', None) == stuck


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
