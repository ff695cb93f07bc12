"""The crew alone: who leads, how many threads there are, and that nobody wakes just to look."""

from __future__ import annotations

import contextvars
import threading
import time
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from prefork.worker.handoff import (
    LONGEST_TURN,
    SWITCH_INTERVAL,
    TICK,
    Crew,
    allowance,
    restore_switch_interval,
    shorten_switch_interval,
)
from prefork.worker.lease import Lease
from tests.worker.harness import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from tests.worker.harness import Log


class Stage:
    """A crew whose leader takes jobs from a queue, as the loop takes events from the poller."""

    def __init__(self, threads: int = 4, max_parked: int = 256) -> None:
        self._before = set(threading.enumerate())
        self.jobs: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self.crew = Crew(threads, max_parked, self._lead)

    def _lead(self) -> None:
        me = self.crew.leader
        while not self.crew.done:
            self.jobs.get()()
            if self.crew.leader != me:
                return

    @property
    def threads(self) -> set[threading.Thread]:
        return set(threading.enumerate()) - self._before

    def do(self, job: Callable[[], Any]) -> Any:
        """Have the leader do ``job``, and wait for its result."""
        results: SimpleQueue[Any] = SimpleQueue()
        self.jobs.put(lambda: results.put(job()))
        return results.get(timeout=DEADLINE)

    def stall(self, since: float = 0.0) -> Stall:
        """Have the leader begin a call that lasts until it is told to end, and that the application has had ``since``
        then."""
        stall = Stall(self)
        stall.since = since
        self.jobs.put(lambda: stall.returned.put(self.crew.call(stall.run, stall)))
        assert stall.begun.wait(DEADLINE)
        return stall


class Stall(Lease):
    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage
        self._tasks: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self.begun = threading.Event()
        self.returned: SimpleQueue[bool] = SimpleQueue()
        """What ``call`` returned."""
        self.thread = 0

    def run(self, subject: object) -> None:
        assert subject is self
        self.thread = threading.get_ident()
        self.begun.set()
        while task := self._tasks.get(timeout=DEADLINE):
            task()

    def do(self, task: Callable[[], Any]) -> SimpleQueue[Any]:
        """Have the call do ``task``; where its result will be."""
        results: SimpleQueue[Any] = SimpleQueue()
        self._tasks.put(lambda: results.put(task()))
        return results

    def end(self) -> bool:
        self._tasks.put(None)
        return self.returned.get(timeout=DEADLINE)


@pytest.fixture
def stages() -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def make(*args: int) -> Stage:
        stage = Stage(*args)
        made.append(stage)
        return stage

    yield make
    for stage in made:
        if not stage.crew.done:
            stage.jobs.put(stage.crew.finish)
        assert stage.crew.wait(DEADLINE)
        for thread in stage.threads:
            thread.join(DEADLINE)
            assert not thread.is_alive(), f'{thread.name} did not end'


@pytest.fixture
def stage(stages: Callable[..., Stage]) -> Stage:
    made = stages()
    made.crew.start()
    return made


class Alarm:
    """The sentry's alarm, which tells when it goes to sleep without a timeout, and notes the timeouts that it has."""

    def __init__(self, alarm: threading.Lock) -> None:
        self._alarm = alarm
        self.asleep = threading.Semaphore(0)
        self.timeouts: list[float] = []
        self.release = alarm.release

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if timeout < 0:
            self.asleep.release()
        else:
            self.timeouts.append(timeout)
        return self._alarm.acquire(blocking, timeout)


def test_the_sentry_sleeps_without_a_timeout_while_there_are_no_calls(stages: Callable[..., Stage]) -> None:
    stage = stages()
    alarm = Alarm(stage.crew._alarm)
    stage.crew._alarm = alarm  # type: ignore[assignment]
    stage.crew.start()
    for _ in range(3):  # from the start, and after each call
        assert alarm.asleep.acquire(timeout=DEADLINE)
        assert stage.do(lambda: stage.crew.call(lambda lease: None, Lease()))


def test_a_call_that_stalls_loses_the_lead(stage: Stage) -> None:
    first = stage.stall()
    leader = stage.do(lambda: stage.crew.leader)
    assert leader != first.thread
    assert first.end() is False, 'the call is told that it leads no more'
    assert stage.do(lambda: stage.crew.leader) == leader


def test_a_call_that_the_sentry_sees_late_has_no_more_than_the_rest_of_its_tick(
    stages: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stages()
    alarm = Alarm(stage.crew._alarm)
    stage.crew._alarm = alarm  # type: ignore[assignment]
    stage.crew.start()
    assert alarm.asleep.acquire(timeout=DEADLINE)
    tick = 1000.0
    monkeypatch.setattr('prefork.worker.handoff.TICK', tick)
    late = stage.stall(time.monotonic() - tick + 0.1)
    assert stage.do(lambda: stage.crew.leader) != late.thread
    overdue = stage.stall(time.monotonic() - 2 * tick)
    assert stage.do(lambda: stage.crew.leader) not in (late.thread, overdue.thread)
    assert [overdue.end(), late.end()] == [False, False]


def test_a_call_in_which_the_server_has_the_thread_has_a_whole_tick(stages: Callable[..., Stage]) -> None:
    stage = stages()
    alarm = Alarm(stage.crew._alarm)
    stage.crew._alarm = alarm  # type: ignore[assignment]
    stage.crew.start()
    stall = stage.stall()
    assert stage.do(lambda: stage.crew.leader) != stall.thread
    assert set(alarm.timeouts) == {TICK}
    stall.end()


@pytest.mark.parametrize(
    ('late', 'events', 'calls', 'seconds'),
    [
        (0.0, 100, 1, TICK),
        (SWITCH_INTERVAL / 2, 100, 9, TICK),
        (SWITCH_INTERVAL, 0, 1, TICK),
        (SWITCH_INTERVAL, 1, 1, TICK),
        (SWITCH_INTERVAL, 10, 1, 0.01),
        (SWITCH_INTERVAL, 10, 3, 0.03),
        (SWITCH_INTERVAL, 1000, 1, LONGEST_TURN),
        (SWITCH_INTERVAL, 1000, 4, 4 * LONGEST_TURN),
    ],
)
def test_how_long_a_call_may_last(late: float, events: int, calls: int, seconds: float) -> None:
    assert allowance(late, events, calls) == pytest.approx(seconds)


@pytest.fixture
def short_interval() -> Iterator[None]:
    shorten_switch_interval()
    yield
    restore_switch_interval()


def compute() -> None:
    end = time.monotonic() + LONGEST_TURN / 2
    while time.monotonic() < end:
        pass


def block() -> None:
    blocked = threading.Lock()
    blocked.acquire()
    blocked.acquire(timeout=LONGEST_TURN / 2)


@pytest.mark.parametrize(
    ('work', 'events', 'leads'),
    [(compute, 1000, True), (compute, 1, False), (block, 1000, False)],
    ids=['it computes, and many wait', 'it computes, and hardly anybody waits', 'it blocks, and many wait'],
)
def test_a_call_keeps_the_lead_only_while_that_helps(
    stage: Stage, short_interval: None, work: Callable[[], None], events: int, leads: bool
) -> None:
    """In one of several rounds: a machine with other things to do stops one thread or the other."""

    def run(call: Lease) -> None:
        call.enter()
        work()
        call.leave()

    stage.crew.events = events
    kept = [stage.do(lambda: stage.crew.call(run, Lease())) for _ in range(8)]
    assert leads in kept


def test_as_many_calls_as_there_are_threads(stages: Callable[..., Stage]) -> None:
    stage = stages(3)
    stage.crew.start()
    stalls = [stage.stall() for _ in range(3)]
    assert stage.do(lambda: stage.crew.full)
    assert len({stall.thread for stall in stalls}) == 3
    assert len(stage.threads) == 4, 'three that are called, and one that leads'
    for stall in stalls:
        assert stall.end() is False
    assert not stage.do(lambda: stage.crew.full)
    again = [stage.stall() for _ in range(3)]
    assert len(stage.threads) == 4, 'they are used again'
    for stall in again:
        stall.end()


def test_one_thread_of_calls_still_has_a_leader(stages: Callable[..., Stage]) -> None:
    stage = stages(1)
    stage.crew.start()
    stall = stage.stall()
    assert stage.do(lambda: stage.crew.full)
    assert len(stage.threads) == 2
    stall.end()


class HeldLock:
    """The lead's lock; who gets it in another thread than ``owner`` is held up before it can say so."""

    def __init__(self, lock: threading.Lock, owner: int) -> None:
        self._lock = lock
        self._owner = owner
        self.taken, self.go_on = threading.Event(), threading.Event()
        self.release, self.locked = lock.release, lock.locked

    def acquire(self, blocking: bool = True) -> bool:
        got = self._lock.acquire(blocking)
        if got and threading.get_ident() != self._owner:
            self.taken.set()
            assert self.go_on.wait(DEADLINE)
        return got


def wait_until_it_is_taken(lock: HeldLock) -> None:
    assert lock.taken.wait(DEADLINE)


def test_there_are_never_two_leaders(stage: Stage) -> None:
    """A call that ends in the moment in which another thread takes the lead must not believe that it still leads."""
    crew = stage.crew
    seen: SimpleQueue[bool] = SimpleQueue()

    def job() -> None:
        me = threading.get_ident()
        lock = HeldLock(crew._lead, me)
        crew._lead = lock  # type: ignore[assignment]
        assert crew.call(lambda lease: wait_until_it_is_taken(lock), Lease()) is False
        seen.put(crew.leader == me)
        lock.go_on.set()

    stage.jobs.put(job)
    assert seen.get(timeout=DEADLINE) is False


# --- parking ------------------------------------------------------------------------------------------------------


def test_a_parked_thread_is_not_a_running_call(stages: Callable[..., Stage]) -> None:
    stage = stages(1)
    stage.crew.start()
    stall = stage.stall()
    wakes: SimpleQueue[threading.Lock] = SimpleQueue()
    parked = stall.do(lambda: stage.crew.park(wakes.put))
    wake = wakes.get(timeout=DEADLINE)
    assert not stage.do(lambda: stage.crew.full)
    other = stage.stall()
    assert other.thread != stall.thread
    assert len(stage.threads) == 3, 'two as always, and the one that is parked'
    other.end()
    wake.release()
    assert parked.get(timeout=DEADLINE) is True
    assert stall.do(lambda: stall in stage.crew.running.values()).get(timeout=DEADLINE)
    stall.end()


def call_and_tell(stage: Stage, call: Callable[[object], None], ended: SimpleQueue[bool]) -> None:
    ended.put(stage.crew.call(call, Lease()))


def test_a_leader_that_parks_is_replaced_without_a_tick(
    stages: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('prefork.worker.handoff.TICK', 1000.0)
    stage = stages()
    stage.crew.start()
    for _ in range(20):
        wakes: SimpleQueue[threading.Lock] = SimpleQueue()
        ended: SimpleQueue[bool] = SimpleQueue()

        def call(subject: object, wakes: SimpleQueue[threading.Lock] = wakes) -> None:
            stage.crew.park(wakes.put)

        stage.jobs.put(partial(call_and_tell, stage, call, ended))
        wake = wakes.get(timeout=DEADLINE)
        assert stage.do(lambda: True), 'somebody leads'
        wake.release()
        assert ended.get(timeout=DEADLINE) is False
    assert len(stage.threads) <= 5, 'the spare ones go, or are used again'


def test_no_more_threads_park_than_may(stages: Callable[..., Stage]) -> None:
    stage = stages(4, 1)
    stage.crew.start()
    first, second = stage.stall(), stage.stall()
    wakes: SimpleQueue[threading.Lock] = SimpleQueue()
    parked = first.do(lambda: stage.crew.park(wakes.put))
    wake = wakes.get(timeout=DEADLINE)
    assert second.do(lambda: stage.crew.park(wakes.put)).get(timeout=DEADLINE) is False
    assert wakes.empty()
    wake.release()
    assert parked.get(timeout=DEADLINE) is True
    again = second.do(lambda: stage.crew.park(wakes.put))
    wakes.get(timeout=DEADLINE).release()
    assert again.get(timeout=DEADLINE) is True
    first.end()
    second.end()


def test_threads_never_exceed_what_is_allowed(stages: Callable[..., Stage]) -> None:
    stage = stages(2)
    stage.crew.start()
    wakes: SimpleQueue[threading.Lock] = SimpleQueue()
    for round_ in range(1, 6):
        stall = stage.stall()
        stall.do(partial(stage.crew.park, wakes.put))
        wake = wakes.get(timeout=DEADLINE)
        assert len(stage.threads) <= 2 + 1 + 1, f'round {round_}'
        wake.release()
        stall.end()


def test_spare_threads_go_when_nobody_is_parked_any_more(stages: Callable[..., Stage]) -> None:
    stage = stages(2)
    stage.crew.start()
    wakes: SimpleQueue[threading.Lock] = SimpleQueue()
    stalls = []
    for _ in range(5):
        stall = stage.stall()
        stall.do(partial(stage.crew.park, wakes.put))
        stalls.append(stall)
    woken = [wakes.get(timeout=DEADLINE) for _ in stalls]
    assert len(stage.threads) >= 6
    for wake in woken:
        wake.release()
    for stall in stalls:
        stall.end()
    wait_for_threads(stage, 3)


def wait_for_threads(stage: Stage, count: int) -> None:
    """Until there are no more than so many."""
    deadline = time.monotonic() + DEADLINE
    while len(stage.threads) > count:
        assert time.monotonic() < deadline, f'there are still {len(stage.threads)} threads'
        stage.do(lambda: None)


# --- lost calls ---------------------------------------------------------------------------------------------------


def lose(stage: Stage, stall: Stall) -> None:
    stage.do(partial(stage.crew.lose, stall.thread))
    stage.do(stage.crew.hire)


@pytest.mark.parametrize('threads', [1, 3])
def test_a_lost_call_counts_no_more_and_its_thread_is_replaced(stages: Callable[..., Stage], threads: int) -> None:
    stage = stages(threads)
    stage.crew.start()
    lost = [stage.stall() for _ in range(threads)]
    assert stage.do(lambda: stage.crew.full)
    for stall in lost:
        lose(stage, stall)
    assert not stage.do(lambda: stage.crew.full)
    others = [stage.stall() for _ in range(threads)]
    assert stage.do(lambda: stage.crew.full), 'and somebody leads'
    assert len(stage.threads) == 2 * threads + 1
    for stall in (*lost, *others):
        assert stall.end() is False
    assert stage.do(lambda: stage.crew.lost) == set()
    wait_for_threads(stage, threads + 1)
    assert stage.do(lambda: stage.crew.leader)


def test_a_call_that_was_lost_and_found_is_told_that_it_leads_no_more(stage: Stage) -> None:
    """Even where it could have the lead, as nobody else has it at that moment."""
    stall = stage.stall()
    lose(stage, stall)
    crew = stage.crew
    taken: SimpleQueue[bool] = SimpleQueue()

    def call(subject: object) -> None:
        taken.put(stall.end())

    assert stage.do(lambda: crew.call(call, Lease())) in (True, False)
    assert taken.get(timeout=DEADLINE) is False


def test_without_threads_the_crew_goes_on_with_those_that_it_has(
    stages: Callable[..., Stage], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stages(1)
    stage.crew.start()
    stall = stage.stall()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, 'start', no_threads)
        lose(stage, stall)
        assert "can't start new thread" in log.text
        assert stage.do(lambda: stage.crew.call(lambda lease: None, Lease())), 'a short one needs nobody else'
    stage.do(stage.crew.hire)
    other = stage.stall()
    assert stage.do(lambda: True)
    other.end()
    stall.end()


def test_a_crew_without_any_thread_does_not_start(
    stages: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = Crew(4, 256, lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, 'start', no_threads)
        with pytest.raises(RuntimeError, match='no thread'):
            crew.start()


def no_threads(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


# --- context ------------------------------------------------------------------------------------------------------


def test_each_call_begins_with_the_context_in_which_the_crew_was_made(stages: Callable[..., Stage]) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar('variable', default='nothing')
    token = variable.set('loaded')
    stage = stages()
    variable.reset(token)
    stage.crew.start()
    seen: list[str] = []

    def call(subject: object) -> None:
        seen.append(variable.get())
        variable.set('changed')

    for _ in range(3):
        stage.do(lambda: stage.crew.call(call, Lease()))
    assert seen == ['loaded'] * 3


# --- the end ------------------------------------------------------------------------------------------------------


def test_finish_does_not_wait_for_a_call(stage: Stage) -> None:
    stall = stage.stall()
    stage.jobs.put(stage.crew.finish)
    assert stage.crew.wait(DEADLINE)
    assert stall.end() is False


def test_a_lead_that_fails_is_the_end(stage: Stage, log: Log) -> None:
    """A worker without a leader would be deaf: better dead, and replaced."""

    def fail() -> None:
        raise LookupError('a bug')

    stage.jobs.put(fail)
    assert stage.crew.wait(DEADLINE)
    assert stage.crew.done
    assert 'the worker loop failed' in log.text
    assert 'LookupError: a bug' in log.text
