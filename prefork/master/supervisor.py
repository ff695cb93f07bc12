"""The policy of the master, without a process in it: events in, orders out, and the next deadline.

Each public method is an event; it takes the time ``now`` (any clock that doesn't go back), and returns the orders to
carry out.  An event changes what is known; then one place compares what there is with what there should be, so that
no event has to foresee what others did before it.  Events that come too late to matter change nothing.
"""

from __future__ import annotations

import signal

from prefork.errors import EX_OK
from prefork.master import failures, handover, rollout, shutdown
from prefork.master.fleet import STOP_TIME, Fleet, Mode
from prefork.master.generation import Mold, Phase, Plan, Stage, Worker
from prefork.master.orders import (
    DEBUG,
    ERROR,
    INFO,
    WARNING,
    Backlog,
    Exit,
    HandOver,
    Key,
    Order,
    Ping,
    Preload,
    Reread,
)
from prefork.master.report import Report, report_of, summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PING_INTERVAL, PING_TIMEOUT = 10.0, 60.0
"""Without a watchdog.  With one, a worker that hangs is replaced before the watchdog could end the whole service."""


class Supervisor:
    """Decides for one master, from its start to its end.  See the module's text.

    ``watchdog`` is after how many seconds without a sign of life the service manager ends the service, if it does.
    """

    def __init__(self, watchdog: float | None = None) -> None:
        self._ping_interval = min(PING_INTERVAL, watchdog / 4) if watchdog else PING_INTERVAL
        self._ping_timeout = min(PING_TIMEOUT, watchdog / 2) if watchdog else PING_TIMEOUT
        self._ended = False
        self._fleet = Fleet()
        self._rereading = False
        """Whether it has been ordered that the configuration be read, and not come of it yet."""
        self._reload_put_off = False
        """Whether a reload was asked for that the next master makes anyway, if there will be one."""
        self._unclaimed: dict[int, str] = {}
        """How processes ended that nobody knew, while a worker's pid isn't known yet."""

    @property
    def running(self) -> bool:
        """Whether it goes on: nobody has told it to stop, or to hand over."""
        return self._fleet.running

    @property
    def handing_over(self) -> bool:
        return self._fleet.mode is Mode.HANDING_OVER

    # --- what the operator wants ----------------------------------------------------------------------------------

    def hung_up(self, now: float) -> list[Order]:
        """The configuration and the code are to be read again, SIGHUP says."""
        if self.running:
            self._reread()
        elif self.handing_over:
            self._reload_put_off = True
            self._fleet.log(INFO, 'reloading with the upgrade that is under way')
        else:
            self._fleet.log(WARNING, 'not reloaded: it stops')
        return self._settled(now)

    def reload(self, now: float, plan: Plan) -> list[Order]:
        """Start a generation that runs ``plan``: the first one, or one to take over from the current one."""
        self._rereading = False
        if self.running:
            self._fleet.trouble = ''
            self._fleet.abandon(now, 'it is superseded by the next', INFO)
            self._fleet.begin(now, plan)
        return self._settled(now)

    def not_reloaded(self, now: float, reason: str) -> list[Order]:
        """There is nothing to reload: the configuration can't be used."""
        self._rereading = False
        self._fleet.trouble = f'reload failed: {summary(reason)}'
        if self._fleet.is_moldless():
            self._fleet.mold_back_off.died(now, None)
        return self._settled(now)

    def resize(self, now: float, difference: int) -> list[Order]:
        """Run so many workers more (or fewer, but the last one stays) in each server, until the next reload."""
        if self.running:
            for generation in filter(None, (self._fleet.candidate, self._fleet.current)):
                for server, target in generation.targets.items():
                    generation.targets[server] = max(min(target, 1), target + difference)
                wanted = ', '.join(f'{server}: {target}' for server, target in generation.targets.items())
                self._fleet.log(INFO, f'workers wanted in generation {generation.number}: {wanted}')
        return self._settled(now)

    def rest(self, now: float) -> list[Order]:
        """Let all workers go, until a reload or a resize brings some back; meanwhile the kernel keeps connections."""
        if self.running and self._fleet.current is not None:
            for generation in filter(None, (self._fleet.candidate, self._fleet.current)):
                generation.targets = dict.fromkeys(generation.targets, 0)
            self._fleet.log(INFO, 'resting: all workers drain, and a reload or SIGTTIN starts some again')
        return self._settled(now)

    def stop(self, now: float) -> list[Order]:
        """Finish what there is and end; a second time, end at once."""
        if self._fleet.ending:
            return self.quit(now)
        self._fleet.log(INFO, 'stopping: finishing what there is')
        shutdown.stop(self._fleet, now)
        return self._settled(now)

    def quit(self, now: float) -> list[Order]:
        """End at once."""
        if self._fleet.mode is not Mode.QUITTING:
            self._fleet.log(INFO, 'stopping at once')
            shutdown.quit(self._fleet, now, EX_OK)
        return self._settled(now)

    # --- another binary -------------------------------------------------------------------------------------------

    def upgrade(self, now: float) -> list[Order]:
        """Have the binary that is installed by now take over, if it proves that it can."""
        handover.begin(self._fleet, now)
        return self._settled(now)

    def verifying(self, now: float, pid: int) -> list[Order]:
        """The process that was ordered to verify the new binary runs."""
        if self._fleet.verifier is not None:
            self._fleet.verifier.pid = pid
        return self._settled(now)

    def verified(self, now: float, status: int, complaint: str) -> list[Order]:
        """That process has ended, with its status in the form of wait(2), and has written ``complaint``."""
        handover.verified(self._fleet, now, status, complaint)
        return self._settled(now)

    def not_upgraded(self, now: float, reason: str) -> list[Order]:
        """The new binary could not be verified, or not be run: everything goes on as before."""
        handover.fail(self._fleet, reason)
        return self._settled(now)

    def bequeath(self) -> dict[str, Any]:
        """What the supervisor of the next master has to know of the workers that there are, in the terms of JSON."""
        return self._fleet.bequeath()

    def adopt(self, now: float, legacy: dict[str, Any]) -> list[Order]:
        """Begin with the workers of the master before this one.  They serve until a generation of ours can."""
        self._fleet.inherit(legacy)
        count = len(self._fleet.workers())
        self._fleet.log(INFO, f'upgraded: {count} {"worker is" if count == 1 else "workers are"} adopted')
        return self._settled(now)

    # --- what molds say -------------------------------------------------------------------------------------------

    def mold_started(self, now: float, number: int, pid: int) -> list[Order]:
        """The mold that was ordered has been forked."""
        mold = self._fleet.mold(number)
        if mold is not None:
            mold.pid = pid
            if mold.phase is Phase.SPAWNING:
                mold.phase = Phase.STARTING
        return self._settled(now)

    def mold_loaded(self, now: float, number: int, seconds: float) -> list[Order]:
        """The mold takes orders, and has loaded what it has to in so many seconds."""
        mold = self._fleet.mold(number)
        if mold is not None and mold.phase is Phase.STARTING:
            mold.phase, mold.ready_at, mold.deadline = Phase.READY, now, None
            mold.generation.stage = Stage.PROVING
            self._fleet.log(DEBUG, f'{mold} is ready')
            if mold.preload is not Preload.NEVER:
                self._fleet.log(INFO, f'preload: generation {number} loaded once, in {seconds:.2f} s')
        return self._settled(now)

    def mold_unsafe(self, now: float, number: int, found: list[str]) -> list[Order]:
        """The mold has found that what it loaded can't be forked, and exits: an empty one takes its place."""
        mold = self._fleet.mold(number)
        if mold is not None and mold.phase is Phase.STARTING:
            self._fleet.expect_exit(now, mold)
            mold.generation.preload = Preload.NEVER
            left = ', '.join(found)
            self._fleet.log(
                INFO, f'preload: each worker loads the application itself, which a fork would break: {left}'
            )
        return self._settled(now)

    def mold_failed(self, now: float, number: int, reason: str) -> list[Order]:
        """The mold can't load the application, or couldn't be forked."""
        mold = self._fleet.mold(number)
        if mold is not None and mold.phase in (Phase.SPAWNING, Phase.STARTING):
            if mold.pid is None:
                mold.generation.mold = None
            else:
                self._fleet.expect_exit(now, mold)
            failures.generation_failed(self._fleet, now, mold.generation, reason)
        return self._settled(now)

    # --- what workers say -----------------------------------------------------------------------------------------

    def spawned(self, now: float, key: Key, pid: int) -> list[Order]:
        """The worker that was ordered runs."""
        worker = self._fleet.worker(key)
        if worker is None or worker.pid is not None:
            return self._settled(now)
        worker.pid = pid
        if pid in self._unclaimed:
            failures.worker_gone(self._fleet, now, worker, self._unclaimed.pop(pid))
        elif worker.phase is Phase.SPAWNING:
            worker.phase, worker.deadline = Phase.STARTING, now + worker.generation.plan.load_timeout
        elif worker.phase is Phase.DOOMED:
            self._fleet.doom(now, worker, worker.signal)
        return self._settled(now)

    def unspawned(self, now: float, key: Key, reason: str) -> list[Order]:
        """The worker that was ordered couldn't be started, or ended before it said its pid."""
        worker = self._fleet.worker(key)
        if worker is not None and worker.pid is None:
            failures.worker_gone(self._fleet, now, worker, reason)
        return self._settled(now)

    def ready(self, now: float, key: Key) -> list[Order]:
        """The worker serves."""
        worker = self._fleet.worker(key)
        if worker is None:
            return self._settled(now)
        if worker.starting:  # also one that was stopped: it may say so before the kernel says that it was continued
            worker.phase, worker.ready_at, worker.deadline = Phase.READY, now, now + self._ping_interval
            worker.accepts = True
            self._fleet.log(DEBUG, f'{worker} is ready')
        elif worker.phase is Phase.DOOMED and worker.signal == signal.SIGTERM:
            # It was ready before the signal came, and may have a request: to a worker that serves, SIGTERM is a drain.
            self._fleet.drain(now, worker, Backlog.LEAVE)
        return self._settled(now)

    def failed(self, now: float, key: Key, reason: str) -> list[Order]:
        """The worker can't start, and exits."""
        worker = self._fleet.worker(key)
        if worker is not None and worker.phase is Phase.STARTING:
            self._fleet.expect_exit(now, worker)
            failures.start_failed(self._fleet, now, worker, f'{worker} cannot start: {reason}')
        return self._settled(now)

    def asked(self, now: float, key: Key) -> list[Order]:
        """A signal has asked the worker to go.  It waits for the order: where all go, others leave it the backlog."""
        worker = self._fleet.worker(key)
        if worker is not None and worker.phase is Phase.READY and not self._fleet.ending:
            self._fleet.log(INFO, f'{worker} drains and is replaced')
            self._fleet.drain(now, worker, Backlog.LEAVE)
        return self._settled(now)

    def worn(self, now: float, key: Key, reason: str) -> list[Order]:
        """The worker has served long enough, and goes on until another has taken its place."""
        worker = self._fleet.worker(key)
        if worker is not None and worker.phase is Phase.READY and not worker.worn and not self._fleet.ending:
            worker.worn = True
            self._fleet.log(INFO, f'{worker} is to be replaced: {reason}')
        return self._settled(now)

    def leaving(self, now: float, key: Key) -> list[Order]:
        """The worker accepts no more, as ordered."""
        worker = self._fleet.worker(key)
        if worker is not None:
            worker.accepts = False
        return self._settled(now)

    def pong(self, now: float, key: Key) -> list[Order]:
        """The worker's loop has answered the ping."""
        worker = self._fleet.worker(key)
        if worker is not None and worker.phase is Phase.READY:
            worker.pinged, worker.deadline = False, now + self._ping_interval
        return self._settled(now)

    # --- what the kernel says -------------------------------------------------------------------------------------

    def exited(self, now: float, pid: int, status: int, out_of_memory: bool | None = False) -> list[Order]:
        """A child was reaped: a mold, a worker or a stranger, with its status in the form of wait(2).

        ``out_of_memory`` is whether the kernel has killed somebody for want of memory just now, None where that can't
        be known.
        """
        process = self._fleet.process(pid)
        ours = process is not None and process.signal == signal.SIGKILL
        how = failures.how_it_ended(status, False if ours else out_of_memory)
        if isinstance(process, Worker):
            failures.worker_gone(self._fleet, now, process, how)
        elif isinstance(process, Mold):
            failures.mold_gone(self._fleet, now, process, how)
        else:
            # A worker may die, and be reaped, before the message with its pid is read.
            self._unclaimed[pid] = how
        return self._settled(now)

    def stopped(self, now: float, pid: int) -> list[Order]:
        """A signal has stopped a child: SIGSTOP, or one of a terminal's.  Debuggers stop it without our knowledge.

        A worker helps nobody then, and keeps its clients waiting: it is replaced, at once where it was ready.
        """
        process = self._fleet.process(pid)
        if isinstance(process, Mold):
            failures.kill_mold(self._fleet, process, 'was stopped by a signal')
        elif isinstance(process, Worker) and process.phase in (Phase.STARTING, Phase.READY, Phase.DRAINING):
            if process.phase is not Phase.DRAINING and not self._fleet.ending:
                what_now = '; replaced' if process.phase is Phase.READY else ' before it was ready'
                self._fleet.log(ERROR, f'{process} was stopped by a signal{what_now}')
            process.interrupted = process.phase
            process.phase, process.deadline = Phase.STOPPED, now + STOP_TIME
        return self._settled(now)

    def continued(self, now: float, pid: int) -> list[Order]:
        """A signal has continued a child that was stopped.

        Others have the place of a worker that was ready by now: it may finish.  One that wasn't goes on starting.
        """
        process = self._fleet.process(pid)
        if isinstance(process, Worker) and process.phase is Phase.STOPPED:
            if process.starting:
                process.phase, process.deadline = Phase.STARTING, now + process.generation.plan.load_timeout
                if not self.running or process.generation.stage is Stage.RETIRED:
                    self._fleet.dismiss(now, process)
            elif self.running:
                self._fleet.drain(now, process, Backlog.LEAVE)
            elif process.interrupted is Phase.DRAINING:
                self._fleet.await_drain(now, process)
            else:
                process.phase = Phase.READY  # to be drained with the others
                process.pinged, process.deadline = False, now + self._ping_interval
        return self._settled(now)

    # --- what the clock says --------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Order]:
        """Time has passed; due when :meth:`next_deadline` is over, and harmless at any time."""
        for process in self._fleet.processes():
            if process.deadline is not None and process.deadline <= now:
                if isinstance(process, Worker) and process.phase is Phase.READY:
                    self._ping(now, process)
                else:
                    failures.late(self._fleet, now, process)
        handover.end_late_verifier(self._fleet, now)
        return self._settled(now)

    def _ping(self, now: float, worker: Worker) -> None:
        """Ping the worker; abort it where it hasn't answered the last time."""
        if not worker.pinged:
            worker.pinged, worker.deadline = True, now + self._ping_timeout
            self._fleet.orders.append(Ping(worker.key))
            return
        self._fleet.log(ERROR, f'{worker} has not answered for {self._ping_timeout:g} s, and is aborted')
        self._fleet.doom(now, worker, signal.SIGABRT)
        worker.generation.back_off(worker.key).died(now, worker.lived(now))

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do; None: only another event will change anything."""
        deadlines = [process.deadline for process in self._fleet.processes()]
        deadlines.append(self._fleet.retry_at)
        if self._fleet.verifier is not None:
            deadlines.append(self._fleet.verifier.deadline)
        if self._fleet.is_moldless():
            deadlines.append(self._fleet.mold_back_off.not_before)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def report(self, now: float) -> Report:
        """What the service manager is told now."""
        return report_of(self._fleet, now)

    # --- what there should be -------------------------------------------------------------------------------------

    def _settled(self, now: float) -> list[Order]:
        """Order what is missing between what there is and what there should be; all the orders of this event."""
        fleet = self._fleet
        fleet.retry_at = None
        if self.running:
            if self._reload_put_off:
                self._reload_put_off = False
                self._reread()
            self._revive(now)
            rollout.advance(fleet, now)
        elif fleet.mode is Mode.STOPPING:
            shutdown.drain_all(fleet, now)
        fleet.forget()
        if self.handing_over and fleet.is_quiet():
            fleet.orders.append(HandOver())
        processes = fleet.processes()
        if all(process.pid is not None for process in processes):
            self._unclaimed.clear()
        if fleet.ending and not processes and fleet.verifier is None and not self._ended:
            self._ended = True
            fleet.log(INFO, 'stopped')
            fleet.orders.append(Exit(fleet.exit_status))
        orders, fleet.orders = fleet.orders, []
        return orders

    def _revive(self, now: float) -> None:
        """A dead mold is replaced by a new generation that has to prove itself: the disk may have changed."""
        fleet, current = self._fleet, self._fleet.current
        if current is None or self._rereading or not fleet.is_moldless() or now < fleet.mold_back_off.not_before:
            return
        if current.adopted:
            # Its configuration is the master's that started it, and may have been of another kind.
            self._reread()
            return
        plan = current.plan
        fleet.begin(now, Plan(dict(current.targets), plan.load_timeout, plan.graceful_timeout, plan.preload))

    def _reread(self) -> None:
        self._rereading = True
        self._fleet.orders.append(Reread())
