"""Inputs without atheris: seeds, changed at random but the same for the same seed of the generator."""

from __future__ import annotations

import random

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONGEST = 1 << 15
"""Bytes."""

# What HTTP is made of, and what its readers stumble over.
WORDS = [
    *(
        b'\r\n',
        b'\r',
        b'\n',
        b'\r\n\r\n',
        b' ',
        b'\t',
        b'\0',
        b'\x0b',
        b'\x7f',
        b'\xa0',
        b'\xff',
        b':',
        b';',
        b',',
        b'"',
    ),
    *(b'0', b'1', b'a', b'_', b'+', b'-', b'0x', b'0\r\n', b'0\r\n\r\n', b'1\r\na\r\n', b'ffffffffffffffff'),
    *(b'GET ', b'POST ', b'HEAD ', b'OPTIONS ', b'/', b'*', b'http://', b'%', b'%00', b'?', b'#', b'@', b'[::1]'),
    *(b'HTTP/1.1', b'HTTP/1.0', b'HTTP/0.9', b' HTTP/1.1\r\n', b'Host: x\r\n', b'Host:', b'Connection: close\r\n'),
    *(
        b'Content-Length: 3\r\n',
        b'Content-Length:',
        b'Transfer-Encoding: chunked\r\n',
        b'Transfer-Encoding:',
        b'chunked',
    ),
    *(b'identity', b'Expect: 100-continue\r\n', b'Cookie: a\r\n', b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    *(b'\x1d', b'\x1e', b'\x1f', b'200 ', b'204 ', b'304 ', b'\x1eContent-Length\x1f', b'\x1eDate\x1f', b'\xc3\xa9'),
]


class Mutator:
    """Makes one input after the other out of ``seeds``, which are not empty."""

    def __init__(self, seeds: Sequence[bytes], seed: int) -> None:
        self._seeds = list(seeds)
        self._random = random.Random(seed)
        self._changes: list[Callable[[bytearray], None]] = [
            self._flip,
            self._insert_byte,
            self._insert_word,
            self._insert_word,
            self._replace_by_word,
            self._remove,
            self._repeat,
            self._splice,
        ]

    def next(self) -> bytes:
        """Another input; few changes are the most likely, as many at once end at the first of them."""
        made = bytearray(self._random.choice(self._seeds))
        while True:
            self._random.choice(self._changes)(made)
            if self._random.random() < 0.4:
                return bytes(made[:LONGEST])

    def _place(self, made: bytearray) -> int:
        return self._random.randrange(len(made) + 1)

    def _flip(self, made: bytearray) -> None:
        if made:
            made[self._random.randrange(len(made))] ^= 1 << self._random.randrange(8)

    def _insert_byte(self, made: bytearray) -> None:
        made.insert(self._place(made), self._random.randrange(256))

    def _insert_word(self, made: bytearray) -> None:
        place = self._place(made)
        made[place:place] = self._random.choice(WORDS)

    def _replace_by_word(self, made: bytearray) -> None:
        place = self._place(made)
        word = self._random.choice(WORDS)
        made[place : place + len(word)] = word

    def _remove(self, made: bytearray) -> None:
        start = self._place(made)
        del made[start : start + self._random.choice((1, 1, 2, 4, 16, 64))]

    def _repeat(self, made: bytearray) -> None:
        start = self._place(made)
        piece = made[start : start + self._random.choice((1, 4, 16, 64))]
        made[start:start] = piece * self._random.choice((1, 2, 20))

    def _splice(self, made: bytearray) -> None:
        other = self._random.choice(self._seeds)
        made[self._place(made) :] = other[self._random.randrange(len(other) + 1) :]
