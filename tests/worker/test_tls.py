"""TLS over the whole path: handshakes in the loop, large transfers both ways, and clients that don't speak it."""

from __future__ import annotations

import gc
import os
import ssl
from typing import TYPE_CHECKING

import pytest

from prefork.worker.phase import Phase
from tests.worker.harness import PLAIN, echo, hello, request, trusting

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.certificates import Certificates
    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, Log, StartResponse


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
    """A record holds 16 KiB: what OpenSSL has decrypted already wakes no selector."""
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
    [request(), b'\0' * 100, b'\x16\x03\x01\x00\x05hello', b'\x15\x03\x01\x00\x02\x02\x28'],
    ids=['plain HTTP', 'zeros', 'no hello', 'an alert'],
)
def test_what_is_no_handshake(serve: Serve, log: Log, certificates: Certificates, data: bytes) -> None:
    worker = serve(echo, **certificates.options)
    client = worker.connect()
    client.send(data)
    assert not client.rest().startswith(b'HTTP')
    assert worker.connect_tls(trusting(certificates)).get('/after').body == b'/after '
    assert log.text == '', 'anybody can do that, as often as they like'


# CPython's SSLSocket leaves a socket to the garbage collector when its client is gone before it is accepted.
@pytest.mark.filterwarnings('ignore:unclosed <ssl.SSLSocket:ResourceWarning')
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


# --- ends ---------------------------------------------------------------------------------------------------------


def test_a_response_that_is_cut_has_no_close_notify(serve: Serve, certificates: Certificates) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        yield b'first'
        raise LookupError

    client = serve(app, **certificates.options).connect_tls(trusting(certificates))
    client.send(request(version='1.0'))
    with pytest.raises((ssl.SSLError, ConnectionResetError), match=r'(?i)eof|reset'):
        client.rest()


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
