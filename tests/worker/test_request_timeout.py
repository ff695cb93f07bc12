"""request_timeout: a call that takes too long costs its own client 504, its thread is told, and nobody else notices.

Where a test needs time to pass, it waits for the 504 of another request.
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import h11
import pytest

from prefork.errors import RequestTimeout
from prefork.logs import AccessLog
from prefork.scoreboard import Scoreboard
from prefork.worker.backlog import Backlog
from tests.worker.harness import DEADLINE, PLAIN, echo, hello, request, trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.certificates import Certificates
    from tests.worker.conftest import Serve
    from tests.worker.harness import App, Environ, Gate, Log, StartResponse, Worker

SHORT = 0.2
"""Seconds of request_timeout."""

WORN = f'a call has taken longer than request_timeout = {SHORT:g} s'


class Stuck:
    """An application that is stuck at ``/stuck``, in C code that lets others run, until the test says ``release``.

    What comes out of that wait is in ``ends``, once for each call.
    """

    def __init__(self, app: App = echo) -> None:
        self._app = app
        self._locks: list[threading.Lock] = []
        self.begun: SimpleQueue[str] = SimpleQueue()
        self.ends: SimpleQueue[BaseException | None] = SimpleQueue()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/stuck':
            self.wait()
        return self._app(environ, start_response)

    def wait(self) -> None:
        lock = threading.Lock()
        lock.acquire()
        self._locks.append(lock)
        self.begun.put('')
        try:
            lock.acquire(timeout=DEADLINE)
        except BaseException as error:
            self.ends.put(error)
            raise
        self.ends.put(None)

    def release(self) -> None:
        for lock in self._locks:
            lock.release()
        self._locks.clear()

    def end(self) -> BaseException | None:
        return self.ends.get(timeout=DEADLINE)


@pytest.fixture
def stuck() -> Iterator[Callable[..., Stuck]]:
    made: list[Stuck] = []

    def make(*args: App) -> Stuck:
        made.append(Stuck(*args))
        return made[-1]

    yield make
    for each in made:
        each.release()


def outlast(worker: Worker) -> None:
    """Let longer than request_timeout pass."""
    client = worker.connect()
    assert client.get('/stuck').status == 504
    client.close()


def until_found(worker: Worker) -> None:
    """Until every call that was given up has ended."""
    worker.until(lambda: not worker.loop.crew.lost)


@pytest.mark.parametrize('threads', [1, 2, 4])
def test_the_stuck_request_alone_is_answered_504(
    serve: Serve, stuck: Callable[..., Stuck], log: Log, threads: int
) -> None:
    app = stuck()
    worker = serve(app, threads=threads, request_timeout=SHORT)
    client, other = worker.connect(), worker.connect()
    assert other.get('/before').body == b'/before '
    client.send(request('GET', '/stuck?x=1'))
    app.begun.get(timeout=DEADLINE)
    assert other.get('/beside').body == b'/beside ', 'with one thread, as soon as that is given up'
    response = client.response()
    assert (response.status, response.headers['connection']) == (504, 'close')
    assert client.is_closed()
    for _ in range(3):
        assert worker.connect().get('/after').body == b'/after '
    assert log.text.count('GET /stuck?x=1 HTTP/1.1: no answer within request_timeout = 0.2 s') == 1
    app.release()
    assert isinstance(app.end(), RequestTimeout)
    until_found(worker)
    assert other.get('/end').body == b'/end '
    assert 'the application failed' not in log.text


def test_the_log_shows_where_the_application_is(serve: Serve, stuck: Callable[..., Stuck], log: Log) -> None:
    worker = serve(stuck(), request_timeout=SHORT)
    outlast(worker)
    frames = [line for line in log.text.splitlines() if line.startswith('  File ')]
    assert [line.rpartition(' in ')[2] for line in frames] == ['__call__', 'wait']
    assert all(__file__ in line for line in frames)
    assert 'lock.acquire(timeout=DEADLINE)' in log.text


@pytest.mark.parametrize('threads', [1, 4])
def test_all_threads_stuck_and_more_that_wait(serve: Serve, stuck: Callable[..., Stuck], threads: int) -> None:
    worker = serve(stuck(), threads=threads, request_timeout=SHORT)
    clients = [worker.connect() for _ in range(2 * threads + 1)]
    for client in clients:
        assert client.get().status == 200
    for client in clients[:-1]:
        client.send(request('GET', '/stuck'))
    clients[-1].send(request('GET', '/other'))
    for client in clients[:-1]:
        assert client.response().status == 504
    assert clients[-1].response().body == b'/other '
    assert len(worker.loop.crew.lost) == 2 * threads


def test_a_call_in_python_code_is_ended(serve: Serve) -> None:
    seen: SimpleQueue[str] = SimpleQueue()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/':
            return hello(environ, start_response)
        try:
            while True:
                try:
                    while True:
                        pass
                except Exception:
                    seen.put('swallowed')  # as a loop that retries whatever goes wrong
        finally:
            seen.put('cleaned up')

    worker = serve(app, threads=1, request_timeout=SHORT)
    assert worker.connect().get('/spin').status == 504
    assert seen.get(timeout=DEADLINE) == 'cleaned up'
    until_found(worker)
    assert worker.connect().get('/').status == 200


def test_an_application_that_catches_it_and_answers(serve: Serve, stuck: Callable[..., Stuck], log: Log) -> None:
    """Nobody hears of its answer, and its thread is a thread like any other again."""
    results: SimpleQueue[Any] = SimpleQueue()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/caught':
            return waiting(environ, start_response)
        try:
            waiting.wait()
        except BaseException as error:
            results.put(error)
        write = start_response('200 OK', list(PLAIN))
        for _ in range(2):
            try:
                write(b'too late')
            except BaseException as error:
                results.put(error)
        return [b'too late']

    waiting = stuck()
    worker = serve(app, threads=1, request_timeout=SHORT)
    client = worker.connect()
    assert client.get('/caught').status == 504
    waiting.release()
    for _ in range(3):
        assert isinstance(results.get(timeout=DEADLINE), RequestTimeout)
    until_found(worker)
    assert client.is_closed()
    assert worker.connect().get('/after').body == b'/after '
    assert 'failed' not in log.text


def test_a_response_that_is_out_in_part_is_broken_off(serve: Serve, stuck: Callable[..., Stuck]) -> None:
    closed = threading.Event()

    class Blocks:
        def __iter__(self) -> Iterator[bytes]:
            yield b'first'
            app.wait()
            yield b'second'

        def close(self) -> None:
            closed.set()

    def blocks(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        return Blocks()

    app = stuck(blocks)
    worker = serve(app, request_timeout=SHORT)
    client, old = worker.connect(), worker.connect()
    client.send(request())
    with pytest.raises(h11.RemoteProtocolError, match='closed'):
        client.response()
    old.send(request(version='1.0'))
    old.read_past(b'first')
    with pytest.raises(ConnectionResetError):  # else the end of the connection would be that of the body
        old.rest()
    assert not closed.is_set()
    app.release()
    assert closed.wait(DEADLINE)
    for _ in range(2):
        assert isinstance(app.end(), RequestTimeout)
    until_found(worker)


def test_before_the_first_block_there_is_still_an_answer(serve: Serve, stuck: Callable[..., Stuck]) -> None:
    def blocks(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [*PLAIN, ('X-Never', 'seen')])
        app.wait()
        yield b'never'

    app = stuck(blocks)
    response = serve(app, request_timeout=SHORT).connect().get()
    assert response.status == 504
    assert 'x-never' not in response.headers


@pytest.mark.parametrize('version', ['1.1', '1.0'])
def test_a_close_that_hangs_costs_the_client_nothing(serve: Serve, stuck: Callable[..., Stuck], version: str) -> None:
    """It has had all of the response: its connection goes on without the thread."""

    class Body(list[bytes]):
        def close(self) -> None:
            app.wait()

    def body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [*PLAIN, ('Content-Length', '4')])
        return Body([b'body']) if environ['PATH_INFO'] == '/' else [b'next']

    app = stuck(body)
    worker = serve(app, threads=1, request_timeout=SHORT)
    client = worker.connect()
    client.send(request('GET', '/', 'Connection: keep-alive', version=version) + request('GET', '/next'))
    assert client.response().body == b'body'
    assert client.response().body == b'next'
    assert len(worker.loop.crew.lost) == 1
    app.release()
    assert isinstance(app.end(), RequestTimeout)
    until_found(worker)
    assert client.get('/next').body == b'next'


def test_a_close_that_hangs_after_a_call_that_did(serve: Serve, stuck: Callable[..., Stuck], log: Log) -> None:
    class Body:
        def __iter__(self) -> Iterator[bytes]:
            app.wait()
            yield b''

        def close(self) -> None:
            app.wait()
            raise LookupError('nobody hears of it')

    def body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        return Body()

    app = stuck(body)
    worker = serve(app, threads=1, request_timeout=SHORT)
    assert worker.connect().get().status == 504
    app.begun.get(timeout=DEADLINE)
    app.release()
    assert isinstance(app.end(), RequestTimeout)
    app.begun.get(timeout=DEADLINE)
    outlast_by_another = worker.connect().get('/stuck')
    assert outlast_by_another.status == 504
    app.release()
    until_found(worker)
    assert log.text.count('no answer within') == 2, 'what was given up once is given up'


def test_head_and_access_log(serve: Serve, stuck: Callable[..., Stuck]) -> None:
    lines: SimpleQueue[str] = SimpleQueue()

    class Lines(AccessLog):
        def flush(self) -> None:
            while self._lines:
                lines.put(self._lines.popleft())

    worker = serve(stuck(), request_timeout=SHORT, access_log=Lines(1, '%(request_line)s %(status_code)s'))
    client = worker.connect()
    client.send(request('HEAD', '/stuck'))
    assert client.response('HEAD').status == 504
    assert client.is_closed()
    assert lines.get(timeout=DEADLINE) == 'HEAD /stuck HTTP/1.1 504\n'


def test_over_tls(serve: Serve, stuck: Callable[..., Stuck], certificates: Certificates) -> None:
    worker = serve(stuck(), request_timeout=SHORT, **certificates.options)
    client = worker.connect_tls(trusting(certificates))
    assert client.get('/stuck').status == 504
    assert client.is_closed()


def test_a_client_that_has_gone(serve: Serve, stuck: Callable[..., Stuck], log: Log) -> None:
    app = stuck()
    worker = serve(app, request_timeout=SHORT)
    client = worker.connect()
    client.send(request('GET', '/stuck'))
    app.begun.get(timeout=DEADLINE)
    client.reset()
    outlast(worker)
    assert worker.connect().get('/after').status == 200
    assert log.text.count('no answer within') == 2


# --- whose time it is ---------------------------------------------------------------------------------------------


def test_each_block_has_its_own_time(serve: Serve, gate: Gate, stuck: Callable[..., Stuck]) -> None:
    def blocks(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        for number in range(100):
            threading.Event().wait(SHORT / 50)
            yield b'%d ' % number

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return (waiting if environ['PATH_INFO'] == '/stuck' else blocks)(environ, start_response)

    waiting = stuck()
    worker = serve(app, request_timeout=SHORT)
    client = worker.connect()
    client.send(request())
    outlast(worker)
    outlast(worker)
    assert client.response().body == b''.join(b'%d ' % number for number in range(100))


@pytest.mark.parametrize('how', ['blocks', 'write'])
@pytest.mark.parametrize('max_parked', [256, 0], ids=['parked', 'spooled'])
def test_the_time_of_a_slow_reader_is_not_the_applications(
    serve: Serve, stuck: Callable[..., Stuck], how: str, max_parked: int
) -> None:
    blocks = [b'x' * 500_000] * 20

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/stuck':
            return waiting(environ, start_response)
        write = start_response('200 OK', list(PLAIN))
        if how == 'blocks':
            return iter(blocks)
        for block in blocks:
            write(block)
        return []

    waiting = stuck()
    worker = serve(app, request_timeout=SHORT, max_parked=max_parked, body_buffer=1 << 30)
    client = worker.connect(receive_buffer=4096)
    client.send(request())
    if max_parked:
        worker.until_parked(1)
    outlast(worker)
    outlast(worker)
    assert client.response().body == b''.join(blocks)


def test_an_application_that_hangs_after_a_slow_reader(serve: Serve, stuck: Callable[..., Stuck]) -> None:
    def blocks(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        yield b'x' * 10_000_000
        app.wait()
        yield b'never'

    app = stuck(blocks)
    worker = serve(app, request_timeout=SHORT)
    client = worker.connect(receive_buffer=4096)
    client.send(request())
    worker.until_parked(1)
    with pytest.raises(h11.RemoteProtocolError, match='closed'):
        client.response()
    app.release()
    assert isinstance(app.end(), RequestTimeout)
    until_found(worker)


def test_an_application_that_hangs_after_a_slow_body(serve: Serve, stuck: Callable[..., Stuck]) -> None:
    def reader(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ['wsgi.input'].read()
        app.wait()
        return hello(environ, start_response)

    app = stuck(reader)
    worker = serve(app, request_timeout=SHORT, request_buffering=False)
    client = worker.connect()
    client.send(request('POST', '/', 'Content-Length: 3'))
    worker.until_parked(1)
    client.send(b'abc')
    assert client.response().status == 504
    app.release()
    assert isinstance(app.end(), RequestTimeout)
    until_found(worker)


@pytest.mark.parametrize('max_parked', [256, 0], ids=['parked', 'asleep'])
def test_the_time_of_a_body_is_not_the_applications(serve: Serve, stuck: Callable[..., Stuck], max_parked: int) -> None:
    worker = serve(stuck(), request_timeout=SHORT, request_buffering=False, max_parked=max_parked)
    client = worker.connect()
    client.send(request('POST', '/', 'Content-Length: 9'))
    for piece in (b'one', b'two', b'six'):
        worker.until_parked(1)
        outlast(worker)
        client.send(piece)
    assert client.response().body == b'/ onetwosix'


def test_a_body_is_not_read_any_more(serve: Serve, stuck: Callable[..., Stuck]) -> None:
    """Its connection is somebody else's by then."""
    results: SimpleQueue[Any] = SimpleQueue()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/body':
            return hello(environ, start_response)
        try:
            waiting.wait()
        except RequestTimeout:
            for _ in range(2):
                try:
                    results.put(environ['wsgi.input'].read(1))
                except BaseException as error:
                    results.put(error)
        return []

    waiting = stuck()
    worker = serve(app, threads=1, request_timeout=SHORT, request_buffering=False)
    client = worker.connect()
    client.send(request('POST', '/body', 'Content-Length: 9', body=b'a'))
    assert client.response().status == 504
    worker.take_turns()  # the stream is closed when the answer is out
    waiting.release()
    for _ in range(2):
        assert isinstance(results.get(timeout=DEADLINE), ValueError), 'as reading a closed file is'
    until_found(worker)


def test_a_request_that_waits_for_a_thread_has_all_its_time(serve: Serve, stuck: Callable[..., Stuck]) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/long':
            threading.Event().wait(SHORT / 2)
        return waiting(environ, start_response)

    waiting = stuck()
    worker = serve(app, threads=1, request_timeout=SHORT)
    client, other = worker.connect(), worker.connect()
    assert client.get().status == other.get().status == 200
    client.send(request('GET', '/stuck'))
    waiting.begun.get(timeout=DEADLINE)
    other.send(request('GET', '/long'))
    assert client.response().status == 504
    assert other.response().body == b'/long '


def test_no_deadline(serve: Serve, gate: Gate) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        gate.enter()
        return echo(environ, start_response)

    worker = serve(app, request_timeout=0.0)
    client, other = worker.connect(), worker.connect()
    client.send(request('GET', '/long'))
    gate.arrival()
    worker.in_loop(lambda: setattr(worker.loop, 'clock', lambda: time.monotonic() + 1000))
    worker.in_loop(lambda: None)
    assert other.is_closed(), 'all other deadlines have passed'
    gate.let()
    assert client.response().body == b'/long '


# --- the worker ---------------------------------------------------------------------------------------------------


def test_the_worker_is_worn_and_finishes_what_else_it_has(serve: Serve, stuck: Callable[..., Stuck]) -> None:
    row = Scoreboard(1)[0]
    reasons: SimpleQueue[str] = SimpleQueue()
    worker = serve(stuck(), request_timeout=SHORT, row=row, on_worn=reasons.put)
    outlast(worker)
    assert reasons.get(timeout=DEADLINE) == WORN
    outlast(worker)
    assert reasons.empty(), 'it is told once'
    worker.until(lambda: row.get('running') == 2)
    assert row.get('errors') == 2
    kept = worker.connect()
    assert kept.get('/kept').body == b'/kept '
    worker.in_loop(lambda: worker.loop.drain(DEADLINE, Backlog.LEAVE))
    assert kept.get('/last').headers['connection'] == 'close'
    kept.close()
    worker.join()  # without the two that hang


def test_a_worker_with_nothing_but_a_lost_call_sleeps(serve: Serve, stuck: Callable[..., Stuck]) -> None:
    app = stuck()
    worker = serve(app, request_timeout=SHORT)
    client = worker.connect()
    assert client.get('/stuck').status == 504
    client.close()
    worker.until_connected(0)
    worker.until(lambda: worker.loop._next_sweep == float('inf'))
    assert worker.in_loop(worker.loop._prepare) is None


def test_the_loop_wakes_for_the_deadline_of_a_call(serve: Serve, gate: Gate) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        gate.enter()
        return hello(environ, start_response)

    worker = serve(app, request_timeout=12.0)
    client = worker.connect()
    client.send(request())
    gate.arrival()
    (exchange,) = worker.loop.crew.running.values()
    worker.in_loop(lambda: worker.loop._sweep(exchange.since + 3.0))
    assert worker.loop._next_sweep == exchange.since + 12.0, 'and not when a client could be late next'
    gate.let()
    assert client.response().status == 200


def test_calls_that_end_when_their_time_does(serve: Serve, log: Log) -> None:
    """Each is either answered or given up, whatever happens in that moment, and no exception goes astray."""
    short = 0.05

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        end = threading.Event()
        threading.Timer(float(environ['QUERY_STRING']), end.set).start()
        while not end.is_set():
            pass
        return echo(environ, start_response)

    worker = serve(app, threads=2, request_timeout=short)
    statuses = set()
    for number in range(40):
        client = worker.connect()
        response = client.get(f'/x?{short + 0.012 * (number % 5 - 1):.4f}')
        assert response.status in (200, 504)
        statuses.add(response.status)
        client.close()
    assert statuses == {200, 504}
    until_found(worker)
    assert worker.connect().get('/end?0').body == b'/end '
    assert 'Traceback' not in log.text
