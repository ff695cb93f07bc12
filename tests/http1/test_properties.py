"""What holds for any bytes: they parse, or are refused with a status of ours, however they are cut; and h11 reads what
we accept as we do."""

from __future__ import annotations

from typing import Any

import h11
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from prefork.http1.body import ChunkedBody
from prefork.http1.head import CHUNKED, END
from prefork.http1.response import REASONS
from tests.http1.invariants import Answer, check_requests, check_response, refusal
from tests.http1.reception import DEFAULTS, Limits, Request, receive

settings.register_profile(
    'http1',
    max_examples=300,
    deadline=None,  # two cores are shared with whatever else runs
    database=None,  # a failure is kept as a case of a table, not on the disk
    suppress_health_check=[HealthCheck.too_slow],
)
quick = settings.get_profile('http1')

# Random bytes hardly ever get past the method, so most streams are made of what requests are made of.
FRAGMENTS = st.sampled_from(
    [
        b'GET ',
        b'POST ',
        b'OPTIONS * ',
        b'/',
        b'/a%20b?c',
        b'http://h/',
        b' HTTP/1.1\r\n',
        b' HTTP/1.0\r\n',
        b' HTTP/2.0\r\n',
        b'GET / HTTP/1.1\r\nHost: x\r\n',
        b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n',
        b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n',
        b'Host: x\r\n',
        b'Host: [::1]:80\r\n',
        b'Content-Length: 3\r\n',
        b'Content-Length: 03\r\n',
        b'Transfer-Encoding: chunked\r\n',
        b'Transfer-Encoding: gzip, chunked\r\n',
        b'Connection: close\r\n',
        b'Expect: 100-continue\r\n',
        b'A: b\r\n',
        b'A_B:c\r\n',
        b'Cookie: d\r\n',
        b': ',
        b' ',
        b'\t',
        b'\r',
        b'\n',
        b'\r\n',
        b'\r\n\r\n',
        b'abc',
        b'3\r\nabc\r\n',
        b'0\r\n',
        b'0\r\n\r\n',
        b'3;a="b"\r\n',
        b'\0',
        b'\xe9',
    ]
)
STREAMS = st.lists(FRAGMENTS | st.binary(max_size=4), max_size=12).map(b''.join)

REQUESTS = st.sampled_from(
    [
        b'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nA: c\r\n\r\n',
        b'GET http://h/ HTTP/1.0\r\n\r\n',
        b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\nExpect: 100-continue\r\n\r\nabc\r\n\r\nd',
        b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;a\r\n\r\n\r\n0\r\nA: b\r\n\r\n',
        b'\r\n',
    ]
)


SMALL = Limits(max_header_line=24, max_headers=3, max_head=64, max_url_len=8, max_body=5)


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Requests, then anything, and where it is cut."""
    data = b''.join(draw(st.lists(REQUESTS, max_size=3))) + draw(STREAMS) + draw(st.sampled_from([b'', END]))
    return data, sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))


@quick
@given(STREAMS)
def test_a_head_of_any_bytes_parses_or_is_refused(data: bytes) -> None:
    parser = DEFAULTS.parser()
    assert refusal(lambda: parser.parse(data)) in (None, *REASONS)
    assert refusal(lambda: parser.check_partial(data, 0)) in (None, *REASONS)


def test_all_statuses_of_refusals_are_errors() -> None:
    assert all(400 <= status <= 599 for status in REASONS)


@quick
@given(st.lists(STREAMS, max_size=4), st.integers(0, 10))
def test_a_chunked_body_of_any_bytes_decodes_or_is_refused(pieces: list[bytes], max_body: int) -> None:
    body = ChunkedBody(max_body)
    payload: list[bytes] = []

    def decode() -> None:
        for piece in pieces:
            if not body.done:
                payload.append(body.feed(piece))

    assert refusal(decode) in (None, 400, 413, 431)
    assert len(b''.join(payload)) <= max_body


@quick
@given(cut_streams(), st.sampled_from([DEFAULTS, SMALL]))
@example((b'\r\nGET / HTTP/1.1\r\nHost: x' + END, [1, 2]), DEFAULTS)
@example((b'GET / HTTP/1.1\r\nHost: x' + END, [15, 25]), DEFAULTS)
def test_it_does_not_matter_how_a_stream_is_cut(stream: tuple[bytes, list[int]], limits: Limits) -> None:
    data, cuts = stream
    check_requests(data, cuts, range(1, len(data)), limits=limits)


# --- h11 as the reference ---


def read_by_h11(data: bytes) -> tuple[h11.Request, bytes] | None:
    """The first request and its body as h11 reads them, or None where it has none."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    try:
        server.receive_data(data)
        request = server.next_event()
        if not isinstance(request, h11.Request):
            return None
        body = b''
        while isinstance(event := server.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError:
        return None
    return (request, body) if isinstance(event, h11.EndOfMessage) else None


def environ_of(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """CGI variables of fields that were read by another parser, in the plainest way."""
    environ: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode().upper(), raw_value.decode('latin-1')
        if '_' in name:
            continue
        key = name.replace('-', '_') if name in ('CONTENT-TYPE', 'CONTENT-LENGTH') else 'HTTP_' + name.replace('-', '_')
        glue = '; ' if name == 'COOKIE' else ', '
        environ[key] = environ[key] + glue + value if key in environ else value
    return environ


def assert_same(ours: Request, theirs: tuple[h11.Request, bytes]) -> None:
    request, body = theirs
    environ: dict[str, Any] = dict(ours.environ)
    assert environ.pop('REQUEST_METHOD').encode() == request.method
    assert environ.pop('REQUEST_URI').encode() == request.target
    for key in ('PATH_INFO', 'QUERY_STRING', 'SERVER_PROTOCOL'):
        environ.pop(key)
    expected = environ_of([(name, value) for name, value in request.headers])
    if 'HTTP_TRANSFER_ENCODING' in environ:  # h11 normalizes it
        environ['HTTP_TRANSFER_ENCODING'] = environ['HTTP_TRANSFER_ENCODING'].lower()
    if request.target[:4].lower() == b'http':  # the target's host wins, which h11 leaves to its user
        environ.pop('HTTP_HOST')
        expected.pop('HTTP_HOST', None)
    assert environ == expected
    assert ours.body == body


REQUEST_LINES = st.sampled_from(
    [
        b'POST / HTTP/1.1\r\nHost: x',
        b'POST / HTTP/1.0',
        b'GET http://t/ HTTP/1.1\r\nHost: x',
        b'\r\nGET /a HTTP/1.1\r\nHost:x',
    ]
)
DUBIOUS_LINES = st.sampled_from(
    [
        b'Content-Length: 3',
        b'Content-Length:03 ',
        b'Content-Length: 3, 3',
        b'Content-Length: +3',
        b'Content-Length : 3',
        b'Content_Length: 4',
        b'Content-Length\xa0: 4',
        b'Transfer-Encoding: chunked',
        b'Transfer-Encoding:\tCHUNKED',
        b'Transfer-Encoding: chunked;a',
        b'Transfer-Encoding: gzip, chunked',
        b'Transfer-Encoding: x',
        b'Transfer-Encoding\t: chunked',
        b'Transfer-Encoding: chunked\x0b',
        b'Transfer_Encoding: chunked',
        b'A: b\rTransfer-Encoding: chunked',
        b'A: b\nContent-Length: 3',
        b'A: b\r\n Content-Length: 3',
        b'A:\xa0b',
        b'a:',
        b'Cookie: c',
    ]
)
BODIES = st.sampled_from(
    [b'', b'abc', b'3\r\nabc\r\n0\r\n\r\n', b'3;\nabc\r\n0\r\n\r\n', b'03 \r\nabc\r\n0\r\n\r\n', b'0\r\nA: b\r\n\r\n']
)


@quick
@given(REQUEST_LINES, st.lists(DUBIOUS_LINES, max_size=3), BODIES)
def test_what_we_accept_h11_reads_as_we_do_or_refuses(start: bytes, lines: list[bytes], body: bytes) -> None:
    """Smuggling needs two readers that both go on and don't agree."""
    data = b'\r\n'.join([start, *lines]) + END + body
    requests, theirs = receive([data]).requests, read_by_h11(data)
    if requests and theirs is not None:
        assert_same(requests[0], theirs)


TOKENS = st.text("!#$%&'*+-.^`|~09AZaz", min_size=1, max_size=12)
VISIBLE = ''.join(map(chr, [*range(0x21, 0x23), *range(0x24, 0x7F)]))
TARGETS = st.text(VISIBLE, max_size=20).map('/'.__add__)
HOSTS = st.sampled_from(['', 'x', 'example.com:8080', '[::1]', '127.0.0.1:1'])
PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters='\x7f')
VALUES = st.text(PRINTABLE | st.just('\t'))
TEXTS = st.text(PRINTABLE)  # of applications, which may not have HTAB
EXTENSIONS = st.sampled_from([b'', b';a', b' ; a="b;c"'])
BLANKS = st.text(' \t', max_size=3)
SPECIAL = {'host', 'content-length', 'content-type', 'transfer-encoding', 'connection', 'expect', 'upgrade'}


@st.composite
def valid_requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A request that follows the RFCs to the letter, and its body."""
    names = TOKENS.filter(lambda name: name.lower() not in SPECIAL) | st.sampled_from(['Cookie', 'A_B', 'X-Y'])
    fields = draw(st.lists(st.tuples(names, BLANKS, VALUES, BLANKS), max_size=8))
    lines = [f'{name}:{before}{value}{after}' for name, before, value, after in fields]
    lines.insert(draw(st.integers(0, len(lines))), f'Host: {draw(HOSTS)}')
    parts = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4))
    wire = b''.join(parts)
    framing = draw(st.sampled_from(['chunked', 'Chunked', 'counted', 'counted where needed']))
    if framing.lower() == 'chunked':
        lines.insert(draw(st.integers(0, len(lines))), f'Transfer-Encoding: {framing}')
        wire = b''.join(b'%x%b\r\n%b\r\n' % (len(part), draw(EXTENSIONS), part) for part in parts)
        wire += b'0\r\n' + draw(st.sampled_from([b'', b'A: b\r\n'])) + b'\r\n'
    elif wire or framing == 'counted':
        lines.insert(draw(st.integers(0, len(lines))), f'Content-Length: {len(wire)}')
    method = draw(TOKENS.filter(lambda method: method != 'CONNECT'))
    head = '\r\n'.join([f'{method} {draw(TARGETS)} HTTP/1.1', *lines]).encode('latin-1') + END
    return head + wire, b''.join(parts)


@quick
@given(valid_requests(), st.binary(max_size=20))
def test_what_follows_the_rfcs_is_served_as_h11_reads_it(request: tuple[bytes, bytes], behind: bytes) -> None:
    data, payload = request
    reception = receive([data])
    assert reception.refused is None
    assert reception.rest == b''
    (ours,) = reception.requests
    assert ours.body == payload
    assert ours.length in (CHUNKED, len(payload))
    assert receive([data + behind]).requests[0] == ours
    theirs = read_by_h11(data)
    if theirs is not None:  # h11 has its own limits and doesn't know all characters that a target can have
        assert_same(ours, theirs)


# --- responses, and h11 as the client ---

# Names and values that applications use, and what they should not be able to do anything with.
STATUSES = st.sampled_from(['200 OK', '204 No Content', '304 Not Modified', '404 ', '500 \xe9']) | st.builds(
    '{} {}'.format, st.integers(0, 1100), st.text(max_size=6)
)
NAMES = st.sampled_from(
    ['Content-Length', 'content-length', 'Date', 'Server', 'Set-Cookie', 'X', 'Connection', 'Transfer-Encoding']
) | st.text(max_size=6)
FIELD_VALUES = (
    st.sampled_from(['', '0', '5', '+5', '999999999999999999', ' a\t', 'a\r\nB: c', '\r\n\r\n', 'chunked', '\xe9'])
    | VALUES
    | st.text(max_size=6)
)
ANSWERS = st.builds(
    Answer,
    status=STATUSES,
    headers=st.lists(st.tuples(NAMES, FIELD_VALUES), max_size=5),
    body=st.binary(max_size=20),
    minor=st.integers(0, 1),
    persist=st.booleans(),
    bodiless=st.booleans(),
    counted=st.booleans(),
)


@quick
@given(ANSWERS)
@example(Answer('200 OK', [('Content-Length', '5'), ('Set-Cookie', 'a'), ('Set-Cookie', 'b')], b'abcde'))
def test_whatever_an_application_answers_is_refused_or_read_as_it_is(answer: Answer) -> None:
    check_response(answer)


TAME_NAMES = TOKENS.filter(
    lambda name: (
        name.lower() not in {'te', 'trailer', 'trailers', 'upgrade', 'connection', 'keep-alive', 'content-length'}
    )
)


@quick
@given(
    ANSWERS,
    st.lists(st.tuples(TAME_NAMES, TEXTS), max_size=5),
    st.sampled_from(['200 OK', '204 x', '205 x', '304 ', '599 a b']),
)
def test_what_is_right_is_not_refused(answer: Answer, headers: list[tuple[str, str]], status: str) -> None:
    assert check_response(answer._replace(status=status, headers=headers)) is not None
