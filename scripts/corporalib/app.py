"""The application that is served: it remembers what reached it, and tells it to whoever asks for ``SEEN``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

SEEN = '/prefork-corpora/seen'
"""The path of what has been seen since it was last asked for: JSON, a list of what ``record`` makes."""

_seen: list[dict[str, Any]] = []


def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """For one worker with one thread: the list is in memory."""
    answer = b''
    if environ['PATH_INFO'] == SEEN:
        answer = json.dumps(_seen).encode()
        _seen.clear()
    else:
        _seen.append(record(environ))
    start_response('200 OK', [('Content-Type', 'application/json'), ('Content-Length', str(len(answer)))])
    return [answer]


def record(environ: WSGIEnvironment) -> dict[str, Any]:
    """A request as ``corporalib.case.Request`` has it, in what JSON can carry: the body as latin-1."""
    return {
        'method': environ['REQUEST_METHOD'],
        'target': environ['REQUEST_URI'],
        'version': environ['SERVER_PROTOCOL'].removeprefix('HTTP/'),
        'fields': {
            key: value for key, value in environ.items() if key.startswith('HTTP_') or key in _CONTENT_VARIABLES
        },
        'body': environ['wsgi.input'].read().decode('latin-1'),
    }


_CONTENT_VARIABLES = frozenset(('CONTENT_LENGTH', 'CONTENT_TYPE'))
