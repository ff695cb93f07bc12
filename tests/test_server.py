"""The embeddable Server, as OpenStack's services used theirs: made, started, stopped, waited for, and started again."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from prefork import Server
from prefork.errors import BindError, ConfigError
from tests.certificates import Certificates, certificates
from tests.worker.conftest import gate, log
from tests.worker.harness import DEADLINE, Client, Gate, Log, echo, hello, request, trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import Any

    from tests.worker.harness import Environ, StartResponse

__all__ = ['certificates', 'gate', 'log']  # fixtures

LOOPBACK = '127.0.0.1'


@pytest.fixture
def make(log: Log) -> Iterator[Callable[..., Server]]:
    """``make(app, **options)`` is a Server on a loopback port that ends with the test."""
    servers: list[Server] = []

    def make(app: Any = hello, *, name: str = 'api', host: str = LOOPBACK, **options: Any) -> Server:
        server = Server(name, app, host, **options)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.stop()
        within_the_deadline(server.wait)
        server.close()


def within_the_deadline(function: Callable[[], object]) -> None:
    """Call what blocks, in a thread so that a failure fails the test and doesn't hang it."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert not thread.is_alive(), f'{function} did not return'


def connect(server: Server) -> Client:
    return Client(socket.create_connection((server.host, server.port), DEADLINE))


def get(server: Server, path: str = '/', *fields: str) -> Any:
    client = connect(server)
    try:
        return client.get(path, *fields)
    finally:
        client.close()


def is_served(server: Server) -> bool:
    """The kernel accepts as long as the address is kept; whether anybody answers is another question."""
    client = connect(server)
    client.send(request())
    client.sock.settimeout(0.05)
    try:
        return bool(client.sock.recv(1))
    except TimeoutError:
        return False
    finally:
        client.close()


# --- making -------------------------------------------------------------------------------------------------------


def test_the_address_is_known_before_the_start(make: Callable[..., Server], log: Log) -> None:
    server = make(None, name='test_app')
    assert server.name == 'test_app'
    assert server.host == LOOPBACK
    assert server.port > 0
    assert f'test_app listening on {LOOPBACK}:{server.port}' in log.text
    socket.create_connection((server.host, server.port), DEADLINE).close()


def test_without_an_application_there_is_no_start(make: Callable[..., Server]) -> None:
    server = make(None)
    with pytest.raises(RuntimeError, match='no application'):
        server.start()
    server.app = hello
    server.start()
    assert get(server).body == b'hello'


@pytest.mark.parametrize('backlog', [0, -1])
def test_a_backlog_below_one_is_refused(backlog: int) -> None:
    with pytest.raises(ConfigError, match='The backlog must be more than 0'.lower()):
        Server('api', hello, LOOPBACK, backlog=backlog)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigError, match='no such option: keepalive'):
        Server('api', hello, LOOPBACK, keepalive=True)


def test_options_that_make_no_sense_together_are_refused() -> None:
    with pytest.raises(ConfigError, match='proxy_protocol: nobody may connect without trusted_proxies'):
        Server('test', hello, host='127.0.0.1', proxy_protocol=True)


def test_an_address_that_is_taken(make: Callable[..., Server], log: Log) -> None:
    server = make()
    with pytest.raises(BindError):
        Server('other', hello, server.host, server.port)
    assert f'could not bind to {LOOPBACK}:{server.port}' in log.text


def test_ipv6(make: Callable[..., Server]) -> None:
    try:
        server = make(host='::1')
    except BindError:
        pytest.skip('there is no IPv6 here')
    assert server.host == '::1'
    assert server.port > 0
    server.start()
    assert get(server).body == b'hello'


def test_a_unix_socket(make: Callable[..., Server], tmp_path: Path) -> None:
    path = tmp_path / 'socket'
    server = make(host=f'unix:{path}', socket_mode=0o644)
    server.start()
    assert path.stat().st_mode & 0o777 == 0o644
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        assert Client(sock).get().body == b'hello'


@pytest.mark.parametrize('use_ssl', [False, True], ids=['plain', 'TLS'])
def test_socket_options(make: Callable[..., Server], certificates: Certificates, use_ssl: bool) -> None:
    """On the listener, and on what it accepts."""
    server = make(tcp_keepidle=500, use_ssl=use_ssl, **certificates.options)
    server.start()
    client = connect(server)
    if use_ssl:
        client.speak_tls(trusting(certificates))
    assert client.get().status == 200
    assert server._loop is not None
    (connection,) = server._loop.pool.used
    for sock in (server._listener.socket, connection._transport._socket):
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 500
    assert server._listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    client.close()


# --- start, stop, wait, reset -------------------------------------------------------------------------------------


def test_a_life(make: Callable[..., Server], log: Log) -> None:
    server = make(name='cells')
    server.start()
    assert get(server).body == b'hello'
    server.stop()
    within_the_deadline(server.wait)
    assert 'stopping cells' in log.text
    assert 'cells has stopped' in log.text
    assert not is_served(server)


def test_it_can_be_started_again(make: Callable[..., Server]) -> None:
    server = make()
    port = server.port
    for _ in range(3):
        server.start()
        assert get(server).body == b'hello'
        server.stop()
        within_the_deadline(server.wait)
        server.reset()
    assert server.port == port


def test_reset_waits_for_the_end_of_the_last_run(make: Callable[..., Server]) -> None:
    server = make()
    server.start()
    server.stop()
    within_the_deadline(server.reset)
    server.start()
    assert get(server).body == b'hello'


def test_starting_twice_is_an_error(make: Callable[..., Server]) -> None:
    server = make()
    server.start()
    with pytest.raises(RuntimeError, match='started already'):
        server.start()
    assert get(server).body == b'hello'


def test_stop_and_wait_may_come_at_any_time(make: Callable[..., Server]) -> None:
    server = make()
    server.stop()
    server.wait()
    server.reset()
    for _ in range(5):
        server.start()
        server.stop()  # before its loop has begun, as like as not
        server.stop()
        within_the_deadline(server.wait)
        server.wait()
        server.stop()


def test_stop_lets_requests_end(make: Callable[..., Server], gate: Gate) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        gate.enter()
        return echo(environ, start_response)

    server = make(app)
    server.start()
    client = connect(server)
    client.send(request('GET', '/slow'))
    gate.arrival()
    server.stop()
    waiter = threading.Thread(target=server.wait, daemon=True)
    waiter.start()
    assert client.is_quiet()
    assert waiter.is_alive()
    gate.let()
    assert client.response().body == b'/slow '
    client.close()
    waiter.join(DEADLINE)
    assert not waiter.is_alive()


def test_wait_gives_up_on_an_application_that_is_stuck(make: Callable[..., Server], gate: Gate) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        gate.enter()
        return echo(environ, start_response)

    server = make(app, graceful_timeout=0.1)
    server.start()
    client = connect(server)
    client.send(request())
    gate.arrival()
    server.stop()
    within_the_deadline(server.wait)
    gate.let()
    assert client.rest(), 'its client is answered all the same'
    client.close()


def test_pool_size(make: Callable[..., Server]) -> None:
    server = make(pool_size=10)
    assert server.pool_size == 0, 'not started'
    server.start()
    assert server.pool_size == 10
    server.stop()
    assert server.pool_size == 0
    server.reset()
    server.start()
    assert server.pool_size == 10


@pytest.mark.parametrize('pool_size', [None, 0])
def test_the_default_pool_size(make: Callable[..., Server], pool_size: int | None) -> None:
    server = make(pool_size=pool_size)
    server.start()
    assert server.pool_size == 1000


def test_two_servers_side_by_side(make: Callable[..., Server], certificates: Certificates) -> None:
    plain = make(hello, name='plain')
    secure = make(echo, name='secure', use_ssl=True, **certificates.options)
    plain.start()
    secure.start()
    assert get(plain).body == b'hello'
    client = connect(secure)
    client.speak_tls(trusting(certificates))
    assert client.get('/secure').body == b'/secure '
    plain.stop()
    within_the_deadline(plain.wait)
    assert client.get('/still').body == b'/still '
    client.close()


def test_nothing_is_left(make: Callable[..., Server], tmp_path: Path) -> None:
    """Neither descriptors nor threads: a service may start and stop as often as it likes."""
    server = make(access_log=str(tmp_path / 'access.log'))
    server.start()
    assert get(server).status == 200
    server.stop()
    within_the_deadline(server.wait)
    descriptors = set(os.listdir('/proc/self/fd'))
    for _ in range(5):
        server.start()
        assert get(server).status == 200
        server.stop()
        within_the_deadline(server.wait)
    assert set(os.listdir('/proc/self/fd')) == descriptors
    assert (tmp_path / 'access.log').read_text().count('"GET / HTTP/1.1" 200 5 ') == 6


def test_an_access_log_that_cannot_be_opened(make: Callable[..., Server], tmp_path: Path, log: Log) -> None:
    server = make(access_log=str(tmp_path / 'missing' / 'access.log'))
    descriptors = set(os.listdir('/proc/self/fd'))
    with pytest.raises(FileNotFoundError):
        server.start()
    assert set(os.listdir('/proc/self/fd')) == descriptors
    assert 'failed to start api' in log.text


# --- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('max_url_len', 'length', 'refused'),
    [
        pytest.param(16384, 10_000, False, id='within the limit'),
        pytest.param(16384, 20_000, True, id='above the limit'),
        pytest.param(None, 8_000, False, id='within the default'),
        pytest.param(None, 10_000, True, id='above the default'),
    ],
)
def test_max_url_len(make: Callable[..., Server], max_url_len: int | None, length: int, refused: bool) -> None:
    server = make(max_url_len=max_url_len)
    server.start()
    assert (get(server, '/' + 'x' * (length - 1)).status == 414) is refused


def test_max_header_line(make: Callable[..., Server]) -> None:
    server = make(max_header_line=4096)
    server.start()
    assert get(server, '/', 'X: ' + 'x' * 4000).status == 200
    assert get(server, '/', 'X: ' + 'x' * 4100).status == 431


def test_keep_alive(make: Callable[..., Server]) -> None:
    server = make(keep_alive=False)
    server.start()
    client = connect(server)
    assert client.get().headers['connection'] == 'close'
    assert client.is_closed()
    client.close()


def test_client_socket_timeout(make: Callable[..., Server]) -> None:
    server = make(client_socket_timeout=0.1)
    server.start()
    client = connect(server)
    client.send(request('POST', '/', 'Content-Length: 10') + b'x')
    assert client.response().status == 408
    client.close()


def test_secure_proxy_ssl_header(make: Callable[..., Server]) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])
        return [environ['wsgi.url_scheme'].encode()]

    server = make(app, secure_proxy_ssl_header='HTTP_X_FORWARDED_PROTO')
    server.start()
    assert get(server, '/', 'X-Forwarded-Proto: https').body == b'https'
    assert get(server).body == b'http'


# --- TLS ----------------------------------------------------------------------------------------------------------


def test_tls(make: Callable[..., Server], certificates: Certificates) -> None:
    server = make(echo, use_ssl=True, **certificates.options)
    server.start()
    client = connect(server)
    client.speak_tls(trusting(certificates))
    client.send(request('POST', '/', 'Content-Length: 4', body=b'PING'))
    assert client.response().body == b'/ PING'
    client.close()


def test_files_alone_do_not_mean_tls(make: Callable[..., Server], certificates: Certificates) -> None:
    server = make(**certificates.options)
    server.start()
    assert get(server).body == b'hello'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        pytest.param({}, 'both ssl_cert_file and ssl_key_file', id='no files'),
        pytest.param({'ssl_key_file': ''}, 'both ssl_cert_file and ssl_key_file', id='no key'),
        pytest.param({'ssl_key_file': '/missing'}, 'ssl_key_file: /missing: No such file', id='a key that is missing'),
        pytest.param({'ssl_ca_file': '/missing'}, 'ssl_ca_file: /missing: No such file', id='a CA that is missing'),
    ],
)
def test_tls_files(
    make: Callable[..., Server], certificates: Certificates, log: Log, options: dict[str, str], message: str
) -> None:
    server = make(use_ssl=True, **({**certificates.options, **options} if options else {}))
    descriptors = set(os.listdir('/proc/self/fd'))
    with pytest.raises(ConfigError, match=message):
        server.start()
    assert set(os.listdir('/proc/self/fd')) == descriptors
    assert f'failed to start api on https://{LOOPBACK}' in log.text
