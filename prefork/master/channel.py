"""Messages with descriptors between the master and one mold or worker, over a unix socket pair.

A message is a line of JSON: its kind, how many descriptors belong to it, and its body.  The descriptors travel beside
the first byte of their line (unix(7), SCM_RIGHTS) and are dealt out in the order in which they came, so that it makes
no difference how the stream is cut.  Nothing here blocks but :meth:`Channel.wait` and :meth:`Channel.finish`.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import time
from array import array
from collections import deque

from prefork.errors import ChannelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

LIMIT = 1 << 20
"""The longest message.  What is longer wasn't sent by us."""

_BLOCK = 1 << 16
_MOST_DESCRIPTORS = 16  # in one message; Linux allows 253 (SCM_MAX_FD)
_INT = array('i').itemsize
_LOST = -1
"""Stands for what is missing of one message's descriptors."""

_PASS_CREDENTIALS: int | None = getattr(socket, 'SO_PASSCRED', None)
_CREDENTIALS = struct.Struct('iII')  # struct ucred: pid, uid, gid
_CLOSE_ON_EXEC: int = getattr(socket, 'MSG_CMSG_CLOEXEC', 0)


class Message:
    """``kind`` says what it is, ``body`` has its fields, and who receives it owns its ``descriptors``.

    ``sender`` is the process that sent it, by the word of the kernel, 0 where that says nothing.  ``incomplete`` is
    whether no descriptor was free here for those that came with it; then there are none.
    """

    __slots__ = ('body', 'descriptors', 'incomplete', 'kind', 'sender')

    def __init__(
        self, kind: str, body: dict[str, Any], descriptors: list[int], *, sender: int = 0, incomplete: bool = False
    ) -> None:
        self.kind = kind
        self.sender = sender
        self.body = body
        self.descriptors = descriptors
        self.incomplete = incomplete

    def __repr__(self) -> str:
        return f'Message({self.kind!r}, {self.body!r}, {self.descriptors!r})'


class Channel:
    """One end.  Whoever holds it is its only user in this process, and the only process that receives at this end."""

    __slots__ = ('_arrived', '_descriptors', '_outgoing', '_searched', '_sender', 'socket')

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._arrived = bytearray()
        self._searched = 0  # so much of it is known to hold no end of a line
        self._descriptors: list[int] = []
        self._outgoing: deque[tuple[bytes, list[int]]] = deque()
        self._sender = 0  # of what was read last: the kernel gives us no two processes' bytes at once

    def fileno(self) -> int:
        return self.socket.fileno()

    # --- sending --------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether something waits for the socket to become writable; then call :meth:`flush`."""
        return bool(self._outgoing)

    def send(self, kind: str, descriptors: Sequence[int] = (), **body: Any) -> None:
        """Send a message, or keep what the kernel doesn't take now.

        The descriptors are handed over: they are closed here when they are on their way.  That nobody is there to
        receive the message is no error here: the end of the other process is heard of by other means.
        """
        line = json.dumps([kind, len(descriptors), body]).encode() + b'\n'
        self._outgoing.append((line, list(descriptors)))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the kernel takes it."""
        while self._outgoing:
            data, descriptors = self._outgoing[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array('i', descriptors))] if descriptors else []
            try:
                sent = self.socket.sendmsg([data], rights)
            except BlockingIOError:
                return
            except OSError:
                self._drop_outgoing()  # EPIPE or ECONNRESET: the other side is gone
                return
            _close_all(descriptors)
            if sent == len(data):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = (data[sent:], [])

    def finish(self, seconds: float) -> None:
        """Send all that waits, for so long at most: before a process ends."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.socket, select.POLLOUT)
        while self.pending and (left := deadline - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self.flush()

    def _drop_outgoing(self) -> None:
        for _, descriptors in self._outgoing:
            _close_all(descriptors)
        self._outgoing.clear()

    # --- receiving ------------------------------------------------------------------------------------------------

    def wait(self) -> None:
        """Block until there is something to receive."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.poll()

    def hung_up(self) -> bool:
        """Whether the other side has closed, though there may be something to receive before that."""
        poll = select.poll()
        poll.register(self.socket, 0)  # poll(2) tells of POLLHUP all the same
        return bool(poll.poll(0))

    def receive(self) -> tuple[list[Message], bool]:
        """What is complete of what has come, and whether the other side has closed, after which no more will come.

        Raises ChannelError for what can't have been sent by :meth:`send`.
        """
        messages: list[Message] = []
        taken = len(self._arrived)
        while taken <= LIMIT:
            try:
                data = self._read()
            except BlockingIOError:
                return messages, False
            except ConnectionResetError:  # the other side went with something of ours unread
                return messages, True
            messages += self._complete()
            if not data:
                return messages, True
            taken += len(data)
        return messages, False

    def _read(self) -> bytes:
        room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * _INT) + socket.CMSG_SPACE(_CREDENTIALS.size)
        data, ancillary, flags, _ = self.socket.recvmsg(_BLOCK, room, _CLOSE_ON_EXEC)
        for _, kind, payload in ancillary:
            if kind == socket.SCM_RIGHTS:
                self._descriptors += _unpack(payload)
            elif data:  # SCM_CREDENTIALS: an end has no sender
                self._sender = _CREDENTIALS.unpack(payload)[0]
        if flags & socket.MSG_CTRUNC:
            if len(self._descriptors) >= _MOST_DESCRIPTORS:
                raise ChannelError('more descriptors at once than anybody sends')
            self._descriptors.append(_LOST)
        self._arrived += data
        return data

    def _complete(self) -> list[Message]:
        messages = []
        while (end := self._arrived.find(b'\n', self._searched)) >= 0:
            line = bytes(self._arrived[:end])
            del self._arrived[: end + 1]
            self._searched = 0
            messages.append(self._parse(line))
        self._searched = len(self._arrived)
        if self._searched > LIMIT:
            raise ChannelError(f'a message of more than {LIMIT} bytes')
        return messages

    def _parse(self, line: bytes) -> Message:
        try:
            kind, count, body = json.loads(line)
        except (ValueError, TypeError):  # not JSON, or not three things
            raise ChannelError(f'not a message: {line[:80]!r}') from None
        if not (isinstance(kind, str) and isinstance(count, int) and isinstance(body, dict)):
            raise ChannelError(f'not a message: {line[:80]!r}')
        descriptors = self._descriptors[: max(count, 0)]
        incomplete = _LOST in descriptors
        if incomplete:
            del descriptors[descriptors.index(_LOST) + 1 :]  # they are the next message's
        elif count != len(descriptors):
            raise ChannelError(f'a message with {count} descriptors came with {len(descriptors)}')
        del self._descriptors[: len(descriptors)]
        if incomplete:
            _close_all(descriptors)
        return Message(kind, body, descriptors, sender=self._sender, incomplete=incomplete)

    # --- from one program to the next -----------------------------------------------------------------------------

    def bequeath(self) -> list[Any]:
        """For this process after an exec, in the terms of JSON: what :func:`inherit` makes the same channel of.

        Nothing in it may be changed between.
        """
        outgoing = [[data.decode('ascii'), descriptors] for data, descriptors in self._outgoing]
        return [self.fileno(), self._arrived.decode('latin-1'), self._descriptors, outgoing]

    # --- the end --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close this end, and every descriptor on its way in or out."""
        self._drop_outgoing()
        _close_all(self._descriptors)
        self.socket.close()


def pair() -> tuple[Channel, Channel]:
    """Both ends of a new channel: the master's, which knows who sends (unix(7), SO_PASSCRED), and the child's."""
    ours, theirs = socket.socketpair()
    if _PASS_CREDENTIALS is not None:
        ours.setsockopt(socket.SOL_SOCKET, _PASS_CREDENTIALS, 1)
    return Channel(ours), Channel(theirs)


def closed() -> Channel:
    """A channel whose other end is closed."""
    ours, theirs = pair()
    theirs.close()
    return ours


def inherit(legacy: list[Any]) -> Channel:
    """The channel that :meth:`Channel.bequeath` told of."""
    descriptor, arrived, descriptors, outgoing = legacy
    channel = Channel(socket.socket(fileno=descriptor))
    channel._arrived += arrived.encode('latin-1')
    channel._descriptors += descriptors
    channel._outgoing.extend((data.encode('ascii'), waiting) for data, waiting in outgoing)
    return channel


def _unpack(payload: bytes) -> list[int]:
    descriptors = array('i')
    descriptors.frombytes(payload[: len(payload) - len(payload) % _INT])  # the kernel may cut the last one
    if not _CLOSE_ON_EXEC:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
    return descriptors.tolist()


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        if descriptor != _LOST:
            os.close(descriptor)
    descriptors.clear()
