"""The access log as requests over the whole path fill it."""

from __future__ import annotations

import os
import re
import select
import socket
from typing import TYPE_CHECKING

import pytest

from prefork.logs import AccessLog
from tests.worker.harness import DEADLINE, PLAIN, echo, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from tests.worker.conftest import Serve
    from tests.worker.harness import Client, Environ, Gate, Log, StartResponse


class Lines:
    """The reading end of the pipe that a log is written to."""

    def __init__(self) -> None:
        self._readable, self.writable = os.pipe()
        self._read = b''

    def next(self) -> str:
        while b'\n' not in self._read:
            if not select.select([self._readable], [], [], DEADLINE)[0]:
                raise AssertionError(f'nothing was logged but {self._read!r}')
            self._read += os.read(self._readable, 65536)
        line, end, self._read = self._read.partition(b'\n')
        return (line + end).decode('latin-1')

    def close(self) -> None:
        os.close(self.writable)
        os.close(self._readable)


@pytest.fixture
def lines() -> Iterator[Lines]:
    made = Lines()
    yield made
    made.close()


def logged(serve: Serve, lines: Lines, data: bytes, format: str = 'combined', app: Any = echo, **options: Any) -> str:
    """The line that a client's ``data`` leads to; its address and the date are replaced by words."""
    worker = serve(app, access_log=AccessLog(lines.writable, format), **options)
    client = worker.connect()
    client.send(data)
    line = lines.next()
    line = line.replace(f' {client.sock.getsockname()[1]} ', ' PORT ')
    return re.sub(r'\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}', 'DATE', line)


BROWSER = ('Referer: http://a/b', 'User-Agent: Agent/1.0 (x; y)')


@pytest.mark.parametrize(
    ('format', 'expected'),
    [
        pytest.param(
            'combined',
            '127.0.0.1 - - [DATE] "GET /p?q HTTP/1.1" 200 3 "http://a/b" "Agent/1.0 (x; y)"\n',
            id='combined',
        ),
        pytest.param('common', '127.0.0.1 - - [DATE] "GET /p?q HTTP/1.1" 200 3\n', id='common'),
        pytest.param(
            '%(client_ip)s "%(request_line)s" status: %(status_code)s  len: %(body_length)s host: %(host)s',
            '127.0.0.1 "GET /p?q HTTP/1.1" status: 200  len: 3 host: test\n',
            id="OpenStack's",
        ),
        pytest.param(
            '%(client_ip)s %(client_port)s [%(date_time)s] %(remote_user)s %(referer)s %(user_agent)s',
            '127.0.0.1 PORT [DATE] - http://a/b Agent/1.0 (x; y)\n',
            id='other names',
        ),
    ],
)
def test_formats(serve: Serve, lines: Lines, format: str, expected: str) -> None:
    assert logged(serve, lines, request('GET', '/p?q', *BROWSER), format) == expected


def test_time(serve: Serve, lines: Lines) -> None:
    line = logged(serve, lines, request(), '%(wall_seconds).7f')
    assert re.fullmatch(r'\d\.\d{7}\n', line)
    assert float(line) < DEADLINE


def test_a_request_without_fields(serve: Serve, lines: Lines) -> None:
    line = logged(serve, lines, b'GET / HTTP/1.0\r\n\r\n')
    assert line == '127.0.0.1 - - [DATE] "GET / HTTP/1.0" 200 2 "-" "-"\n'


# --- what is in a line --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('fields', 'expected'),
    [
        pytest.param(['User-Agent: a"b'], '"-" "a\\x22b"', id='a quote'),
        pytest.param(['User-Agent: a\\x22b'], '"-" "a\\x5cx22b"', id='a backslash'),
        pytest.param(['User-Agent: a\tb'], '"-" "a\\x09b"', id='a tab'),
        pytest.param(['Referer: caf\xe9\x9b'], '"caf\\xe9\\x9b" "-"', id='bytes above 127'),
        pytest.param(['Referer: "', 'User-Agent: "'], '"\\x22" "\\x22"', id='both'),
    ],
)
def test_fields_are_escaped(serve: Serve, lines: Lines, fields: list[str], expected: str) -> None:
    assert logged(serve, lines, request('GET', '/', *fields)).endswith(f' 200 2 {expected}\n')


def test_a_request_line_is_escaped(serve: Serve, lines: Lines) -> None:
    line = logged(serve, lines, request('GET', '/"\\'))
    assert '"GET /\\x22\\x5c HTTP/1.1" 200' in line


def test_the_user_is_escaped_in_every_format(serve: Serve, lines: Lines) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ['REMOTE_USER'] = 'a" \n\u20ac'
        return echo(environ, start_response)

    line = logged(serve, lines, request(), app=app)
    assert line.startswith('127.0.0.1 - a\\x22 \\x0a')
    assert line.count('\n') == 1


@pytest.mark.parametrize('name', ['REMOTE_USER', 'HTTP_REFERER', 'HTTP_USER_AGENT', 'HTTP_HOST'])
@pytest.mark.parametrize('value', [b'"\n', 5, None], ids=repr)
@pytest.mark.parametrize('format', ['combined', '%(remote_user)s %(host)s'])
def test_an_application_that_puts_anything_into_its_environ(
    serve: Serve, lines: Lines, log: Log, name: str, value: object, format: str
) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ[name] = value
        return echo(environ, start_response)

    line = logged(serve, lines, request(), format, app)
    assert line.count('"') == (6 if format == 'combined' else 0), 'those that are ours'
    assert log.text == ''


def blocks(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', list(PLAIN))
    yield b'one'
    yield b'three'


def fails(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError


def fails_in_the_middle(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('201 Created', list(PLAIN))
    yield b'three'
    raise LookupError


@pytest.mark.parametrize(
    ('app', 'data', 'status', 'length'),
    [
        pytest.param(echo, request('POST', '/', 'Content-Length: 2', body=b'ab'), 200, 4, id='a list'),
        pytest.param(blocks, request(), 200, 8, id='chunks: their payload'),
        pytest.param(echo, request('HEAD'), 200, 0, id='HEAD'),
        pytest.param(fails, request(), 500, 26, id='500'),
        pytest.param(fails_in_the_middle, request(), 201, 5, id='cut: what was sent'),
    ],
)
def test_status_and_length(serve: Serve, lines: Lines, app: Any, data: bytes, status: int, length: int) -> None:
    assert logged(serve, lines, data, '%(status_code)s %(body_length)s', app) == f'{status} {length}\n'


def test_a_file(serve: Serve, lines: Lines, tmp_path: Any) -> None:
    (tmp_path / 'file').write_bytes(b'x' * 1_000_000)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        result: Iterable[bytes] = environ['wsgi.file_wrapper']((tmp_path / 'file').open('rb'))
        return result

    worker = serve(app, access_log=AccessLog(lines.writable, '%(status_code)s %(body_length)s'))
    client = worker.connect()
    client.get()
    assert lines.next() == '200 1000000\n'


@pytest.mark.parametrize(
    ('data', 'line', 'status'),
    [
        pytest.param(b'nonsense\r\n\r\n', 'nonsense', 400, id='nonsense'),
        pytest.param(b'\x16\x03\x01"\r\n\r\n', '\\x16\\x03\\x01\\x22', 400, id='what looks like TLS'),
        pytest.param(request('GET', '/' + 'x' * 60), 'GET /' + 'x' * 60 + ' HTTP/1.1', 414, id='414'),
        pytest.param(request('POST', '/', 'Content-Length: 99'), 'POST / HTTP/1.1', 413, id='413'),
        pytest.param(
            request('POST', '/', 'Transfer-Encoding: chunked', body=b'99\r\n'), 'POST / HTTP/1.1', 413, id='413, later'
        ),
    ],
)
def test_requests_that_were_refused(serve: Serve, lines: Lines, data: bytes, line: str, status: int) -> None:
    found = logged(serve, lines, data, 'common', max_url_len=50, max_body=50)
    assert re.fullmatch(rf'127\.0\.0\.1 - - \[DATE\] "{re.escape(line)}" {status} \d+\n', found)


def test_a_request_that_took_too_long(serve: Serve, lines: Lines) -> None:
    found = logged(serve, lines, b'GET /x HTTP/1.1\r\nHo', 'common', header_timeout=0.1)
    assert '"GET /x HTTP/1.1" 408 ' in found


def test_a_connection_without_a_request_is_not_logged(serve: Serve, lines: Lines) -> None:
    worker = serve(echo, access_log=AccessLog(lines.writable, '%(request_line)s'))
    for data in (b'', b'\r\n', b'GET'):
        client = worker.connect()
        client.send(data)
        client.half_close()
        assert client.is_closed()
    assert worker.connect().get('/x').status == 200
    assert lines.next() == 'GET /x HTTP/1.1\n'


def test_requests_are_logged_in_order(serve: Serve, lines: Lines) -> None:
    worker = serve(echo, access_log=AccessLog(lines.writable, '%(request_line)s'))
    client: Client = worker.connect()
    client.send(b''.join(request('GET', f'/{number}') for number in range(20)))
    assert [lines.next() for _ in range(20)] == [f'GET /{number} HTTP/1.1\n' for number in range(20)]


def test_a_response_that_was_cut_off_is_logged(serve: Serve, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client stalls, and a newcomer needs its slot."""
    monkeypatch.setattr('prefork.worker.pool._SLOW', 0.0)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))
        return [b'x' * 20_000_000] if environ['PATH_INFO'] == '/large' else [b'x']

    worker = serve(app, access_log=AccessLog(lines.writable, '%(request_line)s %(body_length)s'), pool_size=1)
    client = worker.connect(receive_buffer=4096)
    client.send(request('GET', '/large'))
    client.read_past(b'\r\n\r\n')
    assert worker.connect().get('/newcomer').status == 200
    line, length = lines.next().rsplit(' ', 1)
    assert line == 'GET /large HTTP/1.1'
    assert 0 < int(length) < 20_000_000
    assert lines.next() == 'GET /newcomer HTTP/1.1 1\n'


def test_a_log_that_nobody_reads_any_more(serve: Serve, log: Log) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    try:
        worker = serve(echo, access_log=AccessLog(writable, 'combined'))
        client = worker.connect()
        for _ in range(3):
            assert client.get().status == 200
        assert 'cannot write the access log' in log.text
        worker.stop()
    finally:
        os.close(writable)


def test_what_is_sent_while_the_application_goes_on(serve: Serve, lines: Lines, gate: Gate) -> None:
    """It counts as all that the client takes."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', list(PLAIN))(bytes(60_000))
        gate.enter()
        return []

    worker = serve(app, access_log=AccessLog(lines.writable, '%(body_length)s'))
    worker.listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client = worker.connect(receive_buffer=4096)
    client.send(request(version='1.0'))
    gate.arrival()
    client.read_past(b'\r\n\r\n')
    client.read(60_000)
    gate.let()
    assert lines.next() == '60000\n'
