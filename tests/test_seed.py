"""The test cases that prefork's classes inherit: each of those that nova and oslo.service kept for theirs has a row.

A row is named as its case is there, and runs on ``prefork.Server``, ``prefork.Loader`` and the toolkit, with real
sockets and real TLS.  LEFT_OUT says of the others why; a test counts that none is forgotten.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import webob
import webob.dec

from prefork import Application, Debug, Loader, Request, Router, Server
from prefork.errors import AppNotFound, BindError, ConfigError, ConfigNotFound
from prefork.settings import Settings, available_processors, from_text
from prefork.toolkit import Mapper, wsgify
from tests.certificates import Certificates, certificates
from tests.serving import serve
from tests.worker.conftest import gate, log
from tests.worker.harness import DEADLINE, Client, Gate, Log, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ['certificates', 'gate', 'log']  # fixtures

LOOPBACK = '127.0.0.1'


def pong(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'PONG']


class World:
    """What a row needs: servers that end with it, clients, files, and the fixtures by their names."""

    def __init__(self, request: pytest.FixtureRequest, certificates: Certificates, gate: Gate, log: Log) -> None:
        self.certificates = certificates
        self.gate = gate
        self.log = log
        self.folder: Path = request.getfixturevalue('tmp_path')
        self.patch: pytest.MonkeyPatch = request.getfixturevalue('monkeypatch')
        self.printed: pytest.CaptureFixture[str] = request.getfixturevalue('capsys')
        self.servers: list[Server] = []

    def make(self, app: Any = pong, host: str = LOOPBACK, name: str = 'test_server', **options: Any) -> Server:
        """A server that isn't started; the test is skipped where there is no IPv6 and ``host`` is such an address."""
        try:
            server = Server(name, app, host=host, **options)
        except BindError:
            if ':' in host and not host.startswith('unix:'):
                pytest.skip('there is no IPv6 here')
            raise
        self.servers.append(server)
        return server

    def start(self, app: Any = pong, host: str = LOOPBACK, **options: Any) -> Server:
        server = self.make(app, host, **options)
        server.start()
        return server

    def start_tls(self, app: Any = pong, host: str = LOOPBACK, **options: Any) -> Server:
        return self.start(app, host, use_ssl=True, **{**self.certificates.options, **options})

    def ini(self, text: str) -> str:
        path = self.folder / 'api-paste.ini'
        path.write_text(text)
        return str(path)

    def ask(self, server: Server, path: str = '/', method: str = 'GET', **options: Any) -> httpx.Response:
        """One request; over TLS, with the server's certificate verified, where the server speaks it."""
        context = ssl.create_default_context(cafile=self.certificates.ca)
        if certificate := options.pop('certificate', None):
            context.load_cert_chain(certificate)
        host = f'[{server.host}]' if ':' in server.host else server.host
        scheme = 'https' if server._listener.tls else 'http'
        with httpx.Client(trust_env=False, verify=context, timeout=DEADLINE) as client:
            return client.request(method, f'{scheme}://{host}:{server.port}{path}', **options)

    def raw(self, server: Server) -> Client:
        return Client(socket.create_connection((server.host, server.port), DEADLINE))

    def close(self) -> None:
        for server in self.servers:
            server.stop()
            in_time(server.wait)
            server.close()


@pytest.fixture
def world(
    request: pytest.FixtureRequest, certificates: Certificates, gate: Gate, log: Log, tmp_path: Path
) -> Iterator[World]:
    made = World(request, certificates, gate, log)
    yield made
    made.gate.let(100)
    made.close()


def in_time(function: Callable[[], object]) -> None:
    """Call what blocks, in a thread so that a failure fails the test and doesn't hang it."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert not thread.is_alive(), f'{function} did not return'


SEED: dict[str, Callable[[World], None]] = {}


def case(*names: str) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    """Makes a row for each name, ``PROJECT[+PROJECT] CASE``."""

    def register(check: Callable[[World], None]) -> Callable[[World], None]:
        for name in names:
            assert name not in SEED, f'{name} is there twice'
            SEED[name] = check
        return check

    return register


# --- Loader -------------------------------------------------------------------------------------------------------


def finds_no_config(world: World, path: str) -> None:
    with world.patch.context() as patch:
        patch.setattr(os.path, 'exists', lambda _: False)
        with pytest.raises(ConfigNotFound, match=r'api-paste\.ini'):
            Loader(path)


@case('nova+oslo TestLoaderNothingExists.test_relpath_config_not_found')
def _(world: World) -> None:
    finds_no_config(world, 'api-paste.ini')


@case('nova+oslo TestLoaderNothingExists.test_asbpath_config_not_found')
def _(world: World) -> None:
    finds_no_config(world, '/etc/openstack-srv/api-paste.ini')


STATIC = '[app:test_app]\nuse = egg:Paste#static\ndocument_root = /tmp\n'


@case('nova+oslo TestLoaderNormalFilesystem.test_config_found')
def _(world: World) -> None:
    path = world.ini(STATIC)
    assert Loader(path).config_path == path


@case('nova+oslo TestLoaderNormalFilesystem.test_app_not_found')
def _(world: World) -> None:
    loader = Loader(world.ini(STATIC))
    with pytest.raises(AppNotFound, match='nonexistent app'):
        loader.load_app('nonexistent app')


class Directory:
    """In place of Paste's application, of which the case wants one attribute."""

    def __init__(self, global_conf: dict[str, str], document_root: str) -> None:
        self.directory = document_root


@case('nova+oslo TestLoaderNormalFilesystem.test_app_found')
def _(world: World) -> None:
    metadata = world.folder / 'site' / 'Paste-99.dist-info'
    metadata.mkdir(parents=True)
    (metadata / 'METADATA').write_text('Metadata-Version: 2.1\nName: Paste\nVersion: 99\n')
    (metadata / 'entry_points.txt').write_text(f'[paste.app_factory]\nstatic = {__name__}:Directory\n')
    world.patch.syspath_prepend(str(metadata.parent))
    assert Loader(world.ini(STATIC)).load_app('test_app').directory == '/tmp'


# --- Server -------------------------------------------------------------------------------------------------------


@case('nova+oslo TestWSGIServer.test_no_app')
def _(world: World) -> None:
    assert world.make(None, name='test_app').name == 'test_app'


@case('nova+oslo TestWSGIServer.test_custom_max_header_line')
def _(world: World) -> None:
    server = world.start(max_header_line=4096)
    assert world.ask(server, headers={'X-Auth-Token': 'x' * 4000}).text == 'PONG'
    assert world.ask(server, headers={'X-Auth-Token': 'x' * 5000}).status_code == 431
    assert world.ask(world.start(), headers={'X-Auth-Token': 'x' * 16000}).text == 'PONG', 'by default there is room'


@case('nova+oslo TestWSGIServer.test_start_random_port')
def _(world: World) -> None:
    server = world.start(port=0)
    assert server.port != 0
    server.stop()
    in_time(server.wait)


@case('nova+oslo TestWSGIServer.test_start_random_port_with_ipv6')
def _(world: World) -> None:
    server = world.start(host='::1', port=0)
    assert server.host == '::1'
    assert server.port != 0
    assert world.ask(server).text == 'PONG'


def has_socket_options(server: Server) -> None:
    assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    if hasattr(socket, 'TCP_KEEPIDLE'):
        assert server.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 500


@case('nova+oslo TestWSGIServer.test_socket_options_for_simple_server')
def _(world: World) -> None:
    server = world.start(tcp_keepidle=500)
    has_socket_options(server)
    lives_until_stopped(world, server)


def lives_until_stopped(world: World, server: Server) -> None:
    assert server.pool_size > 0
    server.stop()
    in_time(server.wait)
    assert server.pool_size == 0


@case('oslo TestWSGIServer.test_server_with_unix_socket')
def _(world: World) -> None:
    path = world.folder / 'socket'
    server = world.make(host=f'unix:{path}', socket_mode=0o644)
    assert server.socket.getsockname() == str(path)
    assert path.stat().st_mode & 0o777 == 0o644
    server.start()
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=DEADLINE) as client:
        assert client.get('http://localhost/').text == 'PONG'
    lives_until_stopped(world, server)


@case('nova+oslo TestWSGIServer.test_server_pool_waitall')
def _(world: World) -> None:
    """wait() waits for the requests that stop() left running."""

    def slow(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        world.gate.enter()
        return pong(environ, start_response)

    server = world.start(slow)
    client = world.raw(server)
    client.send(request())
    world.gate.arrival()
    server.stop()
    waiter = threading.Thread(target=server.wait, daemon=True)
    waiter.start()
    assert waiter.is_alive()
    world.gate.let()
    assert client.response().body == b'PONG'
    client.close()
    in_time(waiter.join)


@case('nova+oslo TestWSGIServer.test_uri_length_limit')
def _(world: World) -> None:
    server = world.start(max_url_len=16384)
    assert world.ask(server, '/' + 10000 * 'x').status_code == 200
    assert world.ask(server, '/' + 20000 * 'x').status_code == 414


@case('nova+oslo TestWSGIServer.test_reset_pool_size_to_default')
def _(world: World) -> None:
    server = world.start(max_url_len=16384)
    server.stop()
    assert server.pool_size == 0
    server.reset()
    server.start()
    assert server.pool_size == Settings().pool_size == 1000
    assert world.ask(server).text == 'PONG'


@case('nova+oslo TestWSGIServer.test_client_socket_timeout')
def _(world: World) -> None:
    server = world.start(client_socket_timeout=0.1)
    client = world.raw(server)
    client.send(request('POST', '/', 'Content-Length: 2') + b'x')
    assert client.response().status == 408
    client.close()


@case('nova TestWSGIServer.test_keep_alive', 'oslo TestWSGIServer.test_wsgi_keep_alive')
def _(world: World) -> None:
    client = world.raw(world.start(keep_alive=False))
    assert client.get().headers['connection'] == 'close'
    assert client.is_closed()
    client.close()


# --- Server, with TLS ---------------------------------------------------------------------------------------------


@case('nova+oslo TestWSGIServerWithSSL.test_ssl_server')
def _(world: World) -> None:
    server = world.start_tls()
    assert server.port != 0
    assert world.ask(server, method='POST').text == 'PONG'


@case('nova+oslo TestWSGIServerWithSSL.test_two_servers')
def _(world: World) -> None:
    secure, plain = world.start_tls(name='fake_ssl'), world.start(name='fake')
    assert world.ask(secure, method='POST').text == 'PONG'
    assert world.ask(plain, method='POST').text == 'PONG'


@case('nova+oslo TestWSGIServerWithSSL.test_socket_options_for_ssl_server')
def _(world: World) -> None:
    has_socket_options(world.start_tls(tcp_keepidle=500))


@case('nova+oslo TestWSGIServerWithSSL.test_app_using_ipv6_and_ssl')
def _(world: World) -> None:
    @webob.dec.wsgify
    def hello_world(req: webob.Request) -> str:
        return 'Hello, World!!!'

    assert world.ask(world.start_tls(hello_world, '::1')).text == 'Hello, World!!!'


@case('oslo SslutilsTestCase.test_is_enabled')
def _(world: World) -> None:
    server = world.start_tls(ssl_ca_file=str(world.certificates.ca))
    assert world.ask(server, certificate=world.certificates.client).text == 'PONG'


def needs(world: World, option: str) -> None:
    with pytest.raises(ConfigError, match=f'{option}: /no/such/file'):
        world.start_tls(**{option: '/no/such/file'})
    assert 'failed to start test_server' in world.log.text


@case('oslo SslutilsTestCase.test_is_enabled_no_ssl_cert_file_fails')
def _(world: World) -> None:
    needs(world, 'ssl_cert_file')


@case('oslo SslutilsTestCase.test_is_enabled_no_ssl_key_file_fails')
def _(world: World) -> None:
    needs(world, 'ssl_key_file')


@case('oslo SslutilsTestCase.test_is_enabled_no_ssl_ca_file_fails')
def _(world: World) -> None:
    needs(world, 'ssl_ca_file')


@case('oslo SslutilsTestCase.test_wrap')
def _(world: World) -> None:
    """Without a CA, clients need no certificate."""
    assert world.ask(world.start_tls()).text == 'PONG'


@case('oslo SslutilsTestCase.test_wrap_ca_file')
def _(world: World) -> None:
    server = world.start_tls(ssl_ca_file=str(world.certificates.ca))
    with pytest.raises(httpx.TransportError):
        world.ask(server)
    assert world.ask(server, certificate=world.certificates.client).text == 'PONG'


def handshake(world: World, server: Server, version: ssl.TLSVersion) -> str:
    """The cipher that a client of one version of TLS is given."""
    context = ssl.create_default_context(cafile=world.certificates.ca)
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection((server.host, server.port), DEADLINE) as sock,
        context.wrap_socket(sock, server_hostname=server.host) as secure,
    ):
        cipher = secure.cipher()
        assert cipher is not None
        return cipher[0]


@case('oslo SslutilsTestCase.test_wrap_ciphers')
def _(world: World) -> None:
    server = world.start_tls(ssl_ciphers='ECDHE+CHACHA20')
    assert handshake(world, server, ssl.TLSVersion.TLSv1_2).endswith('CHACHA20-POLY1305')
    assert not handshake(world, world.start_tls(), ssl.TLSVersion.TLSv1_2).endswith('CHACHA20-POLY1305')


@case('oslo SslutilsTestCase.test_wrap_ssl_version')
def _(world: World) -> None:
    """It is the oldest version that is chosen here, and TLS 1.0 of that case isn't to be had."""
    server = world.start_tls(ssl_minimum_version='TLSv1.3')
    assert handshake(world, server, ssl.TLSVersion.TLSv1_3)
    with pytest.raises(ssl.SSLError):
        handshake(world, server, ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ConfigError, match='tlsv1'):
        from_text([('ssl_minimum_version', 'tlsv1', 'app.ini:1: [server:main]')])


# --- the toolkit --------------------------------------------------------------------------------------------------


@case('nova Test.test_debug')
def _(world: World) -> None:
    assert webob.Request.blank('/').get_response(Debug(pong)).body == b'PONG'
    assert f'{"*" * 40} REQUEST ENVIRON' in world.printed.readouterr().out


@case('nova Test.test_router')
def _(world: World) -> None:
    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        start_response('200', [])
        return ['Router result']  # text where WSGI wants bytes, as the case has it: WebOb lets it pass

    class APIRouter(Router):
        def __init__(self) -> None:
            mapper = Mapper()
            mapper.connect('/test', controller=application)
            super().__init__(mapper)

    bodies: dict[str, Any] = {
        path: webob.Request.blank(path).get_response(APIRouter()).body for path in ('/test', '/bad')
    }
    assert bodies['/test'] == 'Router result'
    assert bodies['/bad'] != 'Router result'


# --- related ------------------------------------------------------------------------------------------------------


class Versions(Application):
    @wsgify
    def __call__(self, req: Request) -> str:
        return json.dumps({'links': [{'rel': 'self', 'href': f'{req.application_url}/v2.1/'}]})


def version_link(world: World, **headers: str) -> str:
    world.patch.setattr(Request, 'secure_proxy_ssl_header', 'HTTP_X_FORWARDED_PROTO')
    link: str = world.ask(world.start(Versions()), headers=headers).json()['links'][0]['href']
    return link


@case('related VersionBehindSslTestCase.test_versions_without_headers')
def _(world: World) -> None:
    assert version_link(world).startswith('http://')


@case('related VersionBehindSslTestCase.test_versions_with_header')
def _(world: World) -> None:
    assert version_link(world, **{'X-Forwarded-Proto': 'https'}).startswith('https://')


PIPELINE = """
[composite:main]
paste.composite_factory = {module}:pipeline_factory
keystone = outer inner service
[filter:outer]
paste.filter_factory = {module}:named_filter
name = outer
[filter:inner]
paste.filter_factory = {module}:named_filter
name = inner
[app:service]
paste.app_factory = {module}:service
"""


def pipeline_factory(loader: Any, global_conf: dict[str, str], keystone: str) -> WSGIApplication:
    """A composite that composes a pipeline by itself, from the innermost."""
    *filters, name = keystone.split()
    app: WSGIApplication = loader.get_app(name)
    for name in reversed(filters):
        app = loader.get_filter(name)(app)
    return app


def named_filter(global_conf: dict[str, str], name: str) -> Callable[[WSGIApplication], WSGIApplication]:
    @webob.dec.wsgify.middleware
    def wrap(req: webob.Request, app: WSGIApplication) -> webob.Response:
        return webob.Response(f'{name}({req.get_response(app).text})')

    filtered: Callable[[WSGIApplication], WSGIApplication] = wrap
    return filtered


def service(global_conf: dict[str, str]) -> WSGIApplication:
    return pong


@case('related TestPipeLineFactory.test_pipeline_factory_v21')
def _(world: World) -> None:
    app = Loader(world.ini(PIPELINE.format(module=__name__))).load_app('main')
    assert world.ask(world.start(app)).text == 'outer(inner(PONG))'


def loaded(world: World) -> WSGIApplication:
    app: WSGIApplication = Loader(world.ini(PIPELINE.format(module=__name__))).load_app('service')
    return app


@case('related TestWSGIService.test_service_random_port')
def _(world: World) -> None:
    server = world.start(loaded(world))
    assert server.port != 0
    assert world.ask(server).text == 'PONG'


@case('related TestWSGIService.test_service_random_port_with_ipv6')
def _(world: World) -> None:
    server = world.start(loaded(world), '::1')
    assert (server.host, server.port != 0) == ('::1', True)
    assert world.ask(server).text == 'PONG'


@case('related TestWSGIService.test_reset_pool_size_to_default')
def _(world: World) -> None:
    server = world.start(loaded(world))
    server.stop()
    assert server.pool_size == 0
    server.reset()
    server.start()
    assert server.pool_size == Settings().pool_size


def workers(text: str | None) -> int:
    return from_text([] if text is None else [('workers', text, 'app.ini:1: [server:main]')]).workers


@case('related TestWSGIService.test_workers_set_default')
def _(world: World) -> None:
    assert workers(None) == available_processors()


@case('related TestWSGIService.test_workers_set_good_user_setting')
def _(world: World) -> None:
    assert workers('8') == 8
    with pytest.raises(ConfigError, match='0 is below 1'):
        workers('0')


LAUNCHED = '[server:main]\nuse = egg:prefork\nbind = 127.0.0.1:0\n[app:main]\npaste.app_factory = launched:factory\n'
COMPILED = """
import os
from prefork.toolkit import Mapper, Router

compiled = []

class Noted(Mapper):
    def create_regs(self, *arguments):
        compiled.append(os.getpid())
        super().create_regs(*arguments)

def answer(environ, start_response):
    start_response('200 OK', [])
    return [b'%d %d %d' % (len(compiled), compiled[0], os.getpid())]

def factory(global_conf):
    mapper = Noted()
    mapper.connect(None, '/{path_info:.*}', controller=answer)
    return Router(mapper)
"""


def launch(world: World, *arguments: str) -> tuple[int, list[int]]:
    """The workers of a server in processes; how often the mapper was compiled, by which process, and who answered."""
    (world.folder / 'launched.py').write_text(COMPILED)
    with serve(world.ini(LAUNCHED), *arguments, cwd=world.folder) as server:
        with httpx.Client(trust_env=False, timeout=DEADLINE) as client:
            answer = client.get(server.url).text
        return server.workers, [int(word) for word in answer.split()]


@case('related TestLauncher.test_launch_app')
def _(world: World) -> None:
    assert launch(world)[0] == available_processors()


@case('related TestLauncher.test_launch_app_with_workers')
def _(world: World) -> None:
    assert launch(world, '--workers', '3')[0] == 3


@case('related TestLauncher.test_launch_app_more_than_once_raises')
def _(world: World) -> None:
    server = world.start()
    with pytest.raises(RuntimeError, match='started already'):
        server.start()


# --- traps: what Routes, WebOb and eventlet do that a service shouldn't ----------------------------------------------


def routed(*methods: str) -> Router:
    mapper = Mapper()
    mapper.connect(None, '/servers/{id}', controller=pong, conditions={'method': list(methods)})
    return Router(mapper)


@case('trap: _method in a query')
def _(world: World) -> None:
    assert world.ask(world.start(routed('DELETE')), '/servers/1?_method=DELETE').status_code == 404
    assert world.ask(world.start(routed('GET')), '/servers/1?_method=DELETE').text == 'PONG'


@case('trap: _method in a form')
def _(world: World) -> None:
    server = world.start(routed('DELETE'))
    assert world.ask(server, '/servers/1', 'POST', data={'_method': 'DELETE'}).status_code == 404
    assert world.ask(server, '/servers/1', 'DELETE').text == 'PONG'


@case('trap: a path that is not UTF-8')
def _(world: World) -> None:
    client = world.raw(world.start(routed('GET')))
    assert client.get('/%ff').status == 400
    assert client.get('/servers/%ff').status == 400
    assert client.get('/servers/%c3%a9').body == b'PONG'
    client.close()


@case('trap: a scheme that is neither http nor https')
def _(world: World) -> None:
    for scheme in ('ftp', 'javascript', 'https, http', 'HTTPS'):
        assert version_link(world, **{'X-Forwarded-Proto': scheme}).startswith('http://')


@case('trap: a mapper that is compiled by the first request of each worker')
def _(world: World) -> None:
    _, (count, compiler, worker) = launch(world, '--workers', '1', '--preload', 'true')
    assert count == 1
    assert compiler != worker


@case('trap: X-Forwarded-For in the access log')
def _(world: World) -> None:
    """eventlet logs it as the client's address, whoever sent it."""
    path = world.folder / 'access.log'
    server = world.start(access_log=str(path), access_log_format='%(client_ip)s "%(request_line)s"')
    assert world.ask(server, headers={'X-Forwarded-For': '10.9.8.7'}).text == 'PONG'
    server.stop()
    in_time(server.wait)
    assert path.read_text() == '127.0.0.1 "GET / HTTP/1.1"\n'


@case('trap: a header whose name has an underscore')
def _(world: World) -> None:
    """In the environ it would pass for the one with a hyphen, which a filter may vouch for."""

    def headers(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])
        return [environ.get('HTTP_X_USER_ID', 'nobody').encode()]

    server = world.start(headers)
    assert world.ask(server, headers={'X_User_Id': 'admin'}).text == 'nobody'
    assert world.ask(server, headers={'X-User-Id': 'admin'}).text == 'admin'


# --- what is left out -----------------------------------------------------------------------------------------------

ENGINE = "about which of oslo.service's engines may run it; here there is one"
LEFT_OUT = {
    'related TestWSGIService.test_service_start_creates_record': "writes to nova's database",
    'related TestWSGIService.test_service_start_does_not_create_record': "reads nova's database",
    'related TestWSGIService.test_openstack_compute_api_workers_set_default': "nova's names for one service's options",
    'related TestWSGIService.test_openstack_compute_api_workers_set_good_user_setting': 'the same',
    **dict.fromkeys(
        (
            f'oslo TestWSGIServerBackendCompatibility.{name}'
            for name in (
                'test_server_creation_with_eventlet_backend',
                'test_server_creation_fails_with_threading_backend',
                'test_check_backend_compatibility_function_eventlet',
                'test_check_backend_compatibility_function_threading',
                'test_check_backend_compatibility_with_default_backend',
                'test_check_backend_compatibility_with_none_backend',
                'test_server_initialization_sequence_with_threading_backend',
                'test_multiple_server_creation_attempts_with_threading_backend',
                'test_backend_switching_behavior',
            )
        ),
        ENGINE,
    ),
}


@pytest.mark.parametrize('check', SEED.values(), ids=SEED)
def test_seed(check: Callable[[World], None], world: World) -> None:
    check(world)


@pytest.mark.parametrize(('project', 'count'), [('nova', 19 + 2), ('related', 15), ('oslo', 29 + 8)])
def test_no_case_is_forgotten(project: str, count: int) -> None:
    assert not SEED.keys() & LEFT_OUT.keys()
    assert sum(project in name.split()[0].split('+') for name in (*SEED, *LEFT_OUT)) == count
