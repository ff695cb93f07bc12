"""A worker's loop in a thread of the test's process, and clients that see every byte.

Nothing here sleeps: each wait is for a socket, an event or a thread, and ends at one outer deadline.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import h11

from prefork.net import listener as listeners
from prefork.net import tls
from prefork.settings import Address, Settings
from prefork.worker.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeAlias

    from prefork.logs import AccessLog
    from prefork.scoreboard import Row
    from tests.certificates import Certificates

    Environ: TypeAlias = dict[str, Any]
    StartResponse: TypeAlias = Callable[..., Callable[[bytes], object]]
    App: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

DEADLINE = 20.0
"""The outer deadline of each wait: reached only by a test that fails."""

LOOPBACK = Address('tcp', '127.0.0.1', 0)
RECEIVE_SIZE = 65536


# --- clients ------------------------------------------------------------------------------------------------------


class Response:
    """What came back: ``headers`` by lower-case name, ``early`` the 1xx statuses that came before it."""

    def __init__(self, event: h11.Response, early: list[int]) -> None:
        self.status = event.status_code
        self.reason = bytes(event.reason).decode('latin-1')
        self.fields = [(bytes(name).decode(), bytes(value).decode('latin-1')) for name, value in event.headers]
        self.headers = dict(self.fields)
        self.early = early
        self.body = b''


class Client:
    """A raw connection.  It sends what it is told to, byte for byte; h11 judges what comes back."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._received = b''
        self._ended = False

    def send(self, data: bytes) -> None:
        self.sock.settimeout(DEADLINE)
        self.sock.sendall(data)

    def get(self, path: str = '/', *fields: str) -> Response:
        self.send(request('GET', path, *fields))
        return self.response()

    def speak_tls(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        # An end without close_notify is an error, and not an end like any other.  Older Pythons ask OpenSSL not to say.
        context.options &= ~getattr(ssl, 'OP_IGNORE_UNEXPECTED_EOF', 0)
        self.sock = context.wrap_socket(
            self.sock, server_hostname='localhost', suppress_ragged_eofs=False, session=session
        )

    def half_close(self) -> None:
        """Say that no more will be sent."""
        self.sock.shutdown(socket.SHUT_WR)

    def response(self, method: str = 'GET') -> Response:
        """The next response, whole, to a request of that method.  What comes after it stays for the next call."""
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target='/', headers=[('Host', 'x')]))
        reader.send(h11.EndOfMessage())
        deadline = time.monotonic() + DEADLINE
        early: list[int] = []
        response: Response | None = None
        body: list[bytes] = []
        if self._received:
            reader.receive_data(self._received)
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                reader.receive_data(self._receive(deadline))
            elif isinstance(event, h11.InformationalResponse):
                early.append(event.status_code)
            elif isinstance(event, h11.Response):
                response = Response(event, early)
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                assert response is not None
                self._received = reader.trailing_data[0]
                response.body = b''.join(body)
                return response
            else:
                raise AssertionError(f'no response, but {event!r}')

    def rest(self) -> bytes:
        """All that comes until the server closes its side."""
        deadline = time.monotonic() + DEADLINE
        parts = [self._received]
        while data := self._receive(deadline):
            parts.append(data)
        self._received = b''
        return b''.join(parts)

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes as they come."""
        deadline = time.monotonic() + DEADLINE
        parts = [self._received]
        missing = size - len(self._received)
        while missing > 0:
            data = self._receive(deadline)
            assert data, f'closed {missing} bytes before the end of {size}'
            parts.append(data)
            missing -= len(data)
        whole = b''.join(parts)
        self._received = whole[size:]
        return whole[:size]

    def read_past(self, mark: bytes) -> bytes:
        """As much as comes up to and with ``mark``."""
        deadline = time.monotonic() + DEADLINE
        while mark not in self._received:
            data = self._receive(deadline)
            assert data, f'closed after {self._received!r}'
            self._received += data
        head, mark, self._received = self._received.partition(mark)
        return head + mark

    def is_closed(self) -> bool:
        """Wait for the server's end; whether nothing came before it."""
        return self.rest() == b''

    def is_quiet(self) -> bool:
        """Whether there is neither a byte nor an end to read at this moment."""
        self.sock.setblocking(False)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return not self._received
        return False

    def _receive(self, deadline: float) -> bytes:
        if self._ended:
            return b''
        self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
        data = self.sock.recv(RECEIVE_SIZE)
        self._ended = not data
        return data

    def reset(self) -> None:
        """Go with a reset, as a client does that crashes."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


def request(method: str = 'GET', path: str = '/', *fields: str, version: str = '1.1', body: bytes = b'') -> bytes:
    """The bytes of a request, with a Host field."""
    lines = [f'{method} {path} HTTP/{version}', 'Host: test', *fields, '', '']
    return '\r\n'.join(lines).encode('latin-1') + body


def trusting(certificates: Certificates, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """The context of a client that trusts the server's authority, and speaks one version."""
    context = ssl.create_default_context(cafile=certificates.ca)
    context.minimum_version = context.maximum_version = version
    return context


# --- applications -------------------------------------------------------------------------------------------------

PLAIN = [('Content-Type', 'text/plain')]


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', list(PLAIN))
    return [b'hello']


def echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answers with the request's path and body."""
    start_response('200 OK', list(PLAIN))
    return [environ['PATH_INFO'].encode('latin-1'), b' ', environ['wsgi.input'].read()]


class Gate:
    """A place where applications wait for the test, and the test for them."""

    def __init__(self) -> None:
        self._arrived: SimpleQueue[str] = SimpleQueue()
        self._open = threading.Semaphore(0)

    def enter(self, who: str = '') -> None:
        """In an application: arrive, and wait until one may pass."""
        self._arrived.put(who)
        assert self._open.acquire(timeout=DEADLINE), 'nobody opened the gate'

    def arrival(self) -> str:
        """In the test: wait for the next one to arrive."""
        return self._arrived.get(timeout=DEADLINE)

    def is_empty(self) -> bool:
        """Whether nobody has arrived who wasn't noticed."""
        try:
            self._arrived.put(self._arrived.get_nowait())
        except Empty:
            return True
        return False

    def let(self, count: int = 1) -> None:
        """Let that many pass."""
        self._open.release(count)


# --- the worker ---------------------------------------------------------------------------------------------------


class Worker:
    """A Loop in a thread, serving ``app`` on a loopback socket from its making until :meth:`stop`."""

    def __init__(
        self,
        app: App,
        options: dict[str, Any] | None = None,
        *,
        access_log: AccessLog | None = None,
        row: Row | None = None,
        on_worn: Callable[[str], None] | None = None,
        address: Address = LOOPBACK,
    ) -> None:
        self.settings = Settings(options)
        self.listener = listeners.open_listener(address, self.settings)
        self.address = self.listener.address
        if self.listener.tls:
            listeners.wrap(self.listener, tls.make_context(self.settings))
        self.loop = Loop(app, [self.listener], self.settings, access_log=access_log, row=row, on_worn=on_worn)
        self.failure: BaseException | None = None
        self._clients: list[Client] = []
        self._other: Client | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:
            self.failure = error

    def connect(self, *, receive_buffer: int = 0) -> Client:
        """A new connection; ``receive_buffer`` is the size of its kernel buffer, for a client that is slow to read."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        return self._connected(sock)

    def connect_tls(self, context: ssl.SSLContext, *, receive_buffer: int = 0) -> Client:
        client = self.connect(receive_buffer=receive_buffer)
        client.speak_tls(context)
        return client

    def _connected(self, sock: socket.socket) -> Client:
        sock.settimeout(DEADLINE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a small piece is sent when it is sent
        sock.connect((self.address.host, self.address.port))
        client = Client(sock)
        self._clients.append(client)
        return client

    def in_loop(self, function: Callable[[], Any]) -> Any:
        """Have the loop call ``function``, and wait for what it returns."""
        results: SimpleQueue[Any] = SimpleQueue()
        self.loop.call_soon_threadsafe(lambda: results.put(function()))
        return results.get(timeout=DEADLINE)

    def take_turns(self) -> None:
        """Wait until the loop has handled what the clients have sent, alone: the poller reports in order."""
        if self._other is None:
            self._other = self.connect()
        self._other.send(request('OPTIONS', '*'))
        self._other.response()

    def until(self, condition: Callable[[], Any]) -> None:
        """Go through the loop until ``condition()`` holds there: for what no descriptor tells."""
        deadline = time.monotonic() + DEADLINE
        while not self.in_loop(condition):
            assert time.monotonic() < deadline, 'it never came to that'

    def until_connected(self, count: int) -> None:
        """Until there are that many connections."""
        self.until(lambda: len(self.loop.pool.used) == count)

    def until_waiting(self, count: int) -> None:
        """Until that many whole requests wait for a thread."""
        self.until(lambda: len(self.loop.waiting) == count)

    def until_parked(self, count: int) -> None:
        """Until that many threads wait for their clients to read."""
        self.until(lambda: self.parked == count)

    @property
    def parked(self) -> int:
        """The connections whose thread waits for their client to read."""
        return sum(connection.waiter is not None for connection in self.loop.pool.used)

    def count_rounds(self, function: Callable[[], object]) -> int:
        """How often the loop looks around while ``function()`` runs."""
        count = 0
        prepare = self.loop._prepare

        def prepare_and_count() -> float | None:
            nonlocal count
            count += 1
            return prepare()

        self.in_loop(lambda: setattr(self.loop, '_prepare', prepare_and_count))
        function()
        self.in_loop(lambda: delattr(self.loop, '_prepare'))
        return count

    def join(self) -> None:
        """Wait until ``run()`` has returned."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), 'run() did not return'
        assert self.failure is None, f'run() raised {self.failure!r}'

    def stop(self) -> None:
        """End everything: the clients, the loop and its thread."""
        for client in self._clients:
            client.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.join()


# --- the log ------------------------------------------------------------------------------------------------------


class Log(logging.Handler):
    """What prefork logged, to look at and to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[logging.LogRecord] = []
        self._grown = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._grown:
            self.entries.append(record)
            self._grown.notify_all()

    @property
    def text(self) -> str:
        """Messages and tracebacks, a line each."""
        with self._grown:
            return ''.join(self._lines(record) for record in self.entries)

    @staticmethod
    def _lines(record: logging.LogRecord) -> str:
        return logging.Formatter().format(record) + '\n'

    def wait_for(self, words: str) -> None:
        with self._grown:
            found = self._grown.wait_for(lambda: any(words in self._lines(r) for r in self.entries), DEADLINE)
        assert found, f'{words!r} was not logged, but:\n{self.text}'
