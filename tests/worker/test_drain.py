"""How a worker ends: drained with its requests answered, stopped at once, or deaf first and drained then."""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from prefork import scoreboard
from prefork.net import listener as listeners
from prefork.settings import Settings
from prefork.worker import acceptor, connection
from prefork.worker.backlog import Backlog
from prefork.worker.loop import Loop
from tests.worker.applications import gated
from tests.worker.harness import DEADLINE, LOOPBACK, PLAIN, Client, Gate, echo, hello, request, trusting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.certificates import Certificates
    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, Log, StartResponse, Worker

LEAVE, ACCEPT = Backlog.LEAVE, Backlog.ACCEPT


def endless(closed: threading.Event) -> Iterator[bytes]:
    """A response that ends when it is closed."""
    try:
        while True:
            yield b'x' * 100_000
    finally:
        closed.set()


def drain(worker: Worker, timeout: float = DEADLINE, backlog: Backlog = LEAVE) -> None:
    worker.in_loop(lambda: worker.loop.drain(timeout, backlog))


def is_refused(worker: Worker) -> bool:
    with socket.socket() as sock:
        sock.settimeout(DEADLINE)
        return sock.connect_ex((worker.address.host, worker.address.port)) != 0


# --- drain --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('backlog', Backlog)
def test_an_idle_worker_is_done_at_once(serve: Serve, backlog: Backlog) -> None:
    worker = serve(hello)
    drain(worker, backlog=backlog)
    worker.join()
    assert is_refused(worker)


def test_requests_in_progress_are_answered(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate))
    running, receiving, handed_off = worker.connect(), worker.connect(), worker.connect()
    running.send(request('GET', '/slow/1'))
    assert gate.arrival() == '/slow/1'
    handed_off.send(request('GET', '/slow/2'))
    assert gate.arrival() == '/slow/2'
    receiving.send(request('POST', '/3', 'Content-Length: 6', body=b'abc'))
    worker.until_connected(3)
    drain(worker)
    assert is_refused(worker)
    receiving.send(b'def')
    gate.let(2)
    for client, body in ((running, b'/slow/1 '), (handed_off, b'/slow/2 '), (receiving, b'/3 abcdef')):
        response = client.response()
        assert (response.body, response.headers['connection']) == (body, 'close')
        assert client.is_closed()
        client.close()
    worker.join()


def test_a_request_that_is_on_its_way_to_an_idle_connection_is_the_last(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To close an idle connection at once would lose the request that its client has just sent."""
    monkeypatch.setattr(connection, 'LINGER', DEADLINE)
    worker = serve(echo)
    kept, fresh = worker.connect(), worker.connect()
    assert kept.get('/1').body == b'/1 '
    worker.until_connected(2)
    drain(worker)
    for client in (kept, fresh):
        response = client.get('/last')
        assert (response.body, response.headers['connection']) == (b'/last ', 'close')
        assert client.is_closed()
        client.close()
    worker.join()


def test_idle_connections_are_closed_after_a_moment(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, 'LINGER', 0.1)
    worker = serve(echo)
    kept, fresh = worker.connect(), worker.connect()
    assert kept.get().status == 200
    worker.until_connected(2)
    drain(worker)
    assert kept.is_closed()
    assert fresh.is_closed()
    worker.join()


def test_requests_that_wait_for_a_thread_are_answered(serve: Serve, gate: Gate) -> None:
    """All threads are busy, so nobody listens at that moment: a drain must not stumble over that."""
    worker = serve(gated(gate), threads=1)
    clients = [worker.connect() for _ in range(3)]
    worker.until_connected(3)
    for number, client in enumerate(clients):
        client.send(request('GET', f'/slow/{number}'))
        if number == 0:
            gate.arrival()
    worker.until_waiting(2)
    assert not worker.loop.acceptor._listening
    drain(worker)
    gate.let(3)
    for number, client in enumerate(clients):
        assert client.response().body == b'/slow/%d ' % number
        assert client.is_closed()
        client.close()
    worker.join()


def test_a_pipeline_ends_with_the_request_in_progress(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate))
    client = worker.connect()
    client.send(request('GET', '/slow') + request('GET', '/next'))
    gate.arrival()
    drain(worker)
    gate.let()
    assert client.response().headers['connection'] == 'close'
    assert client.is_closed(), 'the client knows that what came after that was not served'
    client.close()
    worker.join()


def test_a_slow_reader_is_served_to_the_end(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        return (b'x' * 100_000 for _ in range(100))

    worker = serve(app)
    client = worker.connect(receive_buffer=65536)
    client.send(request())
    worker.until_parked(1)
    drain(worker)
    assert client.response().body == b'x' * 10_000_000
    client.close()
    worker.join()


def test_an_application_that_is_stuck_is_left_behind(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate), threads=1)
    stuck, waiting, receiving = worker.connect(), worker.connect(), worker.connect()
    worker.until_connected(3)
    stuck.send(request('GET', '/slow'))
    gate.arrival()
    waiting.send(request('GET', '/waiting'))
    receiving.send(b'GET')
    worker.until_waiting(1)
    drain(worker, timeout=0.1)
    worker.join()
    assert waiting.is_closed()
    assert receiving.is_closed()
    assert stuck.is_quiet(), 'its call goes on'
    gate.let()
    assert stuck.response().body == b'/slow ', 'and if it ends while there is a process, it is answered'
    assert stuck.is_closed()


def test_a_generator_that_outlives_the_loop_ends_when_its_client_does_not_read(serve: Serve, gate: Gate) -> None:
    closed = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        gate.enter()
        return endless(closed)

    worker = serve(app)
    client = worker.connect(receive_buffer=4096)
    client.send(request())
    gate.arrival()
    drain(worker, timeout=0.0)
    worker.join()
    gate.let()
    assert closed.wait(DEADLINE), 'nobody would ever wake it'


def test_a_second_drain_can_only_be_shorter(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate))
    client = worker.connect()
    client.send(request('GET', '/slow'))
    gate.arrival()
    drain(worker, timeout=DEADLINE * 10)
    drain(worker, timeout=0.05)
    drain(worker, timeout=DEADLINE * 10)
    worker.join()


def test_what_the_kernel_had_queued_is_served(serve: Serve, gate: Gate) -> None:
    """Nobody else has the socket: whoever is in its queue would be reset."""
    worker = serve(gated(gate), threads=1)
    running = worker.connect()
    running.send(request('GET', '/slow'))
    gate.arrival()
    worker.until(lambda: not worker.loop.acceptor._listening)
    queued = [worker.connect() for _ in range(5)]
    queued[0].send(request('GET', '/sent'))
    drain(worker, backlog=ACCEPT)
    gate.let()
    assert running.response().status == 200
    assert queued[0].response().body == b'/sent '
    for client in queued[1:]:
        response = client.get('/late')
        assert (response.body, response.headers['connection']) == (b'/late ', 'close')
    for client in (running, *queued):
        client.close()
    worker.join()


def busy(worker: Worker, gate: Gate) -> Client:
    """A client whose request is in the only thread: nobody listens until it may go on."""
    running = worker.connect()
    running.send(request('GET', '/slow'))
    gate.arrival()
    worker.until(lambda: not worker.loop.acceptor._listening)
    return running


def queued(worker: Worker, count: int) -> list[Client]:
    """Clients that have connected and sent a request each, and have not been accepted."""
    clients = [worker.connect() for _ in range(count)]
    for number, client in enumerate(clients):
        client.send(request('GET', f'/{number}'))
    return clients


def check_answers(clients: list[Client]) -> None:
    for number, client in enumerate(clients):
        response = client.response()
        assert (response.body, response.headers['connection']) == (b'/%d ' % number, 'close')
        client.close()


def test_more_than_there_are_slots_for_is_served_too(serve: Serve, gate: Gate) -> None:
    """Nobody is closed to make room for others who have waited for no longer."""
    worker = serve(gated(gate), threads=1, pool_size=2)
    running = busy(worker, gate)
    clients = queued(worker, 20)
    drain(worker, backlog=ACCEPT)
    gate.let()
    assert running.response().status == 200
    running.close()
    check_answers(clients)
    worker.join()


def test_a_lack_of_descriptors_is_waited_out(serve: Serve, gate: Gate, log: Log) -> None:
    worker = serve(gated(gate), threads=1)
    running = busy(worker, gate)
    clients = queued(worker, 5)
    worker.listener.socket = Exhausted(worker.listener.socket)  # type: ignore[assignment]
    drain(worker, backlog=ACCEPT)
    log.wait_for('cannot accept')
    gate.let()
    assert running.response().status == 200
    running.close()
    check_answers(clients)
    worker.join()
    assert worker.listener.fileno() == -1


class Exhausted:
    """A listening socket in a process that has no descriptor left for the first two connections."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._refusals = 2
        self.close = sock.close
        self.fileno = sock.fileno

    def accept(self) -> tuple[socket.socket, object]:
        if self._refusals:
            self._refusals -= 1
            raise OSError(errno.EMFILE, 'Too many open files')
        return self._socket.accept()


def test_what_is_still_to_be_accepted_can_be_given_up(serve: Serve, gate: Gate) -> None:
    """The master has died: a new one must be able to bind."""
    worker = serve(gated(gate), threads=1, pool_size=1)
    running = busy(worker, gate)
    queued(worker, 1)
    drain(worker, backlog=ACCEPT)
    assert worker.listener.fileno() >= 0
    worker.in_loop(worker.loop.acceptor.close)
    assert worker.listener.fileno() == -1
    gate.let()
    assert running.response().status == 200
    running.close()
    worker.join()


@pytest.mark.skipif(not hasattr(socket, 'TCP_DEFER_ACCEPT'), reason='only Linux has it')
def test_a_handshake_that_has_begun_is_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is connected as far as it knows.  Here the kernel ignores its last segment until data come with it."""
    monkeypatch.setattr(acceptor, 'SETTLE', 1.0)
    worker = serve(echo)
    worker.listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 10)
    client = worker.connect()
    drain(worker, backlog=ACCEPT)
    assert client.get('/1').body == b'/1 '
    assert client.is_closed()
    client.close()
    worker.join()
    assert is_refused(worker)


def test_a_response_that_promised_to_keep_the_connection_keeps_it_for_a_moment(
    serve: Serve, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its head was out before the drain began."""
    monkeypatch.setattr(connection, 'LINGER', 0.1)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [('Content-Length', '2')])
        yield b'a'
        gate.enter()
        yield b'b'

    worker = serve(app)
    client = worker.connect()
    client.send(request())
    gate.arrival()
    drain(worker)
    gate.let()
    response = client.response()
    assert response.body == b'ab'
    assert 'connection' not in response.headers
    before = time.monotonic()
    assert client.is_closed()
    worker.join()
    assert time.monotonic() - before < worker.settings.keepalive_timeout / 2


def test_a_handshake_that_ends_in_a_drain_is_followed_by_one_request(
    serve: Serve, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, 'LINGER', 0.5)
    worker = serve(echo, **certificates.options)
    silent, asking = worker.connect(), worker.connect()
    worker.until_connected(2)
    drain(worker)
    for client in (silent, asking):
        client.speak_tls(trusting(certificates))
    assert asking.get('/1').headers['connection'] == 'close'
    before = time.monotonic()
    assert silent.is_closed()
    assert time.monotonic() - before < worker.settings.header_timeout / 2
    for client in (silent, asking):
        client.close()
    worker.join()


def test_what_the_kernel_had_queued_is_left_to_others(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate), threads=1)
    sibling = worker.listener.duplicate()
    try:
        running = worker.connect()
        running.send(request('GET', '/slow'))
        gate.arrival()
        worker.until(lambda: not worker.loop.acceptor._listening)
        queued = worker.connect()
        drain(worker)
        gate.let()
        running.response()
        running.close()
        worker.join()
        accepted, _ = sibling.socket.accept()
        accepted.close()
        assert queued.is_closed()
    finally:
        sibling.close()


def test_the_scoreboard_says_so(serve: Serve, gate: Gate) -> None:
    row = scoreboard.Scoreboard(1)[0]
    worker = serve(gated(gate), row=row)
    client, other = worker.connect(), worker.connect()
    assert client.get().status == 200
    client.send(request('GET', '/slow'))
    gate.arrival()
    other.send(b'nonsense\r\n\r\n')
    assert other.response().status == 400
    worker.until(lambda: row.get('running') == 1 and row.get('errors') == 1)
    assert {name: row.get(name) for name in ('running', 'connections', 'accepted', 'requests', 'errors')} == {
        'running': 1,
        'connections': 2,
        'accepted': 2,
        'requests': 2,
        'errors': 1,
    }
    drain(worker)
    assert row.get('state') == scoreboard.DRAINING
    gate.let()


# --- stop, and the listeners --------------------------------------------------------------------------------------


def test_stop_closes_everything(serve: Serve, gate: Gate) -> None:
    closed = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/large':
            return gated(gate)(environ, start_response)
        start_response('200 OK', list(PLAIN))
        return endless(closed)

    worker = serve(app)
    idle, half, large, stuck = (worker.connect(receive_buffer=4096) for _ in range(4))
    assert idle.get().status == 200
    half.send(b'GET / HT')
    large.send(request('GET', '/large'))
    worker.until_parked(1)
    stuck.send(request('GET', '/slow'))
    gate.arrival()
    worker.loop.call_soon_threadsafe(worker.loop.stop)
    worker.join()
    assert idle.is_closed()
    assert half.is_closed()
    assert closed.wait(DEADLINE), 'the generator whose thread was parked'
    assert is_refused(worker)
    gate.let()
    assert stuck.response().status == 200


def test_stop_while_nobody_listens(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate), threads=1)
    client = worker.connect()
    client.send(request('GET', '/slow'))
    gate.arrival()
    worker.until(lambda: not worker.loop.acceptor._listening)
    worker.loop.call_soon_threadsafe(worker.loop.stop)
    worker.join()


def test_listeners_can_be_closed_first(serve: Serve) -> None:
    """As a worker does whose master died: a new one must be able to bind while the old requests are finished."""
    worker = serve(echo)
    client = worker.connect()
    assert client.get('/1').body == b'/1 '
    worker.in_loop(worker.loop.acceptor.close)
    assert is_refused(worker)
    assert client.get('/2').headers.get('connection') is None
    worker.in_loop(worker.loop.acceptor.close)
    drain(worker)
    assert client.get('/3').headers['connection'] == 'close'
    client.close()
    worker.join()


def test_no_descriptor_is_left(serve: Serve) -> None:
    gc.collect()  # what other tests have left behind isn't this one's
    before = set(os.listdir('/proc/self/fd'))
    worker = serve(echo)
    clients = [worker.connect() for _ in range(5)]
    for client in clients[:3]:
        assert client.get().status == 200
    worker.stop()
    assert set(os.listdir('/proc/self/fd')) == before


# --- before, and from other threads -------------------------------------------------------------------------------


@pytest.mark.parametrize('order', ['drain', 'stop', 'close_listeners'])
def test_orders_may_come_before_the_loop_runs(log: object, order: str) -> None:
    listener = listeners.open_listener(LOOPBACK, Settings())
    loop = Loop(hello, [listener], Settings())
    if order == 'drain':
        loop.call_soon_threadsafe(lambda: loop.drain(1.0, LEAVE))
    elif order == 'stop':
        loop.call_soon_threadsafe(loop.stop)
    else:
        loop.call_soon_threadsafe(loop.acceptor.close)
        loop.call_soon_threadsafe(loop.stop)
    loop.run()
    assert listener.socket.fileno() == -1


def test_call_soon_wakes_a_loop_that_waits(serve: Serve) -> None:
    """And from any thread: each call is made once, by the leader, in the order of the calls of its thread."""
    worker = serve(hello)
    seen: list[tuple[int, int]] = []

    def call(thread: int) -> None:
        for number in range(200):
            worker.loop.call_soon_threadsafe(partial(seen.append, (thread, number)))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    worker.in_loop(lambda: None)
    assert len(seen) == 800
    for thread_number in range(4):
        assert [number for thread, number in seen if thread == thread_number] == list(range(200))


def test_call_soon_after_the_end_does_nothing(serve: Serve) -> None:
    worker = serve(hello)
    worker.stop()
    worker.loop.call_soon_threadsafe(lambda: pytest.fail('there is no loop'))


def test_watch(serve: Serve) -> None:
    worker = serve(hello)
    ours, theirs = socket.socketpair()
    seen: list[bytes] = []
    with ours, theirs:
        worker.in_loop(lambda: worker.loop.watch(theirs, lambda: seen.append(theirs.recv(100))))
        ours.send(b'one')
        worker.until(lambda: seen == [b'one'])
        ours.send(b'two')
        worker.until(lambda: seen == [b'one', b'two'])
        worker.in_loop(lambda: worker.loop.unwatch(theirs))
        ours.send(b'three')
        assert select.select([theirs], [], [], DEADLINE)[0]
        assert worker.connect().get().status == 200
        assert seen == [b'one', b'two']


def test_watching_goes_on_while_all_threads_are_stuck(serve: Serve, gate: Gate) -> None:
    """The master's orders, and signals, are what it is for."""
    worker = serve(gated(gate), threads=2)
    for _ in range(2):
        client: Client = worker.connect()
        client.send(request('GET', '/slow'))
        gate.arrival()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker.in_loop(lambda: worker.loop.watch(theirs, lambda: theirs.sendall(theirs.recv(100))))
        ours.settimeout(DEADLINE)
        for _ in range(10):
            ours.send(b'ping')
            assert ours.recv(100) == b'ping'
        worker.in_loop(lambda: worker.loop.unwatch(theirs))
