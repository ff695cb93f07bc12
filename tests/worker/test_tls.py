"""TLS over the whole path: handshakes in the loop, large transfers both ways, and clients that don't speak it."""

from __future__ import annotations

import datetime
import gc
import json
import os
import socket
import ssl
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID

from prefork.logs import AccessLog
from prefork.net import tls
from prefork.scoreboard import Scoreboard
from prefork.settings import Address
from prefork.worker.backlog import Backlog
from prefork.worker.phase import Phase
from prefork.worker.poller import WRITE
from tests.worker.harness import DEADLINE, PLAIN, Client, Worker, echo, hello, request, trusting

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.certificates import Certificates
    from tests.worker.conftest import Serve
    from tests.worker.harness import App, Environ, Gate, Log, StartResponse


@pytest.fixture(params=['TLSv1_2', 'TLSv1_3'])
def context(request: pytest.FixtureRequest, certificates: Certificates) -> ssl.SSLContext:
    return trusting(certificates, ssl.TLSVersion[request.param])


def bytes_of(count: int) -> bytes:
    """Incompressible, and different everywhere."""
    return os.urandom(count)


def test_requests_on_one_connection(serve: Serve, certificates: Certificates, context: ssl.SSLContext) -> None:
    client = serve(echo, **certificates.options).connect_tls(context)
    assert client.get('/1').body == b'/1 '
    client.send(request('POST', '/2', 'Content-Length: 3', body=b'abc') + request('GET', '/3'))
    assert client.response().body == b'/2 abc'
    assert client.response().body == b'/3 '
    client.send(request('HEAD', '/4'))
    assert client.response('HEAD').body == b''
    client.send(request('GET', '/5', 'Connection: close'))
    assert client.response().body == b'/5 '
    assert client.is_closed(), 'with close_notify: without one it would be an error'


@pytest.mark.parametrize('size', [16383, 16384, 16385, 100_000, 3_000_000])
def test_a_large_body(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext, tmp_path: Path, size: int
) -> None:
    """A record holds 16 KiB: what OpenSSL has decrypted already wakes no poller."""
    body = bytes_of(size)
    client = serve(echo, **certificates.options, spool_dir=str(tmp_path)).connect_tls(context)
    for _ in range(2):
        client.send(request('POST', '/', f'Content-Length: {size}') + body)
        assert client.response().body == b'/ ' + body


def test_a_body_byte_by_byte(serve: Serve, certificates: Certificates, context: ssl.SSLContext) -> None:
    worker = serve(echo, **certificates.options)
    client = worker.connect_tls(context)
    for byte in request('POST', '/', 'Content-Length: 10', body=b'0123456789'):
        client.send(bytes([byte]))
    assert client.response().body == b'/ 0123456789'


def large(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    if environ['PATH_INFO'] == '/list':
        start_response('200 OK', list(PLAIN))
        return [LARGE]
    if environ['PATH_INFO'] == '/generator':
        start_response('200 OK', list(PLAIN))
        return (LARGE[at : at + 70_000] for at in range(0, len(LARGE), 70_000))
    return hello(environ, start_response)


LARGE = os.urandom(5_000_000)


@pytest.mark.parametrize('path', ['/list', '/generator'])
def test_a_large_response_to_a_slow_reader(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext, path: str
) -> None:
    worker = serve(large, **certificates.options)
    client = worker.connect_tls(context, receive_buffer=16384)
    client.send(request('GET', path) + request('GET', '/next'))
    client.read_past(b'\r\n\r\n') if path == '/list' else worker.until_parked(1)
    assert worker.connect_tls(context).get('/other').body == b'hello'
    body = client.read(len(LARGE)) if path == '/list' else client.response().body
    assert body == LARGE
    assert client.response().body == b'hello'


@pytest.mark.parametrize('size', [20_000, 200_000])
def test_large_responses_to_a_reader_who_still_has_the_last_one(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext, size: int
) -> None:
    """There is no room for the beginning of one: what OpenSSL couldn't send, it is given again as it was."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        return [environ['PATH_INFO'].encode() * (size // 10)]

    worker = serve(app, **certificates.options)
    client = worker.connect_tls(context, receive_buffer=4096)
    paths = [f'/{number:09}' for number in range(6_000_000 // size)]  # more than all buffers on the way
    client.send(b''.join(request('GET', path) for path in paths))
    worker.until(lambda: any(connection.phase is Phase.SENDING for connection in worker.loop.pool.used))
    for path in paths:
        assert client.response().body == path.encode() * (size // 10)


def test_the_progress_of_a_large_block_is_known(serve: Serve, certificates: Certificates) -> None:
    """Deadlines depend on it: a reader that is slow but steady must not be taken for one that stalls."""
    worker = serve(large, **certificates.options)
    client = worker.connect_tls(trusting(certificates), receive_buffer=16384)
    client.send(request('GET', '/list'))
    client.read_past(b'\r\n\r\n')
    (responding,) = worker.loop.pool.used
    received = 0
    while received < len(LARGE):
        received += len(client.read(min(500_000, len(LARGE) - received)))
        phase, moved = worker.in_loop(lambda: (responding.phase, responding.out.moved))
        assert phase is not Phase.SENDING or moved >= received
    assert client.get('/next').body == b'hello'


@pytest.mark.parametrize('size', [0, 1, 65536, 65537, 2_000_000])
def test_a_file(serve: Serve, certificates: Certificates, context: ssl.SSLContext, tmp_path: Path, size: int) -> None:
    content = bytes_of(size)
    (tmp_path / 'file').write_bytes(content)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        result: Iterable[bytes] = environ['wsgi.file_wrapper']((tmp_path / 'file').open('rb'))
        return result

    client = serve(app, **certificates.options).connect_tls(context, receive_buffer=16384)
    for _ in range(2):
        assert client.get().body == content


# --- those who don't speak it -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'data',
    [b'\0' * 100, b'\x16\x03\x01\x00\x05hello', b'\x15\x03\x01\x00\x02\x02\x28', b'\r\n' + request()],
    ids=['zeros', 'no hello', 'an alert', 'a request behind an empty line'],
)
def test_what_is_no_handshake(serve: Serve, log: Log, certificates: Certificates, data: bytes) -> None:
    worker = serve(echo, **certificates.options)
    client = worker.connect()
    client.send(data)
    assert not client.rest().startswith(b'HTTP')
    assert worker.connect_tls(trusting(certificates)).get('/after').body == b'/after '
    assert log.text == '', 'anybody can do that, as often as they like'


PLAIN_HTTP = {
    'a request': request(),
    'another method': request('OPTIONS', '*'),
    'its first byte': b'G',
    'HTTP/2': b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'a request and many more': request() * 1000,
    'a body that is still on its way': request('POST', '/', 'Content-Length: 10000000', body=bytes(500_000)),
}


@pytest.mark.parametrize('data', PLAIN_HTTP.values(), ids=PLAIN_HTTP)
def test_plain_http_is_answered_in_plain_http(
    serve: Serve, log: Log, certificates: Certificates, tmp_path: Path, data: bytes
) -> None:
    row = Scoreboard()[0]
    access_log = AccessLog(os.open(tmp_path / 'log', os.O_CREAT | os.O_WRONLY), 'common')
    worker = serve(echo, **certificates.options, row=row, access_log=access_log)
    client = worker.connect()
    client.send(data)
    response = client.response()
    assert response.status == 400
    assert response.headers['content-type'] == 'text/plain; charset=utf-8'
    assert response.headers['connection'] == 'close'
    assert b'this port speaks TLS: use https:// instead of http://' in response.body
    assert client.is_closed()
    assert worker.connect_tls(trusting(certificates)).get('/after').body == b'/after '
    worker.until(lambda: row.get('errors') == 1)
    assert log.text == ''
    worker.stop()
    os.close(access_log.descriptor)
    assert '" 400 ' in (tmp_path / 'log').read_text().splitlines()[0]


def hello_of(context: ssl.SSLContext, name: str) -> bytes:
    """The first bytes of a client that asks for ``name``."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def test_a_name_that_is_not_ascii_is_refused_silently(
    serve: Serve, log: Log, certificates: Certificates, context: ssl.SSLContext, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = serve(echo, **certificates.options)
    client = worker.connect()
    client.send(hello_of(context, 'a-strange-name').replace(b'a-strange-name', b'a-strange-n\xe4me'))
    assert client.rest()[:1] == b'\x15', 'an alert'
    assert worker.connect_tls(context).get('/after').body == b'/after '
    assert (log.text, *capfd.readouterr()) == ('', '', '')


def test_what_else_cannot_be_raised_is_reported(
    serve: Serve, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of other servers in this process the hook may be there already."""
    reported: list[sys.UnraisableHookArgs] = []
    monkeypatch.setattr(tls, '_silenced', False)
    monkeypatch.setattr(sys, 'unraisablehook', reported.append)
    worker = serve(echo, **certificates.options)

    class Failing:
        def __del__(self) -> None:
            b'\xff'.decode('ascii')

    Failing()
    gc.collect()
    assert [entry.exc_type for entry in reported] == [UnicodeDecodeError]
    worker.stop()


def test_a_client_that_speaks_http2_alone(serve: Serve, certificates: Certificates, context: ssl.SSLContext) -> None:
    """RFC 7301 3.2 would have it refused in the handshake, which Python can't; so it is told in HTTP/1.1."""
    context.set_alpn_protocols(['h2'])
    client = serve(echo, **certificates.options).connect_tls(context)
    assert client.sock.selected_alpn_protocol() is None  # type: ignore[attr-defined]
    client.send(PLAIN_HTTP['HTTP/2'])
    assert client.response().status == 505


# CPython's SSLSocket leaves a socket to the garbage collector when its client is gone before it is accepted.
@pytest.mark.filterwarnings('ignore:unclosed <prefork.net.tls.ServerSocket:ResourceWarning')
@pytest.mark.parametrize('leave', ['close', 'reset'])
def test_clients_that_leave_before_or_in_the_handshake(serve: Serve, certificates: Certificates, leave: str) -> None:
    worker = serve(echo, **certificates.options)
    for data in (b'', b'\x16\x03\x01\x02\x00\x01\x00'):
        client = worker.connect()
        client.send(data)
        getattr(client, leave)()
        assert worker.connect_tls(trusting(certificates)).get('/after').body == b'/after '
    gc.collect()  # now, and not in a test that doesn't expect the warning


def test_a_client_without_trust(serve: Serve, certificates: Certificates, log: Log) -> None:
    worker = serve(echo, **certificates.options)
    with pytest.raises(ssl.SSLCertVerificationError):
        worker.connect_tls(ssl.create_default_context())
    assert worker.connect_tls(trusting(certificates)).get('/after').body == b'/after '
    assert log.text == ''


def test_a_client_certificate_is_required_where_there_is_an_authority(
    serve: Serve, certificates: Certificates, tmp_path: Path
) -> None:
    """With TLS 1.3 a client learns that it was refused only when it reads."""
    worker = serve(echo, **certificates.options, ssl_ca_file=str(certificates.ca))
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        worker.connect_tls(trusting(certificates)).get()
    context = trusting(certificates)
    context.load_cert_chain(certificates.client)
    assert worker.connect_tls(context).get('/x').body == b'/x '


def test_a_client_that_lacks_a_certificate_is_told_so(serve: Serve, certificates: Certificates) -> None:
    """Though it has sent requests before it reads: closing with unread bytes would reset the connection."""
    worker = serve(echo, **certificates.options, ssl_ca_file=str(certificates.ca))
    client = worker.connect_tls(trusting(certificates))
    for _ in range(3):
        client.send(request())
    with pytest.raises(ssl.SSLError, match=r'CERTIFICATE_REQUIRED|certificate required'):
        client.rest()


# --- what the application is told ---------------------------------------------------------------------------------


def tell(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answers with all that environ says of TLS."""
    start_response('200 OK', list(PLAIN))
    return [json.dumps({key: value for key, value in environ.items() if key.startswith('SSL_')}).encode()]


def told(client: Client, *fields: str) -> dict[str, str]:
    variables: dict[str, str] = json.loads(client.get('/', *fields).body)
    return variables


def test_the_connection_is_described(serve: Serve, certificates: Certificates, context: ssl.SSLContext) -> None:
    client = serve(tell, **certificates.options).connect_tls(context)
    expected = {
        'SSL_PROTOCOL': client.sock.version(),  # type: ignore[attr-defined]
        'SSL_CIPHER': client.sock.cipher()[0],  # type: ignore[attr-defined]
        'SSL_CLIENT_VERIFY': 'NONE',
        'SSL_TLS_SNI': 'localhost',
    }
    for _ in range(2):
        assert told(client) == expected


def test_a_client_that_names_no_host(serve: Serve, certificates: Certificates, context: ssl.SSLContext) -> None:
    worker = serve(tell, **certificates.options)
    context.check_hostname = False
    client = worker.connect()
    client.sock = context.wrap_socket(client.sock, server_hostname=None)
    assert 'SSL_TLS_SNI' not in told(client)


def test_without_tls_nothing_is_said_of_it(serve: Serve) -> None:
    client = serve(tell).connect()
    assert told(client, 'SSL-Client-Verify: SUCCESS', 'SSL_CLIENT_VERIFY: SUCCESS') == {}


def test_the_certificate_of_the_client_is_described(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext
) -> None:
    cert, key = certificates.issue(
        'ada',
        'ada@example.net',
        common_name='Ada, "B\xfccher"',
        organization_name=' Acme+Sons',
        organization_unit_name='Unit #1',
    )
    context.load_cert_chain(cert, key)
    worker = serve(tell, **certificates.options, ssl_ca_file=str(certificates.ca))
    parsed = x509.load_pem_x509_certificate(cert.read_bytes())
    issuer = parsed.issuer.rfc4514_string()
    serial = parsed.serial_number.to_bytes((parsed.serial_number.bit_length() + 7) // 8)
    session = None
    for _ in range(2):
        client = worker.connect()
        client.speak_tls(context, session)
        assert told(client, 'SSL-Client-Verify: NONE', 'SSL_CLIENT_S_DN: CN=root') == {
            'SSL_PROTOCOL': client.sock.version(),  # type: ignore[attr-defined]
            'SSL_CIPHER': client.sock.cipher()[0],  # type: ignore[attr-defined]
            'SSL_TLS_SNI': 'localhost',
            'SSL_CLIENT_VERIFY': 'SUCCESS',
            'SSL_CLIENT_CERT': cert.read_text(),
            'SSL_CLIENT_M_VERSION': '3',
            'SSL_CLIENT_M_SERIAL': serial.hex().upper(),
            'SSL_CLIENT_V_START': 'Jan  1 00:00:00 2000 GMT',
            'SSL_CLIENT_V_END': 'Jan  1 00:00:00 3000 GMT',
            'SSL_CLIENT_S_DN': 'CN=Ada\\, \\"B\xc3\xbccher\\",OU=Unit #1,O=\\ Acme\\+Sons',
            'SSL_CLIENT_S_DN_O': ' Acme+Sons',
            'SSL_CLIENT_S_DN_OU': 'Unit #1',
            'SSL_CLIENT_S_DN_CN': 'Ada, "B\xc3\xbccher"',
            'SSL_CLIENT_I_DN': issuer,
            'SSL_CLIENT_I_DN_O': issuer.rpartition(',O=')[2],
            'SSL_CLIENT_I_DN_OU': issuer.removeprefix('OU=').rpartition(',O=')[0],
        }
        assert client.sock.session_reused is (session is not None)  # type: ignore[attr-defined]
        session = client.sock.session  # type: ignore[attr-defined]


def strange(certificates: Certificates, file: Path) -> None:
    """Write a certificate, and its key, that is the authority's, but whose alternative name isn't ASCII."""
    authority = serialization.load_pem_private_key(certificates.authority.private_key_pem.bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    encoded = b'\x30\x08\x82\x06b\xfccher'  # RFC 5280 4.2.1.6: dNSName [2] IA5String
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string('CN=strange'))
        .issuer_name(x509.load_pem_x509_certificate(certificates.ca.read_bytes()).subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2100, 1, 1))
        .add_extension(x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, encoded), False)
        .sign(authority, hashes.SHA256())  # type: ignore[arg-type]
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(certificate.public_bytes(pem) + private)


def test_a_certificate_with_a_name_that_is_no_text(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext, log: Log, tmp_path: Path
) -> None:
    """It is valid, but nobody could say whose it is."""
    strange(certificates, tmp_path / 'strange.pem')
    context.load_cert_chain(tmp_path / 'strange.pem')
    worker = serve(tell, **certificates.options, ssl_ca_file=str(certificates.ca))
    client = worker.connect_tls(context)
    client.send(request())
    assert client.is_closed()
    assert log.text == ''


# --- ends ---------------------------------------------------------------------------------------------------------


def is_cut(client: Client) -> bool:
    """Whether the end of the connection comes without close_notify, which tells that something is missing."""
    try:
        client.rest()
    except (ssl.SSLError, ConnectionResetError) as error:
        return 'eof' in str(error).lower() or isinstance(error, ConnectionResetError)
    return False


def failing(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', list(PLAIN))
    yield b'first'
    raise LookupError


def short(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [*PLAIN, ('Content-Length', '100')])
    return [b'first']


@pytest.mark.parametrize('version', ['1.0', '1.1'])
@pytest.mark.parametrize('app', [failing, short])
def test_a_response_that_is_cut_has_no_close_notify(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext, app: App, version: str
) -> None:
    client = serve(app, **certificates.options).connect_tls(context)
    client.send(request(version=version))
    assert is_cut(client)


def test_a_response_that_nobody_reads_has_no_close_notify(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext
) -> None:
    worker = serve(large, **certificates.options, client_socket_timeout=0.1)
    client = worker.connect_tls(context, receive_buffer=16384)
    client.send(request('GET', '/list'))
    worker.until_connected(0)
    assert is_cut(client)


def test_a_response_that_the_end_of_the_worker_cuts_has_no_close_notify(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext
) -> None:
    worker = serve(large, **certificates.options)
    client = worker.connect_tls(context, receive_buffer=16384)
    client.send(request('GET', '/list'))
    client.read_past(b'\r\n\r\n')
    worker.loop.call_soon_threadsafe(worker.loop.stop)
    worker.join()
    assert is_cut(client)


# What a client has sent when it ends its side.
MOMENTS = {
    'nothing': b'',
    'a request': request(),
    'a request, and half of one': request() + b'GET / HT',
    'half of a body': request('POST', '/', 'Content-Length: 100', body=b'half'),
}


@pytest.mark.parametrize('sent', MOMENTS.values(), ids=MOMENTS)
def test_a_close_notify_is_answered(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext, sent: bytes
) -> None:
    client = serve(echo, **certificates.options).connect_tls(context)
    client.send(sent)
    if sent.startswith(b'GET'):
        assert client.response().status == 200
    plain = client.sock.unwrap()  # type: ignore[attr-defined]  # which ends with the server's own
    with plain:
        assert plain.recv(1) == b''


@pytest.mark.parametrize('sent', MOMENTS.values(), ids=MOMENTS)
def test_a_client_that_ends_without_close_notify_gets_one(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext, sent: bytes
) -> None:
    """RFC 9112 9.8: be prepared for it; and answer what was whole."""
    client = serve(echo, **certificates.options).connect_tls(context)
    client.send(sent)
    socket.socket.shutdown(client.sock, socket.SHUT_WR)
    if sent.startswith(b'GET'):
        assert client.response().status == 200
    assert client.is_closed()


def test_a_client_that_is_idle_for_too_long_gets_a_close_notify(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext
) -> None:
    client = serve(echo, **certificates.options, keepalive_timeout=0.1).connect_tls(context)
    client.get()
    assert client.is_closed()


def test_a_client_that_is_too_slow_gets_an_answer_and_a_close_notify(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext
) -> None:
    client = serve(echo, **certificates.options, header_timeout=0.1).connect_tls(context)
    client.send(b'GET / HTTP/1.1\r\n')
    assert client.response().status == 408
    assert client.is_closed()


def test_an_event_that_is_late_ends_nothing_twice(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext
) -> None:
    """It was polled while the response was sent, which others who had their turn first have ended."""
    worker = serve(hello, **certificates.options)
    client = worker.connect_tls(context)
    assert client.get('/', 'Connection: close').body == b'hello'
    (connection,) = worker.loop.pool.used
    worker.until(lambda: connection.phase is Phase.LINGERING)
    worker.in_loop(lambda: connection.on_event(WRITE))
    assert client.is_closed()
    assert connection.phase is Phase.LINGERING


@pytest.mark.parametrize('sent', [b'', b'GET / HT'], ids=['idle', 'receiving'])
@pytest.mark.parametrize('end', ['drain', 'stop'])
def test_a_worker_that_goes_says_goodbye(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext, end: str, sent: bytes
) -> None:
    worker = serve(echo, **certificates.options)
    client = worker.connect_tls(context)
    client.get()
    client.send(sent)
    worker.in_loop(lambda: None)
    stop = worker.loop.stop if end == 'stop' else lambda: worker.loop.drain(0.1, Backlog.LEAVE)
    worker.loop.call_soon_threadsafe(stop)
    worker.join()
    assert client.is_closed()


def test_the_last_response_of_a_drain_is_ended_by_a_close_notify(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext, gate: Gate
) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        gate.enter()
        return hello(environ, start_response)

    worker = serve(app, **certificates.options)
    client = worker.connect_tls(context)
    client.send(request())
    gate.arrival()
    worker.in_loop(lambda: worker.loop.drain(DEADLINE, Backlog.LEAVE))
    gate.let()
    assert client.response().body == b'hello'
    assert client.is_closed()
    client.close()
    worker.join()


def test_a_close_notify_waits_for_room(
    certificates: Certificates, context: ssl.SSLContext, gate: Gate, tmp_path: Path
) -> None:
    """Behind a response of which the kernel has taken the last byte, and not one more."""
    body = bytes_of(50_000)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response('200 OK', [*PLAIN, ('Content-Length', str(len(body)))])
        write(body)
        gate.enter()
        return []

    path = str(tmp_path / 'socket')
    worker = Worker(app, certificates.options, address=Address('unix', path, 0))
    client = Client(socket.socket(socket.AF_UNIX))
    try:
        client.sock.connect(path)
        client.speak_tls(context)
        client.send(request('GET', '/', 'Connection: close'))
        gate.arrival()
        (connection,) = worker.loop.pool.used
        assert not connection.out.queue
        connection._transport._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        gate.let()
        worker.until(lambda: connection.phase is Phase.LINGERING)
        assert connection._interest == WRITE
        assert client.response().body == body
        assert client.is_closed()
    finally:
        client.close()
        worker.stop()


def test_a_refused_client_that_is_still_sending_sees_the_answer(
    serve: Serve, certificates: Certificates, context: ssl.SSLContext
) -> None:
    client = serve(hello, **certificates.options, max_body=1000).connect_tls(context)
    client.send(request('POST', '/', 'Content-Length: 100000') + b'x' * 50_000)
    assert client.response().status == 413
    client.send(b'x' * 50_000)
    assert client.is_closed()


def test_a_client_that_ends_its_side(serve: Serve, certificates: Certificates, context: ssl.SSLContext) -> None:
    """With its close_notify behind the request."""
    worker = serve(echo, **certificates.options)
    client = worker.connect_tls(context)
    assert client.get('/1').body == b'/1 '
    client.half_close()
    worker.until_connected(0)
