"""PEP 3333 over the whole path: from a client's bytes through an application, right or wrong, to what comes back."""

from __future__ import annotations

import io
import sys
import threading
from typing import TYPE_CHECKING
from wsgiref.validate import validator

import pytest

from tests.worker.applications import Body, Single, at_root, returning, writes
from tests.worker.harness import PLAIN, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from tests.worker.conftest import Serve
    from tests.worker.harness import App, Environ, Gate, Log, StartResponse


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


# --- iterables ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('result', [None, 1, object()], ids=['None', 'a number', 'an object'])
def test_what_is_no_iterable(serve: Serve, log: Log, result: object) -> None:
    client = serve(returning(result)).connect()
    assert client.get().status == 500
    assert 'TypeError' in log.text
    assert client.get('/works').body == b'hello'


class Sequence:
    """Python iterates over what has ``__getitem__`` alone, too."""

    def __init__(self, *blocks: bytes) -> None:
        self._blocks = blocks

    def __getitem__(self, index: int) -> bytes:
        return self._blocks[index]


class Lying(Sequence):
    """It says that it has one block, and has three."""

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ('result', 'body'),
    [
        pytest.param([], b'', id='an empty list'),
        pytest.param((b'one ', b'two'), b'one two', id='a tuple'),
        pytest.param([b'', b'', b''], b'', id='a list of empty blocks'),
        pytest.param([b'', b'one ', b'', b'two', b''], b'one two', id='empty blocks in a list'),
        pytest.param(Body(b'', b'one ', b'', b'two', b''), b'one two', id='empty blocks in an iterable'),
        pytest.param(Body(b'', b''), b'', id='an iterable of empty blocks'),
        pytest.param(iter([b'one ', b'two']), b'one two', id='an iterator'),
        pytest.param(dict.fromkeys([b'one ', b'two']), b'one two', id='a dict, whose keys are what it iterates over'),
        pytest.param(Sequence(b'one ', b'two'), b'one two', id='a sequence'),
        pytest.param(Lying(b'one', b'more', b'and more'), b'one', id='a sequence that has more than it says'),
    ],
)
def test_what_is_an_iterable(serve: Serve, result: Any, body: bytes) -> None:
    client = serve(returning(result)).connect()
    assert client.get().body == body
    assert client.get('/works').body == b'hello'


@pytest.mark.parametrize(
    ('blocks', 'status'),
    [
        pytest.param(['text'], 500, id='str in a list'),
        pytest.param(['one ', 'two'], 500, id='several str in a list'),
        pytest.param([bytearray(b'x')], 500, id='bytearray in a list'),
        pytest.param([b'one ', bytearray(b'two')], 500, id='bytes and bytearray in a list'),
        pytest.param([b'one ', memoryview(b'two')], 500, id='bytes and memoryview in a list'),
        pytest.param([b'one ', 'two'], 500, id='bytes and str in a list'),
        pytest.param([b'one ', None], 500, id='bytes and None in a list'),
        pytest.param(b'bytes', 500, id='bytes, which iterate over numbers'),
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


@pytest.mark.parametrize('block', [b'abc', b''])
def test_an_iterable_of_one_block_is_counted(serve: Serve, block: bytes) -> None:
    response = serve(returning(Single(block))).connect().get()
    assert response.headers['content-length'] == str(len(block))
    assert response.body == block


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


def stops_iterating(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [])
    raise StopIteration


def has_no_words(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    class Silent(Exception):
        def __str__(self) -> str:
            raise LookupError('not even this')

    raise Silent


def recurses(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return recurses(environ, start_response)


@pytest.mark.parametrize(
    'app',
    [
        fails_before,
        fails_after,
        fails_in_the_first_next,
        exits,
        is_interrupted,
        stops,
        stops_iterating,
        has_no_words,
        recurses,
    ],
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


def test_an_exception_in_the_middle_of_a_counted_body_of_1_0_is_no_reset(serve: Serve) -> None:
    """The client can count; a reset might take from it what is on its way."""
    client = serve(returning(Body(b'first', LookupError()), ('Content-Length', '10'))).connect()
    client.send(request(version='1.0'))
    assert client.rest().endswith(b'\r\n\r\nfirst')


@pytest.mark.parametrize('version', ['1.0', '1.1'])
def test_an_exception_after_the_last_byte_takes_nothing_from_the_client(
    serve: Serve, log: Log, gate: Gate, version: str
) -> None:
    """Nothing is missing, so that the end is that of any response: whoever still sends gets no reset, but all of it."""

    def wait() -> bytes:
        gate.enter()
        return b'first'

    worker = serve(returning(Body(wait, LookupError()), ('Content-Length', '5')))
    client = worker.connect()
    client.send(request(version=version))
    gate.arrival()
    client.send(b'x' * 1000)
    worker.take_turns()
    gate.let()
    assert client.rest().endswith(b'\r\n\r\nfirst')
    assert 'LookupError' in log.text


def test_requests_behind_one_that_failed_are_answered(serve: Serve, log: Log) -> None:
    client = serve(at_root(fails_before)).connect()
    client.send(request() + request('GET', '/1') + request() + request('GET', '/2'))
    assert [client.response().status for _ in range(4)] == [500, 200, 500, 200]


def test_requests_behind_one_that_failed_in_the_middle_are_not(serve: Serve) -> None:
    """The client must see the end of the connection where the rest of the body should be, and nothing else."""
    client = serve(returning(Body(b'first', LookupError()))).connect()
    client.send(request() + request('GET', '/works'))
    assert client.rest().endswith(b'\r\n\r\n5\r\nfirst\r\n')


def test_an_exception_in_the_middle_of_a_body_that_the_connection_ends_is_a_reset(serve: Serve) -> None:
    """HTTP/1.0 has no other way to tell a body that was cut from one that is whole."""
    client = serve(returning(Body(b'first', LookupError()))).connect()
    client.send(request(version='1.0'))
    with pytest.raises(ConnectionResetError):
        client.rest()


# --- lengths ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'blocks', [[b'abc'], [b'a', b'bc'], Body(b'abc'), (b for b in (b'a', b'bc'))], ids=['list', 'lists', 'body', 'gen']
)
def test_a_body_that_is_too_short_ends_the_connection(serve: Serve, log: Log, blocks: Any) -> None:
    client = serve(returning(blocks, ('Content-Length', '5'))).connect()
    client.send(request())
    assert client.rest().endswith(b'\r\n\r\nabc')
    assert 'GET / HTTP/1.1: the body is 2 bytes shorter than its Content-Length' in log.text


def test_a_body_that_is_too_short_for_1_0_is_no_reset(serve: Serve, log: Log) -> None:
    client = serve(returning([b'abc'], ('Content-Length', '5'))).connect()
    client.send(request('GET', '/', 'Connection: keep-alive', version='1.0') + request('GET', '/works'))
    assert client.rest().endswith(b'\r\n\r\nabc'), 'and nothing that would fill it up'
    assert '2 bytes shorter' in log.text


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


@pytest.mark.parametrize(
    ('method', 'status', 'headers'),
    [
        pytest.param('HEAD', '200 OK', (), id='HEAD'),
        pytest.param('HEAD', '200 OK', (('Content-Length', '3'),), id='HEAD with a length'),
        pytest.param('GET', '204 No Content', (), id='204'),
        pytest.param('GET', '205 Reset Content', (), id='205'),
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
