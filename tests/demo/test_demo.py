"""The embedded default: each page by itself, then as its ini composes them."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

import prefork.demo
from prefork import demo
from prefork.deploy import loadapp
from tests.serving import ROOT

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

APP_INI = Path(prefork.demo.__file__).with_name('app.ini')


class Answer:
    """The response of one call of an application, which ``wsgiref.validate`` watches."""

    def __init__(self, application: WSGIApplication, path: str = '/', body: bytes = b'', **environ: str) -> None:
        request: dict[str, Any] = {'wsgi.input': io.BytesIO(body), 'QUERY_STRING': '', 'SCRIPT_NAME': '', **environ}
        request['PATH_INFO'] = path
        setup_testing_defaults(request)

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
            self.status = status
            self.headers = dict(headers)

        iterable = validator(application)(request, start_response)
        try:
            self.chunks = list(iterable)
        finally:
            iterable.close()  # type: ignore[attr-defined]  # the validator's has one, and insists on the call
        self.body = b''.join(self.chunks)


@pytest.mark.parametrize(
    ('options', 'variables', 'heading'),
    [
        pytest.param({}, {}, 'Hello, world!', id='default'),
        pytest.param({'greeting': 'Moin'}, {}, 'Moin', id='option'),
        pytest.param({}, {'greeting': 'Hi'}, 'Hi', id='variable'),
        pytest.param({'greeting': '<script>'}, {}, '&lt;script&gt;', id='escaped'),
    ],
)
def test_welcome_greets(options: dict[str, str], variables: dict[str, str], heading: str) -> None:
    answer = Answer(demo.main(variables, **options))
    assert answer.status == '200 OK'
    assert f'<h1>{heading}</h1>' in answer.body.decode()
    assert answer.headers['Content-Length'] == str(len(answer.body))


def test_welcome_links_to_where_it_is_mounted() -> None:
    page = Answer(demo.main({}), SCRIPT_NAME='/demo"', HTTP_HOST='"><b>').body.decode()
    assert '<a href="/demo&quot;/count">' in page
    assert 'http://&quot;&gt;&lt;b&gt;/demo&quot;/echo' in page


def test_welcome_is_one_page() -> None:
    assert Answer(demo.main({}), '/favicon.ico').status == '404 Not Found'


def test_environ_shows_the_request_as_plain_text() -> None:
    answer = Answer(demo.environment({}), '/caf\xc3\xa9', HTTP_X_NOTE='<b>')
    assert "HTTP_X_NOTE = '<b>'\n" in answer.body.decode()
    assert "PATH_INFO = '/caf\xc3\xa9'\n" in answer.body.decode()
    assert answer.headers['Content-Type'].startswith('text/plain')
    assert answer.headers['X-Content-Type-Options'] == 'nosniff'


def test_count_sends_a_piece_for_each_number() -> None:
    assert Answer(demo.count({}, to='3')).chunks == [b'1\n', b'2\n', b'3\n']


def test_count_wants_a_number() -> None:
    with pytest.raises(ValueError, match='many'):
        demo.count({}, to='many')


@pytest.mark.parametrize('size', [0, 1, 1 << 16, (1 << 17) + 1])
def test_echo_sends_the_body_back_but_not_its_type(size: int) -> None:
    body = b'x' * size
    answer = Answer(demo.echo({}), body=body, REQUEST_METHOD='POST', CONTENT_LENGTH=str(size), CONTENT_TYPE='text/html')
    assert answer.body == body
    assert answer.headers['Content-Type'] == 'application/octet-stream'


def test_server_timing_adds_a_header_to_every_response() -> None:
    answer = Answer(demo.server_timing({}, metric='db')(demo.main({})), '/nothing')
    assert answer.status == '404 Not Found'
    assert answer.headers['Content-Type'] == 'text/plain; charset=utf-8'
    metric, _, duration = answer.headers['Server-Timing'].partition(';dur=')
    assert metric == 'db'
    assert 0 <= float(duration) < 60_000


@pytest.mark.parametrize(
    ('name', 'path', 'status', 'text'),
    [
        ('main', '/', '200 OK', '<h1>Hello, world!</h1>'),
        ('main', '/environ', '200 OK', "SCRIPT_NAME = '/environ'"),
        ('main', '/count', '200 OK', '9\n10\n'),
        ('main', '/echo', '200 OK', ''),
        ('main', '/nothing', '404 Not Found', 'no such page'),
        ('toolkit', '/books', '200 OK', 'The Murder on the Links'),
        ('toolkit', '/books/2', '200 OK', '{"title":"The Murder on the Links"}'),
        ('toolkit', '/books/3', '404 Not Found', 'no such book'),
        ('toolkit', '/', '404 Not Found', 'not be found'),
    ],
)
def test_the_ini_composes(name: str, path: str, status: str, text: str) -> None:
    answer = Answer(loadapp(f'config:{APP_INI}', name=name), path)
    assert answer.status == status
    assert text in answer.body.decode()
    expected = {'main': 'Server-Timing', 'toolkit': 'Cache-Control' if status == '200 OK' else 'Content-Type'}
    assert expected[name] in answer.headers


def test_a_variable_beats_the_sections_greeting() -> None:
    application = loadapp(f'config:{APP_INI}', global_conf={'greeting': 'Hi'})
    assert '<h1>Hi</h1>' in Answer(application).body.decode()


def test_main_needs_neither_webob_nor_routes() -> None:
    program = f"""
import sys
sys.modules.update(webob=None, routes=None)  # an import of either is an ImportError from here on
from prefork.deploy import loadapp
loadapp({f'config:{APP_INI}'!r})
try:
    loadapp({f'config:{APP_INI}'!r}, name='toolkit')
except ImportError:
    print('served')
"""
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == 'served\n', done.stderr
