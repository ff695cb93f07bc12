"""Clients that read slowly, or not at all: they cost a slot and a parked thread, not memory, nor the others' time."""

from __future__ import annotations

import gc
import hashlib
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.worker.harness import DEADLINE, PLAIN, Gate, hello, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.worker.conftest import Serve
    from tests.worker.harness import Client, Environ, Log, StartResponse

BLOCK = 100_000


def block(number: int) -> bytes:
    """One of many different blocks, so that a mix-up shows."""
    return hashlib.sha256(b'%d' % number).digest() * (BLOCK // 32)


class Long:
    """A response of many blocks that counts how many were asked for."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.asked = 0
        self.closed = 0
        self.close_called = threading.Event()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/':
            return hello(environ, start_response)
        start_response('200 OK', list(PLAIN))
        return self

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self._count):
            self.asked += 1
            yield block(number)

    def close(self) -> None:
        self.closed += 1
        self.close_called.set()

    def check(self, client: Client) -> None:
        body = client.response().body
        assert hashlib.sha256(body).digest() == hashlib.sha256(b''.join(map(block, range(self._count)))).digest()


def test_blocks_are_asked_for_as_they_are_read(serve: Serve) -> None:
    app = Long(1000)
    worker = serve(app)
    client = worker.connect(receive_buffer=4096)
    client.send(request())
    worker.until_parked(1)
    asked = app.asked
    assert asked < 200, 'what the kernel takes, and little more'
    for _ in range(3):
        assert worker.connect().get('/other').body == b'hello'
    assert app.asked == asked, 'nobody reads, so nobody asks'
    client.read(asked * BLOCK)
    worker.until(lambda: worker.parked == 1 and app.asked > asked)
    assert app.asked < asked + 200
    assert not app.close_called.is_set()


def test_a_slow_reader_gets_all_of_it(serve: Serve) -> None:
    app = Long(150)
    worker = serve(app)
    client = worker.connect(receive_buffer=4096)
    client.send(request() + request('GET', '/other'))
    worker.until_parked(1)
    app.check(client)
    assert client.response().body == b'hello', 'and the connection goes on behind it'
    assert app.closed == 1


def test_more_slow_readers_than_threads(serve: Serve) -> None:
    app = Long(100)
    worker = serve(app, threads=2)
    clients = [worker.connect(receive_buffer=4096) for _ in range(6)]
    for count, client in enumerate(clients, 1):
        client.send(request())
        worker.until_parked(count)
    assert worker.connect().get('/other').body == b'hello'
    for client in reversed(clients):
        app.check(client)
    assert app.closed == 6
    assert worker.connect().get('/other').body == b'hello'


def test_a_list_costs_no_thread(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/':
            return hello(environ, start_response)
        start_response('200 OK', list(PLAIN))
        return [b'x' * 10_000_000]

    worker = serve(app, threads=1, max_parked=0)
    clients = [worker.connect(receive_buffer=4096) for _ in range(3)]
    for client in clients:
        client.send(request())
        client.read_past(b'\r\n\r\n')
    assert worker.connect().get('/other').body == b'hello'
    assert worker.in_loop(lambda: worker.parked) == 0
    for client in clients:
        assert client.read(10_000_000) == b'x' * 10_000_000


@pytest.mark.skipif(not hasattr(socket, 'TCP_NOTSENT_LOWAT'), reason='the kernel takes what it likes')
def test_a_list_is_not_copied_into_the_kernel(serve: Serve) -> None:
    """Megabytes for each client are what it takes in where nobody stops it, and all clients may be slow."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        return [bytes(20_000_000)]

    worker = serve(app)
    client = worker.connect(receive_buffer=4096)
    client.send(request())
    client.read_past(b'\r\n\r\n')
    assert worker.in_loop(lambda: max(connection.out.moved for connection in worker.loop.pool.used)) < 500_000


def test_write_to_a_slow_reader_waits_too(serve: Serve) -> None:
    written: list[int] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/':
            return hello(environ, start_response)
        write = start_response('200 OK', list(PLAIN))
        for number in range(500):
            write(block(number))
            written.append(number)
        return []

    worker = serve(app)
    client = worker.connect(receive_buffer=4096)
    client.send(request())
    worker.until_parked(1)
    assert len(written) < 200
    assert worker.connect().get('/other').body == b'hello'
    assert client.response().body == b''.join(map(block, range(500)))


# --- without a thread to wait -------------------------------------------------------------------------------------


@pytest.mark.parametrize('count', [5, 150])
def test_where_none_may_wait_the_response_is_kept_in_a_file(serve: Serve, tmp_path: Path, count: int) -> None:
    app = Long(count)
    worker = serve(app, max_parked=0, body_buffer=200_000, spool_dir=str(tmp_path))
    gc.collect()  # what other tests have left behind isn't this one's
    before = len(os.listdir('/proc/self/fd'))
    client = worker.connect(receive_buffer=4096)
    client.send(request() + request('GET', '/other'))
    assert app.close_called.wait(DEADLINE), 'the application is done, although nobody has read'
    assert worker.connect().get('/other').body == b'hello'
    kept = worker.in_loop(lambda: max(connection.out.queued for connection in worker.loop.pool.used))
    assert kept <= 200_000 + 2 * BLOCK
    app.check(client)
    assert client.response().body == b'hello'
    assert app.closed == 1
    worker.until_connected(2)
    assert len(os.listdir('/proc/self/fd')) == before + 4, 'both ends of the two connections, and no file'
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_half_of_what_it_is_given(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pwrite(2) may write less than it was asked to."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, 'pwrite', lambda fd, data, offset: pwrite(fd, data[: len(data) // 2 + 1], offset))
    app = Long(100)
    worker = serve(app, max_parked=0, body_buffer=100_000, spool_dir=str(tmp_path))
    client = worker.connect(receive_buffer=4096)
    client.send(request())
    assert app.close_called.wait(DEADLINE)
    app.check(client)


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        pytest.param({'spool_dir': 'none'}, 'spool_dir = none', id='no folder'),
        pytest.param({'spool_dir': '/proc'}, '', id='a folder where nothing can be written'),
        pytest.param({'max_body': 1_000_000}, 'max_body', id='too much'),
    ],
)
def test_a_response_that_cannot_be_kept(
    serve: Serve, log: Log, tmp_path: Path, options: dict[str, object], reason: str
) -> None:
    app = Long(300)
    worker = serve(app, max_parked=0, **{'body_buffer': 100_000, 'spool_dir': str(tmp_path), **options})
    client = worker.connect(receive_buffer=4096)
    client.send(request())
    assert app.close_called.wait(DEADLINE)
    with pytest.raises(ConnectionResetError):
        client.rest()
    assert worker.connect().get('/other').body == b'hello'
    assert 'the response cannot be kept for a slow client' in log.text
    assert reason in log.text
    assert app.closed == 1


# --- a client that is as fast as we are ---


def test_a_fast_reader_of_a_large_file_does_not_hold_the_loop(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'sparse'
    path.touch()
    os.truncate(path, 100 << 20)
    events: list[str] = []

    def send_file(transport: object, descriptor: int, offset: int, count: int) -> int:
        """To a client that never makes us wait."""
        events.append('sent')
        return min(count, 65536)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/':
            return hello(environ, start_response)
        start_response('200 OK', [])
        result: Iterable[bytes] = environ['wsgi.file_wrapper'](path.open('rb'))
        return result

    monkeypatch.setattr('prefork.net.transport.PlainTransport.send_file', send_file)
    monkeypatch.setattr('prefork.worker.outbox.TURN', 0.0)
    worker = serve(app)
    prepare = worker.loop._prepare

    def prepare_and_note() -> float | None:
        events.append('round')
        return prepare()

    monkeypatch.setattr(worker.loop, '_prepare', prepare_and_note)
    client = worker.connect()
    client.send(request() + request('GET', '/other'))
    client.read_past(b'\r\n\r\n')
    assert client.response().body == b'hello', 'what comes behind the file, of which nothing was really sent'
    rounds = ' '.join(events).split('round')
    assert max(turn.count('sent') for turn in rounds) <= 2, 'the thread that ran the call has a turn, and the loop'
    assert events.count('sent') == 1600


# --- clients that leave -------------------------------------------------------------------------------------------


def test_a_client_that_leaves_frees_the_thread_that_waited_for_it(serve: Serve, log: Log) -> None:
    app = Long(500)
    worker = serve(app, threads=1, max_parked=1)
    for round_ in range(1, 4):
        client = worker.connect(receive_buffer=4096)
        client.send(request())
        worker.until_parked(1)
        client.reset()
        assert app.close_called.wait(DEADLINE)
        app.close_called.clear()
        worker.until_connected(0)
        assert app.closed == round_
    assert log.text == ''
    assert worker.connect().get('/other').body == b'hello'


@pytest.mark.parametrize(
    'options',
    [
        pytest.param({'client_socket_timeout': 0.2, 'min_rate': 0}, id='by silence'),
        pytest.param({'min_rate': 1_000_000_000}, id='by min_rate'),
    ],
)
def test_a_client_that_is_given_up_frees_the_thread_that_waited_for_it(
    serve: Serve, log: Log, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    monkeypatch.setattr('prefork.worker.pace.GRACE', 0.2)
    monkeypatch.setattr('prefork.worker.loop.GRACE', 0.2)
    app = Long(500)
    worker = serve(app, threads=1, max_parked=1, **options)
    for round_ in range(1, 4):
        client = worker.connect(receive_buffer=4096)
        client.send(request())
        assert app.close_called.wait(DEADLINE)
        app.close_called.clear()
        worker.until_connected(0)
        assert (app.closed, worker.parked) == (round_, 0)
    assert log.text == '', 'it is no error of anybody here'
    assert worker.connect().get('/other').body == b'hello'


def test_a_newcomer_takes_the_slot_of_one_whose_thread_waits(
    serve: Serve, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all slots are full of such clients, and none has read anything for a while."""
    monkeypatch.setattr('prefork.worker.pool._SLOW', 0.05)
    app = Long(500)
    worker = serve(app, pool_size=3)
    clients = []
    for count in range(1, 4):
        clients.append(worker.connect(receive_buffer=4096))
        clients[-1].send(request())
        worker.until_parked(count)
    newcomer = worker.connect()
    assert newcomer.get('/other').body == b'hello'
    with pytest.raises(ConnectionResetError):
        clients[0].rest()
    assert (app.closed, worker.parked) == (1, 2)
    assert log.text == ''


def test_an_application_that_ignores_that_its_client_left(serve: Serve, gate: Gate) -> None:
    """What it writes is refused again and again, and its connection is closed in the end."""
    refused: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/':
            return hello(environ, start_response)
        write = start_response('200 OK', list(PLAIN))
        gate.enter()
        for number in range(20):
            try:
                write(block(number))
            except ConnectionError as error:
                refused.append(str(error))
        gate.enter()
        return [b'the end']

    worker = serve(app)
    client = worker.connect()
    client.send(request())
    gate.arrival()
    client.reset()
    gate.let()
    gate.arrival()
    assert len(refused) >= 19
    gate.let()
    worker.until_connected(0)
    assert worker.connect().get('/other').body == b'hello'
