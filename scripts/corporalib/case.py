"""What a corpus says of some bytes, and what became of them here: the values that readers, client and judge share."""

from __future__ import annotations

import enum
import re
from typing import NamedTuple


class Unreadable(Exception):
    """A file of a corpus isn't of the form that is known; the text is where, and what."""


class Request(NamedTuple):
    """A request as the corpus expects it, or as the application saw it.

    ``fields`` are CGI variables, ``HTTP_`` and ``CONTENT_``, with repeated fields joined; in ``target`` and ``fields``
    bytes are code points.
    """

    method: str
    target: str
    version: str
    fields: dict[str, str]
    body: bytes


class Ending(enum.Enum):
    """What a corpus says of what follows the complete requests of a case."""

    COMPLETE = 'complete'
    """Nothing, or what doesn't matter: bytes after a request that closes the connection."""
    REFUSED = 'to be refused'
    CUT = 'cut short'
    """The beginning of a request: whether it is answered is nobody's business, but it may not be executed."""


class Case(NamedTuple):
    """``data`` is what a client sends; ``requests`` are those that are complete and valid, before ``ending``."""

    name: str
    data: bytes
    requests: tuple[Request, ...]
    ending: Ending

    def __str__(self) -> str:
        return f'served {len(self.requests)}, the rest {self.ending.value}'


class Outcome(NamedTuple):
    """What the server did: the requests that reached the application, and the status of its own after those."""

    served: tuple[Request, ...]
    refusal: int | None

    def __str__(self) -> str:
        served = f'served {len(self.served)}'
        if self.refusal is None:
            return served
        return f'{served}, refused {self.refusal}' if self.served else f'refused {self.refusal}'


def cgi_fields(fields: list[tuple[str, str]]) -> dict[str, str]:
    """The variables that fields become in WSGI (RFC 3875 4.1.18).

    Values lose the blanks around them (RFC 9112 5), repeated ones are joined (RFC 9110 5.3), and fields with an
    underscore in their name, which could pose as others, are left out.
    """
    variables: dict[str, str] = {}
    for name, raw in fields:
        if '_' in name:
            continue
        key, value = name.upper().replace('-', '_'), raw.strip(' \t')
        if key not in ('CONTENT_LENGTH', 'CONTENT_TYPE'):
            key = f'HTTP_{key}'
        if key in variables:
            value = f'{variables[key]}{"; " if key == "HTTP_COOKIE" else ", "}{value}'
        variables[key] = value
    return variables


HOST = 'corpus.example'

_HEAD = re.compile(rb'^([^\r\n]* HTTP/1\.[1-9]\r\n)((?:[^\r\n]+\r?\n)*)', re.MULTILINE)
_HOST_LINE = re.compile(rb'^host\s*:', re.MULTILINE | re.IGNORECASE)


def with_host(case: Case) -> Case:
    """The case with a Host field in each head of HTTP/1.1 that has none; the same one where none is needed."""
    if case.ending is Ending.COMPLETE and not any(map(needs_host, case.requests)):
        return case  # what looks like a head may be in a body, or after the end

    def mend(head: re.Match[bytes]) -> bytes:
        return head[0] if _HOST_LINE.search(head[2]) else head[1] + f'Host: {HOST}\r\n'.encode() + head[2]

    data = _HEAD.sub(mend, case.data)
    if data == case.data:
        return case
    requests = [
        request._replace(fields={'HTTP_HOST': HOST, **request.fields}) if needs_host(request) else request
        for request in case.requests
    ]
    return case._replace(data=data, requests=tuple(requests))


def as_far_as_hosts_go(case: Case) -> Case:
    """What must become of the case as it is: the first request without the Host that it needs is refused.

    RFC 9112 3.2: a server must answer a request of HTTP/1.1 that lacks a Host field with 400.  The corpora are made
    for parsers, which leave that to others.
    """
    for number, request in enumerate(case.requests):
        if needs_host(request):
            return case._replace(requests=case.requests[:number], ending=Ending.REFUSED)
    return case


def with_end(case: Case) -> Case:
    """The case with an empty line behind it: what is wrong with a head need not be said before the head is there."""
    return case._replace(data=case.data + b'\r\n\r\n')


def needs_host(request: Request) -> bool:
    return request.version == '1.1' and 'HTTP_HOST' not in request.fields
