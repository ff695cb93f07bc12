"""Three HTTP clients that have nothing in common, behind one signature."""

from __future__ import annotations

import enum
import socket
import subprocess
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import h11
import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 30.0
CONTENT_TYPE = 'application/octet-stream'


class Framing(enum.Enum):
    """How a request says where its body ends."""

    LENGTH = enum.auto()
    CHUNKED = enum.auto()


class Reply(NamedTuple):
    """A final response; the names of ``headers`` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


def with_curl(url: str, method: str = 'GET', body: bytes = b'', framing: Framing = Framing.LENGTH) -> Reply:
    # -q: whatever the user's own .curlrc says
    command = ['curl', '-q', '--silent', '--show-error', '--include', '--noproxy', '*', '--max-time', str(TIMEOUT)]
    if method == 'HEAD':
        command.append('--head')
    if method == 'POST':
        command += ['--data-binary', '@-', '--header', f'Content-Type: {CONTENT_TYPE}']
    if framing is Framing.CHUNKED:
        command += ['--header', 'Transfer-Encoding: chunked']
    done = subprocess.run([*command, url], input=body, capture_output=True, check=False, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr.decode()
    head, _, content = done.stdout.partition(b'\r\n\r\n')
    while head.startswith(b'HTTP/1.1 1'):  # 100 Continue, which curl waits for before it sends a large body
        head, _, content = content.partition(b'\r\n\r\n')
    status_line, *lines = head.decode('latin-1').split('\r\n')
    headers = (line.split(': ', 1) for line in lines)
    return Reply(int(status_line.split()[1]), {name.lower(): value for name, value in headers}, content)


def with_httpx(url: str, method: str = 'GET', body: bytes = b'', framing: Framing = Framing.LENGTH) -> Reply:
    content = pieces(body) if framing is Framing.CHUNKED else body
    headers = {'Content-Type': CONTENT_TYPE} if method == 'POST' else {}
    with httpx.Client(trust_env=False, timeout=TIMEOUT) as client:
        response = client.request(method, url, content=content, headers=headers)
        return Reply(response.status_code, dict(response.headers), response.content)


def with_h11(url: str, method: str = 'GET', body: bytes = b'', framing: Framing = Framing.LENGTH) -> Reply:
    with H11Client(url) as client:
        client.send(method, urlsplit(url).path, body, framing)
        return client.receive()


class H11Client:
    """One connection, on which requests are sent and responses received as the test says."""

    def __init__(self, url: str) -> None:
        self._netloc = urlsplit(url).netloc
        self._socket = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), TIMEOUT)
        self._machine = h11.Connection(h11.CLIENT)

    def __enter__(self) -> H11Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(
        self, method: str, target: str, body: bytes = b'', framing: Framing = Framing.LENGTH, *headers: tuple[str, str]
    ) -> None:
        fields = [('Host', self._netloc), *headers]
        if method == 'POST':
            fields.append(('Content-Type', CONTENT_TYPE))
            chunked = framing is Framing.CHUNKED
            fields.append(('Transfer-Encoding', 'chunked') if chunked else ('Content-Length', str(len(body))))
        self.send_events(h11.Request(method=method, target=target, headers=fields))
        if any(name == 'Expect' for name, _ in headers):
            assert self._next_event() == h11.InformationalResponse(status_code=100, headers=[], reason=b'Continue')
        self.send_events(*(h11.Data(data=piece) for piece in pieces(body)), h11.EndOfMessage())

    def send_events(self, *events: h11.Event) -> None:
        for event in events:
            data = self._machine.send(event)
            assert data is not None
            self._socket.sendall(data)

    def receive(self) -> Reply:
        """The next response; after it the connection may be used again, where the server keeps it open."""
        head = self.receive_head()
        headers = {name.decode(): value.decode() for name, value in head.headers}
        return Reply(head.status_code, headers, self.receive_body())

    def receive_head(self) -> h11.Response:
        head = self._next_event()
        assert isinstance(head, h11.Response), head
        return head

    def receive_body(self) -> bytes:
        body = bytearray()
        while isinstance(event := self._next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage), event
        if self._machine.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            self._machine.start_next_cycle()
        return bytes(body)

    def _next_event(self) -> object:
        while (event := self._machine.next_event()) is h11.NEED_DATA:
            self._machine.receive_data(self._socket.recv(1 << 16))
        return event
