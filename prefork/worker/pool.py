"""A worker's connection slots: a fixed number, each made once and used again and again."""

from __future__ import annotations

from prefork.worker.phase import Phase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from prefork.worker.connection import Connection

_SPARE_DESCRIPTORS = 128  # listeners, channel, logs, and what an application opens for itself

_SLOW = 1.0
"""Seconds after which a handshake, a receipt or a sending counts as slow, when a slot is wanted for somebody else."""

_BUSY = (Phase.HANDSHAKE, Phase.RECEIVING, Phase.SENDING)


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
        """Whom to close for a newcomer: the longest-idle kept-alive connection, else the one that has been slow for the
        longest, else None.  Never one whose application runs."""
        idle = [c for c in self.used if c.phase is Phase.IDLE]
        if idle:
            return min(idle, key=lambda c: c.since)
        slow = [c for c in self.used if c.phase in _BUSY and c.waiter is None and now - c.since > _SLOW]
        return min(slow, key=lambda c: c.since) if slow else None
