"""HTTP/1.1 as a client sees it: what persists, in which order answers come, and what a cut request does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from prefork.worker import connection
from tests.worker.applications import gated
from tests.worker.harness import DEADLINE, echo, hello, request

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, Gate, Log, StartResponse


class Calls:
    """An application that remembers the requests it was called for."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.paths.append(environ['PATH_INFO'])
        return echo(environ, start_response)


# --- persistence --------------------------------------------------------------------------------------------------

PERSISTENCE = [
    # name, version, Connection field of the request, whether it persists, Connection field of the response
    ('1.1', '1.1', None, True, None),
    ('1.1, close', '1.1', 'close', False, 'close'),
    ('1.1, Close among others', '1.1', 'foo, Close', False, 'close'),
    ('1.1, keep-alive', '1.1', 'keep-alive', True, None),
    ('1.0', '1.0', None, False, 'close'),
    ('1.0, keep-alive', '1.0', 'keep-alive', True, 'keep-alive'),
    ('1.0, Keep-Alive', '1.0', 'Keep-Alive', True, 'keep-alive'),
    ('1.0, keep-alive and close', '1.0', 'keep-alive, close', False, 'close'),
]


@pytest.mark.parametrize(
    ('version', 'field', 'persists', 'answer'), [pytest.param(*row[1:], id=row[0]) for row in PERSISTENCE]
)
def test_persistence(serve: Serve, version: str, field: str | None, persists: bool, answer: str | None) -> None:
    client = serve(hello).connect()
    fields = () if field is None else (f'Connection: {field}',)
    client.send(request('GET', '/', *fields, version=version))
    response = client.response()
    assert (response.status, response.body) == (200, b'hello')
    assert response.headers.get('connection') == answer
    if not persists:
        assert client.is_closed()
        return
    for _ in range(3):
        client.send(request('GET', '/', *fields, version=version))
        assert client.response().body == b'hello'


def test_keep_alive_can_be_turned_off(serve: Serve) -> None:
    client = serve(hello, keep_alive=False).connect()
    assert client.get().headers['connection'] == 'close'
    assert client.is_closed()


def test_an_answer_to_1_0_without_a_length_ends_with_the_connection(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])
        yield b'one '
        yield b'two'

    client = serve(app).connect()
    client.send(request(version='1.0') + request(version='1.0'))
    answer = client.rest()
    assert answer.endswith(b'\r\n\r\none two')
    assert b'Transfer-Encoding' not in answer
    assert answer.count(b'HTTP/1.1 200 OK') == 1


# --- order --------------------------------------------------------------------------------------------------------


def test_ten_requests_in_one_write_are_answered_in_order(serve: Serve) -> None:
    client = serve(echo).connect()
    client.send(b''.join(request('GET', f'/{number}') for number in range(10)))
    assert [client.response().body for _ in range(10)] == [b'/%d ' % number for number in range(10)]


def test_a_slow_request_in_the_middle_keeps_its_place(serve: Serve, gate: Gate) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/4':
            gate.enter()
        return echo(environ, start_response)

    worker = serve(app)
    client = worker.connect()
    client.send(b''.join(request('GET', f'/{number}') for number in range(10)))
    assert [client.response().body for _ in range(4)] == [b'/0 ', b'/1 ', b'/2 ', b'/3 ']
    gate.arrival()
    assert worker.connect().get('/other').body == b'/other ', 'by then another thread leads'
    assert client.is_quiet()
    gate.let()
    assert [client.response().body for _ in range(6)] == [b'/%d ' % number for number in range(4, 10)]


def test_a_request_that_comes_while_another_runs_is_answered_after_it(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate))
    client = worker.connect()
    client.send(request('GET', '/slow'))
    gate.arrival()
    client.send(request('GET', '/next'))
    assert worker.connect().get('/other').body == b'/other '
    gate.let()
    assert [client.response().body for _ in range(2)] == [b'/slow ', b'/next ']


def test_close_ends_a_pipeline(serve: Serve) -> None:
    """RFC 9112 9.6: what a client sends after it asked for the end is not served."""
    calls = Calls()
    client = serve(calls).connect()
    client.send(request('GET', '/1') + request('GET', '/2', 'Connection: close') + request('GET', '/3'))
    assert [client.response().body for _ in range(2)] == [b'/1 ', b'/2 ']
    assert client.is_closed()
    assert calls.paths == ['/1', '/2']


def test_empty_lines_before_a_request_are_skipped(serve: Serve) -> None:
    client = serve(echo).connect()
    client.send(b'\r\n' + request('POST', '/1', 'Content-Length: 3', body=b'abc') + b'\r\n\r\n' + request('GET', '/2'))
    assert [client.response().body for _ in range(2)] == [b'/1 abc', b'/2 ']


# --- bodies in ----------------------------------------------------------------------------------------------------

BODY = bytes(range(256))
COUNTED = request('POST', '/in', f'Content-Length: {len(BODY)}', body=BODY)
CHUNKED = request(
    'POST',
    '/in',
    'Transfer-Encoding: chunked',
    body=b'1\r\n%b\r\n' % BODY[:1]
    + b'F0;name="value"\r\n%b\r\n' % BODY[1:241]
    + b'00f\r\n%b\r\n0\r\nChecksum: dropped\r\n\r\n' % BODY[241:],
)
NEXT = request('GET', '/next')
EMPTY_LINE = b'\r\n'


def in_one_write(data: bytes) -> list[bytes]:
    return [data]


def head_then_body(data: bytes) -> list[bytes]:
    end = data.index(b'\r\n\r\n') + 4
    return [data[:end], data[end:]]


def body_in_two(data: bytes) -> list[bytes]:
    end = data.index(b'\r\n\r\n') + 104
    return [data[:end], data[end:]]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


@pytest.mark.parametrize('feed', [in_one_write, head_then_body, body_in_two, byte_by_byte])
@pytest.mark.parametrize(
    ('data', 'answers'),
    [
        pytest.param(COUNTED, [b'/in ' + BODY], id='counted'),
        pytest.param(CHUNKED, [b'/in ' + BODY], id='chunked'),
        pytest.param(COUNTED + NEXT, [b'/in ' + BODY, b'/next '], id='counted, and a request behind'),
        pytest.param(CHUNKED + NEXT, [b'/in ' + BODY, b'/next '], id='chunked, and a request behind'),
        pytest.param(EMPTY_LINE + CHUNKED, [b'/in ' + BODY], id='an empty line before'),
        pytest.param(COUNTED + EMPTY_LINE + NEXT, [b'/in ' + BODY, b'/next '], id='an empty line between the two'),
    ],
)
def test_bodies(serve: Serve, feed: Any, data: bytes, answers: list[bytes]) -> None:
    worker = serve(echo)
    client = worker.connect()
    for piece in feed(data):
        client.send(piece)
        worker.take_turns()
    assert [client.response().body for _ in answers] == answers


def test_a_request_behind_a_large_body_is_not_part_of_it(serve: Serve, tmp_path: object) -> None:
    """The body goes to a file here: what follows must be split off all the same."""
    body = b'0123456789abcdef' * 20_000
    client = serve(echo, body_buffer=1000, spool_dir=str(tmp_path)).connect()
    client.send(request('POST', '/in', f'Content-Length: {len(body)}', body=body) + NEXT)
    assert client.response().body == b'/in ' + body
    assert client.response().body == b'/next '


def test_a_chunked_body_has_a_length_when_it_is_whole(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])
        return [environ['CONTENT_LENGTH'].encode(), b' %d' % ('HTTP_TRANSFER_ENCODING' in environ)]

    client = serve(app).connect()
    client.send(CHUNKED)
    assert client.response().body == b'256 0'


# --- bodies out ---------------------------------------------------------------------------------------------------


def generated(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [])
    yield b'one '
    yield b''
    yield b'two'


def listed(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [])
    return [b'one ', b'', b'two']


def counted(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [('Content-Length', '7')])
    yield b'one '
    yield b'two'


def empty(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [])
    return []


def empty_generator(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [])
    yield from ()


def no_content(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('204 No Content', [('Content-Length', '0')])
    return []


def no_content_with_a_body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('204 No Content', [])
    return [b'must not be sent']


def reset_content(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('205 Reset Content', [('Content-Length', '16')])
    return [b'must not be sent']


def not_modified(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('304 Not Modified', [('ETag', '"x"'), ('Content-Length', '7')])
    return [b'must not be sent']


def not_modified_generated(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('304 Not Modified', [('ETag', '"x"')])
    yield b'must not be sent'


LENGTH, CODING = 'content-length', 'transfer-encoding'


@pytest.mark.parametrize(
    ('app', 'method', 'status', 'framing', 'body'),
    [
        pytest.param(generated, 'GET', 200, {CODING: 'chunked'}, b'one two', id='a generator'),
        pytest.param(listed, 'GET', 200, {LENGTH: '7'}, b'one two', id='a list'),
        pytest.param(counted, 'GET', 200, {LENGTH: '7'}, b'one two', id='a length and a generator'),
        pytest.param(empty, 'GET', 200, {LENGTH: '0'}, b'', id='nothing'),
        pytest.param(empty_generator, 'GET', 200, {LENGTH: '0'}, b'', id='a generator of nothing'),
        pytest.param(generated, 'HEAD', 200, {}, b'', id='HEAD, a generator'),
        pytest.param(listed, 'HEAD', 200, {LENGTH: '7'}, b'', id='HEAD, a list: the length that GET has'),
        pytest.param(empty, 'HEAD', 200, {}, b'', id='HEAD, nothing: GET may have more'),
        pytest.param(counted, 'HEAD', 200, {LENGTH: '7'}, b'', id='HEAD, a length'),
        pytest.param(no_content, 'GET', 204, {}, b'', id='204: no length'),
        pytest.param(no_content_with_a_body, 'GET', 204, {}, b'', id='204: no body'),
        pytest.param(reset_content, 'GET', 205, {LENGTH: '0'}, b'', id='205: nothing, and it says so'),
        pytest.param(reset_content, 'HEAD', 205, {LENGTH: '0'}, b'', id='HEAD, 205'),
        pytest.param(not_modified, 'GET', 304, {LENGTH: '7'}, b'', id="304: the length of what isn't sent"),
        pytest.param(not_modified_generated, 'GET', 304, {}, b'', id='304: a generator'),
    ],
)
def test_framing(serve: Serve, app: Any, method: str, status: int, framing: dict[str, str], body: bytes) -> None:
    client = serve(app).connect()
    for _ in range(2):  # after each the connection must be where the client believes it to be
        client.send(request(method))
        response = client.response(method)
        assert (response.status, response.body) == (status, body)
        assert {name: value for name, value in response.headers.items() if name in (LENGTH, CODING)} == framing


def test_responses_have_a_date_and_a_server(serve: Serve) -> None:
    client = serve(hello).connect()
    names = [name for name, _ in client.get().fields]
    assert (names.count('date'), names.count('server')) == (1, 1)


def test_an_application_has_its_own_date_and_server(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [('Date', 'Sun, 06 Nov 1994 08:49:37 GMT'), ('SERVER', 'mine')])
        return []

    fields = serve(app).connect().get().fields
    assert ('date', 'Sun, 06 Nov 1994 08:49:37 GMT') in fields
    assert ('server', 'mine') in fields
    assert len(fields) == 3


# --- Expect -------------------------------------------------------------------------------------------------------

EXPECT = 'Expect: 100-continue'


@pytest.mark.parametrize(
    ('first', 'then', 'early', 'status'),
    [
        pytest.param(request('POST', '/', EXPECT, 'Content-Length: 3'), b'abc', [100], 200, id='a head alone'),
        pytest.param(
            request('POST', '/', EXPECT.upper(), 'Transfer-Encoding: chunked'),
            b'3\r\nabc\r\n0\r\n\r\n',
            [100],
            200,
            id='a head alone, chunked',
        ),
        pytest.param(request('POST', '/', EXPECT, 'Content-Length: 3', body=b'a'), b'bc', [], 200, id='body came'),
        pytest.param(request('POST', '/', EXPECT, 'Content-Length: 3', body=b'abc'), b'', [], 200, id='all came'),
        pytest.param(request('POST', '/', EXPECT, 'Content-Length: 0'), b'', [], 200, id='no body'),
        pytest.param(request('POST', '/', EXPECT, 'Content-Length: 9999'), b'', [], 413, id='too large'),
        pytest.param(
            request('POST', '/', EXPECT, 'Content-Length: 3', version='1.0'), b'abc', [], 200, id='to 1.0 it is unknown'
        ),
        pytest.param(request('POST', '/', 'Expect: magic', 'Content-Length: 3'), b'', [], 417, id='something else'),
    ],
)
def test_expect(serve: Serve, first: bytes, then: bytes, early: list[int], status: int) -> None:
    client = serve(echo, max_body=1000).connect()
    client.send(first)
    if early:
        assert client.read_past(b'\r\n\r\n') == b'HTTP/1.1 100 Continue\r\n\r\n', 'it comes before the body does'
    client.send(then)
    response = client.response()
    assert (response.status, response.early) == (status, [])
    if status == 200 and then:
        assert response.body == b'/ abc'


# --- refusals -----------------------------------------------------------------------------------------------------

LIMITS = {'max_header_line': 200, 'max_headers': 10, 'max_head': 1000, 'max_url_len': 100, 'max_body': 50}


@pytest.mark.parametrize(
    ('data', 'status'),
    [
        pytest.param(request('GET', '/' + 'x' * 100), 414, id='target too long'),
        pytest.param(b'GET /' + b'x' * 200, 414, id='target too long, the line has no end'),
        pytest.param(request('GET', '/', 'X: ' + 'x' * 200), 431, id='line too long'),
        pytest.param(request('GET', '/', 'X: ' + 'x' * 200)[:-4], 431, id='line too long, no end of the head'),
        pytest.param(request('GET', '/', *(f'X-{n}: x' for n in range(10))), 431, id='too many lines'),
        pytest.param(request('GET', '/', *(f'X{n}: {"x" * 150}' for n in range(7))), 431, id='head too large'),
        pytest.param(request('GET', '/', *(f'X{n}: {"x" * 150}' for n in range(7)))[:-4], 431, id='head has no end'),
        pytest.param(request('POST', '/', 'Content-Length: 51'), 413, id='body too large'),
        pytest.param(
            request('POST', '/', 'Transfer-Encoding: chunked', body=b'33\r\n'), 413, id='chunked body too large'
        ),
        pytest.param(
            request('POST', '/', 'Transfer-Encoding: chunked', body=b'2\r\nab\r\n' * 30), 413, id='too large in all'
        ),
        pytest.param(b'\x16\x03\x01\x02\x00\x01', 400, id='TLS'),
        pytest.param(b'GET /\r\n\r\n', 400, id='HTTP/0.9'),
        pytest.param(b'GET / HTTP/2.0\r\n\r\n', 505, id='HTTP/2'),
        pytest.param(b'GET / HTTP/1.1\r\n\r\n', 400, id='no Host'),
        pytest.param(request('GET', '/', 'Host: other'), 400, id='two Hosts'),
        pytest.param(b'GET / HTTP/1.1\nHost: x\n\n', 400, id='bare LF'),
        pytest.param(request('GET', '/', ' folded'), 400, id='folded line'),
        pytest.param(request('GET', '/', 'Name : value'), 400, id='blank before the colon'),
        pytest.param(request('POST', '/', 'Content-Length: 1', 'Transfer-Encoding: chunked'), 400, id='both framings'),
        pytest.param(request('POST', '/', 'Content-Length: 1', 'Content-Length: 1'), 400, id='two lengths'),
        pytest.param(request('POST', '/', 'Content-Length: +1'), 400, id='a length with a sign'),
        pytest.param(
            request('POST', '/', 'Transfer-Encoding: chunked', body=b'1\r\nab\r\n'), 400, id='a chunk that is too long'
        ),
        pytest.param(
            request('POST', '/', 'Transfer-Encoding: chunked', body=b'x\r\n'), 400, id='a chunk size that is none'
        ),
        pytest.param(request('POST', '/', 'Transfer-Encoding: gzip, chunked'), 501, id='a coding that we lack'),
    ],
)
def test_what_is_refused_never_reaches_the_application(serve: Serve, log: Log, data: bytes, status: int) -> None:
    calls = Calls()
    client = serve(calls, **LIMITS).connect()
    client.send(data + NEXT)
    response = client.response()
    assert response.status == status
    assert response.headers['connection'] == 'close'
    assert response.body.startswith(b'%d %b' % (status, response.reason.encode()))
    assert client.is_closed(), 'the request behind it is not served either'
    assert calls.paths == []
    assert log.text == '', 'clients must not be able to fill the error log'


def test_limits_are_inclusive(serve: Serve) -> None:
    client = serve(echo, **LIMITS).connect()
    client.send(request('POST', '/' + 'x' * 99, 'Y: ' + 'y' * 197, 'Content-Length: 50', body=b'z' * 50))
    assert client.response().status == 200


def test_requests_before_a_refused_one_are_answered(serve: Serve) -> None:
    client = serve(echo).connect()
    client.send(request('GET', '/1') + b'nonsense\r\n\r\n')
    assert client.response().body == b'/1 '
    assert client.response().status == 400
    assert client.is_closed()


def test_a_client_that_is_still_sending_sees_the_answer(serve: Serve) -> None:
    """To close a socket with unread bytes would reset the connection, and take the answer with it."""
    client = serve(hello, max_body=1000).connect()
    client.send(request('POST', '/', 'Content-Length: 1000000'))
    client.send(b'x' * 500_000)
    assert client.response().status == 413
    client.send(b'x' * 100_000)
    assert client.is_closed()


def test_a_client_that_sends_all_of_a_refused_body_sees_the_answer(serve: Serve) -> None:
    client = serve(hello, max_body=1000).connect()
    client.send(request('POST', '/', 'Content-Length: 50000000'))
    client.send(b'x' * 50_000_000)
    assert client.response().status == 413


def test_who_never_stops_sending_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, 'LONGEST_LINGER', 0.1)
    client = serve(hello, max_body=1000, keepalive_timeout=0.1).connect()
    client.send(request('POST', '/', 'Content-Length: 100000000000'))
    assert client.response().status == 413
    deadline = time.monotonic() + DEADLINE
    with pytest.raises(ConnectionError):
        while time.monotonic() < deadline:
            client.send(b'x' * 65536)


# --- ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(b'', id='nothing'),
        pytest.param(b'\r\n', id='an empty line'),
        pytest.param(b'GET / HT', id='request line'),
        pytest.param(request()[:-1], id='head'),
        pytest.param(request('POST', '/', 'Content-Length: 5', body=b'1234'), id='counted body'),
        pytest.param(request('POST', '/', 'Content-Length: 5'), id='counted body, nothing of it'),
        pytest.param(request('POST', '/', 'Transfer-Encoding: chunked', body=b'5\r\n12'), id='chunk'),
        pytest.param(request('POST', '/', 'Transfer-Encoding: chunked', body=b'1\r\nx\r\n'), id='between chunks'),
        pytest.param(request('POST', '/', 'Transfer-Encoding: chunked', body=b'1\r\nx\r\n0\r\n'), id='trailers'),
    ],
)
def test_a_request_that_was_cut_is_never_executed(serve: Serve, data: bytes) -> None:
    calls = Calls()
    client = serve(calls).connect()
    client.send(data)
    client.half_close()
    assert client.is_closed()
    assert calls.paths == []


def test_a_client_that_closes_its_side_still_gets_its_answers(serve: Serve) -> None:
    client = serve(echo).connect()
    client.send(request('GET', '/1') + request('POST', '/2', 'Content-Length: 3', body=b'abc'))
    client.half_close()
    assert [client.response().body for _ in range(2)] == [b'/1 ', b'/2 abc']
    assert client.is_closed()


def test_a_client_that_closes_its_side_while_its_request_runs_gets_its_answer(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate))
    client = worker.connect()
    client.send(request('GET', '/slow'))
    gate.arrival()
    client.half_close()
    assert worker.connect().get('/other').body == b'/other ', 'the loop goes on, and has seen the end'
    gate.let()
    assert client.response().body == b'/slow '
    assert client.is_closed()


def test_a_client_that_closes_its_side_gets_a_long_answer_whole(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])
        return [b'x' * 10_000_000]

    client = serve(app).connect(receive_buffer=4096)
    client.send(request())
    client.half_close()
    assert len(client.response().body) == 10_000_000
    assert client.is_closed()


def test_a_reset_hurts_nobody_else(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate))
    other = worker.connect()
    for data in (b'', b'GET', request('GET', '/slow')):
        client = worker.connect()
        client.send(data)
        if b'slow' in data:
            gate.arrival()
        client.reset()
        assert other.get('/x').body == b'/x '
    gate.let()
    assert other.get('/y').body == b'/y '
