"""What waits to be sent to one client: blocks in memory, regions of files, and an overflow on disk.

Whoever owns the connection owns its outbox.  Nothing here waits: what the socket doesn't take stays in the queue.
"""

from __future__ import annotations

import os
from collections import deque

from prefork.errors import ClientGone, ClientTooSlow
from prefork.worker.pace import Pace
from prefork.worker.spool import NO_DIRECTORY, open_temporary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from prefork.net.transport import PlainTransport, TLSTransport
    from prefork.settings import Settings

    Queue: TypeAlias = deque['bytes | memoryview | FileRegion']

HIGH_WATER = 65536
"""Bytes that may wait for a client before the application's next block is not asked for."""

TURN = 0.001
"""Seconds that a connection is served for, however much it sends or reads, before the others have their turn."""

LARGE = 16384
"""Bytes of a body from which on it is sent beside its head, instead of being copied behind it."""

JOINED = 65536
"""Bytes of small blocks that may be kept back, to be sent together: 64 KiB in blocks of 4 KiB take 131 us of a
processor when each is sent by itself, 80 joined to 16 KiB, 66 to 32, 55 to 64.  TLS takes no more at once."""

_BLOCK = 1 << 18  # bytes that the socket is given at once: not so many that a turn could be much longer than it should

_NOTHING: Queue = deque()
"""The queue of all who have nothing in theirs; nothing is put here.  A deque of one's own has 620 bytes from the start:
that would be a quarter of what an idle connection takes."""


class FileRegion:
    """``count`` bytes at ``offset`` of a file of which ``descriptor`` is ours to close."""

    __slots__ = ('count', 'descriptor', 'offset')

    def __init__(self, descriptor: int, offset: int, count: int) -> None:
        self.descriptor = descriptor
        self.offset = offset
        self.count = count


class Outbox:
    """The sending half of a connection.

    ``queue`` is what waits, ``queued`` how much of it is in memory, ``moved`` the bytes of the present response that
    the client has taken, which whoever begins the next one sets to 0, and ``broken`` whether a send has failed: the
    client is gone, and ``put`` raises ClientGone.  ``kept`` is what is kept back until the next ``release``, which must
    come before any ``put``.  Where there is a queue, nothing is kept.  ``pace`` is the client's with the present
    response, None until it was waited for; it ends with the response, as ``moved`` does.
    """

    __slots__ = (
        '_clock',
        '_kept_size',
        '_overflow',
        '_send',
        '_settings',
        '_transport',
        'broken',
        'kept',
        'moved',
        'pace',
        'queue',
        'queued',
    )

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._overflow: FileRegion | None = None
        self.queue = _NOTHING
        self.kept: list[bytes] | None = None
        self._kept_size = 0

    def open(self, transport: PlainTransport | TLSTransport) -> None:
        """Begin with a new client."""
        self._transport = transport
        self._send = transport.send
        self.queued = 0
        self.moved = 0
        self.pace: Pace | None = None
        self.broken = False

    @property
    def read(self) -> int:
        """The bytes of the response that the client's system has; negative while it still gets the last response."""
        return self.moved - self._transport.unread()

    def wait(self, now: float) -> None:
        """It is the client's turn to read from now on."""
        if self.pace is None:
            settings = self._settings
            self.pace = Pace(settings.min_rate, settings.client_socket_timeout, min(self.read, 0))
        self.pace.wait(now, self.read)

    def deadlines(self, now: float) -> tuple[float, float]:
        """When the client will be too slow, unless it reads more before; and when to ask, as nobody tells."""
        pace = self.pace
        assert pace is not None
        return pace.deadline(now, self.read), pace.next_look

    def pause(self, now: float) -> None:
        """It isn't the client's turn any more."""
        if self.pace is not None:
            self.pace.pause(now)

    def keeps_up(self, now: float) -> bool:
        """Whether the client, which is waited for, reads as fast as min_rate asks for."""
        pace = self.pace
        if pace is not None and pace.may_judge(now):
            pace.judge(now, self.read)
        return pace is not None and pace.keeps_up

    def put(self, data: bytes | memoryview) -> None:
        """Send ``data``, or what the socket takes of it, and queue the rest.  Raises ClientGone."""
        if self.queue:
            if self.broken:
                raise ClientGone('the client is gone')
            self._append(data)
            return
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.broken = True
            raise ClientGone('the client is gone') from error
        self.moved += sent
        if sent < len(data):
            self._append(memoryview(data)[sent:])

    def keep(self, data: bytes) -> bool:
        """Keep ``data`` back, to be sent with what comes next, or put it if that is too much; whether it was kept.
        Raises ClientGone."""
        size = self._kept_size + len(data)
        if size > JOINED or self.queue:
            self.release()
            if self.queue or len(data) > JOINED:
                self.put(data)
                return False
            size = len(data)
        if self.kept is None:
            self.kept = []
        self.kept.append(data)
        self._kept_size = size
        return True

    def release(self) -> None:
        """Send, or queue, what is kept back.  Raises ClientGone."""
        kept = self.kept
        if kept is not None:
            self.kept = None
            self._kept_size = 0
            self.put(b''.join(kept))

    def release_if_there(self) -> None:
        """The same for a client who may be gone, which ``broken`` says."""
        try:
            self.release()
        except ClientGone:
            pass

    def put_large(self, head: bytes, body: bytes) -> None:
        """Send or queue a whole response, before which nothing waits, without a copy of its body: many clients may be
        sent the same one, and it costs a twentieth of the time that one of 64 KiB takes.  Raises ClientGone."""
        try:
            sent = self._transport.send_two(head, body)  # at once, so that the client isn't woken for a head
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.broken = True
            raise ClientGone('the client is gone') from error
        self.moved += sent
        if sent < len(head):
            # The client still gets the last response.  SSL_write(3) has to be given again what it couldn't send.
            self._enqueue(memoryview(head + body[:HIGH_WATER])[sent:])
            left = memoryview(body)[HIGH_WATER:]
        else:
            left = memoryview(body)[sent - len(head) :]
        if left:
            self._enqueue(left)
        if self.queue:
            self.queued += len(head) + len(body) - sent
            self.flush()

    def put_file(self, descriptor: int, offset: int, count: int) -> None:
        """Send or queue ``count`` bytes of a file; the descriptor is the outbox's from now on.  Raises ClientGone."""
        self._enqueue(FileRegion(descriptor, offset, count))
        if len(self.queue) == 1:
            self.flush()
            if self.broken:
                raise ClientGone('the client is gone')

    def flush(self) -> bool:
        """Send what the socket takes of the queue, a turn's worth at most; whether all is sent.  Sets ``broken``."""
        queue = self.queue
        end = self._clock() + TURN
        while queue:
            item = queue[0]
            try:
                sent = self._send_region(item) if isinstance(item, FileRegion) else self._send_block(item)
            except BlockingIOError:
                return False
            except OSError:
                self.broken = True
                return False
            self.moved += sent
            if self._clock() > end:
                break
        if queue:
            return False
        self.queue = _NOTHING
        self._overflow = None
        return True

    def clear(self) -> None:
        """Forget what waits, and close its files."""
        self._overflow = None
        self.kept = None
        self._kept_size = 0
        while True:
            # When the loop ends, a thread that comes back then may do the same at the same moment: whoever takes a file
            # out of the queue closes it.
            try:
                item = self.queue.popleft()
            except IndexError:
                self.queue = _NOTHING
                return
            if isinstance(item, FileRegion):
                os.close(item.descriptor)

    def _send_block(self, block: bytes | memoryview) -> int:
        sent = self._send(memoryview(block)[:_BLOCK])
        self.queued -= sent
        if sent == len(block):
            self.queue.popleft()
        else:
            self.queue[0] = memoryview(block)[sent:]
        return sent

    def _send_region(self, region: FileRegion) -> int:
        sent = self._transport.send_file(region.descriptor, region.offset, min(region.count, _BLOCK))
        if not sent:
            raise OSError('the file became shorter while it was sent')
        region.offset += sent
        region.count -= sent
        if not region.count:
            self.queue.popleft()
            os.close(region.descriptor)
        return sent

    def _enqueue(self, item: bytes | memoryview | FileRegion) -> None:
        if self.queue is _NOTHING:
            self.queue = deque()
        self.queue.append(item)

    def _append(self, data: bytes | memoryview) -> None:
        if self.queued > HIGH_WATER and self.queued + len(data) > self._settings.body_buffer:
            self._spill(data)
            return
        self._enqueue(data)
        self.queued += len(data)

    def _spill(self, data: bytes | memoryview) -> None:
        """Keep ``data`` in a file, for a reader who is slower than the application and has no thread to wait for it."""
        settings = self._settings
        region = self._overflow
        try:
            if region is None or not self.queue or self.queue[-1] is not region:
                if settings.spool_dir == NO_DIRECTORY:
                    raise OSError('there is spool_dir = none for it')
                region = self._overflow = FileRegion(open_temporary(settings.spool_dir), 0, 0)
                self._enqueue(region)
            end = region.offset + region.count
            if end + len(data) > settings.max_body:
                raise OSError(f'it would need more than max_body = {settings.max_body} bytes')
            while data:
                written = os.pwrite(region.descriptor, data, end)
                region.count += written
                end += written
                data = memoryview(data)[written:]
        except OSError as error:
            self.broken = True
            self._transport.reset_when_closed()  # it would get what the kernel has, and nothing else
            raise ClientTooSlow(f'the response cannot be kept for a slow client: {error}') from error
