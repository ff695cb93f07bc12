"""Workers that pass the duty on at the same time, in every order of their steps that a seed gives.

Each step, which is an access to a shared cell or the switching of one listener, waits for its turn.
"""

from __future__ import annotations

import random
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from prefork.worker import duty
from prefork.worker.duty import ANYBODY, NOBODY, Duty, Roster

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

pytestmark = pytest.mark.skipif(not duty._ON, reason='without epoll all workers listen')

WORKERS = 3


class Turns:
    """Threads of which one runs at a time, and another may at each step."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._next: threading.Thread | None = None

    def step(self) -> None:
        """In one of the threads: it may be another's turn."""
        if threading.current_thread() in self._threads:
            with self._changed:
                self._draw()
                self._wait()

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        self._threads = [threading.Thread(target=self._work, args=(job,)) for job in jobs]
        begun = list(self._threads)
        with self._changed:
            for thread in begun:
                thread.start()
            self._draw()
        for thread in begun:
            thread.join()

    def _work(self, job: Callable[[], None]) -> None:
        with self._changed:
            self._wait()
        try:
            job()
        finally:
            with self._changed:
                self._threads.remove(threading.current_thread())
                self._draw()

    def _wait(self) -> None:
        self._changed.wait_for(lambda: self._next is threading.current_thread())

    def _draw(self) -> None:
        self._next = self._chance.choice(self._threads) if self._threads else None
        self._changed.notify_all()


class Cells:
    def __init__(self, turns: Turns, cells: memoryview) -> None:
        self._turns = turns
        self._cells = cells

    def __getitem__(self, place: Any) -> Any:
        self._turns.step()
        return self._cells[place]

    def __setitem__(self, place: int, value: int) -> None:
        self._turns.step()
        self._cells[place] = value


class Set:
    """A worker's epoll set."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.is_on = False

    def modify(self, descriptor: int, events: int) -> None:
        self._turns.step()
        self.is_on = bool(events)

    def close(self) -> None:
        """As there is nothing to close."""


class Race:
    """Workers that make rounds and take turns; ``last`` is what each has said of its load when it went to sleep."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        turns = Turns(self.chance)
        with socket.socket() as listener:
            listener.bind(('127.0.0.1', 0))
            listener.listen()
            self.roster = Roster([listener.fileno()], WORKERS)
            self.roster.close()
        self.sets = [Set(turns) for _ in range(WORKERS)]
        self.roster._sets.extend(self.sets)  # type: ignore[arg-type]
        self.roster.cells = Cells(turns, self.roster.cells)  # type: ignore[assignment]
        self.workers = [Duty(self.roster, self.roster.take_seat()) for _ in range(WORKERS)]
        self.last = [1] * WORKERS
        for worker in self.workers:
            worker.report(1)
        self._turns = turns

    def run(self, *others: Callable[[], None]) -> None:
        self._turns.run([*(lambda number=number: self._work(number) for number in range(WORKERS)), *others])

    def _work(self, number: int) -> None:
        worker = self.workers[number]
        for _ in range(self.chance.randint(1, 3)):
            load = self.chance.choice([0, 1, 2, 3])
            if self.sets[number].is_on and worker.claim(load):
                worker.pass_on(load)
        self.last[number] = self.chance.choice([0, 1, 2])
        worker.report(self.last[number])

    def is_accepted(self) -> bool:
        """Whether somebody accepts a connection that comes now.  Whoever is woken and can't makes others be woken."""
        for _ in range(2 * WORKERS):
            woken = [number for number in range(WORKERS) if self.sets[number].is_on]
            if not woken:
                return False
            if self.workers[woken[0]].claim(self.last[woken[0]]):
                return True
        raise AssertionError('they send each other round in circles')


@pytest.mark.parametrize('seeds', [range(start, start + 100) for start in range(0, 1000, 100)], ids=str)
def test_as_long_as_one_can_accept_somebody_does(seeds: range) -> None:
    for seed in seeds:
        race = Race(seed)
        race.run()
        assert race.is_accepted() or not any(race.last), seed


@pytest.mark.parametrize('seeds', [range(start, start + 100) for start in range(0, 500, 100)], ids=str)
def test_an_offer_in_between_is_repaired_by_the_next(seeds: range) -> None:
    """It may meet a worker that was given the duty and has not run since: the guard looks again."""
    for seed in seeds:
        race = Race(seed)
        race.run(race.roster.offer)
        if not race.is_accepted():
            assert race.roster.holder in (NOBODY, ANYBODY), seed
            race.roster.offer()
            assert race.is_accepted() or not any(race.last), seed
