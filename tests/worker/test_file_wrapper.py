"""PEP 3333's ``wsgi.file_wrapper``: a plain file goes by sendfile, any other is read, and each is closed."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.worker.applications import at_root
from tests.worker.harness import PLAIN, hello, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from tests.worker.conftest import Serve
    from tests.worker.harness import App, Environ, Log, StartResponse


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


def test_a_compressed_file_is_sent_as_it_reads(serve: Serve, tmp_path: Any) -> None:
    """It has a descriptor, of what nobody asked for."""
    path = tmp_path / 'file.gz'
    path.write_bytes(gzip.compress(CONTENT))
    file = gzip.open(path)  # noqa: SIM115  # the gateway closes it
    file.seek(1000)
    client = serve(sending(file)).connect()
    assert client.get().body == CONTENT[1000:]
    assert client.get('/works').body == b'hello'
    assert file.closed


def test_a_text_file_has_no_bytes(serve: Serve, log: Log, tmp_path: Any) -> None:
    (tmp_path / 'file').write_text('text')
    file = (tmp_path / 'file').open()
    client = serve(sending(file)).connect()
    assert client.get().status == 500
    assert client.get('/works').body == b'hello'
    assert 'must be bytes, not str' in log.text
    assert file.closed


def test_a_temporary_file_that_was_just_written(serve: Serve) -> None:
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(CONTENT)
    file.seek(10)
    client = serve(sending(file)).connect()
    assert client.get().body == CONTENT[10:]
    assert client.get('/works').body == b'hello'
    assert file.closed


def test_a_file_that_is_closed_already(serve: Serve, log: Log, tmp_path: Any) -> None:
    path = tmp_path / 'file'
    path.write_bytes(b'abc')
    file = path.open('rb')
    file.close()
    client = serve(sending(file)).connect()
    assert client.get().status == 500
    assert 'ValueError' in log.text
    assert client.get('/works').body == b'hello'


@pytest.mark.parametrize('status', ['204 No Content', '304 Not Modified'])
def test_a_file_where_no_body_is_sent(serve: Serve, tmp_path: Any, status: str) -> None:
    path = tmp_path / 'file'
    path.write_bytes(CONTENT)
    file = path.open('rb')

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, [])
        result: Iterable[bytes] = environ['wsgi.file_wrapper'](file)
        return result

    client = serve(at_root(app)).connect()
    response = client.get()
    assert (response.status, response.body) == (int(status[:3]), b'')
    assert client.get('/works').body == b'hello'
    assert file.closed


def test_a_file_that_a_middleware_wraps(serve: Serve, tmp_path: Any) -> None:
    """What the server gave is an iterable like any other to who is between."""
    path = tmp_path / 'file'
    path.write_bytes(b'lower case')
    file = Closing(path)

    class Upper:
        def __init__(self, wrapper: Any) -> None:
            self._wrapper = wrapper
            self.close = wrapper.close

        def __iter__(self) -> Iterator[bytes]:
            return (block.upper() for block in self._wrapper)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return Upper(sending(file)(environ, start_response))

    client = serve(at_root(app)).connect()
    assert client.get().body == b'LOWER CASE'
    assert client.get('/works').body == b'hello'
    assert file.closes == 1


def test_a_pipe_is_read(serve: Serve) -> None:
    """It has a descriptor, but neither a size nor a position."""
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
