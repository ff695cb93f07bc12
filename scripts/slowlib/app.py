"""The application that is served: a small page, and large ones for those who read slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

PAGE = b'Hello\n'
_LARGE = bytes(16 << 20)
_BLOCK = bytes(65536)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path = environ['PATH_INFO']
    start_response('200 OK', [('Content-Type', 'text/plain')])
    if path == '/list':
        return [_LARGE]
    if path == '/generator':
        return (_BLOCK for _ in range(len(_LARGE) // len(_BLOCK)))
    while environ['wsgi.input'].read(65536):
        pass
    return [PAGE]
