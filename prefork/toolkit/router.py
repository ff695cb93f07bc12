"""Requests to applications, by a Routes mapper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from webob.exc import HTTPBadRequest

from prefork.toolkit.matching import Matcher
from prefork.toolkit.request import Request, wsgify
from prefork.toolkit.routing import index_routes

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from routes import Mapper


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
        self._matcher = Matcher(mapper)

    def _compile(self) -> None:
        count = len(self.map.matchlist)  # before: of what is connected meanwhile, some may be missing
        self.map.create_regs()
        self._compiled = count

    @wsgify
    def __call__(self, req: Request) -> WSGIApplication:
        environ = req.environ
        if not environ['PATH_INFO'].isascii():
            # PEP 3333 carries the bytes of a path as latin-1; Routes takes what it finds there for characters.
            try:
                environ['PATH_INFO'] = req.path_info
            except UnicodeDecodeError:
                return HTTPBadRequest('The path is not UTF-8.')
        if len(self.map.matchlist) != self._compiled:  # a route was connected since, which Routes itself overlooks
            self._compile()
        return self._matcher
