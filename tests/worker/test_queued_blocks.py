"""Blocks for which the socket has no room yet: they go out as the client reads, whatever the application does next."""

from __future__ import annotations

import os
import random
import select
import socket
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from prefork.worker.exchange import Exchange
from prefork.worker.phase import Phase
from tests.worker.harness import PLAIN, Worker, hello, request, trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from prefork.worker.connection import Connection
    from tests.certificates import Certificates
    from tests.worker.conftest import Serve
    from tests.worker.harness import Client, Environ, Gate, Log, StartResponse

BLOCK = os.urandom(60_000)
"""More than the sockets of these tests take at once, and so little that the application isn't made to wait."""


def framed(body: bytes) -> list[tuple[str, str]]:
    return [*PLAIN, ('Content-Length', str(len(body)))]


class Way:
    """How a block gets to the client; the application comes to the gate when it has been given away."""

    body = BLOCK

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/other':
            return hello(environ, start_response)
        return self.answer(environ, start_response)

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise NotImplementedError


class Yielded(Way):
    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', framed(self.body + b'end'))
        yield BLOCK
        self._gate.enter()
        yield b'end'


class YieldedLate(Way):
    """When another thread has the lead already, so that no block is kept back."""

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', framed(self.body + b'end'))
        self._gate.enter()
        yield BLOCK
        self._gate.enter()
        yield b'end'


class Written(Way):
    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', framed(self.body + b'end'))(BLOCK)
        self._gate.enter()
        return [b'end']


class WrittenLate(Way):
    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self._gate.enter()
        start_response('200 OK', framed(self.body + b'end'))(BLOCK)
        self._gate.enter()
        return [b'end']


class WrittenBeforeTheFirst(Way):
    """The iterable is slow to begin."""

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', framed(self.body + b'end'))(BLOCK)
        return self._blocks()

    def _blocks(self) -> Iterator[bytes]:
        self._gate.enter()
        yield b'end'


class Closed(Way):
    """All of the response is there, and its close() takes long."""

    body = BLOCK + b'end'

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', framed(self.body))
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield from (BLOCK, b'end')

    def close(self) -> None:
        self._gate.enter()


WAYS = [Yielded, YieldedLate, Written, WrittenLate, WrittenBeforeTheFirst, Closed]


def small(worker: Worker) -> Worker:
    """Let the kernel take little of what is sent to the worker's clients."""
    worker.listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return worker


def arrive(gate: Gate, way: type[Way]) -> None:
    """Wait until the block has been given away."""
    if way in (YieldedLate, WrittenLate):
        gate.arrival()
        gate.let()
    gate.arrival()


def connection_of(worker: Worker) -> Connection:
    (connection,) = worker.loop.pool.used
    return connection


@pytest.fixture(params=['plain', 'TLS'])
def tls(request: pytest.FixtureRequest, certificates: Certificates) -> Certificates | None:
    return certificates if request.param == 'TLS' else None


def connect(worker: Worker, tls: Certificates | None) -> Client:
    if tls is None:
        return worker.connect(receive_buffer=4096)
    return worker.connect_tls(trusting(tls), receive_buffer=4096)


@pytest.mark.parametrize('threads', [1, 4])
@pytest.mark.parametrize('way', WAYS)
def test_a_block_does_not_wait_for_what_the_application_does_next(
    serve: Serve, gate: Gate, tls: Certificates | None, way: type[Way], threads: int
) -> None:
    worker = small(serve(way(gate), threads=threads, **(tls.options if tls else {})))
    client = connect(worker, tls)
    client.send(request())
    arrive(gate, way)
    client.read_past(b'\r\n\r\n')
    assert client.read(len(way.body)) == way.body
    assert gate.is_empty()
    gate.let()
    assert client.read(len(BLOCK + b'end') - len(way.body)) == (BLOCK + b'end')[len(way.body) :]
    assert client.get('/other').body == b'hello'


@pytest.mark.parametrize('way', WAYS)
def test_the_loop_sleeps_when_there_is_nothing_to_send_or_no_room(
    serve: Serve, gate: Gate, tls: Certificates | None, way: type[Way]
) -> None:
    worker = small(serve(way(gate), **(tls.options if tls else {})))
    client = connect(worker, tls)
    client.send(request())
    arrive(gate, way)
    out = connection_of(worker).out
    worker.until(lambda: out.queue and not out.kept)
    assert worker.count_rounds(lambda: select.select([], [], [client.sock], 0.2)) <= 4, 'nobody reads'
    client.read_past(b'\r\n\r\n')
    client.read(len(way.body))
    worker.until(lambda: not out.queue)
    client.send(request('GET', '/other'))  # the next request isn't looked at yet
    assert worker.count_rounds(lambda: select.select([client.sock], [], [], 0.2)) <= 4, 'there is nothing to send'
    gate.let()
    client.read(len(BLOCK + b'end') - len(way.body))
    assert client.response().body == b'hello'


def test_what_is_kept_on_disk_goes_out_too(serve: Serve, gate: Gate, tls: Certificates | None, tmp_path: Path) -> None:
    """Several times: each time that there is something queued again."""
    body = os.urandom(1_000_000)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', framed(body * 2))
        for _ in range(2):
            for begin in range(0, len(body), 100_000):
                yield body[begin : begin + 100_000]
            gate.enter()

    options = tls.options if tls else {}
    worker = small(serve(app, max_parked=0, body_buffer=100_000, spool_dir=str(tmp_path), **options))
    client = connect(worker, tls)
    client.send(request())
    for number in range(2):
        gate.arrival()
        if not number:
            client.read_past(b'\r\n\r\n')
        assert client.read(len(body)) == body
        gate.let()
    client.send(request())
    gate.arrival()
    gate.let(2)
    assert client.response().body == body * 2


@pytest.mark.parametrize('threads', [1, 4])
def test_a_block_does_not_wait_for_the_request_either(serve: Serve, gate: Gate, threads: int) -> None:
    """A client may read what it is sent before it sends more of its body."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', framed(BLOCK))
        yield BLOCK
        gate.enter()
        assert environ['wsgi.input'].read() == b'body'
        yield b''

    worker = small(serve(app, threads=threads, request_buffering=False))
    client = worker.connect(receive_buffer=4096)
    client.send(request('POST', '/', 'Content-Length: 4', body=b'b'))
    gate.arrival()
    gate.let()
    client.read_past(b'\r\n\r\n')
    assert client.read(len(BLOCK)) == BLOCK
    assert worker.count_rounds(lambda: select.select([client.sock], [], [], 0.2)) <= 4, 'there is nothing to send'
    client.send(b'ody')
    assert client.is_closed(), 'the response had begun before the body was there'


def test_a_client_that_does_not_read_nor_send_its_body(serve: Serve, gate: Gate) -> None:
    """It goes with a part of a block still queued, while the application waits for the body."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', framed(BLOCK))(BLOCK)
        try:
            environ['wsgi.input'].read()
        except OSError as error:
            gate.enter(str(error))
        return []

    worker = small(serve(app, request_buffering=False))
    client = worker.connect(receive_buffer=4096)
    client.send(request('POST', '/', 'Content-Length: 4'))
    client.read(1)
    client.reset()
    assert gate.arrival() == 'the client is gone'
    gate.let()
    worker.until_connected(0)


@pytest.mark.parametrize('way', WAYS)
def test_a_client_that_goes_is_noticed_at_the_next_block(serve: Serve, gate: Gate, log: Log, way: type[Way]) -> None:
    worker = small(serve(way(gate)))
    client = worker.connect(receive_buffer=4096)
    client.send(request())
    arrive(gate, way)
    connection = connection_of(worker)
    worker.until(lambda: connection.out.queue)
    client.read(1)
    client.reset()
    worker.until(lambda: connection.out.broken)
    assert worker.count_rounds(lambda: select.select([], [], [], 0.2)) <= 4
    gate.let()
    worker.until_connected(0)
    assert 'failed' not in log.text


@pytest.mark.parametrize('threads', [1, 2])
def test_no_block_is_forgotten(serve: Serve, gate: Gate, threads: int) -> None:
    """Whatever the leader and the application's thread do at the same moment: each of many blocks is read to its end
    before the application goes on, while others' requests take the lead from here to there."""
    choice = random.Random(7)
    rounds = [[os.urandom(choice.randrange(1, 30_000)) for _ in range(choice.randrange(1, 4))] for _ in range(400)]

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/other':
            return hello(environ, start_response)
        write = start_response('200 OK', framed(b''.join(map(b''.join, rounds))))
        return blocks(write)

    def blocks(write: Callable[[bytes], object]) -> Iterator[bytes]:
        for number, pieces in enumerate(rounds):
            for piece in pieces:
                if number % 3:
                    yield piece
                else:
                    write(piece)
            gate.enter()

    worker = small(serve(app, threads=threads))
    client = worker.connect(receive_buffer=4096)
    over = threading.Event()

    def ask() -> None:
        other = worker.connect()
        while not over.is_set():
            other.get('/other')

    others = threading.Thread(target=ask)
    worker.in_loop(lambda: sys.setswitchinterval(1e-6))  # threads take turns after a few bytecodes, until it stops
    client.send(request())
    if threads > 1:
        others.start()
    client.read_past(b'\r\n\r\n')
    for pieces in rounds:
        whole = b''.join(pieces)
        assert client.read(len(whole)) == whole
        gate.let()
    over.set()
    if threads > 1:
        others.join()


def test_a_call_that_takes_too_long_is_answered_for(serve: Serve, gate: Gate, log: Log) -> None:
    """With a part of a block still queued: the client gets the block, and then no end that looks like one."""
    worker = small(serve(Yielded(gate), request_timeout=0.3))
    client = worker.connect(receive_buffer=4096)
    client.send(request())
    gate.arrival()
    log.wait_for('no answer within request_timeout = 0.3 s')
    client.read_past(b'\r\n\r\n')
    assert client.rest() == BLOCK


def test_a_loop_that_ends_meanwhile(gate: Gate) -> None:
    worker = small(Worker(Yielded(gate)))
    client = worker.connect(receive_buffer=4096)
    client.send(request())
    gate.arrival()
    out = connection_of(worker).out
    worker.until(lambda: out.queue)
    worker.stop()
    gate.let()


@pytest.mark.parametrize('closed', [False, True])
def test_what_is_asked_for_too_late(serve: Serve, closed: bool) -> None:
    """The call has ended, and the connection waits for the next request, or is closed, when the leader hears of it."""
    worker = serve(hello)
    client = worker.connect()
    client.get()
    connection = connection_of(worker)
    if closed:
        client.close()
        worker.until(lambda: connection.phase is Phase.FREE)
    worker.in_loop(lambda: connection.ask_for_room(Exchange(worker.loop.gateway, connection)))
    assert worker.count_rounds(lambda: select.select([], [], [], 0.2)) <= 4
    if not closed:
        assert client.get().body == b'hello'
