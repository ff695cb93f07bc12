"""The bell that wakes the loop."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import pytest

from prefork.worker.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=['eventfd', 'pipe'])
def bell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bell]:
    if request.param == 'pipe':  # where the system has no eventfd
        monkeypatch.delattr(os, 'eventfd', raising=False)
    made = Bell()
    yield made
    made.close()


def rings(bell: Bell) -> bool:
    return bool(select.select([bell], [], [], 0)[0])


def test_it_rings_until_it_is_silenced(bell: Bell) -> None:
    assert not rings(bell)
    bell.ring()
    assert rings(bell)
    assert rings(bell)
    bell.silence()
    assert not rings(bell)
    bell.silence()


def test_ringing_never_blocks(bell: Bell) -> None:
    for _ in range(20_000):  # a pipe is full before
        bell.ring()
    while rings(bell):
        bell.silence()


def test_a_closed_bell_rings_nobody_else() -> None:
    """Its number may stand for another file by then."""
    bell = Bell()
    number = bell.fileno()
    bell.close()
    readable, writable = os.pipe()
    try:
        if number not in (readable, writable):
            os.dup2(writable, number)
        bell.ring()
        assert not select.select([readable], [], [], 0)[0]
    finally:
        for descriptor in {readable, writable, number}:
            os.close(descriptor)
