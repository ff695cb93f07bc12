"""The guard: it looks as long as somebody waits to be accepted, and no longer."""

from __future__ import annotations

import os
import select
import selectors
import socket
from typing import TYPE_CHECKING

import pytest

from prefork.master.guard import PATIENCE, Guard
from prefork.worker.duty import ANYBODY, Duty, Roster

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not hasattr(select, 'epoll'), reason='without it all workers listen')


class Scene:
    """A server with two listeners and two workers, of which the first is on duty, and the master's guard."""

    def __init__(self) -> None:
        self.listeners = [socket.create_server(('127.0.0.1', 0)) for _ in range(2)]
        self.roster = Roster([listener.fileno() for listener in self.listeners], 2)
        self.workers = [Duty(self.roster, self.roster.take_seat()) for _ in range(2)]
        for worker in self.workers:
            worker.report(1)
        self.selector = selectors.DefaultSelector()
        self.guard = Guard()
        self.guard.watch(self.selector, [self.roster])
        self._clients: list[socket.socket] = []

    def come(self, number: int = 0) -> None:
        self._clients.append(socket.create_connection(self.listeners[number].getsockname()))

    def is_woken(self) -> bool:
        """Whether the master is."""
        return bool(self.selector.select(0))

    def woken(self) -> list[Duty]:
        """Those workers that are."""
        return select.select(self.workers, [], [], 0)[0]

    def accept(self, number: int = 0) -> None:
        """Have whoever is on duty accept."""
        worker = self.workers[self.roster.holder - 1]
        assert worker.claim(1)
        self.listeners[number].accept()[0].close()
        worker.pass_on(1)

    def close(self) -> None:
        self.guard.close()
        self.selector.close()
        self.roster.close()
        for sock in (*self.listeners, *self._clients):
            sock.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()


def test_nobody_looks_while_nobody_comes(scene: Scene) -> None:
    scene.guard.look(0.0)
    assert scene.guard.next_deadline() is None
    assert not scene.is_woken()


@pytest.mark.parametrize('number', [0, 1])
def test_it_waits_again_when_all_are_accepted(scene: Scene, number: int) -> None:
    for start in (10.0, 20.0):
        scene.come(number)
        assert scene.is_woken()
        scene.guard.look(start)
        assert scene.guard.next_deadline() == start + PATIENCE
        assert not scene.is_woken(), 'once is enough'
        scene.accept(number)
        scene.guard.look(start + PATIENCE / 2)
        assert scene.guard.next_deadline() == start + PATIENCE, 'it is not time'
        scene.guard.look(start + PATIENCE)
        assert scene.guard.next_deadline() is None
        assert not scene.is_woken()


def test_the_duty_is_offered_when_nobody_had_a_turn(scene: Scene) -> None:
    scene.come()
    scene.guard.look(10.0)
    assert scene.roster.holder == 1
    scene.guard.look(10.0 + PATIENCE)
    assert scene.roster.holder == ANYBODY
    assert scene.workers[1] in scene.woken()
    assert scene.workers[1].claim(1)


def test_as_long_as_there_are_turns_all_is_well(scene: Scene) -> None:
    """Though there is always somebody who waits."""
    scene.come()
    for number in range(5):
        scene.guard.look(10.0 + number * PATIENCE)
        assert scene.roster.holder != ANYBODY
        scene.come()
        scene.accept()
    scene.guard.look(10.0 + 5 * PATIENCE)
    scene.guard.look(10.0 + 6 * PATIENCE)
    assert scene.roster.holder == ANYBODY


def test_where_nobody_can_accept_all_are_asked(scene: Scene) -> None:
    """One of them could have been given the duty, and lost it, without a round of its loop."""
    for worker in scene.workers:
        worker.report(0)
    scene.come()
    scene.guard.look(10.0)
    assert not scene.woken()
    for number in range(1, 3):
        scene.guard.look(10.0 + number * PATIENCE)
        assert scene.woken() == scene.workers
        for worker in scene.workers:
            assert not worker.claim(0)
        assert not scene.woken()
    scene.workers[1].report(1)
    assert scene.woken() == [scene.workers[1]]


def test_it_watches_others_from_then_on(scene: Scene) -> None:
    before = set(os.listdir('/proc/self/fd'))
    scene.guard.watch(scene.selector, [])
    scene.come()
    assert not scene.is_woken()
    scene.guard.watch(scene.selector, [scene.roster])
    assert scene.is_woken()
    assert len(os.listdir('/proc/self/fd')) == len(before) + 1, 'the client'


def test_without_a_descriptor_it_does_without(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def epoll() -> select.epoll:
        raise OSError(24, 'Too many open files')

    monkeypatch.setattr(select, 'epoll', epoll)
    scene.guard.watch(scene.selector, [scene.roster])
    scene.come()
    scene.guard.look(10.0)
    assert scene.guard.next_deadline() is None
