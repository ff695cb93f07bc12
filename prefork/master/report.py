"""What the world outside is told of the service: its state, a line about it, and whether it is alive.  Pure."""

from __future__ import annotations

import enum

from prefork.master.generation import Phase, Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prefork.master.fleet import Fleet
    from prefork.master.generation import Process

_TRACEBACK = 'Traceback (most recent call last):'


class State(enum.Enum):
    STARTING = 'starting'
    """Nobody serves yet."""

    READY = 'ready'
    """Each server has had a ready worker, and no other generation is to take over."""

    RELOADING = 'reloading'
    """A generation is on its way, or hasn't replaced all workers of its predecessors yet."""

    STOPPING = 'stopping'


class Report:
    """``until`` is when the state will have ended, one way or the other; None where nothing says so."""

    __slots__ = ('healthy', 'state', 'text', 'until')

    def __init__(self, state: State, text: str, until: float | None, healthy: bool) -> None:
        self.state = state
        self.text = text
        self.until = until
        self.healthy = healthy


def report_of(fleet: Fleet, now: float) -> Report:
    state = _state(fleet)
    return Report(state, _text(fleet, state), _until(fleet, state), _is_healthy(fleet, now))


def _state(fleet: Fleet) -> State:
    if fleet.ending:
        return State.STOPPING
    current = fleet.current
    if current is None:
        return State.STARTING
    # To begin with, one worker a server is enough: the rest may take its time, or fail for ever.
    complete = current.announced or current.first
    return State.READY if complete and fleet.candidate is None else State.RELOADING


def _text(fleet: Fleet, state: State) -> str:
    """One line for the operator."""
    if state is State.STOPPING:
        if fleet.trouble and fleet.current is None:
            return fleet.trouble
        left = sum(len(generation.workers) for generation in fleet.generations.values())
        return f'stopping: {left} {"worker" if left == 1 else "workers"} left'
    parts = [_serving(fleet)] if fleet.current is not None else []
    if fleet.candidate is not None:
        does = 'loads' if fleet.candidate.stage is Stage.LOADING else 'starts its workers'
        parts.append(f'generation {fleet.candidate.number} {does}')
    return '; '.join(parts)


def _serving(fleet: Fleet) -> str:
    current = fleet.current
    assert current is not None
    ready = sum(len(current.ready(server)) for server in current.targets)
    counted = f'{ready} of {sum(current.targets.values())} workers'
    older = sum(worker.phase is Phase.READY for worker in fleet.workers() if worker.generation is not current)
    counted += f', {older} of older generations' if older else ''
    if fleet.trouble:
        return f'{fleet.trouble}; generation {current.number} serves on: {counted}'
    return f'generation {current.number}: {counted}'


def _until(fleet: Fleet, state: State) -> float | None:
    """The latest deadline of what has to happen for the state to end."""
    if state is State.READY:
        return None
    waited_for: list[Process] = []
    for generation in fleet.generations.values():
        if state is State.STOPPING or generation in (fleet.candidate, fleet.current):
            waited_for += generation.processes()
    return max((each.deadline for each in waited_for if each.deadline and each.phase is not Phase.READY), default=None)


def _is_healthy(fleet: Fleet, now: float) -> bool:
    """Whether each server has a worker that serves and answers pings.

    One that hangs beside one that doesn't is replaced, and no reason to end the service.  Nor is a stop, which has
    deadlines of its own.
    """
    if fleet.ending:
        return True
    current = fleet.current
    if current is None:
        return False
    answering = {worker.key[0] for worker in fleet.workers() if worker.answers(now)}
    return answering.issuperset(server for server, target in current.targets.items() if target)


def summary(reason: str) -> str:
    """A reason in one line: of a traceback, its exception."""
    first, *rest = reason.splitlines() or ['']
    if first.endswith(_TRACEBACK) and rest:
        return first.removesuffix(_TRACEBACK) + rest[-1]
    return first
