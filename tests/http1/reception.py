"""What a worker's connection makes of a client's bytes, without a socket, a clock or an application.

``Reception.feed`` goes the way of ``Connection.advance``: empty lines are skipped, a head is looked for, what isn't one
yet is checked by ``check_partial``, a whole one is parsed, and then its body is taken in.  Every request is "answered"
at once and the connection is never hung up, so that the bytes behind any request can be seen to be intact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from prefork.errors import ProtocolError
from prefork.http1 import grammar
from prefork.http1.body import ChunkedBody, CountedBody
from prefork.http1.head import CHUNKED, END, HeadParser

NEXT = b'GET /next HTTP/1.1\r\nHost: next\r\n\r\n'

FEEDS: dict[str, Callable[[bytes], list[bytes]]] = {
    'whole': lambda data: [data],
    'byte by byte': lambda data: [data[i : i + 1] for i in range(len(data))],
    'with another behind': lambda data: [data + NEXT],
}
"""How every case arrives: name → the pieces."""


class Limits(NamedTuple):
    max_header_line: int = 16384
    max_headers: int = 100
    max_head: int = 65536
    max_url_len: int = 8192
    max_body: int = 1 << 30

    def parser(self, base: dict[str, Any] | None = None) -> HeadParser:
        return HeadParser(self.max_header_line, self.max_headers, self.max_head, self.max_url_len, base)


DEFAULTS = Limits()


class Request(NamedTuple):
    environ: dict[str, Any]
    minor: int
    persist: bool
    length: int
    expects: bool
    body: bytes


class Reception:
    def __init__(self, limits: Limits = DEFAULTS, parser: HeadParser | None = None) -> None:
        self.requests: list[Request] = []
        self.refused: int | None = None
        self.rest = b''
        self._limits = limits
        self.parser = limits.parser() if parser is None else parser
        self._scanned = 0
        self._request: Request | None = None
        self._body: CountedBody | ChunkedBody | None = None
        self._payload = b''

    def feed(self, data: bytes) -> None:
        """More bytes of the client; they are dropped after a refusal."""
        if self.refused is not None:
            return
        try:
            if self._body is not None:
                self._take_body(self._body, data)
            else:
                self.rest += data
            while self._body is None and self._take_head():
                pass
        except ProtocolError as error:
            self.refused = error.status

    def _take_head(self) -> bool:
        if self.rest[:2] == b'\r\n':
            self.rest = grammar.EMPTY_LINES.sub(b'', self.rest)
            self._scanned = 0
        end = self.rest.find(END, self._scanned)
        if end < 0:
            self.parser.check_partial(self.rest, self._scanned)
            self._scanned = max(len(self.rest) - len(END) + 1, 0)
            return False
        self._scanned = 0
        environ, minor, persist, length, expects = self.parser.parse(self.rest[:end])
        if length > self._limits.max_body:
            raise ProtocolError('the body is too large', 413)
        self._request = Request(environ, minor, persist, length, expects, b'')
        data = self.rest[end + len(END) :]
        self.rest = self._payload = b''
        self._body = ChunkedBody(self._limits.max_body) if length == CHUNKED else CountedBody(length)
        self._take_body(self._body, data)
        return True

    def _take_body(self, body: CountedBody | ChunkedBody, data: bytes) -> None:
        self._payload += body.feed(data)
        if not body.done:
            return
        assert self._request is not None
        self.requests.append(self._request._replace(body=self._payload))
        self.rest = body.rest
        self._body = self._request = None


def receive(pieces: Iterable[bytes], limits: Limits = DEFAULTS) -> Reception:
    reception = Reception(limits)
    for piece in pieces:
        reception.feed(piece)
    return reception


def accepted(data: bytes, feed: str, limits: Limits = DEFAULTS) -> Request:
    """The one request that ``data`` is; what follows it must be intact."""
    reception = receive(FEEDS[feed](data), limits)
    assert reception.refused is None
    assert reception.rest == b''
    request, *others = reception.requests
    behind = [other.environ['REQUEST_URI'] for other in others]
    assert behind == (['/next'] if feed == 'with another behind' else [])
    return request


def refused(data: bytes, feed: str, limits: Limits = DEFAULTS) -> int | None:
    """The status that ``data`` is refused with; nothing of it may become a request."""
    reception = receive(FEEDS[feed](data), limits)
    assert reception.requests == []
    return reception.refused


def head(*lines: bytes, line: bytes = b'GET / HTTP/1.1', host: bytes | None = b'Host: x') -> bytes:
    """A request's head: the request line, Host and the lines given."""
    return b'\r\n'.join([line, *([] if host is None else [host]), *lines]) + END
