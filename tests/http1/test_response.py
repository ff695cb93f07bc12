"""What goes back: heads (RFC 9112 4 and 6, PEP 3333), chunks, and what an application may not say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import h11
import pytest

from prefork.errors import ApplicationError
from prefork.http1 import response
from prefork.http1.memory import LONGEST, MOST
from prefork.http1.response import CHUNKED, UNTIL_CLOSE, encode_chunk, encode_head, error_page, prepare

DATE, SERVER = b'Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n', b'Server: prefork\r\n'


@pytest.fixture(autouse=True)
def _no_memory() -> Iterator[None]:
    """Each test begins and ends without what the others made the module remember."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    for memory in (response._heads, response._fields, response._statuses):
        memory.clear()
    for memory in (response._heads, response._fields):
        memory._marks[:] = bytes(len(memory._marks))


class Case(NamedTuple):
    """A response and what its head says: the lines but the status line, Date and Server; the length; persistence."""

    lines: list[str]
    length: int
    persists: bool = True
    status: str = '200 OK'
    headers: tuple[tuple[str, str], ...] = ()
    minor: int = 1
    persist: bool = True
    bodiless: bool = False
    known_length: int | None = None


TYPE = ('Content-Type', 'text/plain')
FIVE = ('Content-Length', '5')
TYPE_LINE, FIVE_LINE, CHUNKED_LINE = 'Content-Type: text/plain', 'Content-Length: 5', 'Transfer-Encoding: chunked'
CLOSE_LINE, KEEP_ALIVE_LINE = 'Connection: close', 'Connection: keep-alive'

CASES = {
    # RFC 9112 6.3: how the client finds the end
    'a length of the application': Case([TYPE_LINE, FIVE_LINE], 5, headers=(TYPE, FIVE)),
    'a length of the application is believed': Case([FIVE_LINE], 5, headers=(FIVE,), known_length=7),
    'no bytes': Case(['Content-Length: 0'], 0, headers=(('Content-Length', '0'),)),
    'Content-Length in other letters': Case(['content-LENGTH: 5'], 5, headers=(('content-LENGTH', '5'),)),
    'a length that is at hand': Case([TYPE_LINE, FIVE_LINE], 5, headers=(TYPE,), known_length=5),
    'no bytes at hand': Case(['Content-Length: 0'], 0, known_length=0),
    'an unknown length is chunked': Case([TYPE_LINE, CHUNKED_LINE], CHUNKED, headers=(TYPE,)),
    'an unknown length to HTTP/1.0 ends with the connection (RFC 9112 6.1)': Case(
        [CLOSE_LINE], UNTIL_CLOSE, False, minor=0
    ),
    # RFC 9110 9.3.2: HEAD
    'HEAD keeps the length': Case([TYPE_LINE, FIVE_LINE], 0, headers=(TYPE, FIVE), bodiless=True),
    'HEAD has no chunks': Case([], 0, bodiless=True),
    'HEAD of HTTP/1.0 persists': Case([KEEP_ALIVE_LINE], 0, minor=0, bodiless=True),
    'HEAD has the length that GET would have': Case([FIVE_LINE], 0, bodiless=True, known_length=5),
    'HEAD has no length of a body that may not be the one of GET': Case([], 0, bodiless=True, known_length=0),
    'HEAD keeps the length, whatever body is there': Case(
        [FIVE_LINE], 0, headers=(FIVE,), bodiless=True, known_length=7
    ),
    'HEAD of a 204': Case([], 0, status='204 No Content', bodiless=True, known_length=5),
    'HEAD of a 304': Case([], 0, status='304 Not Modified', bodiless=True, known_length=5),
    # RFC 9110 15.3.5, 15.4.5, 8.6: statuses without a body
    '204': Case([], 0, status='204 No Content'),
    '204 never has a length': Case([TYPE_LINE], 0, status='204 No Content', headers=(FIVE, TYPE)),
    '204 with a body at hand': Case([], 0, status='204 No Content', known_length=5),
    '304': Case([], 0, status='304 Not Modified'),
    '304 keeps the length': Case([FIVE_LINE], 0, status='304 Not Modified', headers=(FIVE,)),
    '304 with a body at hand': Case([], 0, status='304 Not Modified', known_length=5),
    '304 to HTTP/1.0 persists': Case([KEEP_ALIVE_LINE], 0, status='304 Not Modified', minor=0),
    '205 (RFC 9110 15.3.6)': Case(['Content-Length: 0'], 0, status='205 Reset Content', known_length=0),
    '205 has no body, and says so': Case(['Content-Length: 0'], 0, status='205 Reset Content', known_length=5),
    '205 has no chunks': Case(['Content-Length: 0'], 0, status='205 Reset Content'),
    '205 has no length but ours': Case([TYPE_LINE, 'Content-Length: 0'], 0, status='205 x', headers=(FIVE, TYPE)),
    '205 to HTTP/1.0 persists': Case(['Content-Length: 0', KEEP_ALIVE_LINE], 0, status='205 x', minor=0),
    'an error is framed like any other': Case([CHUNKED_LINE], CHUNKED, status='500 Internal Server Error'),
    # RFC 9112 9.3: persistence
    'HTTP/1.1 that closes': Case([FIVE_LINE, CLOSE_LINE], 5, False, headers=(FIVE,), persist=False),
    'HTTP/1.1 that closes, chunked': Case([CHUNKED_LINE, CLOSE_LINE], CHUNKED, False, persist=False),
    'HTTP/1.0 that persists says so': Case([FIVE_LINE, KEEP_ALIVE_LINE], 5, headers=(FIVE,), minor=0),
    'HTTP/1.0 with a length at hand persists': Case([FIVE_LINE, KEEP_ALIVE_LINE], 5, known_length=5, minor=0),
    'HTTP/1.0 that closes': Case([FIVE_LINE, CLOSE_LINE], 5, False, headers=(FIVE,), minor=0, persist=False),
    'HEAD that closes': Case([CLOSE_LINE], 0, False, bodiless=True, persist=False),
    # PEP 3333: the application's fields, in its order
    'a field that comes again': Case(
        ['Set-Cookie: a', 'Set-Cookie: a', 'Set-Cookie: b', 'Content-Length: 0'],
        0,
        headers=(('Set-Cookie', 'a'), ('Set-Cookie', 'a'), ('Set-Cookie', 'b')),
        known_length=0,
    ),
    'an empty value': Case(['A: ', FIVE_LINE], 5, headers=(('A', ''), FIVE)),
    'latin-1 in a value': Case(['A: bcé\x80\xa0', FIVE_LINE], 5, headers=(('A', 'bcé\x80\xa0'), FIVE)),
    'any token as a name': Case(["!#$%&'*+-.^_`|~09: b", FIVE_LINE], 5, headers=(("!#$%&'*+-.^_`|~09", 'b'), FIVE)),
    'a name that only begins like Content-Length': Case(
        ['Content-Lengthy: x', 'Content-Lengthy: y', FIVE_LINE],
        5,
        headers=(('Content-Lengthy', 'x'), ('Content-Lengthy', 'y'), FIVE),
    ),
}


def encode(case: Case) -> tuple[bytes, int, int, bool]:
    return encode_head(
        prepare(case.status, list(case.headers)),
        case.minor,
        case.persist,
        case.bodiless,
        case.known_length,
        DATE,
    )


@pytest.mark.parametrize('name', CASES)
def test_head(name: str) -> None:
    case = CASES[name]
    for _ in range(2):  # the second is made from what the module remembers
        head, code, length, persists = encode(case)
        lines = [f'HTTP/1.1 {case.status}', *case.lines, DATE.decode().strip(), SERVER.decode().strip(), '', '']
        assert head.decode('latin-1').split('\r\n') == lines
        assert code == int(case.status[:3])
        assert (length, persists) == (case.length, case.persists)


@pytest.mark.parametrize('name', CASES)
def test_a_client_finds_the_same_end(name: str) -> None:
    """h11 as the client: it must see our framing as we do, and agree on whether the connection persists."""
    case = CASES[name]
    head, code, length, persists = encode(case)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method='HEAD' if case.bodiless else 'GET', target='/', headers=[('Host', 'x')]))
    client.send(h11.EndOfMessage())
    body = b'abcde' if length in (5, UNTIL_CLOSE) else b''
    wire = encode_chunk(b'abcde') + response.LAST_CHUNK if length == CHUNKED else body
    client.receive_data(head + wire)
    answer = client.next_event()
    assert isinstance(answer, h11.Response)
    assert answer.status_code == code
    if length == UNTIL_CLOSE:
        client.receive_data(b'')
    received = b''
    while isinstance(event := client.next_event(), h11.Data):
        received += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert received == (b'abcde' if length else b'')
    assert (client.their_state is h11.DONE) == persists


DATE_AND_SERVER = {
    'neither': ([], 'Date Server'),
    'Date': ([('Date', 'yesterday')], 'Server'),
    'Server': ([('Server', 'mine')], 'Date'),
    'both, in other letters': ([('dATE', 'yesterday'), ('sERVER', 'mine')], ''),
    'names that only begin like them': ([('Dates', 'x'), ('Server-Timing', 'x')], 'Date Server'),
}


@pytest.mark.parametrize('name', DATE_AND_SERVER)
def test_date_and_server_of_the_application_win(name: str) -> None:
    """RFC 9110 6.6.1 and 10.2.4: ours are added where the application has none."""
    headers, ours = DATE_AND_SERVER[name]
    head, _, _, _ = encode_head(prepare('200 OK', headers), 1, True, False, 0, DATE)
    assert (DATE in head) == ('Date' in ours)
    assert (SERVER in head) == ('Server' in ours)
    for field, value in headers:
        assert f'\r\n{field}: {value}\r\n'.encode() in head


STATUSES = ['200 OK', '200 ', '299 ', '404 Not Found', '599 x', '999 x', '200 é', '200 a  b', '200 \xa0']


# PEP 3333: three digits, a blank and a reason, without controls or blanks around; RFC 9110 15.2: a 1xx isn't final
BAD_STATUSES: dict[str, Any] = {
    'no reason and no blank': '200',
    'empty': '',
    'two digits': '20 OK',
    'four digits': '2000 OK',
    'a blank before': ' 200 OK',
    'two fields of digits without a blank': '200OK',
    'a blank behind': '200 OK ',
    'two blanks before the reason': '200  OK',
    'a blank for a reason': '200  ',
    'a tab': '200\tOK',
    'a tab in the reason': '200 O\tK',
    'letters': 'abc OK',
    'digits of another script': '\uff12\uff10\uff10 OK',
    '1xx': '100 Continue',
    '101': '101 Switching Protocols',
    '0xx': '099 x',
    'CR and LF': '200 OK\r\nA: b',
    'CR': '200 OK\r',
    'LF': '200 OK\n',
    'NUL': '200 \0',
    'DEL': '200 \x7f',
    'beyond latin-1': '200 ✓',
    'a surrogate': '200 \udc80',
    'bytes': b'200 OK',
    'a number': 200,
    'None': None,
    'a list, which has no hash': ['200 OK'],
}

# name → a field of the application
BAD_FIELDS: dict[str, Any] = {
    'CR and LF in the value': ('A', 'b\r\nC: d'),
    'CR in the value': ('A', 'b\r'),
    'LF in the value': ('A', 'b\nc'),
    'LF at the end of the value': ('A', 'b\n'),
    **{f'the control {code:#04x} in the value': ('A', f'b{chr(code)}c') for code in [*range(32), 127]},
    'HTAB at the end of the value': ('A', 'b\t'),
    'a value beyond latin-1': ('A', '✓'),
    'a surrogate in the value': ('A', '\udc80'),
    'CR and LF in the name': ('A: b\r\nC', 'd'),
    'LF at the end of the name': ('A\n', 'b'),
    'an empty name': ('', 'b'),
    'a blank in the name': ('A B', 'c'),
    'a blank at the end of the name': ('A ', 'b'),
    'a colon in the name': ('A:', 'b'),
    'latin-1 in the name': ('é', 'b'),
    'a letter that is k only in lower case': ('\u212aeep-Alive', 'b'),
    'a name of bytes': (b'A', 'b'),
    'a value of bytes': ('A', b'b'),
    'a number as the value': ('A', 5),
    'a number as the length': ('Content-Length', 5),
    'None as the value': ('A', None),
    'a value without a hash': ('A', ['b']),
    'a list': ['A', 'b'],
    'three parts': ('A', 'b', 'c'),
    'one part': ('A',),
    'two characters': 'Ab',
    'None': None,
    **{
        f'{name} is hop-by-hop (RFC 9110 7.6.1)': (name, 'x')
        for name in (
            'Connection',
            'Keep-Alive',
            'Proxy-Authenticate',
            'Proxy-Authorization',
            'Proxy-Connection',
            'TE',
            'Trailer',
            'Trailers',
            'Transfer-Encoding',
            'Upgrade',
            'cONNECTION',
        )
    },
    **{
        f'the length {value!r} (RFC 9110 8.6)': ('Content-Length', value)
        for value in ('', '-1', '+1', '1_0', ' 1', '1 ', '0x1', '1.0', '1, 1', '\uff11', '\xb2', '1' * 19, 'five')
    },
}


def test_good_statuses() -> None:
    for status in STATUSES:
        head, code, _, _ = encode_head(prepare(status, []), 1, True, False, 0, DATE)
        assert head.startswith(f'HTTP/1.1 {status}\r\n'.encode('latin-1'))
        assert code == int(status[:3])


@pytest.mark.parametrize('name', BAD_STATUSES)
def test_bad_status(name: str) -> None:
    for _ in range(2):  # what was refused isn't remembered
        with pytest.raises(ApplicationError):
            prepare(BAD_STATUSES[name], [])


@pytest.mark.parametrize('name', BAD_FIELDS)
def test_bad_field(name: str) -> None:
    headers = [('A', 'b'), BAD_FIELDS[name]]
    for _ in range(2):
        with pytest.raises(ApplicationError):
            prepare('200 OK', headers)


class ListOfItsOwn(list[tuple[str, str]]):
    pass


HEADERS: list[Any] = [(), (('A', 'b'),), {'A': 'b'}, iter([]), None, 'Ab', ListOfItsOwn([('A', 'b')])]


@pytest.mark.parametrize('headers', HEADERS, ids=lambda headers: type(headers).__name__)
def test_headers_must_be_a_list(headers: Any) -> None:
    with pytest.raises(ApplicationError, match='must be a list'):
        prepare('200 OK', headers)


@pytest.mark.parametrize('second', [('Content-Length', '5'), ('content-length', '5'), ('Content-Length', '6')])
@pytest.mark.parametrize('status', ['200 OK', '204 No Content'])
def test_two_lengths_are_refused(second: tuple[str, str], status: str) -> None:
    for _ in range(2):
        with pytest.raises(ApplicationError, match='two Content-Length'):
            prepare(status, [FIVE, ('A', 'b'), second])


def test_fields_that_are_not_str_but_equal_what_is_remembered() -> None:
    """A tuple of another type, equal to one that was checked, means what that one means."""

    class Field(NamedTuple):
        name: str
        value: str

    plain = prepare('200 OK', [('A', 'b')])
    assert prepare('200 OK', [Field('A', 'b')]) == plain


class Formatted(str):
    """Another text where it is formatted, as members of an Enum are."""

    __slots__ = ()

    def __str__(self) -> str:
        return 'x\r\nC: d'


def test_what_is_checked_is_what_is_sent() -> None:
    fields, *_ = prepare(Formatted('200 OK'), [(Formatted('A'), Formatted('b'))])
    assert fields == b'HTTP/1.1 200 OK\r\nA: b\r\n'


def test_one_error_is_shown() -> None:
    """Not a look-up's before it, which is nothing to the application."""
    for field in (['A', 'b'], ('A', ['b'])):
        with pytest.raises(ApplicationError) as raised:
            prepare('200 OK', [field])  # type: ignore[list-item]
        assert raised.value.__context__ is None


# --- the memory ---


def test_what_an_application_may_keep_other_things_in_is_not_remembered() -> None:
    class Text(str):
        request: object

    class Field(tuple[str, str]):
        request: object

    for field in 2 * [Field(('A', 'b')), ('A', Text('b')), (Text('A'), 'b')]:
        prepare('200 OK', [field])
        assert (len(response._heads), len(response._fields)) == (0, 0)


def test_different_lines_do_not_fill_the_memory() -> None:
    for i in range(2 * MOST + 10):
        for _ in range(2):
            prepare(f'200 OK {i}', [('A', str(i))])
        assert all(len(memory) <= MOST for memory in (response._heads, response._fields, response._statuses))
    assert response._heads
    assert response._fields
    assert response._statuses


def test_long_lines_are_not_remembered() -> None:
    for _ in range(2):
        prepare('200 ' + 'x' * LONGEST, [('A', 'b' * LONGEST)])
        assert (len(response._statuses), len(response._fields), len(response._heads)) == (0, 0, 0)
    for _ in range(2):
        prepare('200 OK', [('A', 'b' * (LONGEST - len('A: \r\n')))])
    assert (len(response._statuses), len(response._fields), len(response._heads)) == (1, 1, 0)
    for _ in range(3):  # a field is asked for only where its head isn't known
        prepare('200 OK', [('A', 'b' * (LONGEST - len('200 OKA: \r\n')))])
    assert (len(response._statuses), len(response._fields), len(response._heads)) == (1, 2, 1)


def test_what_is_another_each_time_is_not_remembered() -> None:
    """A cookie, for one, in some thousand responses, with what is the same in all of them."""
    same = ('Content-Type', 'text/html')
    for i in range(MOST):
        prepare('200 OK', [same, ('Set-Cookie', f'session={i}')])
    assert same in response._fields
    # Of those that come to another's place, one in 255 has the same mark.
    assert len(response._fields) < MOST / 20
    assert len(response._heads) < MOST / 20


# --- chunks, and pages of our own ---

CHUNKS = {
    'one byte': (b'a', b'1\r\na\r\n'),
    'ten bytes': (b'0123456789', b'a\r\n0123456789\r\n'),
    'line ends': (b'\r\n', b'2\r\n\r\n\r\n'),
    '256 bytes': (bytes(256), b'100\r\n' + bytes(256) + b'\r\n'),
}


@pytest.mark.parametrize('name', CHUNKS)
def test_chunk(name: str) -> None:
    data, wire = CHUNKS[name]
    assert encode_chunk(data) == wire


@pytest.mark.parametrize('code', response.REASONS)
def test_error_page(code: int) -> None:
    status = f'{code} {response.REASONS[code]}'
    body, headers = error_page(status, 'the coding é is not implemented')
    prepare(status, headers)
    fields = dict(headers)
    assert fields['Content-Length'] == str(len(body))
    assert fields['Content-Type'] == 'text/plain; charset=utf-8'
    assert body.decode() == f'{status}\n\nthe coding é is not implemented\n'


def test_error_page_without_a_reason() -> None:
    body, headers = error_page('503 Service Unavailable', '')
    assert body == b'503 Service Unavailable\n'
    assert ('Content-Length', '24') in headers
