"""What an application finds in its environ: PEP 3333's variables, and the body as ``wsgi.input``."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

import pytest

from prefork import __version__
from prefork.settings import Address
from prefork.worker.file_wrapper import FileWrapper
from tests.worker.applications import Capture
from tests.worker.harness import DEADLINE, Client, Worker, request, trusting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Any, BinaryIO

    from tests.certificates import Certificates
    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, StartResponse


def environ_of(serve: Serve, data: bytes, **options: Any) -> Environ:
    capture = Capture()
    serve(capture, **options).connect().send(data)
    return capture.next()


@pytest.mark.parametrize(
    ('data', 'expected'),
    [
        pytest.param(
            request('GET', '/a/b?c=d&e'),
            {'REQUEST_METHOD': 'GET', 'SCRIPT_NAME': '', 'PATH_INFO': '/a/b', 'QUERY_STRING': 'c=d&e'},
            id='the target in parts',
        ),
        pytest.param(
            request('GET', '/'),
            {
                'SERVER_SOFTWARE': f'prefork/{__version__}',
                'QUERY_STRING': '',
                'CONTENT_LENGTH': None,
                'CONTENT_TYPE': None,
            },
            id='nothing else',
        ),
        pytest.param(request('GET', '/caf%C3%A9%2Fx'), {'PATH_INFO': '/caf\xc3\xa9/x'}, id='the path is decoded'),
        pytest.param(request('GET', '/?a=%C3%A9+b'), {'QUERY_STRING': 'a=%C3%A9+b'}, id="the query isn't"),
        pytest.param(request('GET', '/%zz%'), {'PATH_INFO': '/%zz%'}, id='what is no escape stays'),
        pytest.param(request('GET', '/a%20b?'), {'REQUEST_URI': '/a%20b?'}, id='the target as it came'),
        pytest.param(
            request('GET', 'http://other:81/x?y'),
            {'PATH_INFO': '/x', 'QUERY_STRING': 'y', 'HTTP_HOST': 'other:81'},
            id='absolute form',
        ),
        pytest.param(request(), {'SERVER_PROTOCOL': 'HTTP/1.1', 'HTTP_HOST': 'test'}, id='1.1'),
        pytest.param(request(version='1.0'), {'SERVER_PROTOCOL': 'HTTP/1.0'}, id='1.0'),
        pytest.param(
            request('POST', '/', 'Content-Type: a/b', 'Content-Length: 1', body=b'x'),
            {'CONTENT_TYPE': 'a/b', 'CONTENT_LENGTH': '1', 'HTTP_CONTENT_TYPE': None, 'HTTP_CONTENT_LENGTH': None},
            id='the body',
        ),
        pytest.param(request('GET', '/', 'X-Y: caf\xe9'), {'HTTP_X_Y': 'caf\xe9'}, id='a field, in latin-1'),
        pytest.param(request('GET', '/', 'X: 1', 'x: 2'), {'HTTP_X': '1, 2'}, id='a field twice'),
        pytest.param(request('GET', '/', 'X_Y: 1'), {'HTTP_X_Y': None}, id='a field that would pass for another'),
        pytest.param(request('GET', '/', 'Cookie: a=1', 'Cookie: b=2'), {'HTTP_COOKIE': 'a=1; b=2'}, id='two cookies'),
        pytest.param(
            request('GET', '//a//b/../%2e%2f%00'),
            {'SCRIPT_NAME': '', 'PATH_INFO': '//a//b/.././\0', 'REQUEST_URI': '//a//b/../%2e%2f%00'},
            id='a path is decoded, and nothing else',
        ),
        pytest.param(request('GET', '/?'), {'PATH_INFO': '/', 'QUERY_STRING': '', 'REQUEST_URI': '/?'}, id='no query'),
        pytest.param(
            request('OPTIONS', '*'), {'PATH_INFO': '*', 'QUERY_STRING': '', 'REQUEST_URI': '*'}, id='asterisk form'
        ),
        pytest.param(
            request('POST', '/', 'Content-Length: 003', body=b'abc'), {'CONTENT_LENGTH': '003'}, id='a length as sent'
        ),
        pytest.param(
            request('GET', '/', 'Content-Type: text/html; charset="\xe9"'),
            {'CONTENT_TYPE': 'text/html; charset="\xe9"'},
            id='a type without a body',
        ),
    ],
)
def test_variables_of_the_request(serve: Serve, data: bytes, expected: Environ) -> None:
    environ = environ_of(serve, data)
    assert {name: environ.get(name) for name in expected} == expected


def test_variables_of_the_server(serve: Serve) -> None:
    capture = Capture()
    worker = serve(capture)
    client = worker.connect()
    client.send(request())
    environ = capture.next()
    host, port = client.sock.getsockname()
    assert (environ['SERVER_NAME'], environ['SERVER_PORT']) == ('127.0.0.1', str(worker.address.port))
    assert (environ['REMOTE_ADDR'], environ['REMOTE_PORT']) == (host, str(port))
    assert environ['wsgi.version'] == (1, 0)
    assert environ['wsgi.url_scheme'] == 'http'
    assert 'HTTPS' not in environ
    assert environ['wsgi.multithread'] is True
    assert environ['wsgi.multiprocess'] is False
    assert environ['wsgi.run_once'] is False
    assert environ['wsgi.input_terminated'] is True
    assert environ['wsgi.file_wrapper'] is FileWrapper
    assert environ['wsgi.errors'] is sys.stderr


REQUIRED = {
    'REQUEST_METHOD',
    'SCRIPT_NAME',
    'PATH_INFO',
    'QUERY_STRING',
    'SERVER_NAME',
    'SERVER_PORT',
    'SERVER_PROTOCOL',
    'wsgi.version',
    'wsgi.url_scheme',
    'wsgi.input',
    'wsgi.errors',
    'wsgi.multithread',
    'wsgi.multiprocess',
    'wsgi.run_once',
}
"""PEP 3333, "environ Variables"; QUERY_STRING may be missing there."""


def test_the_environ_is_what_pep_3333_says(serve: Serve) -> None:
    types: list[type] = []

    class Look(Capture):
        def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            types.append(type(environ))
            return super().__call__(environ, start_response)

    capture = Look()
    serve(capture).connect().send(request('POST', '/a?b', 'X: y', 'Content-Length: 1', 'Content-Type: a/b', body=b'x'))
    environ = capture.next()
    assert types == [dict], 'no subclass, and nothing that only behaves like one'
    assert set(environ) >= REQUIRED
    assert {type(key) for key in environ} == {str}
    variables = {key: value for key, value in environ.items() if '.' not in key}
    assert {type(value) for value in variables.values()} == {str}, 'native strings, and nothing that looks like one'
    for value in variables.values():
        value.encode('latin-1')
    assert type(environ['wsgi.version']) is tuple
    assert {type(environ[f'wsgi.{key}']) for key in ('multithread', 'multiprocess', 'run_once')} == {bool}


def test_the_error_stream(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        errors = environ['wsgi.errors']
        errors.write('one\n')
        errors.writelines(['two\n', 'caf\xe9\n'])
        errors.flush()
        start_response('200 OK', [])
        return []

    assert serve(app).connect().get().status == 200
    assert capsys.readouterr().err == 'one\ntwo\ncaf\xe9\n'


def test_one_thread_is_not_multithreaded(serve: Serve) -> None:
    assert environ_of(serve, request(), threads=1)['wsgi.multithread'] is False


def test_requests_share_nothing(serve: Serve) -> None:
    """Each environ is the application's own, to change as it likes."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])
        found = environ.get('mine', '') + environ['SERVER_NAME'] + environ.get('HTTP_X', '')
        environ.update({'mine': 'x', 'SERVER_NAME': 'changed'})
        return [found.encode()]

    client = serve(app).connect()
    assert client.get('/', 'X: 1').body == b'127.0.0.11'
    assert client.get().body == b'127.0.0.1'


def test_a_wildcard_is_named_by_the_address_that_the_client_used(log: object) -> None:
    capture = Capture()
    worker = Worker(capture, address=Address('tcp', '0.0.0.0', 0))
    try:
        worker.connect().send(request())
        assert capture.next()['SERVER_NAME'] == '127.0.0.1'
    finally:
        worker.stop()


def test_a_unix_socket(log: object, tmp_path: Path) -> None:
    import socket

    path = str(tmp_path / 'socket')
    capture = Capture()
    worker = Worker(capture, address=Address('unix', path, 0))
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(DEADLINE)
            sock.connect(path)
            client = Client(sock)
            assert client.get().status == 200
        environ = capture.next()
        assert environ['REMOTE_ADDR'] == ''
        assert '' not in (environ['SERVER_NAME'], environ['SERVER_PORT']), 'PEP 3333: neither may be empty'
    finally:
        worker.stop()


def test_over_tls(serve: Serve, certificates: Certificates) -> None:
    capture = Capture()
    serve(capture, **certificates.options).connect_tls(trusting(certificates)).send(request())
    environ = capture.next()
    assert (environ['wsgi.url_scheme'], environ['HTTPS']) == ('https', 'on')


@pytest.mark.parametrize(
    ('option', 'value', 'scheme'),
    [
        pytest.param('HTTP_X_FORWARDED_PROTO', 'https', 'https', id='https'),
        pytest.param('HTTP_X_FORWARDED_PROTO', 'HTTPS', 'https', id='in capitals'),
        pytest.param('HTTP_X_FORWARDED_PROTO', 'http', 'http', id='http'),
        pytest.param('HTTP_X_FORWARDED_PROTO', 'javascript', 'http', id='neither'),
        pytest.param('HTTP_X_FORWARDED_PROTO', '', 'http', id='nothing'),
        pytest.param('HTTP_X_OTHER', 'https', 'http', id='another field'),
        pytest.param('', 'https', 'http', id='not set'),
    ],
)
def test_the_scheme_that_a_proxy_says(serve: Serve, option: str, value: str, scheme: str) -> None:
    data = request('GET', '/', f'X-Forwarded-Proto: {value}')
    assert environ_of(serve, data, secure_proxy_ssl_header=option)['wsgi.url_scheme'] == scheme


FORWARDED = 'X-Forwarded-For: 192.0.2.7', 'X-Forwarded-Proto: https', 'X-Forwarded-Host: a.example'


@pytest.mark.parametrize('proxies', [('127.0.0.0/8', '::1/128'), ('192.0.2.0/24',)], ids=['trusted', 'not trusted'])
def test_what_a_proxy_says_is_believed_if_it_is_trusted(serve: Serve, proxies: tuple[str, ...]) -> None:
    environ = environ_of(serve, request('GET', '/', *FORWARDED), trusted_proxies=proxies)
    found = environ['REMOTE_ADDR'], environ['wsgi.url_scheme'], environ['HTTP_HOST']
    if '127.0.0.0/8' in proxies:
        assert found == ('192.0.2.7', 'https', 'a.example')
    else:
        assert found == ('127.0.0.1', 'http', 'test')
        assert not [key for key in environ if key.startswith('HTTP_X_FORWARDED')]


def test_what_a_proxy_says_is_the_applications_affair_where_none_is_trusted(serve: Serve) -> None:
    environ = environ_of(serve, request('GET', '/', *FORWARDED))
    assert environ['HTTP_X_FORWARDED_FOR'] == '192.0.2.7'
    assert environ['REMOTE_ADDR'] == '127.0.0.1'


# --- wsgi.input ---------------------------------------------------------------------------------------------------

LINES = b'first\nsecond\n\nlast'


def reads_by_size(stream: BinaryIO) -> list[bytes]:
    parts = []
    while part := stream.read(4):
        parts.append(part)
    return parts


def rewinds(stream: BinaryIO) -> list[bytes]:
    stream.read(7)
    stream.seek(0)
    first = stream.read(5)
    stream.seek(-4, io.SEEK_END)
    return [first, b'%d' % stream.tell(), stream.read()]


READERS: dict[str, tuple[Callable[[BinaryIO], list[bytes]], list[bytes]]] = {
    'read()': (lambda stream: [stream.read(), stream.read()], [LINES, b'']),
    'read(-1)': (lambda stream: [stream.read(-1)], [LINES]),
    'read(size)': (reads_by_size, [LINES[at : at + 4] for at in range(0, len(LINES), 4)]),
    'read(more than there is)': (lambda stream: [stream.read(1000), stream.read(1)], [LINES, b'']),
    'readline()': (
        lambda stream: [stream.readline() for _ in range(5)],
        [b'first\n', b'second\n', b'\n', b'last', b''],
    ),
    'readline(size)': (lambda stream: [stream.readline(3), stream.readline(100)], [b'fir', b'st\n']),
    'readlines()': (lambda stream: stream.readlines(), [b'first\n', b'second\n', b'\n', b'last']),
    'readlines(hint)': (lambda stream: stream.readlines(1), [b'first\n']),
    'iteration': (list, [b'first\n', b'second\n', b'\n', b'last']),
    'seek': (rewinds, [b'first', b'14', b'last']),
}
COUNTED = request('POST', '/', f'Content-Length: {len(LINES)}', body=LINES)
CHUNKED = request('POST', '/', 'Transfer-Encoding: chunked', body=b'%x\r\n%b\r\n0\r\n\r\n' % (len(LINES), LINES))


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('data', [[COUNTED], [COUNTED[:-3], COUNTED[-3:]], [CHUNKED]], ids=['whole', 'cut', 'chunked'])
@pytest.mark.parametrize('limit', [1000, 5], ids=['memory', 'file'])
def test_input(serve: Serve, tmp_path: Path, reader: str, data: list[bytes], limit: int) -> None:
    read, expected = READERS[reader]

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])
        return [b'|'.join(read(environ['wsgi.input']))]

    worker = serve(app, body_buffer=limit, spool_dir=str(tmp_path))
    client = worker.connect()
    for piece in data:
        client.send(piece)
        worker.take_turns()
    assert client.response().body == b'|'.join(expected)
    assert list(tmp_path.iterdir()) == [], 'the file has no name'


@pytest.mark.parametrize('data', [request(), request('POST', '/', 'Content-Length: 0')], ids=['GET', 'no length'])
def test_input_without_a_body(serve: Serve, data: bytes) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        stream = environ['wsgi.input']
        start_response('200 OK', [])
        return [stream.read(), stream.readline(), *stream]

    client = serve(app).connect()
    client.send(data * 2)
    assert [client.response().body for _ in range(2)] == [b'', b''], 'it must not wait, nor read the next request'


def test_a_body_that_is_not_read_is_no_request(serve: Serve) -> None:
    client = serve(Capture()).connect()
    for _ in range(2):
        client.send(request('POST', '/', 'Content-Length: 27', body=b'GET /smuggled HTTP/1.1\r\n\r\n '))
        assert client.response().status == 200
    assert client.is_quiet()


@pytest.mark.parametrize(
    ('directory', 'status'), [pytest.param('none', 413, id='no folder'), pytest.param('/proc', 507, id='a full disk')]
)
def test_a_body_that_cannot_be_kept(serve: Serve, directory: str, status: int) -> None:
    """Nothing can be written in /proc, whoever one is."""
    client = serve(Capture(), body_buffer=10, spool_dir=directory).connect()
    client.send(request('POST', '/', 'Content-Length: 20') + b'x' * 15)
    assert client.response().status == status
    assert client.is_closed()


def open_files_in(folder: Path) -> int:
    """How many files of the folder this process has open, by whatever name, or none any more."""
    paths = []
    for descriptor in os.listdir('/proc/self/fd'):
        try:
            paths.append(os.readlink(f'/proc/self/fd/{descriptor}'))
        except FileNotFoundError:
            pass  # another thread's, closed by now
    return sum(path.startswith(f'{folder}/') for path in paths)


def test_a_body_in_a_file_costs_no_descriptor_when_it_is_answered(serve: Serve, tmp_path: Path) -> None:
    kept: list[Environ] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        kept.append(environ)  # as a debugger does, or a framework with a reference cycle
        start_response('200 OK', [])
        return []

    worker = serve(app, body_buffer=10, spool_dir=str(tmp_path))
    client = worker.connect()
    assert client.get().status == 200
    assert open_files_in(tmp_path) == 0
    client.send(request('POST', '/', 'Content-Length: 20') + b'x' * 15)
    worker.take_turns()
    assert open_files_in(tmp_path) == 1
    client.send(b'x' * 5)
    assert client.response().status == 200
    assert client.get().status == 200
    assert open_files_in(tmp_path) == 0
