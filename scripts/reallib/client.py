"""A client that keeps its connection and says what it got where that isn't what was expected."""

from __future__ import annotations

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

TIMEOUT = 30.0
"""Seconds for each operation on the connection."""


class Unexpected(Exception):
    """An answer was not what it should be; the text shows both."""


class Reply:
    """``status``, ``headers`` (names in any case) and ``body``, in bytes."""

    def __init__(self, request: str, response: http.client.HTTPResponse) -> None:
        self.request = request
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Unexpected(f'{self.request}: not JSON ({error}): {self.body[:500]!r}') from None


class Client:
    """One connection to the server at ``url``; what is asked is relative to it.

    ``headers`` go with every request.  The connection is kept: a server that closes it without saying so fails here.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.url = url.rstrip('/')
        self.headers = dict(headers or {})
        self._prefix = parts.path.rstrip('/')
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        expect: int = 200,
        json_body: Any = None,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request and read the response, whose status must be ``expect``.

        ``path`` may be a whole URL of the server's, such as it gives in a Location.  An iterable ``body`` goes chunked.
        """
        together = {**self.headers, **(headers or {})}
        if json_body is not None:
            body = json.dumps(json_body).encode()
            together.setdefault('Content-Type', 'application/json')
        target = self._target(path)
        chunked = body is not None and not isinstance(body, bytes)
        self._connection.request(method, target, body, together, encode_chunked=chunked)
        reply = Reply(f'{method} {target}', self._connection.getresponse())
        if reply.status != expect:
            raise Unexpected(f'{reply.request}: {reply.status} instead of {expect}: {reply.body[:500]!r}')
        return reply

    def _target(self, path: str) -> str:
        parts = urlsplit(path)
        if parts.scheme:
            return parts._replace(scheme='', netloc='').geturl()
        return self._prefix + path


def equal(found: object, expected: object, what: str) -> None:
    """Raise Unexpected where ``found`` isn't ``expected``."""
    if found != expected:
        raise Unexpected(f'{what}: {found!r} instead of {expected!r}')


def at_once(clients: int, work: Callable[[int], None]) -> None:
    """Call ``work`` with 0 to ``clients`` - 1, each in a thread of its own; what one of them raises is raised."""
    with ThreadPoolExecutor(clients) as pool:
        for result in [pool.submit(work, number) for number in range(clients)]:
            result.result()
