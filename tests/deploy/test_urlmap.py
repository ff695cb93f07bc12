"""The URL map: which application answers, and with which SCRIPT_NAME and PATH_INFO."""

from __future__ import annotations

from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from prefork.deploy.urlmap import URLMap, urlmap_factory
from prefork.errors import IniParseError

Environ = dict[str, Any]


def app(name: str) -> Any:
    def answer(environ: Environ, start_response: Any) -> list[bytes]:
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return [f'{name} {environ.get("SCRIPT_NAME", "")}|{environ["PATH_INFO"]}'.encode()]

    return answer


class Loader:
    def get_app(self, name: str, global_conf: Any = None) -> Any:
        assert global_conf['here'] == 'x'
        return app(name)


def ask(urlmap: URLMap, **given: str) -> str:
    """The answer, checked against PEP 3333; the status where that isn't 200."""
    environ: Environ = {'SCRIPT_NAME': '', 'QUERY_STRING': '', **given}
    setup_testing_defaults(environ)
    started: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        started.append(status)
        return lambda data: None

    # The validator takes no environ in which both are empty, as a map within a map may see it.
    result: Any = (validator(urlmap) if environ['PATH_INFO'] else urlmap)(environ, start_response)
    body = b''.join(result)
    if hasattr(result, 'close'):
        result.close()
    return body.decode() if started == ['200 OK'] else started[0]


MAP = URLMap(
    {
        '/': app('root'),
        '/a': app('a'),
        '/a/b': app('ab'),
        '/v2': app('v2'),
        '/v2/+': app('plus'),
        '/v2.1': app('v21'),
        'domain x.com /': app('x'),
        'domain X.com port 8080 /a': app('xa'),
        'port 81 /p': app('p'),
        '/p/q': app('pq'),
        'domain [::1] /six': app('six'),
    }
)

PATHS = {
    '/': 'root |/',
    '': 'root |',
    '/ab': 'root |/ab',
    '/A': 'root |/A',
    '/a': 'a /a|',
    '/a/': 'a /a|/',
    '/a/c': 'a /a|/c',
    '/a/b/c': 'ab /a/b|/c',
    '//a//b': 'ab /a/b|',
    '/v2.1/x': 'v21 /v2.1|/x',
    '/v2/x': 'v2 /v2|/x',
    '/v2/+/x': 'plus /v2/+|/x',
}


@pytest.mark.parametrize(('path', 'expected'), PATHS.items())
def test_longest_path(path: str, expected: str) -> None:
    assert ask(MAP, PATH_INFO=path) == expected


HOSTS: dict[str, tuple[dict[str, str], str]] = {
    'domain': ({'HTTP_HOST': 'x.com', 'PATH_INFO': '/a'}, 'x |/a'),
    'in capitals': ({'HTTP_HOST': 'X.COM', 'PATH_INFO': '/a'}, 'x |/a'),
    'domain on any port': ({'HTTP_HOST': 'x.com:99', 'PATH_INFO': '/a'}, 'x |/a'),
    'domain and port': ({'HTTP_HOST': 'x.com:8080', 'PATH_INFO': '/a'}, 'xa /a|'),
    'domain and port, another path': ({'HTTP_HOST': 'x.com:8080', 'PATH_INFO': '/b'}, 'x |/b'),
    'another domain': ({'HTTP_HOST': 'y.x.com', 'PATH_INFO': '/a'}, 'a /a|'),
    'port alone': ({'HTTP_HOST': 'y:81', 'PATH_INFO': '/p'}, 'p /p|'),
    'port before path': ({'HTTP_HOST': 'y:81', 'PATH_INFO': '/p/q'}, 'p /p|/q'),
    'IPv6': ({'HTTP_HOST': '[::1]:81', 'PATH_INFO': '/p'}, 'p /p|'),
    'IPv6 without a port': ({'HTTP_HOST': '[::1]', 'PATH_INFO': '/six'}, 'six /six|'),
    'no Host': ({'HTTP_HOST': '', 'SERVER_NAME': 'x.com', 'SERVER_PORT': '8080', 'PATH_INFO': '/a'}, 'xa /a|'),
}


@pytest.mark.parametrize(('environ', 'expected'), HOSTS.values(), ids=HOSTS)
def test_host(environ: dict[str, str], expected: str) -> None:
    assert ask(MAP, **environ) == expected


@pytest.mark.parametrize('host', ['x', 'x:'])
@pytest.mark.parametrize(('scheme', 'expected'), [('http', 'plain |/'), ('https', 'secure |/')])
def test_default_ports(host: str, scheme: str, expected: str) -> None:
    urlmap = URLMap({'domain x port 80': app('plain'), 'domain x port 443 /': app('secure')})
    assert ask(urlmap, **{'HTTP_HOST': host, 'wsgi.url_scheme': scheme, 'PATH_INFO': '/'}) == expected


def test_of_patterns_that_mean_the_same_the_last_counts() -> None:
    urlmap = URLMap({'/a': app('first'), '/a/b': app('other'), '//a/': app('last')})
    assert ask(urlmap, PATH_INFO='/a/x') == 'last /a|/x'


def test_a_map_in_a_map() -> None:
    assert ask(URLMap({'/v1': URLMap({'/a': app('a')})}), SCRIPT_NAME='/s', PATH_INFO='/v1/a/x') == 'a /s/v1/a|/x'


def test_nothing_matches() -> None:
    assert ask(URLMap({'/a': app('a')}), PATH_INFO='/b') == '404 Not Found'
    assert ask(URLMap({'/a': app('a')}, app('other')), PATH_INFO='/b') == 'other |/b'


@pytest.mark.parametrize(
    ('globals', 'options', 'expected'),
    [
        ({}, {'/a': 'one'}, '404 Not Found'),
        ({'not_found_app': 'nf'}, {'/a': 'one'}, 'nf |/b'),
        ({'not_found_app': 'nf'}, {'/a': 'one', 'not_found_app': 'mine'}, 'mine |/b'),
    ],
    ids=['none', 'global', 'local before global'],
)
def test_factory(globals: dict[str, str], options: dict[str, str], expected: str) -> None:
    urlmap = urlmap_factory(Loader(), {'here': 'x', **globals}, **options)  # type: ignore[arg-type]
    assert ask(urlmap, PATH_INFO='/a/x') == 'one /a|/x'
    assert ask(urlmap, PATH_INFO='/b') == expected


BAD = ['a', '', 'domain', 'domain x port', 'domain a domain b', 'port x /a', '/a /b', 'path /a /b', 'foo bar']


@pytest.mark.parametrize('pattern', BAD)
def test_bad_pattern(pattern: str) -> None:
    with pytest.raises(IniParseError) as caught:
        URLMap({pattern: app('a')})
    assert caught.value.key == pattern
