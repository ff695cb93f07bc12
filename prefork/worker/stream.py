"""``wsgi.input`` of a request whose body is still on its way: what ``request_buffering = false`` gives an application.

It is a raw stream for :class:`io.BufferedReader`, which makes ``read``, ``readline`` and iteration of it.  Nothing is
taken off the socket before the application asks for it, so that TCP itself holds back a client who is faster.
"""

from __future__ import annotations

import io

from prefork.errors import BodyError, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prefork.http1.body import ChunkedBody, CountedBody
    from prefork.worker.connection import Connection
    from prefork.worker.lease import Lease
    from prefork.worker.pace import Pace

BUFFER_SIZE = 65536


class BodyStream(io.RawIOBase):
    """``body``, which begins with ``data``, and goes on with what the connection receives, whose ``lease`` a call has.
    ``pace`` is what is asked of the client while it is waited for.  The connection sets the two.

    Until the body has been read to its end the connection doesn't persist: what is left of it would be taken for the
    next request.  Reading raises BodyError where the client sends something else than a body, or too little, or too
    slowly; it raises ClientGone where there is no client any more.
    """

    def __init__(self, connection: Connection, body: CountedBody | ChunkedBody, data: bytes, unasked: bool) -> None:
        self._connection: Connection | None = connection
        self.lease: Lease
        self.pace: Pace
        self._body = body
        self._data = data  # of it nothing was looked at yet
        self._received = 0  # bytes that the client was waited for
        self._payload = memoryview(b'')
        self._unasked = unasked  # the client waits for 100 (Continue)
        self._failure: BodyError | None = None
        self._persist = connection.persist
        connection.persist = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any writable buffer
        """Some of the body, as soon as there is some; 0 at its end."""
        while not self._payload and not self._body.done:
            self._receive()
        size = min(len(self._payload), len(buffer))
        buffer[:size] = self._payload[:size]
        self._payload = self._payload[size:]
        return size

    def close(self) -> None:
        """The request is over: who still has the stream must not read what the connection receives from now on."""
        self._connection = None
        super().close()

    # --- by the loop, while the thread sleeps ---

    def wait(self, now: float) -> float:
        """It is the client's turn from now on: the first deadline."""
        return self.pace.wait(now, self._received)

    def pause(self, now: float) -> None:
        """It isn't the client's turn any more."""
        self.pace.pause(now)

    def keeps_up(self, now: float) -> bool:
        """Whether the body comes as fast as min_rate asks for."""
        pace = self.pace
        if pace.may_judge(now):
            pace.judge(now, self._received)
        return pace.keeps_up

    # --- by the application's thread ---

    def _receive(self) -> None:
        if self._failure is not None:
            raise self._failure
        self.lease.leave()  # it is the client's time now
        try:
            self._receive_some()
        finally:
            self.lease.enter()

    def _receive_some(self) -> None:
        connection = self._connection
        if connection is None:
            raise ValueError('the request is over')
        connection.out.release()  # the client may be waiting for it before it sends more
        try:
            if self._unasked:
                self._unasked = False
                connection.ask_for_body()
            data, self._data = self._data, b''
            if not data:
                data = connection.receive()
                self._received += len(data)
            if not data:
                raise ProtocolError('the connection ended before the body did')
            self._payload = memoryview(self._body.feed(data))
        except ProtocolError as error:
            self._failure = BodyError(error.reason, error.status)
            raise self._failure from error
        if self._body.done:
            connection.end_body(self._body.rest, self._persist)
