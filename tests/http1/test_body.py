"""A request's body: counted (RFC 9112 6.2) and chunked (7.1), whole and in pieces, and the bytes behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest

from prefork.errors import ProtocolError
from prefork.http1 import body as body_module
from prefork.http1.body import ChunkedBody, CountedBody

MAX_BODY = 1000
BEHIND = b'\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n'

FEEDS: dict[str, Callable[[bytes], list[bytes]]] = {
    'whole': lambda data: [data],
    'byte by byte': lambda data: [data[i : i + 1] for i in range(len(data))],
    'with bytes behind': lambda data: [data + BEHIND],
    'by threes, with bytes behind': lambda data: [(data + BEHIND)[i : i + 3] for i in range(0, len(data + BEHIND), 3)],
}


@pytest.fixture(params=FEEDS)
def feed(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def decode(body: CountedBody | ChunkedBody, pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    """The payload and what follows the body, which must end somewhere in ``pieces``."""
    payload = b''
    remaining = iter(pieces)
    for piece in remaining:
        payload += body.feed(piece)
        if body.done:
            return payload, body.rest + b''.join(remaining)
    raise AssertionError(f'the body is not done after {payload!r}')


def behind(feed: str) -> bytes:
    return BEHIND if 'behind' in feed else b''


@pytest.mark.parametrize('length', [1, 2, 3, 5, 100])
def test_counted(length: int, feed: str) -> None:
    data = bytes(range(length))
    assert decode(CountedBody(length), FEEDS[feed](data)) == (data, behind(feed))


def test_counted_without_bytes_is_done_before_any_came() -> None:
    body = CountedBody(0)
    assert (body.done, body.rest) == (True, b'')


def test_counted_is_not_done_before_its_last_byte() -> None:
    body = CountedBody(3)
    assert body.feed(b'ab') == b'ab'
    assert not body.done
    assert body.feed(b'cd') == b'c'
    assert (body.done, body.rest) == (True, b'd')


LONG_EXTENSION = b'3;' + b'x' * (body_module._MAX_LINE - 2) + b'\r\nabc\r\n0\r\n\r\n'

# name → as it travels, the payload
CHUNKED: dict[str, tuple[bytes, bytes]] = {
    'the last chunk alone': (b'0\r\n\r\n', b''),
    'the last chunk of many zeros': (b'0000\r\n\r\n', b''),
    'one chunk (RFC 9112 7.1)': (b'3\r\nabc\r\n0\r\n\r\n', b'abc'),
    'several chunks': (b'1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n', b'abcdef'),
    'a size in small hexadecimal digits': (b'1a\r\n' + b'x' * 26 + b'\r\n0\r\n\r\n', b'x' * 26),
    'a size in capital hexadecimal digits': (b'1A\r\n' + b'x' * 26 + b'\r\n0\r\n\r\n', b'x' * 26),
    'a size with leading zeros': (b'0000000000000003\r\nabc\r\n0\r\n\r\n', b'abc'),
    'line ends and digits as data': (b'7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n', b'\r\n0\r\n\r\n'),
    'every byte as data': (b'100\r\n' + bytes(range(256)) + b'\r\n0\r\n\r\n', bytes(range(256))),
    'as much as is allowed': (b'3e8\r\n' + b'x' * 1000 + b'\r\n0\r\n\r\n', b'x' * 1000),
    'as much as is allowed, in two': (
        b'1f4\r\n%b\r\n1f4\r\n%b\r\n0\r\n\r\n' % (b'x' * 500, b'y' * 500),
        b'x' * 500 + b'y' * 500,
    ),
    'an extension (RFC 9112 7.1.1)': (b'3;a\r\nabc\r\n0;b=c\r\n\r\n', b'abc'),
    'several extensions': (b'3;a=b;c;d=e\r\nabc\r\n0\r\n\r\n', b'abc'),
    'blanks around an extension (BWS)': (b'3 \t; a = b ;\tc\t=\t"d"\r\nabc\r\n0\t;c\r\n\r\n', b'abc'),
    'a quoted extension': (b'3;a="b;c, \\"\xe9\\" 9"\r\nabc\r\n0\r\n\r\n', b'abc'),
    'an extension that looks like a size': (b'3;5\r\nabc\r\n0\r\n\r\n', b'abc'),
    'the longest line': (LONG_EXTENSION, b'abc'),
    'a trailer (RFC 9112 7.1.2)': (b'0\r\nA: b\r\n\r\n', b''),
    'trailers': (b'3\r\nabc\r\n0\r\nA: b\r\nC:\r\nA:\t\xe9 \r\n\r\n', b'abc'),
    'a trailer that must not change anything': (b'0\r\nContent-Type: x\r\nCookie: x\r\n\r\n', b''),
    'the most trailers': (b'0\r\n' + b'A: b\r\n' * 64 + b'\r\n', b''),
    'the longest trailer': (b'0\r\nA:' + b'b' * (body_module._MAX_LINE - 2) + b'\r\n\r\n', b''),
}

# name → as it travels, the status
BAD: dict[str, tuple[bytes, int]] = {
    'no size (RFC 9112 7.1)': (b'\r\nabc\r\n', 400),
    'a size with an underscore, which int() takes': (b'6_0\r\n', 400),
    'a size with a plus sign, which int() takes': (b'+6\r\n', 400),
    'a size with a minus sign': (b'-6\r\n', 400),
    'a size with a prefix, which int() takes': (b'0x6\r\n', 400),
    'a size behind a blank, which int() takes': (b' 6\r\n', 400),
    'a size behind a tab': (b'\t6\r\n', 400),
    'a size before a blank, which int() takes': (b'6 \r\n', 400),
    'a size before a tab': (b'6\t\r\n', 400),
    'a size behind a vertical tab, which int() takes': (b'\x0b6\r\n', 400),
    'a size before a form feed, which int() takes': (b'6\x0c\r\n', 400),
    'a size before a no-break space': (b'6\xa0\r\n', 400),
    'a size with NUL': (b'6\0\r\n', 400),
    'a size with a fraction': (b'6.0\r\n', 400),
    'the last chunk with a minus sign': (b'-0\r\n\r\n', 400),
    'the last chunk behind a blank': (b' 0\r\n\r\n', 400),
    'a size with a blank': (b'6 0\r\n', 400),
    'a size that is no number': (b'g\r\n', 400),
    'a size of another script': ('\uff16\r\n'.encode(), 400),
    'a size in quotes': (b'"6"\r\n', 400),
    'a size of seventeen digits (RFC 9112 7.1)': (b'0' * 16 + b'3\r\n', 400),
    'an extension without a name (RFC 9112 7.1.1)': (b'6;\r\n', 400),
    'an extension, and one without a name': (b'6;a;\r\n', 400),
    'an extension with a value alone': (b'6;="a"\r\n', 400),
    'an extension without the value that it announces': (b'6;a=\r\n', 400),
    'an extension that is no token': (b'6;a/b\r\n', 400),
    'an extension with two values': (b'6;a=b c\r\n', 400),
    'a quoted extension without end': (b'6;a="b"; c="d; e\r\n', 400),
    'a quoted extension that escapes its end': (b'6;a="b\\"\r\n', 400),
    'a quoted extension with more behind it': (b'6;a="b"c\r\n', 400),
    'a blank behind an extension': (b'6;a \r\n', 400),
    'an extension without a size': (b';a\r\n', 400),
    'an extension behind a comma': (b'6,a\r\n', 400),
    'NUL in an extension': (b'6;a\0\r\n', 400),
    'a control in an extension': (b'6;\x1b\r\n', 400),
    'a bare CR in an extension': (b'6;a\rb\r\n', 400),
    'a bare LF in an extension': (b'6;a\nb\r\n', 400),
    'a bare LF in a quoted extension': (b'6;a="\n"\r\n', 400),
    'a bare LF behind a size (RFC 9112 7.1)': (b'3\nabc\r\n0\r\n\r\n', 400),
    'a bare LF behind a size, and nothing yet': (b'3\n', 400),
    'a bare CR behind a size': (b'3\rabc\r\n0\r\n\r\n', 400),
    'CR twice behind a size': (b'3\r\r\nabc\r\n', 400),
    'nothing behind the data (RFC 9112 7.1)': (b'3\r\nabc0\r\n\r\n', 400),
    'more data than the size': (b'3\r\nabcd\r\n0\r\n\r\n', 400),
    'a bare LF behind the data': (b'3\r\nabc\n0\r\n\r\n', 400),
    'a bare CR behind the data': (b'3\r\nabc\r0\r\n\r\n', 400),
    'CR and another byte behind the data': (b'3\r\nabc\rx0\r\n\r\n', 400),
    'LF and CR behind the data': (b'3\r\nabc\n\r0\r\n\r\n', 400),
    'less data than the size': (b'9\r\nabc\r\n0\r\n\r\n5', 400),
    'a line that is too long': (b'3;' + b'x' * (body_module._MAX_LINE - 1) + b'\r\n', 400),
    'a line without end': (b'3;' + b'x' * (2 * body_module._MAX_LINE), 400),
    'more than is allowed (RFC 9110 15.5.14)': (b'3e9\r\n', 413),
    'more than is allowed, in two': (b'1f4\r\n' + b'x' * 500 + b'\r\n1f5\r\n', 413),
    'more than is allowed by one byte after the most': (b'3e8\r\n' + b'x' * 1000 + b'\r\n1\r\n', 413),
    'as much as sixteen digits can say': (b'f' * 16 + b'\r\n', 413),
    'a trailer without a colon': (b'0\r\nA\r\n\r\n', 400),
    'a trailer with a blank before the colon (RFC 9112 5.1)': (b'0\r\nA : b\r\n\r\n', 400),
    'a trailer that frames (RFC 9110 6.5.1)': (b'0\r\ncontent-Length: 5\r\n\r\n', 400),
    'a trailer that frames otherwise (RFC 9110 6.5.1)': (b'0\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n', 400),
    'a trailer that routes (RFC 9110 6.5.1)': (b'0\r\nHost: x\r\n\r\n', 400),
    'a trailer about the connection (RFC 9110 6.5.1)': (b'0\r\nConnection: close\r\n\r\n', 400),
    'a trailer about trailers (RFC 9110 6.5.1)': (b'0\r\nTrailer: A\r\n\r\n', 400),
    'a trailer without a name': (b'0\r\n: b\r\n\r\n', 400),
    'a trailer with NUL': (b'0\r\nA: \0\r\n\r\n', 400),
    'a trailer with a bare CR': (b'0\r\nA: b\rc\r\n\r\n', 400),
    'a trailer with a bare LF': (b'0\r\nA: b\nc: d\r\n\r\n', 400),
    'a folded trailer (RFC 9112 5.2)': (b'0\r\nA: b\r\n c\r\n\r\n', 400),
    'a chunk among the trailers': (b'0\r\n3\r\nabc\r\n0\r\n\r\n', 400),
    'a bare LF for the end': (b'0\r\n\n', 400),
    'a bare CR for the end': (b'0\r\n\rG', 400),
    'one trailer too many (RFC 6585 5)': (b'0\r\n' + b'A: b\r\n' * 65 + b'\r\n', 431),
    'a trailer that is too long': (b'0\r\nA:' + b'b' * body_module._MAX_LINE + b'\r\n\r\n', 400),
    'a trailer without end': (b'0\r\nA:' + b'b' * (2 * body_module._MAX_LINE), 400),
}


@pytest.mark.parametrize('name', CHUNKED)
def test_chunked(name: str, feed: str) -> None:
    wire, payload = CHUNKED[name]
    assert decode(ChunkedBody(MAX_BODY), FEEDS[feed](wire)) == (payload, behind(feed))


@pytest.mark.parametrize('name', BAD)
def test_bad(name: str, feed: str) -> None:
    wire, status = BAD[name]
    with pytest.raises(ProtocolError) as caught:
        decode(ChunkedBody(MAX_BODY), FEEDS[feed](wire))
    assert caught.value.status == status


EVERYTHING = b'4;a="b c"\r\n\r\n\r\n\r\n0A\r\n0123456789\r\n000\r\nA: b\r\nC: d\r\n\r\n'
EVERYTHING_DECODED = b'\r\n\r\n0123456789'


def test_chunked_cut_at_every_byte() -> None:
    data = EVERYTHING + BEHIND
    for cut in range(len(data)):
        assert decode(ChunkedBody(MAX_BODY), [data[:cut], data[cut:]]) == (EVERYTHING_DECODED, BEHIND), cut


def test_chunked_is_not_done_before_its_last_byte() -> None:
    for end in range(len(EVERYTHING)):
        body = ChunkedBody(MAX_BODY)
        assert EVERYTHING_DECODED.startswith(body.feed(EVERYTHING[:end]))
        assert not body.done, end


def test_what_has_come_of_a_chunk_is_handed_on() -> None:
    """A chunk may be as large as max_body: nothing of it is kept back until the rest has come."""
    body = ChunkedBody(MAX_BODY)
    assert body.feed(b'64\r\nab') == b'ab'
    assert body.feed(b'cd') == b'cd'
    assert body.feed(b'e' * 96 + b'\r') == b'e' * 96
    assert body.feed(b'\n0\r\n\r\nrest') == b''
    assert (body.done, body.rest) == (True, b'rest')


# name → the extension of each chunk, its payload, how many such chunks are taken before one is refused
EXTENDED = {
    'a long one a byte': (b';' + b'x' * 1000, b'a', 16),
    'a short one a byte': (b';x', b'a', 3000),
    'a signature for much': (b';chunk-signature=' + b'0' * 64, b'a' * 4096, 3000),
}


@pytest.mark.parametrize('name', EXTENDED)
def test_extensions_are_bounded_in_total(name: str) -> None:
    """max_body counts payload: without a bound of their own they would be an endless request (RFC 9112 7.1.1)."""
    extension, data, taken = EXTENDED[name]
    body = ChunkedBody(1 << 30)
    chunk = b'%x%b\r\n%b\r\n' % (len(data), extension, data)
    assert body.feed(chunk * taken) == data * taken
    if taken == 3000:
        return
    with pytest.raises(ProtocolError, match='extensions are too large') as caught:
        body.feed(chunk)
    assert caught.value.status == 400


def test_many_small_chunks_are_no_burden() -> None:
    """What one recv() can bring of chunks of a byte each: the loop serves nobody else meanwhile."""
    data = b'1\r\na\r\n' * (65536 // 6)

    def seconds() -> float:
        body = ChunkedBody(1 << 30)
        started = time.process_time()
        body.feed(data)
        return time.process_time() - started

    assert (
        min(seconds() for _ in range(5)) < 0.05
    )  # in seconds; copying the rest of the bytes at each chunk takes longer


def test_a_size_too_large_is_refused_before_its_data() -> None:
    body = ChunkedBody(3)
    assert body.feed(b'3\r\nabc\r\n1') == b'abc'
    with pytest.raises(ProtocolError) as caught:
        body.feed(b'\r\n')
    assert caught.value.status == 413
