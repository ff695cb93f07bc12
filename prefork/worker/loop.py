"""A worker's loop: the one place that waits, for its listeners, its clients, its master and the next deadline.

:class:`Loop` is all that a process needs to serve: ``run()`` in a worker that the master forked, or in the embeddable
Server's thread.  Threads and leadership are :mod:`prefork.worker.handoff`'s, a client is
:mod:`prefork.worker.connection`'s.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial

from prefork import scoreboard
from prefork.logs import Sparingly, logger
from prefork.worker import lease
from prefork.worker.acceptor import Acceptor
from prefork.worker.bell import Bell
from prefork.worker.connection import Connection
from prefork.worker.gateway import Gateway
from prefork.worker.handoff import Crew, restore_switch_interval, shorten_switch_interval
from prefork.worker.pace import GRACE
from prefork.worker.phase import Phase
from prefork.worker.poller import READ, Poller
from prefork.worker.pool import Pool, allow_descriptors
from prefork.worker.spool import NO_DIRECTORY
from prefork.worker.wear import Wear

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from prefork.logs import AccessLog
    from prefork.net.listener import Listener
    from prefork.scoreboard import Row
    from prefork.settings import Settings
    from prefork.worker.backlog import Backlog
    from prefork.worker.duty import Duty
    from prefork.worker.exchange import Exchange
    from prefork.worker.gateway import WSGIApplication

    Events: TypeAlias = deque[tuple[int, int]]

SWEEP = 1.0
"""Seconds between two looks at all deadlines, at the most often: they are stamps on the connections, not timers."""


RETRY = 0.1
"""Seconds until it is tried again to make room for a thread to be parked, where there was none."""


class Loop:
    """Serves ``app`` on ``listeners`` until it is stopped or drained.

    ``row`` is this worker's row of the scoreboard, ``access_log`` None where requests aren't logged, ``multiprocess``
    what PEP 3333's flag of that name says.  Where there is a ``duty``, it says when to accept; else this worker listens
    whenever it can.  ``on_worn`` is called in the loop, once and with a reason, when another worker should take this
    one's place; it goes on serving until it is told to drain.
    """

    def __init__(
        self,
        app: WSGIApplication,
        listeners: Sequence[Listener],
        settings: Settings,
        *,
        row: Row | None = None,
        access_log: AccessLog | None = None,
        multiprocess: bool = False,
        duty: Duty | None = None,
        on_worn: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        self.gateway = Gateway(app, settings, multiprocess)
        self.respond = self.gateway.respond
        self.behind_proxies = self.gateway.behind_proxies
        self.access_log = access_log
        self.pool = Pool(settings.pool_size, lambda: Connection(self))
        self.crew = Crew(settings.threads, settings.max_parked, self._lead)
        self.poller = Poller()
        self.clock = time.monotonic
        self.now = self.clock()
        self.largest_body = settings.max_body
        """Bytes: what a Content-Length may say."""
        if settings.request_buffering and settings.spool_dir == NO_DIRECTORY:
            self.largest_body = min(settings.max_body, settings.body_buffer)
        self.waiting: deque[Connection] = deque()  # whole requests, until there is a thread or it is their turn
        self.sleepers: dict[Connection, None] = {}  # whose threads should be parked as soon as there is room
        self._leaving_until = self._nobody_stuck_until = 0.0
        self._unparked = 0
        self.requests = 0
        self._refusals, self._shortages = Sparingly(), Sparingly()
        self._errors = 0
        self._row = row
        self.acceptor = Acceptor(self, listeners, duty)
        self.ready: Events = deque()  # what was polled and nobody has handled yet: it outlives a change of leaders
        self._soon: deque[Callable[[], None]] = deque()
        self._polling = False
        self._bell = Bell()
        self._next_sweep = 0.0
        timeouts = (settings.keepalive_timeout, settings.header_timeout, settings.ssl_handshake_timeout)
        self._call_timeout = settings.request_timeout or float('inf')
        self._shortest_timeout = min(
            max(min(*timeouts, self._call_timeout), 0.05), settings.client_socket_timeout or GRACE, GRACE
        )
        self._wear = Wear(settings, row, on_worn)
        self._drain_deadline: float | None = None
        self._stopped = False

    # --- for the owner ---

    def watch(self, fileobj: Any, callback: Callable[[], None]) -> None:
        """Call ``callback()`` in the loop whenever ``fileobj`` can be read."""
        self.poller.register(fileobj, READ, lambda mask: callback())

    def unwatch(self, fileobj: Any) -> None:
        self.poller.unregister(fileobj)

    def call_soon_threadsafe(self, function: Callable[[], None]) -> None:
        """Have the leader call ``function`` before it waits again; from any thread."""
        self._soon.append(function)
        if self._polling:
            self._bell.ring()

    def run(self) -> bool:
        """Serve until stopped or drained; False where a bug of ours has ended it, which is logged.

        A call that is stuck then is left behind with its thread.
        """
        allow_descriptors(self.settings.pool_size)
        self.watch(self._bell, self._bell.silence)
        shorten_switch_interval()
        try:
            self.crew.start()
            self.crew.wait()
        finally:
            restore_switch_interval()
            self._close()
        return not self.crew.failed

    def drain(self, timeout: float, backlog: Backlog) -> None:
        """Accept no more (or what ``backlog`` says), finish what there is within ``timeout`` seconds, then end."""
        self.acceptor.leave(backlog)
        self.gateway.persistent = False
        deadline = self.clock() + timeout
        if self._drain_deadline is None or deadline < self._drain_deadline:
            self._drain_deadline = deadline
        self._next_sweep = 0.0
        if self._row is not None:
            self._row.put('state', scoreboard.DRAINING)

    def stop(self) -> None:
        """End now: the connections are closed as they are."""
        self._stopped = True

    # --- the loop ---

    def _lead(self) -> None:
        """Handle what is ready and wait for more, for as long as this thread has the lead."""
        crew, soon, ready = self.crew, self._soon, self.ready
        me = crew.leader
        poll, callbacks = self.poller.poll, self.poller.callbacks
        crew.hurry()
        while not crew.done:
            while ready:
                descriptor, mask = ready.popleft()
                callback = callbacks.get(descriptor)
                if callback is None:
                    continue  # what came before it in this round has closed it
                try:
                    callback(mask)
                except Exception:
                    self._contain(callback)
                if crew.leader != me:
                    return
            while soon:
                function = soon.popleft()
                try:
                    function()
                except Exception:
                    self._contain(function)
                if crew.leader != me:
                    return
            for _ in range(len(self.waiting)):  # each has one turn, and may come back for another
                if crew.full or not self.waiting:  # another thread, that had the lead meanwhile, had their turns, too
                    break
                connection = self.waiting.popleft()
                try:
                    connection.run_waiting()
                except Exception:
                    self._contain(connection.run_waiting)
                if crew.leader != me:
                    return
            timeout = self._prepare()
            if self._stopped:
                crew.finish()
                return
            self._polling = True
            if soon or (self.waiting and not crew.full):
                timeout = 0.0
            ready.extend(poll(timeout))
            crew.events = len(ready)
            self._polling = False
            self.now = self.clock()

    def _prepare(self) -> float | None:
        """What is done once a round: logs, deadlines, listening; the seconds that the loop may wait, None for ever."""
        if self.access_log is not None:
            self.access_log.flush()
        if self._row is not None:
            self._publish(self._row)
        if self.requests >= self._wear.enough:
            self._wear.report(f'it has answered {self.requests} requests')
        now = self.now
        if now >= self._next_sweep:
            self._sweep(now)
        if self.sleepers:
            self._let_park()
        self.acceptor.decide()
        if self._drain_deadline is not None:
            self.acceptor.accept_backlog()
            if not self.pool.used and not self.crew.running and not self.acceptor.emptying:
                self._stopped = True
        return None if self._next_sweep == float('inf') else max(self._next_sweep - now, 0.0)

    def _let_park(self) -> None:
        """Wake the first of those that sleep where one more thread may be parked, or else look for room."""
        if self.make_parking() and self.crew.may_park:
            next(iter(self.sleepers)).wake()
        self.look_at(self.now + RETRY)

    def _sweep(self, now: float) -> None:
        """Expire what is due, and find when to look again."""
        drained = self._drain_deadline
        if drained is not None and now >= drained:
            self._stopped = True
            return
        earliest = float('inf')
        for connection in list(self.pool.used):
            if connection.phase is Phase.RUNNING:
                continue
            if drained is not None:
                connection.drain(drained)
            if connection.deadline <= now:
                connection.expire()
            if connection.phase is not Phase.FREE:
                earliest = min(earliest, connection.deadline)
        for thread, exchange in self.crew.running.copy().items():
            since = exchange.since
            if since and since + self._call_timeout <= now:
                self._soon.append(partial(self._end_call, thread, exchange, since))
            elif since:
                earliest = min(earliest, since + self._call_timeout)
        if self.pool.used:
            # Until then a connection can get a deadline before all that there are, by the shortest of the options.
            earliest = min(earliest, now + self._shortest_timeout)
        self._next_sweep = max(earliest, now + min(SWEEP, self._shortest_timeout / 4))
        self.look_at(self._wear.weigh(now, self.requests))
        if self.acceptor.next_try > now:
            self.look_at(self.acceptor.next_try)
        if drained is not None:
            self.look_at(min(drained, now + SWEEP))  # for those that become idle meanwhile

    def look_at(self, deadline: float) -> None:
        """A deadline is due that the last sweep couldn't know of: wake for it."""
        if deadline < self._next_sweep:
            self._next_sweep = deadline

    def expect_deadlines(self) -> None:
        """A connection is new: look before the deadline that it has, or gets next."""
        self.look_at(self.now + self._shortest_timeout)

    def _end_call(self, thread: int, exchange: Exchange, since: float) -> None:
        """The application has had a thread for too long: answer in its place, and do without the thread."""
        stack = lease.stack(thread, Gateway.respond.__code__)
        with lease.handover:
            if not exchange.claim(since):
                return  # it has come back just now
            self.crew.lose(thread)
            lease.interrupt(thread)
        limit = f'request_timeout = {self._call_timeout:g} s'
        logger.error('%s: no answer within %s; the application is at\n%s', exchange.connection.line, limit, stack)
        self._wear.report(f'a call has taken longer than {limit}')
        self.crew.hire()
        try:
            exchange.connection.take_back(exchange)
        except Exception:
            self._contain(exchange.connection.take_back)

    def _publish(self, row: Row) -> None:
        row.put('requests', self.requests)
        row.put('connections', len(self.pool.used))
        row.put('running', len(self.crew.running) + len(self.crew.lost))
        row.put('accepted', self.acceptor.accepted)
        row.put('errors', self._errors)

    def count_error(self) -> None:
        self._errors += 1

    def note_refusal(self, address: str, reason: str) -> None:
        """A connection is refused that isn't one of a trusted proxy, or not one as it should be; it gets no answer."""
        self._errors += 1
        self._refusals.warn(self.now, f'refused a connection from {address or "a unix socket"}: {reason}')

    def make_parking(self) -> bool:
        """See that one more thread may be parked, by giving up a client that is too slow; whether it may, or will."""
        crew = self.crew
        if crew.may_park or (self.now < self._leaving_until and crew.unparked == self._unparked):
            return True
        if self.now < self._nobody_stuck_until:
            return False
        victim = self.pool.stuck(self.now, self.sleepers)
        if victim is None:
            self._nobody_stuck_until = self.now + RETRY
            return False
        self._leaving_until = self.now + RETRY  # or until its thread has been woken, whoever is parked in its place
        self._unparked = crew.unparked
        victim.cut_off()
        return True

    @property
    def may_make_parking(self) -> bool:
        """Whether it is worth to look for such a client; from any thread."""
        return self.clock() >= self._nobody_stuck_until

    def note_shortage(self, message: str) -> None:
        """The machine, or this process, has nothing left of something that a client needs."""
        self._shortages.warn(self.now, message)

    def _contain(self, callback: Callable[..., object]) -> None:
        """A bug of ours in handling one client: log it, and give up that client alone."""
        logger.exception('a connection could not be handled')
        owner = getattr(callback, '__self__', None)
        if isinstance(owner, Connection):
            owner.give_up()

    # --- the end ---

    def _close(self) -> None:
        self.acceptor.close()
        while self.waiting:
            self.waiting.popleft().close()
        for connection in list(self.pool.used):
            connection.abandon()
        if self.access_log is not None:
            self.access_log.flush()
        self.poller.close()
        self._bell.close()
