"""What the master holds of its molds and workers: their channels, and the scoreboard's rows that workers have."""

from __future__ import annotations

import selectors

from prefork.errors import ChannelError
from prefork.master.site import ERROR_LOG
from prefork.worker.duty import NOBODY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from prefork.master.channel import Channel, Message
    from prefork.master.orders import Key, Order
    from prefork.master.site import Site
    from prefork.master.supervisor import Supervisor
    from prefork.scoreboard import Row, Scoreboard
    from prefork.worker.duty import Roster


class Child:
    """One mold or worker of ``site``.  ``owner`` is the number of the mold's generation, or the worker's key."""

    __slots__ = ('channel', 'mold', 'owner', 'pid', 'row', 'seat', 'site')

    def __init__(
        self, owner: int | Key, channel: Channel, site: Site, pid: int, row: Row | None, seat: int, mold: int
    ) -> None:
        self.owner = owner
        self.channel = channel
        self.site = site
        self.pid = pid
        """0: not known yet."""
        self.row = row
        self.seat = seat
        """In its server's roster."""
        self.mold = mold
        """The process that forks this worker and tells us; 0 where we fork it."""

    @property
    def reachable(self) -> bool:
        """Whether its channel is open."""
        return self.channel.fileno() >= 0

    @property
    def _roster(self) -> Roster | None:
        return None if isinstance(self.owner, int) or not self.seat else self.site.parts[self.owner[0]].roster

    def relieve(self) -> None:
        """It accepts no more: have another worker be on duty."""
        if (roster := self._roster) is not None:
            roster.relieve(self.seat)

    def give_seat_back(self) -> None:
        if (roster := self._roster) is not None:
            roster.give_seat_back(self.seat)

    def log_files(self) -> dict[str, str]:
        """The paths of the files that it logs to, by name, as long as it can be told anything about them."""
        if not self.reachable:
            return {}
        paths = self.site.log_files()
        if isinstance(self.owner, int):
            return paths
        return {name: path for name, path in paths.items() if name in (ERROR_LOG, self.owner[0])}


class Children:
    """All children whose end isn't known yet, and the selector that waits for what they say."""

    __slots__ = ('_by_owner', '_free_rows', 'selector')

    def __init__(self, board: Scoreboard) -> None:
        self.selector = selectors.DefaultSelector()
        self._by_owner: dict[int | Key, Child] = {}
        self._free_rows = [board[number] for number in reversed(range(len(board)))]

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._by_owner.values()))

    def get(self, owner: int | Key) -> Child | None:
        return self._by_owner.get(owner)

    def take_row(self) -> Row | None:
        return self._free_rows.pop() if self._free_rows else None

    def give_row_back(self, row: Row) -> None:
        row.clear()
        self._free_rows.append(row)

    def adopt(
        self,
        owner: int | Key,
        channel: Channel,
        site: Site,
        pid: int = 0,
        row: Row | None = None,
        seat: int = NOBODY,
        mold: int = 0,
    ) -> Child:
        child = Child(owner, channel, site, pid, row, seat, mold)
        self.selector.register(channel, selectors.EVENT_READ, child)
        self._by_owner[owner] = child
        return child

    def hang_up(self, child: Child) -> None:
        """Close the channel.  A worker keeps its row until it is released; a mold has nothing else to be kept."""
        if child.reachable:
            self.selector.unregister(child.channel)
            child.channel.close()
        if child.row is None and self._by_owner.get(child.owner) is child:
            del self._by_owner[child.owner]

    def release(self, key: Key) -> None:
        """The worker has ended."""
        child = self._by_owner.pop(key, None)
        if child is None:
            return
        self.hang_up(child)
        child.relieve()
        child.give_seat_back()
        if child.row is not None:
            self.give_row_back(child.row)

    def wait_for_room(self) -> None:
        """Have the selector wait for channels to become writable while something is left to be sent on them."""
        for child in self._by_owner.values():
            if child.reachable:
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.channel.pending else 0)
                if self.selector.get_key(child.channel).events != events:
                    self.selector.modify(child.channel, events, child)

    def close_in_child(self) -> None:
        """In a fork of the master: close what belongs to it and its other children."""
        self.selector.close()  # and no unregister, which would reach the master's: the kernel's set is shared
        for child in self._by_owner.values():
            child.channel.close()


# --- what they say ----------------------------------------------------------------------------------------------


def event(supervisor: Supervisor, now: float, child: Child, message: Message) -> list[Order]:
    """Tell the supervisor; its orders.  Raises ChannelError for what no child of ours says."""
    try:
        if isinstance(child.owner, int):
            return _of_mold(supervisor, now, child.owner, message.kind, message.body)
        if message.kind == 'spawned':
            # The kernel's word before the worker's, which may be another user's: whom it says, root would kill.
            child.pid = child.pid or message.sender or _pid(message)
            return supervisor.spawned(now, child.owner, child.pid)
        if message.sender and message.sender == child.mold:
            return _of_its_mold(supervisor, now, child, child.owner, message)
        if message.kind == 'leaving':
            child.relieve()  # it has given up the duty itself, but may have been chosen in that moment
        return _of_worker(supervisor, now, child.owner, message.kind, message.body)
    except (LookupError, TypeError, ValueError) as error:
        raise ChannelError(f'{message.kind}: {error!r}') from error


def _of_mold(supervisor: Supervisor, now: float, number: int, kind: str, body: dict[str, Any]) -> list[Order]:
    match kind:
        case 'loaded':
            return supervisor.mold_loaded(now, number, body['seconds'])
        case 'unsafe':
            return supervisor.mold_unsafe(now, number, body['found'])
        case 'failed':
            return supervisor.mold_failed(now, number, f'the application cannot be loaded: {body["reason"]}')
    raise LookupError(kind)


def _of_its_mold(supervisor: Supervisor, now: float, child: Child, key: Key, message: Message) -> list[Order]:
    """On the worker's channel: another worker may have the key by now, and the mold's would tell of that."""
    match message.kind:
        case 'forked':
            child.pid = child.pid or _pid(message)
            return supervisor.spawned(now, key, child.pid)
        case 'unspawned':
            return supervisor.unspawned(now, key, message.body['reason'])
    raise LookupError(message.kind)


def _pid(message: Message) -> int:
    """One that a system call takes for a process and not for several."""
    pid = int(message.body['pid'])
    if not 0 < pid < 1 << 31:
        raise ValueError(pid)
    return pid


def _of_worker(supervisor: Supervisor, now: float, key: Key, kind: str, body: dict[str, Any]) -> list[Order]:
    match kind:
        case 'ready':
            return supervisor.ready(now, key)
        case 'failed':
            return supervisor.failed(now, key, body['reason'])
        case 'asked':
            return supervisor.asked(now, key)
        case 'worn':
            return supervisor.worn(now, key, body['reason'])
        case 'leaving':
            return supervisor.leaving(now, key)
        case 'pong':
            return supervisor.pong(now, key)
    raise LookupError(kind)
