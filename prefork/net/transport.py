"""Bytes to and from one accepted socket, plain or TLS, behind one face.

Nothing here blocks: what can't go on now raises BlockingIOError.  Everything else that can go wrong with a client is an
OSError, and an end is ``b''``.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    import ssl

_TLS_BLOCK = 65536  # what OpenSSL is given at once: it says nothing of its progress until it has written all of it
_RESET = struct.pack('ii', 1, 0)  # socket(7), SO_LINGER: on, for 0 seconds
_SENDFILE_BLOCK = 1 << 20  # what sendfile is given at once, so that one fast reader can't hold the loop


class PlainTransport:
    """A plain socket.  ``recv`` and ``send`` are its own methods: the hot path has no layer in between."""

    __slots__ = ('_socket', 'recv', 'send')

    wants_write = False

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.recv = sock.recv
        self.send = sock.send

    def fileno(self) -> int:
        return self._socket.fileno()

    def handshake(self) -> None:
        """Nothing to do."""

    def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """Send up to ``count`` bytes of a file from ``offset``; 0 means that the file is shorter than that."""
        return os.sendfile(self._socket.fileno(), descriptor, offset, min(count, _SENDFILE_BLOCK))

    def finish(self) -> None:
        """Tell the client that no more comes; what it sends can still be read."""
        self._socket.shutdown(1)  # SHUT_WR

    def reset_when_closed(self) -> None:
        """Have the client see that the end, when it comes, wasn't meant to be one."""
        import socket  # for two numbers, once in a blue moon

        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def close(self) -> None:
        self._socket.close()


class TLSTransport:
    """A socket that an SSLContext wrapped.  OpenSSL's wishes become BlockingIOError."""

    __slots__ = ('_blocked', '_socket', 'wants_write')

    def __init__(self, sock: ssl.SSLSocket) -> None:
        import ssl

        self._socket = sock
        self._blocked = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self.wants_write = False
        """Whether what was blocked last waits for the socket to become writable."""

    def fileno(self) -> int:
        return self._socket.fileno()

    def handshake(self) -> None:
        """Go on with the handshake; BlockingIOError until it is complete."""
        try:
            self._socket.do_handshake()
        except self._blocked as error:
            raise self._blocking(error) from None

    def recv(self, size: int) -> bytes:
        try:
            # What OpenSSL has decrypted already wakes no selector.  It decrypts one record of 16 KiB at a time, so with
            # a ``size`` that holds a whole one nothing stays behind.
            return self._socket.recv(size)
        except self._blocked as error:
            raise self._blocking(error) from None

    def send(self, data: bytes | memoryview) -> int:
        if len(data) > _TLS_BLOCK:
            data = memoryview(data)[:_TLS_BLOCK]
        try:
            return self._socket.send(data)
        except self._blocked as error:
            raise self._blocking(error) from None

    def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """Send up to ``count`` bytes of a file from ``offset``; 0 means that the file is shorter than that."""
        data = os.pread(descriptor, min(count, _TLS_BLOCK), offset)
        return self.send(data) if data else 0

    def finish(self) -> None:
        """Send close_notify, then the end of the stream (RFC 8446 6.1)."""
        try:
            self._socket.unwrap()
        except OSError:
            pass  # the client's own close_notify isn't awaited, and a client that is gone needs none
        self._socket.shutdown(1)

    def reset_when_closed(self) -> None:
        """Nothing to do: an end without close_notify is an error to the client."""

    def close(self) -> None:
        self._socket.close()

    def _blocking(self, error: OSError) -> BlockingIOError:
        self.wants_write = type(error) is self._blocked[1]
        return BlockingIOError()
