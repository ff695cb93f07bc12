"""The application that every server runs.  The path says what is to be done; the queries are there to differ."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

HELLO = b'Hello, world!\n'
BIG = bytes(range(32, 96)) * 1024
SLEEP = 0.05


def hello(environ: WSGIEnvironment) -> bytes:
    return HELLO


def big(environ: WSGIEnvironment) -> bytes:
    return BIG


def sleep(environ: WSGIEnvironment) -> bytes:
    time.sleep(SLEEP)
    return HELLO


def post(environ: WSGIEnvironment) -> bytes:
    body = environ['wsgi.input'].read(int(environ['CONTENT_LENGTH']))
    return b'%d bytes\n' % len(body)


ROUTES: dict[str, Callable[[WSGIEnvironment], bytes]] = {'/': hello, '/big': big, '/sleep': sleep, '/post': post}


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = ROUTES[environ['PATH_INFO']](environ)
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
