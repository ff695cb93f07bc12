"""Classes to write WSGI applications with, on WebOb and Routes: the names and behaviour of OpenStack's wsgi modules.

The server doesn't need this package and never imports it; an application that does brings WebOb and Routes along.

    class Hello(Application):
        @wsgify
        def __call__(self, req: Request) -> str:
            return f'Hello, {req.params.get("name", "world")}!'
"""

from __future__ import annotations

from routes import Mapper
from webob import Response

from prefork.toolkit.application import Application, Middleware
from prefork.toolkit.debug import Debug
from prefork.toolkit.request import Request, wsgify
from prefork.toolkit.router import Router

__all__ = ['Application', 'Debug', 'Mapper', 'Middleware', 'Request', 'Response', 'Router', 'wsgify']
