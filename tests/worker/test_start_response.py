"""PEP 3333's ``start_response``: what it refuses, when the head goes out, and what ``exc_info`` does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.worker.applications import at_root, returning
from tests.worker.harness import PLAIN, Gate, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, Log, StartResponse


@pytest.mark.parametrize(
    ('status', 'headers'),
    [
        pytest.param('OK', [], id='status without a code'),
        pytest.param('200 OK\r\nX: y', [], id='status with a line end'),
        pytest.param('100 Continue', [], id='status that is not final'),
        pytest.param(b'200 OK', [], id='status in bytes'),
        pytest.param(200, [], id='status as a number'),
        pytest.param('200', [], id='status that is all code'),
        pytest.param('', [], id='empty status'),
        pytest.param('200OK', [], id='status without a blank'),
        pytest.param(' 200 OK', [], id='blank before the status'),
        pytest.param('200 OK ', [], id='blank behind the status'),
        pytest.param('200  OK', [], id='two blanks in the status'),
        pytest.param('200 OK\t', [], id='status with a control'),
        pytest.param('20 OK', [], id='code of two digits'),
        pytest.param('2000 OK', [], id='code of four digits'),
        pytest.param('101 Switching Protocols', [], id='status of a protocol that we do not speak'),
        pytest.param('200 \u20ac', [], id='status beyond latin-1'),
        pytest.param(None, [], id='no status'),
        pytest.param('200 OK', (), id='headers in a tuple'),
        pytest.param('200 OK', None, id='no headers'),
        pytest.param('200 OK', {}, id='headers in a dict'),
        pytest.param('200 OK', ['X: y'], id='header in one str'),
        pytest.param('200 OK', [['X', 'y']], id='header in a list'),
        pytest.param('200 OK', [('X', 'y', 'z')], id='header in three parts'),
        pytest.param('200 OK', [('X', 1)], id='value as a number'),
        pytest.param('200 OK', [('X', b'y')], id='value in bytes'),
        pytest.param('200 OK', [(b'X', 'y')], id='name in bytes'),
        pytest.param('200 OK', [('X:', 'y')], id='name with a colon'),
        pytest.param('200 OK', [('X Y', 'z')], id='name with a blank'),
        pytest.param('200 OK', [('', 'y')], id='no name'),
        pytest.param('200 OK', [('X', 'y\r\nZ: z')], id='value with a line end'),
        pytest.param('200 OK', [('X', 'y\nz')], id='value with LF'),
        pytest.param('200 OK', [('X', 'y\rz')], id='value with CR'),
        pytest.param('200 OK', [('X', 'y\0')], id='value with NUL'),
        pytest.param('200 OK', [('X', '\x7f')], id='value with DEL'),
        pytest.param('200 OK', [('X', 'y\tz')], id='value with HTAB'),
        pytest.param('200 OK', [('X', 'y\n')], id='value that ends with LF'),
        pytest.param('200 OK', [('X', None)], id='value that is None'),
        pytest.param('200 OK', [('X\r\nZ', 'y')], id='name with a line end'),
        pytest.param('200 OK', [('\xe9', 'y')], id='name beyond ASCII'),
        pytest.param('200 OK', [None], id='header that is None'),
        pytest.param('200 OK', iter([('X', 'y')]), id='headers in an iterator'),
        pytest.param('200 OK', [('X', '\u20ac')], id='value beyond latin-1'),
        pytest.param('200 OK', [('Connection', 'close')], id='hop-by-hop: Connection'),
        pytest.param('200 OK', [('transfer-encoding', 'chunked')], id='hop-by-hop: Transfer-Encoding'),
        pytest.param('200 OK', [('Upgrade', 'x')], id='hop-by-hop: Upgrade'),
        pytest.param('200 OK', [('Keep-Alive', 'timeout=5')], id='hop-by-hop: Keep-Alive'),
        pytest.param('200 OK', [('Trailers', 'x')], id='hop-by-hop: Trailers'),
        pytest.param('200 OK', [('Content-Length', '-1')], id='length that is none'),
        pytest.param('200 OK', [('Content-Length', 'abc')], id='length in letters'),
        pytest.param('200 OK', [('Content-Length', '')], id='empty length'),
        pytest.param('200 OK', [('Content-Length', '1.0')], id='length with a fraction'),
        pytest.param('200 OK', [('Content-Length', '\u0661')], id='length in other digits'),
        pytest.param('200 OK', [('Content-Length', '9' * 5000)], id='length that int() refuses'),
        pytest.param('200 OK', [('Content-Length', '0' * 5000)], id='length of zeros that int() refuses'),
        pytest.param('200 OK', [('Content-Length', '1'), ('Content-Length', '2')], id='two lengths that differ'),
        pytest.param('200 OK', [('Content-Length', '1'), ('content-length', '1')], id='two lengths'),
    ],
)
def test_a_malformed_head_is_a_500(serve: Serve, log: Log, status: Any, headers: Any) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, headers)
        return [b'x']

    client = serve(at_root(app)).connect()
    for method in ('GET', 'GET', 'HEAD'):  # what was refused once must not be remembered as known
        client.send(request(method))
        response = client.response(method)
        assert (response.status, response.reason) == (500, 'Internal Server Error')
        assert b'200' not in response.body
    assert log.text.count('/ HTTP/1.1: the application failed') == 3
    assert 'ApplicationError' in log.text
    assert client.get('/works').body == b'hello', 'the connection and the worker go on'


def test_a_malformed_head_in_the_first_next(serve: Serve, log: Log) -> None:
    """``start_response`` may be called as late as there, and raises there."""
    raised: list[BaseException] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            start_response('200', [])
        except Exception as error:
            raised.append(error)
            raise
        yield b'never'

    client = serve(at_root(app)).connect()
    assert client.get().status == 500
    assert 'is not three digits, a blank and a reason' in str(raised[0])
    assert client.get('/works').body == b'hello'


def test_what_was_refused_may_be_said_right(serve: Serve, log: Log) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        with pytest.raises(Exception, match='Content-Length'):
            start_response('200 OK', [('Content-Length', 'x')])
        start_response('201 Created', [])
        return [b'x']

    assert serve(app).connect().get().status == 201
    assert log.text == ''


def test_headers_that_are_changed_afterwards(serve: Serve, log: Log) -> None:
    """PEP 3333: the list is the server's from then on.  It has read it already."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        headers = [('X', 'y')]
        start_response('200 OK', headers)
        headers.append(('Z', 'a\r\nInjected: b'))
        return [b'x']

    response = serve(at_root(app)).connect().get()
    assert response.headers['x'] == 'y'
    assert response.body == b'x'
    assert not {'z', 'injected'} & set(response.headers)


def test_values_may_be_latin_1(serve: Serve) -> None:
    client = serve(returning([b''], ('X', 'caf\xe9'), status='299 D\xe9j\xe0')).connect()
    response = client.get()
    assert (response.status, response.reason) == (299, 'D\xe9j\xe0')
    assert response.headers['x'] == 'caf\xe9'


def test_start_response_twice(serve: Serve, log: Log) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])
        start_response('201 Created', [])
        return [b'x']

    assert serve(app).connect().get().status == 500
    assert 'start_response was called twice without exc_info' in log.text


def test_no_start_response(serve: Serve, log: Log) -> None:
    worker = serve(lambda environ, start_response: [b'x'])
    assert worker.connect().get().status == 500
    assert 'without start_response' in log.text


def failing_start(start_response: StartResponse, status: str = '503 Sorry') -> Callable[[bytes], object]:
    """Replace the response as applications do that have an error to report."""
    try:
        raise LookupError('what the application met')
    except LookupError:
        return start_response(status, list(PLAIN), sys.exc_info())


def test_exc_info_replaces_a_head_that_is_not_out(serve: Serve, log: Log) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [('X', 'y')])
        yield b''
        failing_start(start_response)
        yield b'sorry'

    response = serve(app).connect().get()
    assert (response.status, response.body) == (503, b'sorry')
    assert 'x' not in response.headers
    assert log.text == ''


def test_exc_info_replaces_a_head_before_a_list(serve: Serve, log: Log) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [('Content-Length', '1000')])
        failing_start(start_response)
        failing_start(start_response, '504 Later')
        return [b'sorry']

    client = serve(app).connect()
    for _ in range(2):
        response = client.get()
        assert (response.status, response.body) == (504, b'sorry')
        assert response.headers['content-length'] == '5', 'the length of what was replaced is gone, too'
    assert log.text == ''


def test_exc_info_after_write_is_raised_again(serve: Serve, log: Log) -> None:
    raised: list[BaseException] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])(b'first')
        try:
            failing_start(start_response)
        except LookupError as error:
            raised.append(error)
            raise
        return [b'never']

    client = serve(app).connect()
    client.send(request())
    assert client.rest().endswith(b'5\r\nfirst\r\n')
    assert raised[0].args == ('what the application met',)
    assert raised[0].__traceback__ is not None


def test_an_application_may_go_on_after_what_was_raised_again(serve: Serve, log: Log) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])
        yield b'one '
        with pytest.raises(LookupError):
            failing_start(start_response)
        yield b'two'

    assert serve(app).connect().get().body == b'one two'
    assert log.text == ''


def test_exc_info_as_the_first_call(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        failing_start(start_response)
        return [b'sorry']

    assert serve(app).connect().get().status == 503


def test_exc_info_is_raised_again_once_the_head_is_out(serve: Serve, log: Log) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])
        yield b'first'
        failing_start(start_response)
        yield b'never'

    client = serve(app).connect()
    client.send(request())
    answer = client.rest()
    assert answer.endswith(b'5\r\nfirst\r\n'), 'no last chunk: the client must know that this is not all'
    assert 'LookupError: what the application met' in log.text


def test_the_head_waits_for_the_first_block_that_is_not_empty(serve: Serve, gate: Gate) -> None:
    def blocks() -> Iterator[bytes]:
        yield b''
        gate.enter()
        yield b'x'
        gate.enter()

    client = serve(returning(blocks())).connect()
    client.send(request())
    gate.arrival()
    assert client.is_quiet()
    gate.let()
    gate.arrival()
    assert client.read_past(b'\r\n\r\n').startswith(b'HTTP/1.1 200 OK\r\n')
    assert client.read_past(b'x\r\n') == b'1\r\nx\r\n', 'and a block is sent when it is there'
    gate.let()
    assert client.read_past(b'\r\n\r\n') == b'0\r\n\r\n'
