"""What is fuzzed: bytes in, and an exception if one of the invariants of tests/http1 doesn't hold for them."""

from __future__ import annotations

import time
import zlib

from fuzzlib import seeds
from tests.http1.invariants import Answer, check_requests, check_response
from tests.http1.reception import DEFAULTS, Limits, receive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Check: TypeAlias = Callable[[bytes], object]

bound = 0.01
"""Seconds of CPU that reading a client's bytes once may take; more where all that Python does is watched."""

SMALL = Limits(max_header_line=40, max_headers=4, max_head=120, max_url_len=20, max_body=10)

# To feed byte by byte takes a hundred times as long as to feed all: of so many in 256, and so short ones.
_SELDOM = 16
_SHORT = 1000

# Between the parts of an answer; none of it can be in one that isn't refused, so that each part can have everything.
_FIELD, _VALUE, _BODY = '\x1e', '\x1f', b'\x1d'


def requests(data: bytes) -> None:
    """A client's bytes under the limits that servers have."""
    _requests(data, DEFAULTS)


def limits(data: bytes) -> None:
    """A client's bytes where next to nothing is allowed, so that every limit is reached."""
    _requests(data, SMALL)


def responses(data: bytes) -> None:
    """What an application says."""
    check_response(answer_of(data))


def _requests(data: bytes, limits: Limits) -> None:
    if _seconds(data, limits) > bound:
        least = min(_seconds(data, limits) for _ in range(5))  # the machine may have been busy otherwise
        assert least <= bound, f'reading it takes {least * 1000:.1f} ms'
    # What depends on chance depends on the bytes alone, so that an input that fails does so again.
    chance = zlib.crc32(data)
    check_requests(data, sorted((chance >> shift) % (len(data) + 1) for shift in (0, 8, 16)), limits=limits)
    if chance >> 24 < _SELDOM and len(data) < _SHORT:
        check_requests(data, range(1, len(data)), limits=limits)


def _seconds(data: bytes, limits: Limits) -> float:
    started = time.thread_time()
    receive([data], limits)
    return time.thread_time() - started


def answer_of(data: bytes) -> Answer:
    """Bytes as an answer: a byte of flags, the status line, and the names and values of fields, then the body.

    The text is UTF-8 where it can be, and surrogates where it can't: an application's str may have anything in it.
    """
    flags = data[0] if data else 0
    text, _, body = data[1:].partition(_BODY)
    status, *fields = text.decode('utf-8', 'surrogateescape').split(_FIELD)
    headers = [(name, value) for name, _, value in (field.partition(_VALUE) for field in fields)]
    return Answer(status, headers, body, flags & 1, bool(flags & 2), bool(flags & 4), bool(flags & 8))


TARGETS: dict[str, tuple[Check, list[bytes]]] = {
    'requests': (requests, seeds.REQUESTS),
    'limits': (limits, seeds.REQUESTS),
    'responses': (responses, seeds.RESPONSES),
}
"""By name: the check, and the inputs that it begins with."""
