"""The duty to accept: which of a server's workers waits for its listeners, and how it goes from one to the next.

If all workers waited for all listeners, each connection would wake them all, and the first to come would get it, were
it the busiest.  So one of them is on duty.  When it has accepted, it passes the duty on to the one with the least to do
of those that have a free thread, which may be itself.

**What it is.**  Each worker has a *seat*, and each seat an epoll set that the master has made before any fork: every
process has every set.  The listeners stand in all sets, switched off (epoll_ctl(2), a mask of 0).  A worker waits for
its own set among all else, and is on duty while the listeners are switched on in there.  So whoever passes the duty on
switches them off in its own set and on in the other's, which has nothing to do for that: it sleeps on, and is woken
once, by the connection.  For the same reason the duty can be taken from a worker that can't run.

**What is known.**  The workers share a few cells of memory, read and written by anyone:

* the *holder*: the seat that is on duty; NOBODY; or ANYBODY, when the duty is offered to several that are switched on;
* the *turns*: how often somebody was woken by the listeners, and dealt with it;
* a *load* for each seat: 0 where it can't have the duty, else how much it has to do.  A worker writes it in each round
  of its loop; whoever takes the duty from one that doesn't stir writes 0, until that one shows by a round that it runs.

**Who does what.**

* A worker that is woken by its set accepts, if it can and is the holder or there is none, and passes the duty on.  Else
  it switches its set off.  Who takes a duty that was offered switches off the others' sets.
* A holder that can't accept, since its threads are all taken, its pool is full or it drains, passes the duty on; where
  no seat has a load, the holder is NOBODY, and no listener is switched on.
* A worker that can accept and finds that there is no holder takes the duty.  It looks in each round, so a slot that
  becomes free is enough.

**What can go wrong, and who sees it.**  There is no lock, since its owner could be killed.  Two may think themselves on
duty, or be switched on at once: both are woken, one gets the connection, and one finds that it isn't the holder.

* The holder stalls in the application: its sentry takes the lead and makes a round, within two ticks.
* The holder dies, or is stopped: the master learns that at once, and offers the duty to all that have a load, or if
  there are none to everybody.  If the dead one was in the middle of passing it on, the holder is either still the dead
  one, or the next one with a set that may be off; the master switches it on.
* The holder can't run, as when C code keeps the interpreter's lock, or is lost in a way that isn't foreseen here.
  Nobody can see that, but that a connection waits can be seen.  The master's lookout (prefork/master/guard.py) is told
  by the kernel of the first connection after it was set up, and looks again PATIENCE later.  If one waits then, and
  nobody has had a turn since, the duty is offered as well.  While no connection comes, nobody looks.
* Whoever can't run is left out from then on: to offer its duty to others clears its load.
* One that drains gives up its seat's load, and the duty, before it closes the listeners; had it been chosen just
  before, the master sees so when it says that it leaves, and again when it ends.
* The master dies: all workers close their listeners.  It becomes another binary: the workers that the next one adopts
  are told to do without, and all of them listen until its own have taken over.

**Races** of two that change the cells at once end in one of: two are switched on (harmless, see above); the holder is
one whose set is off.  The second needs a worker that is held up between two steps of passing on, or that gives up a
stray duty, or takes it from others, in the moment in which they get a real one.  The former is put right by its own
next step; against the latter whoever has switched off a set in vain looks once more who is the holder, and switches
that one's on.  What is left is for the lookout.

Generations that follow each other each have a roster of their own: while one takes over from the other, there are two
on duty.  A worker without a seat (there is no epoll here, or they were all taken) listens all the time, and so does the
only worker of a server.
"""

from __future__ import annotations

import select

from prefork.scoreboard import shared_cells

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prefork.net.listener import Listener

NOBODY, ANYBODY = 0, (1 << 64) - 1
"""In the place of a seat; those count from 1."""

_HOLDER, _TURNS, _LOADS = 0, 1, 2  # cells
_ON, _OFF = getattr(select, 'EPOLLIN', 0), 0

_SPARE = 6


def choose(loads: Sequence[int], after: int) -> int:
    """The seat that should be on duty: the least loaded of those with a load, NOBODY where there is none.

    ``loads[0]`` is that of seat 1.  Of several the next one after the seat ``after`` has its turn.
    """
    least = min(filter(None, loads), default=0)
    if not least:
        return NOBODY
    first = after if least in loads[after:] else 0
    return loads.index(least, first) + 1


def open_roster(listeners: Iterable[Listener], workers: int) -> Roster | None:
    """A roster for so many workers, with room for some more; None where all have to listen."""
    if workers < 2 or not _ON:
        return None
    try:
        return Roster([listener.fileno() for listener in listeners], workers + max(workers, _SPARE))
    except OSError:  # no descriptor is left, or the kernel has another limit
        return None


class Roster:
    """What the workers of a server share: the master makes it, and keeps its seats; forks inherit it.

    ``listeners`` are descriptors.  They must be open under these numbers in whoever calls a method that may switch.
    Raises OSError.
    """

    __slots__ = ('_free', '_sets', '_taken', 'cells', 'listeners')

    def __init__(self, listeners: Sequence[int], seats: int) -> None:
        self.listeners = tuple(listeners)
        self.cells = shared_cells(_LOADS + seats)
        self._free = list(range(seats, NOBODY, -1))
        self._taken: set[int] = set()
        self._sets: list[select.epoll] = []
        try:
            for _ in range(seats):
                self._sets.append(select.epoll())
                for descriptor in self.listeners:
                    self._sets[-1].register(descriptor, _OFF)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """In this process: it has nothing to do with it any more."""
        for each in self._sets:
            each.close()
        self._sets.clear()

    # --- the cells and sets, for the modules that know the protocol -----------------------------------------------

    @property
    def holder(self) -> int:
        return self.cells[_HOLDER]

    @holder.setter
    def holder(self, seat: int) -> None:
        self.cells[_HOLDER] = seat

    @property
    def turns(self) -> int:
        return self.cells[_TURNS]

    def count_turn(self) -> None:
        self.cells[_TURNS] += 1

    def set_load(self, seat: int, load: int) -> None:
        self.cells[_LOADS + seat - 1] = load

    def loads(self) -> list[int]:
        return self.cells[_LOADS:].tolist()

    def set_of(self, seat: int) -> select.epoll:
        return self._sets[seat - 1]

    def switch_on(self, seat: int) -> None:
        for descriptor in self.listeners:
            self._sets[seat - 1].modify(descriptor, _ON)

    def switch_off(self, seat: int) -> None:
        for descriptor in self.listeners:
            self._sets[seat - 1].modify(descriptor, _OFF)

    def take(self, seat: int) -> None:
        """Let the seat be the holder, by its own wish: there is none."""
        offered = self.holder == ANYBODY
        self.holder = seat
        if offered:
            for other in range(1, len(self._sets) + 1):
                if other != seat:
                    self.switch_off(other)
        self.switch_on_holder()

    def switch_on_holder(self) -> None:
        """Whoever it is by now, and nobody who was it a moment before."""
        while (holder := self.holder) not in (NOBODY, ANYBODY):
            self.switch_on(holder)
            if self.holder == holder:
                return
            self.switch_off(holder)

    def give(self, seat: int) -> None:
        """Let the seat be the holder."""
        self.holder = seat
        self.switch_on_holder()

    # --- for the master -------------------------------------------------------------------------------------------

    def take_seat(self) -> int:
        """A seat for a new worker, NOBODY where all are taken."""
        if not self._free:
            return NOBODY
        seat = self._free.pop()
        self._taken.add(seat)
        return seat

    def give_seat_back(self, seat: int) -> None:
        """The worker with that seat has ended, and has been relieved."""
        if self._sets:
            self.switch_off(seat)
        self._taken.remove(seat)
        self._free.append(seat)

    def relieve(self, seat: int) -> None:
        """Whoever has that seat accepts no more: somebody else has to be on duty."""
        self.set_load(seat, 0)
        if not self._sets:
            return
        if self.holder == seat:
            self.offer()
        else:
            self.switch_on_holder()  # in case that this one was about to

    def offer(self) -> None:
        """Let the first who runs have the duty, of all that have a load, but for who has it now; else of all."""
        holder, self.holder = self.holder, ANYBODY
        if holder not in (NOBODY, ANYBODY):
            self.set_load(holder, 0)  # until it shows that it runs
        able = [seat for seat, load in enumerate(self.loads(), 1) if load]
        # Without a load there may still be one that was given the duty just before this, and sleeps as it should.
        for seat in able or sorted(self._taken):
            self.switch_on(seat)
            if self.holder != ANYBODY:  # one that was switched on before has taken it, and switched off the others
                self.switch_off(seat)
                self.switch_on_holder()
                return


class Duty:
    """One worker's part in it.  All but ``fileno`` is for the leader of its loop, while it has the listeners open."""

    __slots__ = ('_roster', '_seat')

    def __init__(self, roster: Roster, seat: int) -> None:
        self._roster = roster
        self._seat = seat
        if roster.holder == seat:
            roster.holder = NOBODY  # it was an earlier worker who had the seat

    def fileno(self) -> int:
        """Readable while there is a connection that this worker has to accept."""
        return self._roster.set_of(self._seat).fileno()

    def report(self, load: int) -> None:
        """Tell the others how much this worker has to do, 0 where it can't accept; once a round."""
        cells = self._roster.cells
        cells[_LOADS + self._seat - 1] = load  # as set_load, without a call in each round
        holder = cells[_HOLDER]
        if load:
            if holder in (NOBODY, ANYBODY):
                self._roster.take(self._seat)
        elif holder == self._seat:
            self.pass_on(0)

    def claim(self, load: int) -> bool:
        """The set is readable: whether the duty is this worker's, and it can accept."""
        roster, seat = self._roster, self._seat
        holder = roster.holder
        if not load and holder == seat:
            self.pass_on(0)
            return False
        if load and holder in (NOBODY, ANYBODY):
            roster.take(seat)
        elif not load or holder != seat:
            roster.switch_off(seat)
            if roster.holder == seat:  # it was given in this very moment
                roster.switch_on(seat)
            return False
        return True

    def ready(self) -> list[int]:
        """The listeners that have a connection, by descriptor."""
        return [descriptor for descriptor, _ in self._roster.set_of(self._seat).poll(0)]

    def pass_on(self, load: int) -> None:
        """This worker has had its turn, and has so much to do now."""
        roster, seat = self._roster, self._seat
        roster.set_load(seat, load)
        roster.count_turn()
        chosen = choose(roster.loads(), seat)
        if chosen == seat:
            return
        roster.switch_off(seat)  # first: the other one may give the duty back at once
        if chosen == NOBODY:
            roster.holder = NOBODY
            # Who could accept just before that has seen that there was a holder, and may sleep by now.
            chosen = choose(roster.loads(), seat)
        if chosen != NOBODY:
            roster.give(chosen)

    def leave(self) -> None:
        """This worker listens no more, or by itself."""
        if self._roster.holder == self._seat:
            self.pass_on(0)
        else:
            self._roster.set_load(self._seat, 0)
            self._roster.switch_off(self._seat)
