"""A worker's connection slots: a fixed number, each made once and used again and again."""

from __future__ import annotations

from prefork.worker.phase import Phase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from prefork.worker.connection import Connection

_SPARE_DESCRIPTORS = 128  # listeners, channel, logs, and what an application opens for itself

_SLOW = 1.0
"""Seconds after which a handshake, a receipt or a sending counts as slow, when a slot is wanted for somebody else."""

_STUCK = 0.5
"""Seconds after which a thread that sleeps for a client sleeps too long, when another should."""

_WAITING = (Phase.PREFACE, Phase.HANDSHAKE, Phase.IDLE, Phase.RECEIVING, Phase.STREAMING, Phase.SENDING)


def allow_descriptors(size: int) -> int:
    """Raise this process's soft limit of descriptors for ``size`` connections; how many the hard limit is short of."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    wanted = min(2 * size + _SPARE_DESCRIPTORS, hard)  # a connection may have a temporary file beside its socket
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return max(size + _SPARE_DESCRIPTORS - hard, 0)


class Pool:
    """``size`` slots.  ``used`` are the connections there are, in the order in which they were opened."""

    __slots__ = ('_free', '_make', '_unmade', 'used')

    def __init__(self, size: int, make: Callable[[], Connection]) -> None:
        self._make = make
        self._unmade = size  # a slot is made when it is first needed, and never given up
        self._free: list[Connection] = []
        self.used: dict[Connection, None] = {}

    @property
    def full(self) -> bool:
        return not self._free and not self._unmade

    def take(self) -> Connection:
        """A free slot; the pool must not be full."""
        if self._free:
            connection = self._free.pop()
        else:
            self._unmade -= 1
            connection = self._make()
        self.used[connection] = None
        return connection

    def give_back(self, connection: Connection) -> None:
        del self.used[connection]
        self._free.append(connection)

    def victim(self, now: float) -> Connection | None:
        """Whom to close for a newcomer, or None.  Never one whose application runs.

        Those first that have their answer: one that lingers, then one that is kept alive, the longest idle.  Then one
        that has been slow for a while, the longest: sooner one that is behind ``min_rate``, or hasn't sent a head yet,
        than one that keeps up; and sooner one for whom no thread sleeps.
        """
        answered = [c for c in self.used if c.phase is Phase.LINGERING] or [c for c in self.used if c.kept]
        if answered:
            return min(answered, key=_since)
        slow = [c for c in self.used if c.phase in _WAITING and now - c.since > _SLOW]
        slow.sort(key=lambda c: (c.waiter is not None, c.since))
        # Whether a client keeps up is a question to the kernel: most often the first is the one.
        return next((c for c in slow if not c.keeps_up), slow[0] if slow else None)

    def stuck(self, now: float, sleepers: Container[Connection]) -> Connection | None:
        """Whom to give up where one thread more should sleep than may, or None.

        It is the one for whom a thread has slept for the longest of those that are behind ``min_rate``.  The
        ``sleepers`` wait for its place.
        """
        slow = [c for c in self.used if c.waiter is not None and now - c.since > _STUCK and c not in sleepers]
        slow.sort(key=_since)
        return next((c for c in slow if not c.keeps_up), None)


def _since(connection: Connection) -> float:
    return connection.since
