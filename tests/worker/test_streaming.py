"""request_buffering = false: the application reads a body while it arrives (RFC 9110 10.1.1, RFC 9112 6.3 and 8)."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from prefork.errors import BodyError, ClientGone
from prefork.worker import pace
from tests.worker.harness import DEADLINE, PLAIN, echo, hello, request, trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from tests.certificates import Certificates
    from tests.worker.conftest import Serve
    from tests.worker.harness import Client, Environ, Gate, Log, StartResponse, Worker

CHUNKED = 'Transfer-Encoding: chunked'
EXPECT = 'Expect: 100-continue'
CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'
SHORT = 0.2


@pytest.fixture
def stream(serve: Serve) -> Serve:
    """``serve`` with bodies that aren't waited for."""

    def start(app: Any, **options: Any) -> Worker:
        return serve(app, request_buffering=False, **options)

    return start


class Reader:
    """An application that reads as it is told to, and hands each piece, or what was raised, to the test."""

    def __init__(self, gate: Gate, *reads: Callable[[Any], Any]) -> None:
        self._gate = gate
        self._reads = reads
        self.pieces: list[Any] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        for read in self._reads:
            self._gate.enter()
            try:
                self.pieces.append(read(environ['wsgi.input']))
            except Exception as error:
                self.pieces.append(error)
        self._gate.enter('done')
        start_response('200 OK', list(PLAIN))
        return [b'read']


def upload(client: Client, *fields: str, body: bytes = b'') -> None:
    """Send the head by itself, then what there is of the body."""
    client.send(request('POST', '/', *fields))
    if body:
        client.send(body)


# --- what is read -------------------------------------------------------------------------------------------------


def test_the_application_begins_before_the_body_is_there(stream: Serve, gate: Gate) -> None:
    app = Reader(gate, lambda file: file.read(5), lambda file: file.read())
    client = stream(app).connect()
    upload(client, 'Content-Length: 10')
    gate.arrival()
    client.send(b'hello')
    gate.let()
    gate.arrival()
    assert app.pieces == [b'hello']
    client.send(b'world')
    gate.let(2)
    assert client.response().body == b'read'
    assert app.pieces == [b'hello', b'world']


WHOLE = [
    pytest.param('Content-Length: 11', b'one\ntwo\nend', id='counted'),
    pytest.param(CHUNKED, b'2\r\non\r\n6;x=y\r\ne\ntwo\n\r\n3\r\nend\r\n0\r\nChecksum: x\r\n\r\n', id='chunked'),
]

METHODS = [
    pytest.param(lambda file: file.read(), b'one\ntwo\nend', id='read()'),
    pytest.param(lambda file: file.read(-1), b'one\ntwo\nend', id='read(-1)'),
    pytest.param(lambda file: file.read(1000), b'one\ntwo\nend', id='read more than there is'),
    pytest.param(lambda file: [file.read(4), file.read(0), file.read()], [b'one\n', b'', b'two\nend'], id='in pieces'),
    pytest.param(
        lambda file: [file.read(), file.read(), file.read(9)], [b'one\ntwo\nend', b'', b''], id='past its end'
    ),
    pytest.param(lambda file: [file.readline() for _ in range(4)], [b'one\n', b'two\n', b'end', b''], id='readline()'),
    pytest.param(lambda file: [file.readline(2), file.readline(9)], [b'on', b'e\n'], id='readline(size)'),
    pytest.param(lambda file: file.readlines(), [b'one\n', b'two\n', b'end'], id='readlines()'),
    pytest.param(lambda file: file.readlines(5), [b'one\n', b'two\n'], id='readlines(hint)'),
    pytest.param(list, [b'one\n', b'two\n', b'end'], id='iteration'),
]


@pytest.mark.parametrize(('read', 'expected'), METHODS)
@pytest.mark.parametrize(('field', 'body'), WHOLE)
@pytest.mark.parametrize('step', [1, 1000], ids=['byte by byte', 'whole'])
def test_what_methods_return(
    stream: Serve, field: str, body: bytes, step: int, read: Callable[[Any], Any], expected: Any
) -> None:
    pieces: list[Any] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        pieces.append(read(environ['wsgi.input']))
        environ['wsgi.input'].read()
        start_response('200 OK', list(PLAIN))
        return [b'']

    client = stream(app).connect()
    upload(client, field)
    for start in range(0, len(body), step):
        client.send(body[start : start + step])
    response = client.response()
    assert response.status == 200
    assert pieces == [expected]
    assert 'connection' not in response.headers
    assert client.get().status == 200, 'the next request begins where the body ended'


def test_what_came_with_the_head_is_there_at_once(stream: Serve) -> None:
    client = stream(echo).connect()
    client.send(request('POST', '/a', 'Content-Length: 3', body=b'abc') + request('GET', '/b'))
    assert client.response().body == b'/a abc'
    assert client.response().body == b'/b '


def test_the_next_request_behind_a_body_waits_its_turn(stream: Serve) -> None:
    client = stream(echo).connect()
    upload(client, CHUNKED, body=b'3\r\nabc\r\n')
    client.send(b'0\r\n\r\n' + request('GET', '/b'))
    assert client.response().body == b'/ abc'
    assert client.response().body == b'/b '


def test_a_large_body(stream: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        size = 0
        while data := environ['wsgi.input'].read(100_000):
            assert data.count(b'x') == len(data)
            size += len(data)
        start_response('200 OK', list(PLAIN))
        return [b'%d' % size]

    client = stream(app).connect()
    upload(client, 'Content-Length: 20000000', body=b'x' * 20_000_000)
    assert client.response().body == b'20000000'


def test_over_tls(stream: Serve, certificates: Certificates) -> None:
    client = stream(echo, **certificates.options).connect_tls(trusting(certificates))
    upload(client, EXPECT, 'Content-Length: 200000')
    assert client.read(len(CONTINUE)) == CONTINUE
    client.send(b'x' * 200_000)
    assert client.response().body == b'/ ' + b'x' * 200_000


def test_what_the_environ_says(stream: Serve) -> None:
    seen: list[Environ] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(dict(environ))
        return echo(environ, start_response)

    client = stream(app).connect()
    upload(client, CHUNKED, body=b'1\r\nx\r\n0\r\n\r\n')
    assert client.response().body == b'/ x'
    assert seen[0]['wsgi.input_terminated'] is True
    assert seen[0]['HTTP_TRANSFER_ENCODING'] == 'chunked', 'the only sign that there is a body'
    assert 'CONTENT_LENGTH' not in seen[0]


# --- 100 (Continue) -----------------------------------------------------------------------------------------------


def test_continue_comes_at_the_first_read_and_once(stream: Serve, gate: Gate) -> None:
    app = Reader(gate, lambda file: file.read(2), lambda file: file.read())
    client = stream(app).connect()
    upload(client, EXPECT, 'Content-Length: 4')
    gate.arrival()
    assert client.is_quiet()
    gate.let()
    assert client.read(len(CONTINUE)) == CONTINUE
    client.send(b'ab')
    gate.arrival()
    client.send(b'cd')
    gate.let(2)
    response = client.response()
    assert response.early == []
    assert app.pieces == [b'ab', b'cd']
    assert 'connection' not in response.headers


@pytest.mark.parametrize(
    ('version', 'body'),
    [pytest.param('1.1', b'ab', id='the body came unasked'), pytest.param('1.0', b'', id='HTTP/1.0')],
)
def test_continue_is_not_said(stream: Serve, gate: Gate, version: str, body: bytes) -> None:
    app = Reader(gate, lambda file: file.read())
    client = stream(app).connect()
    client.send(request('POST', '/', EXPECT, 'Content-Length: 4', version=version, body=body))
    gate.arrival()
    gate.let(2)
    client.send(b'abcd'[len(body) :])
    assert client.response().early == []
    assert app.pieces == [b'abcd']


def test_a_response_without_a_read_is_the_only_one(stream: Serve) -> None:
    """The client may send the body all the same, and nobody could tell it from a request."""
    client = stream(hello).connect()
    upload(client, EXPECT, 'Content-Length: 4')
    response = client.response()
    assert (response.early, response.body) == ([], b'hello')
    assert response.headers['connection'] == 'close'
    assert client.is_closed()


def test_continue_never_follows_the_beginning_of_a_response(stream: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response('200 OK', list(PLAIN))
        write(b'first ')
        return [environ['wsgi.input'].read()]

    client = stream(app).connect()
    upload(client, EXPECT, 'Content-Length: 4')
    client.read_past(b'first ')
    client.send(b'body')
    rest = client.rest()
    assert b'body' in rest
    assert b'100 Continue' not in rest


@pytest.mark.parametrize(
    ('fields', 'status'),
    [
        pytest.param(('Content-Length: 101',), 413, id='max_body'),
        pytest.param(('Content-Length: 1', 'Content-Length: 1'), 400, id='framing'),
        pytest.param(('Content-Length: 1', 'Host: again'), 400, id='host'),
    ],
)
def test_a_doomed_head_gets_no_continue(stream: Serve, gate: Gate, fields: tuple[str, ...], status: int) -> None:
    client = stream(Reader(gate), max_body=100).connect()
    upload(client, EXPECT, *fields)
    response = client.response()
    assert (response.early, response.status) == ([], status)
    assert gate.is_empty()


# --- bodies that aren't read --------------------------------------------------------------------------------------


@pytest.mark.parametrize('field', ['Content-Length: 50000000', CHUNKED])
def test_a_client_that_sends_a_body_nobody_reads_sees_the_answer(stream: Serve, field: str) -> None:
    client = stream(hello).connect()
    upload(client, field)
    client.send(b'2faf080\r\n' + b'x' * 50_000_000)
    response = client.response()
    assert response.body == b'hello'
    assert response.headers['connection'] == 'close'
    assert client.is_closed()


def test_nothing_of_an_unread_body_becomes_a_request(stream: Serve, gate: Gate) -> None:
    app = Reader(gate, lambda file: file.read(1))
    client = stream(app).connect()
    upload(client, 'Content-Length: 1000')
    client.send(b'x' + request('GET', '/smuggled'))
    gate.let(2)
    assert client.response().body == b'read'
    assert client.is_closed()
    assert [gate.arrival(), gate.arrival()] == ['', 'done']
    assert gate.is_empty()


def test_a_stream_that_is_kept_reads_nothing_of_the_next_request(stream: Serve) -> None:
    kept: list[Any] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        kept.append(environ['wsgi.input'])
        return echo(environ, start_response)

    client = stream(app).connect()
    upload(client, CHUNKED, body=b'2\r\nab\r\n0\r\n\r\n')
    assert client.response().body == b'/ ab'
    assert client.get().status == 200, 'the request before this one is over'
    with pytest.raises(ValueError, match=r'closed file|request is over'):
        kept[0].read()


# --- bodies that aren't right -------------------------------------------------------------------------------------

WRONG = [
    pytest.param('Content-Length: 4', b'abc', True, 400, id='cut'),
    pytest.param(CHUNKED, b'3\r\nabc\r\n', True, 400, id='cut between chunks'),
    pytest.param(CHUNKED, b'5\r\nabc', True, 400, id='cut in a chunk'),
    pytest.param(CHUNKED, b'3\r\nabc\r\n0\r\n', True, 400, id='cut before the last empty line'),
    pytest.param(CHUNKED, b'3\r\nabcd\r\n0\r\n\r\n', False, 400, id='a chunk that is too long'),
    pytest.param(CHUNKED, b'3\r\nabc\r\n0\r\nHost: x\r\n\r\n', False, 400, id='a trailer that frames'),
    pytest.param(CHUNKED, b'3\r\nabc\r\n+5\r\nabcde\r\n0\r\n\r\n', False, 400, id='a size with a sign'),
    pytest.param(CHUNKED, b'3\r\nabc\r\n62\r\n' + b'x' * 98, False, 413, id='above max_body'),
]


@pytest.mark.parametrize(('field', 'body', 'ends', 'status'), WRONG)
def test_a_wrong_body_raises_and_is_answered(
    stream: Serve, log: Log, field: str, body: bytes, ends: bool, status: int
) -> None:
    raised: list[BaseException] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            environ['wsgi.input'].read()
        except OSError as error:
            raised.append(error)
            raise
        start_response('200 OK', list(PLAIN))
        return [b'taken for whole']

    client = stream(app, max_body=100).connect()
    upload(client, field, body=body)
    if ends:
        client.half_close()
    response = client.response()
    assert response.status == status
    assert response.headers['connection'] == 'close'
    assert client.is_closed()
    assert isinstance(raised[0], BodyError)
    assert 'the application failed' not in log.text


def test_a_wrong_body_stays_wrong(stream: Serve, gate: Gate) -> None:
    app = Reader(gate, lambda file: file.read(3), lambda file: file.read(), lambda file: file.read(1))
    client = stream(app).connect()
    upload(client, 'Content-Length: 6', body=b'abcd')
    client.half_close()
    gate.let(4)
    response = client.response()
    assert response.body == b'read', 'an application may have its own answer to it'
    assert response.headers['connection'] == 'close'
    assert app.pieces[0] == b'abc'
    assert [type(piece) for piece in app.pieces[1:]] == [BodyError, BodyError]


def test_a_wrong_body_after_the_head_breaks_the_response_off(stream: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        yield b'first'
        yield environ['wsgi.input'].read()

    client = stream(app).connect()
    upload(client, CHUNKED, body=b'nonsense\r\n')
    assert b'\r\n0\r\n' not in client.rest(), 'without a last chunk the client knows'


def test_a_reset_raises_that_the_client_is_gone(stream: Serve, gate: Gate) -> None:
    app = Reader(gate, lambda file: file.read())
    worker = stream(app)
    client = worker.connect()
    upload(client, 'Content-Length: 4', body=b'ab')
    gate.arrival()
    gate.let()
    worker.until_parked(1)
    client.reset()
    assert gate.arrival() == 'done'
    gate.let()
    worker.until_connected(0)
    assert isinstance(app.pieces[0], ClientGone)


# --- clients that are slow, and threads that wait -----------------------------------------------------------------


def test_back_pressure(stream: Serve, gate: Gate) -> None:
    """What the application doesn't ask for stays with the client: kernel buffers are all that fills."""
    app = Reader(gate, lambda file: file.read())
    client = stream(app).connect()
    size = 200_000_000
    upload(client, f'Content-Length: {size}')
    gate.arrival()
    client.sock.setblocking(False)
    sent = 0
    piece = b'x' * 1_000_000
    with pytest.raises(BlockingIOError):
        while True:
            sent += client.sock.send(piece)
    assert sent < size / 4
    client.reset()
    gate.let(2)


@pytest.mark.parametrize('max_parked', [0, 1])
def test_a_slow_body_costs_no_thread_where_threads_may_park(stream: Serve, max_parked: int) -> None:
    worker = stream(echo, threads=2, max_parked=max_parked)
    slow = worker.connect()
    upload(slow, 'Content-Length: 2', body=b'a')
    worker.until_parked(1)
    assert len(worker.loop.crew.running) == 1 - max_parked
    for _ in range(3):
        assert worker.connect().get('/other').body == b'/other '
    slow.send(b'b')
    assert slow.response().body == b'/ ab'


def test_many_slow_bodies_on_one_thread(stream: Serve) -> None:
    worker = stream(echo, threads=1)
    slow = [worker.connect() for _ in range(20)]
    for client in slow:
        upload(client, 'Content-Length: 2', body=b'a')
    worker.until_parked(20)
    assert worker.connect().get('/fresh').body == b'/fresh '
    for client in reversed(slow):
        client.send(b'b')
        assert client.response().body == b'/ ab'


def test_all_threads_wait_for_bodies_and_one_comes(stream: Serve) -> None:
    worker = stream(echo, threads=1, max_parked=0)
    slow = worker.connect()
    upload(slow, 'Content-Length: 2', body=b'a')
    worker.until_parked(1)
    other = worker.connect()
    other.send(request('GET', '/other'))
    slow.send(b'b')
    assert slow.response().body == b'/ ab'
    assert other.response().body == b'/other '


def test_a_body_below_min_rate_is_answered_408(stream: Serve, monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    monkeypatch.setattr(pace, 'GRACE', SHORT)
    app = Reader(gate, lambda file: file.read())
    worker = stream(app, keepalive_timeout=SHORT)
    client = worker.connect()
    upload(client, 'Content-Length: 1000', body=b'x')
    gate.let(1)
    assert [gate.arrival(), gate.arrival()] == ['', 'done']
    assert isinstance(app.pieces[0], BodyError)
    assert app.pieces[0].status == 408
    gate.let()
    assert client.response().body == b'read'
    assert client.is_closed()


def test_the_time_an_application_takes_is_not_the_clients(
    stream: Serve, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    monkeypatch.setattr(pace, 'GRACE', SHORT)
    app = Reader(gate, lambda file: file.read(1), lambda file: file.read(1))
    worker = stream(app, keepalive_timeout=SHORT)
    client = worker.connect()
    upload(client, 'Content-Length: 2')
    gate.let(1)
    worker.until_parked(1)
    client.send(b'a')
    assert [gate.arrival(), gate.arrival()] == ['', '']
    threading.Event().wait(3 * SHORT)  # the application computes: a time that nothing else measures
    gate.let(1)
    worker.until_parked(1)
    client.send(b'b')
    assert gate.arrival() == 'done'
    gate.let()
    assert client.response().body == b'read'
    assert app.pieces == [b'a', b'b']


def test_a_loop_that_ends_lets_the_thread_go(stream: Serve, gate: Gate) -> None:
    app = Reader(gate, lambda file: file.read())
    worker = stream(app)
    upload(worker.connect(), 'Content-Length: 2', body=b'a')
    gate.let(1)
    worker.until_parked(1)
    worker.loop.call_soon_threadsafe(worker.loop.stop)
    worker.join()
    assert [gate.arrival(), gate.arrival()] == ['', 'done']
    assert isinstance(app.pieces[0], ClientGone)


def test_a_thread_of_the_applications_own_may_read(stream: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        pieces: list[bytes] = []
        thread = threading.Thread(target=lambda: pieces.append(environ['wsgi.input'].read()))
        thread.start()
        thread.join(DEADLINE)
        start_response('200 OK', list(PLAIN))
        return pieces

    worker = stream(app)
    client = worker.connect()
    upload(client, 'Content-Length: 2', body=b'a')
    worker.until_parked(1)
    client.send(b'b')
    assert client.response().body == b'ab'


def test_an_echo_of_a_body_that_still_comes(stream: Serve) -> None:
    """Both directions at once: each block goes out before the next one comes in."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        while block := environ['wsgi.input'].read(1000):
            yield block

    client = stream(app).connect()
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    upload(client, 'Content-Length: 5000')
    for letter in (b'a', b'b', b'c', b'd', b'e'):
        client.send(letter * 1000)
        client.read_past(letter * 1000)
    assert client.rest() == b'\r\n0\r\n\r\n'
