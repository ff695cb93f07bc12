"""The request that a worker puts to its own application before it says that it is ready.

It goes through the worker's loop as any client's does, but on a socket pair: nobody else can answer it, and no client
is served before it is answered.
"""

from __future__ import annotations

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from prefork.worker.loop import Loop

_BLOCK = 65536
_KEPT = 4096  # bytes of the answer that are looked at
_SHOWN = 200  # bytes of its body that the operator is shown


class Probe:
    """Have the loop answer ``url``, ``[HOST]/PATH``; then ``done`` is called in it with what is wrong, '' for nothing.

    How long that may take is for the caller to say.
    """

    __slots__ = ('_answer', '_done', '_loop', '_socket', '_url')

    def __init__(self, loop: Loop, url: str, done: Callable[[str], None]) -> None:
        self._loop = loop
        self._url = url
        self._done = done
        self._answer = b''
        self._socket, served = socket.socketpair()
        self._socket.setblocking(False)
        host, _, path = url.partition('/')
        head = (
            f'GET /{path} HTTP/1.1\r\nHost: {host or "localhost"}\r\nUser-Agent: prefork\r\nConnection: close\r\n\r\n'
        )
        self._socket.send(head.encode('ascii'))
        loop.acceptor.serve(served)
        loop.watch(self._socket, self._receive)

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_BLOCK)
        except BlockingIOError:
            return
        except OSError:
            data = b''
        if data:
            self._answer += data[: _KEPT - len(self._answer)]
            return
        self._loop.unwatch(self._socket)
        self._socket.close()
        self._done(self._complaint())

    def _complaint(self) -> str:
        head, _, body = self._answer.partition(b'\r\n\r\n')
        status = head.partition(b'\r\n')[0].partition(b' ')[2].decode('latin-1')
        if status[:1] in ('2', '3'):
            return ''
        if not status:
            return f'ready_url = {self._url} was not answered'
        excerpt = body[:_SHOWN].decode('utf-8', 'replace')
        return f'ready_url = {self._url} was answered {status}' + (f': {excerpt!r}' if excerpt else '')
