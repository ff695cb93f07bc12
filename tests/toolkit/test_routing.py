"""The index in front of a mapper: whatever the routes, it finds what Routes finds, and asks few routes for it."""

from __future__ import annotations

import copy
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import webob
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from routes import Mapper, request_config
from routes.middleware import RoutesMiddleware
from routes.route import Route
from routes.util import RoutesException

from prefork.toolkit import Router
from prefork.toolkit.routing import index_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def plain(mapper: Mapper, url: str, environ: WSGIEnvironment | None = None) -> tuple[Any, Any]:
    """The variables and the route that Routes itself finds, by trying one route after another."""
    variables, route, _ = Mapper._match(mapper, url, environ)
    return variables, route


def indexed(mapper: Mapper, url: str, environ: WSGIEnvironment | None = None) -> tuple[Any, Any]:
    assert '_match' in vars(mapper), 'there is no index'
    variables, route, _ = mapper._match(url, environ)
    return variables, route


# --- the same answers: any table ----------------------------------------------------------------------------------

# Segments with %s where a variable's name goes, and text.
SEGMENTS = [
    *['a', 'b', 'ab', 'v2.1', 'caf\xe9', 'books', 'a\\:b', ''],
    *['{%s}', '{%s}', '{%s}', '{%s:.*}', '{%s:[0-9]+}', 'a{%s}', 'a-{%s}.json', '{%s}-{%s}', 'books{.%s}', '{%s}{.%s}'],
    *[':(%s)', ':%s', ':%s.:%s', '*%s', 'a*(%s)', 'books.:(%s)'],
]
REQUIREMENTS = [
    *[
        r'\d+',
        '[0-9]*',
        '[a-b]+',
        '[^/]+',
        '[^/-9]*',
        r'[^.]+',
        'a|b',
        '(a|b)+',
        '(?:a|b){1,2}',
        r'[\w.-]+',
        'json|xml',
    ],
    *['.*', 'a.b', '[+-9]+', 'a/b', '(?:a/)?b', r'\S+', r'[\x2e-0]+', '(?=a).+', '(?i:A)'],
]
VALUES = ['a', 'b', 'ab', '1', '12', '', 'a.b', 'a/b', '/', 'json', 'caf\xe9', 'b/a', 'A', 'a\n', '0/1']
ENDINGS = ['', '', '', '/', '\n', '.xml', '/new', '/1', '/books', '/books.json', '/books/1/edit.xml']
CONTROLLERS = ['a', 'b/a']
CONDITIONS: list[Any] = [
    *[None, None, None, None, {'method': ['GET']}, {'method': ['POST', 'HEAD']}, {'method': 'GET'}],
    *[{'sub_domain': True}, {'sub_domain': False}, {'sub_domain': ['a']}],
    {'function': lambda environ, variables: variables.get('x') != 'a'},
]
NAMES = ['x', 'y', 'controller', *(f'x{number}' for number in range(8))]
"""The variables of a path, from the left."""

environs = st.sampled_from(
    [
        None,
        {'REQUEST_METHOD': 'GET', 'HTTP_HOST': 'example.org'},
        {'REQUEST_METHOD': 'POST', 'HTTP_HOST': 'a.example.org:80'},
        {'REQUEST_METHOD': 'GET', 'HTTP_HOST': 'www.example.org'},
    ]
)
attributes = st.fixed_dictionaries(
    {},
    optional={
        'prefix': st.sampled_from(['/app', '/(?:a|b)']),
        'sub_domains': st.just(True),
        'sub_domains_ignore': st.just(['www']),
        'explicit': st.booleans(),
        'minimization': st.booleans(),
        'append_slash': st.just(True),
        'debug': st.just(True),
    },
)


class Connection(NamedTuple):
    """One call that adds routes, and paths that they may match."""

    kind: str
    path: str
    arguments: dict[str, Any]
    asked: list[str]


@st.composite
def connections(draw: st.DrawFn) -> Connection:
    template = '/'.join(draw(st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4)))
    names = NAMES[: template.count('%s')]
    arguments: dict[str, Any] = {'conditions': draw(st.sampled_from(CONDITIONS))}
    arguments['requirements'] = draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(REQUIREMENTS), max_size=2))
    arguments |= draw(st.dictionaries(st.sampled_from(['x', 'y', 'id']), st.sampled_from(['a', None]), max_size=1))
    arguments |= draw(st.sampled_from([{}, {}, {}, {'_minimize': True}, {'_minimize': False}, {'_static': True}]))
    kind = draw(st.sampled_from(['connect', 'connect', 'connect', 'resource', 'collection', 'submapper', 'redirect']))
    asked = []
    for _ in range(2):
        text = re.sub(r'\{%s:[^}]*\}|\*\(%s\)|:\(%s\)|\{?[.:*]?%s\}?', '\0', template).replace('\\', '')
        values = draw(st.lists(st.sampled_from(VALUES), min_size=len(names), max_size=len(names)))
        for value in values:
            text = text.replace('\0', value, 1)
        asked.append('/' + text + draw(st.sampled_from(ENDINGS)))
    beginning = draw(st.sampled_from(['/', '/', '/', '']))
    return Connection(kind, beginning + template % tuple(names), arguments, asked)


def add(mapper: Mapper, kind: str, path: str, arguments: dict[str, Any]) -> None:
    if kind == 'connect':
        mapper.connect(None, path, **arguments)
    elif kind == 'resource':
        mapper.resource(
            'book', 'books', path_prefix=path.rstrip('/'), member={'lend': 'POST'}, collection={'all': 'GET'}
        )
    elif kind == 'collection':
        mapper.collection('books', 'book', path_prefix=path, formatted=True)
    elif kind == 'submapper':
        with mapper.submapper(path_prefix=path, **arguments) as inner:
            inner.connect(None, '/books')
            inner.connect(None, '/books/{id}{.format}')
    else:
        mapper.redirect(path, '/a', requirements=arguments['requirements'])


@settings(
    max_examples=300,
    deadline=None,  # two cores are shared with whatever else runs
    database=None,  # a failure is kept as a case of a table, not on the disk
    suppress_health_check=list(HealthCheck),
)
@given(attributes, st.lists(connections(), min_size=1, max_size=10), st.lists(connections(), max_size=2), environs)
def test_any_table_matches_as_in_routes(
    attributes: dict[str, Any], early: list[Connection], late: list[Connection], environ: WSGIEnvironment | None
) -> None:
    mapper = Mapper(controller_scan=CONTROLLERS)
    vars(mapper).update(attributes)
    asked = ['', '/', '/books', *(path for connection in early + late for path in connection.asked)]
    asked += [f'/app{path}' for path in asked] if mapper.prefix else []
    for number, some in enumerate([early, late]):
        try:
            for kind, path, arguments, _ in some:
                add(mapper, kind, path, copy.deepcopy(arguments))  # Routes changes what it is given
            mapper.create_regs()
        except (re.error, RoutesException, KeyError, IndexError):
            assume(False)  # no path or no requirement that Routes takes
        if number == 0:
            index_routes(mapper)
        for path in asked:
            assert indexed(mapper, path, environ) == plain(mapper, path, environ), path


# --- the same answers: each thing that a route or a mapper can be ---------------------------------------------------


def books(mapper: Mapper) -> None:
    mapper.connect(None, '/books/{id}', controller='a')
    mapper.connect(None, '/books/all', controller='a')  # never found: the one before is
    mapper.connect(None, '/{kind}/all', controller='a')


def numbered_groups(mapper: Mapper) -> None:
    """The groups of a route that is asked alone are its variables and then the others; in all together, the others."""
    mapper.connect(None, '/first/{id}', requirements={'id': 'a|b'})
    mapper.connect(None, '/twice/{id}', requirements={'id': r'(x)(y)?\2'})


class Formats(Mapper):  # type: ignore[misc]  # Routes has no types
    """As several OpenStack services have it."""

    def routematch(self, url: str | None = None, environ: WSGIEnvironment | None = None) -> Any:
        if url == '':
            return self._match('', environ)[:2]
        return super().routematch(url, environ)


class WithAllBelow(Route):  # type: ignore[misc]  # Routes has no types
    """A route that is found with any rest."""

    def makeregexp(self, clist: list[str], include_names: bool = True) -> Any:
        self.regexp = '^' + re.escape(self.routepath)
        self.regmatch = re.compile(self.regexp)
        return None if include_names else self.regexp


class Found(Mapper):  # type: ignore[misc]  # Routes has no types
    def make_route(self, *arguments: Any, **options: Any) -> Route:
        return WithAllBelow(*arguments, **options)


TABLES: dict[str, tuple[Callable[[], Mapper], Callable[[Mapper], object], dict[str, bool]]] = {
    'text': (Mapper, lambda m: m.connect('/a/b'), {'/a/b': True, '/a/b/': False, '/a': False, '': False}),
    'the root': (Mapper, lambda m: m.connect('/'), {'/': True, '': False, '//': False}),
    'nothing': (Mapper, lambda m: m.connect(''), {'': True, '/': False}),
    'no slash first': (Mapper, lambda m: m.connect('a/{x}'), {'a/1': True, '/a/1': False}),
    "the order is the mapper's": (Mapper, books, {'/books/all': True, '/books/1': True, '/a/all': True}),
    'a variable': (Mapper, lambda m: m.connect('/a/{x}'), {'/a/b': True, '/a/': False, '/a/b/c': False}),
    'two in a segment': (
        Mapper,
        lambda m: m.connect('/{x}-{y}.gz'),
        {'/a-b.gz': True, '/a-b': False, '/a/-b.gz': False},
    ),
    'a requirement': (Mapper, lambda m: m.connect(r'/{x:\d+}/a'), {'/12/a': True, '/b/a': False}),
    'that may be empty': (Mapper, lambda m: m.connect('/{x:[0-9]*}/a'), {'//a': True, '/1/a': True, '/a': False}),
    'that may hold a slash': (Mapper, lambda m: m.connect('/a/{x:b/c|d}/e'), {'/a/b/c/e': True, '/a/d/e': True}),
    'a range with a slash in it': (Mapper, lambda m: m.connect('/a/{x:[+-9]+}'), {'/a/1/2': True, '/a/b': False}),
    'a class without the slash in it': (Mapper, lambda m: m.connect('/a/{x:[^.]+}'), {'/a/b/c': True, '/a/b.c': False}),
    'any rest': (Mapper, lambda m: m.connect('/v1/{path_info:.*}'), {'/v1/': True, '/v1/a/b': True, '/v1': False}),
    'a wildcard': (Mapper, lambda m: m.connect('/a/*rest'), {'/a/b/c': True, '/a/': False}),
    'a format': (Mapper, lambda m: m.connect('/a{.format}'), {'/a': True, '/a.json': True, '/ab': False}),
    'a method': (Mapper, lambda m: m.connect('/a', conditions={'method': ['GET']}), {'/a': False}),
    'a line end': (Mapper, lambda m: m.connect('/a'), {'/a\n': True, '/a\n\n': False}),
    'a resource': (
        Mapper,
        lambda m: m.resource('book', 'books'),
        {'/books': False, '/books/1': True, '/books/1.xml': True},
    ),
    'a collection': (Mapper, lambda m: m.collection('books', 'book'), {'/books': False, '/books/1/edit': False}),
    'a redirect': (Mapper, lambda m: m.redirect('/old/{x}', '/new/{x}'), {'/old/1': True}),
    'static': (Mapper, lambda m: m.connect('logo', '/logo.png', _static=True), {'/logo.png': False}),
    'a mapper with minimization': (
        Mapper,
        lambda m: m.connect('blog/{year}/{day}', year='2004', day=None, _minimize=True),
        {'/blog': True, '/blog/': True, '/blog/2004/1': True, '/blogs': False, '/': False},
    ),
    'explicit off': (lambda: Mapper(explicit=False), lambda m: m.connect('/a/{id}'), {'/a/1': True}),
    'controllers with slashes': (
        lambda: Mapper(controller_scan=['admin/users']),
        lambda m: m.connect('/{controller}/{action}'),
        {'/admin/users/list': True, '/admin/list': False},
    ),
    'groups by number': (Mapper, numbered_groups, {'/first/a': True, '/twice/xx': False}),
    'a class that overrides routematch': (Formats, lambda m: m.connect('/a'), {'/a': True, '/b': False}),
    'a class of routes': (Found, lambda m: m.connect('/a'), {'/a': True, '/ab/c': True, '/b': False}),
}


@pytest.mark.parametrize(('make', 'connect', 'paths'), TABLES.values(), ids=TABLES)
def test_what_is_found_is_what_routes_finds(
    make: Callable[[], Mapper], connect: Callable[[Mapper], object], paths: dict[str, bool]
) -> None:
    mapper = make()
    connect(mapper)
    mapper.create_regs()
    index_routes(mapper)
    for path, found in paths.items():
        delete = {'REQUEST_METHOD': 'DELETE'}
        assert indexed(mapper, path, delete) == plain(mapper, path, delete)
        assert (indexed(mapper, path, delete)[1] is not None) is found, path


def test_a_prefix_set_later_counts() -> None:
    mapper = Mapper()
    mapper.connect('/a')
    mapper.connect('/')
    mapper.create_regs()
    index_routes(mapper)
    mapper.prefix = '/app'
    mapper.create_regs()
    for path, found in {'/app/a': True, '/app': True, '/app/': True, '/a': False, '/apps/a': False}.items():
        assert indexed(mapper, path) == plain(mapper, path)
        assert (mapper.match(path) is not None) is found, path


def test_a_mapper_that_scans_always_finds_new_controllers() -> None:
    controllers = ['a']
    mapper = Mapper(controller_scan=lambda: controllers, always_scan=True)
    mapper.connect('/{controller}')
    mapper.create_regs()
    index_routes(mapper)
    assert mapper.match('/b') is None
    controllers.append('b')
    assert mapper.match('/b') == {'controller': 'b'}


def test_the_debug_mode_tells_of_every_route_tried() -> None:
    mapper = Mapper()
    books(mapper)
    mapper.create_regs()
    index_routes(mapper)
    mapper.debug = True
    variables, route, log = mapper.match('/b/all')
    assert variables == {'kind': 'b', 'controller': 'a'}
    assert [tried['route'] for tried in log][-1] is route


def test_a_class_that_matches_by_itself_is_left_alone() -> None:
    class Own(Mapper):  # type: ignore[misc]  # Routes has no types
        def _match(self, url: str, environ: WSGIEnvironment | None) -> Any:
            return {'own': url}, None, []

    mapper = Own()
    mapper.create_regs()
    index_routes(mapper)
    assert mapper.match('/a') == {'own': '/a'}


def test_whoever_compiles_the_mapper_again_is_noticed() -> None:
    mapper = Mapper()
    mapper.connect('/early')
    mapper.create_regs()
    index_routes(mapper)
    mapper.connect('/late')
    assert mapper.match('/late') is None, 'Routes does not see it before either'
    mapper.create_regs()
    assert mapper.match('/late') == {}
    assert mapper.match('/early') == {}


def test_routes_connected_while_threads_match_are_found_and_none_is_lost() -> None:
    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [])
        return []

    mapper = Mapper()
    mapper.connect(None, '/{x}/early', controller=application)
    router = Router(mapper)

    def ask(path: str) -> int:
        status: int = webob.Request.blank(path).get_response(router).status_int
        return status

    with ThreadPoolExecutor(4) as threads:
        for number in range(30):
            asked = [threads.submit(ask, '/a/early') for _ in range(8)]
            mapper.connect(None, f'/late/{number}', controller=application)
            assert ask(f'/late/{number}') == 200
            assert {answer.result() for answer in asked} == {200}


# --- the same state around it ---------------------------------------------------------------------------------------


def state_of(make: Callable[[Any, Mapper], Any], path: str) -> dict[str, Any]:
    """What a controller and the code it calls can see of a match, behind a middleware or a Router."""
    seen: dict[str, Any] = {}

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        config = request_config()
        url, variables = environ['wsgiorg.routing_args']
        seen.update(
            variables={**variables, 'controller': None},
            route=environ['routes.route'] and environ['routes.route'].routepath,
            moved=(environ['SCRIPT_NAME'], environ['PATH_INFO']),
            same_mapper=(config.mapper is mapper, url.mapper is mapper, mapper.environ is environ),
            config=({**(config.mapper_dict or {}), 'controller': None}, config.host, config.protocol),
            config_route=config.route is environ['routes.route'],
            generated=(url('item', id=7), environ['routes.url'] is url),
        )
        start_response('200 OK', [])
        return []

    mapper = Mapper()
    mapper.connect('item', '/v1/items/{id}', controller=application)
    mapper.connect(None, '/v1/rest/{path_info:.*}', controller=application)
    mapper.redirect('/v1/old', '/v1/items/9')
    mapper.create_regs()
    request = webob.Request.blank(path, base_url='https://example.org:8443/mount')
    response = request.get_response(make(application, mapper))
    return {**seen, 'status': response.status_int, 'location': response.headers.get('Location')}


@pytest.mark.parametrize('path', ['/v1/items/7', '/v1/rest/a/b', '/v1/rest/', '/v1/old'])
def test_controllers_see_what_they_see_behind_routes_own_middleware(path: str) -> None:
    behind_routes = state_of(RoutesMiddleware, path)
    assert behind_routes['status'] in (200, 302)
    assert state_of(lambda application, mapper: Router(mapper), path) == behind_routes


# --- it doesn't grow ------------------------------------------------------------------------------------------------


def large_table(resources: int) -> Mapper:
    """Ten routes for each resource, as an API with a version and a project in its paths has them."""
    mapper = Mapper()
    for number in range(resources):
        with mapper.submapper(path_prefix=f'/v2.1/{{project}}/things{number}') as things:
            things.connect(None, '', action='index', conditions={'method': ['GET']})
            things.connect(None, '', action='create', conditions={'method': ['POST']})
            things.connect(None, '.{format}', action='index', conditions={'method': ['GET']})
            things.connect(None, '/detail', action='detail')
            things.connect(None, '/{id}', action='show', conditions={'method': ['GET']})
            things.connect(None, '/{id}', action='update', conditions={'method': ['PUT']})
            things.connect(None, '/{id}{.format}', action='show', requirements={'format': 'json|xml'})
            things.connect(None, r'/{id:\d+}/action', action='action')
            things.connect(None, '/{id}/tags/{tag:[^/]+}', action='tag')
        mapper.connect(None, f'/files{number}-{{path_info:.*}}', action='files')
    mapper.create_regs()
    index_routes(mapper)
    return mapper


# Each is asked of the last resource, which Routes tries last.
MOST_CANDIDATES = {
    '/v2.1/p/things{}': 3,
    '/v2.1/p/things{}.json': 1,
    '/v2.1/p/things{}/detail': 4,
    '/v2.1/p/things{}/12': 3,
    '/v2.1/p/things{}/12.xml': 3,
    '/v2.1/p/things{}/12/action': 1,
    '/v2.1/p/things{}/12/tags/new': 1,
    '/files{}-a/b': 1,
    '/v2.1/p/nothing{}': 0,
    '/v3/p/things{}': 0,
    '/{}': 0,
}


@pytest.mark.parametrize('resources', [1, 100], ids=['10 routes', '1,000 routes'])
def test_few_routes_are_tried_however_many_there_are(resources: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mapper = large_table(resources)
    assert len(mapper.matchlist) == 10 * resources
    tried: list[Route] = []
    match = Route.match

    def note_and_match(route: Route, *arguments: Any) -> Any:
        tried.append(route)
        return match(route, *arguments)

    monkeypatch.setattr(Route, 'match', note_and_match)
    for path, most in MOST_CANDIDATES.items():
        tried.clear()
        found = mapper.routematch(path.format(resources - 1), {'REQUEST_METHOD': 'DELETE'})
        assert len(tried) <= most, path
        assert tried == [] or found is None or found[1] is tried[-1]


def test_no_route_is_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    mapper = Mapper()
    for path in ('/a{.format}', '/abc{.format}', '/abcd{x}'):
        mapper.connect(None, path, conditions={'method': ['GET']})
    mapper.create_regs()
    index_routes(mapper)
    tried: list[Route] = []
    monkeypatch.setattr(Route, 'match', lambda route, *_: tried.append(route))
    assert mapper.match('/a') is None
    assert tried == mapper.matchlist[:1]
    tried.clear()
    assert mapper.match('/abcde') is None
    assert sorted(tried, key=id) == sorted(mapper.matchlist, key=id)


def test_an_answer_is_found_in_a_large_table() -> None:
    mapper = large_table(100)
    get = {'REQUEST_METHOD': 'GET'}
    for path in MOST_CANDIDATES:
        for number in (0, 7, 77, 99):
            assert indexed(mapper, path.format(number), get) == plain(mapper, path.format(number), get)
