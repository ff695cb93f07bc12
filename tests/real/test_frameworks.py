"""Applications of three frameworks, as their users would start them, asked by three clients."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.real.clients import TIMEOUT, Framing, H11Client, with_curl, with_h11, with_httpx

if TYPE_CHECKING:
    from tests.real.clients import Reply
    from tests.real.conftest import Site

needs_curl = pytest.mark.skipif(shutil.which('curl') is None, reason='curl is not installed')
every_client = pytest.mark.parametrize(
    'ask',
    [
        pytest.param(with_curl, id='curl', marks=needs_curl),
        pytest.param(with_httpx, id='httpx'),
        pytest.param(with_h11, id='h11'),
    ],
)
LINES = b''.join(b'line %d\n' % number for number in range(10_000))


class Ask(Protocol):
    """The signature that the clients share."""

    def __call__(self, url: str, method: str = ..., body: bytes = ..., framing: Framing = ...) -> Reply: ...


@every_client
def test_hello(site: Site, ask: Ask) -> None:
    reply = ask(site.server.url + '/')
    assert (reply.status, reply.body) == (200, f'Hello, world, from {site.name}'.encode())
    assert reply.headers['content-length'] == str(len(reply.body))


@every_client
@pytest.mark.parametrize('framing', Framing)
@pytest.mark.parametrize('size', [0, 1, 100_000, 2_000_000])
def test_a_body_arrives_and_goes_back(site: Site, ask: Ask, framing: Framing, size: int) -> None:
    """The largest is above what is kept in memory, and above what curl sends without asking with Expect first."""
    body = (b'0123456789abcdef' * (size // 16 + 1))[:size]
    reply = ask(site.server.url + '/echo', 'POST', body, framing)
    assert reply.status == 200
    assert reply.body == body


@every_client
def test_a_response_without_length(site: Site, ask: Ask) -> None:
    reply = ask(site.server.url + '/lines')
    assert (reply.status, reply.body) == (200, LINES)
    assert reply.headers['transfer-encoding'] == 'chunked'


@every_client
def test_a_file(site: Site, ask: Ask) -> None:
    """Each of the frameworks hands its files to ``wsgi.file_wrapper``."""
    reply = ask(site.server.url + '/file')
    assert (reply.status, reply.body) == (200, site.data)
    assert reply.headers['content-length'] == str(len(site.data))


@every_client
def test_head_has_the_headers_alone(site: Site, ask: Ask) -> None:
    reply = ask(site.server.url + '/file', 'HEAD')
    assert (reply.status, reply.body) == (200, b'')
    assert reply.headers['content-length'] == str(len(site.data))


@every_client
def test_what_is_not_there(site: Site, ask: Ask) -> None:
    assert ask(site.server.url + '/nothing').status == 404


def test_one_connection_for_many_requests(site: Site) -> None:
    """Counted and chunked, with and without bodies, in one row: each response begins where the last one ended."""
    with H11Client(site.server.url) as client:
        for method, target, body in [
            ('GET', '/?name=first', b''),
            ('GET', '/lines', b''),
            ('HEAD', '/', b''),
            ('POST', '/echo', b'body' * 10_000),
            ('GET', '/nothing', b''),
            ('GET', '/file', b''),
            ('GET', '/?name=last', b''),
        ]:
            client.send(method, target, body)
            reply = client.receive()
        assert reply.body == f'Hello, last, from {site.name}'.encode()


def test_a_client_that_asks_before_it_sends_the_body(site: Site) -> None:
    with H11Client(site.server.url) as client:
        client.send('POST', '/echo', b'wanted', Framing.LENGTH, ('Expect', '100-continue'))
        assert client.receive().body == b'wanted'


@needs_curl
def test_curl_reuses_its_connection(site: Site) -> None:
    url = f'{site.server.url}/?name=[1-3]'
    command = [
        'curl',
        '-q',
        '--silent',
        '--noproxy',
        '*',
        '--max-time',
        str(TIMEOUT),
        '--write-out',
        ' %{num_connects}\n',
    ]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
    assert done.stdout.split('\n')[:3] == [
        f'Hello, {number}, from {site.name} {connects}' for number, connects in [(1, 1), (2, 0), (3, 0)]
    ]


@pytest.mark.parametrize('site', ['Pyramid'], indirect=True)
def test_the_server_section_of_another_server_is_accepted_with_a_notice(site: Site) -> None:
    """Pyramid's ini is for waitress, with a port and an option of its own; it is served as it is, elsewhere."""
    log = site.server.stderr.text
    assert len([line for line in log.splitlines() if 'egg:waitress#main' in line]) == 1, log
    assert 'channel_timeout' in log
    assert site.server.port != 6543


@pytest.mark.parametrize('site', ['Django'], indirect=True)
def test_a_query_stays_open_while_others_run(site: Site) -> None:
    """Database connections are a thread's, closed when it ends a request: while one is open it must run no other."""
    url = site.server.url
    with H11Client(url) as slow, H11Client(url) as quick:
        slow.send('GET', '/rows')
        slow.receive_head()  # sent with the first row; the others are more than the sockets take
        for _ in range(5):  # one more than the threads there are
            quick.send('GET', '/rows')
            assert quick.receive().body.count(b'\n') == 400
        rows = slow.receive_body().decode().splitlines()
    assert [row.split()[0] for row in rows] == [str(number) for number in range(1, 401)]
