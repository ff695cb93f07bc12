"""What has worked on other servers doesn't on this one: each attack over a socket, seen from both ends."""

from __future__ import annotations

import contextlib
import os
import re
import select
from typing import TYPE_CHECKING

import pytest

from prefork.logs import AccessLog
from prefork.worker.connection import RECEIVE_SIZE
from tests.worker.attacks import CHUNKS, FRAMING, NEXT, REFUSED, SERVED, SMUGGLED
from tests.worker.harness import Client, hello, request

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, Gate, Log, StartResponse

FEW = 1000
"""Bytes that are worth a packet each."""


class Record:
    """An application that remembers the targets and bodies of its requests, or leaves the bodies where they are."""

    def __init__(self, reads: bool = True) -> None:
        self.seen: list[tuple[str, bytes]] = []
        self._reads = reads

    @property
    def targets(self) -> list[str]:
        return [target for target, _ in self.seen]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.seen.append((environ['REQUEST_URI'], environ['wsgi.input'].read() if self._reads else b''))
        return hello(environ, start_response)


def send(client: Client, data: bytes, feed: str) -> None:
    if feed == 'whole':
        client.send(data)
        return
    for i in range(len(data)):
        client.send(data[i : i + 1])


def by_bytes_too(table: dict[str, bytes]) -> list[object]:
    """A case for each name, and another byte by byte where that isn't too long."""
    cases = [pytest.param(name, 'whole', id=name) for name in table]
    short = [name for name, data in table.items() if len(data) <= FEW]
    return [*cases, *(pytest.param(name, 'byte by byte', id=f'{name}, byte by byte') for name in short)]


def named(cves: str, name: str) -> str:
    return f'{cves}: {name}' if cves else name


ATTACKS = {named(attack.cves, name): attack for name, attack in REFUSED.items()}
DISGUISES = {named(disguise.cves, name): disguise for name, disguise in SERVED.items()}


@pytest.mark.parametrize(('name', 'feed'), by_bytes_too({name: attack.sent for name, attack in ATTACKS.items()}))
def test_refused(serve: Serve, name: str, feed: str) -> None:
    attack = ATTACKS[name]
    app = Record()
    worker = serve(app, max_body=1 << 20)
    client = worker.connect()
    send(client, attack.sent, feed)
    for _ in attack.reached:
        assert client.response().status == 200
    refusal = client.response()
    assert (refusal.status, refusal.early) == (attack.status, [])
    assert refusal.headers['connection'] == 'close'
    assert client.is_closed()
    assert app.targets == list(attack.reached)
    assert worker.connect().get().status == 200


@pytest.mark.parametrize('reads', [True, False], ids=['read', 'not read'])
@pytest.mark.parametrize(('name', 'feed'), by_bytes_too({name: case.sent for name, case in DISGUISES.items()}))
def test_served_as_what_it_is(serve: Serve, name: str, feed: str, reads: bool) -> None:
    disguise = DISGUISES[name]
    app = Record(reads)
    client = serve(app).connect()
    send(client, disguise.sent + NEXT, feed)
    assert [client.response().status for _ in range(2)] == [200, 200]
    assert client.is_closed()
    assert app.seen == [('/', disguise.body if reads else b''), ('/next', b'')]


@pytest.mark.parametrize('reads', [True, False], ids=['read', 'not read'])
@pytest.mark.parametrize('name', [named(attack.cves, name) for name, attack in (FRAMING | CHUNKS).items()])
def test_refused_while_the_application_runs(serve: Serve, name: str, reads: bool) -> None:
    """CVE-2022-22720: an error in a body that was only thrown away didn't close the connection, and what followed was
    the next request.  Here bodies aren't waited for, so that the application is called before they are seen."""
    app = Record(reads)
    worker = serve(app, max_body=1 << 20, request_buffering=False, keepalive_timeout=3600, header_timeout=3600)
    client = worker.connect()
    client.send(ATTACKS[name].sent)
    client.rest()  # which has an end, and not for the time that it took
    assert app.targets in ([], ['/'])
    assert worker.connect().get().status == 200


def test_the_tables_say_what_they_mean() -> None:
    assert len(SMUGGLED) == 36 == 0x24
    numbers = [attack.cves for attack in REFUSED.values()] + [disguise.cves for disguise in SERVED.values()]
    assert all(re.fullmatch(r'|CVE-\d{4}-\d{4,}( CVE-\d{4}-\d{4,})*', cves) for cves in numbers)
    assert not [name for name, attack in REFUSED.items() if not 400 <= attack.status <= 599]


def test_a_refused_request_of_one_receive_and_another_behind_it(serve: Serve) -> None:
    """CVE-2024-49768: after exactly as much as one recv() brings, the next request was read and executed while the
    connection was being closed."""
    app = Record()
    client = serve(app).connect()
    refused = request('GET', '/refused', 'A : ' + 'b' * 100)
    assert len(refused) < RECEIVE_SIZE
    client.send(refused.replace(b'A : ', b'A : ' + b'b' * (RECEIVE_SIZE - len(refused))))
    client.send(SMUGGLED)
    assert client.response().status in (400, 431)
    assert client.is_closed()
    assert app.targets == []


# --- fields that aren't what they seem ------------------------------------------------------------------------------


class Environs:
    def __init__(self) -> None:
        self.last: Environ = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.last = dict(environ)
        return hello(environ, start_response)


# name → options, fields, variables of the application (None: not there)
SPOOFS: dict[str, tuple[dict[str, object], list[str], dict[str, str | None]]] = {
    'CVE-2015-0219, CVE-2015-7519: an underscore for a hyphen': (
        {},
        ['X-Auth-User: alice', 'X-Auth_User: root', 'X_Auth_User: root'],
        {'HTTP_X_AUTH_USER': 'alice'},
    ),
    'CVE-2015-0219: an underscore alone': ({}, ['X-Auth_User: root'], {'HTTP_X_AUTH_USER': None}),
    'CVE-2024-45614: an underscore to clobber what the proxy says': (
        {'trusted_proxies': frozenset({'127.0.0.1'})},
        ['X-Forwarded-For: 192.0.2.1', 'X-Forwarded_For: 192.0.2.66'],
        {'REMOTE_ADDR': '192.0.2.1', 'HTTP_X_FORWARDED_FOR': '192.0.2.1'},
    ),
    'CVE-2009-3287: a forwarded address where no proxy is trusted': (
        {},
        [
            'X-Forwarded-For: 192.0.2.1',
            'X-Forwarded-Proto: https',
            'X-Forwarded-Host: evil',
            'Forwarded: for=192.0.2.1',
        ],
        {'REMOTE_ADDR': '127.0.0.1', 'wsgi.url_scheme': 'http', 'HTTP_HOST': 'test'},
    ),
    'a forwarded address of who is no trusted proxy': (
        {'trusted_proxies': frozenset({'192.0.2.0/24'})},
        [
            'X-Forwarded-For: 192.0.2.1',
            'X-Forwarded-Proto: https',
            'X-Forwarded-Host: evil',
            'Forwarded: for=192.0.2.1',
        ],
        {
            'REMOTE_ADDR': '127.0.0.1',
            'wsgi.url_scheme': 'http',
            'HTTP_HOST': 'test',
            'HTTP_X_FORWARDED_FOR': None,
            'HTTP_X_FORWARDED_PROTO': None,
            'HTTP_X_FORWARDED_HOST': None,
            'HTTP_FORWARDED': None,
        },
    ),
    'an address that the client put in front of the proxy': (
        {'trusted_proxies': frozenset({'127.0.0.1'})},
        ['X-Forwarded-For: 127.0.0.1', 'X-Forwarded-For: 192.0.2.1'],
        {'REMOTE_ADDR': '192.0.2.1'},
    ),
    'CVE-2022-31813, CVE-2024-45410: what the proxy says is named by Connection': (
        {'trusted_proxies': frozenset({'127.0.0.1'})},
        [
            'Connection: close, X-Forwarded-For, x-forwarded-proto',
            'X-Forwarded-For: 192.0.2.1',
            'X-Forwarded-Proto: https',
        ],
        {'REMOTE_ADDR': '192.0.2.1', 'wsgi.url_scheme': 'https'},
    ),
    'CVE-2026-32762: parameters of Forwarded within quotes': (
        {'trusted_proxies': frozenset({'127.0.0.1'})},
        ['Forwarded: for="192.0.2.1;host=evil;proto=https"'],
        {'REMOTE_ADDR': '127.0.0.1', 'wsgi.url_scheme': 'http', 'HTTP_HOST': 'test'},
    ),
    'a forwarded host that is none': (
        {'trusted_proxies': frozenset({'127.0.0.1'})},
        ['X-Forwarded-For: 192.0.2.1', 'X-Forwarded-Host: good.example@evil.example/?'],
        {'REMOTE_ADDR': '192.0.2.1', 'HTTP_HOST': 'test'},
    ),
    'CVE-2026-44546: a line separator of Unicode in a value': (
        {},
        ['A: b\x85X-Auth-User: root'],
        {'HTTP_X_AUTH_USER': None, 'HTTP_A': 'b\x85X-Auth-User: root'},
    ),
    'an absolute target that names another host than Host': (
        {},
        ['Host-Of: x'],
        {'HTTP_HOST': 'target.example', 'PATH_INFO': '/a'},
    ),
    'a length without a hyphen': (
        {},
        ['Content_Length: 5', 'Content_Type: a/b'],
        {'CONTENT_LENGTH': None, 'CONTENT_TYPE': None},
    ),
    'a variable of the server by name': (
        {},
        ['Remote-Addr: 192.0.2.1', 'Remote-User: root', 'Script-Name: /x', 'Wsgi.Url-Scheme: https'],
        {'REMOTE_ADDR': '127.0.0.1', 'REMOTE_USER': None, 'SCRIPT_NAME': '', 'wsgi.url_scheme': 'http'},
    ),
}


@pytest.mark.parametrize('name', SPOOFS)
def test_spoofed_fields(serve: Serve, name: str) -> None:
    options, fields, expected = SPOOFS[name]
    app = Environs()
    target = 'http://target.example/a' if 'absolute' in name else '/'
    client = serve(app, **options).connect()
    client.send(request('GET', target, *fields))
    assert client.response().status == 200
    assert {key: app.last.get(key) for key in expected} == expected


def test_trailers_are_never_fields(serve: Serve) -> None:
    """CVE-2025-12642: merged into the head, a trailer was what the client may not send there."""
    app = Environs()
    client = serve(app).connect()
    trailers = b'X-Auth-User: root\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n'
    client.send(request('POST', '/', 'Transfer-Encoding: chunked', 'Trailer: X-Auth-User', body=b'0\r\n' + trailers))
    assert client.response().status == 200
    assert not {'HTTP_X_AUTH_USER', 'HTTP_X_FORWARDED_FOR'} & app.last.keys()


PREFACE = b'PROXY TCP4 192.0.2.1 192.0.2.2 40000 80\r\n'
SPOOFED = b'PROXY TCP4 192.0.2.66 192.0.2.2 40000 80\r\n'
BEHIND_A_PROXY: dict[str, object] = {'trusted_proxies': frozenset({'127.0.0.1'}), 'proxy_protocol': True}


def test_the_proxy_speaks_once(serve: Serve) -> None:
    """CVE-2026-47737: a second line of the PROXY protocol, sent by the client between two requests, was believed."""
    app = Environs()
    client = serve(app, **BEHIND_A_PROXY).connect()
    client.send(PREFACE + request())
    assert client.response().status == 200
    assert app.last.pop('REMOTE_ADDR') == '192.0.2.1'
    client.send(SPOOFED + request())
    assert client.response().status == 400
    assert client.is_closed()
    assert 'REMOTE_ADDR' not in app.last  # nothing was called


def test_who_speaks_for_a_proxy_where_none_does(serve: Serve) -> None:
    app = Environs()
    client = serve(app).connect()
    client.send(SPOOFED + request())
    assert client.response().status == 400
    assert client.is_closed()
    assert not app.last


@pytest.mark.parametrize(
    'start', [b'PROXY TCP4 ', b'PROXY UNKNOWN ', b'a'], ids=['a line', 'a line of whatever', 'another']
)
def test_a_preface_without_end(serve: Serve, start: bytes) -> None:
    """CVE-2026-47736: all of it was kept until the line end that never comes, and searched again and again."""
    worker = serve(hello, **BEHIND_A_PROXY)
    client = worker.connect()
    client.send(start + b'1' * 200)
    with contextlib.suppress(ConnectionResetError):  # nobody has read all of it
        assert client.is_closed()
    other = worker.connect()
    other.send(PREFACE + request())
    assert other.response().status == 200


# name → the status and the fields of an application that puts a client's words into them
SPLITTING: dict[str, tuple[str, list[tuple[str, str]]]] = {
    'CVE-2012-2374, CVE-2017-18587, CVE-2018-1000164, CVE-2020-5247, CVE-2020-7695: CR and LF in a value': (
        '302 Found',
        [('Location', '/\r\nSet-Cookie: a=b\r\n\r\n<script>')],
    ),
    'CVE-2018-1000164: LF in a value': ('302 Found', [('Location', '/\nSet-Cookie: a=b')]),
    'CVE-2020-5249: CR in a value': ('302 Found', [('Location', '/\rSet-Cookie: a=b')]),
    'CVE-2018-1000164: CR and LF in a name': ('200 OK', [('X\r\nSet-Cookie: a=b\r\nX', 'c')]),
    'CVE-2025-67724: CR and LF in the reason': ('200 OK\r\nSet-Cookie: a=b', []),
    'CVE-2026-42545: NUL in a value': ('302 Found', [('Location', '/\0Set-Cookie: a=b')]),
    'CVE-2026-42545: a blank in a name': ('200 OK', [('Set Cookie', 'a=b')]),
    'a character that is LF in latin-1 only when cut to a byte': (
        '302 Found',
        [('Location', '/\u010aSet-Cookie: a=b')],
    ),
    'a coding of its own': ('200 OK', [('Transfer-Encoding', 'chunked'), ('Set-Cookie', 'a=b')]),
    'two lengths': ('200 OK', [('Content-Length', '5'), ('Content-Length', '0'), ('Set-Cookie', 'a=b')]),
}


@pytest.mark.parametrize('name', SPLITTING)
def test_response_splitting(serve: Serve, log: Log, name: str) -> None:
    """The client gets a 500 and nothing of what was meant for it; the connection goes on."""
    status, headers = SPLITTING[name]

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/':
            return hello(environ, start_response)
        start_response(status, headers)
        return [b'hello']

    client = serve(app).connect()
    client.send(request('GET', '/') + NEXT)
    wire = client.rest()
    assert wire.startswith(b'HTTP/1.1 500 Internal Server Error\r\n')
    assert wire.count(b'HTTP/1.1 200 OK\r\n') == 1  # the answer to what came next
    assert b'a=b' not in wire
    log.wait_for('ApplicationError')


@pytest.mark.parametrize(
    ('target', 'fields'),
    [
        pytest.param('/%1b%5d0;evil%07', [], id='CVE-2020-7694: encoded in the target'),
        pytest.param('/', ['User-Agent: \x9b2J', 'Referer: \x9d0;evil'], id='CVE-2009-4492: in a field'),
        pytest.param('/', ['User-Agent: a" 200 5 "b'], id='a quote that ends the field'),
    ],
)
def test_nothing_that_a_terminal_obeys_is_logged(serve: Serve, tmp_path: Path, target: str, fields: list[str]) -> None:
    """Whoever read the log had its window's title changed, or worse; or read a line that nobody had logged."""
    path = tmp_path / 'access.log'
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
    try:
        worker = serve(hello, access_log=AccessLog(descriptor, 'combined'))
        client = worker.connect()
        client.send(request('GET', target, *fields))
        assert client.response().status == 200
        worker.stop()  # the log is flushed
    finally:
        os.close(descriptor)
    line = path.read_bytes()
    assert re.fullmatch(rb'[ -~]+\n', line)
    assert line.count(b'"') == 6  # around the request line, the referer and the agent


# --- 100 (Continue) ---------------------------------------------------------------------------------------------------

EXPECTING = {
    'both framings': (['Content-Length: 5', 'Transfer-Encoding: chunked'], 400),
    'a length that is none': (['Content-Length: +5'], 400),
    'more than max_body': (['Content-Length: 100'], 413),
    'an unknown coding': (['Transfer-Encoding: gzip, chunked'], 501),
    'no body': ([], 200),
}


@pytest.mark.parametrize('name', EXPECTING)
def test_no_continue_before_a_refusal(serve: Serve, name: str) -> None:
    """Where a proxy has seen 100, it sends a body that the server reads as the next request."""
    fields, status = EXPECTING[name]
    app = Record()
    client = serve(app, max_body=50).connect()
    client.send(request('POST', '/', 'Expect: 100-continue', *fields))
    response = client.response()
    assert (response.status, response.early) == (status, [])
    if status != 200:
        client.send(SMUGGLED)
        assert client.is_closed()
        assert app.targets == []


# --- time --------------------------------------------------------------------------------------------------------


def test_answers_to_pipelined_requests_come_in_their_order(serve: Serve, gate: Gate) -> None:
    """CVE-2023-46137, CVE-2024-41671: the second request was answered first, and to whoever had sent the first."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] == '/slow':
            gate.enter()
        start_response('200 OK', [])
        return [environ['PATH_INFO'].encode()]

    worker = serve(app, threads=4)
    client = worker.connect()
    client.send(request('GET', '/slow') + request('GET', '/fast'))
    gate.arrival()
    worker.take_turns()  # the other threads have had the time to do it wrong
    assert client.is_quiet()
    gate.let()
    assert [client.response().body for _ in range(2)] == [b'/slow', b'/fast']


PINNING = {
    'CVE-2019-5739, CVE-2019-16770, CVE-2021-29509: connections that are kept alive': request(),
    'CVE-2007-6750, CVE-2018-12122, CVE-2020-8251: heads without end': b'GET / HTTP/1.1\r\nHost: x\r\n',
    'CVE-2019-5737: heads without end on a connection that was used': request() + b'GET / HTTP/1.1\r\nHost: x\r\n',
    'bodies without end': request('POST', '/', 'Content-Length: 5', body=b'a'),
    'connections that say nothing': b'',
}


@pytest.mark.parametrize('name', PINNING)
def test_ten_clients_for_each_thread_pin_none(serve: Serve, name: str) -> None:
    worker = serve(hello, threads=2)
    stuck = [worker.connect() for _ in range(20)]
    for client in stuck:
        client.send(PINNING[name])
    worker.until_connected(20)
    worker.take_turns()
    assert worker.connect().get().body == b'hello'


def test_a_client_that_never_stops_asking_lets_others_have_their_turn(serve: Serve) -> None:
    """CVE-2021-29509: whoever always had another request kept the thread."""
    worker = serve(hello, threads=1)
    greedy, other = worker.connect(), worker.connect()
    for _ in range(5):
        greedy.send(request() * 200)
        assert other.get().body == b'hello'
        for _ in range(200):
            greedy.response()


def test_a_byte_now_and_then_does_not_extend_the_deadline(serve: Serve) -> None:
    """CVE-2007-6750: each byte began the wait anew."""
    client = serve(hello, header_timeout=0.5).connect()
    client.send(b'GET / HTTP/1.1\r\nA: ')
    for _ in range(500):
        if select.select([client.sock], [], [], 0.02)[0]:
            break
        client.send(b'a')
    else:
        pytest.fail('it goes on for ever')
    assert client.response().status == 408
    assert client.is_closed()


@pytest.mark.parametrize(
    'sent',
    [
        pytest.param(b'', id='CVE-2024-49769: before anything was asked'),
        pytest.param(b'GET / HT', id='in the head'),
        pytest.param(request('POST', '/', 'Content-Length: 5', body=b'a'), id='in the body'),
        pytest.param(request(), id='CVE-2022-31015: before the answer'),
        pytest.param(request() * 100, id='CVE-2022-31015: before many answers'),
        pytest.param(b'A : b\r\n\r\n', id='after what will be refused'),
    ],
)
def test_clients_that_crash_end_nothing_and_leave_nothing(serve: Serve, sent: bytes) -> None:
    """The loop ended with an exception of select(), or wrote to a socket that wasn't there for ever after."""
    worker = serve(hello, threads=2)
    for _ in range(30):
        client = worker.connect()
        client.send(sent)
        client.reset()
    assert worker.connect().get().body == b'hello'
    worker.until_connected(1)
