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
