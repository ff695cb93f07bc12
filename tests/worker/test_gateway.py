"""PEP 3333 over the whole path: from a client's bytes through an application, right or wrong, to what comes back."""

from __future__ import annotations

import io
import sys
import threading
from typing import TYPE_CHECKING
from wsgiref.validate import validator

import pytest

from prefork.errors import ClientGone
from tests.worker.harness import DEADLINE, PLAIN, Gate, hello, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from tests.worker.conftest import Serve
    from tests.worker.harness import App, Environ, Log, StartResponse


class Body:
    """An iterable of blocks that counts its ``close()``.  A block that is an exception is raised, one that can be
    called is called first."""

    def __init__(self, *blocks: Any) -> None:
        self._blocks = iter(blocks)
        self.asked = 0
        self.closed = 0
        self.close_called = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.asked += 1
        block = next(self._blocks)
        if callable(block):
            block = block()
        if isinstance(block, BaseException):
            raise block
        assert isinstance(block, bytes | str)
        return block  # type: ignore[return-value]  # a str is what some cases are about

    def close(self) -> None:
        self.closed += 1
        self.close_called.set()


def returning(result: Any, *headers: tuple[str, str], status: str = '200 OK') -> App:
    """An application that gives ``result`` at ``/``, and works at every other path."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/':
            return hello(environ, start_response)
        start_response(status, [*PLAIN, *headers])
        return result  # type: ignore[no-any-return]

    return app


def at_root(function: App) -> App:
    """``function`` at ``/``, and an application that works at every other path."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return function(environ, start_response) if environ['PATH_INFO'] == '/' else hello(environ, start_response)

    return app


# --- wsgiref.validate ---------------------------------------------------------------------------------------------


def gives_list(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', list(PLAIN))
    return [b'one ', b'two']


def gives_generator(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', list(PLAIN))
    return (block for block in (b'one ', b'', b'two'))


def starts_late(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    def blocks() -> Iterator[bytes]:
        start_response('200 OK', list(PLAIN))
        yield b'one '
        yield b'two'

    return blocks()


def writes(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response('200 OK', list(PLAIN))
    write(b'one ')
    write(b'two')
    return []


def writes_and_gives(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response('200 OK', list(PLAIN))
    write(b'one ')
    return [b'two']


def wraps_a_file(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', list(PLAIN))
    result: Iterable[bytes] = environ['wsgi.file_wrapper'](io.BytesIO(b'one two'))
    return result


def reads_its_input(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    stream = environ['wsgi.input']
    start_response('200 OK', list(PLAIN))
    expected = b'a\nb\nc' if environ['REQUEST_METHOD'] == 'POST' else b''
    read = stream.readline() + stream.read(1) + b''.join(stream) + stream.read(100)
    assert read == expected, read
    print('this is for the log', file=environ['wsgi.errors'])
    return [b'one two']


@pytest.mark.parametrize('method', ['GET', 'POST', 'HEAD'])
@pytest.mark.parametrize(
    'app',
    [gives_list, gives_generator, starts_late, writes, writes_and_gives, wraps_a_file, reads_its_input],
    ids=lambda app: app.__name__,
)
def test_the_validator_has_nothing_to_say(
    serve: Serve, log: Log, capsys: pytest.CaptureFixture[str], app: App, method: str
) -> None:
    client = serve(validator(app)).connect()
    for version in ('1.1', '1.0'):
        body = b'a\nb\nc' if method == 'POST' else b''
        fields = [f'Content-Length: {len(body)}'] if body else []
        client.send(request(method, '/path?query', *fields, version=version, body=body))
        response = client.response(method)
        assert (response.status, response.body) == (200, b'' if method == 'HEAD' else b'one two')
    assert client.is_closed()
    assert log.text == ''
    assert capsys.readouterr().err.replace('this is for the log\n', '') == '', 'an iterator that was never closed'


# --- start_response -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('status', 'headers'),
    [
        pytest.param('OK', [], id='status without a code'),
        pytest.param('200', [], id='status without a reason'),
        pytest.param('200 OK\r\nX: y', [], id='status with a line end'),
        pytest.param('100 Continue', [], id='status that is not final'),
        pytest.param(b'200 OK', [], id='status in bytes'),
        pytest.param(200, [], id='status as a number'),
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
        pytest.param('200 OK', [('X', '\u20ac')], id='value beyond latin-1'),
        pytest.param('200 OK', [('Connection', 'close')], id='hop-by-hop: Connection'),
        pytest.param('200 OK', [('transfer-encoding', 'chunked')], id='hop-by-hop: Transfer-Encoding'),
        pytest.param('200 OK', [('Upgrade', 'x')], id='hop-by-hop: Upgrade'),
        pytest.param('200 OK', [('Content-Length', '-1')], id='length that is none'),
        pytest.param('200 OK', [('Content-Length', '1'), ('content-length', '1')], id='two lengths'),
    ],
)
def test_a_malformed_head_is_a_500(serve: Serve, log: Log, status: Any, headers: Any) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, headers)
        return [b'x']

    client = serve(at_root(app)).connect()
    for _ in range(2):  # what was refused once must not be remembered as known
        response = client.get()
        assert (response.status, response.reason) == (500, 'Internal Server Error')
        assert b'200' not in response.body
    assert log.text.count('GET / HTTP/1.1: the application failed') == 2
    assert 'ApplicationError' in log.text
    assert client.get('/works').body == b'hello', 'the connection and the worker go on'


def test_values_may_be_latin_1(serve: Serve) -> None:
    client = serve(returning([b''], ('X', 'caf\xe9\ttab'), status='299 D\xe9j\xe0')).connect()
    response = client.get()
    assert (response.status, response.reason) == (299, 'D\xe9j\xe0')
    assert response.headers['x'] == 'caf\xe9\ttab'


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


@pytest.mark.parametrize('result', [None, 1, object()], ids=['None', 'a number', 'an object'])
def test_what_is_no_iterable(serve: Serve, log: Log, result: object) -> None:
    assert serve(returning(result)).connect().get().status == 500
    assert 'TypeError' in log.text


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


def test_write_sends_at_once(serve: Serve, gate: Gate) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response('200 OK', [])
        write(b'')
        write(b'one')
        gate.enter()
        return [b'two']

    client = serve(app).connect()
    client.send(request())
    gate.arrival()
    assert client.read_past(b'one\r\n').endswith(b'3\r\none\r\n')
    gate.let()
    assert client.read_past(b'0\r\n\r\n') == b'3\r\ntwo\r\n0\r\n\r\n'


# --- errors -------------------------------------------------------------------------------------------------------


def fails_before(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError('before')


def fails_after(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [('X', 'y')])
    raise LookupError('after')


def fails_in_the_first_next(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [])
    yield b''
    raise LookupError('next')


def exits(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    sys.exit('exit')


def is_interrupted(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    raise KeyboardInterrupt


def stops(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    raise GeneratorExit


@pytest.mark.parametrize(
    'app',
    [fails_before, fails_after, fails_in_the_first_next, exits, is_interrupted, stops],
    ids=lambda app: app.__name__,
)
@pytest.mark.parametrize('method', ['GET', 'HEAD'])
def test_an_exception_before_the_head_is_out_is_a_500(serve: Serve, log: Log, app: App, method: str) -> None:
    client = serve(at_root(app)).connect()
    client.send(request(method))
    response = client.response(method)
    assert response.status == 500
    assert response.headers['content-type'].startswith('text/plain')
    assert response.body == (b'' if method == 'HEAD' else b'500 Internal Server Error\n'), 'no detail is for clients'
    assert 'x' not in response.headers
    assert f'{method} / HTTP/1.1: the application failed' in log.text
    assert 'Traceback' in log.text
    assert client.get('/works').body == b'hello'


@pytest.mark.parametrize(
    ('blocks', 'status'),
    [
        pytest.param(['text'], 500, id='str in a list'),
        pytest.param(['one ', 'two'], 500, id='several str in a list'),
        pytest.param([bytearray(b'x')], 500, id='bytearray in a list'),
        pytest.param(('text',), 500, id='str in a tuple'),
        pytest.param('text', 500, id='a str'),
        pytest.param(Body('text'), 500, id='str in an iterable'),
        pytest.param(iter([None]), 500, id='None in an iterable'),
    ],
)
def test_blocks_that_are_not_bytes(serve: Serve, log: Log, blocks: Any, status: int) -> None:
    client = serve(returning(blocks)).connect()
    assert client.get().status == status
    assert 'bytes' in log.text
    assert client.get('/works').body == b'hello'


def test_write_takes_bytes_alone(serve: Serve, log: Log) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        text: Any = 'text'
        start_response('200 OK', [])(text)
        return []

    assert serve(app).connect().get().status == 500
    assert 'must be bytes, not str' in log.text


def test_an_exception_in_the_middle_ends_the_connection_without_a_last_chunk(serve: Serve, log: Log) -> None:
    body = Body(b'first', LookupError('middle'))
    client = serve(returning(body)).connect()
    client.send(request())
    assert client.rest().endswith(b'\r\n\r\n5\r\nfirst\r\n')
    assert body.closed == 1
    assert 'LookupError: middle' in log.text


def test_an_exception_in_the_middle_of_a_counted_body(serve: Serve) -> None:
    client = serve(returning(Body(b'first', LookupError()), ('Content-Length', '10'))).connect()
    client.send(request())
    assert client.rest().endswith(b'\r\n\r\nfirst')


def test_an_exception_in_the_middle_of_a_body_that_the_connection_ends_is_a_reset(serve: Serve) -> None:
    """HTTP/1.0 has no other way to tell a body that was cut from one that is whole."""
    client = serve(returning(Body(b'first', LookupError()))).connect()
    client.send(request(version='1.0'))
    with pytest.raises(ConnectionResetError):
        client.rest()


def test_an_exception_in_close_costs_nothing_but_a_log_entry(serve: Serve, log: Log) -> None:
    class Sticky(Body):
        def close(self) -> None:
            super().close()
            raise LookupError('close')

    body = Sticky(b'x')
    client = serve(returning(body)).connect()
    assert client.get().body == b'x'
    log.wait_for('close() of the response failed')
    log.wait_for('LookupError: close')
    assert body.closed == 1
    assert client.get('/works').body == b'hello'


def test_a_close_that_cannot_even_be_looked_up(serve: Serve, log: Log) -> None:
    class Tricky(Body):
        @property
        def close(self) -> Any:
            raise LookupError('no close')

    worker = serve(returning(Tricky(b'x')))
    client = worker.connect()
    assert client.get().body == b'x'
    log.wait_for('LookupError: no close')
    assert client.get('/works').body == b'hello'


# --- lengths ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'blocks', [[b'abc'], [b'a', b'bc'], Body(b'abc'), (b for b in (b'a', b'bc'))], ids=['list', 'lists', 'body', 'gen']
)
def test_a_body_that_is_too_short_ends_the_connection(serve: Serve, log: Log, blocks: Any) -> None:
    client = serve(returning(blocks, ('Content-Length', '5'))).connect()
    client.send(request())
    assert client.rest().endswith(b'\r\n\r\nabc')
    assert 'GET / HTTP/1.1: the body is 2 bytes shorter than its Content-Length' in log.text


def test_no_body_where_one_was_announced(serve: Serve, log: Log) -> None:
    client = serve(returning([], ('Content-Length', '5'))).connect()
    client.send(request())
    assert client.rest().endswith(b'\r\n\r\n')
    assert '5 bytes shorter' in log.text


@pytest.mark.parametrize('length', [0, 3, 4])
@pytest.mark.parametrize('kind', [list, iter, lambda blocks: Body(*blocks)], ids=['list', 'iterator', 'body'])
def test_a_body_that_is_too_long_is_cut(serve: Serve, log: Log, kind: Any, length: int) -> None:
    client = serve(returning(kind([b'abc', b'defg']), ('Content-Length', str(length)))).connect()
    assert client.get().body == b'abcdefg'[:length]
    assert client.get('/works').body == b'hello', 'the next response begins where the client expects it'
    assert log.text.count('the body is longer than its Content-Length') == 1


def test_write_past_the_content_length_is_an_error(serve: Serve, log: Log) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response('200 OK', [('Content-Length', '4')])
        write(b'abc')
        write(b'defg')
        return []

    client = serve(app).connect()
    client.send(request())
    assert client.rest().endswith(b'\r\n\r\nabcd')
    assert 'write() went past the Content-Length' in log.text


def test_write_where_no_body_is_sent(serve: Serve, log: Log) -> None:
    client = serve(writes).connect()
    for _ in range(2):
        client.send(request('HEAD'))
        assert client.response('HEAD').status == 200
    assert log.text == ''


@pytest.mark.parametrize(
    ('method', 'status', 'headers'),
    [
        pytest.param('HEAD', '200 OK', (), id='HEAD'),
        pytest.param('HEAD', '200 OK', (('Content-Length', '3'),), id='HEAD with a length'),
        pytest.param('GET', '204 No Content', (), id='204'),
        pytest.param('GET', '304 Not Modified', (), id='304'),
        pytest.param('GET', '200 OK', (('Content-Length', '3'),), id='a length'),
    ],
)
def test_nobody_asks_for_blocks_that_can_not_be_sent(
    serve: Serve, method: str, status: str, headers: tuple[tuple[str, str], ...]
) -> None:
    """An endless response, such as a stream of events, would never be done."""
    body = Body(*[b'abc'] * 1000)
    client = serve(returning(body, *headers, status=status)).connect()
    client.send(request(method))
    client.response(method)
    assert client.get('/works').body == b'hello'
    assert body.asked <= 2
    assert body.closed == 1


def test_a_body_that_fits_is_run_to_its_end(serve: Serve) -> None:
    """What a generator does after its last block is done, although no byte is missing."""
    done = threading.Event()

    def blocks() -> Iterator[bytes]:
        yield b'abc'
        done.set()

    client = serve(returning(blocks(), ('Content-Length', '3'))).connect()
    assert client.get().body == b'abc'
    assert client.get('/works').body == b'hello'
    assert done.is_set()


class Single(Body):
    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize('block', [b'abc', b''])
def test_an_iterable_of_one_block_is_counted(serve: Serve, block: bytes) -> None:
    response = serve(returning(Single(block))).connect().get()
    assert response.headers['content-length'] == str(len(block))
    assert response.body == block


# --- close() ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('body', 'method', 'headers'),
    [
        pytest.param(Body(b'abc'), 'GET', (), id='exhausted'),
        pytest.param(Body(), 'GET', (), id='empty'),
        pytest.param(Body(b'abc'), 'HEAD', (), id='HEAD'),
        pytest.param(Single(b'abc'), 'GET', (), id='one block'),
        pytest.param(Body(LookupError()), 'GET', (), id='fails at once'),
        pytest.param(Body('text'), 'GET', (), id='str'),
        pytest.param(Body(b'abc'), 'GET', (('Content-Length', '2'),), id='too long'),
        pytest.param(Body(SystemExit()), 'GET', (), id='exits'),
    ],
)
def test_close_is_called_once(serve: Serve, body: Body, method: str, headers: tuple[tuple[str, str], ...]) -> None:
    client = serve(returning(body, *headers)).connect()
    client.send(request(method))
    client.response(method)
    assert client.get('/works').body == b'hello'
    assert body.closed == 1


def test_close_is_called_once_where_start_response_never_was(serve: Serve) -> None:
    body = Body(b'x')
    client = serve(at_root(lambda environ, start_response: body)).connect()
    assert client.get().status == 500
    assert client.get('/works').body == b'hello'
    assert body.closed == 1


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        pytest.param([], [b'x' * 10_000] * 100, id='before the first block'),
        pytest.param([b'first'], [b'x' * 10_000] * 100, id='after it'),
        pytest.param([b'first'], [b'', b'last'], id='before the last'),
        pytest.param([b'first'], [], id='after the last'),
    ],
)
def test_close_is_called_once_when_the_client_is_gone(
    serve: Serve, log: Log, gate: Gate, before: list[bytes], after: list[bytes]
) -> None:
    def wait() -> bytes:
        gate.enter()
        return b''

    body = Body(*before, wait, *after)
    worker = serve(returning(body))
    client = worker.connect()
    client.send(request())
    gate.arrival()
    client.reset()
    assert worker.connect().get('/works').body == b'hello'
    gate.let()
    assert body.close_called.wait(DEADLINE)
    assert worker.connect().get('/works').body == b'hello'
    assert body.closed == 1
    assert log.text == '', 'a client that leaves is no error'


def test_write_raises_when_the_client_is_gone(serve: Serve, gate: Gate) -> None:
    raised: list[BaseException] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response('200 OK', [])
        gate.enter()
        try:
            for _ in range(1000):
                write(b'x' * 10_000)
        except ConnectionError as error:
            raised.append(error)
            gate.enter()
            raise
        return []

    worker = serve(app)
    client = worker.connect()
    client.send(request())
    gate.arrival()
    client.reset()
    gate.let()
    gate.arrival()
    assert type(raised[0]) is ClientGone
    gate.let()


# --- wsgi.file_wrapper --------------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 2000


class Closing(io.FileIO):
    """A file that remembers how often it was closed by others than the garbage collector."""

    closes = 0

    def close(self) -> None:
        self.closes += not self.closed
        super().close()


def sending(file: Any, *headers: tuple[str, str], block_size: int = 8192) -> App:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/':
            return hello(environ, start_response)
        start_response('200 OK', [*PLAIN, *headers])
        result: Iterable[bytes] = environ['wsgi.file_wrapper'](file, block_size)
        return result

    return app


@pytest.mark.parametrize('opener', [Closing, lambda path: io.BufferedReader(Closing(path))], ids=['raw', 'buffered'])
@pytest.mark.parametrize(
    ('offset', 'length', 'method'),
    [
        pytest.param(0, None, 'GET', id='whole'),
        pytest.param(1000, None, 'GET', id='from an offset'),
        pytest.param(len(CONTENT), None, 'GET', id='from its end'),
        pytest.param(len(CONTENT) + 10, None, 'GET', id='from behind its end'),
        pytest.param(1000, 5000, 'GET', id='a part'),
        pytest.param(1000, 0, 'GET', id='nothing of it'),
        pytest.param(0, None, 'HEAD', id='HEAD'),
        pytest.param(0, len(CONTENT), 'HEAD', id='HEAD with a length'),
    ],
)
def test_a_file(serve: Serve, tmp_path: Any, opener: Any, offset: int, length: int | None, method: str) -> None:
    path = tmp_path / 'file'
    path.write_bytes(CONTENT)
    file = opener(path)
    file.seek(offset)
    headers = () if length is None else (('Content-Length', str(length)),)
    client = serve(sending(file, *headers)).connect()
    client.send(request(method))
    response = client.response(method)
    expected = CONTENT[offset:][:length]
    assert response.body == (b'' if method == 'HEAD' else expected)
    if method == 'GET':
        assert response.headers['content-length'] == str(len(expected))
    assert client.get('/works').body == b'hello'
    assert file.closed


def test_a_file_is_closed_once_and_sent_although_it_is_closed(serve: Serve, tmp_path: Any) -> None:
    """``close()`` comes when the application is done with it; the kernel may send from it long after."""
    path = tmp_path / 'file'
    path.write_bytes(b'x' * 8_000_000)
    file = Closing(path)
    worker = serve(sending(file))
    client = worker.connect(receive_buffer=4096)
    client.send(request())
    client.read_past(b'\r\n\r\n')
    assert worker.connect().get('/works').body == b'hello'
    assert file.closes == 1
    assert client.read(8_000_000) == b'x' * 8_000_000
    assert client.get('/works').body == b'hello'
    assert file.closes == 1


def test_a_file_that_is_shorter_than_its_content_length(serve: Serve, log: Log, tmp_path: Any) -> None:
    path = tmp_path / 'file'
    path.write_bytes(b'abc')
    client = serve(sending(path.open('rb'), ('Content-Length', '5'))).connect()
    client.send(request())
    assert client.rest().endswith(b'\r\n\r\nabc')
    assert '2 bytes shorter' in log.text


def test_a_file_that_becomes_shorter_while_it_is_sent(serve: Serve, tmp_path: Any) -> None:
    path = tmp_path / 'file'
    path.write_bytes(b'x' * 20_000_000)
    client = serve(sending(path.open('rb'))).connect(receive_buffer=4096)
    client.send(request())
    client.read_past(b'\r\n\r\n')
    path.write_bytes(b'')
    assert len(client.rest()) < 20_000_000, 'the end of the connection is what tells the client'


class Oddity(io.BytesIO):
    """A file of the application's own making, as there are: neither descriptor nor a usable position."""

    def fileno(self) -> int:
        raise OSError('no descriptor')


@pytest.mark.parametrize(
    'file',
    [io.BytesIO(CONTENT), Oddity(CONTENT), type('Bare', (), {'read': io.BytesIO(CONTENT).read})()],
    ids=['BytesIO', 'no descriptor', 'nothing but read'],
)
def test_what_is_like_a_file(serve: Serve, file: Any) -> None:
    client = serve(sending(file)).connect()
    assert client.get().body == CONTENT
    assert client.get('/works').body == b'hello'
    assert getattr(file, 'closed', True), 'closed, if it can be'


def test_a_pipe_is_read(serve: Serve) -> None:
    """It has a descriptor, but neither a size nor a position."""
    import os

    readable, writable = os.pipe()
    os.write(writable, b'piped')
    os.close(writable)
    client = serve(sending(os.fdopen(readable, 'rb'))).connect()
    response = client.get()
    assert (response.body, response.headers['transfer-encoding']) == (b'piped', 'chunked')


def test_a_file_after_write(serve: Serve, tmp_path: Any) -> None:
    (tmp_path / 'file').write_bytes(b'two')

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])(b'one ')
        result: Iterable[bytes] = environ['wsgi.file_wrapper']((tmp_path / 'file').open('rb'))
        return result

    assert serve(app).connect().get().body == b'one two'


def test_a_file_without_start_response(serve: Serve, log: Log) -> None:
    client = serve(lambda environ, start_response: environ['wsgi.file_wrapper'](io.BytesIO(b'x'))).connect()
    assert client.get().status == 500
    assert 'without start_response' in log.text


def test_a_client_that_is_gone_leaves_no_descriptor_of_a_file(serve: Serve, tmp_path: Any) -> None:
    import os

    path = tmp_path / 'file'
    path.write_bytes(b'x' * 20_000_000)
    worker = serve(at_root(lambda environ, start_response: sending(path.open('rb'))(environ, start_response)))
    other = worker.connect()
    assert other.get('/works').body == b'hello'
    before = set(os.listdir('/proc/self/fd'))
    client = worker.connect(receive_buffer=4096)
    client.send(request())
    client.read_past(b'\r\n\r\n')
    client.reset()
    worker.until_connected(1)
    assert set(os.listdir('/proc/self/fd')) == before
