"""A process without a free descriptor: wherever one is needed it does without, says so, and goes on later."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
from typing import TYPE_CHECKING

import pytest

from tests.worker.harness import DEADLINE, PLAIN, Gate, hello, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.worker.conftest import Serve
    from tests.worker.harness import Client, Environ, Log, StartResponse, Worker


@contextlib.contextmanager
def no_descriptors() -> Iterator[Callable[[], None]]:
    """This process has no descriptor left, until the block ends or calls what it is given."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def give_back() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        while taken:
            os.close(taken.pop())

    highest = os.dup(0)
    taken.append(highest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        with contextlib.suppress(OSError):  # the numbers below that are free
            while True:
                taken.append(os.dup(0))
        yield give_back
    finally:
        give_back()


class Visitor:
    """A client that has its descriptor before it comes."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._socket = socket.socket()

    def come(self) -> Client:
        return self._worker._connected(self._socket)


def test_accepting_pauses_and_goes_on(serve: Serve, log: Log, gate: Gate) -> None:
    """With everybody in the application there is nobody who could make room."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/slow':
            gate.enter()
        return hello(environ, start_response)

    worker = serve(app)
    client, visitor = worker.connect(), Visitor(worker)
    client.send(request('GET', '/slow'))
    gate.arrival()
    with no_descriptors() as give_back:
        newcomer = visitor.come()
        newcomer.send(request())
        log.wait_for('cannot accept: [Errno 24]')
        rounds = worker.count_rounds(lambda: select.select([newcomer.sock], [], [], 0.5))
        assert rounds <= 30, 'it tries ten times a second'
        assert newcomer.is_quiet()
        give_back()
        assert newcomer.response().status == 200
    gate.let()
    assert client.response().status == 200
    assert log.text.count('cannot accept') == 1, 'the log is not flooded'


def test_whoever_goes_makes_room(serve: Serve, log: Log, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: nobody has to wait until it is tried again."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        gate.enter()
        return hello(environ, start_response)

    worker = serve(app)
    client, visitor = worker.connect(), Visitor(worker)
    client.send(request('GET', '/', 'Connection: close'))
    gate.arrival()
    monkeypatch.setattr('prefork.worker.loop.RETRY', 2 * DEADLINE)
    with no_descriptors():
        newcomer = visitor.come()
        newcomer.send(request())
        log.wait_for('cannot accept')
        gate.let(2)
        assert client.response().status == 200
        client.half_close()
        assert newcomer.response().status == 200


def test_an_idle_connection_makes_room(serve: Serve, log: Log) -> None:
    worker = serve(hello, keepalive_timeout=1000.0)
    clients, visitors = [worker.connect() for _ in range(2)], [Visitor(worker) for _ in range(2)]
    for client in clients:
        client.get()
    with no_descriptors():
        for client, visitor in zip(clients, visitors, strict=True):
            assert visitor.come().get().body == b'hello'
            assert client.is_closed()
    assert log.text.count('cannot accept') == 1


# --- for other things ---------------------------------------------------------------------------------------------


def test_a_body_that_needs_a_file(serve: Serve, log: Log, tmp_path: Path) -> None:
    worker = serve(hello, body_buffer=10, spool_dir=str(tmp_path))
    clients = [worker.connect() for _ in range(3)]
    for client in clients:
        client.get()
    with no_descriptors():
        for client in clients[:2]:
            client.send(request('POST', '/upload', 'Content-Length: 20') + b'x' * 15)
            assert client.response().status == 507
        assert clients[2].get().status == 200
    assert f'POST /upload HTTP/1.1: the body cannot be kept: {tmp_path}: [Errno 24]' in log.text
    assert log.text.count('cannot be kept') == 1
    client = worker.connect()
    client.send(request('POST', '/', 'Content-Length: 20') + b'x' * 15)
    worker.take_turns()
    client.send(b'x' * 5)
    assert client.response().status == 200


def test_a_file_that_is_sent(serve: Serve, log: Log, tmp_path: Path) -> None:
    """Its descriptor can't be duplicated, and so it goes as any iterable."""
    path = tmp_path / 'file'
    path.write_bytes(b'x' * 300_000)
    file = path.open('rb')

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/file':
            return hello(environ, start_response)
        start_response('200 OK', list(PLAIN))
        result: Iterable[bytes] = environ['wsgi.file_wrapper'](file)
        return result

    client = serve(app).connect()
    assert client.get().status == 200
    with no_descriptors():
        assert client.get('/file').body == b'x' * 300_000
    assert client.get().status == 200
    assert file.closed
    assert log.text == ''


def test_a_file_that_the_application_cannot_open(serve: Serve, log: Log, tmp_path: Path) -> None:
    path = tmp_path / 'file'
    path.touch()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/file':
            path.open().close()
        return hello(environ, start_response)

    client = serve(app).connect()
    assert client.get().status == 200
    with no_descriptors():
        assert client.get('/file').status == 500
    assert client.get('/file').status == 200
    assert 'Too many open files' in log.text


def test_a_response_that_needs_a_file(serve: Serve, log: Log, tmp_path: Path) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/large':
            return hello(environ, start_response)
        start_response('200 OK', list(PLAIN))
        return (bytes(100_000) for _ in range(300))

    worker = serve(app, max_parked=0, body_buffer=100_000, spool_dir=str(tmp_path))
    slow, other = worker.connect(receive_buffer=4096), worker.connect()
    other.get()
    with no_descriptors():
        slow.send(request('GET', '/large'))
        log.wait_for('GET /large HTTP/1.1: the response cannot be kept for a slow client: [Errno 24]')
        assert other.get().status == 200
    with pytest.raises(ConnectionResetError):
        slow.rest()
    assert worker.connect().get().status == 200
