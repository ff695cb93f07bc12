"""Clients that are busy: however much one sends or reads, the others have their turns."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.worker.harness import echo, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, Gate, StartResponse, Worker


def pipelined(count: int) -> bytes:
    return b''.join(request('GET', f'/{number}') for number in range(count))


def test_many_requests_at_once_do_not_hold_the_others(
    serve: Serve, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of many has its turn, then those that have come meanwhile."""
    monkeypatch.setattr('prefork.worker.connection.TURN', 0.0)
    calls: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        calls.append(environ['PATH_INFO'])
        if environ['PATH_INFO'] == '/0':
            gate.enter()
        return echo(environ, start_response)

    worker = serve(app, threads=1)
    busy, others = worker.connect(), [worker.connect() for _ in range(3)]
    for other in others:
        other.get()
    busy.send(pipelined(1000))
    gate.arrival()
    for other in others:
        other.send(request('GET', '/other'))
    worker.until_waiting(3)
    gate.let()
    for other in others:
        assert other.response().body == b'/other '
    for number in range(1000):
        assert busy.response().body == b'/%d ' % number
    assert max(place for place, path in enumerate(calls) if path == '/other') <= 3 + 6


def test_a_quick_application_answers_some_at_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round of the loop for each would cost more than they do."""
    monkeypatch.setattr('prefork.worker.connection.TURN', 1000.0)
    worker = serve(echo)
    client = worker.connect()
    client.get()

    def ask() -> None:
        client.send(pipelined(500))
        for _ in range(500):
            client.response()

    assert worker.count_rounds(ask) <= 20


def test_several_who_send_many_requests_at_once(serve: Serve) -> None:
    worker = serve(echo)
    clients = [worker.connect() for _ in range(4)]
    for client in clients:
        client.send(pipelined(1500))
    for number in range(1500):
        for client in clients:
            assert client.response().body == b'/%d ' % number


def test_a_body_of_tiny_chunks_does_not_hold_the_others(serve: Serve) -> None:
    """To read a byte takes microseconds where it is a chunk: 64 KiB of them are more than a turn."""
    worker = serve(echo)
    client = worker.connect()
    client.send(request('POST', '/', 'Transfer-Encoding: chunked'))
    worker.take_turns()

    def send() -> None:
        client.send(b'1\r\nx\r\n' * 10_000 + b'0\r\n\r\n')
        assert client.response().body == b'/ ' + b'x' * 10_000

    assert worker.count_rounds(send) >= 4


# --- how it feels -------------------------------------------------------------------------------------------------


def busy_with_requests(worker: Worker, end: threading.Event) -> None:
    client = worker.connect()
    while not end.is_set():
        client.send(pipelined(200))
        for _ in range(200):
            client.response()


def busy_with_a_body(worker: Worker, end: threading.Event) -> None:
    client = worker.connect()
    piece = b'x' * (1 << 20)
    while not end.is_set():
        client.send(request('POST', '/', f'Content-Length: {50 * len(piece)}'))
        for _ in range(50):
            client.send(piece)
        client.response()


def busy_reading(worker: Worker, end: threading.Event) -> None:
    client = worker.connect()
    while not end.is_set():
        client.send(request('GET', '/large'))
        client.read_past(b'\r\n\r\n')
        for _ in range(64):
            client.read(1 << 20)


LARGE = bytes(64 << 20)


@pytest.mark.parametrize('work', [busy_with_requests, busy_with_a_body, busy_reading])
def test_a_fresh_request_beside_a_busy_client(serve: Serve, work: Callable[[Worker, threading.Event], None]) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/large':
            start_response('200 OK', [])
            return [LARGE]
        if environ['PATH_INFO'] != '/':
            time.sleep(0.002)  # each takes its time, and no tick of the sentry
        start_response('200 OK', [])
        while environ['wsgi.input'].read(1 << 20):
            pass
        return [b'hello']

    worker = serve(app)
    end = threading.Event()
    thread = threading.Thread(target=work, args=(worker, end))
    thread.start()
    times = []
    try:
        worker.until_connected(1)
        for _ in range(20):
            started = time.monotonic()
            assert worker.connect().get().body == b'hello'
            times.append(time.monotonic() - started)
    finally:
        end.set()
        thread.join()
    assert statistics.median(times) < 0.05, times
