"""Where a request's body ends (RFC 9112 6), what Expect asks for, and whether the connection persists (9.3)."""

from __future__ import annotations

import pytest

from prefork.http1.head import CHUNKED
from tests.http1.reception import accepted, head, refused

POST = b'POST / HTTP/1.1'
POST_1_0 = b'POST / HTTP/1.0'
CHUNKS = b'3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n'

# name → (request line, lines, the body as it travels, its length or CHUNKED)
SERVED: dict[str, tuple[bytes, list[bytes], bytes, int]] = {
    'neither field: no body (RFC 9112 6.3)': (POST, [], b'', 0),
    'neither field in HTTP/1.0': (POST_1_0, [], b'', 0),
    'no bytes (RFC 9112 6.3)': (POST, [b'Content-Length: 0'], b'', 0),
    'five bytes (RFC 9112 6.2)': (POST, [b'Content-Length: 5'], b'abcde', 5),
    'five bytes in HTTP/1.0': (POST_1_0, [b'Content-Length: 5'], b'abcde', 5),
    'five bytes of a GET (RFC 9110 9.3.1)': (b'GET / HTTP/1.1', [b'Content-Length: 5'], b'abcde', 5),
    'leading zeros (RFC 9110 8.6)': (POST, [b'Content-Length: 005'], b'abcde', 5),
    'nineteen zeros': (POST, [b'Content-Length: ' + b'0' * 19], b'', 0),
    'more leading zeros than int() takes digits': (POST, [b'Content-Length: ' + b'0' * 5000 + b'5'], b'abcde', 5),
    'blanks and tabs around the digits': (POST, [b'Content-Length: \t5 \t'], b'abcde', 5),
    'no blank before the digits': (POST, [b'Content-Length:5'], b'abcde', 5),
    'a body that looks like a request': (POST, [b'Content-Length: 18'], b'GET / HTTP/1.1\r\n\r\n', 18),
    'chunked (RFC 9112 7.1)': (POST, [b'Transfer-Encoding: chunked'], CHUNKS, CHUNKED),
    'chunked in other letters (RFC 9112 7)': (POST, [b'transfer-ENCODING: CHUNKed'], CHUNKS, CHUNKED),
    'chunked between tabs': (POST, [b'Transfer-Encoding:\tchunked\t'], CHUNKS, CHUNKED),
    'chunked of a GET': (b'GET / HTTP/1.1', [b'Transfer-Encoding: chunked'], CHUNKS, CHUNKED),
    'a length with an underscore beside chunked': (
        POST,
        [b'Content_Length: 5', b'Transfer-Encoding: chunked'],
        CHUNKS,
        CHUNKED,
    ),
}

# RFC 9110 8.6: Content-Length = 1*DIGIT, and these digits are ASCII's
BAD_LENGTHS = {
    'empty': b'',
    'plus sign': b'+1',
    'minus sign': b'-1',
    'minus zero': b'-0',
    'underscore': b'1_0',
    'hexadecimal': b'0x1',
    'hexadecimal digit': b'a',
    'fraction': b'1.0',
    'exponent': b'1e3',
    'blank within': b'1 0',
    'tab within': b'1\t0',
    'full-width digit': '\uff11'.encode(),
    'superscript digit of latin-1': b'\xb2',
    'no-break space before': b'\xa01',
    'list of equal lengths': b'5, 5',
    'list of one': b'5,',
    'quotes': b'"5"',
    'word': b'five',
    'nineteen digits': b'1' * 19,
    'nineteen digits behind zeros': b'0' * 19 + b'1' * 19,
    'five thousand digits, which int() itself refuses': b'1' * 5000,
}

# name → (request line, lines, status)
REFUSED: dict[str, tuple[bytes, list[bytes], int]] = {
    **{f'length: {name}': (POST, [b'Content-Length: ' + value], 400) for name, value in BAD_LENGTHS.items()},
    'eighteen digits are a length, and too much (RFC 9110 15.5.14)': (POST, [b'Content-Length: ' + b'9' * 18], 413),
    'both framings (RFC 9112 6.1)': (POST, [b'Content-Length: 5', b'Transfer-Encoding: chunked'], 400),
    'both framings, the other way round': (POST, [b'Transfer-Encoding: chunked', b'Content-Length: 5'], 400),
    'both framings, no bytes': (POST, [b'Content-Length: 0', b'Transfer-Encoding: chunked'], 400),
    'both framings, coding unknown': (POST, [b'Content-Length: 5', b'Transfer-Encoding: x'], 400),
    'chunked in HTTP/1.0 (RFC 9112 6.1)': (POST_1_0, [b'Transfer-Encoding: chunked'], 400),
    'gzip in HTTP/1.0': (POST_1_0, [b'Transfer-Encoding: gzip'], 400),
    'gzip, chunked is not implemented (RFC 9112 6.1)': (POST, [b'Transfer-Encoding: gzip, chunked'], 501),
    'gzip, chunked on two lines': (POST, [b'Transfer-Encoding: gzip', b'Transfer-Encoding: chunked'], 501),
    'gzip with a parameter, chunked': (POST, [b'Transfer-Encoding: gzip;q=1 ,\tchunked'], 501),
    'identity, chunked': (POST, [b'Transfer-Encoding: identity, chunked'], 501),
    'what is no token, chunked': (POST, [b'Transfer-Encoding: \xe9, chunked'], 400),
    'an empty coding, chunked': (POST, [b'Transfer-Encoding: , chunked'], 400),
    'an empty coding between two': (POST, [b'Transfer-Encoding: gzip,,chunked'], 400),
    'chunked, chunked (RFC 9112 6.3)': (POST, [b'Transfer-Encoding: chunked, chunked'], 400),
    'chunked on two lines': (POST, [b'Transfer-Encoding: chunked', b'Transfer-Encoding: Chunked'], 400),
    'chunked, gzip (RFC 9112 6.3)': (POST, [b'Transfer-Encoding: chunked, gzip'], 400),
    'chunked, gzip on two lines': (POST, [b'Transfer-Encoding: chunked', b'Transfer-Encoding: gzip'], 400),
    'chunked, gzip, chunked': (POST, [b'Transfer-Encoding: chunked, gzip, chunked'], 400),
    'chunked and an empty coding': (POST, [b'Transfer-Encoding: chunked,'], 400),
    'gzip (RFC 9112 6.1)': (POST, [b'Transfer-Encoding: gzip'], 501),
    'gzip with a parameter': (POST, [b'Transfer-Encoding: gzip; a="b"'], 501),
    'identity': (POST, [b'Transfer-Encoding: identity'], 501),
    'no coding': (POST, [b'Transfer-Encoding:'], 400),
    'chunked with a parameter (RFC 9112 7.1)': (POST, [b'Transfer-Encoding: chunked;a=b'], 400),
    'chunked with a parameter behind blanks': (POST, [b'Transfer-Encoding: chunked ;\tq=1'], 400),
    'chunked with a parameter, chunked': (POST, [b'Transfer-Encoding: chunked;a=b, chunked'], 400),
    'a parameter alone': (POST, [b'Transfer-Encoding: ;a=b'], 400),
    'chunked in quotes': (POST, [b'Transfer-Encoding: "chunked"'], 400),
    'chunked behind a blank': (POST, [b'Transfer-Encoding: x chunked'], 400),
    'chunked behind a no-break space': (POST, [b'Transfer-Encoding: \xa0chunked'], 400),
    'a word that begins like chunked': (POST, [b'Transfer-Encoding: chunkedx'], 501),
    'a word that ends like chunked': (POST, [b'Transfer-Encoding: xchunked'], 501),
    'chunked behind a vertical tab': (POST, [b'Transfer-Encoding: \x0bchunked'], 400),
    'chunked before a form feed': (POST, [b'Transfer-Encoding: chunked\x0c'], 400),
}


@pytest.mark.parametrize('name', SERVED)
def test_served(name: str, feed: str) -> None:
    line, lines, wire, length = SERVED[name]
    request = accepted(head(*lines, line=line) + wire, feed)
    assert request.length == length
    assert request.body == (b'abcde' if length == CHUNKED else wire)


@pytest.mark.parametrize('name', REFUSED)
def test_refused(name: str, feed: str) -> None:
    line, lines, status = REFUSED[name]
    assert refused(head(*lines, line=line), feed) == status


# name → (request line, lines, whether the client waits for 100)
EXPECT: dict[str, tuple[bytes, list[bytes], bool]] = {
    'none': (POST, [b'Content-Length: 5'], False),
    '100-continue with a length': (POST, [b'Content-Length: 5', b'Expect: 100-continue'], True),
    '100-continue with chunks': (POST, [b'Transfer-Encoding: chunked', b'Expect: 100-continue'], True),
    '100-continue in other letters': (POST, [b'Content-Length: 5', b'eXpect: 100-Continue'], True),
    '100-continue without a body': (POST, [b'Expect: 100-continue'], False),
    '100-continue with no bytes': (POST, [b'Content-Length: 0', b'Expect: 100-continue'], False),
    '100-continue in HTTP/1.0 is ignored': (POST_1_0, [b'Content-Length: 5', b'Expect: 100-continue'], False),
    'anything in HTTP/1.0 is ignored': (POST_1_0, [b'Expect: a miracle'], False),
    # RFC 9110 10.1.1: Expect is a list
    'nothing': (POST, [b'Content-Length: 5', b'Expect:'], False),
    'empty members (RFC 9110 5.6.1.2)': (POST, [b'Content-Length: 5', b'Expect: ,100-continue, ,'], True),
    '100-continue twice': (POST, [b'Content-Length: 5', b'Expect: 100-continue,\t100-Continue'], True),
    '100-continue on two lines': (POST, [b'Content-Length: 5', *[b'Expect: 100-continue'] * 2], True),
}
BAD_EXPECT = {
    'another expectation': b'a miracle',
    'a list': b'100-continue, a miracle',
    'with a parameter': b'100-continue;a=b',
    'with a value': b'100-continue=a',
    'a part of the word': b'100',
}


@pytest.mark.parametrize('name', EXPECT)
def test_expect(name: str, feed: str) -> None:
    """RFC 9110 10.1.1."""
    line, lines, expects = EXPECT[name]
    wire = b''
    if b'Content-Length: 5' in lines:
        wire = b'abcde'
    if b'Transfer-Encoding: chunked' in lines:
        wire = CHUNKS
    assert accepted(head(*lines, line=line) + wire, feed).expects is expects


@pytest.mark.parametrize('name', BAD_EXPECT)
def test_bad_expect(name: str, feed: str) -> None:
    assert refused(head(b'Expect: ' + BAD_EXPECT[name], line=POST), feed) == 417


PERSIST: dict[str, tuple[bytes, list[bytes], bool]] = {
    'HTTP/1.1': (b'1.1', [], True),
    'HTTP/1.1, close': (b'1.1', [b'Connection: close'], False),
    'HTTP/1.1, close in other letters': (b'1.1', [b'connection: CLOSE'], False),
    'HTTP/1.1, keep-alive': (b'1.1', [b'Connection: keep-alive'], True),
    'HTTP/1.1, something else': (b'1.1', [b'Connection: upgrade, foo'], True),
    'HTTP/1.1, nothing': (b'1.1', [b'Connection:'], True),
    'HTTP/1.1, close in a list': (b'1.1', [b'Connection: foo,\tclose\t,bar'], False),
    'HTTP/1.1, close between empty members': (b'1.1', [b'Connection: ,close,'], False),
    'HTTP/1.1, close on the second line': (b'1.1', [b'Connection: keep-alive', b'A: b', b'Connection: close'], False),
    'HTTP/1.1, close on the first line': (b'1.1', [b'Connection: close', b'Connection: keep-alive'], False),
    'HTTP/1.1, a word that begins like close': (b'1.1', [b'Connection: closed'], True),
    'HTTP/1.1, close as a part': (b'1.1', [b'Connection: not close'], True),
    'HTTP/1.1, close in another field': (b'1.1', [b'Proxy-Connection: close', b'Keep-Alive: close'], True),
    'HTTP/1.0': (b'1.0', [], False),
    'HTTP/1.0, keep-alive': (b'1.0', [b'Connection: Keep-Alive'], True),
    'HTTP/1.0, keep-alive in a list': (b'1.0', [b'Connection: te, keep-alive'], True),
    'HTTP/1.0, keep-alive on the second line': (b'1.0', [b'Connection: te', b'Connection: keep-alive'], True),
    'HTTP/1.0, close': (b'1.0', [b'Connection: close'], False),
    'HTTP/1.0, something else': (b'1.0', [b'Connection: te'], False),
    'HTTP/1.0, both': (b'1.0', [b'Connection: keep-alive, close'], False),
    'HTTP/1.0, the field Keep-Alive alone': (b'1.0', [b'Keep-Alive: timeout=5'], False),
    'a later minor version': (b'1.5', [], True),
}


@pytest.mark.parametrize('name', PERSIST)
def test_persist(name: str, feed: str) -> None:
    """RFC 9112 9.3."""
    version, lines, persist = PERSIST[name]
    assert accepted(head(*lines, line=b'GET / HTTP/' + version), feed).persist is persist
