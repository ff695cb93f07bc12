"""What the supervisor knows: generations, and in each its mold and its workers.  Pure data; the policy is elsewhere."""

from __future__ import annotations

import enum

from prefork.master.orders import Key, Preload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

HEALTHY_TIME = 10.0
"""Who was ready for so long didn't die of its start: the next one is started at once."""

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0


class Plan:
    """What a generation is to run: ``workers`` a server, and how long a load and a drain may take (seconds)."""

    __slots__ = ('graceful_timeout', 'load_timeout', 'preload', 'workers')

    def __init__(self, workers: dict[str, int], load_timeout: float, graceful_timeout: float, preload: Preload) -> None:
        self.workers = workers
        self.load_timeout = load_timeout
        self.graceful_timeout = graceful_timeout
        self.preload = preload


class Phase(enum.Enum):
    """Where a process is in its life.  What has ended has no phase: it is forgotten."""

    SPAWNING = 'spawning'
    """Ordered; its pid isn't known yet."""

    STARTING = 'starting'
    """Loads the application, or has still to say that it is ready."""

    READY = 'ready'

    STOPPED = 'stopped'
    """Stopped by a signal.  It is ended, unless another signal continues it soon."""

    DRAINING = 'draining'
    """Finishes what it has."""

    DOOMED = 'doomed'
    """Has failed or been sent a signal; killed at its deadline."""


class Stage(enum.Enum):
    """Where a generation is in its life."""

    LOADING = 'loading'
    PROVING = 'proving'
    """Its mold has loaded; it takes over when each server has a ready worker."""

    SERVING = 'serving'
    RETIRED = 'retired'
    """Superseded, or failed before it took over."""


class BackOff:
    """When the next start may be tried: at once after a healthy life, then after 0.5, 1, 2 … 30 s."""

    __slots__ = ('failures', 'not_before')

    def __init__(self) -> None:
        self.failures = 0
        self.not_before = 0.0

    def died(self, now: float, lived: float | None) -> float:
        """Count a death after ``lived`` seconds of readiness (None: without any); the delay until the next try."""
        if lived is None:
            self.failures = max(self.failures, 1)
        elif lived >= HEALTHY_TIME:
            self.failures = 0
        delay = min(FIRST_DELAY * 2.0 ** (self.failures - 1), LONGEST_DELAY) if self.failures else 0.0
        self.failures += 1
        self.not_before = now + delay
        return delay


class Process:
    """A mold or a worker, from its order to its reaping."""

    __slots__ = ('deadline', 'generation', 'phase', 'pid', 'ready_at', 'signal')

    def __init__(self, generation: Generation, deadline: float) -> None:
        self.generation = generation
        self.phase = Phase.SPAWNING
        self.pid: int | None = None
        self.deadline: float | None = deadline
        self.ready_at: float | None = None
        self.signal = 0
        """What doomed it; sent as soon as its pid is known."""

    def lived(self, now: float) -> float | None:
        """For how long it has been ready, if it ever was."""
        return None if self.ready_at is None else now - self.ready_at


class Mold(Process):
    __slots__ = ('preload',)

    def __init__(self, generation: Generation, deadline: float) -> None:
        super().__init__(generation, deadline)
        self.preload = generation.preload

    def __str__(self) -> str:
        return f'the mold of generation {self.generation.number} (pid {self.pid})'


class Worker(Process):
    __slots__ = ('accepts', 'interrupted', 'key', 'pinged', 'worn')

    def __init__(self, generation: Generation, deadline: float, key: Key) -> None:
        super().__init__(generation, deadline)
        self.key = key
        self.accepts = False
        """Whether new connections may come to it: from its readiness until it says that it has stopped."""
        self.pinged = False
        """Whether a ping is unanswered."""
        self.interrupted: Phase | None = None
        """The phase in which a signal stopped it."""
        self.worn = False
        """Whether it serves only until another can."""

    @property
    def active(self) -> bool:
        """Whether it serves, or will."""
        return self.phase in (Phase.SPAWNING, Phase.STARTING, Phase.READY)

    @property
    def starting(self) -> bool:
        """Whether it has still to become ready."""
        return self.ready_at is None and self.phase is not Phase.DOOMED

    def bequeath(self) -> list[Any]:
        """What a master that follows this one has to know of it, in the terms of JSON; for :meth:`inherit`."""
        flags = [self.accepts, self.pinged, self.worn]
        return [self.key[0], self.key[2], self.pid, self.phase.value, self.deadline, self.ready_at, flags]

    @classmethod
    def inherit(cls, generation: Generation, legacy: list[Any]) -> Worker:
        server, slot, pid, phase, deadline, ready_at, flags = legacy
        worker = cls(generation, deadline, (server, generation.number, slot))
        worker.pid, worker.phase, worker.ready_at = pid, Phase(phase), ready_at
        worker.accepts, worker.pinged, worker.worn = flags
        return worker

    def answers(self, now: float) -> bool:
        """Whether it serves, and no ping is overdue."""
        late = self.pinged and self.deadline is not None and self.deadline <= now
        return self.phase is Phase.READY and not late

    def __str__(self) -> str:
        server, generation, slot = self.key
        return f'worker {server}/{generation}/{slot}' + (f' (pid {self.pid})' if self.pid else '')


class Generation:
    """One loading of the application, and the workers forked from it, over all servers."""

    __slots__ = (
        'adopted',
        'announced',
        'back_offs',
        'complaint',
        'first',
        'mold',
        'number',
        'plan',
        'preload',
        'stage',
        'targets',
        'workers',
    )

    def __init__(self, number: int, plan: Plan) -> None:
        self.number = number
        self.plan = plan
        self.preload = plan.preload
        """As planned, until ``auto`` finds that it has to be NEVER."""
        self.targets = dict(plan.workers)
        """Workers wanted, by server: the plan's until somebody resizes it."""
        self.stage = Stage.LOADING
        self.mold: Mold | None = None
        self.workers: dict[Key, Worker] = {}
        self.back_offs: dict[Key, BackOff] = {}
        self.complaint = ''
        """Why a worker couldn't start, the last time it was logged."""
        self.first = False
        """Whether it took over from nobody."""
        self.announced = False
        self.adopted = False
        """Whether a master before this one started it: it has no mold, and its workers are all that it will have."""

    def bequeath(self) -> list[Any]:
        """As :meth:`Worker.bequeath`, with all of its workers."""
        plan = [self.targets, self.plan.load_timeout, self.plan.graceful_timeout, self.plan.preload.value]
        return [self.number, plan, [worker.bequeath() for worker in self.workers.values()]]

    @classmethod
    def inherit(cls, legacy: list[Any]) -> Generation:
        number, (targets, load_timeout, graceful_timeout, preload), workers = legacy
        generation = cls(number, Plan(targets, load_timeout, graceful_timeout, Preload(preload)))
        generation.stage, generation.adopted, generation.announced = Stage.RETIRED, True, True
        for each in workers:
            worker = Worker.inherit(generation, each)
            generation.workers[worker.key] = worker
        return generation

    def processes(self) -> Iterator[Process]:
        if self.mold is not None:
            yield self.mold
        yield from self.workers.values()

    def lacks_mold(self) -> bool:
        """Whether it can't replace its workers, and only another generation can."""
        return self.mold is None and (self.adopted or self.preload is not Preload.NO_MOLD)

    def active(self, server: str) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.key[0] == server and worker.active]

    def ready(self, server: str) -> list[Worker]:
        return [worker for worker in self.active(server) if worker.phase is Phase.READY]

    def accepts(self) -> bool:
        return any(worker.accepts for worker in self.workers.values())

    def failing(self, server: str) -> int:
        """How many are on their way out, or will be, without having been ready."""
        workers = [worker for worker in self.workers.values() if worker.key[0] == server]
        return sum(worker.phase in (Phase.STOPPED, Phase.DOOMED) and worker.ready_at is None for worker in workers)

    def proven(self) -> bool:
        """Whether each server has a ready worker."""
        return all(self.ready(server) for server in self.targets)

    def complete(self) -> bool:
        """Whether each server has all the ready workers it wants."""
        return all(len(self.ready(server)) >= target for server, target in self.targets.items())

    def can_fork(self) -> bool:
        if self.adopted:
            return False
        if self.preload is Preload.NO_MOLD:
            return True
        return self.mold is not None and self.mold.phase is Phase.READY and not self.mold.signal

    def back_off(self, key: Key) -> BackOff:
        return self.back_offs.setdefault(key, BackOff())

    def free_keys(self, server: str) -> Iterator[Key]:
        """Keys that no live worker has, lowest slot first, without end."""
        slot = 0
        while True:
            key = (server, self.number, slot)
            if key not in self.workers:
                yield key
            slot += 1
