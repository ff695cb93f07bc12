"""The duty to accept: whom it is passed to, and that it isn't lost, whatever happens between two steps of a worker."""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING

import pytest

from prefork.worker import duty
from prefork.worker.duty import NOBODY, Duty, Roster, choose, open_roster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prefork.net.listener import Listener

pytestmark = pytest.mark.skipif(not hasattr(select, 'epoll'), reason='without it all workers listen')

# --- whom it is passed to -----------------------------------------------------------------------------------------

CHOICES = {
    'nobody can have it': ([0, 0, 0], 1, NOBODY),
    'there is no seat': ([], NOBODY, NOBODY),
    'the least loaded': ([5, 3, 4], 1, 2),
    'a load of 0 is none': ([5, 0, 4], 1, 3),
    'itself': ([2, 3, 3], 1, 1),
    'itself, as the only one': ([0, 9, 0], 2, 2),
    'of equals the next': ([3, 3, 3], 2, 3),
    'of equals the next, after the last the first': ([3, 3, 3], 3, 1),
    'of equals the next that can': ([3, 4, 0, 3], 1, 4),
    'not the one before, if there is one after': ([2, 2, 5, 2], 3, 4),
    'the one before, if it has less to do': ([1, 2, 5, 2], 3, 1),
    'for the first time': ([4, 4], NOBODY, 1),
}


@pytest.mark.parametrize(('loads', 'after', 'chosen'), CHOICES.values(), ids=CHOICES)
def test_choose(loads: list[int], after: int, chosen: int) -> None:
    assert choose(loads, after) == chosen


# --- the workers of one server ------------------------------------------------------------------------------------


class Office:
    """Three workers without loops, two listeners, and clients that come."""

    def __init__(self) -> None:
        self.listeners = [socket.create_server(('127.0.0.1', 0)) for _ in range(2)]
        self.roster = Roster([listener.fileno() for listener in self.listeners], 4)
        self.workers = [Duty(self.roster, self.roster.take_seat()) for _ in range(3)]
        self._clients: list[socket.socket] = []

    def come(self, number: int = 0) -> None:
        """Connect to a listener."""
        self._clients.append(socket.create_connection(self.listeners[number].getsockname()))

    def woken(self) -> list[Duty]:
        """Those whom the connections that wait keep awake."""
        return [each for each in self.workers if select.select([each], [], [], 0)[0]]

    def accept(self, worker: Duty, load: int) -> int:
        """Have the worker do what its loop does when it is woken; how many connections it has accepted."""
        if not worker.claim(1):
            return 0
        ready = worker.ready()
        for listener in self.listeners:
            if listener.fileno() in ready:
                listener.accept()[0].close()
        worker.pass_on(load)
        return len(ready)

    def close(self) -> None:
        self.roster.close()
        for sock in (*self.listeners, *self._clients):
            sock.close()


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.close()


def test_the_first_who_can_is_on_duty(office: Office) -> None:
    a, b, c = office.workers
    a.report(0)
    b.report(1)
    c.report(1)
    office.come()
    assert office.woken() == [b]


def test_each_has_its_turn_and_nobody_else_is_woken(office: Office) -> None:
    a, b, c = office.workers
    for worker in office.workers:
        worker.report(1)
    turns = []
    for load in (2, 2, 2, 3, 3, 3):
        office.come()
        (worker,) = office.woken()
        turns.append(worker)
        assert office.accept(worker, load) == 1
        assert office.woken() == []
        worker.report(load)
    assert turns == [a, b, c, a, b, c]


def test_several_listeners(office: Office) -> None:
    a, b, _ = office.workers
    a.report(1)
    b.report(1)
    office.come(0)
    office.come(1)
    office.come(1)
    assert sorted(a.ready()) == sorted(listener.fileno() for listener in office.listeners)
    assert office.accept(a, 3) == 2
    assert office.woken() == [b]
    assert b.ready() == [office.listeners[1].fileno()]


def test_whoever_can_accept_no_more_passes_it_on(office: Office) -> None:
    a, b, _ = office.workers
    a.report(1)
    b.report(5)
    a.report(0)
    office.come()
    assert office.woken() == [b]


def test_where_all_are_full_nobody_listens_until_one_has_room(office: Office) -> None:
    a, b, c = office.workers
    a.report(1)
    b.report(1)
    a.report(0)
    b.report(0)
    office.come()
    assert office.woken() == []
    c.report(0)
    assert office.woken() == []
    a.report(4)
    assert office.woken() == [a]


def test_room_in_the_moment_in_which_the_last_one_gives_up(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees that there is a holder, and goes to sleep."""
    a, b, _ = office.workers
    a.report(1)
    loads = iter([office.roster.loads])
    original = Roster.loads

    def late(roster: Roster) -> list[int]:
        seen = original(roster)
        if next(loads, None):
            b.report(3)
        return seen

    monkeypatch.setattr(Roster, 'loads', late)
    a.report(0)
    office.come()
    assert office.woken() == [b]


def test_one_that_does_not_run_is_left_out_until_it_does(office: Office) -> None:
    a, b, c = office.workers
    for worker in office.workers:
        worker.report(1)
    office.come()
    office.accept(a, 5)
    office.come()
    assert office.woken() == [b], 'and it does not stir'
    office.roster.offer()
    assert office.accept(c, 9) == 1
    assert office.accept(a, 5) == 0
    a.report(5)
    for load in (10, 11, 12, 13):
        office.come()
        assert office.roster.holder in (1, 3), 'though b had less to do'
        assert office.accept(office.workers[office.roster.holder - 1], load) == 1
    assert office.accept(b, 1) == 0
    b.report(1)
    office.come()
    assert office.accept(office.workers[office.roster.holder - 1], 14) == 1
    office.come()
    assert office.woken() == [b]


# --- what can go wrong --------------------------------------------------------------------------------------------


def test_two_on_duty_are_one_again(office: Office) -> None:
    a, b, _ = office.workers
    a.report(1)
    b.report(1)
    office.roster.give(2)  # while a is on duty
    office.come()
    assert office.woken() == [a, b]
    assert office.accept(a, 1) == 0, 'somebody else is on duty'
    assert office.woken() == [b]
    assert office.accept(b, 2) == 1


def test_a_duty_that_is_given_while_a_stray_one_is_given_up(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, _ = office.workers
    a.report(1)
    b.report(1)
    office.roster.give(2)
    office.come()
    original = Roster.switch_off

    def late(roster: Roster, seat: int) -> None:
        office.roster.give(1)
        original(roster, seat)

    monkeypatch.setattr(Roster, 'switch_off', late)
    assert not a.claim(1)
    monkeypatch.undo()
    assert a in office.woken()
    assert office.accept(a, 2) == 1


def test_it_may_come_back_before_passing_it_on_has_ended(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, _ = office.workers
    a.report(1)
    b.report(1)
    original = Roster.give

    def give(roster: Roster, seat: int) -> None:
        original(roster, seat)
        monkeypatch.undo()
        office.accept(b, 7)

    monkeypatch.setattr(Roster, 'give', give)
    office.come()
    assert office.accept(a, 2) == 1
    office.come()
    assert office.woken() == [a]


class Killed(BaseException):
    """The worker is no more."""


@pytest.mark.parametrize('step', ['switch_off', 'give', 'switch_on', 'set_load'])
@pytest.mark.parametrize('done', [False, True], ids=['before', 'after'])
def test_a_worker_that_is_killed_while_it_passes_the_duty_on(
    office: Office, step: str, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = office.workers
    for worker in office.workers:
        worker.report(1)
    office.come()
    original: Callable[..., None] = getattr(Roster, step)

    def killed(*args: object) -> None:
        if done:
            original(*args)
        raise Killed

    monkeypatch.setattr(Roster, step, killed)
    with pytest.raises(Killed):
        office.accept(a, 2)
    monkeypatch.undo()
    office.roster.relieve(1)
    office.come()
    office.workers.remove(a)
    accepted = sum(office.accept(worker, 2) for worker in office.woken())
    assert accepted == 1
    office.come()
    assert office.woken() in ([b], [c])


def test_a_dead_holder_is_followed_by_whoever_runs(office: Office) -> None:
    _, b, c = office.workers
    for worker in office.workers:
        worker.report(1)
    office.roster.relieve(1)
    office.roster.give_seat_back(1)
    office.come()
    assert office.woken() == [b, c]
    assert b.claim(1)
    assert office.woken() == [b], 'it has taken the offer for itself'
    assert office.accept(b, 2) == 1
    office.come()
    assert office.woken() == [c], 'who has slept meanwhile'
    assert office.roster.take_seat() == 1
    office.workers[0] = Duty(office.roster, 1)
    office.workers[0].report(1)
    assert office.accept(c, 3) == 1
    office.come()
    assert office.woken() == office.workers[:1]


def test_a_holder_that_changes_while_it_is_switched_on(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes too late leaves nobody on duty who has passed it on."""
    a, b, _ = office.workers
    a.report(1)
    b.report(1)
    original = Roster.switch_on

    def late(roster: Roster, seat: int) -> None:
        monkeypatch.undo()
        office.come()
        office.accept(a, 2)
        original(roster, seat)

    monkeypatch.setattr(Roster, 'switch_on', late)
    office.roster.relieve(3)
    office.come()
    assert office.woken() == [b]


def test_an_offer_that_is_taken_before_all_have_got_it(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    b = office.workers[1]
    for worker in office.workers:
        worker.report(1)
    original = Roster.switch_on

    def late(roster: Roster, seat: int) -> None:
        if seat == 3:
            monkeypatch.undo()
            assert b.claim(1)
        original(roster, seat)

    monkeypatch.setattr(Roster, 'switch_on', late)
    office.come()
    office.roster.relieve(1)
    assert office.woken() == [b]


def test_a_seat_that_was_chosen_after_its_worker_had_ended(office: Office) -> None:
    a, b, _ = office.workers
    a.report(1)
    b.report(1)
    b.report(0)
    office.roster.relieve(1)
    office.roster.give(1)  # by somebody who was held up
    office.roster.give_seat_back(1)
    office.workers[0] = Duty(office.roster, office.roster.take_seat())
    office.workers[0].report(1)
    office.come()
    assert office.workers[0] in office.woken()


def test_one_that_leaves_passes_it_on(office: Office) -> None:
    a, b, _ = office.workers
    a.report(1)
    b.report(1)
    a.leave()
    b.leave()
    office.come()
    assert office.woken() == []
    b.report(1)
    assert office.woken() == [b]


def test_one_that_is_chosen_while_it_leaves(office: Office) -> None:
    a, b, _ = office.workers
    b.report(1)
    a.report(1)
    a.leave()
    office.roster.give(1)
    b.report(2)
    office.roster.relieve(1)  # when the master hears that it leaves
    office.come()
    assert b in office.woken()
    assert office.accept(b, 2) == 1


# --- the roster ---------------------------------------------------------------------------------------------------


def test_seats_are_finite_and_used_again(office: Office) -> None:
    assert office.roster.take_seat() == 4
    assert office.roster.take_seat() == NOBODY
    office.roster.give_seat_back(2)
    assert office.roster.take_seat() == 2


def test_a_roster_that_is_closed_is_of_no_effect(office: Office) -> None:
    """As in a master whose workers still have it."""
    office.workers[0].report(1)
    office.roster.close()
    office.roster.relieve(1)
    office.roster.give_seat_back(1)
    office.workers.clear()


def descriptors() -> set[str]:
    return set(os.listdir('/proc/self/fd'))


def test_a_roster_needs_two_workers_an_epoll_and_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    listeners: list[Listener] = []
    assert open_roster(listeners, 1) is None
    before = descriptors()
    roster = open_roster(listeners, 2)
    assert roster is not None
    roster.close()
    assert descriptors() == before
    made = iter([select.epoll(), select.epoll()])

    def epoll() -> select.epoll:
        try:
            return next(made)
        except StopIteration:
            raise OSError(24, 'Too many open files') from None

    monkeypatch.setattr(select, 'epoll', epoll)
    assert open_roster(listeners, 2) is None
    assert descriptors() == before
    monkeypatch.setattr(duty, '_ON', 0)
    assert open_roster(listeners, 2) is None
