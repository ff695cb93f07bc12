"""A match: all that controllers, and the conditions of routes, can see of it is as RoutesMiddleware has it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import webob
import webob.exc
from routes import request_config, url_for
from routes.middleware import RoutesMiddleware
from routes.util import GenerationException

from prefork.toolkit import Application, Mapper, Middleware, Request, Response, Router, wsgify
from tests.toolkit.conftest import leave_routers_to_routes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEYS = ('SCRIPT_NAME', 'PATH_INFO', 'REQUEST_METHOD', 'wsgi.url_scheme')


def configured(environ: WSGIEnvironment) -> dict[str, Any]:
    """What a function that a request calls can learn from Routes."""
    config = request_config()
    return {
        'config': {name: getattr(config, name, None) for name in ('protocol', 'host', 'mapper_dict')},
        'route': getattr(getattr(config, 'route', None), 'routepath', None),
        'environ': getattr(config, 'environ', None) is environ,
        'mapper': config.mapper.environ is environ,
        'keys': {key: environ.get(key) for key in KEYS},
    }


def generate(url: Any, name: str) -> str:
    try:
        return str(url(name, name='x', path_info='y', qualified=True))
    except GenerationException as exception:  # Routes takes no bytes beyond ASCII in SCRIPT_NAME
        return str(exception)


class Look(Application):
    """Answers with what it sees."""

    def look(self, environ: WSGIEnvironment) -> str:
        generator, match = environ['wsgiorg.routing_args']
        urls = [generate(url, name) for url in (generator, environ['routes.url'], url_for) for name in ('named', '/x')]
        route = environ['routes.route'].routepath
        shared = match is request_config().mapper_dict
        return str([configured(environ), sorted(match), route, urls, shared, environ.get('test.condition')])

    @wsgify
    def __call__(self, req: Request) -> Any:
        return self.look(req.environ)


class Plain(Look):
    """The same without WebOb."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return [self.look(environ).encode()]


class Raise(Application):
    @wsgify
    def __call__(self, req: Request) -> Any:
        raise webob.exc.HTTPConflict('busy')


def condition(environ: WSGIEnvironment, match: dict[str, Any]) -> bool:
    environ['test.condition'] = str([configured(environ), sorted(match)])
    return True


def refuse(environ: WSGIEnvironment, match: dict[str, Any]) -> bool:
    raise webob.exc.HTTPForbidden('by a condition')


def mapper() -> Mapper:
    routes = Mapper(register=False)
    look = Look()
    routes.connect('named', '/named/{name}', controller=look)
    routes.connect(None, '/conditions/{name}', controller=look, conditions={'function': condition})
    routes.connect(None, '/refused', controller=look, conditions={'function': refuse})
    routes.connect(None, '/plain/{name}', controller=Plain())
    routes.connect(None, '/raise', controller=Raise())
    routes.connect(None, '/mount/{name}/{path_info:.*}', controller=look)
    routes.connect(None, '/nested/{path_info:.*}', controller=Router(nested()))
    routes.redirect('/old/{name}', '/named/{name}', _redirect_code='301 Moved Permanently')
    return routes


def nested() -> Mapper:
    routes = Mapper(register=False)
    routes.connect('named', '/{name}/{path_info:.*}', controller=Look())
    return routes


ROUTES = mapper()
ROUTER = Router(ROUTES)


class Outer(Middleware):
    def process_response(self, response: Response) -> Response:
        response.headers['X-Outer'] = 'sent'
        return response


def ask(application: WSGIApplication, path: str, headers: dict[str, str], changes: dict[str, Any]) -> list[Any]:
    environ = webob.Request.blank(path, headers=headers).environ
    environ |= changes
    for key in [key for key, value in environ.items() if value is None]:
        del environ[key]
    try:
        status, sent, body = webob.Request(environ).call_application(application)
    except (webob.exc.HTTPException, GenerationException) as exception:
        return [type(exception)]
    return [status, sent, b''.join(body), {key: environ.get(key) for key in KEYS}, ROUTES.environ is environ]


@pytest.mark.parametrize(
    ('headers', 'changes'),
    [
        pytest.param({}, {}, id='nothing special'),
        pytest.param({'Host': 'example.org:8080'}, {'SCRIPT_NAME': '/caf\xc3\xa9'}, id='below a mount'),
        pytest.param({'X-Forwarded-Host': 'a.org, b.org', 'X-Forwarded-Proto': 'https'}, {}, id='behind proxies'),
        pytest.param({'X-Forwarded-Host': ''}, {'HTTPS': ''}, id='behind an odd proxy'),
        pytest.param({}, {'wsgi.url_scheme': 'https'}, id='https'),
        pytest.param({}, {'HTTP_HOST': None, 'SERVER_PORT': '8080'}, id='no Host'),
        pytest.param({}, {'SCRIPT_NAME': None}, id='no SCRIPT_NAME'),
    ],
)
@pytest.mark.parametrize('outer', [lambda router: router, Outer], ids=['alone', 'below a filter'])
@pytest.mark.parametrize(
    'path',
    [
        '/named/1',
        '/named/%E2%9C%93',
        '/nowhere',
        '/conditions/1',
        '/refused',
        '/plain/1',
        '/plain/%E2%9C%93',
        '/raise',
        '/mount/a/b/c',
        '/mount/%E2%9C%93/',
        '/nested/1/2',
        '/old/%E2%9C%93',
    ],
)
def test_all_that_is_seen_is_as_routes_has_it(
    path: str, outer: Any, headers: dict[str, str], changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def see() -> list[Any]:
        ask(ROUTER, '/nowhere', {}, {})  # so that this isn't the thread's first request
        return ask(outer(ROUTER), path, headers, changes)

    ours = see()
    leave_routers_to_routes(monkeypatch)
    assert ours == see()


def count_middleware(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    call = RoutesMiddleware.__call__

    def count_and_call(self: Any, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        calls.append(environ['PATH_INFO'])
        return call(self, environ, start_response)  # type: ignore[no-any-return]

    monkeypatch.setattr(RoutesMiddleware, '__call__', count_and_call)
    return calls


def test_the_middleware_is_asked_for_what_is_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    ask(ROUTER, '/nowhere', {}, {})
    calls = count_middleware(monkeypatch)
    ask(ROUTER, '/named/1', {}, {})
    assert calls == []
    ask(ROUTER, '/named/2', {}, {'HTTP_HOST': None})
    ask(ROUTER, '/old/3', {}, {})
    leave_routers_to_routes(monkeypatch)
    ask(ROUTER, '/named/4', {}, {})
    assert calls == ['/named/2', '/old/3', '/named/4']


def test_an_application_may_keep_the_configuration_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local:
        mapper_dict = route = mapper = environ = None

    local = Local()
    config = request_config(original=True)
    monkeypatch.setattr(config, 'request_local', lambda: local)
    ask(ROUTER, '/named/1', {}, {})
    assert local.mapper is ROUTES


def test_the_debug_log_tells_of_matches(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, 'routes.middleware')
    router = Router(ROUTES)
    for _ in range(2):
        caplog.clear()
        ask(router, '/named/1', {}, {})
        assert 'Matched GET /named/1' in caplog.messages


@pytest.mark.usefixtures('hops')
def test_a_redirect_passes_a_filter() -> None:
    response = webob.Request.blank('/old/%E2%9C%93').get_response(Outer(ROUTER))
    assert (response.status_int, response.location) == (301, 'http://localhost/named/%E2%9C%93')
    assert response.headers['X-Outer'] == 'sent'
