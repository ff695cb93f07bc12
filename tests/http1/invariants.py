"""What holds for all bytes of a client and all that an application says, as functions that raise where it doesn't.

test_properties.py tries them on what hypothesis makes up, and scripts/fuzz on as much as there is time for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import h11

from prefork.errors import ApplicationError, ProtocolError
from prefork.http1.response import CHUNKED, LAST_CHUNK, REASONS, UNTIL_CLOSE, encode_chunk, encode_head, prepare
from tests.http1.reception import DEFAULTS, Limits, Reception

DATE = b'Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n'

_BARE = re.compile(rb'(?<!\r)\n|\r(?!\n)')
_ENOUGH = 1 << 16  # of a body, to be sure of how it is framed


def refusal(attempt: Callable[[], object]) -> int | None:
    """The status that it is refused with, if it is; anything but a ProtocolError is a failure of ours."""
    try:
        attempt()
    except ProtocolError as error:
        return error.status
    return None


# --- requests ---


def check_requests(data: bytes, *ways: Sequence[int], limits: Limits = DEFAULTS) -> None:
    """Any bytes are requests or refused with a status of ours; and the same in pieces, of which each of ``ways`` says
    where they are cut, by a parser that has seen those lines before and by one that hasn't."""
    whole = Reception(limits)
    whole.feed(data)
    assert whole.refused in (None, *REASONS), f'refused with {whole.refused}'
    for cuts in ways:
        for parser in (whole.parser, None):
            cut = Reception(limits, parser)
            for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                cut.feed(data[start:end])
            _assert_same(data, whole, cut)


def _assert_same(data: bytes, whole: Reception, cut: Reception) -> None:
    assert cut.requests == whole.requests, f'{cut.requests} in pieces, {whole.requests} at once'
    if cut.refused == whole.refused:
        assert cut.refused is not None or cut.rest == whole.rest, f'{cut.rest!r} left in pieces, {whole.rest!r} at once'
        return
    statuses = {cut.refused, whole.refused}
    assert None not in statuses, f'refused with {cut.refused} in pieces, {whole.refused} at once'
    # What depends on the cuts is which of several faults is found first.  A bare CR or LF is refused when it comes,
    # before the end of the head; and so is what is too large already.  Of a whole head, the first fault is found.
    assert (400 in statuses and _BARE.search(data)) or 431 in statuses, f'refused with {sorted(map(str, statuses))}'


# --- responses ---


class Answer(NamedTuple):
    """What an application says, and what the request was."""

    status: Any
    headers: list[Any]
    body: bytes
    minor: int = 1
    persist: bool = True
    bodiless: bool = False
    counted: bool = False
    """Whether the length of the body is known before it is sent."""


def check_response(answer: Answer) -> bytes | None:
    """Whatever an application answers is refused, or h11 as the client reads just that from our bytes.  Returns the
    bytes, None where it was refused."""
    wire = None
    for _ in range(2):  # the second time from what is remembered
        try:
            head = _encode(answer)
        except ApplicationError:
            assert wire is None
        else:
            wire = _check_wire(answer, *head)
    return wire


def _encode(answer: Answer) -> tuple[bytes, int, int, bool]:
    known = len(answer.body) if answer.counted else None
    return encode_head(
        prepare(answer.status, answer.headers), answer.minor, answer.persist, answer.bodiless, known, DATE
    )


def _check_wire(answer: Answer, head: bytes, code: int, length: int, persists: bool) -> bytes:
    body = answer.body if length < 0 else (answer.body or b'x' * min(length, _ENOUGH))[:length]
    wire = head + body
    if length == CHUNKED:
        wire = head + (encode_chunk(body) if body else b'') + LAST_CHUNK
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(h11.Request(method='HEAD' if answer.bodiless else 'GET', target='/', headers=[('Host', 'x')]))
    client.send(h11.EndOfMessage())
    client.receive_data(wire)
    response = client.next_event()
    assert isinstance(response, h11.Response), f'h11 reads {response!r}'
    assert response.status_code == code == int(answer.status[:3])
    assert bytes(response.reason).decode('latin-1') == answer.status[4:]
    _check_fields(answer, response.headers.raw_items(), code)
    if length == UNTIL_CLOSE:
        client.receive_data(b'')
    received = b''
    while isinstance(event := client.next_event(), h11.Data):
        received += bytes(event.data)
    assert received == body
    if length > len(body):
        assert event is h11.NEED_DATA
        return wire
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b''
    assert (client.their_state is h11.DONE) == persists
    return wire


OURS = {b'date', b'server', b'connection', b'content-length', b'transfer-encoding'}


def _check_fields(answer: Answer, received: Iterable[tuple[bytes, bytes]], code: int) -> None:
    """The client has the application's fields, in its order, and none that isn't its or ours."""
    expected = [(name.encode(), value.strip(' \t').encode('latin-1')) for name, value in answer.headers]
    if code in (204, 205):  # RFC 9110 8.6, 15.3.6
        expected = [(name, value) for name, value in expected if name.lower() != b'content-length']
    said = {name.lower() for name, _ in expected}
    theirs = [(name, value.strip(b' \t')) for name, value in received]
    assert [field for field in theirs if field[0].lower() in said] == expected
    added = [name.lower() for name, _ in theirs if name.lower() not in said]
    assert set(added) <= OURS, added
    assert len(set(added)) == len(added), added
