"""The embedded demonstration: a few small WSGI applications and a filter, which app.ini beside this file puts together.

They need nothing but the standard library.  ``prefork.demo.books`` shows the toolkit.
"""

from __future__ import annotations

import html
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>prefork</title>
<h1>{greeting}</h1>
<p>Worker process {pid} answered.
<ul>
<li><a href="{root}/environ">environ</a>: what the application is told about a request
<li><a href="{root}/count">count</a>: a response made piece by piece
<li><a href="{root}/echo">echo</a>: the body of a request sent back, as with <code>curl -d hello {url}/echo</code>
</ul>
"""


def main(global_config: dict[str, str], greeting: str = '') -> WSGIApplication:
    """The welcome page.

    The greeting may also be given on the command line, ``prefork-wsgi app.ini greeting=Hi``: such a variable is in
    ``global_config``, and hides the option of its name in the section.
    """
    heading = greeting or global_config.get('greeting') or 'Hello, world!'

    def welcome(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get('PATH_INFO', '') not in ('', '/'):
            return _text(start_response, '404 Not Found', 'There is no such page.\n')
        root = environ.get('SCRIPT_NAME', '')
        host = environ.get('HTTP_HOST') or f'{environ["SERVER_NAME"]}:{environ["SERVER_PORT"]}'
        values = {'greeting': heading, 'root': root, 'url': f'{environ["wsgi.url_scheme"]}://{host}{root}'}
        page = PAGE.format(pid=os.getpid(), **{name: html.escape(value) for name, value in values.items()})
        return _respond(start_response, '200 OK', 'text/html; charset=utf-8', page.encode())

    return welcome


def environment(global_config: dict[str, str]) -> WSGIApplication:
    """The request's environ as text."""

    def show(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        rows = (f'{key} = {value!r}\n' for key, value in sorted(environ.items()))
        return _text(start_response, '200 OK', ''.join(rows))

    return show


def count(global_config: dict[str, str], to: str = '10') -> WSGIApplication:
    """The numbers from 1 to ``to``, a line each: a generator, so that each is sent when it is made."""
    last = int(to)

    def lines() -> Iterator[bytes]:
        for number in range(1, last + 1):
            yield f'{number}\n'.encode()

    def respond(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response('200 OK', [('Content-Type', 'text/plain; charset=utf-8')])
        return lines()

    return respond


def echo(global_config: dict[str, str]) -> WSGIApplication:
    """The request's body, in pieces of 64 KiB."""

    def respond(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Never the request's own type: a page elsewhere could make a browser post HTML here, and run it as ours.
        start_response('200 OK', [('Content-Type', 'application/octet-stream'), ('X-Content-Type-Options', 'nosniff')])
        read = environ['wsgi.input'].read
        return iter(lambda: read(1 << 16), b'')

    return respond


def server_timing(global_config: dict[str, str], metric: str = 'app') -> Callable[[WSGIApplication], WSGIApplication]:
    """A filter that tells the browser's developer tools how long the application took to begin its response."""

    def wrap(application: WSGIApplication) -> WSGIApplication:
        def timed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            began = time.perf_counter()

            def start(
                status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
            ) -> Callable[[bytes], object]:
                milliseconds = (time.perf_counter() - began) * 1000
                headers = [*headers, ('Server-Timing', f'{metric};dur={milliseconds:.3f}')]
                return (
                    start_response(status, headers) if exc_info is None else start_response(status, headers, exc_info)
                )

            return application(environ, start)

        return timed

    return wrap


def _text(start_response: StartResponse, status: str, text: str) -> Iterable[bytes]:
    return _respond(start_response, status, 'text/plain; charset=utf-8', text.encode(errors='backslashreplace'))


def _respond(start_response: StartResponse, status: str, content_type: str, body: bytes) -> Iterable[bytes]:
    start_response(
        status,
        [
            ('Content-Type', content_type),
            ('Content-Length', str(len(body))),
            ('X-Content-Type-Options', 'nosniff'),
        ],
    )
    return [body]
