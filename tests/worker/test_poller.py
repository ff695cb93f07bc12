"""What a loop waits with, on systems with epoll(7) and without."""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING

import pytest

from prefork.worker.poller import READ, WRITE, Poller

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = 60.0  # seconds: a test that waits for so long has failed


@pytest.fixture(params=['epoll', 'poll'])
def poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Poller]:
    if request.param == 'poll':
        monkeypatch.delattr(select, 'epoll', raising=False)
    elif not hasattr(select, 'epoll'):
        pytest.skip('there is no epoll here')
    poller = Poller()
    monkeypatch.undo()
    yield poller
    poller.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def ignore(mask: int) -> None:
    raise AssertionError('the poller calls nobody')


def test_nothing_is_ready(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    poller.register(pair[0], READ, ignore)
    assert poller.poll(0) == []
    assert poller.poll(0.001) == []


def test_who_can_be_read_is_told_with_its_callback(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    poller.register(ours, READ, ignore)
    theirs.send(b'x')
    assert poller.poll(LONG) == [(ours.fileno(), READ)]
    assert poller.poll(None) == [(ours.fileno(), READ)], 'it is told for as long as it is so'
    assert poller.callbacks[ours.fileno()] is ignore


def test_another_event_is_watched_for(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.send(b'x')
    poller.register(ours, WRITE, ignore)
    assert poller.poll(LONG) == [(ours.fileno(), WRITE)]
    poller.modify(ours, READ)
    assert poller.poll(LONG) == [(ours.fileno(), READ)]
    assert poller.callbacks == {ours.fileno(): ignore}


def test_a_hang_up_is_told_to_who_watches_for_anything(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    poller.register(ours, READ, ignore)
    theirs.close()
    ((descriptor, mask),) = poller.poll(LONG)
    assert descriptor == ours.fileno()
    assert mask & READ


def test_who_is_unregistered_is_not_told(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    poller.register(ours, READ, ignore)
    theirs.send(b'x')
    poller.unregister(ours)
    assert poller.poll(0) == []
    assert poller.callbacks == {}
    poller.register(ours, READ, ignore)
    assert poller.poll(LONG) == [(ours.fileno(), READ)]


def test_a_descriptor_that_somebody_has_closed_can_be_unregistered(poller: Poller) -> None:
    ours, theirs = socket.socketpair()
    stale = socket.socket(fileno=ours.detach())
    descriptor = stale.fileno()
    poller.register(stale, READ, ignore)
    socket.close(descriptor)
    poller.unregister(stale)
    stale.detach()
    theirs.close()
    assert poller.callbacks == {}


def test_a_descriptor_that_somebody_has_closed_may_have_a_new_owner(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Who had it before unregisters the new owner's, and the new owner finds nothing to unregister."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        poller.register(ours, READ, ignore)
        os.dup2(pair[0].fileno(), ours.fileno(), inheritable=False)
        poller.register(ours, READ, ignore)
        poller.unregister(ours)
        poller.unregister(ours)
    assert poller.callbacks == {}
    assert poller.poll(0) == []
