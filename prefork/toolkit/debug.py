"""Middleware that shows what goes through it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from prefork.toolkit.application import Middleware
from prefork.toolkit.request import Request, wsgify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from webob import Response

STARS = '*' * 40


class Debug(Middleware):
    """Prints the environ of each request, and the headers and body of each response, to standard output.

    Put it anywhere in a pipeline.  It prints passwords and tokens along with the rest: it is for development.
    """

    @wsgify
    def __call__(self, req: Request) -> Response:
        _print_table('REQUEST ENVIRON', req.environ.items())
        response = req.get_response(self.application)
        _print_table('RESPONSE HEADERS', response.headers.items())
        headers = list(response.headerlist)
        response.app_iter = self.print_generator(response.app_iter)
        response.headerlist = headers  # WebOb drops Content-Length with the old iterable; the body stays what it was
        return response

    @staticmethod
    def print_generator(app_iter: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks of ``app_iter``, each printed before it is passed on."""
        return _PrintedBody(app_iter)


class _PrintedBody:
    """Not a generator: the ``close`` of one that was never started, as after a HEAD, doesn't run its ``finally``."""

    def __init__(self, app_iter: Iterable[bytes]) -> None:
        self._app_iter = app_iter
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> _PrintedBody:
        return self

    def __next__(self) -> bytes:
        if self._chunks is None:
            _print(f'{STARS} BODY\n')
            self._chunks = iter(self._app_iter)
        try:
            chunk = next(self._chunks)
        except StopIteration:
            _print('\n')
            raise
        _print(_readable(chunk))
        return chunk

    def close(self) -> None:
        # PEP 3333: whoever wraps an iterable passes its close() on.
        close = getattr(self._app_iter, 'close', None)
        if close is not None:
            close()


def _print_table(title: str, rows: Iterable[tuple[str, object]]) -> None:
    _print(''.join([f'{STARS} {title}\n', *(f'{key} = {value}\n' for key, value in rows), '\n']))


def _readable(chunk: object) -> str:
    # Anything, because an application that breaks PEP 3333 with another type is what people look for with this.
    return chunk.decode(errors='backslashreplace') if isinstance(chunk, bytes) else str(chunk)


def _print(text: str) -> None:
    # What a terminal can't show must not break the request.
    encoding = sys.stdout.encoding or 'utf-8'
    sys.stdout.write(text.encode(encoding, 'backslashreplace').decode(encoding))
    sys.stdout.flush()
