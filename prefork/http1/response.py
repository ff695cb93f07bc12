"""A response's head and the framing of its body, from what an application gave to ``start_response``."""

from __future__ import annotations

from prefork.errors import ApplicationError
from prefork.http1 import grammar
from prefork.http1.memory import LONGEST, Memory, Recurrences

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Prepared: TypeAlias = tuple[bytes, int, int | None, int]
    """The status line and the fields; the status code; the Content-Length; what of a meaning there is."""

CHUNKED = -1
"""The length of a body that is sent in chunks."""
UNTIL_CLOSE = -2
"""The length of a body that the end of the connection ends: HTTP/1.0 knows no chunks."""

WITHOUT_CONTENT = frozenset((204, 205, 304))
"""Statuses of responses that have no content, whatever the application gives (RFC 9110 15.3.5, 15.3.6, 15.4.5)."""

LAST_CHUNK = b'0\r\n\r\n'
CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'

# What a field means for the rest of the head; _BARE is of statuses without content.
_ORDINARY, _LENGTH, _DATE, _SERVER, _BARE = 0, 1, 2, 4, 8

# RFC 9110 7.6.1: these are between us and the client; PEP 3333 forbids them to applications.
_HOP_BY_HOP = frozenset(
    (
        'connection',
        'keep-alive',
        'proxy-authenticate',
        'proxy-authorization',
        'proxy-connection',
        'te',
        'trailer',
        'trailers',  # as RFC 2616 13.5.1 has it, to which PEP 3333 refers
        'transfer-encoding',
        'upgrade',
    )
)
_MEANING = {'content-length': _LENGTH, 'date': _DATE, 'server': _SERVER}

_LENGTH_DIGITS = 18
_SERVER_LINE_AND_END = b'Server: prefork\r\n\r\n'


def prepare(status: str, headers: list[tuple[str, str]]) -> Prepared:
    """What ``start_response`` was given, validated and encoded; ``encode_head`` makes a head of it.

    Raises ApplicationError where PEP 3333 is broken, at once, so that the traceback shows who did.
    """
    if type(headers) is not list:  # PEP 3333 wants this very type, as the list is the server's to change
        raise ApplicationError(f'the response headers must be a list, not {type(headers).__name__}')
    # Applications make few different heads, and those that differ have most fields in common.
    key = (status, *headers)
    try:
        return _heads[key]  # type: ignore[no-any-return]
    except TypeError:
        pass  # something in it has no hash, and so is neither a str nor a tuple of them
    return _prepare(key)


def _prepare(key: tuple[Any, ...]) -> Prepared:
    status, *headers = key
    if not isinstance(status, str):
        raise ApplicationError(f'the status must be a str, not {type(status).__name__}')
    line, code = _statuses[status]
    parts = [line]
    seen = _BARE if code in WITHOUT_CONTENT else 0
    length: int | None = None
    for field in headers:
        try:
            known = _fields[field]
        except TypeError:
            known = None  # and an error comes up out of this block, or two would be shown
        encoded, meaning = known or _field_line(field)
        if meaning:
            if meaning & seen & _LENGTH:
                raise ApplicationError('the response has two Content-Length fields')
            seen |= meaning
            if meaning == _LENGTH:
                length = int(field[1])
                if code == 204 or code == 205:  # RFC 9110 8.6: a 204 must not have one; a 205 gets ours
                    continue
        parts.append(encoded)
    return b''.join(parts), code, length, seen


def encode_head(
    prepared: Prepared,
    minor: int,
    persist: bool,
    bodiless: bool,
    known_length: int | None,
    date: bytes,
) -> tuple[bytes, int, int, bool]:
    """The bytes of a head; its status code; the length of the body to send, CHUNKED or UNTIL_CLOSE; and whether the
    connection persists after it.

    ``minor`` and ``persist`` are what the request's head said, ``bodiless`` is a HEAD request, ``known_length`` the
    body's length where all of it is at hand.  ``date`` is the line of that field.
    """
    fields, code, length, seen = prepared
    if seen == _LENGTH and persist and minor and not bodiless:  # as most are: in half the time
        return b''.join((fields, date, _SERVER_LINE_AND_END)), code, length, True  # type: ignore[return-value]
    parts = [fields]
    if seen & _BARE or bodiless:
        parts.append(_length_without_content(code, length, known_length))
        length = 0
    elif length is None:
        if known_length is not None:
            length = known_length
            parts.append(b'Content-Length: %d\r\n' % length)
        elif minor:
            length = CHUNKED
            parts.append(b'Transfer-Encoding: chunked\r\n')
        else:
            length = UNTIL_CLOSE
            persist = False
    if not persist:
        parts.append(b'Connection: close\r\n')
    elif not minor:
        parts.append(b'Connection: keep-alive\r\n')
    if not seen & _DATE:
        parts.append(date)
    parts.append(b'\r\n' if seen & _SERVER else _SERVER_LINE_AND_END)
    return b''.join(parts), code, length, persist


def _length_without_content(code: int, length: int | None, known_length: int | None) -> bytes:
    """The field that tells a length although no content follows; ``length`` is what the application said."""
    if code == 205:
        return b'Content-Length: 0\r\n'  # RFC 9110 15.3.6: it has none, but is framed like any other
    if code in WITHOUT_CONTENT or length is not None or not known_length:
        return b''  # an empty body that was made for HEAD says nothing of GET's
    return b'Content-Length: %d\r\n' % known_length  # RFC 9110 9.3.2: HEAD has the fields that GET would have


def encode_chunk(data: bytes) -> bytes:
    """RFC 9112 7.1.  ``data`` isn't empty: an empty chunk would end the body."""
    return b'%x\r\n%b\r\n' % (len(data), data)


def error_page(status: str, reason: str) -> tuple[bytes, list[tuple[str, str]]]:
    """A short plain body for a response of our own, and its fields."""
    body = f'{status}\n\n{reason}\n'.encode() if reason else f'{status}\n'.encode()
    return body, [('Content-Type', 'text/plain; charset=utf-8'), ('Content-Length', str(len(body)))]


REASONS = {
    400: 'Bad Request',
    408: 'Request Timeout',
    413: 'Content Too Large',
    414: 'URI Too Long',
    417: 'Expectation Failed',
    431: 'Request Header Fields Too Large',
    500: 'Internal Server Error',
    501: 'Not Implemented',
    503: 'Service Unavailable',
    504: 'Gateway Timeout',
    505: 'HTTP Version Not Supported',
    507: 'Insufficient Storage',
}
"""The reason phrases of the statuses that the server itself answers with."""


def _status_line(status: str) -> tuple[bytes, int]:
    if not grammar.STATUS.fullmatch(status):
        raise ApplicationError(f'the status {status!r} is not three digits, a blank and a reason')
    return _encode('HTTP/1.1 ', status, '\r\n'), int(status[:3])


def _field_line(field: object) -> tuple[bytes, int]:
    if not isinstance(field, tuple) or len(field) != 2:
        raise ApplicationError(f'a response header must be a tuple of name and value, not {field!r}')
    name, value = field
    if not isinstance(name, str) or not isinstance(value, str):
        raise ApplicationError(f'a response header must be a pair of str, not {field!r}')
    lower = name.lower()
    if not grammar.TOKEN.fullmatch(name):
        raise ApplicationError(f'the response header name {name!r} is not a token')
    if not grammar.FIELD_TEXT.fullmatch(value):
        raise ApplicationError(f'the value of the response header {name} has characters that no header may have')
    if lower in _HOP_BY_HOP:
        raise ApplicationError(f'{name} is between the server and the client; an application may not set it')
    if lower == 'content-length' and not (len(value) <= _LENGTH_DIGITS and grammar.CONTENT_LENGTH.fullmatch(value)):
        raise ApplicationError(f'the Content-Length {value!r} is not a whole number')
    return _encode(name, ': ', value, '\r\n'), _MEANING.get(lower, _ORDINARY)


def _encode(*texts: str) -> bytes:
    # In an f-string, a member of an Enum that is a str, for one, would be another text than the one that was checked.
    return ''.join(texts).encode('latin-1')


def _field_size(field: tuple[str, str]) -> int:
    """How long the line is; too long to be remembered where an application's own types may have anything in them."""
    name, value = field
    if type(field) is not tuple or type(name) is not str or type(value) is not str:
        return LONGEST + 1
    return len(name) + len(value) + len(': \r\n')


def _head_size(head: tuple[str, *tuple[tuple[str, str], ...]]) -> int:
    status, *fields = head
    return len(status) + sum(map(_field_size, fields))


# Cookies, dates and lengths are often others in each response: 1.3 MiB of a worker with Django were remembered of such.
_heads = Recurrences(_prepare, 512, _head_size)
_fields = Recurrences(_field_line, size=_field_size)
_statuses = Memory(_status_line)
