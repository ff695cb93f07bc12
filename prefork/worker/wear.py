"""When a worker has served enough, or has grown too large: it tells, so that another one can take its place."""

from __future__ import annotations

import os

from prefork.logs import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from prefork.scoreboard import Row
    from prefork.settings import Settings
    from prefork.worker.memory import Memory

WEIGH_INTERVAL = 5.0
"""Seconds between two looks at the memory, at the most often."""

NEVER = float('inf')


class Wear:
    """``tell(reason)`` is called once, at the first sign of wear; where it is None, nobody wants to know.

    ``enough`` is the number of requests at which ``report`` is due.
    """

    __slots__ = ('_answered', '_max_rss', '_memory', '_next', '_row', '_tell', 'enough')

    def __init__(self, settings: Settings, row: Row | None, tell: Callable[[str], None] | None) -> None:
        self._tell = tell
        self._row = row
        self.enough = NEVER
        if tell is not None and settings.max_requests:
            # Workers that began together shall not end together.
            self.enough = settings.max_requests + int.from_bytes(os.urandom(4)) % (settings.max_requests_jitter + 1)
        self._answered = 0  # requests, when the memory was last looked at
        self._next = 0.0
        self._max_rss = settings.max_rss
        self._memory: Memory | None = None
        if tell is not None and settings.max_rss:
            from prefork.worker.memory import Memory

            self._memory = Memory()
            size = self._measure(self._memory)
            if size > settings.max_rss:  # its successor would be no smaller
                logger.error('max_rss has no effect: a fresh worker has %d MiB already', size >> 20)
                self._memory = None

    def report(self, reason: str) -> None:
        """Tell, if nothing was told before."""
        self.enough = NEVER
        self._memory = None
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(reason)

    def weigh(self, now: float, answered: int) -> float:
        """Look at the memory if that is due, after so many requests; when it will be due, as far as is known."""
        memory = self._memory
        if memory is None or answered == self._answered:
            return NEVER
        if now < self._next:
            return self._next
        self._answered = answered
        self._next = now + WEIGH_INTERVAL
        size = self._measure(memory)
        if size > self._max_rss:
            self.report(f'it has {size >> 20} MiB of memory, more than max_rss')
        return NEVER

    def _measure(self, memory: Memory) -> int:
        size = memory.size()
        if self._row is not None:
            self._row.put('rss', size)
        return size
