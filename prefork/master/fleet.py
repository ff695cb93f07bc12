"""All generations together, and the steps in their processes' lives that every part of the policy takes.

Pure: orders are collected in :attr:`Fleet.orders` for the master to carry out.
"""

from __future__ import annotations

import enum
import signal

from prefork.errors import EX_OK
from prefork.master.generation import BackOff, Generation, Mold, Phase, Plan, Process, Stage, Worker
from prefork.master.orders import Backlog, Discard, Drain, Key, Kill, Log, Order, Preload, StartMold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DOOM_TIME = 2.0
"""For a process that was told to go at once; then SIGKILL."""

STOP_TIME = 2.0
"""For somebody to continue a worker that a signal has stopped; then it is ended."""

DRAIN_MARGIN = 1.0
"""A worker ends its drain itself at ``graceful_timeout``; the master waits so much longer before SIGKILL."""


class Mode(enum.Enum):
    """What is wanted of all of them together."""

    RUNNING = 'running'
    HANDING_OVER = 'handing over'
    """A new binary takes over as soon as there are only workers that it can adopt."""

    STOPPING = 'stopping'
    QUITTING = 'quitting'


class Fleet:
    """Every generation that has a process left, the two that count, and what is wanted of all of them.

    A generation is the ``candidate`` from its order until each server has a ready worker of it, and the ``current``
    one from then until the next takes over.  Until then nothing that serves is touched.
    """

    __slots__ = (
        '_latest',
        'candidate',
        'current',
        'exit_status',
        'generations',
        'mode',
        'mold_back_off',
        'orders',
        'retry_at',
        'trouble',
        'verifier',
    )

    def __init__(self) -> None:
        self.mode = Mode.RUNNING
        self.exit_status = EX_OK
        """The master's, once all of it has ended."""
        self._latest = 0
        self.generations: dict[int, Generation] = {}
        self.current: Generation | None = None
        self.candidate: Generation | None = None
        self.retry_at: float | None = None
        """When the earliest vacant slot may be filled, as far as the last comparison found one."""
        self.mold_back_off = BackOff()
        """When a generation may be begun in the place of one that has lost its mold."""
        self.verifier: Process | None = None
        """Who sees whether a new binary could take over.  It belongs to no generation."""
        self.trouble = ''
        """What went wrong last since the current generation took over, in a line."""
        self.orders: list[Order] = []

    @property
    def running(self) -> bool:
        """Whether it goes on: nobody has told it to stop, or to hand over."""
        return self.mode is Mode.RUNNING

    @property
    def ending(self) -> bool:
        return self.mode in (Mode.STOPPING, Mode.QUITTING)

    # --- what there is --------------------------------------------------------------------------------------------

    def processes(self) -> list[Process]:
        return [process for generation in self.generations.values() for process in generation.processes()]

    def workers(self) -> list[Worker]:
        return [worker for generation in self.generations.values() for worker in generation.workers.values()]

    def process(self, pid: int) -> Process | None:
        return next((process for process in self.processes() if process.pid == pid), None)

    def retired(self) -> list[Generation]:
        """Those that are no longer current, or never were."""
        return [generation for generation in self.generations.values() if generation.stage is Stage.RETIRED]

    def mold(self, number: int) -> Mold | None:
        generation = self.generations.get(number)
        return None if generation is None else generation.mold

    def worker(self, key: Key) -> Worker | None:
        generation = self.generations.get(key[1])
        return None if generation is None else generation.workers.get(key)

    def is_moldless(self) -> bool:
        """Whether the current generation has lost its mold, and nothing is under way to replace both."""
        return self.running and self.candidate is None and self.current is not None and self.current.lacks_mold()

    def log(self, level: int, text: str) -> None:
        self.orders.append(Log(level, text))

    # --- from one master to the next ------------------------------------------------------------------------------

    def is_quiet(self) -> bool:
        """Whether there are only workers that serve, or finish what they have."""
        return all(each.phase in (Phase.READY, Phase.DRAINING) for each in self.processes())

    def bequeath(self) -> dict[str, Any]:
        """What a master that follows this one has to know, in the terms of JSON; for :meth:`inherit`."""
        assert self.current is not None
        generations = [generation.bequeath() for generation in self.generations.values()]
        return {'latest': self._latest, 'current': self.current.number, 'generations': generations}

    def inherit(self, legacy: dict[str, Any]) -> None:
        self._latest = legacy['latest']
        for each in legacy['generations']:
            generation = Generation.inherit(each)
            self.generations[generation.number] = generation
        self.current = self.generations[legacy['current']]
        self.current.stage = Stage.SERVING

    # --- the life of a generation -------------------------------------------------------------------------------------

    def begin(self, now: float, plan: Plan) -> None:
        """Start a candidate."""
        self._latest += 1
        generation = self.generations[self._latest] = self.candidate = Generation(self._latest, plan)
        if plan.preload is Preload.NO_MOLD:
            generation.stage = Stage.PROVING
        else:
            self.start_mold(now, generation)

    def start_mold(self, now: float, generation: Generation) -> None:
        generation.mold = Mold(generation, now + generation.plan.load_timeout)
        self.orders.append(StartMold(generation.number, generation.preload))

    def abandon(self, now: float, reason: str, level: int) -> None:
        """Give the candidate up, if there is one."""
        generation = self.candidate
        if generation is None:
            return
        keeper = f'; generation {self.current.number} serves on' if self.current is not None else ''
        self.log(level, f'generation {generation.number} is given up{keeper}: {reason}')
        self.candidate = None
        self.retire(now, generation)
        self.orders.append(Discard(generation.number))
        if self.is_moldless():
            self.mold_back_off.died(now, None)

    def retire(self, now: float, generation: Generation) -> None:
        """The generation gets no more workers.  Those that serve do so until others can."""
        generation.stage = Stage.RETIRED
        if generation.mold is not None and generation.mold.phase is not Phase.DOOMED:
            self.doom(now, generation.mold, signal.SIGKILL)
        for worker in generation.workers.values():
            if worker.phase is not Phase.READY:
                self.dismiss(now, worker)

    def forget(self) -> None:
        """Drop the retired generations whose last process has gone."""
        for generation in self.retired():
            if not any(generation.processes()):
                del self.generations[generation.number]

    # --- the life of a process ----------------------------------------------------------------------------------------

    def doom(self, now: float, process: Process, signal_number: int) -> None:
        """Send a signal that ends the process; it is killed if it hasn't gone soon after."""
        process.phase = Phase.DOOMED
        process.signal = signal_number
        # Nothing is left to be done after SIGKILL, but where no pid is known to send it to.
        killed = signal_number == signal.SIGKILL and process.pid is not None
        process.deadline = None if killed else now + DOOM_TIME
        if process.pid is not None:
            self.orders.append(Kill(process.pid, signal_number))

    def expect_exit(self, now: float, process: Process) -> None:
        """The process goes by itself; it is killed if it hasn't gone soon after."""
        process.phase, process.deadline = Phase.DOOMED, now + DOOM_TIME

    def drain(self, now: float, worker: Worker, backlog: Backlog) -> None:
        self.await_drain(now, worker)
        self.orders.append(Drain(worker.key, backlog, worker.generation.plan.graceful_timeout))

    def await_drain(self, now: float, worker: Worker) -> None:
        """The worker finishes what it has, as it was told; it is killed if it hasn't by its deadline."""
        worker.phase, worker.deadline = Phase.DRAINING, now + worker.generation.plan.graceful_timeout + DRAIN_MARGIN

    def dismiss(self, now: float, worker: Worker) -> None:
        """Let a worker go that is no longer wanted, without losing what it may have."""
        if worker.phase is Phase.READY:
            self.drain(now, worker, Backlog.LEAVE)
        elif worker.active:
            self.doom(now, worker, signal.SIGTERM)
