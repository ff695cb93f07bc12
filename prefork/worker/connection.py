"""One client: what it sends becomes requests, each is answered in its turn, and every phase has its deadline.

The way of a request is read from top to bottom: ``on_event`` → ``advance`` (head) → ``_begin_body`` → ``_run`` (the
application, by the crew and the gateway) → ``_conclude`` → the next one.
"""

from __future__ import annotations

from functools import partial
from io import BufferedReader, BytesIO

from prefork.errors import ClientGone, ProtocolError
from prefork.http1 import grammar, response
from prefork.http1.body import ChunkedBody, CountedBody
from prefork.http1.head import CHUNKED, CR, END
from prefork.net.transport import InClear
from prefork.worker.exchange import Exchange
from prefork.worker.intake import Intake
from prefork.worker.outbox import HIGH_WATER, TURN, Outbox
from prefork.worker.pace import Pace
from prefork.worker.phase import Phase
from prefork.worker.poller import READ, WRITE
from prefork.worker.stream import BUFFER_SIZE, BodyStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import Any

    from prefork.http1.head import HeadParser
    from prefork.net.preface import Preface
    from prefork.net.transport import PlainTransport, TLSTransport
    from prefork.worker.loop import Loop

RECEIVE_SIZE = 65536
PREFACE_SIZE = 1024
"""Bytes that are looked at for a preface at once; nearly all have less than a hundred."""

LINGER, LONGEST_LINGER = 2.0, 30.0
"""Seconds that a closed connection is still read from, so that the client sees the answer and not a reset: that long
after its last byte, and in all."""

PREFACE, HANDSHAKE, IDLE, RECEIVING, RUNNING, STREAMING, SENDING, LINGERING, FREE = (
    Phase.PREFACE,
    Phase.HANDSHAKE,
    Phase.IDLE,
    Phase.RECEIVING,
    Phase.RUNNING,
    Phase.STREAMING,
    Phase.SENDING,
    Phase.LINGERING,
    Phase.FREE,
)


class Connection:
    """A slot for one client after the other.  The loop calls ``on_event``, ``expire`` and ``drain``; the gateway reads
    the request's attributes, fills ``out`` and calls ``wait_for_room`` while it owns the connection, and ``wsgi.input``
    may ``receive`` then."""

    __slots__ = (
        '_buffer',
        '_head',
        '_intake',
        '_interest',
        '_lender',
        '_loop',
        '_parser',
        '_preface',
        '_recv',
        '_scanned',
        '_spools',
        '_started',
        '_stream',
        '_transport',
        'aborted',
        'bodiless',
        'client',
        'code',
        'deadline',
        'environ',
        'failed',
        'minor',
        'out',
        'own',
        'persist',
        'phase',
        'produced',
        'resets',
        'since',
        'waiter',
    )

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.phase = FREE
        self._interest = 0  # what the poller watches, 0 where it doesn't know us
        self._lender: Exchange | None = None  # whose application is called while we watch for room
        self.out = Outbox(loop.settings, loop.clock)
        self.waiter: threading.Lock | None = None
        self._reset()

    def _reset(self) -> None:
        """Forget the last request."""
        self.environ: dict[str, Any] = {}
        self._head = b''
        self._intake: Intake | None = None  # of a body that the application gets when it is whole
        self._stream: BodyStream | None = None  # of one that it reads by itself
        self.minor = 1
        self.persist = True
        self.bodiless = False  # a HEAD request
        self.code = 0  # of the response, 0 until its head is made
        self.produced = 0  # bytes of its body so far
        self.failed = False  # with a 500 of ours
        self.aborted = False  # in the middle: the end of the connection must not look like the end of the response
        self.resets = False  # where that would be all that ends the response, so that no other end tells the client

    def open(
        self,
        transport: PlainTransport | TLSTransport,
        parser: HeadParser,
        client: tuple[str, int],
        own: dict[str, Any],
        phase: Phase,
    ) -> None:
        """Begin with a client that was accepted: ``parser`` makes what all requests of its listener start from, and
        ``own`` is what those of this connection have beside that."""
        self._transport = transport
        self._recv = transport.recv
        self.out.open(transport)
        self.client = client
        self._parser = parser
        self.own = own
        self._buffer = b''
        self._scanned = 0
        self._started = 0.0
        self.since = self._loop.now
        self.phase = phase
        limits = self._loop.settings
        if phase is HANDSHAKE:
            self.deadline = self._loop.now + limits.ssl_handshake_timeout
        else:
            self.deadline = self._loop.now + limits.header_timeout
        if phase is PREFACE:
            from prefork.net.preface import PrefaceParser  # not without proxy_protocol

            self._preface = PrefaceParser()
        self._watch(READ)

    @property
    def line(self) -> str:
        """The request line, for logs."""
        return self._head.partition(b'\r\n')[0].decode('latin-1')

    @property
    def kept(self) -> bool:
        """Whether its client had an answer and may ask again: it loses nothing by the end of the connection."""
        return self.phase is IDLE and self.code != 0

    @property
    def keeps_up(self) -> bool:
        """Whether its client sends its body, or reads its response, as fast as min_rate asks for."""
        phase = self.phase
        half: Outbox | BodyStream | Intake | None = None
        if phase is SENDING:
            half = self.out
        elif phase is STREAMING:
            half = self._stream
        elif phase is RECEIVING:
            half = self._intake
        return half is not None and half.keeps_up(self._loop.now)

    # --- events ---

    def on_event(self, mask: int) -> None:
        """The socket is ready for what we watch, or broken."""
        phase = self.phase
        if phase is IDLE or phase is RECEIVING:
            intake = self._intake
            try:
                data = self._recv(RECEIVE_SIZE if intake is None else intake.receive_size)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            if not data:
                self._transport.answer_end()
                self.close()  # RFC 9112 8: what was cut is never executed
            elif intake is not None:
                if self._take_in(intake, data) and self._run():
                    self.advance()
            else:
                self._buffer = self._buffer + data if self._buffer else data
                self.advance()
        elif phase is SENDING:
            self._on_writable()
        elif phase is STREAMING:
            self._on_streaming(mask)
        elif phase is RUNNING:
            lender = self._lender
            self._watch(0)  # it has more to say, or has gone; we look when this request is answered
            if lender is not None:
                lender.borrow(partial(self._send_for, lender))
        elif phase is LINGERING:
            if self._interest == WRITE:  # not the mask: it may tell of the sending that has ended in this round
                self._hang_up()
            else:
                self._on_late_bytes()
        elif phase is HANDSHAKE:
            self._on_handshake()
        elif phase is PREFACE:
            self._on_preface()

    # --- a request ---

    def advance(self) -> None:
        """Serve the requests that the buffer holds, one after the other, as far as they are complete."""
        loop = self._loop
        while True:
            data = self._buffer
            if data[0] == CR:  # RFC 9112 2.2: empty lines before a request line are skipped
                data = self._buffer = grammar.EMPTY_LINES.sub(b'', data)
                self._scanned = 0
            if self._scanned and data.find(END, self._scanned) < 0:  # not from the start again, for a byte at a time
                self._await_head(data)
                return
            head, end, rest = data.partition(END)
            if not end:
                self._await_head(data)
                return
            self._scanned = 0
            self._head = head
            try:
                environ, self.minor, self.persist, length, expects = self._parser.parse(head)
                environ.update(self.own)
                if length > loop.largest_body:
                    raise ProtocolError('the body is too large', 413)
                if loop.behind_proxies:
                    self._see_through(environ)
            except ProtocolError as error:
                self.refuse(error)
                return
            self.environ = environ
            self.bodiless = environ['REQUEST_METHOD'] == 'HEAD'
            if length == 0:
                self._buffer = rest
                environ['wsgi.input'] = BytesIO()
            elif not self._begin_body(length, expects, rest):
                return
            if not self._run():
                return

    def _see_through(self, environ: dict[str, Any]) -> None:
        """Whose request it is: a proxy may send those of many clients on one connection.  Raises ProtocolError."""
        self._loop.gateway.see_through(environ)
        self.client = environ['REMOTE_ADDR'], int(environ['REMOTE_PORT'])

    def _await_head(self, data: bytes) -> None:
        """``data`` has no whole head yet: see that it can become one, and wait."""
        if self.phase is IDLE and data:
            self.phase = RECEIVING
            self.since = self._loop.now
            self.deadline = self.since + self._loop.settings.header_timeout
        try:
            self._parser.check_partial(data, self._scanned)
        except ProtocolError as error:
            self._head = data
            self.refuse(error)
            return
        self._scanned = max(len(data) - len(END) + 1, 0)

    def _begin_body(self, length: int, expects: bool, data: bytes) -> bool:
        """Take in a body that begins with ``data``; whether the application can have it now."""
        if 0 < length <= len(data):
            self._buffer = data[length:]
            self.environ['wsgi.input'] = BytesIO(data[:length])
            return True
        loop = self._loop
        settings = loop.settings
        body = ChunkedBody(settings.max_body) if length == CHUNKED else CountedBody(length)
        self._buffer = b''
        if not settings.request_buffering:
            self.code = 0
            stream = self._stream = BodyStream(self, body, data, expects and not data)
            stream.pace = Pace(settings.min_rate, settings.client_socket_timeout, 0)
            self.environ['wsgi.input'] = BufferedReader(stream, BUFFER_SIZE)
            return True
        intake = self._intake = Intake(body, settings)
        self.phase = RECEIVING
        self.since = loop.now
        self.deadline = intake.wait(loop.now)
        if data:
            return self._take_in(intake, data)
        if expects and not self._say_continue():
            self.close()
        return False

    def _say_continue(self) -> bool:
        """RFC 9110 10.1.1: the head is all right, so the body may come.  Whether the client could be told."""
        try:
            return self._transport.send(response.CONTINUE) == len(response.CONTINUE)
        except OSError:  # BlockingIOError too: a client that doesn't read 25 bytes won't read a response
            return False

    def _take_in(self, intake: Intake, data: bytes) -> bool:
        """Take in more of the body; whether it is complete.  The intake stays until the request is answered: its file
        is ours to close."""
        try:
            if not intake.feed(data):
                self.deadline = intake.deadline(self._loop.now)
                return False
            self._buffer = intake.give(self.environ)
        except ProtocolError as error:
            self.refuse(error)
            return False
        return True

    def _run(self) -> bool:
        """Have the application answer; whether the next request may be looked at now, by this thread."""
        loop = self._loop
        self.phase = RUNNING
        crew = loop.crew
        # Who sends many requests at once has some of them answered, then those that others have sent meanwhile come.
        if len(crew.running) >= crew.threads or (self._started == loop.now and loop.clock() > loop.now + TURN):
            loop.waiting.append(self)
            return False
        self._started = loop.now
        exchange = Exchange(loop.gateway, self)
        if self._stream is not None:
            self._stream.lease = exchange
        if crew.call(loop.respond, exchange):
            return self._conclude()
        if exchange.ended:
            return False  # the connection has gone on without it
        if crew.done:
            self._release()  # the loop is over: nobody else will
        else:
            loop.call_soon_threadsafe(self.resume)
        return False

    def run_waiting(self) -> None:
        """There is a thread for this connection's request, and it is its turn."""
        if self._run():
            self.advance()

    def resume(self) -> None:
        """The application has returned in a thread that had lost the lead."""
        if self._conclude():
            self.advance()

    def take_back(self, exchange: Exchange) -> None:
        """The lease of the application's call has ended: go on in its place."""
        exchange.time_out()
        self.resume()

    def _conclude(self) -> bool:
        """The application has returned; whether the buffer may hold another request."""
        loop, out = self._loop, self.out
        if out.broken:
            self._finish_request()
            self.close()
            return False
        if out.queue:
            self._begin_sending()
            return False
        self._finish_request()
        if not self.persist:
            self._hang_up()
            return False
        if self._interest != READ:
            self._watch(READ)
        self.phase = IDLE
        self.since = now = loop.now
        self.deadline = now + loop.settings.keepalive_timeout
        if self._buffer:
            return True
        self._head = b''
        return False

    def _finish_request(self) -> None:
        """The response is with the client, or never will be: count it, log it, let its files go."""
        loop, out = self._loop, self.out
        loop.requests += 1
        if self.failed:
            loop.count_error()
            self.failed = False
        if loop.access_log is not None:
            sent = min(self.produced, out.moved)
            loop.access_log.add(self.client, self.environ, self.line, self.code, sent, loop.clock() - self._started)
        self.environ = {}
        self.produced = 0
        out.moved = 0
        out.pace = None
        if self._intake is not None or self._stream is not None:
            self._drop_body()

    def refuse(self, error: ProtocolError) -> None:
        """Answer what isn't a request that we serve, and close."""
        loop = self._loop
        loop.count_error()
        if error.status == 507:
            loop.note_shortage(f'{self.line}: {error.reason}: {loop.settings.spool_dir}: {error.__cause__}')
        known = self.environ or self.own  # ``client`` may still be who sent the request before this one
        self.client = known['REMOTE_ADDR'], int(known['REMOTE_PORT'])
        self._drop_body()
        status = f'{error.status} {response.REASONS[error.status]}'
        body, headers = response.error_page(status, error.reason)
        head, self.code, _, _ = response.encode_head(
            response.prepare(status, headers), 1, False, False, None, loop.gateway.date()
        )
        if self._head.startswith(b'HEAD '):
            body = b''  # RFC 9110 9.3.2: whatever else is wrong with the request
        self.persist = False
        self._started = loop.now
        self.produced = len(body)
        self.phase = RUNNING
        try:
            self.out.put(head + body)
        except ClientGone:
            pass  # broken is set: what follows closes
        self._conclude()

    # --- before the first request ---

    def _on_preface(self) -> None:
        """The proxy says for whom it speaks, before TLS and before the first request."""
        parser = self._preface
        try:
            data = self._transport.peek(PREFACE_SIZE)
            if data:
                self._transport.skip(parser.feed(data))  # what is to come can be on its way only
        except BlockingIOError:
            return
        except ProtocolError as error:
            self._loop.note_refusal(self.client[0], error.reason)
            data = b''
        except OSError:
            data = b''
        if not data:
            self.close()
        elif parser.preface is not None:
            self._introduce(parser.preface)

    def _introduce(self, preface: Preface) -> None:
        self.own = self._loop.gateway.introduce(self.own, preface)
        self.client = preface.client or self.client
        if self._transport.tls:
            self.phase = HANDSHAKE
            self.deadline = self._loop.now + self._loop.settings.ssl_handshake_timeout
        else:
            self.phase = IDLE  # with what is left of header_timeout

    def _on_handshake(self) -> None:
        try:
            self._transport.handshake()
            self.own.update(self._transport.variables())
        except BlockingIOError:
            self._watch(WRITE if self._transport.wants_write else READ)
            return
        except InClear as error:
            self._answer_in_clear(error.transport)
            return
        except OSError:
            self._loop.count_error()
            self._hang_up()  # a client may be sending its request already, and shall see the alert
            return
        self.phase = IDLE
        self.deadline = self._loop.now + self._loop.settings.header_timeout
        self._watch(READ)
        self.on_event(READ)  # OpenSSL may have taken the request in with the end of the handshake

    def _answer_in_clear(self, transport: PlainTransport) -> None:
        """Who speaks HTTP where TLS is spoken wouldn't understand an alert.  It is the same descriptor."""
        self._transport = transport
        self._recv = transport.recv
        self.out.open(transport)
        self.refuse(ProtocolError('this port speaks TLS: use https:// instead of http://'))

    # --- for the application's thread, which owns the connection ---

    def ask_for_body(self) -> None:
        """Tell a client that waits for it to send its body, unless the response has begun.  Raises ClientGone."""
        if not self.code and not self._say_continue():
            raise self._lose_client()

    def receive(self) -> bytes:
        """Some bytes from the client as soon as there are any, b'' at their end.

        Raises ClientGone, and ProtocolError where they come more slowly than min_rate.
        """
        loop = self._loop
        while not self.out.broken:
            try:
                data = self._recv(RECEIVE_SIZE)
            except BlockingIOError:
                if not loop.crew.park(partial(self._hand_over, self._begin_streaming)):
                    begin = self._begin_streaming_asleep if loop.crew.counts_me else self._begin_streaming
                    loop.crew.sleep(partial(self._hand_over, begin))
                if loop.clock() >= self.deadline and not self.out.broken:
                    raise ProtocolError('the body took too long', 408) from None
            except OSError:
                break
            else:
                return data
        raise self._lose_client()

    def end_body(self, rest: bytes, persist: bool) -> None:
        """The application has read the body to its end: ``rest`` is what follows.  Where the response has begun, it has
        told the client already that the connection ends."""
        self._buffer = rest
        if not self.code:
            self.persist = persist

    def _lose_client(self) -> ClientGone:
        self.out.broken = True
        return ClientGone('the client is gone')

    def wait_for_room(self) -> None:
        """Return when the client has read so much that there is room for another block.  Raises ClientGone."""
        out = self.out
        if out.queued <= HIGH_WATER:
            return
        crew = self._loop.crew
        self._spools = False
        while not self._spools and not out.flush() and not out.broken and out.queued > HIGH_WATER:
            if crew.park(partial(self._hand_over, self._begin_sending)):
                break
            if crew.counts_me and self._loop.may_make_parking:
                crew.sleep(partial(self._hand_over, self._begin_sleeping))
            else:
                self._spools = True
        if out.broken:
            raise self._lose_client()

    def is_watched(self, exchange: Exchange) -> bool:
        """Whether ``exchange.hurry`` will be called if its call goes on for more than a few milliseconds."""
        return self._loop.crew.watches(exchange)

    def ask_for_room(self, exchange: Exchange) -> None:
        """Have the loop send what is queued while the application goes on."""
        exchange.asked = True
        self._loop.call_soon_threadsafe(partial(self._watch_for_room, exchange))

    def _hand_over(self, begin: Callable[[], None], wake: threading.Lock) -> None:
        """Let the loop ``begin`` to wait for the client, and release ``wake`` when this thread may go on."""
        self.waiter = wake
        self._loop.call_soon_threadsafe(begin)

    # --- for that thread, by the loop ---

    def _watch_for_room(self, exchange: Exchange) -> None:
        if exchange not in self._loop.crew.running.values():
            exchange.asked = False  # it has ended, or sleeps by now
            return
        self._watch(WRITE)
        self._lender = exchange
        exchange.asked = True

    def _send_for(self, lender: Exchange) -> None:
        """While the application has the thread of ``lender``, which the loop borrows the connection from."""
        out = self.out
        if not out.flush() and not out.broken:
            self._watch_for_room(lender)

    def _begin_streaming(self) -> None:
        stream, now = self._stream, self._loop.now
        assert stream is not None
        self.phase = STREAMING
        self.since = now
        self.deadline = stream.wait(now)
        self._loop.look_at(self.deadline)
        self._watch(READ | WRITE if self.out.queue else READ)  # it may want to read before it sends more

    def _begin_sleeping(self) -> None:
        """The thread sleeps for a moment among those that run, to be parked when another isn't any more; or it goes on,
        and what it produces is kept in a file."""
        self._begin_sending()
        if self._loop.make_parking():
            self._loop.sleepers[self] = None
        else:
            self._spools = True
            self.wake()

    def _begin_streaming_asleep(self) -> None:
        """The thread sleeps among those that run, to be parked as soon as that is possible: it can do nothing else."""
        self._begin_streaming()
        self._loop.sleepers[self] = None
        self._loop.make_parking()

    def _begin_sending(self) -> None:
        self.phase = SENDING
        self.since = now = self._loop.now
        self.out.wait(now)
        self._look_at_reader()
        self._watch(WRITE)

    def _look_at_reader(self) -> bool:
        """See how far a client has read, and when to look again; whether it has time left."""
        now = self._loop.now
        deadline, next_look = self.out.deadlines(now)
        self.deadline = min(deadline, next_look)
        self._loop.look_at(self.deadline)
        return deadline > now

    def _on_streaming(self, mask: int) -> None:
        out = self.out
        if mask & WRITE and out.flush():
            self._watch(READ)
        if mask & ~WRITE or out.broken:
            self.wake()

    def _on_writable(self) -> None:
        out = self.out
        before = out.moved
        if not out.flush() and not out.broken:
            if out.moved > before:
                self._look_at_reader()
            return
        if self.waiter is not None:
            self.wake()
        elif self._conclude():
            self.advance()

    def wake(self) -> None:
        """Give the connection back to the thread that waits for it."""
        waiter, self.waiter = self.waiter, None
        half = self._stream if self.phase is STREAMING else self.out
        self._loop.sleepers.pop(self, None)
        assert waiter is not None and half is not None
        half.pause(self._loop.now)
        self.phase = RUNNING
        self._watch(0)
        waiter.release()

    # --- the end ---

    def expire(self) -> None:
        """The deadline has passed."""
        phase = self.phase
        if phase is RECEIVING and (self._buffer or self._intake is not None):
            if self._intake is None:
                self._head = self._buffer
            self.refuse(ProtocolError('the request took too long', 408))
        elif phase is STREAMING:
            self.wake()  # the thread sees by itself that it is late
        elif phase is SENDING and self._look_at_reader():
            pass  # nothing told us that it has read something
        elif phase is not RUNNING:
            self.cut_off()

    def cut_off(self) -> None:
        """Close, whatever the loop waits for; a response that wasn't read to its end is still counted and logged.  A
        thread that waits is told, and the connection closes when its application has ended."""
        if self.phase is SENDING:
            self._transport.reset_when_closed()
        if self.waiter is not None:
            self.out.broken = True
            self.wake()
            return
        if self.phase is SENDING:
            self._finish_request()
        elif self.phase is IDLE or self.phase is RECEIVING:
            try:
                self._transport.finish()  # RFC 8446 6.1: close_notify comes before the end
            except OSError:
                pass  # the client was faster, or doesn't read
        self.close()

    def give_up(self) -> None:
        """A bug of ours has come up: do no more for this client."""
        if self.waiter is not None:
            self.cut_off()
        elif self.phase is not FREE:
            self.close()

    def abandon(self) -> None:
        """The loop ends: close, and let a thread that waits for room go.  A call that is stuck keeps its connection
        until it returns."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            self.close()
            self.out.broken = True
            waiter.release()
        elif self.phase is RUNNING:
            self.out.broken = True  # so that its thread doesn't wait for a loop that isn't there
            if all(exchange.connection is not self for exchange in list(self._loop.crew.running.values())):
                self._release()  # it has returned, and nobody will be told any more
        else:
            self.cut_off()

    def drain(self, deadline: float) -> None:
        """The worker goes: wait a moment for a request that may be on its way, and answer it as the last."""
        if self.phase is IDLE or self.phase is PREFACE:
            self.deadline = min(self.deadline, self._loop.now + LINGER, deadline)

    def _hang_up(self) -> None:
        """Close after a response, so that the client gets all of it: closing with unread bytes would reset it."""
        if self.aborted:
            if self.resets:
                self._transport.reset_when_closed()
            self.close()
            return
        interest, time = READ, LINGER
        try:
            self._transport.finish()
        except BlockingIOError:
            interest, time = WRITE, LONGEST_LINGER  # the kernel has no room for a close_notify behind all that
        except OSError:
            self.close()
            return
        self._drop_body()
        self._buffer = b''
        self.phase = LINGERING
        self.since = self._loop.now
        self.deadline = self._loop.now + time
        self._loop.look_at(self.deadline)
        self._watch(interest)

    def _on_late_bytes(self) -> None:
        try:
            data = self._recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b''
        if not data:
            self.close()
            return
        self.deadline = min(self._loop.now + LINGER, self.since + LONGEST_LINGER)

    def close(self) -> None:
        """Give up the client and the slot."""
        self._watch(0)
        self._release()
        self._buffer = b''
        self._reset()
        self.phase = FREE
        self._loop.pool.give_back(self)

    def _release(self) -> None:
        """Close all descriptors."""
        self._transport.close()
        self._drop_body()
        self.out.clear()

    def _drop_body(self) -> None:
        if self._intake is not None:
            self._intake.close()
            self._intake = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _watch(self, interest: int) -> None:
        """Have the poller watch for ``interest``, or for nothing; by the leader alone."""
        if self._lender is not None:
            self._lender.asked = False
            self._lender = None
        if interest == self._interest:
            return
        poller = self._loop.poller
        if not interest:
            poller.unregister(self._transport)
        elif self._interest:
            poller.modify(self._transport, interest)
        else:
            poller.register(self._transport, interest, self.on_event)
        self._interest = interest
