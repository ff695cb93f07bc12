"""A request's body on its way in: its coding is taken off, and it is kept until the application can have all of it."""

from __future__ import annotations

from prefork.http1.body import ChunkedBody
from prefork.worker.pace import Pace
from prefork.worker.spool import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from prefork.http1.body import CountedBody
    from prefork.settings import Settings


class Intake:
    """The receiving half of a connection, for the time of one ``body`` that is taken in before the call.

    It has a file that may be on disk, until it is closed.  ``receive_size`` is how many bytes ``feed`` is best given at
    once.  For an application that reads a body while it comes, there is a :class:`prefork.worker.stream.BodyStream`.
    """

    __slots__ = ('_body', '_pace', '_received', '_spool', 'receive_size')

    def __init__(self, body: CountedBody | ChunkedBody, settings: Settings) -> None:
        self._body = body
        self._spool = Spool(settings.body_buffer, settings.spool_dir)
        self._pace = Pace(settings.min_rate, settings.client_socket_timeout, 0)
        self._received = 0
        self.receive_size = body.receive_size

    def feed(self, data: bytes) -> bool:
        """Take in more of the body; whether it is complete.  Raises ProtocolError."""
        self._spool.write(self._body.feed(data))
        self._received += len(data)
        return self._body.done

    def give(self, environ: dict[str, Any]) -> bytes:
        """Give the application the body, which is complete; what has come behind it.  Raises ProtocolError."""
        environ['wsgi.input'] = self._spool.take()
        if isinstance(self._body, ChunkedBody):
            # RFC 9112 7.1.3: the coding is taken off, so the request is now one with a length.
            del environ['HTTP_TRANSFER_ENCODING']
            environ['CONTENT_LENGTH'] = str(self._spool.size)
        return self._body.rest

    def wait(self, now: float) -> float:
        """The client may send from now on: the first deadline."""
        return self._pace.wait(now, self._received)

    def deadline(self, now: float) -> float:
        """When the client will be too slow, unless more comes before."""
        return self._pace.deadline(now, self._received)

    def keeps_up(self, now: float) -> bool:
        """Whether the body comes as fast as min_rate asks for."""
        pace = self._pace
        if pace.may_judge(now):
            pace.judge(now, self._received)
        return pace.keeps_up

    def close(self) -> None:
        """The request is over, or no request after all."""
        self._spool.close()
