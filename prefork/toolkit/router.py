"""Requests to applications, by a Routes mapper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.middleware import RoutesMiddleware
from webob.exc import HTTPBadRequest, HTTPNotFound

from prefork.toolkit.request import Request, wsgify
from prefork.toolkit.routing import index_routes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from routes import Mapper

_SCRIPT_NAME = 'prefork.router.script_name'


class Router:
    """A WSGI application that hands each request to the ``controller`` of the route that matches, or answers 404.

    ``mapper`` is a ``routes.Mapper`` in which every route has a ``controller``, a WSGI application:

        mapper.connect(None, '/books', controller=books, action='index')
        mapper.resource('book', 'books', controller=books)
        mapper.connect(None, '/v1/{path_info:.*}', controller=version_1)  # it sees only what path_info matched

    A route's variables, decoded, are in ``req.environ['wsgiorg.routing_args'][1]`` (``req.urlvars`` in WebOb).
    Unlike ``RoutesMiddleware`` by itself this takes no ``_method`` from a query or a form: a request is what its
    request line says, whatever filters before it have checked.  And it doesn't try one route after another: the mapper
    is given an index (``prefork.toolkit.routing``), with which it finds the same routes.
    """

    def __init__(self, mapper: Mapper) -> None:
        self.map = mapper
        # Routes would compile at the first request: now is better, once for all workers that are forked from here.
        self._compile()
        index_routes(mapper)
        self._router = RoutesMiddleware(self._matched, mapper, use_method_override=False)

    def _compile(self) -> None:
        count = len(self.map.matchlist)  # before: of what is connected meanwhile, some may be missing
        self.map.create_regs()
        self._compiled = count

    @wsgify
    def __call__(self, req: Request) -> WSGIApplication:
        try:
            path = req.path_info
        except UnicodeDecodeError:
            return HTTPBadRequest('The path is not UTF-8.')
        if len(self.map.matchlist) != self._compiled:  # a route was connected since, which Routes itself overlooks
            self._compile()
        # PEP 3333 carries the bytes of a path as latin-1; Routes takes what it finds there for characters.
        req.environ[_SCRIPT_NAME] = req.environ.get('SCRIPT_NAME', '')
        req.environ['PATH_INFO'] = path
        router: WSGIApplication = self._router
        return router

    def _matched(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """After the match: the rest of the path, and what a ``path_info`` route moved, are bytes as latin-1 again."""
        mount = environ.pop(_SCRIPT_NAME)
        environ['SCRIPT_NAME'] = mount + _as_latin1(environ['SCRIPT_NAME'][len(mount) :])
        environ['PATH_INFO'] = _as_latin1(environ['PATH_INFO'])
        return self._dispatch(environ, start_response)

    @staticmethod
    def _dispatch(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match = environ['wsgiorg.routing_args'][1]
        controller: WSGIApplication = match['controller'] if match else HTTPNotFound()
        return controller(environ, start_response)


def _as_latin1(path: str) -> str:
    return path.encode().decode('latin-1')
