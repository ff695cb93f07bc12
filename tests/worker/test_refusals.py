"""What a client is told whose request isn't served, and what is served although it looks odd: the grammar of
tests/http1 seen from outside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.worker.harness import hello, request, trusting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.certificates import Certificates
    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, Log, StartResponse

IMF_FIXDATE = re.compile(r'(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT')
"""RFC 9110 5.6.7."""

# Status → a request that gets it, its method to be filled in
REFUSED: dict[int, bytes] = {
    400: b'%b / HTTP/1.1\r\nA: b\r\n\r\n',
    413: b'%b / HTTP/1.1\r\nHost: x\r\nContent-Length: 51\r\n\r\n',
    414: b'%b /' + b'a' * 101 + b' HTTP/1.1\r\nHost: x\r\n\r\n',
    417: b'%b / HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\n\r\n',
    431: b'%b / HTTP/1.1\r\nHost: x\r\n' + b'A: b\r\n' * 10 + b'\r\n',
    501: b'%b / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n',
    505: b'%b / HTTP/2.0\r\nHost: x\r\n\r\n',
}
LIMITS = {'max_url_len': 100, 'max_headers': 10, 'max_body': 50}


@pytest.mark.parametrize('status', REFUSED)
@pytest.mark.parametrize('method', ['GET', 'HEAD', 'FOO'])
@pytest.mark.parametrize('part', [None, -1], ids=['whole', 'its end comes later'])
def test_a_refusal(serve: Serve, log: Log, status: int, method: str, part: int | None) -> None:
    """RFC 9112 9.6: with ``Connection: close``.  RFC 9110 6.6.1: with a date.  RFC 9110 9.3.2: HEAD without content."""
    client = serve(hello, **LIMITS).connect()
    data = REFUSED[status] % method.encode()
    client.send(data[:part])
    if part is not None:
        client.send(data[part:])
    response = client.response(method)
    assert response.status == status
    assert response.headers['connection'] == 'close'
    assert response.headers['content-type'] == 'text/plain; charset=utf-8'
    assert IMF_FIXDATE.fullmatch(response.headers['date'])
    assert len(response.fields) == len(response.headers) == 5, 'each of them once, and Server'
    expected = f'{status} {response.reason}\n\n'.encode()
    assert response.body == b'' if method == 'HEAD' else response.body.startswith(expected)
    assert int(response.headers['content-length']) > len(expected)
    if method != 'HEAD':
        assert len(response.body) == int(response.headers['content-length'])
    assert client.is_closed()
    assert log.text == ''


def test_a_head_that_takes_too_long(serve: Serve) -> None:
    """A client of HEAD that has waited for its own bytes doesn't wait for a body as well."""
    client = serve(hello, header_timeout=0.2).connect()
    client.send(b'HEAD / HTTP/1.1\r\nHost: x\r\nA: ')
    response = client.response('HEAD')
    assert response.status == 408
    assert client.is_closed()


def test_a_chunked_body_of_head_that_is_none(serve: Serve) -> None:
    client = serve(hello).connect()
    client.send(request('HEAD', '/', 'Transfer-Encoding: chunked', body=b'x\r\n'))
    assert client.response('HEAD').status == 400
    assert client.is_closed()


def test_empty_lines_for_ever_are_no_request(serve: Serve) -> None:
    """RFC 9112 2.2 has some of them ignored; they don't keep a slot longer than a head may take."""
    client = serve(hello, header_timeout=0.3).connect()
    with pytest.raises(OSError):  # noqa: PT011  # a reset, or a broken pipe
        for _ in range(10_000_000):
            client.send(b'\r\n')


# --- absolute form ------------------------------------------------------------------------------------------------


def target(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [])
    parts = [environ[key] for key in ('wsgi.url_scheme', 'HTTP_HOST', 'PATH_INFO', 'QUERY_STRING', 'REQUEST_URI')]
    return [' '.join(parts).encode()]


@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_the_scheme_of_a_target_is_the_clients_word(serve: Serve, scheme: str) -> None:
    """wsgi.url_scheme says what is true of the connection, or what a trusted proxy says."""
    client = serve(target).connect()
    client.send(request('GET', f'{scheme}://h/a?b'))
    assert client.response().body == f'http h /a b {scheme}://h/a?b'.encode()


@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_the_scheme_of_a_target_over_tls(serve: Serve, certificates: Certificates, scheme: str) -> None:
    client = serve(target, **certificates.options).connect_tls(trusting(certificates))
    client.send(request('GET', f'{scheme}://h/a'))
    assert client.response().body == f'https h /a  {scheme}://h/a'.encode()


# --- served -------------------------------------------------------------------------------------------------------


def talkative(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response('200 OK', [])
    yield environ['REQUEST_METHOD'].encode()
    yield b' ' + environ['SERVER_PROTOCOL'].encode()


@pytest.mark.parametrize('version', ['1.1', '1.2', '1.9'])
def test_a_later_minor_version_is_answered_as_1_1(serve: Serve, version: str) -> None:
    """RFC 9110 2.5: in chunks, and the connection persists."""
    client = serve(talkative).connect()
    for _ in range(2):
        client.send(request(version=version))
        response = client.response()
        assert response.body == b'GET HTTP/1.1'
        assert response.headers['transfer-encoding'] == 'chunked'
    client.send(request('GET', '/', 'Connection: close', version=version))
    assert client.response().status == 200
    assert client.is_closed()


@pytest.mark.parametrize(
    'fields',
    [
        pytest.param(['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'], id='websocket'),
        pytest.param(['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMA'], id='h2c'),
        pytest.param(['Upgrade: h2c'], id='without Connection'),
        pytest.param(['Connection: upgrade', 'Upgrade: HTTP/3.0, TLS/1.0'], id='several'),
    ],
)
def test_an_upgrade_is_ignored(serve: Serve, fields: list[str]) -> None:
    """RFC 9110 7.8 allows to."""
    client = serve(talkative).connect()
    for _ in range(2):
        client.send(request('GET', '/', *fields))
        response = client.response()
        assert (response.status, response.early, response.body) == (200, [], b'GET HTTP/1.1')


@pytest.mark.parametrize('method', ['TRACE', 'get', 'PROPFIND', 'M-SEARCH', "!#$%&'*+-.^_`|~"])
def test_methods_are_for_the_application_to_know(serve: Serve, method: str) -> None:
    """RFC 9110 9.1: a token, of which only who serves the resource can say 405, and what it allows."""
    client = serve(talkative).connect()
    client.send(request(method))
    assert client.response().body == f'{method} HTTP/1.1'.encode()


def test_connect_makes_no_tunnel(serve: Serve) -> None:
    """RFC 9110 9.3.6: what comes behind is neither forwarded nor read as requests."""
    client = serve(talkative).connect()
    client.send(b'CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n' + request() * 2)
    assert client.response().status == 501
    assert client.is_closed()
