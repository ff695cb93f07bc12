"""What every server runs.  ``application`` does what the path says; the queries are there to differ."""

from __future__ import annotations

import os
import tempfile
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO
    from wsgiref.types import StartResponse, WSGIEnvironment

HELLO = b'Hello, world!\n'
BIG = bytes(range(32, 96)) * 1024
CHUNK, CHUNKS = BIG[:4096], 16
CONTENT = BIG * 16
SLEEP, COMPUTATION = 0.05, 0.02
"""Seconds: of the clock, and of the thread's own processor time, so that all servers compute equally much."""

with tempfile.TemporaryFile() as written:
    written.write(CONTENT)
    written.flush()
    PATH = f'/proc/self/fd/{os.dup(written.fileno())}'
"""To open it is to open the file, which has no other name, and so is gone with the last process that has it."""


def hello(environ: WSGIEnvironment) -> bytes:
    return HELLO


def big(environ: WSGIEnvironment) -> bytes:
    return BIG


def sleep(environ: WSGIEnvironment) -> bytes:
    time.sleep(SLEEP)
    return HELLO


def compute(environ: WSGIEnvironment) -> bytes:
    """In bytecode, as applications do, so that other threads get the interpreter now and then."""
    end = time.thread_time() + COMPUTATION
    while time.thread_time() < end:
        for _ in range(1000):
            pass
    return HELLO


def post(environ: WSGIEnvironment) -> bytes:
    body = environ['wsgi.input'].read(int(environ['CONTENT_LENGTH']))
    return b'%d bytes\n' % len(body)


ROUTES: dict[str, Callable[[WSGIEnvironment], bytes]] = {
    '/': hello,
    '/big': big,
    '/sleep': sleep,
    '/compute': compute,
    '/post': post,
}


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = ROUTES[environ['PATH_INFO']](environ)
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Without a Content-Length: how the end is told is the server's business."""
    start_response('200 OK', [('Content-Type', 'text/plain')])
    for _ in range(CHUNKS):
        yield CHUNK


def file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """As PEP 3333 has it, "Optional Platform-Specific File Handling": not every server has a file_wrapper."""
    opened = open(PATH, 'rb')  # noqa: SIM115  # it is closed when the response has been sent
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(CONTENT)))])
    if 'wsgi.file_wrapper' in environ:
        return environ['wsgi.file_wrapper'](opened, 65536)  # type: ignore[no-any-return]
    return blocks(opened)


def blocks(opened: BinaryIO) -> Iterator[bytes]:
    with opened:
        while block := opened.read(65536):
            yield block
