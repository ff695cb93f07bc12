"""Which thread leads: the one that polls runs the application too, and another takes over when a call stalls.

One thread at a time holds the lead.  It alone touches the poller and the connections that no call owns.  For the time
of an application call it lets the lead go, and takes it back afterwards if nobody else has it by then: two operations
on an uncontended lock are all that an ordinary request pays.

One more thread, the sentry, stands by.  It sleeps without a timeout while there are no calls, ticks while there are,
and takes the lead when one call has lasted for a tick.  The call's thread then finds the lead taken, hands its
connection back to the loop and stands by in its turn.  A call that computes may last longer, as it keeps the
interpreter from whoever leads: see ``allowance``.  There are ``threads`` + 1 threads at the most, and one more for
each that is parked, asleep inside an application's unfinished response until its client has read what there is, and
for each that is lost: in a call that takes too long, and that nobody waits for any more.
"""

from __future__ import annotations

import contextvars
import sys
import threading
from time import monotonic

from prefork.logs import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from prefork.worker.lease import Lease

SWITCH_INTERVAL = 0.0005
"""Seconds a computing thread may keep the interpreter from the others: at the default of 5 ms each round trip beside
one takes 5 ms."""

TICK = 0.002
"""Seconds between two looks of the sentry, and how long a call that blocks may have the lead.  A block may be kept
back for as long as that: at most for two ticks."""

LONGEST_TURN = 0.05
"""Seconds that a call may compute for while others wait, if it is the only one."""

_LATE = SWITCH_INTERVAL * 0.6

_interval_lock = threading.Lock()
_interval_users = 0
_interval_before = 0.0


def shorten_switch_interval() -> None:
    """Begin to need SWITCH_INTERVAL in this process, in which others may need it too."""
    global _interval_users, _interval_before
    with _interval_lock:
        if _interval_users == 0:
            _interval_before = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_INTERVAL)
        _interval_users += 1


def restore_switch_interval() -> None:
    """Need it no more; the last one who says so restores what was there."""
    global _interval_users
    with _interval_lock:
        _interval_users -= 1
        if _interval_users == 0:
            sys.setswitchinterval(_interval_before)


class Crew:
    """The threads of a worker.  ``lead`` is called by whoever gets the lead; it returns when that is lost or over.

    Attributes: ``leader`` the leading thread's identity; ``running`` what each calling thread works on, and ``threads``
    how many of them there may be; ``lost`` the threads whose calls were given up; ``events`` how many came with the
    leader's last poll, who tells it; ``done`` whether the threads shall end; ``unparked`` how many have gone on after
    they were parked; ``failed`` whether a bug of ours has ended them.
    """

    __slots__ = (
        '_admin',
        '_alarm',
        '_asleep',
        '_context',
        '_ended',
        '_late',
        '_lead',
        '_lead_loop',
        '_max_parked',
        '_newest',
        '_parked',
        '_post',
        '_standing',
        '_total',
        '_vacant',
        'done',
        'events',
        'failed',
        'leader',
        'lost',
        'running',
        'threads',
        'unparked',
    )

    def __init__(self, threads: int, max_parked: int, lead: Callable[[], None]) -> None:
        self.threads = threads
        self._max_parked = max_parked
        self._lead_loop = lead
        # What the application set in contextvars while it was loaded is there in every request, and nothing else.
        self._context = contextvars.copy_context()
        self._lead = threading.Lock()  # held by the leader, but not during an application call
        self.leader = 0
        self.events = 0
        self.running: dict[int, Any] = {}
        self.lost: set[int] = set()
        self._newest: Lease | None = None  # of the newest call: the sentry compares it from tick to tick
        self._post = threading.Lock()  # held by the sentry; the others that stand by queue for it
        self._alarm = threading.Lock()  # the sentry sleeps on it, always locked but for a ring
        self._alarm.acquire()
        self._asleep = False
        self._late = 0.0  # seconds that the sentry has woken too late by, on the average of its last looks
        self._vacant = True
        self._admin = threading.Lock()  # guards the three counts
        self._total = self._standing = self._parked = 0
        self.unparked = 0
        self.done = self.failed = False
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin: a first thread leads, a second one stands by.  Raises RuntimeError where there can be no thread."""
        if not self.hire():
            raise RuntimeError('no thread can be started')

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the last leader has ended, or the timeout; whether it has.  Stuck calls are not waited for."""
        return self._ended.wait(timeout)

    @property
    def full(self) -> bool:
        """Whether as many calls run as may."""
        return len(self.running) >= self.threads

    @property
    def may_park(self) -> bool:
        """Whether one more thread may be parked."""
        return self._parked < self._max_parked

    # --- of the leader ---

    def call(self, function: Callable[[Any], None], subject: Lease) -> bool:
        """Run ``function(subject)`` in a fresh copy of the context, without the lead; whether this thread leads again.

        ``function`` must not raise.  Where the answer is False, another thread leads already, and nothing but what the
        subject owns may be touched.
        """
        me = self.leader
        self.running[me] = self._newest = subject
        if self._asleep:
            self._ring()
        self.leader = 0  # whoever takes the lead may have the lock a moment before its name stands here
        self._lead.release()
        self._context.copy().run(function, subject)
        try:
            del self.running[me]
        except KeyError:
            self.lost.remove(me)
            return False
        if self._lead.acquire(False):
            self.leader = me
            if self._newest is not subject:  # the lead was taken from this call, and now from a later one
                self.hurry()
            return True
        return False

    def lose(self, thread: int) -> None:
        """Give up a thread in a call, which must not be about to end: it counts no more.  Then ``hire`` another."""
        self.lost.add(thread)
        del self.running[thread]

    def finish(self) -> None:
        """Let all threads end, this one by returning from ``lead``.  The lead is kept: nobody can have it any more."""
        self.done = True
        self._ended.set()
        self._ring()

    def hurry(self) -> None:
        """Tell the call that the lead was taken from, which it was let go for."""
        if self._newest is not None:
            self._newest.hurry()

    # --- of a thread in a call ---

    def watches(self, subject: Lease) -> bool:
        """Whether the lead is free for whoever finds that ``subject``'s call lasts, and somebody is there to look.

        The order matters.  If the lead is free, and no later call than this one is known afterwards, then nobody has
        led since it began.
        """
        return not self._lead.locked() and self._newest is subject and self._post.locked()

    @property
    def counts_me(self) -> bool:
        """Whether the present thread counts as a running call, and isn't one that the application made."""
        return threading.get_ident() in self.running

    def park(self, hand_over: Callable[[threading.Lock], None]) -> bool:
        """Sleep until the leader releases the lock that ``hand_over`` gets, without counting as a running call.

        Whether it did; where ``max_parked`` threads sleep already, or this thread is none of the crew's, nothing
        happens and the answer is False.
        """
        me = threading.get_ident()
        with self._admin:
            if self._parked >= self._max_parked or me not in self.running:
                return False
            self._parked += 1
        subject = self.running.pop(me)
        self.hire()
        self.sleep(hand_over)
        with self._admin:
            self._parked -= 1
            self.unparked += 1
        self.running[me] = subject
        return True

    def sleep(self, hand_over: Callable[[threading.Lock], None]) -> None:
        """Sleep until the leader releases the lock that ``hand_over`` gets, and go on counting as a running call."""
        wake = threading.Lock()
        wake.acquire()
        hand_over(wake)
        if not self._lead.locked():
            self._vacant = True  # it was this thread that led: nobody would see what it waits for
            self._ring()
        if not self.done:  # else there is no leader any more, and may have been none who has heard of this
            wake.acquire()

    # --- of the threads ---

    @property
    def _engaged(self) -> int:
        """How many threads may be in a call, running or not."""
        return self.threads + self._parked + len(self.lost)

    def hire(self) -> bool:
        """Start a thread unless one stands by already, or there are as many as there may be; False where that fails."""
        with self._admin:
            if self._standing or self._total > self._engaged or self.done:
                return True
            self._total += 1
            self._standing += 1
        try:
            threading.Thread(target=self._work, name=f'prefork-{self._total}', daemon=True).start()
        except RuntimeError as error:  # a limit of the system's: there is another try when the lead changes next
            logger.error('%s', error)
            with self._admin:
                self._total -= 1
                self._standing -= 1
            return False
        return True

    def _work(self) -> None:
        try:
            while self._stand_by():
                self.hire()
                self._lead_loop()
                with self._admin:
                    if self._standing and self._total > self._engaged + 1:
                        self._total -= 1
                        return
                    self._standing += 1
        except BaseException:
            # Nothing of an application's gets here: this is a bug of ours, and without a leader the worker is deaf.
            logger.critical('the worker loop failed', exc_info=True)
            self.failed = True
            self.finish()

    def _stand_by(self) -> bool:
        """Wait for the lead, as the sentry when it is this thread's turn; whether it came, or all is done."""
        with self._post:
            leads = self._watch()
        with self._admin:
            self._standing -= 1
        return leads

    def _watch(self) -> bool:
        last: Lease | None = None
        while not self.done:
            newest = self._newest
            lasts = newest is last
            if lasts and newest is not None and not self._vacant and self._may_go_on(newest):
                newest.hurry()  # what is kept back doesn't wait for so long
            elif lasts or self._vacant:
                if self._lead.acquire(False):
                    self._vacant = False
                    self.leader = threading.get_ident()
                    return True
                self._vacant = False
                # No call began for a whole tick, and none is in progress: sleep until one begins.
                self._asleep = True
                if self._newest is newest and not self._vacant and not self.done:
                    self._alarm.acquire()
                self._asleep = False
                last = None
                continue
            last = newest
            patience = TICK if lasts else self._patience(newest)
            due = monotonic() + patience
            self._alarm.acquire(timeout=patience)
            self._late = (self._late + max(monotonic() - due, 0.0)) / 2
        self._ring()  # for the next one at the post
        return False

    def _may_go_on(self, call: Lease) -> bool:
        """Whether a call that has lasted for a tick keeps the lead."""
        since = call.since
        return since != 0.0 and monotonic() < since + allowance(self._late, self.events, len(self.running))

    @staticmethod
    def _patience(newest: Lease | None) -> float:
        """What the newest call has left of a tick.  With a whole one from the look on, it would have two if it began
        just after a look: those who wait meanwhile would wait for twice as long."""
        since = newest.since if newest is not None else 0.0
        return max(since + TICK - monotonic(), 0.0) if since else TICK

    def _ring(self) -> None:
        self._asleep = False
        try:
            self._alarm.release()
        except RuntimeError:
            pass  # it rings already


def allowance(late: float, events: int, calls: int) -> float:
    """Seconds that the newest of ``calls`` may last before it loses the lead.

    Is the sentry ``late``, then calls keep the interpreter to themselves, as those do that compute.  Beside each of
    them a leader would wait for SWITCH_INTERVAL after each of the two system calls of a request, soon begin another
    call of the kind, and have all of them take longer.  So a call may go on until the ``events`` that came with it have
    waited for it as long as they would have waited beside it.  With 36 clients, of whose calls one in a hundred
    computes for 20 ms, the others' 99th percentile fell from 87 to 45 ms.
    """
    if late < _LATE:
        return TICK
    return max(min(events * 2 * SWITCH_INTERVAL, LONGEST_TURN) * calls, TICK)
