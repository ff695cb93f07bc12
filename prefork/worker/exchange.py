"""One request's answer: PEP 3333's ``start_response`` and ``write``, and the ways in which a body goes out."""

from __future__ import annotations

import os
from time import monotonic

from prefork.errors import ApplicationError, BodyError, ClientGone, ClientTooSlow
from prefork.http1 import response
from prefork.logs import logger
from prefork.worker.lease import Lease
from prefork.worker.outbox import LARGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import TypeAlias

    from prefork.http1.response import Prepared
    from prefork.worker.connection import Connection
    from prefork.worker.file_wrapper import FileWrapper
    from prefork.worker.gateway import Gateway

    Headers: TypeAlias = list[tuple[str, str]]
    ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType]


class Exchange(Lease):
    """One request's ``start_response``, what was sent of its response so far, and the lease of its connection.

    ``complete`` says that the response has been sent, or given up: only its ``close()`` is still to be called, and who
    has kept ``write`` must not get at what may be another request's connection.
    """

    __slots__ = ('_gateway', '_prepared', '_remaining', '_started', 'complete', 'connection')

    def __init__(self, gateway: Gateway, connection: Connection) -> None:
        self.since = 0.0
        self.claimed = self.ended = self.asked = self.complete = False
        self.prompt = True
        self._gateway = gateway
        self.connection = connection
        self._prepared: Prepared | None = None  # what start_response was given
        self._started = False  # the head is out; _remaining says how the body is framed
        self._remaining = 0

    def start_response(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Callable[[bytes], None]:
        """PEP 3333's; the head waits for the first block that isn't empty."""
        if exc_info is not None:
            try:
                if self._started:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # it refers to this frame
        elif self._prepared is not None:
            raise ApplicationError('start_response was called twice without exc_info')
        self._prepared = response.prepare(status, headers)
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333's: send a block of the body now; it returns when the client has read most of what came before."""
        if self.complete:
            raise ApplicationError('write() came after the end of the response')
        if type(data) is not bytes:
            raise _not_bytes(data)
        self.leave()
        try:
            self.prompt = True  # it may be that an iterable, whose blocks are kept back, calls this
            if data and not self._send(data, None) and self._may_have_body():
                # PEP 3333, "Handling the Content-Length Header": an error for who writes past that point.
                raise ApplicationError('write() went past the Content-Length')
        finally:
            self.enter()

    def send_whole(self, blocks: list[bytes] | tuple[bytes, ...]) -> None:
        """A body of which all is there: it is counted, goes out at once, and costs no thread."""
        body = blocks[0] if len(blocks) == 1 else _join(blocks)
        if type(body) is not bytes:
            raise _not_bytes(body)
        if self._started:  # write() was used
            if body:
                self._send(body, None)
            self._end()
            return
        size = len(body)
        head = self._head(size)
        connection = self.connection
        if self._remaining != size:  # with the length known, never chunked: the application's own or no body
            body = self._counted(body)
            connection.out.put(head + body)
            if self._remaining > 0:
                self._too_short()
            return
        connection.produced = size
        if size < LARGE:
            connection.out.put(head + body)
        else:
            connection.out.put_large(head, body)

    def send_each(self, blocks: Iterable[bytes]) -> None:
        """A body of blocks: the next one is asked for when the client has taken the last.

        PEP 3333, "Buffering and Streaming": no block may wait for the next one, unless another thread sees to it that
        it goes out meanwhile.  We have such a thread as long as nobody has taken the lead from this call: a block is
        kept back until then, to be sent with the next ones.  That is a few milliseconds; from then on, each one is
        sent at once.
        """
        try:
            single = len(blocks) == 1  # type: ignore[arg-type]  # PEP 3333: then its block is the whole body
        except TypeError:
            single = False
        out = self.connection.out
        self.prompt = False
        if not self.connection.is_watched(self):
            self.prompt = True
        self.enter()
        for block in blocks:
            self.since = 0.0  # here and below, what leave() and enter() do, without their calls
            if self.claimed:
                self.settle()
            if type(block) is not bytes:
                raise _not_bytes(block)
            if block and not self._send(block, len(block) if single else None):
                break  # an iterable without an end, such as a stream of events, would keep its thread for ever
            self.since = monotonic()
            if self.prompt and (out.kept is not None or out.queue):  # who has set it may have found that since was 0
                self.leave()
                out.release()
                self.enter()
        self.leave()
        self._end()

    def enter(self) -> None:
        """The application has the thread from now on, and what is queued goes out meanwhile.

        PEP 3333, "Buffering and Streaming": no block may wait for what the application does next.  As long as nobody
        has taken the lead from this call, whoever does so looks after it.
        """
        self.since = monotonic()
        connection = self.connection
        while connection.out.queue and not (self.asked or self.ended or connection.is_watched(self)):
            self.leave()
            connection.ask_for_room(self)
            self.since = monotonic()

    def hurry(self) -> None:
        """By the thread that has taken the lead from this call: send what is kept back, and what is queued."""
        super().hurry()
        out = self.connection.out
        if out.kept is not None or out.queue:
            self.borrow(self._catch_up)

    def _catch_up(self) -> None:
        out = self.connection.out
        out.release_if_there()
        if out.queue:
            self.connection.ask_for_room(self)

    def send_file(self, wrapper: FileWrapper) -> None:
        """A file of the kernel's goes by sendfile, from a descriptor of our own; any other is a body of blocks."""
        region = None if self._started or self._prepared is None else wrapper.region()
        if region is None:
            self.send_each(wrapper)
            return
        descriptor, offset, size = region
        try:
            head = self._head(size)
            count = min(size, self._remaining)
            self.connection.out.put(head)
        except BaseException:
            os.close(descriptor)
            raise
        self.connection.produced = count
        if count > 0:
            self.connection.out.put_file(descriptor, offset, count)
        else:
            os.close(descriptor)
        self._remaining -= count
        if self._remaining > 0:
            self._too_short()

    def fail(self, error: BaseException) -> None:
        """Something has come out of the application, or of sending what it gave: whose fault is it?"""
        connection = self.connection
        if isinstance(error, ClientGone):
            connection.persist = False
            if isinstance(error, ClientTooSlow):
                logger.error('%s: %s', connection.line, error)
        elif isinstance(error, BodyError):  # it gave up as the body couldn't be read, which is the client's fault
            self._tell(error.status, error.reason)
        else:
            logger.exception('%s: the application failed', connection.line)
            self._tell(500, '')

    def time_out(self) -> None:
        """By the leader, to whom the lease has fallen: tell the client, unless it has had all of the response.

        The application has this exchange, and may call ``start_response`` at any moment: another one tells.
        """
        if self.complete:
            return
        last = Exchange(self._gateway, self.connection)
        last._started, last._remaining = self._started, self._remaining
        self.connection.persist = False
        last._tell(504, 'The application did not answer in time.')

    def _tell(self, code: int, reason: str) -> None:
        """An error page where nothing is out yet, else an end that isn't one, so that the client knows."""
        connection = self.connection
        connection.failed = True
        if self._started:
            connection.out.release_if_there()
            connection.persist = False
            connection.aborted = self._remaining != 0  # else nothing is missing
            connection.resets = self._remaining == response.UNTIL_CLOSE
            return
        status = f'{code} {response.REASONS[code]}'
        body, headers = response.error_page(status, reason)
        self._prepared = response.prepare(status, headers)
        try:
            head = self._head(len(body))
            connection.out.put(head + self._counted(body))
        except ClientGone:
            connection.persist = False

    def _head(self, known_length: int | None) -> bytes:
        """The bytes of the head, which is then as good as out."""
        if self._prepared is None:
            raise ApplicationError('the application returned without start_response')
        connection = self.connection
        head, connection.code, self._remaining, connection.persist = response.encode_head(
            self._prepared,
            connection.minor,
            connection.persist and self._gateway.persistent,
            connection.bodiless,
            known_length,
            self._gateway.date(),
        )
        self._started = True
        return head

    def _send(self, block: bytes, known_length: int | None) -> bool:
        """Send a block, with the head where that isn't out; whether there was room for all of it."""
        head = b'' if self._started else self._head(known_length)
        connection = self.connection
        remaining = self._remaining
        fits = True
        if remaining >= 0:
            fits = len(block) <= remaining
            block = self._counted(block)
        else:
            connection.produced += len(block)
            if remaining == response.CHUNKED:
                block = response.encode_chunk(block)
        if head or block:
            data = head + block if head else block
            out = connection.out
            if self.prompt:
                out.release()  # it may have been set while something is kept
                out.put(data)
                connection.wait_for_room()
            elif not out.keep(data):
                connection.wait_for_room()
        return fits

    def _may_have_body(self) -> bool:
        connection = self.connection
        return not connection.bodiless and connection.code not in response.WITHOUT_CONTENT

    def _counted(self, block: bytes) -> bytes:
        """As much of ``block`` as the Content-Length has room for."""
        room = self._remaining
        connection = self.connection
        connection.produced += min(len(block), room)
        if len(block) <= room:
            self._remaining = room - len(block)
            return block
        if self._may_have_body():
            logger.error('%s: the body is longer than its Content-Length; the rest is cut', connection.line)
        self._remaining = 0
        return block[:room]

    def _end(self) -> None:
        out = self.connection.out
        if not self._started:
            head = self._head(0)
            if self._remaining == response.CHUNKED:
                head += response.LAST_CHUNK
            out.put(head)
        elif self._remaining == response.CHUNKED:
            out.keep(response.LAST_CHUNK)
        out.release()
        if self._remaining > 0:
            self._too_short()

    def _too_short(self) -> None:
        connection = self.connection
        logger.error('%s: the body is %d bytes shorter than its Content-Length', connection.line, self._remaining)
        connection.persist = False
        connection.aborted = True


def _join(blocks: list[bytes] | tuple[bytes, ...]) -> bytes:
    for block in blocks:
        if type(block) is not bytes:
            raise _not_bytes(block)
    return b''.join(blocks)


def _not_bytes(block: object) -> ApplicationError:
    return ApplicationError(f'a block of the body must be bytes, not {type(block).__name__}')
