"""What becomes of it when a process hangs, dies or can't start.  Pure.

Of the current generation it is replaced, after its slot's back-off; a candidate whose worker or mold fails is given up.
"""

from __future__ import annotations

import signal

from prefork.errors import EX_CONFIG
from prefork.master import shutdown
from prefork.master.generation import Mold, Phase, Stage, Worker
from prefork.master.orders import DEBUG, ERROR, WARNING, Kill, Release
from prefork.master.report import summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prefork.master.fleet import Fleet
    from prefork.master.generation import Generation, Process

CRASH_LIMIT = 3
"""Deaths of one slot of the first generation, with no worker ready yet, after which starting it is given up."""


def late(fleet: Fleet, now: float, process: Process) -> None:
    """The process's deadline is over, and it isn't one that serves."""
    process.deadline = None
    if isinstance(process, Worker) and process.pid is None and process.signal == signal.SIGKILL:
        # Nobody can kill it.  If there is such a process, it goes when it finds that its channel is closed.
        worker_gone(fleet, now, process, 'has never said its pid')
    elif process.phase is Phase.DOOMED:
        fleet.doom(now, process, signal.SIGKILL)
    elif isinstance(process, Mold):
        fleet.doom(now, process, signal.SIGABRT)  # faulthandler shows where it hangs
        timeout = process.generation.plan.load_timeout
        reason = f'the application was not loaded within load_timeout = {timeout:g} s'
        generation_failed(fleet, now, process.generation, reason)
    elif isinstance(process, Worker):
        _late_worker(fleet, now, process)


def _late_worker(fleet: Fleet, now: float, worker: Worker) -> None:
    plan = worker.generation.plan
    mold = worker.generation.mold
    if worker.phase is Phase.SPAWNING:
        fleet.doom(now, worker, signal.SIGKILL)
        if mold is not None:
            kill_mold(fleet, mold, 'does not answer')
    elif worker.phase is Phase.STARTING:
        fleet.doom(now, worker, signal.SIGABRT)
        start_failed(fleet, now, worker, f'{worker} was not ready within load_timeout = {plan.load_timeout:g} s')
    elif worker.phase is Phase.STOPPED:
        fleet.log(ERROR, f'{worker} is still stopped, and is aborted')
        fleet.doom(now, worker, signal.SIGABRT)
        fleet.orders.append(Kill(worker.pid, signal.SIGCONT))  # to die, and show its stacks before
        if worker.ready_at is None:
            start_failed(fleet, now, worker, f'{worker} was stopped by a signal before it was ready')
    elif worker.phase is Phase.DRAINING:
        fleet.log(WARNING, f'{worker} did not finish within {plan.graceful_timeout:g} s, and is killed')
        fleet.doom(now, worker, signal.SIGKILL)


def kill_mold(fleet: Fleet, mold: Mold, why: str) -> None:
    """The mold is of no use any more."""
    if mold.phase is Phase.READY and not mold.signal:
        fleet.log(ERROR, f'{mold} {why}, and is killed')
        mold.signal = signal.SIGKILL  # not doomed: its end is a death like any other
        fleet.orders.append(Kill(mold.pid, signal.SIGKILL))


def worker_gone(fleet: Fleet, now: float, worker: Worker, how: str) -> None:
    """The worker has ended, as ``how`` says."""
    del worker.generation.workers[worker.key]
    fleet.orders.append(Release(worker.key))
    if worker.phase is Phase.READY:
        delay = worker.generation.back_off(worker.key).died(now, worker.lived(now))
        fleet.log(ERROR, f'{worker} {how}{_remedy(fleet, worker, delay)}')
    elif worker.active:
        _start_died(fleet, now, worker, f'{worker} {how}' + (' before it was ready' if worker.pid else ''))
    else:
        fleet.log(DEBUG, f'{worker} {how}')


def mold_gone(fleet: Fleet, now: float, mold: Mold, how: str) -> None:
    """The mold has ended."""
    generation = mold.generation
    generation.mold = None
    if generation.stage is Stage.RETIRED or not fleet.running:
        fleet.log(DEBUG, f'{mold} {how}')
    elif mold.phase is Phase.DOOMED and generation.preload is not mold.preload:
        fleet.start_mold(now, generation)
    elif generation is fleet.candidate:
        loading = mold.phase is Phase.STARTING
        generation_failed(fleet, now, generation, f'{mold} {how}' + (' while it loaded' if loading else ''))
    else:
        delay = fleet.mold_back_off.died(now, mold.lived(now))
        wait = f' in {delay:g} s' if delay else ''
        fleet.log(ERROR, f'{mold} {how}; a new generation is loaded{wait}')


def _remedy(fleet: Fleet, worker: Worker, delay: float) -> str:
    if worker.generation is not fleet.current or not fleet.running:
        return ''
    return f'; replaced in {delay:g} s' if delay else '; replaced'


def _start_died(fleet: Fleet, now: float, worker: Worker, reason: str) -> None:
    """A worker died on its way without a word: of the first generation it may be tried again."""
    first = worker.generation is fleet.candidate and fleet.current is None
    back_off = worker.generation.back_off(worker.key)
    if not first or back_off.failures >= CRASH_LIMIT:
        start_failed(fleet, now, worker, reason)
        return
    delay = back_off.died(now, worker.lived(now))
    fleet.log(ERROR, f'{reason}; replaced in {delay:g} s')


def start_failed(fleet: Fleet, now: float, worker: Worker, reason: str) -> None:
    """The worker can't start, and has ended or is about to."""
    generation = worker.generation
    if generation is fleet.candidate:
        generation_failed(fleet, now, generation, reason)
    elif generation is fleet.current:
        delay = generation.back_off(worker.key).died(now, None)
        # A slot that never starts is tried for ever; the log needn't hear the same story each time.
        news = reason.replace(str(worker), 'a worker')
        level = DEBUG if news == generation.complaint else ERROR
        generation.complaint = news
        fleet.log(level, f'{reason}\ntried again in {delay:g} s')


def generation_failed(fleet: Fleet, now: float, generation: Generation, reason: str) -> None:
    """The generation can't take over: what serves goes on, and where nothing does that is the end of the master."""
    if generation is not fleet.candidate:
        return
    if fleet.current is not None:
        fleet.trouble = f'reload failed: {summary(reason)}'
        fleet.abandon(now, reason, ERROR)
    else:
        fleet.log(ERROR, reason)
        fleet.trouble = f'start failed: {summary(reason)}'
        shutdown.quit(fleet, now, EX_CONFIG)


def how_it_ended(status: int, out_of_memory: bool | None) -> str:
    """How a process ended, from its wait status."""
    if status & 0x7F == 0:
        return f'exited with status {status >> 8}'
    number = status & 0x7F
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f'signal {number}'
    if number != signal.SIGKILL or out_of_memory is False:
        return f'was killed by {name}'
    return f'was killed by {name}{": the kernel was" if out_of_memory else ", perhaps by the kernel,"} out of memory'
