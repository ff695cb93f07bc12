"""What is counted: to add a case, add a row, and record it.  Who changes a row changes what its count means."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from countlib import apps

POSTED = b'x' * 1024


@dataclass(frozen=True)
class Case:
    """An application, and the requests that it answers with ``answer``, one by one on one connection.

    ``application`` is a name in apps.py, or what prefork.deploy loads.  ``request`` is given the request's number.
    ``access_log`` is the option.  ``needs`` are distributions whose code is counted too, so that a count goes with
    their versions.
    """

    name: str
    about: str
    application: str
    request: Callable[[int], bytes]
    answer: bytes
    access_log: str = 'off'
    needs: tuple[str, ...] = ()


def short_request(number: int) -> bytes:
    return b'GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n'


def book_request(number: int) -> bytes:
    return b'GET /books/1 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n'


def browser_request(number: int) -> bytes:
    """What browsers send.  Target, Referer and Cookie differ from request to request, so that no head comes twice."""
    return (
        b'GET /?page=%(n)d HTTP/1.1\r\n'
        b'Host: 127.0.0.1:8080\r\n'
        b'User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0\r\n'
        b'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n'
        b'Accept-Language: en-US,en;q=0.5\r\n'
        b'Accept-Encoding: gzip, deflate, br, zstd\r\n'
        b'Connection: keep-alive\r\n'
        b'Upgrade-Insecure-Requests: 1\r\n'
        b'Sec-Fetch-Dest: document\r\n'
        b'Sec-Fetch-Mode: navigate\r\n'
        b'Sec-Fetch-Site: same-origin\r\n'
        b'Sec-Fetch-User: ?1\r\n'
        b'Referer: http://127.0.0.1:8080/?page=%(n)d\r\n'
        b'Cookie: session=8f14e45fceea167a5a36dedd%(n)d; theme=dark\r\n'
        b'\r\n'
    ) % {b'n': number}


def post_request(number: int) -> bytes:
    head = b'POST / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/octet-stream\r\n'
    return head + b'Content-Length: %d\r\n\r\n' % len(POSTED) + POSTED


CASES = (
    Case('hello', 'the same short request, again and again', 'hello', short_request, apps.HELLO),
    Case('browser', "a browser's heads, every one different", 'hello', browser_request, apps.HELLO),
    Case('post', 'a body of 1 KiB, read by the application', 'post', post_request, b'1024 bytes\n'),
    Case('big', 'a response of 64 KiB', 'big', short_request, apps.BIG),
    Case('stream', '16 chunks of 4 KiB from a generator', 'stream', short_request, apps.CHUNK * apps.CHUNKS),
    Case('log', 'browser with the access log on', 'hello', browser_request, apps.HELLO, access_log=os.devnull),
    Case(
        'toolkit',
        'a middleware, a router and an application of prefork.toolkit: the demonstration',
        'config:../prefork/demo/app.ini#toolkit',
        book_request,
        b'{"title":"The Mysterious Affair at Styles"}',
        needs=('WebOb', 'Routes'),
    ),
)
BY_NAME = {case.name: case for case in CASES}
