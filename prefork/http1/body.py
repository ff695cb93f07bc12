"""A request's body, out of the bytes that arrive: counted (RFC 9112 6.2) or chunked (7.1)."""

from __future__ import annotations

from prefork.errors import ProtocolError
from prefork.http1 import grammar

_MAX_LINE = 4096  # of a chunk-size line with its extensions, and of a trailer line
_MAX_TRAILERS = 64

# RFC 9112 7.1.1: the total of chunk extensions ought to be limited.  A signature a chunk fits in, a body of hardly
# anything but extensions doesn't: max_body counts none of it.
_FREE_EXTENSIONS = 16384
_EXTENSIONS_PER_BYTE = 2

# RFC 9110 6.5.1: framing and routing are over when trailers come.  Nobody sends these but to see who believes them.
_FORBIDDEN_TRAILERS = frozenset((b'content-length', b'host', b'transfer-encoding', b'trailer', b'connection'))


class CountedBody:
    """``length`` bytes.  After ``feed`` has made ``done`` true, ``rest`` is what follows the body."""

    __slots__ = ('_remaining', 'done', 'rest')

    receive_size = 65536
    """Bytes that ``feed`` is best given at once."""

    def __init__(self, length: int) -> None:
        self._remaining = length
        self.done = length == 0
        self.rest = b''

    def feed(self, data: bytes) -> bytes:
        """The part of ``data`` that belongs to the body."""
        remaining = self._remaining
        if len(data) < remaining:
            self._remaining = remaining - len(data)
            return data
        self.done = True
        self.rest = data[remaining:]
        return data[:remaining]


class ChunkedBody:
    """Chunks up to the last one and its trailers.  ``max_body`` bounds the payload, in bytes: more is a 413.

    Trailers are checked against the grammar and dropped: merging them into the head would let a client add fields
    that whoever looked at the head never saw (RFC 9110 6.5.1).
    """

    __slots__ = ('_allowance', '_buffer', '_chunk', '_extensions', '_state', '_trailers', 'done', 'rest')

    receive_size = 16384  # a whole TLS record, but of chunks with a byte each no more than are read in a moment

    def __init__(self, max_body: int) -> None:
        self._allowance = max_body
        self._buffer = b''
        self._chunk = 0  # bytes of the present chunk that are still to come
        self._extensions = _FREE_EXTENSIONS  # bytes of them that may still come
        self._state = self._size
        self._trailers = 0
        self.done = False
        self.rest = b''

    def feed(self, data: bytes) -> bytes:
        """The payload in ``data``.  Raises ProtocolError as soon as it can't be a chunked body."""
        self._buffer = self._buffer + data if self._buffer else data
        payload: list[bytes] = []
        position = 0
        while not self.done:
            following = self._state(position, payload)
            if following is None:
                self._buffer = self._buffer[position:]
                return b''.join(payload)
            position = following
        self.rest = self._buffer[position:]
        self._buffer = b''
        return b''.join(payload)

    # Each state reads from ``position`` on and returns where it got to, or None where it needs more bytes.

    def _line(self, position: int) -> tuple[bytes, int] | None:
        end = self._buffer.find(b'\r\n', position)
        if end < 0:
            if len(self._buffer) - position > _MAX_LINE + 1:  # the CR of its end may have come
                raise ProtocolError('a line of the chunked body is too long')
            if grammar.BARE_LF.search(self._buffer, position) or grammar.BARE_CR.search(self._buffer, position):
                raise ProtocolError('a line of the chunked body must end with CR and LF')
            return None
        if end - position > _MAX_LINE:
            raise ProtocolError('a line of the chunked body is too long')
        return self._buffer[position:end], end + 2

    def _size(self, position: int, payload: list[bytes]) -> int | None:
        buffer = self._buffer
        match = grammar.CHUNK_LINE.match(buffer, position)
        if match is None:
            if self._line(position) is None:
                return None
            raise ProtocolError('a chunk size is malformed')
        start = match.end()
        if start - position > _MAX_LINE + 2:
            raise ProtocolError('a line of the chunked body is too long')
        size = int(match[1], 16)  # the grammar allows hex digits alone: int() would take "6_0" and "+6"
        if size > self._allowance:
            raise ProtocolError('the body is too large', 413)
        self._allowance -= size
        if match[2] is not None:
            self._count_extensions(len(match[2]), size)
        end = start + size
        if size and buffer[end : end + 2] == b'\r\n':  # all of the chunk is there: its next states are done with
            payload.append(buffer[start:end])
            return end + 2
        self._chunk = size
        self._state = self._data if size else self._trailer
        return start

    def _count_extensions(self, length: int, size: int) -> None:
        self._extensions += _EXTENSIONS_PER_BYTE * size - length
        if self._extensions < 0:
            raise ProtocolError('the chunk extensions are too large')

    def _data(self, position: int, payload: list[bytes]) -> int | None:
        piece = self._buffer[position : position + self._chunk]
        if not piece:
            return None
        payload.append(piece)
        self._chunk -= len(piece)
        if not self._chunk:
            self._state = self._data_end
        return position + len(piece)

    def _data_end(self, position: int, payload: list[bytes]) -> int | None:
        end = self._buffer[position : position + 2]
        if not b'\r\n'.startswith(end):
            raise ProtocolError('a chunk is longer than its size')
        if len(end) < 2:
            return None
        self._state = self._size
        return position + 2

    def _trailer(self, position: int, payload: list[bytes]) -> int | None:
        found = self._line(position)
        if found is None:
            return None
        line, position = found
        if not line:
            self.done = True
            return position
        self._trailers += 1
        if self._trailers > _MAX_TRAILERS:
            raise ProtocolError('there are too many trailers', 431)
        if not grammar.FIELD_LINE.fullmatch(line):
            raise ProtocolError('a trailer is malformed')
        if line.partition(b':')[0].lower() in _FORBIDDEN_TRAILERS:
            raise ProtocolError('a trailer may not say what a head has to')
        return position
