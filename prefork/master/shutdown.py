"""How all of it comes to its end: gracefully, or at once.  Pure."""

from __future__ import annotations

import signal

from prefork.master.fleet import Mode
from prefork.master.generation import Mold, Phase, Worker
from prefork.master.orders import Backlog, CloseListeners, Quit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prefork.master.fleet import Fleet


def stop(fleet: Fleet, now: float) -> None:
    """Finish what there is; :func:`drain_all` follows."""
    fleet.mode = Mode.STOPPING
    fleet.orders.append(CloseListeners())
    end_all_that_do_not_serve(fleet, now)


def end_all_that_do_not_serve(fleet: Fleet, now: float) -> None:
    """Leave only those who have clients."""
    for process in fleet.processes():
        if isinstance(process, Mold):
            fleet.doom(now, process, signal.SIGKILL)
        elif isinstance(process, Worker) and process.starting:
            fleet.doom(now, process, signal.SIGTERM)
    if fleet.verifier is not None:
        fleet.doom(now, fleet.verifier, signal.SIGKILL)


def drain_all(fleet: Fleet, now: float) -> None:
    """Drain every worker, once nobody else has the listeners.

    While a mold or a starting worker has them too, the kernel completes connections that nobody would accept.
    """
    processes = fleet.processes()
    workers = [process for process in processes if isinstance(process, Worker)]
    if len(workers) < len(processes) or any(each.phase not in (Phase.READY, Phase.DRAINING) for each in workers):
        return
    for worker in workers:
        if worker.phase is Phase.READY:
            fleet.drain(now, worker, Backlog.ACCEPT)


def quit(fleet: Fleet, now: float, status: int) -> None:
    """End all at once; ``status`` is what the master exits with then."""
    if not fleet.ending:
        fleet.orders.append(CloseListeners())
    fleet.mode, fleet.exit_status = Mode.QUITTING, status
    if fleet.verifier is not None:
        fleet.doom(now, fleet.verifier, signal.SIGKILL)
    for process in fleet.processes():
        if isinstance(process, Worker) and process.phase in (Phase.READY, Phase.DRAINING):
            fleet.orders.append(Quit(process.key))
            fleet.expect_exit(now, process)
        elif process.phase is not Phase.DOOMED:  # else it may be showing its stacks, or saying why it failed
            fleet.doom(now, process, signal.SIGKILL)
