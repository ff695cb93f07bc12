"""Bytes to and from one accepted socket, plain or TLS, behind one face.

Nothing here blocks: what can't go on now raises BlockingIOError.  Everything else that can go wrong with a client is an
OSError, and an end is ``b''``.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from prefork.net.tls import ServerSocket

_TLS_BLOCK = 65536  # what OpenSSL is given at once: it says nothing of its progress until it has written all of it
_RESET = struct.pack('ii', 1, 0)  # socket(7), SO_LINGER: on, for 0 seconds


class InClear(OSError):
    """The client speaks HTTP without TLS.  ``transport`` is for the answer: the same connection, without TLS."""

    def __init__(self, transport: PlainTransport) -> None:
        super().__init__('HTTP where TLS is spoken')
        self.transport = transport


class _Transport:
    """What is below TLS, where there is any: the bytes as they are on the wire."""

    __slots__ = ('_socket',)

    _socket: socket.socket

    def peek(self, size: int) -> bytes:
        """Up to ``size`` bytes, which stay where they are."""
        import socket  # which whoever listens has loaded long ago

        return socket.socket.recv(self._socket, size, socket.MSG_PEEK)  # an SSLSocket's own refuses flags

    def skip(self, size: int) -> None:
        """Take bytes away that ``peek`` has shown."""
        import socket

        socket.socket.recv(self._socket, size)

    def unread(self) -> int:
        """Bytes that were sent and that the client's system hasn't acknowledged; 0 where ours can't say."""
        try:
            answer = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))  # tcp(7), unix(7): SIOCOUTQ
        except OSError:
            return 0
        return int.from_bytes(answer, sys.byteorder)

    def reset_when_closed(self) -> None:
        """Have the client see that the end, when it comes, wasn't meant to be one, and our kernel forget what the
        client hasn't read."""
        import socket  # for two numbers, once in a blue moon

        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def close(self) -> None:
        try:
            self._socket.close()
        except OSError:
            pass  # an application has closed the descriptor, which must not be more than its client's misfortune


class PlainTransport(_Transport):
    """A plain socket.  ``recv`` and ``send`` are its own methods: the hot path has no layer in between."""

    __slots__ = ('recv', 'send')

    tls = False
    wants_write = False

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.recv = sock.recv
        self.send = sock.send

    def fileno(self) -> int:
        return self._socket.fileno()

    def handshake(self) -> None:
        """Nothing to do."""

    def variables(self) -> dict[str, str]:
        """What environ says of TLS."""
        return {}

    def send_two(self, first: bytes, second: bytes) -> int:
        """Send one behind the other, as far as there is room."""
        return self._socket.sendmsg((first, second))

    def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """Send up to ``count`` bytes of a file from ``offset``; 0 means that the file is shorter than that."""
        return os.sendfile(self._socket.fileno(), descriptor, offset, count)

    def finish(self) -> None:
        """Tell the client that no more comes; what it sends can still be read."""
        self._socket.shutdown(1)  # SHUT_WR

    def answer_end(self) -> None:
        """Nothing to do before ``close``: the client's end is answered by ours."""


class TLSTransport(_Transport):
    """A socket that an SSLContext wrapped.  OpenSSL's wishes become BlockingIOError."""

    __slots__ = ('_begun', '_blocked', '_read', '_write', 'wants_write')

    _socket: ServerSocket
    _read: Callable[[int], bytes]
    _write: Callable[[bytes | memoryview], int]
    tls = True

    def __init__(self, sock: ServerSocket) -> None:
        import ssl

        self._socket = sock
        self._use_socket()
        self._begun = False  # whether the client has sent something that may be TLS
        self._blocked = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self.wants_write = False
        """Whether what was blocked last waits for the socket to become writable."""

    def fileno(self) -> int:
        return self._socket.fileno()

    def handshake(self) -> None:
        """Go on with the handshake; BlockingIOError until it is complete.  Raises InClear, and is of no use then."""
        if not self._begun:
            # TLS begins with the byte 0x16 (RFC 8446 5.1), a request with its method.  To anything else, and to an end,
            # OpenSSL has an answer.
            if self.peek(1).isalpha():
                raise InClear(self._without_tls())
            self._begun = True
        try:
            self._socket.do_handshake()
        except self._blocked as error:
            raise self._blocking(error) from None
        self._use_engine()

    def _use_engine(self) -> None:
        """Read and write as the socket's own methods do in the end: without their Python in between, a short request
        takes 3.5 % less of the processor."""
        engine = getattr(self._socket, '_sslobj', self._socket)
        self._read, self._write = engine.read, engine.write

    def _use_socket(self) -> None:
        """Let the socket tell whether it still speaks TLS, or is closed: the engine would go on with the descriptor's
        number, whoever has it next, and what it takes of memory would stay with us."""
        self._read, self._write = self._socket.recv, self._socket.send

    def _without_tls(self) -> PlainTransport:
        import socket

        sock = socket.socket(fileno=self._socket.detach())
        sock.setblocking(False)
        return PlainTransport(sock)

    def variables(self) -> dict[str, str]:
        """What environ says of TLS and the client's certificate, after the handshake."""
        from prefork.net import ssl_environ  # not without TLS

        try:
            return ssl_environ.variables(self._socket)
        except ValueError as error:
            raise OSError(f'the certificate of the client has names that cannot be read: {error}') from error

    def recv(self, size: int) -> bytes:
        try:
            # What OpenSSL has decrypted already wakes no poller.  It decrypts one record of 16 KiB at a time, so with
            # a ``size`` that holds a whole one nothing stays behind.
            return self._read(size)
        except self._blocked as error:
            raise self._blocking(error) from None

    def send(self, data: bytes | memoryview) -> int:
        if len(data) > _TLS_BLOCK:
            data = memoryview(data)[:_TLS_BLOCK]
        try:
            return self._write(data)
        except self._blocked as error:
            raise self._blocking(error) from None

    def send_two(self, first: bytes, second: bytes) -> int:
        """Send one behind the other, as far as there is room."""
        return self.send(first + second[:_TLS_BLOCK])

    def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """Send up to ``count`` bytes of a file from ``offset``; 0 means that the file is shorter than that."""
        data = os.pread(descriptor, min(count, _TLS_BLOCK), offset)
        return self.send(data) if data else 0

    def finish(self) -> None:
        """Send close_notify, then the end of the stream (RFC 8446 6.1); BlockingIOError until there is room for it."""
        self._use_socket()
        try:
            self._socket.unwrap()
        except self._blocked[1] as error:
            raise self._blocking(error) from None
        except OSError:
            pass  # the client's own close_notify isn't awaited, and a client that is gone needs none
        self._socket.shutdown(1)

    def answer_end(self) -> None:
        """Before ``close``: a client that has sent its close_notify gets ours (RFC 8446 6.1)."""
        try:
            self.finish()
        except OSError:
            pass  # it didn't wait, or doesn't read

    def close(self) -> None:
        self._use_socket()
        super().close()

    def _blocking(self, error: OSError) -> BlockingIOError:
        self.wants_write = type(error) is self._blocked[1]
        return BlockingIOError()
