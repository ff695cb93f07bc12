"""HAProxy and nginx as Debian has them, in front of a real server of ours, for one test each.

The socket that clients connect to is made here and inherited by the proxy: there is no port to be found by luck, and
nothing to be waited for, since who connects too early is in the socket's backlog.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.serving import START_TIMEOUT, STOP_TIMEOUT, serve

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Sequence

    from tests.certificates import Certificates
    from tests.serving import Server

_SYSTEM_PATH = os.pathsep.join((os.environ.get('PATH', os.defpath), '/usr/sbin', '/usr/local/sbin'))
HAPROXY, NGINX = shutil.which('haproxy', path=_SYSTEM_PATH), shutil.which('nginx', path=_SYSTEM_PATH)
STREAM_MODULE = Path('/usr/lib/nginx/modules/ngx_stream_module.so')

PROXY, CLIENT, OTHER_CLIENT = '127.0.0.1', '127.0.0.2', '127.0.0.3'
"""All of 127.0.0.0/8 is this machine, so that a client's address can be told from the proxy's."""

APP = """
import hashlib
import json


def app(environ, start_response):
    body = environ['wsgi.input'].read()
    seen = {key: value for key, value in environ.items() if isinstance(value, (str, bool))}
    seen['body'] = [len(body), hashlib.sha256(body).hexdigest()]
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps(seen).encode()]
"""

Seen = dict[str, object]


class Backend:
    """The server, listening on TCP or on a unix socket; ``haproxy`` and ``nginx`` is its address as those write it."""

    def __init__(self, server: Server, path: Path | None) -> None:
        self.server = server
        self.haproxy = f'127.0.0.1:{server.port}' if path is None else f'unix@{path}'
        self.nginx = f'127.0.0.1:{server.port}' if path is None else f'unix:{path}'


@contextlib.contextmanager
def backend(kind: str, folder: Path, *flags: str) -> Iterator[Backend]:
    """Serve APP on ``kind`` (tcp or unix), with the proxy among the trusted."""
    (folder / 'app.py').write_text(APP)
    path = folder / 'socket' if kind == 'unix' else None
    bind, trusted = ('127.0.0.1:0', f'{PROXY}/32') if path is None else (f'unix:{path}', 'unix')
    arguments = ['app:app', '--bind', bind, '--workers', '1', '--trusted-proxies', trusted, *flags]
    with serve(*arguments, cwd=folder, env={'PYTHONDONTWRITEBYTECODE': '1'}) as server:
        yield Backend(server, path)


class Front:
    """Where clients connect: a listening socket on a loopback address, which the proxy inherits."""

    def __init__(self, host: str = '127.0.0.1') -> None:
        self.socket = socket.create_server((host, 0), family=socket.AF_INET6 if ':' in host else socket.AF_INET)
        self.host: str = host
        self.port: int = self.socket.getsockname()[1]
        self.descriptor = self.socket.fileno()

    def connect(
        self, source: str = CLIENT, context: ssl.SSLContext | None = None
    ) -> http.client.HTTPConnection | http.client.HTTPSConnection:
        """A client with an address of its own, which speaks TLS where it has a context."""
        if context is None:
            return http.client.HTTPConnection(self.host, self.port, START_TIMEOUT, (source, 0))
        # The certificate is for this name, whatever address it is reached at.
        return http.client.HTTPSConnection(
            'localhost', self.port, timeout=START_TIMEOUT, source_address=(source, 0), context=context
        )

    def ask(
        self,
        path: str = '/',
        headers: dict[str, str] | None = None,
        *,
        source: str = CLIENT,
        context: ssl.SSLContext | None = None,
    ) -> Seen:
        """What the application has seen of a request."""
        with contextlib.closing(self.connect(source, context)) as connection:
            return exchange(connection, path, headers)


def exchange(
    connection: http.client.HTTPConnection, path: str = '/', headers: dict[str, str] | None = None, body: object = None
) -> Seen:
    """One request on a connection that stays: what the application has seen of it."""
    connection.request('GET' if body is None else 'POST', path, body, headers or {})  # type: ignore[arg-type]
    response = connection.getresponse()
    content = response.read()
    assert response.status == 200, (response.status, content)
    seen: Seen = json.loads(content)
    return seen


@contextlib.contextmanager
def _running(command: Sequence[str], folder: Path, front: Front, environment: dict[str, str]) -> Iterator[None]:
    """A proxy that inherits the front, gone when the block is over; what it had to say is shown where that fails."""
    log = folder / 'proxy.log'
    with log.open('wb') as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[front.descriptor],
        )
    front.socket.close()  # with the proxy's end, whoever waits in the backlog is refused
    try:
        yield
    except BaseException:
        print(log.read_text())
        raise
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@contextlib.contextmanager
def haproxy(folder: Path, frontend: str, server: str, front: Front | None = None) -> Iterator[Front]:
    """HAProxy with one service: ``frontend`` are lines of it, ``{bind}`` among them, and ``server`` its one server."""
    assert HAPROXY is not None
    front = front or Front()
    lines = frontend.replace('{bind}', f'bind fd@{front.descriptor}').splitlines()
    configuration = [
        'defaults',
        *(f'    timeout {kind} {START_TIMEOUT:g}s' for kind in ('connect', 'client', 'server', 'check')),
        'listen service',
        *(f'    {line.strip()}' for line in lines),
        f'    server backend {server}',
        '',
    ]
    (folder / 'haproxy.cfg').write_text('\n'.join(configuration))
    with _running([HAPROXY, '-db', '-f', 'haproxy.cfg'], folder, front, {}):
        yield front


@contextlib.contextmanager
def nginx(folder: Path, http: str = '', stream: str = '') -> Iterator[Front]:
    """nginx with one server: ``http`` or ``stream`` are lines of that context, in which it listens on ``{address}``."""
    assert NGINX is not None
    front = Front()
    work = folder / 'nginx'
    work.mkdir()
    context, lines = ('http', http) if http else ('stream', stream)
    temporary = 'client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'
    configuration = [
        # Started as root, its workers would be somebody who can't look into the test's folder.
        'user root;' if os.geteuid() == 0 else '',
        'worker_processes 1;',
        f'pid {work}/pid;',
        f'load_module {STREAM_MODULE};' if stream else '',
        'events {}',
        f'{context} {{',
        *([f'{name}_temp_path {work}/{name};' for name in temporary] + ['access_log off;'] if http else []),
        lines.replace('{address}', f'{front.host}:{front.port}'),
        '}',
        '',
    ]
    path = work / 'nginx.conf'
    path.write_text('\n'.join(configuration))
    # NGINX is how an upgrade hands its sockets over, each of which is found by its address.
    command = [NGINX, '-p', f'{work}/', '-c', str(path), '-e', 'stderr', '-g', 'daemon off;']
    with _running(command, folder, front, {'NGINX': f'{front.descriptor};'}):
        yield front


def pem_of(certificates: Certificates, folder: Path) -> Path:
    """Certificate and key in one file, as HAProxy wants them."""
    path = folder / 'pair.pem'
    path.write_text(certificates.cert.read_text() + certificates.key.read_text())
    return path
