"""A worker's loop: the one place that waits, for its listeners, its clients, its master and the next deadline.

:class:`Loop` is all that a process needs to serve: ``run()`` in a worker that the master forked, or in the embeddable
Server's thread.  Threads and leadership are :mod:`prefork.worker.handoff`'s, a client is
:mod:`prefork.worker.connection`'s.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from functools import partial

from prefork import scoreboard
from prefork.http1.head import HeadParser
from prefork.logs import Sparingly, logger
from prefork.net.origin import TRUSTED
from prefork.net.transport import PlainTransport, TLSTransport
from prefork.worker import lease
from prefork.worker.backlog import Backlog
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
    import socket
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from prefork.logs import AccessLog
    from prefork.net.listener import Listener
    from prefork.scoreboard import Row
    from prefork.settings import Settings
    from prefork.worker.duty import Duty
    from prefork.worker.gateway import Exchange, WSGIApplication

    Events: TypeAlias = deque[tuple[int, int]]

SWEEP = 1.0
"""Seconds between two looks at all deadlines, at the most often: they are stamps on the connections, not timers."""

SETTLE = 0.1
"""Seconds that the last to accept waits for handshakes that have begun: their clients take themselves for connected
while the segment that completes it is on its way to us."""

RETRY = 0.1
"""Seconds until accepting is tried again where there was no room for a connection, nor anybody to make some."""

_WILDCARDS = ('0.0.0.0', '::')
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


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
        self._errors = self._accepted = 0
        self._row = row
        self._listeners = list(listeners)
        self._parsers = {listener: self._parser_for(listener) for listener in listeners}
        self._listening = False
        self._duty = duty
        if duty is not None:
            self.poller.register(duty, READ, self._on_duty)
        self._accept_after = 0.0  # when to try again after there was no room, if not
        self._crowd = 0  # when there are fewer connections than these
        self._ready: Events = deque()  # what was polled and nobody has handled yet: it outlives a change of leaders
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
        self._emptying: list[Listener] = []  # while it drains: whose backlog nobody else will accept
        self._settled = 0.0  # when what had begun to connect has connected
        self._stopped = False

    def _parser_for(self, listener: Listener) -> HeadParser:
        limits = self.settings
        return HeadParser(
            limits.max_header_line,
            limits.max_headers,
            limits.max_head,
            limits.max_url_len,
            self.gateway.base_environ(listener),
        )

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

    def hold(self) -> None:
        """Leave the listeners alone until :meth:`release`; before the loop runs."""
        self._accept_after = float('inf')

    def release(self) -> None:
        """Listen, from the next round on; the siblings may count on it from now on."""
        self._accept_after = 0.0
        if self._duty is not None:
            self._duty.report(self._load())

    def listen_by_itself(self) -> None:
        """Listen whenever this worker can, and share the duty to accept no more."""
        duty, self._duty = self._duty, None
        if duty is not None:
            duty.leave()
            self.poller.unregister(duty)

    def serve(self, sock: socket.socket) -> None:
        """Serve a client that is connected already, as if it had come to the first listener from this machine."""
        listener = self._listeners[0]
        client = ('', 0) if listener.address.scheme == 'unix' else ('127.0.0.1', 0)
        own = self.gateway.client_environ(*client)
        if listener.address.host in _WILDCARDS:
            own['SERVER_NAME'] = 'localhost'
        sock.setblocking(False)
        self.pool.take().open(PlainTransport(sock), self._parsers[listener], client, own, Phase.IDLE)
        self.look_at(self.now + self._shortest_timeout)

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
        self._stop_listening()
        for listener in self._listeners:
            # What we were given may be open elsewhere: its backlog is for whoever accepts from it next.
            if backlog is Backlog.ACCEPT and not listener.adopted:
                self._emptying.append(listener)
            else:
                listener.close()
        self._listeners.clear()
        self.gateway.persistent = False
        now = self.clock()
        self._settled = now + SETTLE
        deadline = now + timeout
        if self._drain_deadline is None or deadline < self._drain_deadline:
            self._drain_deadline = deadline
        self._next_sweep = 0.0
        if self._row is not None:
            self._row.put('state', scoreboard.DRAINING)

    def close_listeners(self) -> None:
        """Close this process's copies of the listening sockets."""
        self._stop_listening()
        for listeners in (self._listeners, self._emptying):
            for listener in listeners:
                listener.close()
            listeners.clear()

    def stop(self) -> None:
        """End now: the connections are closed as they are."""
        self._stopped = True

    # --- the loop ---

    def _lead(self) -> None:
        """Handle what is ready and wait for more, for as long as this thread has the lead."""
        crew, soon, ready = self.crew, self._soon, self._ready
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
        if self._duty is not None:
            self._duty.report(self._load())
        elif (wanted := self._can_accept()) != self._listening:
            self._listen(wanted)
        if self._drain_deadline is not None:
            self._accept_backlog()
            if not self.pool.used and not self.crew.running and not self._emptying:
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
        if self._accept_after > now:
            self.look_at(self._accept_after)
        if drained is not None:
            self.look_at(min(drained, now + SWEEP))  # for those that become idle meanwhile

    def look_at(self, deadline: float) -> None:
        """A deadline is due that the last sweep couldn't know of: wake for it."""
        if deadline < self._next_sweep:
            self._next_sweep = deadline

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
        row.put('accepted', self._accepted)
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

    # --- accepting ---

    def _listen(self, wanted: bool) -> None:
        self._listening = wanted
        for listener in self._listeners:
            if wanted:
                self.poller.register(listener, READ, self._acceptor(listener))
            else:
                self.poller.unregister(listener)

    def _stop_listening(self) -> None:
        self.listen_by_itself()
        if self._listening:
            self._listen(False)

    def _can_accept(self) -> bool:
        room = self.now >= self._accept_after or len(self.pool.used) < self._crowd
        return bool(self._listeners) and not self.crew.full and room

    def _load(self) -> int:
        """How much there is to do, for siblings to compare: connections, and once more those with a request in
        progress; 0 where this worker can't accept."""
        if not self._can_accept():
            return 0
        return 1 + len(self.pool.used) + len(self.crew.running) + len(self.waiting)

    def _on_duty(self, mask: int) -> None:
        """There is a connection for whoever is on duty."""
        # What else has come with it may be requests, and they have come first: are there threads for one more?
        if len(self.crew.running) + len(self.waiting) + len(self._ready) < self.crew.threads:
            self._have_turn()
        else:
            self._soon.append(self._have_turn)

    def _have_turn(self) -> None:
        """Accept, if this worker is on duty and can, and pass the duty on."""
        duty = self._duty
        if duty is None or not duty.claim(self._load()):
            return
        ready = duty.ready()
        for listener in self._listeners:
            if listener.fileno() in ready:
                self._accept(listener)
        duty.pass_on(self._load())

    def _acceptor(self, listener: Listener) -> Callable[[int], None]:
        # One connection a round: a sibling that is idle gets the next one before we do.
        def accept(mask: int) -> None:
            self._accept(listener)

        return accept

    def _accept_backlog(self) -> None:
        """Take in all that the kernel has for the listeners that we leave, as far as there is room, then close them.

        Nobody is closed for a newcomer now: those who wait here are newcomers, too.
        """
        if self.now < self._accept_after:
            return
        for listener in list(self._emptying):
            while not self.pool.full and self._accept(listener):
                pass
            if self.pool.full or self.now < self._accept_after:
                return
            if self.now < self._settled:
                self.look_at(self._settled)
            else:
                listener.close()
                self._emptying.remove(listener)

    def _accept(self, listener: Listener) -> bool:
        """Accept one connection; whether there may be another."""
        if self.pool.full and not self._make_room():
            self._listen_later()
            return False
        try:
            sock, address = listener.socket.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in _SHORTAGES:
                self.note_shortage(f'cannot accept: {error}')
                if error.errno == errno.EMFILE and self._make_room():
                    return True
                self._listen_later()
                return False
            self._errors += 1  # this client is gone, or its TLS is broken from the start: the next one isn't
            return True
        sock.setblocking(False)
        self._accepted += 1
        client = ('', 0)
        if listener.address.scheme != 'unix' and isinstance(address, tuple):
            client = address[0], address[1]
        own = self.gateway.client_environ(*client)
        if listener.address.host in _WILDCARDS:
            own['SERVER_NAME'] = sock.getsockname()[0]
        proxied = self.settings.proxy_protocol
        if proxied and not own.get(TRUSTED):
            sock.close()
            self.note_refusal(client[0], 'trusted_proxies has no such address')
            return True
        connection = self.pool.take()
        if listener.tls:
            # The listener's socket is an SSLSocket, and what it accepts is one too.
            phase = Phase.PREFACE if proxied else Phase.HANDSHAKE
            transport: PlainTransport | TLSTransport = TLSTransport(sock)  # type: ignore[arg-type]
        else:
            phase = Phase.PREFACE if proxied else Phase.IDLE
            transport = PlainTransport(sock)
        connection.open(transport, self._parsers[listener], client, own, phase)
        self.look_at(self.now + self._shortest_timeout)  # before the deadline that it has, or gets next
        return True

    def _make_room(self) -> bool:
        victim = self.pool.victim(self.now)
        if victim is None:
            return False
        victim.cut_off()
        return not self.pool.full  # one whose thread has to wake first leaves a moment later

    def _listen_later(self) -> None:
        """Nothing can be accepted: leave the listeners alone for a moment, or until somebody goes; they would wake us
        at once."""
        self._accept_after = self.now + RETRY
        self._crowd = len(self.pool.used)
        self.look_at(self._accept_after)

    # --- the end ---

    def _close(self) -> None:
        self.close_listeners()
        while self.waiting:
            self.waiting.popleft().close()
        for connection in list(self.pool.used):
            connection.abandon()
        if self.access_log is not None:
            self.access_log.flush()
        self.poller.close()
        self._bell.close()
