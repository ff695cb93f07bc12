"""The embedded default through the whole server."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

import prefork.demo
from tests.serving import serve

APP_INI = Path(prefork.demo.__file__).with_name('app.ini')
FLAGS = ('--bind', '127.0.0.1:0', '--workers', '1')


@pytest.fixture
def client() -> httpx.Client:
    return httpx.Client(trust_env=False, timeout=30)


def test_main(client: httpx.Client) -> None:
    with serve(APP_INI, *FLAGS, 'greeting=Moin') as server, client:
        home = client.get(server.url + '/')
        assert '<h1>Moin</h1>' in home.text
        assert f'{server.url}/echo' in home.text
        assert home.headers['Server-Timing'].startswith('app;dur=')
        assert client.get(server.url + '/count').text == ''.join(f'{number}\n' for number in range(1, 11))
        environ = client.get(server.url + '/environ?x=%20', headers={'X-Note': 'seen'}).text
        assert "QUERY_STRING = 'x=%20'\n" in environ
        assert "HTTP_X_NOTE = 'seen'\n" in environ
        assert f"SERVER_PORT = '{server.port}'\n" in environ
        body = b'x' * 200_000
        assert client.post(server.url + '/echo', content=body).content == body
        assert client.get(server.url + '/nothing').status_code == 404


def test_toolkit(client: httpx.Client) -> None:
    with serve(f'{APP_INI}#toolkit', *FLAGS) as server, client:
        assert client.get(server.url + '/books/1').json() == {'title': 'The Mysterious Affair at Styles'}
        assert client.get(server.url + '/books/9').status_code == 404
        assert client.get(server.url + '/%ff').status_code == 400
