"""Behind proxies: the PROXY protocol in front of plain HTTP and of TLS, and whose request each is on a shared
connection."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest

from prefork.logs import AccessLog
from prefork.settings import Address
from prefork.worker import connection
from prefork.worker.backlog import Backlog
from prefork.worker.phase import Phase
from tests.worker.applications import Capture
from tests.worker.harness import DEADLINE, Client, Worker, echo, hello, request, trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from tests.certificates import Certificates
    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, Log

SHORT = 0.25

LINE = b'PROXY TCP4 192.0.2.7 198.51.100.1 1234 443\r\n'
SIGNATURE = b'\r\n\r\n\0\r\nQUIT\n'
ADDRESSES = bytes((192, 0, 2, 7, 198, 51, 100, 1)) + struct.pack('!HH', 1234, 443)
LOCAL = SIGNATURE + b'\x20\0\0\0'
BLOCK = SIGNATURE + b'\x21\x11\0\x0c' + ADDRESSES
TLS_BLOCK = SIGNATURE + b'\x21\x11\0\x14' + ADDRESSES + b'\x20\0\x05\x01\0\0\0\0'
PROXIED = {'proxy_protocol': True, 'trusted_proxies': ('127.0.0.0/8', '10.0.0.0/8')}


def end_of(environ: Environ) -> tuple[str, str]:
    return environ['REMOTE_ADDR'], environ['REMOTE_PORT']


# --- the PROXY protocol -------------------------------------------------------------------------------------------


@pytest.mark.parametrize('preface', [LINE, BLOCK], ids=['version 1', 'version 2'])
@pytest.mark.parametrize('size', [1, 20, 65536], ids=['byte by byte', 'in pieces', 'whole'])
def test_requests_are_those_of_whom_the_proxy_names(serve: Serve, preface: bytes, size: int) -> None:
    capture = Capture()
    worker = serve(capture, **PROXIED)
    client = worker.connect()
    stream = preface + request('GET', '/1') + request('POST', '/2', 'Content-Length: 3', body=b'abc')
    for at in range(0, len(stream), size):
        client.send(stream[at : at + size])
    for path in ('/1', '/2'):
        assert client.response().status == 200
        environ = capture.next()
        assert environ['PATH_INFO'] == path
        assert end_of(environ) == ('192.0.2.7', '1234')
        assert (environ['SERVER_NAME'], environ['SERVER_PORT']) == ('127.0.0.1', str(worker.address.port))
        assert environ['wsgi.url_scheme'] == 'http'
    assert client.get('/3').status == 200, 'it is sent once'
    assert end_of(capture.next()) == ('192.0.2.7', '1234')


@pytest.mark.parametrize(
    'preface',
    [b'PROXY UNKNOWN\r\n', LOCAL, SIGNATURE + b'\x21\0\0\0', SIGNATURE + b'\x21\x31\0\xd8' + bytes(216)],
    ids=['unknown', 'local', 'unspecified', 'unix'],
)
def test_the_proxy_that_names_nobody_is_the_client(serve: Serve, preface: bytes) -> None:
    capture = Capture()
    client = serve(capture, **PROXIED).connect()
    client.send(preface + request())
    assert end_of(capture.next()) == ('127.0.0.1', str(client.sock.getsockname()[1]))


def test_a_client_that_speaks_tls_with_the_proxy(serve: Serve) -> None:
    capture = Capture()
    client = serve(capture, **PROXIED).connect()
    client.send(TLS_BLOCK + request())
    environ = capture.next()
    assert (environ['wsgi.url_scheme'], environ['HTTPS']) == ('https', 'on')
    assert end_of(environ) == ('192.0.2.7', '1234')


FORWARDED = 'X-Forwarded-For: 203.0.113.9', 'X-Forwarded-Proto: https'


@pytest.mark.parametrize(
    ('preface', 'believed'),
    [
        pytest.param(LINE, False, id='a client'),
        pytest.param(LINE.replace(b'192.0.2.7', b'10.0.0.9'), True, id='a trusted proxy'),
        pytest.param(LOCAL, True, id='the proxy itself'),
        pytest.param(b'PROXY UNKNOWN\r\n', False, id='somebody unknown'),
        pytest.param(SIGNATURE + b'\x21\0\0\0', False, id='somebody unspecified'),
    ],
)
@pytest.mark.parametrize('key', ['', 'HTTP_X_FORWARDED_PROTO'], ids=['by itself', 'secure_proxy_ssl_header'])
def test_forwarded_fields_are_those_of_whom_the_proxy_names(
    serve: Serve, preface: bytes, believed: bool, key: str
) -> None:
    """Who passes bytes on as they are can't answer for what they say."""
    capture = Capture()
    client = serve(capture, **PROXIED, secure_proxy_ssl_header=key).connect()
    client.send(preface + request('GET', '/', *FORWARDED))
    environ = capture.next()
    assert (environ['REMOTE_ADDR'] == '203.0.113.9') is believed
    assert (environ['wsgi.url_scheme'], 'HTTPS' in environ) == ('https' if believed else 'http', believed)
    assert ('HTTP_X_FORWARDED_FOR' in environ) is believed


@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=['1.2', '1.3'])
@pytest.mark.parametrize('pieces', [[LINE], [LINE[:30], LINE[30:]], [BLOCK]], ids=['a line', 'in pieces', 'a block'])
def test_tls_comes_behind_it(
    serve: Serve, certificates: Certificates, version: ssl.TLSVersion, pieces: list[bytes]
) -> None:
    capture = Capture()
    client = serve(capture, **PROXIED, **certificates.options).connect()
    for piece in pieces:
        client.send(piece)
    client.speak_tls(trusting(certificates, version))
    assert client.get('/1').status == 200
    environ = capture.next()
    assert end_of(environ) == ('192.0.2.7', '1234')
    assert environ['wsgi.url_scheme'] == 'https'
    assert client.get('/2').status == 200


@pytest.mark.parametrize('preface', [LINE, BLOCK, TLS_BLOCK], ids=['a line', 'a block', 'a block with more'])
def test_tls_comes_in_the_same_segment(serve: Serve, certificates: Certificates, preface: bytes) -> None:
    """Not one byte of the handshake is read with the preface."""
    client = serve(echo, **PROXIED, **certificates.options).connect()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secured = trusting(certificates).wrap_bio(incoming, outgoing, server_hostname='localhost')
    with pytest.raises(ssl.SSLWantReadError):
        secured.do_handshake()
    client.send(preface + outgoing.read())

    def until_done(step: Callable[[], Any]) -> Any:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                client.send(outgoing.read())
                incoming.write(client.sock.recv(65536))

    until_done(secured.do_handshake)
    secured.write(request('GET', '/x'))
    client.send(outgoing.read())
    assert until_done(lambda: secured.read(65536)).startswith(b'HTTP/1.1 200 OK')


@pytest.fixture
def on_unix(log: Log, tmp_path: Path) -> Iterator[Callable[..., tuple[Worker, Client]]]:
    """``on_unix(app, **options)`` is a worker on a unix socket, and a client of it."""
    workers: list[Worker] = []
    clients: list[Client] = []

    def start(app: Any, **options: Any) -> tuple[Worker, Client]:
        path = str(tmp_path / 'socket')
        workers.append(Worker(app, options, address=Address('unix', path, 0)))
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(DEADLINE)
        sock.connect(path)
        clients.append(Client(sock))
        return workers[-1], clients[-1]

    yield start
    for client in clients:
        client.close()
    for worker in workers:
        worker.stop()


@pytest.mark.parametrize('preface', [LINE, BLOCK, LOCAL], ids=['version 1', 'version 2', 'local'])
def test_on_a_unix_socket(on_unix: Callable[..., tuple[Worker, Client]], preface: bytes) -> None:
    capture = Capture()
    _, client = on_unix(capture, proxy_protocol=True, trusted_proxies=('unix',))
    client.send(preface[:9])
    client.send(preface[9:] + request())
    assert end_of(capture.next()) == (('', '0') if preface is LOCAL else ('192.0.2.7', '1234'))


def test_a_unix_socket_that_is_not_trusted(on_unix: Callable[..., tuple[Worker, Client]], log: Log) -> None:
    capture = Capture()
    _, client = on_unix(capture, proxy_protocol=True, trusted_proxies=('127.0.0.1',))
    assert client.is_closed()
    log.wait_for('refused a connection from a unix socket: trusted_proxies')
    assert capture.is_unused


# --- what is refused ----------------------------------------------------------------------------------------------


def ends(client: Client) -> bool:
    """Wait for the server's end, in whatever way; whether nothing came before it."""
    try:
        return client.rest() == b''
    except ConnectionResetError:
        return True  # with bytes that nobody has read, an end is a reset


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(request(), id='a request'),
        pytest.param(request() * 50, id='requests'),
        pytest.param(b'\r\n' + LINE + request(), id='an empty line first'),
        pytest.param(LINE.replace(b'443', b'0443') + request(), id='a malformed line'),
        pytest.param(BLOCK[:12] + b'\x31' + BLOCK[13:] + request(), id='a malformed block'),
        pytest.param(b'\x16\x03\x01\x02\x00\x01', id='TLS'),
    ],
)
def test_nothing_is_accepted_without_it(serve: Serve, log: Log, data: bytes) -> None:
    capture = Capture()
    worker = serve(capture, **PROXIED)
    client = worker.connect()
    client.send(data)
    assert ends(client)
    log.wait_for('refused a connection from 127.0.0.1: ')
    assert capture.is_unused
    worker.until_connected(0)
    assert worker.in_loop(lambda: worker.loop._errors) == 1


def test_nor_from_anybody_else_with_it(serve: Serve, log: Log) -> None:
    capture = Capture()
    worker = serve(capture, proxy_protocol=True, trusted_proxies=('192.0.2.0/24',))
    for _ in range(5):
        assert ends(worker.connect())
    worker.until(lambda: worker.loop._errors == 5)
    assert log.text.count('refused a connection from 127.0.0.1: trusted_proxies has no such address') == 1
    assert capture.is_unused
    assert worker.in_loop(lambda: len(worker.loop.pool.used)) == 0


def test_nor_is_tls(serve: Serve, log: Log, certificates: Certificates) -> None:
    worker = serve(echo, **PROXIED, **certificates.options)
    with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError)):
        worker.connect_tls(trusting(certificates))


@pytest.mark.parametrize('preface', [LINE, BLOCK], ids=['version 1', 'version 2'])
def test_without_the_option_it_is_a_bad_request(serve: Serve, preface: bytes) -> None:
    capture = Capture()
    client = serve(capture, trusted_proxies=('127.0.0.0/8',)).connect()
    client.send(preface + request())
    assert client.response().status == 400
    assert client.is_closed()
    assert capture.is_unused


@pytest.mark.parametrize('sent', [b'', LINE[:1], LINE[:-1], BLOCK[:14], BLOCK[:-1]], ids=repr)
def test_who_leaves_before_its_end(serve: Serve, log: Log, sent: bytes) -> None:
    """As a health check does that only connects: nobody needs to know."""
    worker = serve(hello, **PROXIED)
    client = worker.connect()
    client.send(sent)
    client.half_close()
    assert client.is_closed()
    worker.until_connected(0)
    assert log.text == ''


# --- those who stall ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('sent', [b'', LINE[:10], LINE[:-1], BLOCK[:13], BLOCK[:-1]], ids=repr)
def test_a_preface_that_never_becomes_whole(serve: Serve, log: Log, sent: bytes) -> None:
    worker = serve(echo, **PROXIED, header_timeout=SHORT)
    client, other = worker.connect(), worker.connect()
    client.send(sent)
    other.send(LINE + request('GET', '/beside'))
    assert other.response().body == b'/beside '
    assert client.is_closed(), 'and nothing is said'
    assert log.text == ''


def test_silence_behind_it(serve: Serve) -> None:
    """The head has what the preface left of header_timeout."""
    client = serve(echo, **PROXIED, header_timeout=SHORT).connect()
    client.send(LINE)
    assert client.is_closed()


def test_silence_behind_it_instead_of_tls(serve: Serve, certificates: Certificates) -> None:
    client = serve(echo, **PROXIED, **certificates.options, ssl_handshake_timeout=SHORT).connect()
    client.send(LINE)
    assert client.is_closed()


@pytest.mark.parametrize('sent', [LINE[:10], LINE[:-1], BLOCK[:13], BLOCK[:-1]], ids=repr)
def test_what_is_there_is_taken(serve: Serve, sent: bytes) -> None:
    """Bytes that stayed in the socket would wake the loop again and again."""
    worker = serve(echo, **PROXIED)
    client = worker.connect()
    client.send(sent)
    worker.until(lambda: any(waiting._preface._data == sent for waiting in worker.loop.pool.used))

    def is_readable() -> bool:
        return waiting._transport.fileno() in dict(worker.loop.poller.poll(0))

    (waiting,) = worker.loop.pool.used
    assert not worker.in_loop(is_readable)
    client.close()
    worker.until_connected(0)


def test_a_drain_waits_for_it_no_longer_than_for_a_request(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, 'LINGER', SHORT)
    worker = serve(echo, **PROXIED)
    silent, last = worker.connect(), worker.connect()
    worker.until_connected(2)
    worker.in_loop(lambda: worker.loop.drain(DEADLINE, Backlog.LEAVE))
    last.send(LINE + request('GET', '/last'))
    assert last.response().body == b'/last '
    assert silent.is_closed()
    worker.join()


def test_its_slot_is_somebody_elses_after_a_second(serve: Serve, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('prefork.worker.pool._SLOW', 0.1)
    worker = serve(echo, **PROXIED, pool_size=1)
    silent = worker.connect()
    worker.until(lambda: any(waiting.phase is Phase.PREFACE for waiting in worker.loop.pool.used))
    newcomer = worker.connect()
    newcomer.send(LINE + request('GET', '/newcomer'))
    assert newcomer.response().body == b'/newcomer '
    assert silent.is_closed()


# --- many clients on one connection -------------------------------------------------------------------------------


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[tuple[AccessLog, Path]]:
    """An access log of the client's address and port, and the path where it is."""
    path = tmp_path / 'access'
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield AccessLog(descriptor, '%(client_ip)s %(client_port)s %(status_code)s'), path
    os.close(descriptor)


def test_the_log_shows_the_client_of_each_request(serve: Serve, lines: tuple[AccessLog, Path]) -> None:
    """A proxy sends the requests of many clients on one connection; what can't be one is its own."""
    log, path = lines
    worker = serve(hello, access_log=log, trusted_proxies=('127.0.0.0/8',))
    client = worker.connect()
    port = client.sock.getsockname()[1]
    assert client.get('/', 'X-Forwarded-For: 192.0.2.1').status == 200
    assert client.get('/', 'X-Forwarded-For: 192.0.2.2:1234').status == 200
    assert client.get().status == 200
    assert client.get('/', 'X-Forwarded-For: 1.1.1.1', 'X-Forwarded-For: 192.0.2.3').status == 200
    client.send(request('GET', '/', 'Forwarded: for=1.1.1.1', 'X-Forwarded-For: 192.0.2.4'))
    assert client.response().status == 400
    assert client.is_closed()
    worker.in_loop(log.flush)
    assert path.read_text().splitlines() == [
        '192.0.2.1 0 200',
        '192.0.2.2 1234 200',
        f'127.0.0.1 {port} 200',
        '192.0.2.3 0 200',
        f'127.0.0.1 {port} 400',
    ]


def test_the_log_shows_whom_the_proxy_names(serve: Serve, lines: tuple[AccessLog, Path]) -> None:
    log, path = lines
    worker = serve(hello, access_log=log, **PROXIED)
    client = worker.connect()
    client.send(LINE + request())
    assert client.response().status == 200
    client.send(request('GET', '/', 'A : b'))
    assert client.response().status == 400
    worker.in_loop(log.flush)
    assert path.read_text().splitlines() == ['192.0.2.7 1234 200', '192.0.2.7 1234 400']


def test_a_body_that_fails_is_its_own_clients(serve: Serve, lines: tuple[AccessLog, Path]) -> None:
    log, path = lines
    worker = serve(hello, access_log=log, trusted_proxies=('127.0.0.0/8',))
    client = worker.connect()
    assert client.get('/', 'X-Forwarded-For: 192.0.2.1').status == 200
    client.send(request('POST', '/', 'X-Forwarded-For: 192.0.2.2', 'Transfer-Encoding: chunked', body=b'nonsense\r\n'))
    assert client.response().status == 400
    worker.in_loop(log.flush)
    assert path.read_text().splitlines() == ['192.0.2.1 0 200', '192.0.2.2 0 400']


def test_a_contradiction_is_answered_before_the_body(serve: Serve) -> None:
    capture = Capture()
    client = serve(capture, trusted_proxies=('127.0.0.0/8',)).connect()
    fields = 'Forwarded: for=1.1.1.1', 'X-Forwarded-For: 192.0.2.4', 'Expect: 100-continue', 'Content-Length: 9'
    client.send(request('POST', '/', *fields))
    response = client.response('POST')
    assert (response.status, response.early, response.headers['connection']) == (400, [], 'close')
    assert b'contradict' in response.body
    assert capture.is_unused


def test_what_an_application_makes_its_urls_of(serve: Serve) -> None:
    capture = Capture()
    client = serve(capture, trusted_proxies=('127.0.0.0/8',)).connect()
    fields = 'X-Forwarded-Proto: https', 'X-Forwarded-Host: a.example', 'X-Forwarded-Port: 8443'
    client.send(request('GET', '/path', *fields, 'X-Forwarded-Prefix: /app/'))
    environ = capture.next()
    found = [environ[key] for key in ('wsgi.url_scheme', 'HTTP_HOST', 'SERVER_PORT', 'SCRIPT_NAME', 'PATH_INFO')]
    assert found == ['https', 'a.example:8443', '8443', '/app', '/path']


@pytest.mark.parametrize(
    ('proxies', 'scheme', 'seen'),
    [
        pytest.param((), 'https', True, id='from anybody where none is trusted'),
        pytest.param(('127.0.0.0/8',), 'https', True, id='from a trusted proxy'),
        pytest.param(('192.0.2.0/24',), 'http', False, id='not from anybody else'),
    ],
)
def test_the_scheme_in_a_field_of_the_proxys_own(
    serve: Serve, proxies: tuple[str, ...], scheme: str, seen: bool
) -> None:
    capture = Capture()
    client = serve(capture, secure_proxy_ssl_header='HTTP_X_SCHEME', trusted_proxies=proxies).connect()
    client.send(request('GET', '/', 'X-Scheme: HTTPS', 'X-Forwarded-Proto: http'))
    environ = capture.next()
    assert environ['wsgi.url_scheme'] == scheme
    assert ('HTTPS' in environ) is (scheme == 'https')
    assert ('HTTP_X_SCHEME' in environ) is seen


def test_https_is_not_said_where_the_proxy_says_http(serve: Serve, certificates: Certificates) -> None:
    capture = Capture()
    worker = serve(capture, **certificates.options, trusted_proxies=('127.0.0.0/8',))
    worker.connect_tls(trusting(certificates)).send(request('GET', '/', 'X-Forwarded-Proto: http'))
    environ = capture.next()
    assert (environ['wsgi.url_scheme'], 'HTTPS' in environ) == ('http', False)
