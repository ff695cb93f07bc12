"""How molds and workers come into being, each with its channel, and a worker with its row and its seat."""

from __future__ import annotations

import errno

from prefork.master import channel as channels
from prefork.master import linux
from prefork.master.child import run_worker
from prefork.master.mold import get_ready_to_fork, run_mold
from prefork.master.signals import fork
from prefork.worker.duty import NOBODY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from prefork.master.channel import Channel
    from prefork.master.children import Children
    from prefork.master.orders import Key, Preload
    from prefork.master.site import Site
    from prefork.master.sites import Sites
    from prefork.scoreboard import Row, Scoreboard


class Spawner:
    """Adds them to ``children``.  ``close_in_child`` closes in a fork what is the master's alone, or other sites'.

    ``has_molds`` is whether molds fork the workers.  Where this process can't be a subreaper, the orphans of a mold
    would go to init rather than to us.
    """

    __slots__ = ('_board', '_children', '_close_in_child', '_sites', 'has_molds')

    def __init__(
        self, children: Children, sites: Sites, board: Scoreboard, close_in_child: Callable[[Site], None]
    ) -> None:
        self._children = children
        self._sites = sites
        self._board = board
        self._close_in_child = close_in_child
        self.has_molds = linux.become_subreaper()

    def start_mold(self, number: int, preload: Preload) -> int:
        """Fork the mold of a generation; its pid.  Raises OSError."""
        site = self._sites.of(number)
        get_ready_to_fork()
        ours, pid = self._fork(site, lambda theirs: run_mold(theirs, site, self._board, preload))
        self._children.adopt(number, ours, site, pid)
        return pid

    def spawn(self, key: Key) -> int:
        """Fork a worker, or have it forked; its pid, 0 where that will be heard of.

        Raises OSError where no process, no descriptor or no row is free as yet; then nothing has been done.
        """
        row = self._children.take_row()
        if row is None:
            raise OSError(errno.EAGAIN, 'every row of the scoreboard is taken')
        roster = self._sites.roster(key)
        seat = NOBODY if roster is None else roster.take_seat()
        try:
            return self._have_forked(key, row, seat) if self.has_molds else self._fork_worker(key, row, seat)
        except OSError:
            self._children.give_row_back(row)
            if roster is not None and seat != NOBODY:
                roster.give_seat_back(seat)
            raise

    def _have_forked(self, key: Key, row: Row, seat: int) -> int:
        """By the mold.  Raises OSError, having told it nothing."""
        ours, theirs = channels.pair()
        mold = self._children.get(key[1])
        forker = 0 if mold is None else mold.pid
        self._children.adopt(key, ours, self._sites.of(key[1]), row=row, seat=seat, mold=forker)
        if mold is None:
            theirs.close()  # it died just now; the end of the channel will say so
        else:
            ready_url = self._sites.ready_url(key)
            body = {'key': key, 'row': row.number, 'seat': seat, 'ready_url': ready_url}
            mold.channel.send('spawn', [theirs.socket.detach()], **body)
        return 0

    def _fork_worker(self, key: Key, row: Row, seat: int) -> int:
        site, ready_url = self._sites.of(key[1]), self._sites.ready_url(key)
        ours, pid = self._fork(site, lambda theirs: run_worker(key, theirs, row, seat, site, {}, ready_url))
        self._children.adopt(key, ours, site, pid, row, seat)
        return pid

    def _fork(self, site: Site, run: Callable[[Channel], int]) -> tuple[Channel, int]:
        """Fork a process that runs ``run`` with its end of a channel; our end, and its pid.  Raises OSError."""
        ours, theirs = channels.pair()

        def child() -> int:
            ours.close()
            self._close_in_child(site)
            return run(theirs)

        try:
            return ours, fork(child)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
