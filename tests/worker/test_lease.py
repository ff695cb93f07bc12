"""The handshake between a call and the leader: one of them has the connection, and no exception comes up outside."""

from __future__ import annotations

import io
import threading
from queue import SimpleQueue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from prefork.errors import RequestTimeout
from prefork.http1.body import CountedBody
from prefork.worker import lease
from prefork.worker.lease import Lease
from prefork.worker.stream import BodyStream
from tests.worker.harness import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable


def end(held: Lease, thread: int, since: float) -> bool:
    """What the leader does when it finds a call late."""
    with lease.handover:
        if not held.claim(since):
            return False
        lease.interrupt(thread)
        return True


class Call(threading.Thread):
    """A thread in which ``work`` is called between an entry and a leave; ``outcome`` is who has the connection then."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.lease = Lease()
        self.entered = threading.Event()
        self.outcome = ''
        self.stray: BaseException | None = None
        self._work = work
        self.start()

    def run(self) -> None:
        try:
            self._respond()
            for _ in range(50):
                pass  # what is still on its way would come up here
        except BaseException as error:
            self.stray = error

    def _respond(self) -> None:
        try:
            try:
                self.lease.enter()
                self.entered.set()
                self._work()
                self.lease.leave()
            except BaseException:
                self.lease.leave()
                raise
            self.outcome = 'the call'
        except RequestTimeout:
            self.outcome = 'the leader'

    def end(self) -> bool:
        """End the lease if the application has the thread; whether it had."""
        assert self.ident is not None
        since = self.lease.since
        return bool(since) and end(self.lease, self.ident, since)

    def result(self) -> str:
        self.join(DEADLINE)
        assert not self.is_alive()
        assert self.stray is None, f'{self.stray!r} came up after the call'
        return self.outcome


def test_a_call_that_is_not_late_knows_nothing_of_it() -> None:
    held = Lease()
    for _ in range(3):
        held.enter()
        assert held.since
        held.leave()
        assert not held.since
    assert not held.ended


def test_the_thread_is_interrupted() -> None:
    call = Call(lambda: threading.Event().wait(DEADLINE))
    assert call.entered.wait(DEADLINE)
    spinning = Call(lambda: [None for _ in iter(int, 1)])
    assert spinning.entered.wait(DEADLINE)
    assert spinning.end()
    assert spinning.result() == 'the leader'
    assert call.is_alive(), 'the other one is not'


def test_an_exception_that_comes_too_late_is_absorbed() -> None:
    """It is pending when the thread comes out of C code that the application ends with."""
    for _ in range(50):
        lock = threading.Lock()
        lock.acquire()
        call = Call(lock.acquire)
        assert call.entered.wait(DEADLINE)
        assert call.end()
        lock.release()
        assert call.result() == 'the leader'


def test_what_was_raised_and_swallowed_ends_the_lease_all_the_same() -> None:
    def swallow() -> None:
        try:
            while True:
                pass
        except BaseException:
            return

    call = Call(swallow)
    assert call.entered.wait(DEADLINE)
    assert call.end()
    assert call.result() == 'the leader'


def test_a_leader_that_comes_too_late_changes_nothing() -> None:
    held = Lease()
    held.enter()
    first = held.since
    held.leave()
    assert not end(held, 0, first), 'it has left'
    held.enter()
    assert not end(held, 0, first), 'it is in there again'
    held.leave()
    assert not held.ended


class Interleaved(Lease):
    """``between`` is called when an attribute is about to be written: what the other side does at that moment."""

    def __init__(self, attribute: str, between: Callable[[Interleaved], object]) -> None:
        super().__init__()
        self._attribute = attribute
        self._between: Callable[[Interleaved], object] | None = between

    def __setattr__(self, name: str, value: object) -> None:
        if name == getattr(self, '_attribute', None) and value in (0.0, True) and self._between is not None:
            between, self._between = self._between, None
            between(self)
        super().__setattr__(name, value)


def test_a_call_that_leaves_while_it_is_claimed_keeps_the_connection() -> None:
    held = Interleaved('claimed', Lease.leave)
    held.since = 1.0
    assert not held.claim(1.0)


def test_a_call_that_is_claimed_while_it_leaves_has_lost_the_connection() -> None:
    held = Interleaved('since', lambda held: held.claim(held.since))
    held._between, between = None, held._between
    held.since = 1.0
    held._between = between
    with pytest.raises(RequestTimeout):
        held.leave()


@pytest.mark.parametrize(('granted', 'outcome'), [(True, 'the leader'), (False, 'the call')])
def test_who_finds_itself_claimed_waits_for_the_outcome(granted: bool, outcome: str) -> None:
    go_on = threading.Lock()
    go_on.acquire()
    call = Call(go_on.acquire)
    assert call.entered.wait(DEADLINE)
    with lease.handover:
        since = call.lease.since
        call.lease.claimed = True  # the first step of a claim
        go_on.release()
        while call.lease.since:
            pass
        assert call.is_alive()
        call.lease.since = since if granted else 0.0
        assert call.lease.claim(since) is granted
    assert call.result() == outcome


@pytest.mark.usefixtures('short_turns')
def test_whatever_the_order_there_is_one_owner() -> None:
    outcomes = []
    for number in range(2000):
        call = Call(lambda turns=number % 40 * 50: [None for _ in range(turns)])  # type: ignore[misc]
        ended = False
        while call.is_alive() and not ended:
            ended = call.end()
        outcomes.append(call.result())
        assert outcomes[-1] == ('the leader' if ended else 'the call')
    assert set(outcomes) == {'the leader', 'the call'}


def test_a_stream_whose_lease_has_ended_does_not_touch_the_connection() -> None:
    connection: Any = SimpleNamespace(persist=True)  # it has nothing that could be called
    stream = BodyStream(connection, CountedBody(5), b'', False)
    stream.lease = Lease()
    stream.lease.enter()
    stream.lease.claim(stream.lease.since)
    file = io.BufferedReader(stream)
    for _ in range(2):
        with pytest.raises(RequestTimeout):
            file.read(1)


def test_a_stack_begins_where_the_caller_called() -> None:
    places: SimpleQueue[int] = SimpleQueue()
    lock = threading.Lock()
    lock.acquire()

    def caller() -> None:
        outer()

    def outer() -> None:
        inner()

    def inner() -> None:
        places.put(threading.get_ident())
        lock.acquire(timeout=DEADLINE)

    thread = threading.Thread(target=caller)
    thread.start()
    ident = places.get(timeout=DEADLINE)
    while 'acquire' not in (text := lease.stack(ident, caller.__code__)):
        pass
    lock.release()
    thread.join(DEADLINE)
    assert [line.rpartition(' in ')[2] for line in text.splitlines() if line.startswith('  File')] == ['outer', 'inner']
    assert lease.stack(ident, caller.__code__) == '', 'it has ended'
