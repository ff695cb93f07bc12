"""Blocks that are kept back to be sent together: few sends, and none waits for what the application does next."""

from __future__ import annotations

import itertools
import random
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from prefork.http1.response import LAST_CHUNK, encode_chunk
from prefork.settings import Settings
from prefork.worker import handoff
from prefork.worker.exchange import Exchange
from prefork.worker.gateway import Gateway
from prefork.worker.handoff import Crew
from prefork.worker.outbox import JOINED, Outbox
from tests.worker.harness import DEADLINE, PLAIN, hello, request, trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.certificates import Certificates
    from tests.worker.conftest import Serve
    from tests.worker.harness import App, Client, Environ, Gate, Log, StartResponse, Worker


class Sends:
    """The pieces that were given to clients' sockets, and by which threads."""

    def __init__(self) -> None:
        self.made: list[tuple[int, bytes]] = []

    @property
    def pieces(self) -> list[bytes]:
        return [piece for _, piece in self.made]

    @property
    def threads(self) -> list[int]:
        return [thread for thread, _ in self.made]


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch) -> Sends:
    sends = Sends()
    put = Outbox.put

    def note_and_put(self: Outbox, data: bytes | memoryview) -> None:
        sends.made.append((threading.get_ident(), bytes(data)))
        put(self, data)

    monkeypatch.setattr(Outbox, 'put', note_and_put)
    return sends


@pytest.fixture
def no_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentry finds no call long, as if the applications of this test took no time."""
    monkeypatch.setattr(handoff, 'TICK', 3600.0)


def blocks_of(*blocks: bytes, length: bool = False) -> App:
    """An application that yields the blocks one by one, with their length declared or not."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        headers = [('Content-Length', str(sum(map(len, blocks))))] if length else []
        start_response('200 OK', [*PLAIN, *headers])
        yield from blocks

    return app


def until_watched(worker: Worker) -> None:
    """Until there is a sentry: it may still be on its way to its post, or another one after it."""
    worker.until(worker.loop.crew._post.locked)


# --- together -----------------------------------------------------------------------------------------------------


def numbered(count: int, size: int) -> list[bytes]:
    return [b'%08d' % number * (size // 8) for number in range(count)]


@pytest.mark.parametrize(
    ('count', 'size', 'expected'), [(3, 8, 1), (16, 4096, 2), (100, 1000, 2), (3, 40_000, 3), (2, 80_000, 4)]
)
@pytest.mark.parametrize('length', [False, True])
@pytest.mark.usefixtures('no_ticks')
def test_blocks_that_come_quickly_are_sent_together(
    serve: Serve, sends: Sends, count: int, size: int, expected: int, length: bool
) -> None:
    """Whole blocks, as many as 64 KiB have room for; a larger one goes by itself."""
    blocks = numbered(count, size)
    worker = serve(blocks_of(*blocks, length=length))
    until_watched(worker)
    assert worker.connect().get().body == b''.join(blocks)
    sizes = [len(piece) for piece in sends.pieces]
    assert all(piece <= JOINED or piece < size + 300 for piece in sizes)
    assert len(sizes) <= expected


@pytest.mark.usefixtures('no_ticks')
def test_each_block_is_a_chunk(serve: Serve, sends: Sends) -> None:
    worker = serve(blocks_of(b'one', b'', b'three'))
    until_watched(worker)
    client = worker.connect()
    client.send(request())
    assert client.read_past(b'0\r\n\r\n').endswith(b'\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n')
    assert len(sends.pieces) == 1


@pytest.mark.usefixtures('no_ticks')
def test_write_between_blocks_sends_at_once(serve: Serve, gate: Gate) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response('200 OK', list(PLAIN))
        yield b'one '
        write(b'two ')
        gate.enter()
        yield b'three '
        write(b'four')

    worker = serve(app)
    until_watched(worker)
    client = worker.connect()
    client.send(request())
    gate.arrival()
    client.read_past(b'4\r\none \r\n4\r\ntwo \r\n')
    gate.let()
    assert client.read_past(b'0\r\n\r\n') == b'6\r\nthree \r\n4\r\nfour\r\n0\r\n\r\n'


@pytest.mark.parametrize('method', ['GET', 'HEAD'])
@pytest.mark.parametrize('version', ['1.0', '1.1'])
@pytest.mark.usefixtures('no_ticks')
def test_what_was_kept_comes_before_the_end(serve: Serve, method: str, version: str) -> None:
    worker = serve(blocks_of(b'one', b'two'))
    until_watched(worker)
    client = worker.connect()
    client.send(request(method, '/', 'Connection: close', version=version))
    head, _, body = client.rest().partition(b'\r\n\r\n')
    assert b' 200 OK\r\n' in head
    framed = b'onetwo' if version == '1.0' else b'3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n'
    assert body == (framed if method == 'GET' else b'')


@pytest.mark.usefixtures('no_ticks')
def test_what_was_kept_comes_before_a_failure(serve: Serve, log: Log) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        yield b'one'
        yield b'two'
        raise RuntimeError('broken in the middle')

    worker = serve(app)
    until_watched(worker)
    client = worker.connect()
    client.send(request())
    assert client.rest().endswith(b'\r\n\r\n3\r\none\r\n3\r\ntwo\r\n')
    assert 'broken in the middle' in log.text


@pytest.mark.usefixtures('no_ticks')
def test_a_body_that_is_too_short(serve: Serve, log: Log) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [*PLAIN, ('Content-Length', '10')])
        yield b'one'
        yield b'two'

    worker = serve(app)
    until_watched(worker)
    client = worker.connect()
    client.send(request())
    assert client.rest().endswith(b'\r\n\r\nonetwo')
    assert '4 bytes shorter than its Content-Length' in log.text


@pytest.mark.parametrize('early', [b'', b'b'])
@pytest.mark.usefixtures('no_ticks')
def test_a_client_is_not_waited_for_that_waits_for_a_block(serve: Serve, gate: Gate, early: bytes) -> None:
    """Whether some of the body has come with the head, or none."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        yield b'go on'
        first = environ['wsgi.input'].read(1)
        gate.enter()
        yield first + environ['wsgi.input'].read()

    worker = serve(app, request_buffering=False)
    until_watched(worker)
    client = worker.connect()
    client.send(request('POST', '/', 'Content-Length: 4', body=early))
    client.read_past(b'go on\r\n')
    client.send(b'body'[len(early) :])
    gate.arrival()
    gate.let()
    assert client.read_past(b'0\r\n\r\n') == b'4\r\nbody\r\n0\r\n\r\n'


# --- at once ------------------------------------------------------------------------------------------------------


def sleep_until(event: threading.Event) -> None:
    while not event.is_set():
        time.sleep(0.05)


def block_until(event: threading.Event) -> None:
    assert event.wait(DEADLINE)


def compute_until(event: threading.Event) -> None:
    end = time.monotonic() + DEADLINE
    while not event.is_set() and time.monotonic() < end:
        sum(range(100))


class Stream:
    """Three blocks.  After each the application is busy until the client has seen it; ``times`` is when each came."""

    def __init__(self, busy: Callable[[threading.Event], None]) -> None:
        self._busy = busy
        self.seen = [threading.Event() for _ in range(3)]
        self.times: list[float] = []
        self.thread = 0

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/':
            return hello(environ, start_response)
        start_response('200 OK', list(PLAIN))
        return self._blocks()

    def _blocks(self) -> Iterator[bytes]:
        self.thread = threading.get_ident()
        for number, seen in enumerate(self.seen):
            self.times.append(time.monotonic())
            yield b'block %d' % number
            self._busy(seen)

    def read(self, client: Client) -> float:
        """Read all blocks; the longest time that one took."""
        client.send(request())
        times = []
        for number, seen in enumerate(self.seen):
            client.read_past(b'block %d\r\n' % number)
            times.append(time.monotonic() - self.times[number])
            seen.set()
        client.read_past(b'0\r\n\r\n')
        return max(times)


def connect(worker: Worker, certificates: Certificates, transport: str, **options: int) -> Client:
    if transport == 'TLS':
        return worker.connect_tls(trusting(certificates), **options)
    return worker.connect(**options)


@pytest.mark.parametrize('transport', ['plain', 'TLS'])
@pytest.mark.parametrize('threads', [1, 4])
@pytest.mark.parametrize('busy', [sleep_until, block_until, compute_until])
def test_a_block_is_there_whatever_the_application_does_next(
    serve: Serve,
    certificates: Certificates,
    sends: Sends,
    busy: Callable[[threading.Event], None],
    threads: int,
    transport: str,
) -> None:
    """In the best of several rounds within 20 ms: two ticks are 4.

    Another thread sends the first block, and the application's the others when they come, and the end.
    """
    options = certificates.options if transport == 'TLS' else {}
    rounds = []
    for _ in range(5):
        app = Stream(busy)
        worker = serve(app, threads=threads, **options)
        client = connect(worker, certificates, transport)
        assert client.get('/other').body == b'hello'
        until_watched(worker)
        del sends.made[:]
        slowest = app.read(client)
        by_others = [thread != app.thread for thread in sends.threads]
        if slowest < 0.02 and by_others == [True, False, False, False]:
            return
        rounds.append((slowest, by_others))
    pytest.fail(f'the slowest block of each round, and whether others have sent: {rounds}')


def test_a_block_is_sent_by_a_call_that_ends_and_leads_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no sentry that finds the lead free while the newest call goes on, but the thread of an older one."""
    older, newer = threading.Event(), threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response('200 OK', list(PLAIN))
        if environ['PATH_INFO'] == '/older':
            block_until(older)
        else:
            yield b'block'
            older.set()
            block_until(newer)

    worker = serve(app)
    first = worker.connect()
    first.send(request('GET', '/older'))
    worker.until(lambda: worker.loop.crew.running)
    until_watched(worker)
    second = worker.connect()
    monkeypatch.setattr(handoff, 'TICK', 3600.0)
    second.send(request())
    second.read_past(b'block\r\n')
    newer.set()
    assert second.read_past(b'0\r\n\r\n') == b'0\r\n\r\n'


def test_where_nobody_watches_each_block_is_sent_at_once(
    serve: Serve, sends: Sends, monkeypatch: pytest.MonkeyPatch
) -> None:
    hire = Crew.hire
    monkeypatch.setattr(Crew, 'hire', lambda crew: crew._total > 0 or hire(crew))
    app = Stream(block_until)
    worker = serve(app)
    app.read(worker.connect())
    assert sends.threads == [app.thread] * 4


@pytest.mark.usefixtures('no_ticks')
def test_the_application_hears_that_the_client_is_gone(
    serve: Serve, gate: Gate, sends: Sends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread has found it out, by what was kept: the next block isn't sent, and no more are asked for."""
    asked = []

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response('200 OK', list(PLAIN))
        try:
            for number in range(10):
                gate.enter()
                asked.append(number)
                yield b'block'
        finally:
            gate.enter('closed')

    worker = serve(app)
    until_watched(worker)
    client = worker.connect()
    client.send(request())
    gate.arrival()
    client.reset()
    gate.let()
    gate.arrival()
    assert not sends.made, 'it is kept'
    monkeypatch.setattr(handoff, 'TICK', 0.002)
    worker.loop.crew._ring()
    worker.until(lambda: all(connection.out.broken for connection in worker.loop.pool.used))
    assert len(sends.made) == 1
    gate.let()
    assert gate.arrival() == 'closed'
    assert len(asked) == 2
    gate.let()
    worker.until_connected(0)


# --- whole and in order -------------------------------------------------------------------------------------------


class Schedule:
    """A response of blocks of all sizes with pauses of all kinds between them, which depends on the path alone."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response('200 OK', list(PLAIN))
        self.threads.add(threading.get_ident())
        chance = random.Random(environ['PATH_INFO'])
        for block in blocks_at(environ['PATH_INFO']):
            yield block
            kind = chance.random()
            if kind < 0.1:
                time.sleep(chance.uniform(0, 0.008))  # what an application does that waits for something
            elif kind < 0.2:
                end = time.monotonic() + chance.uniform(0, 0.006)
                while time.monotonic() < end:
                    pass


def blocks_at(path: str) -> list[bytes]:
    chance = random.Random(f'{path} blocks')
    largest = chance.choice((10, 1000, 10_000, 100_000))
    return [chance.randbytes(chance.randint(0, largest)) for _ in range(chance.randint(1, 60))]


@pytest.mark.parametrize('receive_buffer', [0, 4096])
@pytest.mark.parametrize('transport', ['plain', 'TLS'])
def test_every_byte_comes_once_and_in_its_place(
    serve: Serve,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
    receive_buffer: int,
) -> None:
    """Four clients at once, whose calls take the lead from each other; other threads' sends are among them."""
    helped = itertools.count()
    release = Outbox.release_if_there

    def release_and_count(out: Outbox) -> None:
        next(helped)
        release(out)

    monkeypatch.setattr(Outbox, 'release_if_there', release_and_count)
    options = certificates.options if transport == 'TLS' else {}
    worker = serve(Schedule(), threads=2, **options)
    failures: list[BaseException] = []

    def ask(number: int) -> None:
        try:
            client = connect(worker, certificates, transport, receive_buffer=receive_buffer)
            for turn in range(8):
                path = f'/{number}/{turn}'
                assert client.get(path).body == b''.join(blocks_at(path))
        except BaseException as error:
            failures.append(error)

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(DEADLINE * 2)
        assert not client.is_alive()
    assert not failures
    assert next(helped) > 0, 'no other thread has sent anything'


class Socket:
    """A transport that takes everything, and notices when two threads use it at once."""

    def __init__(self) -> None:
        self.sent = b''
        self._used = threading.Lock()

    def send(self, data: bytes) -> int:
        assert self._used.acquire(blocking=False), 'two threads at once'
        sent = self.sent
        for _ in range(3):
            pass  # the others may have their turn
        self.sent = sent + bytes(data)
        self._used.release()
        return len(data)


class Race:
    """A call whose lead is taken at some moment, while its blocks come one after the other."""

    def __init__(self, gateway: Gateway, settings: Settings, spins: int) -> None:
        self.socket = Socket()
        socket: Any = self.socket
        self.out = Outbox(settings, time.monotonic)
        self.out.open(socket)
        connection: Any = SimpleNamespace(
            out=self.out,
            minor=1,
            persist=True,
            bodiless=False,
            produced=0,
            is_watched=lambda exchange: True,
            wait_for_room=lambda: None,
        )
        self.exchange = Exchange(gateway, connection)
        self.exchange.start_response('200 OK', [])
        self.asked = 0
        self.left: list[bytes] | None = []
        self._spins = spins
        self._begun, self._taken = threading.Event(), threading.Event()

    def run(self) -> None:
        leader = threading.Thread(target=self._take_the_lead)
        leader.start()
        self.exchange.send_each(self._blocks())
        leader.join(DEADLINE)

    def _take_the_lead(self) -> None:
        self._begun.wait(DEADLINE)
        for _ in range(self._spins):
            pass
        self.exchange.hurry()
        self._taken.set()

    def _blocks(self) -> Iterator[bytes]:
        self._begun.set()
        while not self._taken.is_set() or self.asked < 3:
            self.asked += 1
            yield b'%d' % self.asked
        self.left = self.out.kept


@pytest.mark.usefixtures('short_turns')
def test_a_block_is_sent_by_the_one_or_the_other() -> None:
    """Even if the lead is taken in the midst of keeping a block: when both know, nothing is kept any more."""
    settings = Settings({})
    gateway = Gateway(hello, settings, False)
    for spins in range(500):
        race = Race(gateway, settings, spins)
        race.run()
        assert race.left is None
        expected = b''.join(encode_chunk(b'%d' % number) for number in range(1, race.asked + 1))
        assert race.socket.sent.partition(b'\r\n\r\n')[2] == expected + LAST_CHUNK
