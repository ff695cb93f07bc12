"""What the supervisor wants done: small frozen values that the master carries out, in the order given.

A key, ``(server, generation, slot)``, names one worker.  No two live workers have the same key.
"""

from __future__ import annotations

import enum

from prefork.worker.backlog import Backlog as Backlog  # part of what is ordered

Key = tuple[str, int, int]

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
"""The levels of :mod:`logging`, which the pure side doesn't import."""


class Preload(enum.Enum):
    """Where the application of a generation is loaded."""

    AUTO = 'auto'
    """In the mold, unless it left behind what a fork would break."""

    ALWAYS = 'true'
    """In the mold, whatever it left behind."""

    NEVER = 'false'
    """In each worker: the mold forks them, but stays empty."""

    NO_MOLD = 'none'
    """In each worker, and the master itself forks them: there is no subreaper here to give a mold's children to."""


class Order:
    """A frozen value with the fields that its class declares, equal to another of its class with the same values."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)

    def __init__(self, *values: object) -> None:
        for name, value in zip(self._fields, values, strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f'orders are frozen: {name}')

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self._fields)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        return f'{type(self).__name__}({", ".join(map(repr, self._values()))})'


class StartMold(Order):
    """Fork the mold of a generation, and say ``mold_started``."""

    __slots__ = ('generation', 'preload')
    generation: int
    preload: Preload


class Spawn(Order):
    """Have the worker forked; ``spawned`` or ``unspawned`` follows."""

    __slots__ = ('key',)
    key: Key


class Drain(Order):
    """Tell the worker to accept no more than ``backlog`` says, to finish what it has within ``timeout``, and to go."""

    __slots__ = ('backlog', 'key', 'timeout')
    key: Key
    backlog: Backlog
    timeout: float


class Quit(Order):
    """Tell the worker to drop everything and go."""

    __slots__ = ('key',)
    key: Key


class Ping(Order):
    """Ask the worker's loop for a sign of life; ``pong`` follows."""

    __slots__ = ('key',)
    key: Key


class Kill(Order):
    """Send the signal to the process, which is known not to have been reaped."""

    __slots__ = ('pid', 'signal')
    pid: int
    signal: int


class Release(Order):
    """The worker is no more: its channel and its row of the scoreboard are free."""

    __slots__ = ('key',)
    key: Key


class Commit(Order):
    """The generation has taken over: what only its predecessors used can be closed."""

    __slots__ = ('generation',)
    generation: int


class Discard(Order):
    """The generation will never take over: what only it would have used can be closed."""

    __slots__ = ('generation',)
    generation: int


class CloseListeners(Order):
    """Let no new connection in, and close the master's own copies of the listeners."""

    __slots__ = ()


class Verify(Order):
    """Start a process of what is installed by now, that sees whether it could take over; ``verifying`` follows."""

    __slots__ = ()


class HandOver(Order):
    """Become what is installed by now.  Who comes back from it has failed, and says ``not_upgraded``."""

    __slots__ = ()


class Reread(Order):
    """Read the configuration, and ``reload`` with it."""

    __slots__ = ()


class Log(Order):
    """Tell the operator."""

    __slots__ = ('level', 'text')
    level: int
    text: str


class Exit(Order):
    """Everything has ended: the master's exit status."""

    __slots__ = ('status',)
    status: int
