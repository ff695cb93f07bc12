"""Whether, and when, another binary takes over under the same pid.  Pure; :mod:`prefork.master.upgrade` does it.

At first it is verified by a process of its own, while everything goes on as before.  If that succeeds nothing more is
started, and once there are only workers that the other one can adopt, it takes over.
"""

from __future__ import annotations

import signal

from prefork.master import shutdown
from prefork.master.failures import how_it_ended
from prefork.master.fleet import Mode
from prefork.master.generation import Phase, Process
from prefork.master.orders import ERROR, INFO, WARNING, Verify
from prefork.master.report import summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prefork.master.fleet import Fleet


def begin(fleet: Fleet, now: float) -> None:
    """Have what is installed by now verified."""
    current = fleet.current
    if current is None:
        fleet.log(WARNING, 'not upgraded: nobody serves yet')
    elif not fleet.running or fleet.verifier is not None:
        fleet.log(WARNING, 'not upgraded twice: an upgrade or a stop is under way')
    else:
        fleet.log(INFO, 'upgrading: what is installed now is verified')
        fleet.verifier = Process(current, now + current.plan.load_timeout)
        fleet.orders.append(Verify())


def end_late_verifier(fleet: Fleet, now: float) -> None:
    """At first with a signal at which faulthandler shows where it hangs."""
    verifier = fleet.verifier
    if verifier is not None and verifier.deadline is not None and verifier.deadline <= now:
        fleet.doom(now, verifier, signal.SIGKILL if verifier.phase is Phase.DOOMED else signal.SIGABRT)


def verified(fleet: Fleet, now: float, status: int, complaint: str) -> None:
    """The verifier has ended, with this wait status, and has written ``complaint``."""
    verifier, fleet.verifier = fleet.verifier, None
    if fleet.ending or verifier is None:
        return
    if status or verifier.phase is Phase.DOOMED:
        late = f'it was not verified within load_timeout = {verifier.generation.plan.load_timeout:g} s\n'
        reason = complaint or f'the process that verifies it {how_it_ended(status, False)}'
        fail(fleet, (late if verifier.phase is Phase.DOOMED else '') + reason)
        return
    fleet.log(INFO, 'upgrading: it can take over')
    fleet.mode = Mode.HANDING_OVER
    shutdown.end_all_that_do_not_serve(fleet, now)
    fleet.abandon(now, 'an upgrade supersedes it', INFO)


def fail(fleet: Fleet, reason: str) -> None:
    """It can't take over, or couldn't be run: everything goes on as before."""
    fleet.verifier = None
    if fleet.mode is Mode.HANDING_OVER:
        fleet.mode = Mode.RUNNING
    fleet.log(ERROR, f'not upgraded: {reason}')
    fleet.trouble = f'upgrade failed: {summary(reason)}'
