"""The PROXY protocol, versions 1 and 2: what a proxy says of its client before that client's first byte, TLS or not.

Bytes in, a :class:`Preface` out; no socket.  The numbers in comments are the sections of HAProxy's
``doc/proxy-protocol.txt``, which defines both versions.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from prefork.errors import ProtocolError
from prefork.net.proxy import text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LENGTH = 16384
"""The most bytes after the fixed part of a version 2 header: the largest thing that is sent there is a certificate."""

_LINE_START = b'PROXY '
_MAX_LINE = 107  # 2.1, with its CRLF
# 2.1: decimal ports without leading zeros, one blank between the parts, and nothing else.
_PORT = rb'(0|[1-9][0-9]{0,4})'
_LINE = re.compile(rb'PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ' + _PORT + rb' ' + _PORT + rb'\r\n')
_UNKNOWN_LINE = re.compile(rb'PROXY UNKNOWN(?: [ -~]*)?\r\n')  # whatever it says besides is to be ignored

_SIGNATURE = b'\r\n\r\n\0\r\nQUIT\n'
_FIXED = 16  # signature, version and command, family and protocol, length of the rest
_LOCAL, _PROXY = 0, 1
_UNSPECIFIED, _INET, _INET6, _UNIX = range(4)
_ADDRESSES = {_UNSPECIFIED: 0, _INET: 12, _INET6: 36, _UNIX: 216}  # 2.2: bytes that both ends take
_STREAM, _DATAGRAM = 1, 2
_CHECKSUM, _TLS = 0x03, 0x20
_TLS_CLIENT = 0x01


class Preface:
    """What a proxy has said.

    ``client`` is the address and port of whom it speaks for, None where it doesn't say; ``local`` whether it speaks for
    itself, as in a health check; ``tls`` whether the client speaks TLS with it.
    """

    __slots__ = ('client', 'local', 'tls')

    def __init__(self, client: tuple[str, int] | None, *, local: bool = False, tls: bool = False) -> None:
        self.client = client
        self.local = local
        self.tls = tls


class PrefaceParser:
    """One connection's.  ``preface`` is None until all of it is there."""

    __slots__ = ('_data', 'preface')

    def __init__(self) -> None:
        self._data = b''
        self.preface: Preface | None = None

    def feed(self, data: bytes) -> int:
        """Take in the preface from the beginning of ``data``, which isn't empty; how many bytes of that it had.

        The rest is the client's, so whoever looks at a socket must not take more from it.  Raises ProtocolError for
        what is no preface, which isn't answered: whoever sends that isn't a client.
        """
        known = self._data + data
        is_line = _LINE_START.startswith(known[: len(_LINE_START)])
        if not is_line and not _SIGNATURE.startswith(known[: len(_SIGNATURE)]):
            raise ProtocolError('it does not begin with the PROXY protocol')
        length = _line_length(known) if is_line else _block_length(known)
        if not 0 < length <= len(known):
            self._data = known
            return len(data)
        self.preface = _parse_line(known[:length]) if is_line else _parse_block(known[:length])
        return length - len(self._data)


# --- version 1: a line ------------------------------------------------------------------------------------------


def _line_length(data: bytes) -> int:
    """The length of the line that begins ``data``, 0 while it has no end."""
    end = data.find(b'\r\n', 0, _MAX_LINE)
    if end >= 0:
        return end + 2
    if len(data) >= _MAX_LINE:
        raise ProtocolError('the line of the PROXY protocol is too long')
    return 0


def _parse_line(line: bytes) -> Preface:
    if _UNKNOWN_LINE.fullmatch(line):
        return Preface(None)
    match = _LINE.fullmatch(line)
    if match is None:
        raise ProtocolError('the line of the PROXY protocol is malformed')
    family, source, destination, *ports = (part.decode('ascii') for part in match.groups())
    address = IPv4Address if family == '4' else IPv6Address
    try:
        client, _ = address(source), address(destination)
    except ValueError:
        raise ProtocolError('the line of the PROXY protocol has a malformed address') from None
    if any(int(port) > 65535 for port in ports):
        raise ProtocolError('the line of the PROXY protocol has a malformed port')
    return Preface((text_of(client), int(ports[0])))


# --- version 2: a block -----------------------------------------------------------------------------------------


def _block_length(data: bytes) -> int:
    """The length of the block that begins ``data``, 0 while that isn't known."""
    if len(data) < _FIXED:
        return 0
    if data[12] not in (0x20 | _LOCAL, 0x20 | _PROXY):
        raise ProtocolError('the PROXY protocol has a version or command that does not exist')
    length = int.from_bytes(data[14:16], 'big')
    if length > MAX_LENGTH:
        raise ProtocolError('the header of the PROXY protocol is too long')
    return _FIXED + length


def _parse_block(block: bytes) -> Preface:
    if block[12] & 0xF == _LOCAL:
        return Preface(None, local=True)  # 2.2: whatever it says besides is to be discarded
    family, protocol = block[13] >> 4, block[13] & 0xF
    if family not in _ADDRESSES or protocol not in (_UNSPECIFIED, _STREAM):
        raise ProtocolError('the PROXY protocol speaks of something else than a stream')
    if _UNSPECIFIED in (family, protocol):
        return Preface(None)  # 2.2: whatever follows is to be ignored
    end = _FIXED + _ADDRESSES[family]
    if len(block) < end:
        raise ProtocolError('the header of the PROXY protocol is shorter than its addresses')
    tls = _read_extensions(block, end)
    if family == _UNIX:
        return Preface(None, tls=tls)
    port = int.from_bytes(block[end - 4 : end - 2], 'big')
    client = IPv4Address(block[16:20]) if family == _INET else IPv6Address(block[16:32])
    return Preface((text_of(client), port), tls=tls)


def _read_extensions(block: bytes, start: int) -> bool:
    """Check what follows the addresses; whether the client speaks TLS with the proxy."""
    tls = False
    for kind, at, value in _extensions(block, start):
        if kind == _CHECKSUM:
            # 2.2.3: of the whole header, with zeros where the checksum itself stands.
            rest = block[at + len(value) :]
            if len(value) != 4 or crc32c(block[:at] + bytes(4) + rest) != int.from_bytes(value, 'big'):
                raise ProtocolError('the checksum of the PROXY protocol is wrong')
        elif kind == _TLS:
            if len(value) < 5:  # 2.2.6: flags, and the result of the verification of a certificate
                raise ProtocolError('an extension of the PROXY protocol is malformed')
            for _ in _extensions(value, 5):
                pass  # details, and more of them in later revisions: only their lengths can be checked
            tls = bool(value[0] & _TLS_CLIENT)
    return tls


def _extensions(data: bytes, start: int) -> Iterator[tuple[int, int, bytes]]:
    """The type of each extension (2.2: type, length, value), where its value begins, and that value."""
    at = start
    while at < len(data):
        value_at = at + 3
        end = value_at + int.from_bytes(data[at + 1 : value_at], 'big')
        if end > len(data):  # also where the length itself is cut
            raise ProtocolError('an extension of the PROXY protocol is malformed')
        yield data[at], value_at, data[value_at:end]
        at = end


def _checksum_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # RFC 9260 appendix A: the polynomial, bits reversed
    return byte


_CHECKSUMS = tuple(map(_checksum_of, range(256)))


def crc32c(data: bytes) -> int:
    """The checksum of RFC 9260 appendix A (zlib's has another polynomial)."""
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum = checksum >> 8 ^ _CHECKSUMS[(checksum ^ byte) & 0xFF]
    return checksum ^ 0xFFFFFFFF
