"""Sees to it that nobody waits in vain to be accepted, whatever has become of the worker on duty.

The protocol is :mod:`prefork.worker.duty`'s.  Of workers that have died the master is told; this is about those that
live and don't run.
"""

from __future__ import annotations

import select
import selectors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefork.worker.duty import Roster

PATIENCE = 0.25
"""Seconds that a connection may wait with nobody having a turn."""

_ONCE = getattr(select, 'EPOLLIN', 0) | getattr(select, 'EPOLLONESHOT', 0)


class Guard:
    """For the servers that serve now.  The master looks whenever it is awake; ``next_deadline`` is when it has to."""

    __slots__ = ('_lookouts', '_selector')

    def __init__(self) -> None:
        self._lookouts: list[Lookout] = []
        self._selector: selectors.BaseSelector | None = None

    def watch(self, selector: selectors.BaseSelector, rosters: Iterable[Roster]) -> None:
        """Look after these from now on, and no others; ``selector`` is what the master waits in."""
        self.close()
        self._selector = selector
        for roster in rosters:
            try:
                lookout = Lookout(roster)
            except OSError:  # no descriptor is left: the workers do well as long as none of them hangs
                continue
            self._lookouts.append(lookout)
            selector.register(lookout, selectors.EVENT_READ)

    def look(self, now: float) -> None:
        for lookout in self._lookouts:
            lookout.look(now)

    def next_deadline(self) -> float | None:
        return min((lookout.due for lookout in self._lookouts if lookout.due is not None), default=None)

    def close(self) -> None:
        """Look after nobody, before the listeners are closed."""
        for lookout in self._lookouts:
            assert self._selector is not None
            self._selector.unregister(lookout)
        self.close_in_child()

    def close_in_child(self) -> None:
        """In a fork of the master, whose selector isn't to be touched."""
        for lookout in self._lookouts:
            lookout.close()
        self._lookouts.clear()


class Lookout:
    """Waits for a connection to one server, then looks from time to time, and then waits again.  Raises OSError.

    ``due`` is when it looks next, None while it waits.
    """

    __slots__ = ('_roster', '_set', '_turns', 'due')

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._turns = 0
        self.due: float | None = None
        self._set = select.epoll()
        try:
            for descriptor in roster.listeners:
                self._set.register(descriptor, _ONCE)
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._set.fileno()

    def look(self, now: float) -> None:
        """See whether a connection waits, if it is time; offer the duty if nobody had a turn since the last look."""
        looked = self.due is not None
        if self.due is not None:
            if now < self.due:
                return
            for descriptor in self._roster.listeners:
                self._set.modify(descriptor, _ONCE)
        if not self._set.poll(0):
            self.due = None  # none: the next one tells of itself
            return
        turns = self._roster.turns
        if looked and turns == self._turns:
            self._roster.offer()
        self._turns = turns
        self.due = now + PATIENCE

    def close(self) -> None:
        self._set.close()
