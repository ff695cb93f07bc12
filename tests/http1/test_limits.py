"""How large a head may be, what is refused before it is whole, and what a parser remembers."""

from __future__ import annotations

import pytest

from prefork.errors import ProtocolError
from prefork.http1.head import END
from prefork.http1.memory import LONGEST, MOST
from prefork.http1.openings import KEY
from tests.http1.reception import DEFAULTS, FEEDS, Limits, accepted, head, receive, refused

TINY = Limits(max_header_line=20, max_headers=4, max_head=75, max_url_len=8)


def field(length: int, name: bytes = b'A') -> bytes:
    """A field line of so many bytes."""
    return name + b': ' + b'v' * (length - len(name) - 2)


# Under TINY: name → lines after Host.  The request line and Host are 14 + 2 + 7 bytes.
FITTING = {
    'no line': [],
    'the longest line': [field(20)],
    'the longest line, mostly blanks': [b'A:' + b' ' * 17 + b'b'],
    'the longest line is not the last': [field(20), field(5, b'B')],
    'the most lines': [b'A: b', b'C: d', b'E: f'],
    'the largest head': [field(20), field(20, b'B'), field(6, b'C')],
    'the largest head, most of it before the last line': [field(20), field(20, b'B'), b'C:vvvv'],
}
TOO_LARGE = {
    'a line too long by one byte': [field(21)],
    'a line too long because of blanks': [b'A:' + b' ' * 18 + b'b'],
    'a line much too long': [field(40)],
    'a line too long that is not the last': [field(21), field(5, b'B')],
    'a line too long whose name is dropped': [field(21, b'A_B')],
    'one line too many': [b'A: b', b'C: d', b'E: f', b'G: h'],
    'one line too many, dropped': [b'A: b', b'C: d', b'E: f', b'G_: h'],
    'lines too many, all equal': [b'A: b'] * 9,
    'a head too large by one byte': [field(20), field(20, b'B'), field(7, b'C')],
    'a head too large by two bytes': [field(20), field(20, b'B'), field(8, b'C')],
    'a head too large by three bytes': [field(20), field(20, b'B'), field(9, b'C')],
    'a head too large by four bytes': [field(20), field(20, b'B'), field(10, b'C')],
}


def test_the_largest_head_is_as_large_as_the_cases_say() -> None:
    assert len(head(*FITTING['the largest head'])) - len(END) == TINY.max_head


@pytest.mark.parametrize('name', FITTING)
def test_fitting(name: str, feed: str) -> None:
    assert accepted(head(*FITTING[name]), feed, TINY).environ['HTTP_HOST'] == 'x'


@pytest.mark.parametrize('name', TOO_LARGE)
def test_too_large(name: str, feed: str) -> None:
    """RFC 6585 5."""
    assert refused(head(*TOO_LARGE[name]), feed, TINY) == 431


# Under the option table's limits.
DEFAULTS_FITTING = {
    'a line of 16,384 bytes': [field(16384)],
    'a hundred lines': [b'A: b'] * 99,
    'a head of 65,536 bytes': [field(16384)] * 3 + [field(65536 - 23 - 3 * 16386 - 2)],
}
DEFAULTS_TOO_LARGE = {
    'a line of 16,385 bytes': [field(16385)],
    'a hundred and one lines': [b'A: b'] * 100,
    'a head of 65,537 bytes': [field(16384)] * 3 + [field(65537 - 23 - 3 * 16386 - 2)],
}


@pytest.mark.parametrize('name', DEFAULTS_FITTING)
@pytest.mark.parametrize('feed', ['whole', 'with another behind'])
def test_fitting_by_default(name: str, feed: str) -> None:
    assert accepted(head(*DEFAULTS_FITTING[name]), feed).environ['HTTP_A'].startswith(('v', 'b'))


@pytest.mark.parametrize('name', DEFAULTS_TOO_LARGE)
@pytest.mark.parametrize('feed', ['whole', 'with another behind'])
def test_too_large_by_default(name: str, feed: str) -> None:
    assert refused(head(*DEFAULTS_TOO_LARGE[name]), feed) == 431


# Name → a beginning without an end, its status, and the byte (counted from 1) that it is refused at.  Nobody waits for
# the end of what can't become a request: not a client of another protocol, and not one that has sent a bad line.
HOPELESS = {
    'a TLS ClientHello': (b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400, 1),
    'an SSLv2 ClientHello': (b'\x80\x2e\x01\x00\x02', 400, 1),
    'NUL': (b'\0', 400, 1),
    'the PROXY protocol, version 2': (b'\r\n\r\n\0\r\nQUIT\n', 400, 5),
    'SSH': (b'SSH-2.0-OpenSSH_9.6\r\n', 400, 21),
    'a greeting of SMTP': (b'EHLO a.example\r\n', 400, 16),
    'JSON': (b'{"a": 1}', 400, 1),
    'an address': ('é'.encode(), 400, 1),
    'HTTP/0.9': (b'GET /\r\n', 400, 7),
    'the preface of HTTP/2': (b'PRI * HTTP/2.0\r\n', 505, 16),
    'a bare LF after the request line': (b'GET / HTTP/1.1\n', 400, 15),
    'a bare CR in the request line': (b'GET /\rHost: x', 400, 7),
    'a bare LF in a field': (b'GET / HTTP/1.1\r\nA: b\nC: d', 400, 21),
    'a bare CR in a field': (b'GET / HTTP/1.1\r\nA: b\rC: d', 400, 22),
    'CR twice': (b'GET / HTTP/1.1\r\nA: b\r\r', 400, 22),
    'a bare LF for the empty line': (b'GET / HTTP/1.1\r\nA: b\r\n\n', 400, 23),
    'a bare CR for the empty line': (b'GET / HTTP/1.1\r\nA: b\r\n\rG', 400, 24),
    'LF and CR': (b'GET / HTTP/1.1\n\rA: b', 400, 15),
    'a blank before the method': (b' GET / HTTP/1.1', 400, 1),
    'two bare LF': (b'GET / HTTP/1.1\r\nA: b\n\n', 400, 21),
    'a method without end': (b'M' * 70, 501, 65),
    'a target without end': (b'GET /' + b'a' * 20, 414, 22),
    'a field name without end': (b'GET / HTTP/1.1\r\n' + b'A' * 40, 431, 38),
    'a field value without end': (b'GET / HTTP/1.1\r\nA: ' + b'v' * 40, 431, 38),
    'a field too long before the one without end': (b'GET / HTTP/1.1\r\nA: ' + b'v' * 40 + b'\r\nB: c', 431, 38),
    'fields without end': (b'GET / HTTP/1.1\r\n' + b'A: b\r\n' * 20, 431, 79),
}


@pytest.mark.parametrize('name', HOPELESS)
def test_hopeless_beginnings_are_refused_at_once(name: str) -> None:
    data, status, at = HOPELESS[name]
    assert receive([data], TINY).refused == status
    pieces = FEEDS['byte by byte'](data)
    assert receive(pieces[: at - 1], TINY).refused is None
    assert receive(pieces[:at], TINY).refused == status


def test_a_bare_cr_is_seen_where_the_checked_part_ends() -> None:
    parser = DEFAULTS.parser()
    data = b'GET / HTTP/1.1\r\nA: b\r'
    parser.check_partial(data, 0)
    with pytest.raises(ProtocolError):
        parser.check_partial(data + b'c', len(data))


@pytest.mark.parametrize('pieces', ['whole', 'byte by byte'])
def test_a_head_that_is_cut_yields_nothing(pieces: str) -> None:
    """RFC 9112 8: whatever has come before the end of the connection, no prefix of a request is a request."""
    data = head(b'Content-Length: 2') + b'ab'
    for end in range(len(data)):
        reception = receive(FEEDS[pieces](data[:end]))
        assert (reception.requests, reception.refused) == ([], None)
    assert len(receive(FEEDS[pieces](data)).requests) == 1


def test_pipelined_requests_come_out_in_order_however_they_are_cut() -> None:
    data = b''.join(
        [
            head(line=b'GET /1 HTTP/1.1'),
            head(b'Content-Length: 3', line=b'POST /2 HTTP/1.1') + b'abc',
            head(b'Transfer-Encoding: chunked', line=b'POST /3 HTTP/1.1') + b'1\r\nd\r\n0\r\n\r\n',
            b'\r\n',
            head(line=b'GET /4 HTTP/1.1'),
        ]
    )
    for cut in range(len(data)):
        reception = receive([data[:cut], data[cut:]])
        seen = [(request.environ['PATH_INFO'], request.body) for request in reception.requests]
        assert seen == [('/1', b''), ('/2', b'abc'), ('/3', b'd'), ('/4', b'')]
        assert (reception.refused, reception.rest) == (None, b'')


def test_what_follows_a_refusal_is_not_looked_at() -> None:
    reception = receive([head(line=b'GET /1 HTTP/1.1') + head(b'A : b') + head()])
    assert [request.environ['PATH_INFO'] for request in reception.requests] == ['/1']
    assert reception.refused == 400


# --- the memory of a parser ---


# Longer than what is remembered as a whole.
LONG = b'A: ' + b'a' * KEY


def test_different_lines_do_not_fill_the_memory() -> None:
    parser = DEFAULTS.parser()
    for i in range(2 * MOST + 10):
        parser.parse(b'GET /%d HTTP/1.1\r\nHost: h%d\r\n%b' % (i, i, LONG))
        parser.parse(b'GET /%d HTTP/1.1\r\nHost: h%d' % (i, i))
        memories = parser._heads, parser._openings, parser._lines, parser._fields
        assert all(len(memory) <= MOST for memory in memories)
    assert all(memories)


def test_long_lines_are_not_remembered() -> None:
    parser = DEFAULTS.parser()
    parser.parse(b'GET /%b HTTP/1.1\r\nHost:%b' % (b'a' * (LONGEST - 13), b'b' * (LONGEST - 4)))
    assert (len(parser._lines), len(parser._fields)) == (0, 0)
    parser.parse(b'GET /%b HTTP/1.1\r\nHost:%b' % (b'a' * (LONGEST - 14), b'b' * (LONGEST - 5)))
    assert (len(parser._lines), len(parser._fields)) == (1, 1)


BAD_HEADS = {
    'request line': b'GET / HTTP/1.1 \r\nHost: x',
    'field line': b'GET / HTTP/1.1\r\nHost: x\r\nA : b',
    'Host': b'GET / HTTP/1.1\r\nHost: x/y',
    'Content-Length': b'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1',
    'too long a target': b'GET /aaaaaaaaa HTTP/1.1\r\nHost: x',
    'too long a line': b'GET / HTTP/1.1\r\nHost: x\r\nA: bbbbbbbbbbbbbbbbbbbbbbbbb',
    'both framings': b'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked',
}


@pytest.mark.parametrize('name', BAD_HEADS)
@pytest.mark.parametrize('end', [b'', b'\r\nB: b'], ids=['its last line', 'a line before another'])
def test_what_was_refused_is_refused_again(name: str, end: bytes) -> None:
    parser = TINY.parser()
    for _ in range(3):
        with pytest.raises(ProtocolError):
            parser.parse(BAD_HEADS[name] + end)


PAIRS = {
    'as a whole': b'',
    'by its opening': b'Accept: %b\r\n' % (b'a' * KEY),
}


@pytest.mark.parametrize('name', PAIRS)
def test_a_head_that_is_remembered_means_the_same_again(name: str) -> None:
    parser = DEFAULTS.parser({'SCRIPT_NAME': ''})
    data = b'POST /a%%20b?c HTTP/1.1\r\nHost: x\r\n%bA: b\r\nA_B: c\r\nA: d\r\nContent-Length: 3' % PAIRS[name]
    first = parser.parse(data)
    assert first[0]['HTTP_A'] == 'b, d'
    assert first[0]['SCRIPT_NAME'] == ''
    assert None not in first[0]
    kept = first[0].copy(), *first[1:]
    for _ in range(3):
        first[0].update(SCRIPT_NAME='changed', PATH_INFO='changed', HTTP_A='changed')  # an application may do so
        first = parser.parse(data)
        assert first == kept


OPENING = b'Host: x\r\nUser-Agent: %b\r\nA: 1' % (b'a' * KEY)

ENDINGS = {
    'none': (b'', {}),
    'one more line': (b'\r\nB: 2', {'HTTP_B': '2'}),
    'a line that is longer than one that is known': (b'\r\nB: 22', {'HTTP_B': '22'}),
    'another line, then one that is known': (b'\r\nC: 3\r\nB: 2', {'HTTP_C': '3', 'HTTP_B': '2'}),
    'a field of the opening': (b'\r\nA: 2', {'HTTP_A': '1, 2'}),
    'a field of the opening between others': (
        b'\r\nB: 2\r\nA: 2\r\nC: 3',
        {'HTTP_A': '1, 2', 'HTTP_B': '2', 'HTTP_C': '3'},
    ),
    'a field that is dropped': (b'\r\nB_B: 2', {}),
    'one that is dropped and one that comes again': (b'\r\nB_B: 2\r\nA: 2', {'HTTP_A': '1, 2'}),
    'one that is dropped, and as many that come again': (b'\r\nB_B: 2\r\nC: 3\r\nC: 4', {'HTTP_C': '3, 4'}),
    'an end of a connection': (b'\r\nConnection: close', {'HTTP_CONNECTION': 'close'}),
}


@pytest.mark.parametrize('first', ENDINGS)
@pytest.mark.parametrize('second', ENDINGS)
def test_heads_that_begin_alike(first: str, second: str) -> None:
    """Whatever a parser has learnt of the ones, the others mean what they mean to one that has learnt nothing."""
    parser = DEFAULTS.parser()
    for name in (first, first, second, first, second, second):
        data, fields = ENDINGS[name]
        head = b'GET /%b HTTP/1.1\r\n%b%b' % (name.encode().replace(b' ', b'-'), OPENING, data)
        answer = parser.parse(head)
        assert answer == DEFAULTS.parser().parse(head)
        found = {key: value for key, value in answer[0].items() if key.startswith('HTTP_')}
        assert found == {'HTTP_HOST': 'x', 'HTTP_USER_AGENT': 'a' * KEY, 'HTTP_A': '1', **fields}
        assert answer[2] is (name != 'an end of a connection')


@pytest.mark.parametrize('count', [100, 101])
def test_the_lines_of_an_opening_count(count: int) -> None:
    parser = DEFAULTS.parser()
    head = b'GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: %b%b' % (b'a' * KEY, b'\r\nA: a' * (count - 2))
    for _ in range(4):
        for end in (b'', b'\r\nB: b') if count == 100 else (b'',):
            if count == 100 and not end:
                assert len(parser.parse(head)[0]['HTTP_A'].split(',')) == count - 2
            else:
                with pytest.raises(ProtocolError) as refused:
                    parser.parse(head + end)
                assert refused.value.status == 431


def test_lines_too_many_are_not_read() -> None:
    """64 KiB of short ones took a hundred times as long as other heads."""
    parser = DEFAULTS.parser()
    for _ in range(3):
        with pytest.raises(ProtocolError) as refused:
            parser.parse(b'GET / HTTP/1.1\r\nHost: x' + b'\r\nA: b' * 10000)
        assert refused.value.status == 431
        assert len(parser._fields) <= 2
