"""The base classes of a service on plain WebOb and Routes, as OpenStack's services have them in their wsgi modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import webob.dec
import webob.exc
from routes import Mapper
from routes.middleware import RoutesMiddleware
from webob import Request, Response

__all__ = ['Application', 'Mapper', 'Middleware', 'Request', 'Response', 'Router', 'wsgify']

wsgify = webob.dec.wsgify(RequestClass=Request)


class Application:
    @classmethod
    def factory(cls, global_config: dict[str, str], **local_config: str) -> Any:
        return cls(**local_config)


class Middleware(Application):
    @classmethod
    def factory(cls, global_config: dict[str, str], **local_config: str) -> Callable[[Any], Any]:
        return lambda application: cls(application, **local_config)

    def __init__(self, application: Any) -> None:
        self.application = application

    def process_request(self, req: Request) -> Any:
        return None

    def process_response(self, response: Response) -> Any:
        return response

    @wsgify
    def __call__(self, req: Request) -> Any:
        response = self.process_request(req)
        if response:
            return response
        return self.process_response(req.get_response(self.application))


class Router:
    def __init__(self, mapper: Mapper) -> None:
        self.map = mapper
        self._router = RoutesMiddleware(self._dispatch, mapper)

    @wsgify
    def __call__(self, req: Request) -> Any:
        return self._router

    @staticmethod
    @wsgify
    def _dispatch(req: Request) -> Any:
        match = req.environ['wsgiorg.routing_args'][1]
        if not match:
            return webob.exc.HTTPNotFound()
        return match['controller']
