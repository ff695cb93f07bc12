"""The applications that are counted.  They import nothing, since each run under valgrind would do it again."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

HELLO = b'Hello, world!\n'
BIG = bytes(range(32, 96)) * 1024
CHUNKS = 16
CHUNK = b'x' * 4096


def _respond(start_response: StartResponse, body: bytes) -> list[bytes]:
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    return _respond(start_response, HELLO)


def post(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    body = environ['wsgi.input'].read(int(environ['CONTENT_LENGTH']))
    return _respond(start_response, b'%d bytes\n' % len(body))


def big(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    return _respond(start_response, BIG)


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response('200 OK', [('Content-Type', 'text/plain')])
    for _ in range(CHUNKS):
        yield CHUNK
