"""A function's results, remembered for as long as they are few."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MOST = 2048
"""Results that a memory has room for.  Whoever makes more of them than that empties it, and never makes it grow."""

LONGEST = 512
"""What is longer, in bytes or characters, isn't remembered."""

_PLACES = 1024  # a power of two; who comes back after some hundred others mostly finds its mark


class Memory(dict['Any', 'Any']):
    """``memory[key]`` is ``function(key)``, or what that was the last time; what it raises isn't remembered.

    ``size`` says how long a key is.  A key that is known costs one look-up in C and no call, which is why this is a
    dict, and why nothing is noted on a hit, as finding out who was used least would need.
    """

    __slots__ = ('_function', '_most', '_size')

    def __init__(self, function: Callable[[Any], Any], most: int = MOST, size: Callable[[Any], int] = len) -> None:
        super().__init__()
        self._function = function
        self._most = most
        self._size = size

    def __missing__(self, key: Any) -> Any:
        value = self._function(key)
        if self._size(key) <= LONGEST:
            if len(self) >= self._most:
                self.clear()
            self[key] = value
        return value


class Recurrences(Memory):
    """A memory of what was asked for twice: what is another each time doesn't fill it.

    It is for what is dear beside the 500 instructions that a first time costs.
    """

    __slots__ = ('_marks',)

    def __init__(self, function: Callable[[Any], Any], most: int = MOST, size: Callable[[Any], int] = len) -> None:
        super().__init__(function, most, size)
        self._marks = bytearray(_PLACES)  # some bits of the hash of who came last to each place

    def __missing__(self, key: Any) -> Any:
        number, place = divmod(hash(key), _PLACES)
        mark = number % 255 + 1
        if self._marks[place] == mark:
            return super().__missing__(key)
        value = self._function(key)
        self._marks[place] = mark
        return value
