"""PEP 3333's ``write()``, for applications that can't do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prefork.errors import ApplicationError, ClientGone
from tests.worker.applications import Body, at_root, writes
from tests.worker.harness import Gate, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, Log, StartResponse


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


def test_write_takes_bytes_alone(serve: Serve, log: Log) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        text: Any = 'text'
        start_response('200 OK', [])(text)
        return []

    assert serve(app).connect().get().status == 500
    assert 'must be bytes, not str' in log.text


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


def test_write_after_the_end_of_the_response(serve: Serve, log: Log) -> None:
    """``close()`` is called when all is out: what it writes would stand before the next response."""
    writers: list[Callable[[bytes], object]] = []

    class Chatty(Body):
        def close(self) -> None:
            super().close()
            writers[0](b'one word more')

    body = Chatty(b'x')

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        writers.append(start_response('200 OK', []))
        return body

    client = serve(at_root(app)).connect()
    client.send(request() + request('GET', '/works'))
    assert [client.response().body for _ in range(2)] == [b'x', b'hello']
    assert 'write() came after the end of the response' in log.text
    assert body.closed == 1


@pytest.mark.parametrize('length', [(), (('Content-Length', '5'),)], ids=['chunked', 'counted'])
def test_write_during_the_next_request(serve: Serve, length: tuple[tuple[str, str], ...]) -> None:
    """Whoever keeps ``write`` must not speak in the name of another request."""
    writers: list[Callable[[bytes], object]] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response('200 OK', list(length))
        for kept in writers:
            with pytest.raises(ApplicationError, match='after the end'):
                kept(b'other')
        writers.append(write)
        yield b'hello'

    client = serve(app).connect()
    assert [client.get().body for _ in range(3)] == [b'hello'] * 3


def test_write_where_no_body_is_sent(serve: Serve, log: Log) -> None:
    client = serve(writes).connect()
    for _ in range(2):
        client.send(request('HEAD'))
        assert client.response('HEAD').status == 200
    assert log.text == ''


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
