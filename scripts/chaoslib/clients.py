"""Clients who look at every answer, and those who are slow."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
import time
from typing import TYPE_CHECKING

from chaoslib.ledger import Loss

if TYPE_CHECKING:
    from chaoslib.ledger import Ledger

TIMEOUT = 45.0
"""Seconds after which an answer is none: longer than the longest back-off of the server."""

REQUESTS_A_CONNECTION = 50
"""Of a client who keeps it; then another worker has a chance."""

SLOW = {
    'slow heads': b'GET /text/slow HTTP/1.1\r\nHost: chaos\r\nX-Half',
    'slow bodies': b'POST /echo/slow HTTP/1.1\r\nHost: chaos\r\nContent-Length: 100000\r\n\r\nbut this is all',
    'slow readers': b'GET /large/slow HTTP/1.1\r\nHost: chaos\r\n\r\n',
}
"""All that a slow client says."""

SLOW_CLIENTS = 10
"""At once."""

SLOW_TIME = 8.0
"""Seconds, then it goes."""

_KINDS = ('text', 'text', 'text', 'stream', 'stream', 'echo', 'pause')
_BODY = 100_000
_REST, _REST_AFTER_LOSS = 0.005, 0.05


class Client:
    """One of the load, on a thread of its own: it asks again and again until it is told to end."""

    def __init__(self, number: int, port: int, ledger: Ledger, *, keeps: bool) -> None:
        self._name = 'kept' if keeps else 'new'
        self._keeps = keeps
        self._ledger = ledger
        self._chance = random.Random(number)
        self._connection = http.client.HTTPConnection('127.0.0.1', port, timeout=TIMEOUT)
        self._worker: int | None = None
        """Whom the connection leads to."""
        self._left = REQUESTS_A_CONNECTION
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask_again_and_again)

    def start(self) -> None:
        self._thread.start()

    def tell_to_end(self) -> None:
        self._end.set()

    def join(self) -> None:
        self._thread.join()

    def _ask_again_and_again(self) -> None:
        rest = 0.0
        while not self._end.wait(rest):
            rest = _REST if self.ask(self._chance.choice(_KINDS)) else _REST_AFTER_LOSS
        self._connection.close()

    def ask(self, kind: str) -> bool:
        """Ask once, and write down what came of it; whether it was the right answer."""
        if self._connection.sock is None:
            self._worker, self._left = None, REQUESTS_A_CONNECTION
        began = time.monotonic()
        try:
            complaint = self._exchange(kind)
        except (OSError, http.client.HTTPException) as error:
            complaint = repr(error)
            wrong = False
        else:
            wrong = True
        request = f'{kind}, {self._name} connection'
        if not complaint:
            self._ledger.count_answer(request)
            return True
        self._ledger.add(Loss(request, complaint, self._worker, began, time.monotonic(), wrong))
        self._connection.close()
        return False

    def _exchange(self, kind: str) -> str:
        """What is wrong with the answer, '' for nothing.  Raises OSError and HTTPException where there is none."""
        token = f'{self._chance.getrandbits(64):x}'
        body = token.encode() * (_BODY // len(token)) if kind == 'echo' else None
        self._left -= 1
        headers = {} if self._keeps and self._left else {'Connection': 'close'}
        self._connection.request('GET' if body is None else 'POST', f'/{kind}/{token}', body, headers)
        with self._connection.getresponse() as response:
            worker = response.headers.get('X-Worker')
            self._worker = int(worker) if worker else self._worker
            if response.length is None and not response.chunked:  # no answer of ours ends with the connection
                raise http.client.HTTPException('the head is broken off')
            content = response.read()
        if response.status != 200:
            return f'{response.status} {response.reason}'
        if content != (body or token.encode() * 50):
            return f'{len(content)} bytes that were not asked for: {content[:40]!r}'
        return ''


class Slow:
    """Connections that waste their server's time, each for a while."""

    def __init__(self) -> None:
        self._open: list[tuple[float, socket.socket]] = []

    def begin(self, kind: str, port: int) -> None:
        until = time.monotonic() + SLOW_TIME
        for _ in range(SLOW_CLIENTS):
            with contextlib.suppress(OSError):
                client = socket.create_connection(('127.0.0.1', port), 5)
                self._open.append((until, client))
                client.sendall(SLOW[kind])

    def end(self, now: float) -> None:
        """Close those whose time is over."""
        for _, client in (each for each in self._open if each[0] <= now):
            client.close()
        self._open = [each for each in self._open if each[0] > now]
