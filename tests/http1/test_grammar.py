"""No regex of the grammar takes more than linear time, whatever a client sends."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from prefork.http1 import grammar

SIZE = 200_000
BOUND = 2.0
"""Seconds of the processor for one input.  Linear time is some thousandths of one; quadratic time, a minute."""

PATTERNS = {name: value for name, value in vars(grammar).items() if isinstance(value, re.Pattern)}


def _repeat(*pieces: str) -> list[str]:
    """Each piece over and over, SIZE characters in all."""
    return [piece * (SIZE // len(piece)) for piece in pieces]


# name → (beginnings that lead into a loop, what the loop takes, ends that fail after it)
HOSTILE: dict[str, tuple[list[str], list[str], list[str]]] = {
    'TOKEN': ([''], _repeat('a', '!a'), ['', ' ', ':', '\0', '\n']),
    'REQUEST_LINE': (
        ['', 'GET ', 'GET /', 'GET / HTTP/', 'GET / HTTP/1.'],
        _repeat('a', ' ', '/', '1', ' /', ' HTTP/', ' HTTP/1.1', 'H T'),
        ['', ' ', ' HTTP/1.', ' HTTP/1.1 ', '\0', '\n'],
    ),
    'FIELD_LINE': (['', 'A:', 'A: ', 'A:b'], _repeat('a', ' ', '\t ', ':', 'a:'), ['', ' ', ':', '\0', '\n']),
    'HOST': (
        ['', '[', '[v', '[v1.', '[::', '[1::', 'a:', 'a:0', '%'],
        _repeat('a', '1', '0', ':', '1:', '::', '1::', '%41', '%', '.', '1.'),
        ['', ':', ']', ']:', '%', '@', '\n'],
    ),
    'ABSOLUTE_FORM': (
        ['http://', 'http://a', 'http://a/', 'http://a?', 'http://a/?'],
        _repeat('a', '/', '?', ':', 'a/', '/?', '//', 'http://'),
        ['', '?', '/', '\n', '?\n', '/\n'],
    ),
    'CONTENT_LENGTH': (['', '0'], _repeat('1', '1,', '0'), ['', ' ', '\n', '1']),
    'CODING': (['', 'a', 'a;', 'a ;'], _repeat('a', ' ', ' \t', ';', ';a', 'a;'), ['', ' ', ',', '\0', '\n']),
    'CHUNK_LINE': (
        ['', '1', '1;', '1 ;', '1;a', '1;a=', '1;a="', '1;a="b"'],
        _repeat('1', ' ', ' \t', ';', ' ;', 'a=b;', '"', '\\"', ';a', ' ;a', ';a=b', ' ;\ta = "b"', ' =', '=a'),
        ['', ';', '\0', '\n', '\r\n', '\r'],
    ),
    'STATUS': (['', '200', '200 '], _repeat('2', ' ', 'a', ' a'), ['', '\0', '\n']),
    'FIELD_VALUE': ([''], _repeat('a', ' ', '\t', 'a '), ['', '\0', '\n']),
    'FIELD_TEXT': ([''], _repeat('a', ' ', '\t', 'a '), ['', '\0', '\n']),
    'PERCENT_ENCODED': ([''], _repeat('%', '%4', '%41', '%%41', 'a'), ['', '%', '%4']),
    'EMPTY_LINES': (['', 'a'], _repeat('\r\n', '\r', '\n', '\n\r', 'a'), ['', '\r', 'a']),
    'BARE_LF': (['', '\r'], _repeat('\r\n', '\r', 'a'), ['', '\r\n', 'a']),
    'BARE_CR': (['', '\n'], _repeat('\r\n', '\n', 'a'), ['', '\r\n', '\r']),
}

# How those are used that aren't for fullmatch
USES: dict[str, Callable[[re.Pattern[Any], Any], object]] = {
    'TOKEN': lambda pattern, text: (pattern.match(text), pattern.fullmatch(text)),
    'CHUNK_LINE': re.Pattern.match,
    'PERCENT_ENCODED': lambda pattern, text: pattern.sub('', text),
    'EMPTY_LINES': lambda pattern, text: pattern.sub(b'', text),
    'BARE_LF': re.Pattern.search,
    'BARE_CR': re.Pattern.search,
}


def test_every_regex_has_its_hostile_inputs() -> None:
    assert set(HOSTILE) == set(PATTERNS)


@pytest.mark.parametrize('name', HOSTILE)
def test_linear_time(name: str) -> None:
    pattern: re.Pattern[Any] = PATTERNS[name]
    beginnings, loops, ends = HOSTILE[name]
    texts: list[Any] = [beginning + loop + end for beginning in beginnings for loop in loops for end in ends]
    if isinstance(pattern.pattern, bytes):
        texts = [text.encode('latin-1') for text in texts]
    use = USES.get(name, re.Pattern.fullmatch)
    for text in texts:
        started = time.process_time()
        use(pattern, text)
        assert time.process_time() - started < BOUND, (text[:10], text[-20:])
