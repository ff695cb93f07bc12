"""PEP 3333's ``close()``: once, on every path, as soon as the iterable is done with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.worker.applications import Body, Single, at_root, returning
from tests.worker.harness import DEADLINE, Gate, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, Log, StartResponse


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
        pytest.param(Body(KeyboardInterrupt()), 'GET', (), id='interrupted'),
        pytest.param(Body(b'', GeneratorExit()), 'GET', (), id='stops'),
    ],
)
def test_close_is_called_once(serve: Serve, body: Body, method: str, headers: tuple[tuple[str, str], ...]) -> None:
    client = serve(returning(body, *headers)).connect()
    client.send(request(method))
    client.response(method)
    assert client.get('/works').body == b'hello'
    assert body.closed == 1


@pytest.mark.parametrize('status', ['204 No Content', '205 Reset Content', '304 Not Modified'])
@pytest.mark.parametrize('kind', [Body, Single])
def test_close_is_called_once_where_no_body_is_sent(serve: Serve, log: Log, kind: type[Body], status: str) -> None:
    body = kind(b'abc')
    client = serve(returning(body, status=status)).connect()
    assert client.get().body == b''
    assert client.get('/works').body == b'hello'
    assert body.closed == 1
    assert log.text == '', 'what cannot be sent is not too long'


@pytest.mark.parametrize('after', [(), (b'two',), (LookupError(),)], ids=['nothing', 'a block', 'an exception'])
def test_close_is_called_once_where_write_was_used(serve: Serve, log: Log, after: tuple[Any, ...]) -> None:
    body = Body(*after)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])(b'one ')
        return body

    worker = serve(at_root(app))
    client = worker.connect()
    client.send(request('GET', '/', 'Connection: close'))
    client.rest()
    assert worker.connect().get('/works').body == b'hello'
    assert body.closed == 1


def test_close_is_called_once_where_iter_fails(serve: Serve, log: Log) -> None:
    class Barred(Body):
        def __iter__(self) -> Iterator[bytes]:
            raise LookupError('no entry')

    body = Barred()
    client = serve(returning(body)).connect()
    assert client.get().status == 500
    assert client.get('/works').body == b'hello'
    assert body.closed == 1


def test_close_is_called_once_where_the_body_is_cut_short(serve: Serve, log: Log) -> None:
    body = Body(b'abc')
    worker = serve(returning(body, ('Content-Length', '5')))
    client = worker.connect()
    client.send(request())
    assert client.rest().endswith(b'abc')
    assert worker.connect().get('/works').body == b'hello'
    assert body.closed == 1


def test_a_client_that_leaves_during_close(serve: Serve, log: Log, gate: Gate) -> None:
    class Slow(Body):
        def close(self) -> None:
            gate.enter()
            super().close()

    body = Slow(b'x')
    worker = serve(returning(body))
    client = worker.connect()
    client.send(request())
    gate.arrival()
    client.reset()
    assert worker.connect().get('/works').body == b'hello'
    gate.let()
    assert body.close_called.wait(DEADLINE)
    worker.until_connected(1)
    assert body.closed == 1
    assert log.text == ''


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
