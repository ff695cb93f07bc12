"""What the fields of heads begin with.

Of a browser's dozen lines all but the last few are the same in each request, and of a program's often all.  What two
heads have begun with alike is read once, and recognised by one comparison from then on: so a browser's head costs a
third less to read, of which most is for the lines that are new.
"""

from __future__ import annotations

from prefork.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Opening: TypeAlias = tuple[bytes | None, int, dict[str, Any], int]

KEY = 256
"""Bytes by which an opening is looked for: in so many, browsers have said who they are."""

_MOST = 256  # a client can have openings forgotten, and never make them more
_LONGEST = 4096  # bytes
_MOST_LINES = 64


class Openings(dict['bytes', 'Any']):
    """Lines that heads have begun with after the request line, by the first KEY bytes: these lines, each with its end,
    how many bytes they are, the environ that they make of ``base``, and how many lines they are.

    Who finds that a head begins with something else, has it ``learn``.  ``read`` adds lines to an environ.
    """

    __slots__ = ('_base', '_read')

    def __init__(self, base: dict[str, Any], read: Callable[[dict[str, Any], list[bytes]], dict[str, Any]]) -> None:
        super().__init__()
        self._base = base
        self._read = read

    def __missing__(self, key: bytes) -> Opening:
        # Who sends something else each time needn't be remembered more than that.
        if len(self) >= _MOST:
            self.clear()
        self[key] = None, 0, self._base, 0
        return b'', 0, self._base, 0

    def learn(self, data: bytes) -> Opening:
        """Remember what ``data`` begins with, as far as those did that came before with the same key.

        Nothing is learnt of lines that can't be read: who reads all of the head finds out what is wrong with it first.
        """
        key = data[:KEY]
        lines = data[:_LONGEST].split(b'\r\n', _MOST_LINES)[:-1]
        known: bytes | None = self[key][0]
        if known is not None:
            lines = lines[: _common(lines, known.split(b'\r\n'))]
        try:
            environ = self._read(self._base, lines)
        except ProtocolError:
            return b'', 0, self._base, 0
        opening = b''.join(line + b'\r\n' for line in lines)
        found = self[key] = opening, len(opening), environ, len(lines)
        return found


def _common(one: list[bytes], other: list[bytes]) -> int:
    """How many items both begin with."""
    count = 0
    for first, second in zip(one, other, strict=False):
        if first != second:
            break
        count += 1
    return count
