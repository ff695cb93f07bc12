"""What a parser remembers changes how long reading takes, and nothing else: one that has read anything reads the next
head as one that has read nothing."""

from __future__ import annotations

import tracemalloc

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from prefork.errors import ProtocolError
from prefork.http1.head import HeadParser
from prefork.http1.memory import LONGEST, MOST
from prefork.http1.openings import KEY
from tests.http1.reception import DEFAULTS, Limits

BASE = {'SCRIPT_NAME': '', 'SERVER_NAME': 'base', 'wsgi.url_scheme': 'http'}

# In which what is allowed and what isn't lie close together.
NARROW = Limits(max_header_line=300, max_headers=6, max_head=600, max_url_len=40)


def reading(parser: HeadParser, head: bytes) -> object:
    """All that a parser makes of a head, or why it refuses it.  The environ is changed, as applications may do."""
    try:
        environ, *others = parser.parse(head)
    except ProtocolError as error:
        return error.status, error.reason
    found = environ.copy(), others
    environ.update(dict.fromkeys(environ, 'changed'), HTTP_ADDED='changed')
    return found


LINES = st.sampled_from(
    [
        b'Host: x',
        b'Host: y',
        b'Host: a b',
        b'A: 1',
        b'a: 2',
        b'A:',
        b'B: 1',
        b'A_B: 1',
        b'A-B: 1',
        b'_: 1',
        b'Cookie: a',
        b'Content-Length: 3',
        b'Content-Length: 0',
        b'Content-Length: +3',
        b'Transfer-Encoding: chunked',
        b'Transfer-Encoding: gzip',
        b'Connection: close',
        b'Connection: keep-alive',
        b'Expect: 100-continue',
        b'Expect: x',
        b'no field',
        b'blank : 1',
        b'Bare: a\rb',
        b': none',
        b'',
    ]
) | st.builds(
    lambda name, length: name + b': ' + b'v' * length,
    st.sampled_from([b'A', b'B', b'Long', b'L_']),
    st.sampled_from([KEY - 30, KEY - 8, KEY - 2, KEY, 298, 299, 510, 512]),
)
REQUEST_LINES = st.sampled_from(
    [
        b'GET / HTTP/1.1',
        b'GET / HTTP/1.0',
        b'HEAD /a%20b?c HTTP/1.1',
        b'POST http://t/ HTTP/1.1',
        b'OPTIONS http://t HTTP/1.0',
        b'OPTIONS * HTTP/1.1',
        b'GET /' + b'a' * 39 + b' HTTP/1.1',
        b'GET /' + b'a' * 40 + b' HTTP/1.1',
        b'CONNECT x HTTP/1.1',
        b'GET / HTTP/2.0',
        b'nothing',
    ]
)
FIELDS = st.lists(LINES, max_size=8)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Heads of which each is the last one or the first with some of its lines changed, or another."""
    heads = []
    first = line, fields = draw(REQUEST_LINES), draw(FIELDS)
    padding = b'Padding: ' + b'p' * (draw(st.integers(KEY - 40, KEY + 8)) - len(b'Padding: '))
    for _ in range(draw(st.integers(2, 12))):
        heads.append(b'\r\n'.join([line, *fields]))
        match draw(
            st.sampled_from(['again', 'line', 'add', 'drop', 'double', 'swap', 'pad', 'many', 'first', 'fields'])
        ):
            case 'line':
                line = draw(REQUEST_LINES)
            case 'add':
                at = draw(st.integers(0, len(fields)))
                fields = [*fields[:at], draw(LINES), *fields[at:]]
            case 'drop' if fields:
                at = draw(st.integers(0, len(fields) - 1))
                fields = fields[:at] + fields[at + 1 :]
            case 'double' if fields:
                fields = [*fields, draw(st.sampled_from(fields))]
            case 'swap':
                fields = draw(st.permutations(fields))
            case 'pad':
                fields = [padding, *fields]
            case 'many':
                fields = fields + [b'M: m'] * draw(st.sampled_from([3, 90, 900]))
            case 'first':
                line, fields = first
            case 'fields':
                fields = draw(FIELDS)
    return heads


HOSTS_THEN_TOO_LONG = b'GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\nA: %b' % (b'v' * 4096)
BAD_AND_TOO_MANY = b'GET / HTTP/1.1\r\nno field' + b'\r\nA: b' * 101


@settings(
    max_examples=300, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow], print_blob=False
)
@given(streams(), st.sampled_from([NARROW, DEFAULTS]))
@example([HOSTS_THEN_TOO_LONG] * 3, NARROW._replace(max_head=5000))
@example([BAD_AND_TOO_MANY] * 3, DEFAULTS)
def test_what_was_read_before_does_not_matter(heads: list[bytes], limits: Limits) -> None:
    parser = limits.parser(BASE.copy())
    for head in [*heads, *heads]:
        assert reading(parser, head) == reading(limits.parser(BASE.copy()), head)


LETTERS = b'0123456789abcdefghijklmnopqrstuvwxyz!#$%'


def test_how_much_a_client_can_have_a_parser_remember() -> None:
    """What HeadParser says of its memory, of heads as costly as they can be."""
    parser = DEFAULTS.parser(dict.fromkeys(map(str, range(14)), ''))
    tracemalloc.start()
    try:
        for i in range(511):  # short heads, of as many fields as go into them
            lines = b''.join(b'\r\n%c%c%c:' % (65 + i % 26, 65 + i // 26, last) for last in LETTERS)
            parser.parse(b'GET / HTTP/1.0' + lines)
        for i in range(256):  # what long ones begin with
            lines = b''.join(b'\r\n%03d%02d%b: %b' % (i, j, b'n' * 24, b'v' * 24) for j in range(64))
            for _ in range(2):  # the first of them isn't learnt from
                parser.parse(b'GET / HTTP/1.0' + lines)
        count = 2 * MOST - len(parser._fields) - 1  # so that the memory of fields is emptied, then full
        for i in range(count):  # single lines
            target = (b'/%%41?%d' % max(i, count - MOST + 5)).ljust(LONGEST - 13, b't')
            field = (b'%04d' % i).ljust(LONGEST // 2, b'n').ljust(LONGEST, b':')
            parser.parse(b'GET %b HTTP/1.0\r\n%b:\r\n%b' % (target, b'P' * KEY, field))
        assert (len(parser._heads), len(parser._openings)) == (511, 256)
        assert min(len(parser._lines), len(parser._fields), len(parser._names)) > MOST - 10
        assert 6 << 20 < tracemalloc.get_traced_memory()[0] < 16 << 20
    finally:
        tracemalloc.stop()
