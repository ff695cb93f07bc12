"""Threads over the whole path: a call that stalls delays nobody, and each request keeps its thread and its context."""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from prefork.worker.handoff import SWITCH_INTERVAL
from tests.worker.applications import gated
from tests.worker.harness import DEADLINE, PLAIN, Client, Gate, echo, hello, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, Log, StartResponse


def slowest_of_fifty(client: Client) -> float:
    times = []
    for _ in range(50):
        start = time.perf_counter()
        assert client.get('/other').status == 200
        times.append(time.perf_counter() - start)
    return max(times)


@pytest.mark.parametrize('threads', [4, 2])
def test_a_call_that_blocks_delays_no_other_by_more_than_20_ms(serve: Serve, gate: Gate, threads: int) -> None:
    """In the best of several rounds: a machine with other things to do delays one or the other as well."""
    worker = serve(gated(gate), threads=threads)
    other = worker.connect()
    other.get()
    slowest = []
    for _ in range(5):
        client = worker.connect()
        client.send(request('GET', '/slow'))
        gate.arrival()
        slowest.append(slowest_of_fifty(other))
        gate.let()
        assert client.response().body == b'/slow '
        if slowest[-1] < 0.02:
            return
    pytest.fail(f'the slowest round trips beside a call that blocks took {slowest} s')


def test_a_call_that_computes_delays_no_other_by_more_than_20_ms(serve: Serve) -> None:
    stop, begun = threading.Event(), threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/slow':
            begun.set()
            while not stop.is_set():
                pass
        return echo(environ, start_response)

    worker = serve(app)
    client, other = worker.connect(), worker.connect()
    other.get()
    client.send(request('GET', '/slow'))
    try:
        assert begun.wait(DEADLINE)
        slowest = [slowest_of_fifty(other) for _ in range(5)]
    finally:
        stop.set()
    assert min(slowest) < 0.02
    assert client.response().status == 200


def test_the_switch_interval_is_short_while_any_loop_runs(serve: Serve) -> None:
    """Beside a thread that computes, each round trip takes a whole interval."""
    before = sys.getswitchinterval()
    first, second = serve(hello), serve(hello)
    for worker in (first, second):
        worker.in_loop(lambda: None)
    assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL)
    first.stop()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL), 'the second one still needs it'
    second.stop()
    assert sys.getswitchinterval() == pytest.approx(before)


def test_one_thread_makes_requests_wait_and_nothing_else(serve: Serve, gate: Gate) -> None:
    """The loop goes on while the only call there may be is stuck: deadlines pass, and requests are received."""
    worker = serve(gated(gate), threads=1, header_timeout=0.3, keepalive_timeout=0.3)
    idle, late, second = worker.connect(), worker.connect(), worker.connect()
    assert idle.get().status == 200
    late.send(b'GET / HT')
    first = worker.connect()
    first.send(request('GET', '/slow'))
    gate.arrival()
    second.send(request('GET', '/slow/second'))
    third = worker.connect()  # by the kernel; it is accepted when there is a thread for it
    third.send(request('GET', '/third'))
    assert idle.is_closed()
    assert late.response().status == 408
    worker.until_waiting(1)
    assert gate.is_empty()
    gate.let()
    assert first.response().body == b'/slow '
    assert gate.arrival() == '/slow/second'
    gate.let()
    assert second.response().body == b'/slow/second '
    assert third.response().body == b'/third '


def test_four_threads_run_four_calls_and_the_fifth_waits(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate), threads=4)
    clients = [worker.connect() for _ in range(5)]
    for client in clients:
        assert client.get().status == 200
    for number, client in enumerate(clients[:4]):
        client.send(request('GET', f'/slow/{number}'))
        assert gate.arrival() == f'/slow/{number}'
    clients[4].send(request('GET', '/slow/4'))
    worker.until_waiting(1)
    assert gate.is_empty()
    gate.let()
    assert gate.arrival() == '/slow/4'
    gate.let(4)
    assert [client.response().body for client in clients] == [b'/slow/%d ' % number for number in range(5)]


def test_who_has_the_lead_back_looks_again_who_waits(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its call ran another thread had the lead, served the last of those who waited, and lost the lead in that.

    The first one saw two of them before its call, and none is left after it.
    """
    monkeypatch.setattr('prefork.worker.handoff.TICK', 0.2)  # time for a call to end before a third one takes the lead
    gates = {f'/{number}': Gate() for number in range(4)}

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ['PATH_INFO']
        if path in gates:
            if path == '/3':
                gates['/2'].let()
            gates[path].enter()
        return echo(environ, start_response)

    worker = serve(app, threads=2)
    clients = [worker.connect() for _ in gates]
    for client in clients:
        client.get()
    for number, client in enumerate(clients):
        client.send(request('GET', f'/{number}'))
        if number < 2:
            gates[f'/{number}'].arrival()
        else:
            worker.until_waiting(number - 1)
    for number in range(2):
        gates[f'/{number}'].let()
        gates[f'/{number + 2}'].arrival()
    assert clients[2].response().body == b'/2 '
    assert clients[2].get().status == 200
    gates['/3'].let()
    assert clients[3].response().body == b'/3 '


def test_those_that_wait_are_served_in_order(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate), threads=1)
    clients = [worker.connect() for _ in range(10)]
    for client in clients:
        assert client.get().status == 200
    for number, client in enumerate(clients):
        client.send(request('GET', f'/slow/{number}'))
        if number:
            worker.until_waiting(number)
    for number, client in enumerate(clients):
        assert gate.arrival() == f'/slow/{number}'
        gate.let()
        assert client.response().body == b'/slow/%d ' % number


def test_a_client_that_leaves_while_it_waits_for_a_thread(serve: Serve, gate: Gate) -> None:
    worker = serve(gated(gate), threads=1)
    first, second, third = worker.connect(), worker.connect(), worker.connect()
    for client in (first, second, third):
        assert client.get().status == 200
    first.send(request('GET', '/slow'))
    gate.arrival()
    second.send(request('GET', '/gone'))
    worker.until_waiting(1)
    second.reset()
    third.send(request('GET', '/third'))
    worker.until_waiting(2)
    gate.let()
    assert first.response().status == 200
    assert third.response().body == b'/third '


# --- one thread, one context --------------------------------------------------------------------------------------

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar('VARIABLE', default='nothing')


class Witness:
    """An iterable that notes where the application, its blocks and its ``close()`` ran."""

    def __init__(self, gate: Gate, size: int, count: int) -> None:
        self._gate = gate
        self._block = b'x' * size
        self._count = count
        self.threads: set[int] = set()
        self.values: list[str] = []
        self.closed = threading.Event()
        self.close_calls = 0

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/':
            return hello(environ, start_response)
        self._note('called')
        start_response('200 OK', list(PLAIN))
        return self

    def _note(self, value: str) -> None:
        self.threads.add(threading.get_ident())
        self.values.append(VARIABLE.get())
        VARIABLE.set(value)

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self._count):
            self._note(f'block {number}')
            if number == 1:
                self._gate.enter()
            yield self._block

    def close(self) -> None:
        self._note('closed')
        self.close_calls += 1
        self.closed.set()


@pytest.mark.parametrize(
    ('size', 'count'), [pytest.param(10, 5, id='handed off'), pytest.param(200_000, 50, id='handed off and parked')]
)
def test_a_request_keeps_its_thread_and_its_context(serve: Serve, gate: Gate, size: int, count: int) -> None:
    app = Witness(gate, size, count)
    worker = serve(app)
    client = worker.connect(receive_buffer=4096)
    other = worker.connect()
    client.send(request())
    gate.arrival()
    assert other.get('/other').body == b'hello', 'by another thread'
    gate.let()
    if size > 10:
        worker.until_parked(1)
        assert other.get('/other').body == b'hello'
    assert client.response().body == b'x' * size * count
    assert app.closed.wait(DEADLINE)
    assert len(app.threads) == 1
    assert app.values == ['nothing', 'called', *(f'block {number}' for number in range(count))]
    assert app.close_calls == 1


def test_context_does_not_leak_from_one_request_to_another(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        seen = VARIABLE.get()
        VARIABLE.set('set by another request')
        yield seen.encode()

    worker = serve(app)
    client = worker.connect()
    client.send(request() * 3)
    for _ in range(3):
        assert client.response().body == b'nothing'
    assert worker.connect().get().body == b'nothing'


def test_what_loading_set_is_there_in_each_request(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        return [VARIABLE.get().encode()]

    token = VARIABLE.set('loaded')
    try:
        worker = serve(app)
    finally:
        VARIABLE.reset(token)
    assert worker.connect().get().body == b'loaded'


# --- trouble ------------------------------------------------------------------------------------------------------


class BrokenLog:
    """An access log that can't take a line: a bug of ours, for tests of what bugs do."""

    def __init__(self) -> None:
        self.broken = True

    def add(self, *args: object) -> None:
        if self.broken:
            raise LookupError('a bug')

    def flush(self) -> None:
        pass


@pytest.mark.parametrize('case', ['at once', 'handed off', 'after a wait for a thread', 'parked'])
def test_a_bug_of_ours_costs_one_connection_and_not_the_worker(serve: Serve, log: Log, gate: Gate, case: str) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/large':
            start_response('200 OK', [])
            return iter([b'x' * 10_000_000, b'x'])
        return gated(gate)(environ, start_response)

    access_log = BrokenLog()
    access_log.broken = False
    worker = serve(app, access_log=access_log, threads=1)
    client, other = worker.connect(receive_buffer=4096), worker.connect()
    assert client.get().status == other.get().status == 200
    if case == 'at once':
        access_log.broken = True
        client.send(request('GET', '/quick'))
    elif case == 'handed off':
        client.send(request('GET', '/slow'))
        gate.arrival()
        assert worker.in_loop(lambda: True)
        access_log.broken = True
        gate.let()
    elif case == 'after a wait for a thread':
        other.send(request('GET', '/slow'))
        gate.arrival()
        client.send(request('GET', '/quick'))
        worker.until_waiting(1)
        worker.in_loop(lambda: None)
        access_log.broken = True
        gate.let()
        assert other.response().status == 200
        assert other.is_closed()
    else:
        client.send(request('GET', '/large'))
        worker.until_parked(1)
        access_log.broken = True
        assert client.response().status == 200
    client.rest()
    access_log.broken = False
    assert worker.connect().get().status == 200
    assert 'LookupError: a bug' in log.text
    log.entries.clear()
