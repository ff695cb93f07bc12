"""Ten times as many clients as threads stand still, wherever a client can: whoever comes then is served at once."""

from __future__ import annotations

import os
import select
import socket
import ssl
import statistics
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pytest

from prefork.worker.phase import Phase
from tests.serving import serve as serve_process
from tests.worker.harness import DEADLINE, PLAIN, Client, request, trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from typing import Any

    from tests.certificates import Certificates
    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, StartResponse, Worker

AT_ONCE = 0.05
"""Seconds within which a fresh request has its answer, connecting included."""

SIZE = 64 << 20
BLOCK = bytes(65536)
LARGE = bytes(SIZE)


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The same large response as a list, a generator and a file of the folder in the environment; else a small one."""
    path = environ['PATH_INFO']
    start_response('200 OK', list(PLAIN))
    if path == '/list':
        return [LARGE]
    if path == '/generator':
        return (BLOCK for _ in range(SIZE // len(BLOCK)))
    if path == '/file':
        result: Iterable[bytes] = environ['wsgi.file_wrapper'](open(os.environ['LARGE_FILE'], 'rb'))  # noqa: SIM115
        return result
    return [environ['wsgi.input'].read() or b'hello']


class Stall(NamedTuple):
    """What a client does before it stands still: it sends ``data``, and from then on a byte of ``drops`` now and then.

    It reads up to ``mark``, where there is one; where it ``sips``, it goes on with a byte now and then.
    """

    phase: Phase
    data: bytes
    drops: bytes = b''
    mark: bytes = b''
    sips: bool = False
    before_tls: bool = False
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def begin(self, client: Client) -> None:
        client.send(self.data)
        if self.mark:
            client.read_past(self.mark)

    def go_on(self, client: Client, count: int) -> None:
        if count < len(self.drops):
            client.send(self.drops[count : count + 1])
        elif self.sips:
            client.read(1)


HEAD = request('POST', '/', 'Content-Length: 1000')
END = b'\r\n\r\n'
PROXIED = {'proxy_protocol': True, 'trusted_proxies': ('127.0.0.0/8',)}
PREFACE = b'PROXY TCP4 192.0.2.7 198.51.100.1 1234 80\r\n'

STALLS = {
    'a handshake that does not begin': Stall(Phase.HANDSHAKE, b'', before_tls=True),
    'half a ClientHello': Stall(Phase.HANDSHAKE, b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', before_tls=True),
    'a byte of a ClientHello': Stall(Phase.HANDSHAKE, b'\x16', b'\x03\x01\x02\x00\x01\x00', before_tls=True),
    'nothing': Stall(Phase.IDLE, b''),
    'half a head': Stall(Phase.RECEIVING, HEAD[:-20]),
    'a byte of a head': Stall(Phase.RECEIVING, b'P', HEAD[1:20]),
    'half a body': Stall(Phase.RECEIVING, HEAD + b'x' * 500),
    'a byte of a body': Stall(Phase.RECEIVING, HEAD + b'x', b'x' * 20),
    'half a chunk': Stall(Phase.RECEIVING, request('POST', '/', 'Transfer-Encoding: chunked') + b'10\r\n12345'),
    'a list': Stall(Phase.SENDING, request('GET', '/list'), mark=END, sips=True),
    'a generator': Stall(Phase.SENDING, request('GET', '/generator'), mark=END, sips=True),
    'a file': Stall(Phase.SENDING, request('GET', '/file'), mark=END, sips=True),
    'many requests, of which none is read': Stall(Phase.SENDING, request('GET', '/generator') * 100, mark=END),
    'idle': Stall(Phase.IDLE, request(), mark=b'hello'),
    'after the last answer': Stall(Phase.LINGERING, request('GET', '/', 'Connection: close'), b'x' * 20, mark=b'hello'),
}
OF_ITS_OWN = {
    'half a body that is streamed': Stall(
        Phase.STREAMING, HEAD + b'x' * 500, b'x' * 20, options={'request_buffering': False}
    ),
    'half a preface': Stall(Phase.PREFACE, PREFACE[:20], PREFACE[20:], options=PROXIED),
}


def fresh(connect: Callable[[], Client], greeting: bytes = b'') -> float:
    """The seconds that a new client needs for its first answer."""
    started = time.monotonic()
    client = connect()
    client.send(greeting + request('GET', '/fresh'))
    assert client.response().body == b'hello'
    taken = time.monotonic() - started
    client.close()
    return taken


def check_fresh(connect: Callable[[], Client], stalled: Sequence[tuple[Stall, Client]], greeting: bytes = b'') -> None:
    """While the ``stalled`` ones go on, what is usual for a new client: a busy machine may make one or two wait."""
    times = []
    for count in range(9):
        for stall, client in stalled:
            stall.go_on(client, count)
        times.append(fresh(connect, greeting))
    assert statistics.median(times) < AT_ONCE, times


@pytest.fixture(autouse=True)
def large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'large'
    path.touch()
    os.truncate(path, SIZE)
    monkeypatch.setenv('LARGE_FILE', str(path))


def in_phase(worker: Worker, phase: Phase) -> int:
    return sum(connection.phase is phase for connection in worker.loop.pool.used)


@pytest.mark.parametrize('threads', [1, 4])
@pytest.mark.parametrize('name', [*STALLS, *OF_ITS_OWN])
def test_each(serve: Serve, certificates: Certificates, name: str, threads: int) -> None:
    stall = (STALLS | OF_ITS_OWN)[name]
    options = {**(certificates.options if stall.before_tls else {}), **stall.options}
    worker = serve(app, threads=threads, **options)
    stalled = [worker.connect(receive_buffer=4096) for _ in range(10 * threads)]
    for client in stalled:
        stall.begin(client)
    worker.until(lambda: in_phase(worker, stall.phase) == len(stalled))
    sockets = [client.sock for client in stalled]
    rounds = worker.count_rounds(lambda: select.select([], [], sockets, 0.1))  # for what can't come
    assert rounds <= 3, 'a sweep may be due, and what we ask ourselves'

    context = trusting(certificates) if stall.before_tls else None
    connect = (lambda: worker.connect_tls(context)) if context else worker.connect
    check_fresh(connect, [(stall, client) for client in stalled], PREFACE if stall.options is PROXIED else b'')
    worker.until(lambda: in_phase(worker, stall.phase) == len(stalled))


def test_all_at_once(serve: Serve, certificates: Certificates) -> None:
    worker = serve(app, threads=1, **certificates.options)
    context = trusting(certificates)
    stalled = []
    for stall in STALLS.values():
        for _ in range(10):
            client = worker.connect(receive_buffer=4096)
            if not stall.before_tls:
                client.speak_tls(context)
            stall.begin(client)
            stalled.append((stall, client))
    phases = Counter(stall.phase for stall, _ in stalled)
    worker.until(lambda: Counter(connection.phase for connection in worker.loop.pool.used) == phases)
    check_fresh(lambda: worker.connect_tls(context), stalled)


def test_a_server_with_two_workers(certificates: Certificates, tmp_path: Path) -> None:
    """More and more clients stand still, of every kind; a fresh one is served all the while."""
    flags = [f'--{name.replace("_", "-")}={value}' for name, value in certificates.options.items()]
    context = trusting(certificates)
    stalled: list[tuple[Stall, Client]] = []
    spec = f'{__name__}:app'

    def connect(receive_buffer: int = 0, tls: ssl.SSLContext | None = context) -> Client:
        sock = socket.socket()
        sock.settimeout(DEADLINE)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(('127.0.0.1', server.port))
        client = Client(sock)
        if tls:
            client.speak_tls(tls)
        return client

    with serve_process(
        spec, '--bind=127.0.0.1:0', '--workers=2', '--threads=1', '--access-log=off', *flags, cwd=tmp_path
    ) as server:
        for stall in STALLS.values():
            for _ in range(20):
                client = connect(4096, None if stall.before_tls else context)
                stall.begin(client)
                stalled.append((stall, client))
            check_fresh(connect, stalled[-20:])
        for _, client in stalled:
            client.close()
