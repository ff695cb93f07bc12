"""The cascade, the config filter and the prefix filter, for where Paste and PasteDeploy aren't installed."""

from __future__ import annotations

import io
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from prefork.deploy import loadapp
from prefork.deploy.standins import TRUSTED, Cascade, Prefix, cascade_factory, config_filter, prefix_filter
from prefork.errors import IniParseError
from tests.deploy.conftest import WriteIni

Environ = dict[str, Any]


def ask(application: Any, body: bytes = b'', **given: Any) -> tuple[str, bytes]:
    """Status and body of the answer to one request, checked against PEP 3333."""
    environ: Environ = {
        'QUERY_STRING': '',
        'CONTENT_LENGTH': str(len(body)),
        'wsgi.input': io.BytesIO(body),
        'REQUEST_METHOD': 'POST',
        **given,
    }
    setup_testing_defaults(environ)
    started: list[str] = []
    written: list[bytes] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        started.append(status)
        return written.append

    result = application(environ, start_response)
    answer = b''.join(result)
    if hasattr(result, 'close'):
        result.close()
    assert len(started) == 1
    return started[0], b''.join(written) + answer


class Fixed:
    """Answers with one status, in the way given; ``closed`` counts the close() of its results."""

    def __init__(self, status: str, way: str = 'list') -> None:
        self.status = status
        self.way = way
        self.closed = 0
        self.bodies: list[bytes] = []

    def __call__(self, environ: Environ, start_response: Any) -> Any:
        self.bodies.append(environ['wsgi.input'].read(int(environ['CONTENT_LENGTH'])))
        environ['touched'] = self
        if self.way == 'late':
            return self.late(start_response)
        write = start_response(self.status, [('Content-Type', 'text/plain')])
        if self.way == 'write':
            write(self.status.encode())
            return []
        return [self.status.encode()]

    def late(self, start_response: Any) -> Any:
        try:
            start_response(self.status, [('Content-Type', 'text/plain')])
            yield self.status.encode()
            yield b'!'
        finally:
            self.closed += 1


CASCADES = {
    'the first answers': (['200 A', '200 B'], {404}, '200 A', 1),
    'the first has nothing': (['404 A', '200 B'], {404}, '200 B', 2),
    'nobody has anything: the last one says so': (['404 A', '404 B'], {404}, '404 B', 2),
    'another status is an answer': (['403 A', '200 B'], {404}, '403 A', 1),
    'other statuses are caught': (['403 A', '500 B', '200 C'], {403, 500}, '200 C', 3),
}


@pytest.mark.parametrize('way', ['list', 'write', 'late'])
@pytest.mark.parametrize('name', CASCADES)
def test_cascade(name: str, way: str) -> None:
    statuses, caught, expected, asked = CASCADES[name]
    applications = [Fixed(status, way) for status in statuses]
    status, body = ask(validator(Cascade([validator(each) for each in applications], caught)), b'body')
    assert status == expected
    assert body == expected.encode() + (b'!' if way == 'late' else b'')
    # Each got the whole body, and nobody was asked after the answer.
    assert [each.bodies for each in applications] == [[b'body']] * asked + [[]] * (len(applications) - asked)
    if way == 'late':
        assert [each.closed for each in applications] == [1] * asked + [0] * (len(applications) - asked)


def test_cascade_rewinds_a_body_that_can_be_rewound() -> None:
    applications = [Fixed('404 A'), Fixed('200 B')]
    assert ask(Cascade(applications, [404]), b'body')[0] == '200 B'
    assert [each.bodies for each in applications] == [[b'body'], [b'body']]


def test_cascade_gives_each_application_its_own_environ() -> None:
    seen = []

    def last(environ: Environ, start_response: Any) -> list[bytes]:
        seen.append('touched' in environ)
        start_response('200 OK', [])
        return []

    ask(Cascade([Fixed('404 A'), last], {404}))
    assert seen == [False]


class Loader:
    def get_app(self, name: str, global_conf: Any = None) -> Any:
        return Fixed(name)


def test_cascade_is_in_the_order_of_the_names() -> None:
    loader: Any = Loader()
    cascade = cascade_factory(loader, {}, catch='404 410', app2='404 B', app10='200 C', app1='410 A')
    assert ask(cascade)[0] == '200 C'  # app1, app10, app2: names are sorted as text, as Paste does


BAD_CASCADES = {
    'a key that is no application': ({'ap1': 'x'}, 'begin with app'),
    'no application': ({}, 'at least app1'),
    'a status that is none': ({'catch': '40x', 'app1': 'x'}, "'40x' is not a status"),
}


@pytest.mark.parametrize('name', BAD_CASCADES)
def test_bad_cascade(name: str) -> None:
    options, problem = BAD_CASCADES[name]
    loader: Any = Loader()
    with pytest.raises(IniParseError, match=problem):
        cascade_factory(loader, {}, **options)


def echo(environ: Environ, start_response: Any) -> list[bytes]:
    start_response('200 OK', [('Content-Type', 'text/plain')])
    keys = ('SCRIPT_NAME', 'PATH_INFO', 'HTTP_HOST', 'SERVER_PORT', 'REMOTE_ADDR', 'wsgi.url_scheme')
    return ['|'.join(environ.get(key, '') for key in keys).encode()]


def test_config_is_for_each_request_anew() -> None:
    seen: list[Any] = []

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        seen.append(dict(environ['paste.config']))
        environ['paste.config']['a'] = 'changed'
        start_response('200 OK', [])
        return []

    wrapped = config_filter(app, {'a': 'global', 'b': 'global'}, b='local')
    ask(wrapped)
    ask(wrapped)
    assert seen == [{'a': 'global', 'b': 'local'}] * 2


FORWARDED = {'HTTP_X_FORWARDED_SERVER': 'made.up, public.example', 'HTTP_X_FORWARDED_SCHEME': 'https'}
PLAIN: dict[str, Any] = {'HTTP_HOST': 'inner:80', 'SERVER_PORT': '80', 'REMOTE_ADDR': '10.0.0.2', 'SCRIPT_NAME': ''}

PREFIXES: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    'below the prefix': ({'prefix': '/x'}, {'PATH_INFO': '/x/a'}, '/x|/a|inner:80|80|10.0.0.2|http'),
    'a path without it is taken as it is': ({'prefix': '/x'}, {'PATH_INFO': '/a'}, '/x|/a|inner:80|80|10.0.0.2|http'),
    'the prefix alone': ({'prefix': '/x/'}, {'PATH_INFO': '/x'}, '/x|/|inner:80|80|10.0.0.2|http'),
    'a name that only begins alike': ({'prefix': '/x'}, {'PATH_INFO': '/xy'}, '/x|/xy|inner:80|80|10.0.0.2|http'),
    'no prefix': ({}, {'PATH_INFO': '/a'}, '|/a|inner:80|80|10.0.0.2|http'),
    'from a trusted proxy': (
        {},
        {'PATH_INFO': '/a', TRUSTED: True, **FORWARDED},
        '|/a|public.example|80|10.0.0.2|https',
    ),
    'what the server has taken already counts': (
        {},
        {'PATH_INFO': '/a', TRUSTED: True, 'HTTP_X_FORWARDED_HOST': 'x', 'HTTP_X_FORWARDED_PROTO': 'http', **FORWARDED},
        '|/a|inner:80|80|10.0.0.2|http',
    ),
    'from anybody': ({}, {'PATH_INFO': '/a', **FORWARDED}, '|/a|inner:80|80|10.0.0.2|http'),
    'not wanted': (
        {'translate_forwarded_server': 'false'},
        {'PATH_INFO': '/a', TRUSTED: True, **FORWARDED},
        '|/a|inner:80|80|10.0.0.2|http',
    ),
    'a scheme that is none': (
        {},
        {'PATH_INFO': '/a', TRUSTED: True, 'HTTP_X_FORWARDED_SCHEME': 'javascript'},
        '|/a|inner:80|80|10.0.0.2|http',
    ),
    'port and scheme by force': (
        {'force_port': '443', 'scheme': 'https'},
        {'PATH_INFO': '/a'},
        '|/a|inner:443|443|10.0.0.2|https',
    ),
    "the scheme's own port by force": (
        {'force_port': ''},
        {'PATH_INFO': '/a', 'HTTP_HOST': 'inner:8080', 'SERVER_PORT': '8080'},
        '|/a|inner|80|10.0.0.2|http',
    ),
    'a port behind an IPv6 address': (
        {'force_port': '443'},
        {'PATH_INFO': '/a', 'HTTP_HOST': '[::1]'},
        '|/a|[::1]:443|443|10.0.0.2|http',
    ),
}


@pytest.mark.parametrize('name', PREFIXES)
def test_prefix(name: str) -> None:
    options, given, expected = PREFIXES[name]
    assert ask(validator(prefix_filter(echo, {}, **options)), **{**PLAIN, **given}) == ('200 OK', expected.encode())


BAD_PREFIXES = {
    'prefix': ({'prefix': 'x'}, 'does not begin with /'),
    'force_port': ({'force_port': 'https'}, 'not a port'),
    'translate_forwarded_server': ({'translate_forwarded_server': 'maybe'}, 'neither true nor false'),
}


@pytest.mark.parametrize('key', BAD_PREFIXES)
def test_bad_prefix_names_the_key(key: str) -> None:
    options, problem = BAD_PREFIXES[key]
    with pytest.raises(IniParseError, match=problem) as caught:
        prefix_filter(echo, {}, **options)
    assert caught.value.key == key


def test_ini_files_reach_them_by_their_names(ini_file: WriteIni, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the distributions are installed: they are made to look as if they weren't."""
    from prefork.deploy import factories
    from prefork.errors import IniImportError

    def not_installed(name: str) -> Any:
        raise IniImportError(f'the distribution {name!r} is not installed')

    monkeypatch.setattr(factories, '_distribution', not_installed)
    path = ini_file(
        """
[pipeline:main]
pipeline = config prefix both
[filter:config]
use = egg:PasteDeploy#config
[filter:prefix]
use = egg:PasteDeploy#prefix
prefix = /x
[composite:both]
use = egg:Paste#cascade
app1 = first
catch = 404
[app:first]
paste.app_factory = tests.deploy.test_standins:echo_factory
"""
    )
    app = loadapp(f'config:{path}')
    assert ask(app, **PLAIN, PATH_INFO='/x/a') == ('200 OK', b'/x|/a|inner:80|80|10.0.0.2|http')
    bad = ini_file('[composite:main]\nuse = egg:Paste#cascade\ncatch = 4\napp1 = x\n', 'bad.ini')
    with pytest.raises(IniParseError, match=r"bad\.ini:3: \[composite:main\] catch: '4' is not a status"):
        loadapp(f'config:{bad}')


def echo_factory(global_conf: Any, **local_conf: str) -> Any:
    return echo


def test_prefix_is_what_the_filter_makes() -> None:
    assert isinstance(prefix_filter(echo, {}), Prefix)


def test_the_server_sets_the_key_that_the_filter_asks_for() -> None:
    """The loader may not import the server's side, so the name stands twice."""
    from prefork.net import origin

    assert origin.TRUSTED == TRUSTED
