"""Clients that stall: each kind has its deadline, and none of them hurts a client that doesn't."""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import TYPE_CHECKING

import pytest

from prefork.worker import connection, loop, pace
from prefork.worker.phase import Phase
from tests.worker.applications import gated
from tests.worker.harness import PLAIN, Gate, echo, hello, request, trusting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from tests.certificates import Certificates
    from tests.worker.conftest import Serve
    from tests.worker.harness import Client, Environ, Log, StartResponse, Worker

SHORT = 0.3
"""Seconds of the deadline that a test is about; the others keep their defaults, which no test can wait for."""


@pytest.fixture(autouse=True)
def grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """min_rate is applied after a short time instead of ten seconds."""
    monkeypatch.setattr(pace, 'GRACE', SHORT)
    monkeypatch.setattr(loop, 'GRACE', SHORT)


def large(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A large response at ``/list`` and at ``/generator``, and an echo elsewhere."""
    if environ['PATH_INFO'] == '/list':
        start_response('200 OK', list(PLAIN))
        return [b'x' * 20_000_000]
    if environ['PATH_INFO'] == '/generator':
        start_response('200 OK', list(PLAIN))
        return (b'x' * 100_000 for _ in range(200))
    return echo(environ, start_response)


POST = request('POST', '/', 'Content-Length: 1000', body=b'x' * 10)
CHUNKED = request('POST', '/', 'Transfer-Encoding: chunked', body=b'100\r\nx')
NO_RATE = {'min_rate': 0}

STALLS = [
    # name, what is sent, options, whether 408 is answered
    ('nothing at all', b'', {'header_timeout': SHORT}, False),
    ('an empty line', b'\r\n', {'header_timeout': SHORT}, False),
    ('half a head', request()[:-2], {'header_timeout': SHORT}, True),
    ('a byte of a head', b'G', {'header_timeout': SHORT}, True),
    ('a counted body, by min_rate', POST, {}, True),
    ('a chunked body, by min_rate', CHUNKED, {}, True),
    ('a counted body, by silence', POST, {**NO_RATE, 'client_socket_timeout': SHORT}, True),
    ('a body of which nothing comes', POST[:-10], {**NO_RATE, 'client_socket_timeout': SHORT}, True),
]


@pytest.mark.parametrize(('data', 'options', 'answered'), [pytest.param(*row[1:], id=row[0]) for row in STALLS])
def test_a_request_that_never_becomes_whole(serve: Serve, data: bytes, options: dict[str, Any], answered: bool) -> None:
    worker = serve(echo, **options)
    started = time.monotonic()
    client, other = worker.connect(), worker.connect()
    client.send(data)
    assert other.get('/beside').body == b'/beside '
    if answered:
        response = client.response()
        assert (response.status, response.headers['connection']) == (408, 'close')
    assert client.is_closed()
    assert time.monotonic() - started >= SHORT, 'not before'
    assert worker.connect().get('/after').body == b'/after '


# --- the rate of a body -------------------------------------------------------------------------------------------


def send_until_answered(client: Client, pieces: Iterable[bytes], interval: float) -> int:
    """Send piece after piece, one each interval, until something comes back; how many were sent."""
    count = 0
    for piece in pieces:
        client.send(piece)
        count += 1
        if select.select([client.sock], [], [], interval)[0]:
            break
    return count


@pytest.mark.parametrize('before', [b'', b'x' * 200_000], ids=['from the start', 'after much at once'])
@pytest.mark.parametrize('pieces', [[b'x'] * 1000, [b'']], ids=['a byte now and then', 'nothing'])
def test_a_body_that_comes_too_slowly(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, before: bytes, pieces: list[bytes]
) -> None:
    """What came at once doesn't count for long: at this rate it would be enough for 200 seconds."""
    monkeypatch.setattr(pace, 'BURST', 500)
    client = serve(echo, min_rate=1000).connect()
    started = time.monotonic()
    client.send(request('POST', '/', 'Content-Length: 1000000') + before)
    send_until_answered(client, pieces, 0.05)
    assert client.response().status == 408
    assert time.monotonic() - started >= SHORT


def test_a_body_that_comes_just_fast_enough(serve: Serve) -> None:
    """It takes three times as long as a slower one would be waited for."""
    client = serve(echo, min_rate=1000).connect()
    count = 20
    client.send(request('POST', '/', f'Content-Length: {count * 1000}'))
    assert send_until_answered(client, [b'x' * 1000] * count, 3 * SHORT / count) == count
    assert client.response().body == b'/ ' + b'x' * 1000 * count


# --- the rate of a response ---------------------------------------------------------------------------------------


def read_slowly(client: Client, size: int, total: int, interval: float) -> int:
    """Read ``size`` bytes each interval, up to ``total``; how many came before the server gave it up."""
    never, other = socket.socketpair()
    count = 0
    with never, other:
        while count < total:
            select.select([never], [], [], interval)
            try:
                client.read(size)
            except (ConnectionResetError, AssertionError):
                break
            count += size
    return count


@pytest.mark.parametrize('path', ['/list', '/generator'])
@pytest.mark.parametrize(
    ('rate', 'total'),
    [
        pytest.param(20_000, 800_000, id='fast enough'),
        pytest.param(20_000_000, 0, id='too slow'),
    ],
)
def test_a_response_that_is_read_at_a_rate(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str, rate: int, total: int
) -> None:
    """A client that reads 16 KB fifty times a second, for much longer than one that doesn't is waited for."""
    monkeypatch.setattr(pace, 'BURST', 1000)
    worker = serve(large, min_rate=rate)
    client = worker.connect(receive_buffer=8192)
    client.send(request('GET', path))
    worker.until(lambda: any(connection.phase is Phase.SENDING for connection in worker.loop.pool.used))
    count = read_slowly(client, 16_000, 800_000, 0.02)
    assert count >= total
    assert bool(worker.in_loop(lambda: len(worker.loop.pool.used))) is bool(total)


def test_a_reader_of_whom_the_socket_says_nothing(serve: Serve) -> None:
    """It becomes writable when 64 KB have been read.  client_socket_timeout is for those who read nothing."""
    worker = serve(large, min_rate=0, client_socket_timeout=SHORT)
    client = worker.connect(receive_buffer=8192)
    client.send(request('GET', '/list'))
    assert read_slowly(client, 3000, 120_000, SHORT / 10) == 120_000
    worker.until_connected(1)
    started = time.monotonic()
    worker.until_connected(0)
    assert time.monotonic() - started >= SHORT / 2


@pytest.mark.parametrize('path', ['/list', '/generator'])
@pytest.mark.parametrize(
    'options',
    [
        pytest.param({}, id='by min_rate'),
        pytest.param({'min_rate': 0, 'client_socket_timeout': SHORT}, id='by silence'),
    ],
)
def test_a_response_that_is_not_read(serve: Serve, log: Log, path: str, options: dict[str, Any]) -> None:
    """min_rate counts from the beginning: what was read at once is time saved, so it is a high one here."""
    worker = serve(large, **{'min_rate': 100_000_000, **options})
    client, other = worker.connect(receive_buffer=4096), worker.connect()
    started = time.monotonic()
    client.send(request('GET', path))
    assert other.get('/beside').body == b'/beside '
    worker.until_connected(1)
    assert time.monotonic() - started >= SHORT
    with pytest.raises((ConnectionResetError, AssertionError)):
        client.read(20_000_000)
    assert other.get('/after').body == b'/after '
    assert log.text == ''


def test_a_response_that_is_read_slowly_but_steadily(serve: Serve) -> None:
    """Longer than the deadline in all, never so long without a byte."""
    worker = serve(large, min_rate=0, client_socket_timeout=SHORT)
    client = worker.connect(receive_buffer=65536)
    client.send(request('GET', '/generator') + request('GET', '/next'))
    assert client.response().body == b'x' * 20_000_000
    assert client.response().body == b'/next '


def test_an_idle_connection(serve: Serve) -> None:
    worker = serve(echo, keepalive_timeout=SHORT)
    client = worker.connect()
    assert client.get('/1').body == b'/1 '
    started = time.monotonic()
    assert client.get('/2').body == b'/2 '
    assert client.is_closed()
    assert time.monotonic() - started >= SHORT


def test_an_idle_connection_has_no_time_at_all(serve: Serve) -> None:
    client = serve(echo, keepalive_timeout=0.0).connect()
    assert client.get('/1').body == b'/1 '
    assert client.is_closed()


def test_a_new_connection_has_the_time_of_a_head(serve: Serve) -> None:
    """keepalive_timeout is for those who had an answer."""
    worker = serve(echo, keepalive_timeout=0.05)
    client = worker.connect()
    assert worker.connect().get().status == 200
    kept = worker.connect()
    kept.get()
    assert kept.is_closed()
    assert client.get('/1').body == b'/1 '


def test_a_pipelined_head_has_its_own_time(serve: Serve) -> None:
    client = serve(echo, header_timeout=SHORT).connect()
    client.send(request('GET', '/1') + b'GET /2 HT')
    assert client.response().body == b'/1 '
    assert client.response().status == 408


def test_a_pipelined_head_does_not_pay_for_the_request_before_it(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate), request_timeout=0.0)
    client, other = worker.connect(), worker.connect()
    client.send(request('GET', '/slow') + b'GET /next HT')
    gate.arrival()
    worker.in_loop(lambda: setattr(worker.loop, 'clock', lambda: time.monotonic() + 1000))
    gate.let()
    assert client.response().body == b'/slow '
    other.close()
    worker.until_connected(1)
    client.send(b'TP/1.1\r\nHost: x\r\n\r\n')
    assert client.response().body == b'/next ', 'its time began when the other was answered'


def test_a_call_has_none_of_these_deadlines(serve: Serve, gate: Gate) -> None:
    worker = serve(
        gated(gate),
        header_timeout=SHORT,
        keepalive_timeout=SHORT,
        client_socket_timeout=SHORT,
    )
    client = worker.connect()
    client.send(request('GET', '/slow'))
    gate.arrival()
    idle, half = worker.connect(), worker.connect()
    half.send(b'GET')
    assert idle.is_closed()
    assert half.response().status == 408, 'by now everybody else is out of time'
    gate.let()
    assert client.response().body == b'/slow '


def test_a_generator_that_takes_its_time_between_blocks(serve: Serve, gate: Gate) -> None:
    """It isn't the client who is slow."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def blocks() -> Iterator[bytes]:
            yield b'one '
            gate.enter()
            yield b'two'

        if environ['PATH_INFO'] != '/slow':
            return hello(environ, start_response)
        start_response('200 OK', list(PLAIN))
        return blocks()

    worker = serve(app, header_timeout=SHORT, keepalive_timeout=SHORT, client_socket_timeout=SHORT)
    client = worker.connect()
    client.send(request('GET', '/slow'))
    gate.arrival()
    assert worker.connect().is_closed()
    gate.let()
    assert client.response().body == b'one two'


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('data', [b'', b'\x16\x03\x01\x02\x00\x01\x00'], ids=['silence', 'half a hello'])
def test_a_handshake(serve: Serve, certificates: Certificates, data: bytes) -> None:
    worker = serve(echo, **certificates.options, ssl_handshake_timeout=SHORT)
    started = time.monotonic()
    client = worker.connect()
    client.send(data)
    assert worker.connect_tls(trusting(certificates)).get('/beside').body == b'/beside '
    assert client.is_closed()
    assert time.monotonic() - started >= SHORT


def test_silence_after_a_handshake(serve: Serve, certificates: Certificates) -> None:
    worker = serve(echo, **certificates.options, header_timeout=SHORT)
    assert worker.connect_tls(trusting(certificates)).is_closed()


# --- lingering ----------------------------------------------------------------------------------------------------


def test_who_never_closes_after_an_answer_is_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, 'LINGER', SHORT)
    worker = serve(echo)
    client = worker.connect()
    client.get('/', 'Connection: close')
    assert client.is_closed()
    worker.until_connected(0)


# --- a full pool --------------------------------------------------------------------------------------------------


def slots(worker: Worker) -> int:
    count: int = worker.in_loop(lambda: len(worker.loop.pool.used))
    return count


def test_the_longest_idle_connection_makes_room(serve: Serve) -> None:
    worker = serve(hello, pool_size=3)
    clients: list[Client] = [worker.connect() for _ in range(3)]
    for client in (*clients, clients[0]):
        assert client.get().status == 200
    newcomer = worker.connect()
    assert newcomer.get().status == 200
    assert clients[1].is_closed(), 'its last request is the oldest'
    for client in (clients[0], clients[2], newcomer):
        assert client.get().status == 200
    assert slots(worker) == 3


def test_many_more_connections_than_slots(serve: Serve) -> None:
    worker = serve(hello, pool_size=5)
    for _ in range(100):
        assert worker.connect().get().status == 200
    assert slots(worker) == 5


def test_a_call_never_makes_room(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate), pool_size=2)
    running = [worker.connect(), worker.connect()]
    for client in running:
        client.send(request('GET', '/slow'))
        gate.arrival()
    newcomer = worker.connect()
    newcomer.send(request('GET', '/newcomer'))
    worker.until(lambda: worker.loop.acceptor._not_before > 0)
    assert newcomer.is_quiet()
    gate.let(2)
    for client in running:
        assert client.response().body == b'/slow '
    assert newcomer.response().body == b'/newcomer ', 'as soon as one of them is idle'


def test_a_stalled_client_makes_room_after_a_second(serve: Serve, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('prefork.worker.pool._SLOW', 0.1)
    worker = serve(large, pool_size=2)
    sender, reader = worker.connect(), worker.connect(receive_buffer=4096)
    sender.send(b'GET / HT')
    reader.send(request('GET', '/list'))
    reader.read_past(b'\r\n\r\n')
    assert worker.connect().get('/1').body == b'/1 '
    assert sender.is_closed(), 'it came first'
    assert slots(worker) == 2


def test_one_that_has_just_come_does_not_make_room(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its request may be on its way: only an answer makes an idle connection the first to go."""
    monkeypatch.setattr('prefork.worker.pool._SLOW', SHORT)
    worker = serve(hello, pool_size=1)
    first = worker.connect()
    worker.until_connected(1)
    started = time.monotonic()
    assert worker.connect().get().status == 200
    assert time.monotonic() - started >= SHORT / 2
    assert first.is_closed()


def test_a_system_without_memory(serve: Serve, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """accept(2): the loop tries again later, and goes on with whom it has, none of whom could help.  Where this process
    has no descriptor left they could: see test_descriptors."""
    worker = serve(hello)
    client = worker.connect()
    assert client.get().status == 200
    accept = socket.socket.accept
    failures = [OSError(errno.ENOBUFS, 'No buffer space available'), OSError(errno.ECONNABORTED, 'aborted')]

    def scarce(sock: socket.socket) -> Any:
        if failures:
            raise failures.pop(0)
        return accept(sock)

    monkeypatch.setattr(socket.socket, 'accept', scarce)
    newcomer = worker.connect()
    newcomer.send(request())
    log.wait_for(f'cannot accept: [Errno {errno.ENOBUFS}]')
    assert client.get().status == 200
    assert newcomer.response().status == 200
    assert not failures
