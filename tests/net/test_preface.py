"""The PROXY protocol: each header whole, byte by byte, and with a client's bytes behind it, which stay the client's."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.errors import ProtocolError
from prefork.net.preface import MAX_LENGTH, Preface, PrefaceParser, crc32c

SIGNATURE = bytes.fromhex('0D0A0D0A000D0A515549540A')
LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, UDP4, TCP6, UDP6, UNIX, UNIX_DATAGRAM = 0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32

IPV4 = socket.inet_aton('192.0.2.7') + socket.inet_aton('198.51.100.1') + struct.pack('!HH', 1234, 443)
IPV6 = (
    socket.inet_pton(socket.AF_INET6, '2001:db9::7')
    + socket.inet_pton(socket.AF_INET6, '2001:db9::1')
    + struct.pack('!HH', 1234, 443)
)
PATHS = b'/client'.ljust(108, b'\0') + b'/server'.ljust(108, b'\0')


def block(command: int, family: int, rest: bytes = b'') -> bytes:
    """A header of version 2."""
    return SIGNATURE + struct.pack('!BBH', command, family, len(rest)) + rest


def extension(kind: int, value: bytes) -> bytes:
    return struct.pack('!BH', kind, len(value)) + value


def tls(flags: int, *details: bytes) -> bytes:
    return extension(0x20, struct.pack('!BI', flags, 0) + b''.join(details))


def with_checksum(command: int, family: int, before: bytes, after: bytes = b'', wrong: int = 0) -> bytes:
    """A header whose checksum stands between two other parts of it."""
    zeroed = block(command, family, before + extension(3, bytes(4)) + after)
    at = len(SIGNATURE) + 4 + len(before) + 3
    return zeroed[:at] + struct.pack('!I', crc32c(zeroed) ^ wrong) + zeroed[at + 4 :]


EVERYTHING = (
    extension(1, b'http/1.1')
    + extension(2, b'a.example')
    + extension(4, b'')
    + extension(5, bytes(range(128)))
    + tls(7, extension(0x21, b'TLSv1.3'), extension(0x22, b'client'), extension(0x23, b'CIPHER'), extension(0x2F, b''))
    + extension(0x30, b'namespace')
    + extension(0xEA, b'\1vpce-1')
)
A, B = ('192.0.2.7', 1234), ('2001:db9::7', 1234)
LONGEST = b'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'

# header → client, whether the proxy speaks for itself, whether the client speaks TLS
GOOD: dict[str, tuple[bytes, tuple[str, int] | None, bool, bool]] = {
    '1: IPv4': (b'PROXY TCP4 192.0.2.7 198.51.100.1 1234 443\r\n', A, False, False),
    '1: IPv6': (b'PROXY TCP6 2001:db9::7 2001:db9::1 1234 443\r\n', B, False, False),
    '1: IPv6 in capitals': (b'PROXY TCP6 2001:DB9:0:0:0:0:0:7 ::1 1234 443\r\n', B, False, False),
    '1: IPv4 in IPv6': (b'PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 1234 443\r\n', A, False, False),
    '1: the least ports': (b'PROXY TCP4 192.0.2.7 0.0.0.0 0 0\r\n', ('192.0.2.7', 0), False, False),
    '1: the greatest': (
        b'PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n',
        ('255.255.255.255', 65535),
        False,
        False,
    ),
    '1: unknown': (b'PROXY UNKNOWN\r\n', None, False, False),
    '1: unknown, and more': (b'PROXY UNKNOWN ' + LONGEST + b' ' + LONGEST + b' 65535 65535\r\n', None, False, False),
    '1: unknown, and nonsense': (b'PROXY UNKNOWN what ever\r\n', None, False, False),
    '2: IPv4': (block(PROXY, TCP4, IPV4), A, False, False),
    '2: IPv6': (block(PROXY, TCP6, IPV6), B, False, False),
    '2: IPv4 in IPv6': (
        block(PROXY, TCP6, b'\0' * 10 + b'\xff\xff' + socket.inet_aton('192.0.2.7') + IPV6[16:]),
        A,
        False,
        False,
    ),
    '2: unix': (block(PROXY, UNIX, PATHS), None, False, False),
    '2: unix, TLS': (block(PROXY, UNIX, PATHS + tls(1)), None, False, True),
    '2: unspecified': (block(PROXY, UNSPEC), None, False, False),
    '2: unspecified, and something': (block(PROXY, UNSPEC, b'what ever'), None, False, False),
    '2: an unspecified protocol': (block(PROXY, 0x10, b'x'), None, False, False),
    '2: an unspecified family': (block(PROXY, 0x01), None, False, False),
    '2: local': (block(LOCAL, UNSPEC), None, True, False),
    '2: local, with addresses': (block(LOCAL, TCP4, IPV4), None, True, False),
    '2: local, of a family that does not exist': (block(LOCAL, 0xFF, b'\1\2'), None, True, False),
    '2: everything': (block(PROXY, TCP4, IPV4 + EVERYTHING), A, False, True),
    '2: not TLS': (block(PROXY, TCP4, IPV4 + tls(6)), A, False, False),
    '2: TLS, without details': (block(PROXY, TCP6, IPV6 + tls(1)), B, False, True),
    '2: a checksum': (with_checksum(PROXY, TCP4, IPV4), A, False, False),
    '2: a checksum between others': (with_checksum(PROXY, TCP6, IPV6 + tls(1), EVERYTHING), B, False, True),
    '2: the longest': (
        block(PROXY, TCP4, IPV4 + extension(4, bytes(MAX_LENGTH - len(IPV4) - 3))),
        A,
        False,
        False,
    ),
}

HELLO = b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'
CLIENTS = {'nothing': b'', 'a request': b'GET / HTTP/1.1\r\n', 'TLS': HELLO, 'another header': b'PROXY UNKNOWN\r\n'}


def seen(preface: Preface | None) -> tuple[tuple[str, int] | None, bool, bool]:
    assert preface is not None
    return preface.client, preface.local, preface.tls


@pytest.mark.parametrize('behind', CLIENTS.values(), ids=CLIENTS)
@pytest.mark.parametrize(('header', 'client', 'local', 'over_tls'), GOOD.values(), ids=GOOD)
def test_whole(header: bytes, client: tuple[str, int] | None, local: bool, over_tls: bool, behind: bytes) -> None:
    parser = PrefaceParser()
    assert parser.feed(header + behind) == len(header)
    assert seen(parser.preface) == (client, local, over_tls)


@pytest.mark.parametrize('header', [header for header, *_ in GOOD.values()], ids=GOOD)
def test_in_pieces(header: bytes) -> None:
    """Whatever part of it is there belongs to it, and nothing behind it does."""
    whole = PrefaceParser()
    whole.feed(header)
    for size in (1, 2, 15, 16, 17) if len(header) < 1000 else (15, 4096):
        parser = PrefaceParser()
        stream = header + HELLO
        position = 0
        while parser.preface is None:
            taken = parser.feed(stream[position : position + size])
            assert taken > 0
            position += taken
        assert position == len(header)
        assert seen(parser.preface) == seen(whole.preface)


V4 = b'PROXY TCP4 192.0.2.7 198.51.100.1 1234 443\r\n'
BAD = {
    'a request': b'GET / HTTP/1.1\r\n',
    'TLS': HELLO,
    'one byte of something else': b'G',
    'almost': b'PROXI',
    '1: small letters': b'proxy tcp4 192.0.2.7 198.51.100.1 1234 443\r\n',
    '1: a tab for a blank': V4.replace(b' ', b'\t'),
    '1: two blanks': V4.replace(b' 1234', b'  1234'),
    '1: a blank at its end': V4.replace(b'\r\n', b' \r\n'),
    '1: a bare LF': V4.replace(b'\r', b'') + b'GET / HTTP/1.1\r\n',
    '1: a bare CR': V4.replace(b'\n', b'') + b'GET / HTTP/1.1\r\n',
    '1: nothing': b'PROXY \r\n',
    '1: a protocol that does not exist': V4.replace(b'TCP4', b'UDP4'),
    '1: unknown, and no blank': b'PROXY UNKNOWNS\r\n',
    '1: unknown, and a control': b'PROXY UNKNOWN \0\r\n',
    '1: too few parts': V4.replace(b' 443', b''),
    '1: too many parts': V4.replace(b' 443', b' 443 1'),
    '1: no address': V4.replace(b'192.0.2.7', b'localhost'),
    '1: an address cut': V4.replace(b'192.0.2.7', b'192.0.2'),
    '1: an address too long': V4.replace(b'192.0.2.7', b'192.0.2.7.1'),
    '1: a part of an address above 255': V4.replace(b'192.0.2.7', b'192.0.2.256'),
    '1: a zero in front of a part': V4.replace(b'192.0.2.7', b'192.0.2.07'),
    '1: the other end is none': V4.replace(b'198.51.100.1', b'198.51.100'),
    '1: IPv6 as IPv4': V4.replace(b'192.0.2.7', b'2001:db9::7'),
    '1: IPv4 as IPv6': V4.replace(b'TCP4', b'TCP6'),
    '1: one of each': b'PROXY TCP6 2001:db9::7 192.0.2.1 1 2\r\n',
    '1: two gaps in IPv6': b'PROXY TCP6 2001::db9::7 ::1 1 2\r\n',
    '1: IPv6 with a zone': b'PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n',
    '1: IPv6 in brackets': b'PROXY TCP6 [::1] [::1] 1 2\r\n',
    '1: a port above 65535': V4.replace(b'1234', b'65536'),
    '1: the other port above 65535': V4.replace(b'443', b'99999'),
    '1: a port with a sign': V4.replace(b'1234', b'+1234'),
    '1: a negative port': V4.replace(b'1234', b'-1'),
    '1: a zero in front of a port': V4.replace(b'1234', b'01234'),
    '1: no number': V4.replace(b'1234', b'12a4'),
    '1: an underscore in a number': V4.replace(b'1234', b'1_234'),
    '1: no end within 107 bytes': b'PROXY UNKNOWN ' + b'x' * 93,
    '1: an end at 108 bytes': b'PROXY UNKNOWN ' + b'x' * 92 + b'\r\n',
    '2: another signature': block(PROXY, TCP4, IPV4).replace(b'QUIT', b'QUIP'),
    '2: version 1': block(0x11, TCP4, IPV4),
    '2: version 3': block(0x31, TCP4, IPV4),
    '2: a command that does not exist': block(0x22, TCP4, IPV4),
    '2: a family that does not exist': block(PROXY, 0x41, IPV4),
    '2: a protocol that does not exist': block(PROXY, 0x13, IPV4),
    '2: datagrams, IPv4': block(PROXY, UDP4, IPV4),
    '2: datagrams, IPv6': block(PROXY, UDP6, IPV6),
    '2: datagrams, unix': block(PROXY, UNIX_DATAGRAM, PATHS),
    '2: datagrams of no family': block(PROXY, 0x02),
    '2: IPv4 cut': block(PROXY, TCP4, IPV4[:-1]),
    '2: IPv6 cut': block(PROXY, TCP6, IPV6[:-1]),
    '2: IPv6 in the room of IPv4': block(PROXY, TCP6, IPV4),
    '2: unix cut': block(PROXY, UNIX, PATHS[:-1]),
    '2: too long': block(PROXY, TCP4, bytes(MAX_LENGTH + 1)),
    '2: too long, as soon as it says so': block(LOCAL, UNSPEC, bytes(65535))[:16],
    '2: an extension without a length': block(PROXY, TCP4, IPV4 + b'\4'),
    '2: half a length': block(PROXY, TCP4, IPV4 + b'\4\0'),
    '2: an extension longer than the header': block(PROXY, TCP4, IPV4 + b'\4\0\2x'),
    '2: the second one': block(PROXY, TCP4, IPV4 + extension(4, b'x') + b'\4\0\2x'),
    '2: TLS cut': block(PROXY, TCP4, IPV4 + extension(0x20, bytes(4))),
    '2: a detail of TLS cut': block(PROXY, TCP4, IPV4 + tls(1, b'\x21\0\7TLSv1')),
    '2: a checksum that is wrong': with_checksum(PROXY, TCP4, IPV4, wrong=1),
    '2: a checksum of something else': with_checksum(PROXY, TCP4, IPV4).replace(b'\x04\xd2', b'\x04\xd3'),
    '2: a checksum cut': block(PROXY, TCP4, IPV4 + extension(3, bytes(3))),
    '2: a second checksum that is wrong': with_checksum(PROXY, TCP4, IPV4, extension(3, bytes(4))),
}


@pytest.mark.parametrize('size', [1, 65536], ids=['byte by byte', 'whole'])
@pytest.mark.parametrize('header', BAD.values(), ids=BAD)
def test_refused(header: bytes, size: int) -> None:
    parser = PrefaceParser()
    with pytest.raises(ProtocolError):
        for at in range(0, len(header), size):
            assert parser.feed(header[at : at + size]) == len(header[at : at + size])
    assert parser.preface is None


def test_what_ends_too_early_is_none() -> None:
    for header, *_ in GOOD.values():
        parser = PrefaceParser()
        assert parser.feed(header[:-1]) == len(header) - 1
        assert parser.preface is None


def test_the_checksum() -> None:
    """RFC 3720 B.4 has these, and the check value of the polynomial is known everywhere."""
    assert crc32c(b'123456789') == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b'\xff' * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b'') == 0


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
BLOCKS = st.one_of(
    st.binary(max_size=300).map(lambda rest: SIGNATURE + rest),
    st.tuples(st.sampled_from([LOCAL, PROXY]), st.sampled_from([TCP4, TCP6, UNIX]), st.binary(max_size=300)).map(
        lambda parts: block(*parts)
    ),
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=6).map(
        lambda pairs: block(PROXY, TCP4, IPV4 + b''.join(extension(*pair) for pair in pairs))
    ),
)
LINES = st.text('PROXYTCUNKW46 .:0123456789abf\r\n', max_size=120).map(lambda rest: b'PROXY ' + rest.encode())


def outcome(data: bytes, sizes: list[int]) -> object:
    """What becomes of ``data`` in pieces: what was understood and how much of it, that it was refused, or neither."""
    parser = PrefaceParser()
    position = 0
    try:
        for size in [*sizes, *[len(data)] * 2]:
            piece = data[position : position + size]
            if piece and parser.preface is None:
                position += parser.feed(piece)
    except ProtocolError:
        return 'refused'
    return (position, *seen(parser.preface)) if parser.preface is not None else 'incomplete'


@given(st.one_of(LINES, BLOCKS, st.binary(max_size=100)), st.lists(st.integers(1, 60), max_size=10))
def test_any_bytes_in_any_pieces(data: bytes, sizes: list[int]) -> None:
    assert outcome(data, sizes) == outcome(data, [])


@given(ADDRESSES, st.integers(0, 65535))
def test_every_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    expected = str(getattr(address, 'ipv4_mapped', None) or address), port
    line = PrefaceParser()
    line.feed(f'PROXY TCP{address.version} {address} {address} {port} 1\r\n'.encode())
    binary = PrefaceParser()
    family = TCP4 if address.version == 4 else TCP6
    binary.feed(block(PROXY, family, address.packed * 2 + struct.pack('!HH', port, 1)))
    assert seen(line.preface) == seen(binary.preface) == (expected, False, False)
