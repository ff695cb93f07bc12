"""How generations follow one another: a candidate proves itself, takes over, and replaces old workers one by one.

Pure: what there is is compared with what there should be, and what is missing is ordered.
"""

from __future__ import annotations

from prefork.master.generation import Phase, Stage, Worker
from prefork.master.orders import INFO, Commit, Spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prefork.master.fleet import Fleet
    from prefork.master.generation import Generation


def advance(fleet: Fleet, now: float) -> None:
    """Order whatever is missing, for as long as the master is to serve."""
    _prove(fleet, now)
    _roll(fleet, now)


def _prove(fleet: Fleet, now: float) -> None:
    """Start the candidate's first workers, and let it take over when it has proved itself."""
    candidate = fleet.candidate
    if candidate is None or candidate.stage is not Stage.PROVING:
        return
    for server, target in candidate.targets.items():
        wanted = target if fleet.current is None else 1
        _fill(fleet, now, candidate, server, wanted - len(candidate.active(server)))
    if candidate.proven():
        _take_over(fleet, now, candidate)


def _take_over(fleet: Fleet, now: float, generation: Generation) -> None:
    previous, fleet.current, fleet.candidate = fleet.current, generation, None
    generation.stage = Stage.SERVING
    generation.first = previous is None
    fleet.trouble = ''
    fleet.orders.append(Commit(generation.number))
    if previous is not None:
        fleet.retire(now, previous)


def _roll(fleet: Fleet, now: float) -> None:
    """Replace old workers by new ones, one start for each drain begun; replace the dead; keep to the targets.

    Old workers drain as far as the ready ones, old and new, are more than wanted; new ones start as far as those
    that serve or will don't become two more than wanted.  So memory never doubles, and nobody's exit is awaited.
    """
    current = fleet.current
    if current is None:
        return
    servers = {key[0] for generation in fleet.generations.values() for key in generation.workers}
    for server in sorted(servers | current.targets.keys()):
        target = current.targets.get(server, 0)
        old = _old(fleet, current, server)
        new = [worker for worker in current.active(server) if worker not in old]
        surplus = max(0, sum(worker.phase is Phase.READY for worker in new) + len(old) - target)
        for worker in old[:surplus]:
            fleet.dismiss(now, worker)
        del old[:surplus]
        for worker in sorted(new, key=_usefulness)[target:]:
            fleet.dismiss(now, worker)
        _fill(fleet, now, current, server, min(target - len(new), target + 1 - len(new) - len(old)))
    _announce(fleet, current)


def _old(fleet: Fleet, current: Generation, server: str) -> list[Worker]:
    """Those who serve only until others can: all of the retired generations, and one that is worn of the current one.

    The next that is worn goes on until the last one has ended, and given its memory back.
    """
    old = [worker for generation in fleet.retired() for worker in generation.ready(server)]
    worn = [worker for worker in current.workers.values() if worker.worn and worker.key[0] == server]
    return old if any(not worker.active for worker in worn) else old + worn[:1]


def _fill(fleet: Fleet, now: float, generation: Generation, server: str, count: int) -> None:
    """Start ``count`` workers, each as soon as its slot's back-off allows."""
    count -= generation.failing(server)  # their slots are filled when they have gone, after their back-off
    if count <= 0 or not generation.can_fork():
        return
    keys = generation.free_keys(server)
    for key in [next(keys) for _ in range(count)]:
        not_before = generation.back_off(key).not_before
        if not_before <= now:
            generation.workers[key] = Worker(generation, now + generation.plan.load_timeout, key)
            fleet.orders.append(Spawn(key))
        elif fleet.retry_at is None or not_before < fleet.retry_at:
            fleet.retry_at = not_before


def _announce(fleet: Fleet, generation: Generation) -> None:
    """Say so when the generation is complete, and nobody is served by another any more."""
    if generation.announced or not generation.complete() or any(each.accepts() for each in fleet.retired()):
        return
    generation.announced = True
    count = sum(len(generation.ready(server)) for server in generation.targets)
    what = 'ready:' if generation.first else f'generation {generation.number}: loaded,'
    fleet.log(INFO, f'{what} {count} {"worker" if count == 1 else "workers"}')


def _usefulness(worker: Worker) -> tuple[bool, bool, int]:
    """Sorts those first that are kept longest: ready ones, those that aren't worn, and low slots."""
    return worker.phase is not Phase.READY, worker.worn, worker.key[2]
