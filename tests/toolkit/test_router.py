"""Router: which request gets where, and with which path."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import webob

from prefork.toolkit import Application, Mapper, Request, Response, Router, wsgify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

pytestmark = pytest.mark.usefixtures('hops')


class Show(Application):
    """Says what reached it: its name, the path as WSGI carries it, and the route's variables."""

    def __init__(self, name: str) -> None:
        self.name = name

    @wsgify
    def __call__(self, req: Request) -> Response:
        variables = {key: value for key, value in req.urlvars.items() if key != 'controller'}
        return Response(json=[self.name, req.method, req.script_name, req.path_info, variables])


def mapper() -> Mapper:
    routes = Mapper()
    routes.connect(None, '/list', controller=Show('list'), action='index')
    routes.connect(None, '/list/{id}', controller=Show('item'), requirements={'id': '[0-9]+'})
    routes.connect(None, '/only-get', controller=Show('get'), conditions={'method': ['GET']})
    routes.connect(None, '/only-delete', controller=Show('delete'), conditions={'method': ['DELETE']})
    routes.connect(None, '/named/{name}', controller=Show('named'))
    routes.connect(None, '/caf\xe9', controller=Show('caf\xe9'))
    routes.connect(None, '/v1.0/{path_info:.*}', controller=Show('v1'))
    routes.connect(None, '/{tenant}/v2/{path_info:.*}', controller=Show('v2'))
    routes.connect(None, '/nested/{path_info:.*}', controller=Router(nested()))
    routes.resource('book', 'books', controller=Show('books'), collection={'detail': 'GET'}, member={'lend': 'POST'})
    routes.redirect('/old/{name}', '/named/{name}')
    return routes


def nested() -> Mapper:
    routes = Mapper()
    routes.connect(None, '/inner/{name}/{path_info:.*}', controller=Show('inner'))
    return routes


# Made once: the table below shares it, as requests do.
ROUTER = Router(mapper())

FOUND: list[tuple[str, str, list[Any]]] = [
    ('GET', '/list', ['list', 'GET', '', '/list', {'action': 'index'}]),
    ('GET', '/list/12', ['item', 'GET', '', '/list/12', {'id': '12'}]),
    ('GET', '/only-get', ['get', 'GET', '', '/only-get', {}]),
    ('DELETE', '/only-delete', ['delete', 'DELETE', '', '/only-delete', {}]),
    # a path_info route moves what it matched before path_info to SCRIPT_NAME
    ('GET', '/v1.0/a/b', ['v1', 'GET', '/v1.0', '/a/b', {'path_info': 'a/b'}]),
    ('GET', '/v1.0/', ['v1', 'GET', '/v1.0', '/', {'path_info': ''}]),
    ('GET', '/t/v2/v2/', ['v2', 'GET', '/t/v2', '/v2/', {'tenant': 't', 'path_info': 'v2/'}]),
    # a router in a router
    ('GET', '/nested/inner/n/x', ['inner', 'GET', '/nested/inner/n', '/x', {'name': 'n', 'path_info': 'x'}]),
    # paths are UTF-8: in patterns, in variables, in what is moved
    ('GET', '/caf%C3%A9', ['caf\xe9', 'GET', '', '/caf\xe9', {}]),
    ('GET', '/named/%E2%9C%93', ['named', 'GET', '', '/named/✓', {'name': '✓'}]),
    ('GET', '/v1.0/%E2%9C%93', ['v1', 'GET', '/v1.0', '/✓', {'path_info': '✓'}]),
    ('GET', '/%E2%9C%93/v2/x', ['v2', 'GET', '/✓/v2', '/x', {'tenant': '✓', 'path_info': 'x'}]),
    (
        'GET',
        '/nested/inner/%E2%9C%93/%C3%A9',
        ['inner', 'GET', '/nested/inner/✓', '/\xe9', {'name': '✓', 'path_info': '\xe9'}],
    ),
    ('GET', '/named/a%25b', ['named', 'GET', '', '/named/a%b', {'name': 'a%b'}]),
    # the request line says the method; a filter before us may have checked it
    ('GET', '/only-get?_method=DELETE', ['get', 'GET', '', '/only-get', {}]),
    ('GET', '/list?_method=%ff', ['list', 'GET', '', '/list', {'action': 'index'}]),
    # the seven actions of a resource, and more
    ('GET', '/books', ['books', 'GET', '', '/books', {'action': 'index'}]),
    ('POST', '/books', ['books', 'POST', '', '/books', {'action': 'create'}]),
    ('GET', '/books/new', ['books', 'GET', '', '/books/new', {'action': 'new'}]),
    ('GET', '/books/1', ['books', 'GET', '', '/books/1', {'action': 'show', 'id': '1'}]),
    ('PUT', '/books/1', ['books', 'PUT', '', '/books/1', {'action': 'update', 'id': '1'}]),
    ('DELETE', '/books/1', ['books', 'DELETE', '', '/books/1', {'action': 'delete', 'id': '1'}]),
    ('GET', '/books/1/edit', ['books', 'GET', '', '/books/1/edit', {'action': 'edit', 'id': '1'}]),
    ('GET', '/books/detail', ['books', 'GET', '', '/books/detail', {'action': 'detail'}]),
    ('POST', '/books/1/lend', ['books', 'POST', '', '/books/1/lend', {'action': 'lend', 'id': '1'}]),
    ('GET', '/books/1.json', ['books', 'GET', '', '/books/1.json', {'action': 'show', 'id': '1', 'format': 'json'}]),
]


@pytest.mark.parametrize(('method', 'path', 'shown'), FOUND, ids=[f'{method} {path}' for method, path, _ in FOUND])
def test_a_route_that_matches(method: str, path: str, shown: list[Any]) -> None:
    response = webob.Request.blank(path, method=method).get_response(ROUTER)
    assert response.status_int == 200, response.text
    assert response.json == shown


@pytest.mark.parametrize(
    ('method', 'path', 'status'),
    [
        pytest.param('GET', '/bad', 404, id='no route'),
        pytest.param('GET', '/list/', 404, id='a slash too many'),
        pytest.param('GET', '/list/abc', 404, id='a requirement not met'),
        pytest.param('GET', '/v1.0', 404, id='no slash before path_info'),
        pytest.param('POST', '/only-get', 404, id='another method is 404, not 405'),
        pytest.param('HEAD', '/only-get', 404, id='HEAD is not implied by GET'),
        pytest.param('GET', '/only-delete?_method=DELETE', 404, id='no method from the query'),
        pytest.param('GET', '/%ff', 400, id='not UTF-8, no route'),
        pytest.param('GET', '/v1.0/%ff', 400, id='not UTF-8, where a route would match'),
        pytest.param('GET', '/nested/%c3', 400, id='half a character'),
    ],
)
def test_no_route_matches(method: str, path: str, status: int) -> None:
    assert webob.Request.blank(path, method=method).get_response(ROUTER).status_int == status


def test_a_forms_method_is_not_taken_and_its_body_not_read() -> None:
    request = webob.Request.blank('/only-delete', POST={'_method': 'DELETE'})
    assert request.get_response(ROUTER).status_int == 404
    assert request.body_file_raw.read() == b'_method=DELETE'


def test_a_redirect_is_followed_to_the_same_name() -> None:
    response = webob.Request.blank('/old/%E2%9C%93').get_response(ROUTER)
    assert response.status_int == 302
    assert response.location == '/named/%E2%9C%93'


def test_a_mount_point_above_the_router_stays_as_it_was() -> None:
    request = webob.Request.blank('/v1.0/x', base_url='http://localhost/caf%C3%A9')
    assert request.get_response(ROUTER).json[2:4] == ['/caf\xe9/v1.0', '/x']
    assert request.environ['SCRIPT_NAME'] == '/caf\xc3\xa9/v1.0', 'bytes as latin-1, as PEP 3333 has it'


@pytest.mark.parametrize(('path', 'matches'), [('/test', True), ('/bad', False)])
def test_a_controller_is_any_wsgi_application(path: str, matches: bool) -> None:
    def controller(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])
        return [b'Router result']

    class Site(Router):
        def __init__(self) -> None:
            routes = Mapper()
            routes.connect('/test', controller=controller)
            super().__init__(routes)

    site = Site()
    assert site.map.match('/test')['controller'] is controller
    result = webob.Request.blank(path).get_response(site)
    assert (result.body == b'Router result') is matches
    assert (result.status_int == 404) is not matches


def test_a_route_without_controller_is_a_key_error() -> None:
    routes = Mapper()
    routes.connect(None, '/x/{id}')
    with pytest.raises(KeyError, match='controller'):
        webob.Request.blank('/x/1').get_response(Router(routes))


def test_the_mapper_is_compiled_when_the_router_is_made_and_again_when_it_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A forked worker shares what was made before the fork, and no request waits for it."""
    routes = Mapper()
    create_regs = routes.create_regs
    compilations: list[int] = []

    def count_and_compile() -> None:
        compilations.append(len(routes.matchlist))
        create_regs()

    monkeypatch.setattr(routes, 'create_regs', count_and_compile)
    routes.connect(None, '/early', controller=Show('early'))
    router = Router(routes)
    assert compilations == [1]
    assert webob.Request.blank('/early').get_response(router).json[0] == 'early'
    routes.connect(None, '/late', controller=Show('late'))
    for _ in range(2):
        assert webob.Request.blank('/late').get_response(router).json[0] == 'late'
    assert compilations == [1, 2]


def test_threads_do_not_see_each_others_match() -> None:
    def ask(number: int) -> str:
        return str(webob.Request.blank(f'/named/{number}').get_response(ROUTER).json[4]['name'])

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(200))) == [str(number) for number in range(200)]
