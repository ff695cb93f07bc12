"""As many threads as may be are parked, and another should be: who is stuck makes room, who only is slow doesn't."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from tests.worker.harness import DEADLINE, PLAIN, Gate, hello, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.worker.conftest import Serve
    from tests.worker.harness import Client, Environ, StartResponse, Worker


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is stuck is so after a moment."""
    monkeypatch.setattr('prefork.worker.pool._STUCK', 0.02)
    monkeypatch.setattr('prefork.worker.pace.SAMPLE', 0.02)
    monkeypatch.setattr('prefork.worker.loop.RETRY', 0.02)


BLOCK = bytes(100_000)


class Endless:
    """A response without an end at ``/endless/NAME``, the last block of which is asked for when its client is gone."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self._progress = threading.Condition()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/':
            return hello(environ, start_response)
        start_response('200 OK', list(PLAIN))
        return self._blocks(environ['PATH_INFO'].rpartition('/')[2])

    def _blocks(self, name: str) -> Iterator[bytes]:
        try:
            yield from itertools.repeat(BLOCK)
        finally:
            with self._progress:
                self.ended.append(name)
                self._progress.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait until so many of them have ended."""
        with self._progress:
            assert self._progress.wait_for(lambda: len(self.ended) >= count, DEADLINE), self.ended


def ask(worker: Worker, name: str) -> Client:
    client = worker.connect(receive_buffer=4096)
    client.send(request('GET', f'/endless/{name}'))
    client.read_past(b'\r\n\r\n')
    return client


def test_one_that_is_stuck_makes_room_for_each_that_comes(serve: Serve, tmp_path: Path) -> None:
    app = Endless()
    worker = serve(app, threads=1, max_parked=2, spool_dir=str(tmp_path), max_body=10 << 30)
    clients = {}
    for count, name in enumerate('ab', 1):
        clients[name] = ask(worker, name)
        worker.until_parked(count)
    for count, name in enumerate('cde', 1):
        clients[name] = ask(worker, name)
        app.wait_for(count)
        worker.until(lambda: worker.loop.crew._parked == 2)
        assert name not in app.ended
        assert worker.connect().get().body == b'hello'
    assert len(app.ended) == 3
    for name in app.ended:
        with pytest.raises(ConnectionResetError):
            clients[name].rest()


def test_who_may_read_as_slowly_as_it_likes_is_never_stuck(serve: Serve, tmp_path: Path) -> None:
    """The response of one more is kept in a file, up to what may be."""
    app = Endless()
    worker = serve(app, threads=1, max_parked=1, min_rate=0, spool_dir=str(tmp_path), max_body=200_000_000)
    ask(worker, 'a')
    worker.until_parked(1)
    other = ask(worker, 'b')
    app.wait_for(1)
    assert app.ended == ['b']
    with pytest.raises(ConnectionResetError):
        other.rest()
    assert worker.parked == 1


def test_a_reader_that_keeps_up_stays(serve: Serve, tmp_path: Path) -> None:
    """The one that is stuck came later."""
    app = Endless()
    worker = serve(app, threads=1, max_parked=2, spool_dir=str(tmp_path), max_body=10 << 30)
    reader = ask(worker, 'a')
    end = threading.Event()

    def read() -> None:
        while not end.is_set():
            reader.read(len(BLOCK))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        ask(worker, 'b')
        worker.until(lambda: worker.loop.crew._parked == 2)
        ask(worker, 'c')
        app.wait_for(1)
        assert app.ended == ['b']
        assert reader.read(1)
    finally:
        end.set()
        thread.join()


def test_a_body_that_has_stopped_makes_room_for_another(serve: Serve, gate: Gate) -> None:
    """With request_buffering = false the thread has nowhere to put what it could do meanwhile."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = environ['wsgi.input'].read()
        start_response('200 OK', list(PLAIN))
        return [body or b'hello']

    worker = serve(app, threads=1, max_parked=1, request_buffering=False)
    clients = []
    for _ in range(4):
        clients.append(worker.connect())
        clients[-1].send(request('POST', '/', 'Content-Length: 10') + b'x' * 5)
        assert worker.connect().get().body == b'hello'
    for client in clients[:-1]:
        assert client.rest() == b''
    clients[-1].send(b'y' * 5)
    assert clients[-1].response().body == b'xxxxxyyyyy'
