"""What stands between a Router and its controllers: all that ``RoutesMiddleware`` shows of a match, for less."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import webob
from routes import URLGenerator, _RequestConfig
from routes.middleware import RoutesMiddleware
from webob.exc import HTTPNotFound

from prefork.toolkit.request import Relay, ask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from routes import Mapper

_MOUNT = 'prefork.router.script_name'

_CONFIG: Any = _RequestConfig._RequestConfig__shared_state
"""What ``routes.request_config()`` shows, a ``threading.local``.  To set an environ by way of it is to match it."""


class Matcher(Relay):
    """Hands each request to the controller of the route that matches; its path is text, as Routes wants it.

    What is seldom needed is left to ``RoutesMiddleware``.  What it does for other requests is done here in its order,
    because a condition of a route may be a function that looks at it: 19 %.
    """

    def __init__(self, mapper: Mapper) -> None:
        self._mapper = mapper
        self._middleware = RoutesMiddleware(self._matched_by_routes, mapper, use_method_override=False)

    def ask(self, environ: WSGIEnvironment) -> WSGIApplication:
        """What the controller answers with, or all that there is to be called yet."""
        config = _CONFIG.__dict__
        if config.get('request_local') is not False or 'HTTP_HOST' not in environ or self._middleware.log_debug:
            # The first request of a thread, an application with a request_config() of its own, and what is rare.
            return self._call_routes
        route = self._match(environ, config)
        if route and route.redirect:
            return self._call_routes
        match = config['mapper_dict'] or {}
        url = URLGenerator(self._mapper, environ)
        environ['wsgiorg.routing_args'] = url, match
        environ['routes.route'], environ['routes.url'] = route, url
        mount = environ['SCRIPT_NAME']
        if 'path_info' in match:
            path, rest = environ['PATH_INFO'], match['path_info'] or ''
            environ['SCRIPT_NAME'] += re.sub(f'^(.*?)/{re.escape(rest)}$', r'\1', path)
            environ['PATH_INFO'] = rest if rest.startswith('/') else f'/{rest}'
        _encode_paths(environ, mount)
        answer = ask(_controller(match), environ)
        if type(answer) is not webob.Response:
            return partial(self._call, answer)
        self._forget()
        return answer

    def _match(self, environ: WSGIEnvironment, config: dict[str, Any]) -> Any:
        """The route, or None; ``config`` is what ``routes.request_config()`` shows this thread."""
        config['mapper'] = mapper = self._mapper
        https = 'https' in (environ.get('wsgi.url_scheme'), environ.get('HTTP_X_FORWARDED_PROTO')) or 'HTTPS' in environ
        config['protocol'] = 'https' if https else 'http'
        mapper.environ = environ
        match, route, *_ = mapper.routematch(environ['PATH_INFO']) or (None, None)
        config['mapper_dict'], config['route'] = match, route
        forwarded = environ.get('HTTP_X_FORWARDED_HOST')
        config['host'] = environ['HTTP_HOST'] if forwarded is None else forwarded.split(', ', 1)[0]
        config['environ'] = environ
        return route

    def _call_routes(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[_MOUNT] = environ.get('SCRIPT_NAME', '')
        iterable: Iterable[bytes] = self._middleware(environ, start_response)
        if environ.pop(_MOUNT, None) is not None:  # a redirect: filters make its location absolute
            environ['PATH_INFO'] = _as_latin1(environ['PATH_INFO'])
        return iterable

    @staticmethod
    def _matched_by_routes(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        _encode_paths(environ, environ.pop(_MOUNT))
        return _controller(environ['wsgiorg.routing_args'][1])(environ, start_response)

    def _call(
        self, application: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        iterable = application(environ, start_response)
        self._forget()
        return iterable

    def _forget(self) -> None:
        try:
            del self._mapper.environ
        except AttributeError:
            pass  # a Router of the same mapper below this one did it


def _controller(match: dict[str, Any]) -> WSGIApplication:
    return match['controller'] if match else HTTPNotFound()


def _encode_paths(environ: WSGIEnvironment, mount: str) -> None:
    """After the match: the rest of the path, and what was moved behind ``mount``, are bytes as latin-1 again."""
    environ['SCRIPT_NAME'] = mount + _as_latin1(environ['SCRIPT_NAME'][len(mount) :])
    environ['PATH_INFO'] = _as_latin1(environ['PATH_INFO'])


def _as_latin1(path: str) -> str:
    return path.encode().decode('latin-1')
