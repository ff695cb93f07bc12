"""Who is accepted, and when: a loop's listeners, its share of the duty to accept, and the backlog when it leaves."""

from __future__ import annotations

import errno

from prefork.http1.head import HeadParser
from prefork.net.origin import TRUSTED
from prefork.net.transport import PlainTransport, TLSTransport
from prefork.worker.backlog import Backlog
from prefork.worker.phase import Phase
from prefork.worker.poller import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from prefork.net.listener import Listener
    from prefork.worker.duty import Duty
    from prefork.worker.loop import Loop

SETTLE = 0.1
"""Seconds that the last to accept waits for handshakes that have begun: their clients take themselves for connected
while the segment that completes it is on its way to us."""

RETRY = 0.1
"""Seconds until accepting is tried again where there was no room for a connection, nor anybody to make some."""

_WILDCARDS = ('0.0.0.0', '::')
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """Accepts for ``loop``: by turns with its siblings where there is a ``duty``, else whenever there is room.

    ``accepted`` counts connections; ``emptying`` says that there is a backlog which nobody else will accept.
    """

    def __init__(self, loop: Loop, listeners: Sequence[Listener], duty: Duty | None) -> None:
        self._loop = loop
        self._listeners = list(listeners)
        self._parsers = {listener: self._parser_for(listener) for listener in listeners}
        self._listening = False
        self._duty = duty
        if duty is not None:
            loop.poller.register(duty, READ, self._on_duty)
        self._not_before = 0.0  # when to try again after there was no room, if not
        self._crowd = 0  # when there are fewer connections than these
        self._emptying: list[Listener] = []
        self._settled = 0.0  # when what had begun to connect has connected
        self.accepted = 0

    def _parser_for(self, listener: Listener) -> HeadParser:
        limits = self._loop.settings
        return HeadParser(
            limits.max_header_line,
            limits.max_headers,
            limits.max_head,
            limits.max_url_len,
            self._loop.gateway.base_environ(listener),
        )

    # --- for the owner of the loop ---

    def hold(self) -> None:
        """Leave the listeners alone until :meth:`release`; before the loop runs."""
        self._not_before = float('inf')

    def release(self) -> None:
        """Listen, from the next round on; the siblings may count on it from now on."""
        self._not_before = 0.0
        if self._duty is not None:
            self._duty.report(self._load())

    def listen_by_itself(self) -> None:
        """Listen whenever this worker can, and share the duty to accept no more."""
        duty, self._duty = self._duty, None
        if duty is not None:
            duty.leave()
            self._loop.poller.unregister(duty)

    def serve(self, sock: socket.socket) -> None:
        """Serve a client that is connected already, as if it had come to the first listener from this machine."""
        loop = self._loop
        listener = self._listeners[0]
        client = ('', 0) if listener.address.scheme == 'unix' else ('127.0.0.1', 0)
        own = loop.gateway.client_environ(*client)
        if listener.address.host in _WILDCARDS:
            own['SERVER_NAME'] = 'localhost'
        sock.setblocking(False)
        loop.pool.take().open(PlainTransport(sock), self._parsers[listener], client, own, Phase.IDLE)
        loop.expect_deadlines()

    # --- for the loop ---

    @property
    def emptying(self) -> bool:
        return bool(self._emptying)

    @property
    def next_try(self) -> float:
        """When accepting is tried again, if it isn't yet; in the past otherwise."""
        return self._not_before

    def decide(self) -> None:
        """Once a round: say whether, and how gladly, this worker accepts."""
        if self._duty is not None:
            self._duty.report(self._load())
        elif (wanted := self._can_accept()) != self._listening:
            self._listen(wanted)

    def leave(self, backlog: Backlog) -> None:
        """Accept no more, or what ``backlog`` says."""
        self._stop_listening()
        for listener in self._listeners:
            # What we were given may be open elsewhere: its backlog is for whoever accepts from it next.
            if backlog is Backlog.ACCEPT and not listener.adopted:
                self._emptying.append(listener)
            else:
                listener.close()
        self._listeners.clear()
        self._settled = self._loop.clock() + SETTLE

    def accept_backlog(self) -> None:
        """Take in all that the kernel has for the listeners that we leave, as far as there is room, then close them.

        Nobody is closed for a newcomer now: those who wait here are newcomers, too.
        """
        loop = self._loop
        if loop.now < self._not_before:
            return
        for listener in list(self._emptying):
            while not loop.pool.full and self._accept(listener):
                pass
            if loop.pool.full or loop.now < self._not_before:
                return
            if loop.now < self._settled:
                loop.look_at(self._settled)
            else:
                listener.close()
                self._emptying.remove(listener)

    def close(self) -> None:
        """Close this process's copies of the listening sockets."""
        self._stop_listening()
        for listeners in (self._listeners, self._emptying):
            for listener in listeners:
                listener.close()
            listeners.clear()

    # --- when ---

    def _listen(self, wanted: bool) -> None:
        poller = self._loop.poller
        self._listening = wanted
        for listener in self._listeners:
            if wanted:
                poller.register(listener, READ, self._acceptor(listener))
            else:
                poller.unregister(listener)

    def _stop_listening(self) -> None:
        self.listen_by_itself()
        if self._listening:
            self._listen(False)

    def _can_accept(self) -> bool:
        loop = self._loop
        room = loop.now >= self._not_before or len(loop.pool.used) < self._crowd
        return bool(self._listeners) and not loop.crew.full and room

    def _load(self) -> int:
        """How much there is to do, for siblings to compare: connections, and once more those with a request in
        progress; 0 where this worker can't accept."""
        if not self._can_accept():
            return 0
        loop = self._loop
        return 1 + len(loop.pool.used) + len(loop.crew.running) + len(loop.waiting)

    def _on_duty(self, mask: int) -> None:
        """There is a connection for whoever is on duty."""
        loop = self._loop
        # What else has come with it may be requests, and they have come first: are there threads for one more?
        if len(loop.crew.running) + len(loop.waiting) + len(loop.ready) < loop.crew.threads:
            self._have_turn()
        else:
            loop.call_soon_threadsafe(self._have_turn)

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

    # --- whom ---

    def _accept(self, listener: Listener) -> bool:
        """Accept one connection; whether there may be another."""
        loop = self._loop
        if loop.pool.full and not self._make_room():
            self._listen_later()
            return False
        try:
            sock, address = listener.socket.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in _SHORTAGES:
                loop.note_shortage(f'cannot accept: {error}')
                if error.errno == errno.EMFILE and self._make_room():
                    return True
                self._listen_later()
                return False
            loop.count_error()  # this client is gone, or its TLS is broken from the start: the next one isn't
            return True
        sock.setblocking(False)
        self.accepted += 1
        client = ('', 0)
        if listener.address.scheme != 'unix' and isinstance(address, tuple):
            client = address[0], address[1]
        self._open(sock, client, listener)
        return True

    def _open(self, sock: socket.socket, client: tuple[str, int], listener: Listener) -> None:
        loop = self._loop
        own = loop.gateway.client_environ(*client)
        if listener.address.host in _WILDCARDS:
            own['SERVER_NAME'] = sock.getsockname()[0]
        proxied = loop.settings.proxy_protocol
        if proxied and not own.get(TRUSTED):
            sock.close()
            loop.note_refusal(client[0], 'trusted_proxies has no such address')
            return
        if listener.tls:
            # The listener's socket is an SSLSocket, and what it accepts is one too.
            phase = Phase.PREFACE if proxied else Phase.HANDSHAKE
            transport: PlainTransport | TLSTransport = TLSTransport(sock)  # type: ignore[arg-type]
        else:
            phase = Phase.PREFACE if proxied else Phase.IDLE
            transport = PlainTransport(sock)
        loop.pool.take().open(transport, self._parsers[listener], client, own, phase)
        loop.expect_deadlines()

    def _make_room(self) -> bool:
        loop = self._loop
        victim = loop.pool.victim(loop.now)
        if victim is None:
            return False
        victim.cut_off()
        return not loop.pool.full  # one whose thread has to wake first leaves a moment later

    def _listen_later(self) -> None:
        """Nothing can be accepted: leave the listeners alone for a moment, or until somebody goes; they would wake us
        at once."""
        loop = self._loop
        self._not_before = loop.now + RETRY
        self._crowd = len(loop.pool.used)
        loop.look_at(self._not_before)
