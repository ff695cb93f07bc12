"""The master's policy as a table: each case is a story of events, with the orders that each of them has to give."""

from __future__ import annotations

import json
import re
import signal
from typing import Any

import pytest

from prefork.errors import EX_CONFIG, EX_OK
from prefork.master import fleet, supervisor
from prefork.master.generation import Plan
from prefork.master.orders import (
    DEBUG,
    ERROR,
    Backlog,
    CloseListeners,
    Commit,
    Discard,
    Drain,
    Exit,
    HandOver,
    Key,
    Kill,
    Log,
    Order,
    Ping,
    Preload,
    Quit,
    Release,
    Reread,
    Spawn,
    StartMold,
    Verify,
)
from prefork.master.supervisor import Supervisor

LOAD, GRACE = 60.0, 30.0
KILLED = int(signal.SIGKILL)  # a wait status
PING = supervisor.PING_INTERVAL
SILENCE = supervisor.PING_TIMEOUT
DOOM = fleet.DOOM_TIME


def plan(preload: Preload = Preload.AUTO, **workers: int) -> Plan:
    return Plan(workers or {'main': 2}, LOAD, GRACE, preload)


def key(generation: int, slot: int, server: str = 'main') -> Key:
    return server, generation, slot


def mold(generation: int) -> int:
    """The pid that a generation's mold has in these stories."""
    return generation * 100


def pid(generation: int, slot: int) -> int:
    return generation * 100 + 1 + slot


def drain(generation: int, slot: int, backlog: Backlog = Backlog.LEAVE) -> Drain:
    return Drain(key(generation, slot), backlog, GRACE)


class Step:
    """An event ``after`` so many seconds, the orders that it must give, Log orders aside, and what is logged."""

    def __init__(
        self, event: str, *values: Any, after: float = 0.0, gives: tuple[Order, ...] = (), says: str = ''
    ) -> None:
        self.event = event
        self.values = values
        self.after = after
        self.gives = list(gives)
        self.says = says

    def __repr__(self) -> str:
        return f'{self.event}{self.values}'


def started(generation: int, *workers: int, replaces: tuple[int, ...] = ()) -> list[Step]:
    """A generation from its mold's start to its workers' readiness, none of which may give a surprise."""
    orders = tuple(Spawn(key(generation, slot)) for slot in workers)
    steps = [
        Step('mold_started', generation, mold(generation)),
        Step(
            'mold_loaded',
            generation,
            0.5,
            gives=orders,
            says=f'preload: generation {generation} loaded once, in 0.50 s',
        ),
    ]
    for slot in workers:
        steps.append(Step('spawned', key(generation, slot), pid(generation, slot)))
    for slot in workers:
        gives = (Commit(generation),) if slot == workers[0] else ()
        steps.append(Step('ready', key(generation, slot), gives=gives))
    return steps


FIRST = [Step('reload', plan(), gives=(StartMold(1, Preload.AUTO),)), *started(1, 0, 1)]
"""The first generation, with two workers, from nothing to serving."""

LOADING = [*FIRST, Step('reload', plan(), gives=(StartMold(2, Preload.AUTO),)), Step('mold_started', 2, mold(2))]
PROVING = [
    *LOADING,
    Step('mold_loaded', 2, 0.5, gives=(Spawn(key(2, 0)),)),
    Step('spawned', key(2, 0), pid(2, 0)),
]
TAKEN_OVER = [
    *PROVING,
    Step('ready', key(2, 0), gives=(Commit(2), Kill(mold(1), signal.SIGKILL), drain(1, 0), Spawn(key(2, 1)))),
]

RESTARTING = [
    *FIRST,
    Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)), Spawn(key(1, 0)))),
    Step('spawned', key(1, 0), 900),
]

VERIFIER = 999
UPGRADING = [*FIRST, Step('upgrade', gives=(Verify(),), says='verified'), Step('verifying', VERIFIER)]
HANDING_OVER = [*UPGRADING, Step('verified', 0, '', gives=(Kill(mold(1), signal.SIGKILL),))]

STORIES: dict[str, list[Step]] = {
    'start': [
        Step('reload', plan(), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, mold(1)),
        Step('mold_loaded', 1, 0.25, gives=(Spawn(key(1, 0)), Spawn(key(1, 1))), says=r'loaded once, in 0\.25 s'),
        Step('spawned', key(1, 0), pid(1, 0)),
        Step('spawned', key(1, 1), pid(1, 1)),
        Step('ready', key(1, 1), gives=(Commit(1),)),
        Step('ready', key(1, 0), says='(?m)^ready: 2 workers$'),
    ],
    'start: two servers': [
        Step('reload', plan(api=1, admin=2), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, mold(1)),
        Step(
            'mold_loaded',
            1,
            0.5,
            gives=(Spawn(key(1, 0, 'api')), Spawn(key(1, 0, 'admin')), Spawn(key(1, 1, 'admin'))),
        ),
        Step('spawned', key(1, 0, 'api'), 11),
        Step('spawned', key(1, 0, 'admin'), 12),
        Step('spawned', key(1, 1, 'admin'), 13),
        Step('ready', key(1, 0, 'api')),
        Step('ready', key(1, 0, 'admin'), gives=(Commit(1),)),
        Step('ready', key(1, 1, 'admin'), says='(?m)^ready: 3 workers$'),
    ],
    'start: no mold where there is no subreaper': [
        Step('reload', plan(Preload.NO_MOLD, main=1), gives=(Spawn(key(1, 0)),)),
        Step('spawned', key(1, 0), pid(1, 0)),
        Step('ready', key(1, 0), gives=(Commit(1),), says='(?m)^ready: 1 worker$'),
    ],
    'start: the application cannot be loaded': [
        Step('reload', plan(), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, mold(1)),
        Step('mold_failed', 1, 'no module', gives=(CloseListeners(),), says='no module'),
        Step('exited', mold(1), EX_CONFIG << 8, gives=(Exit(EX_CONFIG),)),
    ],
    'start: the mold cannot be forked': [
        Step('reload', plan(), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_failed', 1, 'no memory', gives=(CloseListeners(), Exit(EX_CONFIG)), says='no memory'),
    ],
    'start: loading takes too long': [
        Step('reload', plan(), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, mold(1)),
        Step('tick', after=LOAD - 1),
        Step(
            'tick',
            after=1,
            gives=(Kill(mold(1), signal.SIGABRT), CloseListeners()),
            says='not loaded within load_timeout = 60 s',
        ),
        Step('exited', mold(1), signal.SIGABRT, gives=(Exit(EX_CONFIG),)),
    ],
    'start: loading ends the mold': [
        Step('reload', plan(), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, mold(1)),
        Step(
            'exited',
            mold(1),
            3 << 8,
            gives=(CloseListeners(), Exit(EX_CONFIG)),
            says=r'the mold of generation 1 \(pid 100\) exited with status 3',
        ),
    ],
    'start: a worker cannot load': [
        Step('reload', plan(Preload.NEVER), gives=(StartMold(1, Preload.NEVER),)),
        Step('mold_started', 1, mold(1)),
        Step('mold_loaded', 1, 0.0, gives=(Spawn(key(1, 0)), Spawn(key(1, 1)))),
        Step('spawned', key(1, 0), pid(1, 0)),
        Step(
            'failed',
            key(1, 0),
            'no module',
            gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL)),
            says=r'worker main/1/0 \(pid 101\) cannot start: no module',
        ),
        Step('spawned', key(1, 1), pid(1, 1), gives=(Kill(pid(1, 1), signal.SIGKILL),)),
        Step('exited', mold(1), KILLED),
        Step('exited', pid(1, 0), EX_CONFIG << 8, gives=(Release(key(1, 0)),)),
        Step('exited', pid(1, 1), KILLED, gives=(Release(key(1, 1)), Exit(EX_CONFIG))),
    ],
    'start: a worker that dies is tried again, three times': [
        Step('reload', plan(main=1), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, mold(1)),
        Step('mold_loaded', 1, 0.5, gives=(Spawn(key(1, 0)),)),
        Step('spawned', key(1, 0), 11),
        Step('exited', 11, KILLED, gives=(Release(key(1, 0)),), says=r'before it was ready; replaced in 0\.5 s'),
        Step('tick', after=0.5, gives=(Spawn(key(1, 0)),)),
        Step('spawned', key(1, 0), 12),
        Step('exited', 12, KILLED, gives=(Release(key(1, 0)),), says='before it was ready; replaced in 1 s'),
        Step('tick', after=1, gives=(Spawn(key(1, 0)),)),
        Step('spawned', key(1, 0), 13),
        Step('exited', 13, KILLED, gives=(Release(key(1, 0)), CloseListeners(), Kill(mold(1), signal.SIGKILL))),
        Step('exited', mold(1), KILLED, gives=(Exit(EX_CONFIG),)),
    ],
    'start: HUP while it loads starts over': [
        Step('reload', plan(), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, mold(1)),
        Step(
            'reload',
            plan(main=1),
            gives=(Kill(mold(1), signal.SIGKILL), Discard(1), StartMold(2, Preload.AUTO)),
            says='superseded',
        ),
        Step('exited', mold(1), KILLED),
        Step('mold_started', 2, mold(2)),
        Step('mold_loaded', 2, 0.5, gives=(Spawn(key(2, 0)),)),
        Step('spawned', key(2, 0), pid(2, 0)),
        Step('ready', key(2, 0), gives=(Commit(2),), says='(?m)^ready: 1 worker$'),
    ],
    'preload: unsafe, an empty mold of the same generation': [
        Step('reload', plan(main=1), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, 100),
        Step(
            'mold_unsafe', 1, ['the thread Beat', 'a socket to 10.0.0.1:5432'], says='the thread Beat, a socket to 10'
        ),
        Step('exited', 100, 0, gives=(StartMold(1, Preload.NEVER),)),
        Step('mold_started', 1, 200),
        Step('mold_loaded', 1, 0.0, gives=(Spawn(key(1, 0)),)),
    ],
    'preload: unsafe, and the mold lingers': [
        Step('reload', plan(main=1), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, 100),
        Step('mold_unsafe', 1, ['the thread Beat'], says='Beat'),
        Step('tick', after=DOOM, gives=(Kill(100, signal.SIGKILL),)),
        Step('exited', 100, KILLED, gives=(StartMold(1, Preload.NEVER),)),
    ],
    'death: replaced at once, in the same slot': [
        *FIRST,
        Step(
            'exited',
            pid(1, 0),
            KILLED,
            gives=(Release(key(1, 0)), Spawn(key(1, 0))),
            says=r'^worker main/1/0 \(pid 101\) was killed by SIGKILL; replaced$',
        ),
        Step('spawned', key(1, 0), 900),
        Step('ready', key(1, 0)),
    ],
    'death: the kernel was out of memory': [
        *FIRST,
        Step(
            'exited',
            pid(1, 0),
            KILLED,
            True,
            gives=(Release(key(1, 0)), Spawn(key(1, 0))),
            says=r'was killed by SIGKILL: the kernel was out of memory; replaced$',
        ),
    ],
    'death: nothing tells whether the kernel was out of memory': [
        *FIRST,
        Step(
            'exited',
            pid(1, 0),
            KILLED,
            None,
            gives=(Release(key(1, 0)), Spawn(key(1, 0))),
            says=r'was killed by SIGKILL, perhaps by the kernel, out of memory; replaced$',
        ),
    ],
    'death: it is not the kernel whom we have kill': [
        *FIRST,
        Step('stopped', mold(1), gives=(Kill(mold(1), signal.SIGKILL),), says='was stopped by a signal'),
        Step('exited', mold(1), KILLED, None, gives=(StartMold(2, Preload.AUTO),), says='was killed by SIGKILL; a new'),
    ],
    'death: out of memory, reaped before its pid was known': [
        *FIRST,
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)), Spawn(key(1, 0)))),
        Step('exited', 900, KILLED, True),
        Step('spawned', key(1, 0), 900, gives=(Release(key(1, 0)),), says='out of memory before it was ready'),
    ],
    'death: another signal while the kernel was out of memory': [
        *FIRST,
        Step('exited', pid(1, 1), 11, True, gives=(Release(key(1, 1)), Spawn(key(1, 1))), says='by SIGSEGV; r'),
    ],
    'death: told by its exit status': [
        *FIRST,
        Step('exited', pid(1, 1), 3 << 8, gives=(Release(key(1, 1)), Spawn(key(1, 1))), says='exited with status 3'),
    ],
    'death: told by a signal without a name, core dumped': [
        *FIRST,
        Step('exited', pid(1, 1), 0x80 | 40, gives=(Release(key(1, 1)), Spawn(key(1, 1))), says='killed by signal 40'),
    ],
    'death: before it was known to be spawned': [
        *FIRST,
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)), Spawn(key(1, 0)))),
        Step('exited', 900, 11),
        Step('tick'),
        Step('spawned', key(1, 0), 900, gives=(Release(key(1, 0)),), says=r'(?s)SIGSEGV before.*in 0\.5 s'),
        Step('tick', after=0.5, gives=(Spawn(key(1, 0)),)),
    ],
    'death: nothing can be spawned': [
        *FIRST,
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)), Spawn(key(1, 0)))),
        Step('unspawned', key(1, 0), 'no memory', gives=(Release(key(1, 0)),), says='no memory\ntried again in 0.5 s'),
        Step('tick', after=0.5, gives=(Spawn(key(1, 0)),)),
    ],
    'death: a stranger': [
        *FIRST,
        Step('exited', 4711, 0),
    ],
    'death: of a stranger whose pid a worker gets later': [
        *FIRST,
        Step('exited', 4711, KILLED),
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)), Spawn(key(1, 0)))),
        Step('spawned', key(1, 0), 4711),
        Step('ready', key(1, 0)),
    ],
    'death: after a healthy life the back-off begins anew': [
        *FIRST,
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)), Spawn(key(1, 0)))),
        Step('spawned', key(1, 0), 900),
        Step('ready', key(1, 0)),
        Step('exited', 900, KILLED, gives=(Release(key(1, 0)),), after=9, says=r'replaced in 0\.5 s'),
        Step('tick', after=0.5, gives=(Spawn(key(1, 0)),)),
        Step('spawned', key(1, 0), 901),
        Step('ready', key(1, 0)),
        Step('exited', 901, KILLED, after=10, gives=(Release(key(1, 0)), Spawn(key(1, 0))), says='replaced$'),
    ],
    'death: of a worker that leaves is no news, and it is replaced before': [
        *FIRST,
        Step('asked', key(1, 0), gives=(drain(1, 0), Spawn(key(1, 2))), says='drains and is replaced'),
        Step('asked', key(1, 0)),
        Step('leaving', key(1, 0)),
        Step('exited', pid(1, 0), 0, gives=(Release(key(1, 0)),)),
        Step('spawned', key(1, 2), pid(1, 2)),
        Step('ready', key(1, 2)),
    ],
    'mold: dies, and a new generation proves itself': [
        *FIRST,
        Step(
            'exited', mold(1), KILLED, after=10, gives=(StartMold(2, Preload.AUTO),), says='a new generation is loaded$'
        ),
        Step('mold_started', 2, mold(2)),
        Step('mold_loaded', 2, 0.5, gives=(Spawn(key(2, 0)),)),
        Step('spawned', key(2, 0), pid(2, 0)),
        Step('ready', key(2, 0), gives=(Commit(2), drain(1, 0), Spawn(key(2, 1)))),
        Step('spawned', key(2, 1), pid(2, 1)),
        Step('ready', key(2, 1), gives=(drain(1, 1),)),
        Step('leaving', key(1, 0)),
        Step('leaving', key(1, 1), says='generation 2: loaded, 2 workers'),
    ],
    'mold: dies, and the new generation fails again and again': [
        *FIRST,
        Step('exited', mold(1), KILLED, gives=(StartMold(2, Preload.AUTO),)),
        Step('mold_started', 2, mold(2)),
        Step('mold_failed', 2, 'broken', gives=(Discard(2),), says='generation 1 serves on'),
        Step('exited', mold(2), EX_CONFIG << 8),
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)),)),  # with no mold, none can be started
        Step('tick', after=0.5, gives=(StartMold(3, Preload.AUTO),)),
        Step('mold_started', 3, mold(3)),
        Step('mold_failed', 3, 'broken', gives=(Discard(3),)),
        Step('tick', after=0.5),
        Step('tick', after=0.5, gives=(StartMold(4, Preload.AUTO),)),
    ],
    'mold: does not fork': [
        *FIRST,
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)), Spawn(key(1, 0)))),
        Step('tick', after=PING, gives=(Ping(key(1, 1)),)),
        Step('pong', key(1, 1)),
        Step('tick', after=LOAD - PING, gives=(Ping(key(1, 1)), Kill(mold(1), signal.SIGKILL)), says='does not answer'),
        Step('exited', mold(1), KILLED, gives=(StartMold(2, Preload.AUTO),)),
        Step('unspawned', key(1, 0), 'ended', gives=(Release(key(1, 0)),)),
    ],
    'mold: does not fork, and nobody says what became of the worker': [
        Step('reload', plan(main=1), gives=(StartMold(1, Preload.AUTO),)),
        *started(1)[:1],
        Step('mold_loaded', 1, 0.5, gives=(Spawn(key(1, 0)),)),
        Step('tick', after=LOAD, gives=(Kill(mold(1), signal.SIGKILL),), says='does not answer'),
        Step('exited', mold(1), KILLED, gives=(CloseListeners(),)),
        Step('tick', after=DOOM, gives=(Release(key(1, 0)), Exit(EX_CONFIG)), says='has never said its pid'),
    ],
    'quick stop: a worker whose pid nobody says is not waited for': [
        Step('reload', plan(main=1), gives=(StartMold(1, Preload.AUTO),)),
        *started(1)[:1],
        Step('mold_loaded', 1, 0.5, gives=(Spawn(key(1, 0)),)),
        Step('quit', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL))),
        Step('exited', mold(1), KILLED),
        Step('tick', after=DOOM, gives=(Release(key(1, 0)), Exit(EX_OK))),
    ],
    'reload: is asked for by reading the configuration': [*FIRST, Step('hung_up', gives=(Reread(),))],
    'reload: is made by the next master': [
        *HANDING_OVER,
        Step('hung_up', says='reloading with the upgrade'),
        Step('exited', mold(1), KILLED, gives=(HandOver(),)),
    ],
    'reload: is made by this master where there is no next one': [
        *HANDING_OVER,
        Step('hung_up'),
        Step('exited', mold(1), KILLED, gives=(HandOver(),)),
        Step('not_upgraded', 'no such file', gives=(Reread(),)),
        Step('reload', plan(), gives=(StartMold(2, Preload.AUTO),)),
        Step('upgrade', gives=(Verify(),)),
        Step('not_upgraded', 'no such file'),
    ],
    'reload: is too late in a stop': [
        *FIRST,
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL))),
        Step('hung_up', says='not reloaded: it stops'),
    ],
    'reload: one start for each drain begun, and nobody waits for an exit': [
        *TAKEN_OVER,
        Step('spawned', key(2, 1), pid(2, 1)),
        Step('ready', key(2, 1), gives=(drain(1, 1),), says='^worker main/2/1 .* is ready$'),
        Step('leaving', key(1, 0)),
        Step('exited', mold(1), KILLED),
        Step('leaving', key(1, 1), says='^generation 2: loaded, 2 workers$'),
        Step('exited', pid(1, 1), 0, gives=(Release(key(1, 1)),)),
        Step('exited', pid(1, 0), 0, gives=(Release(key(1, 0)),)),
    ],
    'reload: broken code leaves everything as it was': [
        *LOADING,
        Step(
            'mold_failed',
            2,
            'SyntaxError',
            gives=(Discard(2),),
            says='generation 2 is given up; generation 1 serves on: SyntaxError',
        ),
        Step('exited', mold(2), EX_CONFIG << 8),
    ],
    'reload: code that hangs leaves everything as it was': [
        *LOADING,
        Step('tick', after=PING, gives=(Ping(key(1, 0)), Ping(key(1, 1)))),
        Step('pong', key(1, 0)),
        Step('pong', key(1, 1)),
        Step(
            'tick',
            after=LOAD - PING,
            gives=(
                Ping(key(1, 0)),
                Ping(key(1, 1)),
                Kill(mold(2), signal.SIGABRT),
                Discard(2),
            ),
            says='within load_timeout',
        ),
        Step('tick', after=DOOM, gives=(Kill(mold(2), signal.SIGKILL),)),
    ],
    'reload: the new mold dies': [
        *LOADING,
        Step('exited', mold(2), KILLED, gives=(Discard(2),), says='generation 2 is given up.* killed by SIGKILL'),
    ],
    'reload: the first new worker fails': [
        *PROVING,
        Step('failed', key(2, 0), 'boom', gives=(Kill(mold(2), signal.SIGKILL), Discard(2)), says='cannot start: boom'),
        Step('exited', pid(2, 0), EX_CONFIG << 8, gives=(Release(key(2, 0)),)),
    ],
    'reload: the first new worker dies': [
        *PROVING,
        Step('exited', pid(2, 0), 11, gives=(Release(key(2, 0)), Kill(mold(2), signal.SIGKILL), Discard(2))),
    ],
    'reload: the first new worker is never ready': [
        *PROVING,
        Step('pong', key(1, 0)),
        Step('tick', after=PING, gives=(Ping(key(1, 0)), Ping(key(1, 1)))),
        Step('pong', key(1, 0)),
        Step('pong', key(1, 1)),
        Step(
            'tick',
            after=LOAD - PING,
            gives=(
                Ping(key(1, 0)),
                Ping(key(1, 1)),
                Kill(pid(2, 0), signal.SIGABRT),
                Kill(mold(2), signal.SIGKILL),
                Discard(2),
            ),
            says='was not ready within load_timeout = 60 s',
        ),
        Step('tick', after=DOOM, gives=(Kill(pid(2, 0), signal.SIGKILL),)),
    ],
    'reload: two servers take over together': [
        Step('reload', plan(api=1, admin=1), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, mold(1)),
        Step('mold_loaded', 1, 0.5, gives=(Spawn(key(1, 0, 'api')), Spawn(key(1, 0, 'admin')))),
        Step('spawned', key(1, 0, 'api'), 11),
        Step('spawned', key(1, 0, 'admin'), 12),
        Step('ready', key(1, 0, 'api')),
        Step('ready', key(1, 0, 'admin'), gives=(Commit(1),)),
        Step('reload', plan(api=1, admin=1), gives=(StartMold(2, Preload.AUTO),)),
        Step('mold_started', 2, mold(2)),
        Step('mold_loaded', 2, 0.5, gives=(Spawn(key(2, 0, 'api')), Spawn(key(2, 0, 'admin')))),
        Step('spawned', key(2, 0, 'api'), 21),
        Step('spawned', key(2, 0, 'admin'), 22),
        Step('ready', key(2, 0, 'api')),
        Step(
            'ready',
            key(2, 0, 'admin'),
            gives=(
                Commit(2),
                Kill(mold(1), signal.SIGKILL),
                Drain(key(1, 0, 'admin'), Backlog.LEAVE, GRACE),
                Drain(key(1, 0, 'api'), Backlog.LEAVE, GRACE),
            ),
        ),
        Step('leaving', key(1, 0, 'api')),
        Step(
            'exited',  # it died instead
            12,
            KILLED,
            gives=(Release(key(1, 0, 'admin')),),
            says='generation 2: loaded, 2 workers',
        ),
    ],
    'reload: a server that is configured no more is drained': [
        Step('reload', plan(api=1, admin=1), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, mold(1)),
        Step('mold_loaded', 1, 0.5, gives=(Spawn(key(1, 0, 'api')), Spawn(key(1, 0, 'admin')))),
        Step('spawned', key(1, 0, 'api'), 11),
        Step('spawned', key(1, 0, 'admin'), 12),
        Step('ready', key(1, 0, 'api')),
        Step('ready', key(1, 0, 'admin'), gives=(Commit(1),)),
        Step('reload', plan(api=1), gives=(StartMold(2, Preload.AUTO),)),
        Step('mold_started', 2, mold(2)),
        Step('mold_loaded', 2, 0.5, gives=(Spawn(key(2, 0, 'api')),)),
        Step('spawned', key(2, 0, 'api'), 21),
        Step(
            'ready',
            key(2, 0, 'api'),
            gives=(
                Commit(2),
                Kill(mold(1), signal.SIGKILL),
                Drain(key(1, 0, 'admin'), Backlog.LEAVE, GRACE),
                Drain(key(1, 0, 'api'), Backlog.LEAVE, GRACE),
            ),
        ),
    ],
    'reload: to more workers, never more than one above': [
        *FIRST,
        Step('reload', plan(main=4), gives=(StartMold(2, Preload.AUTO),)),
        Step('mold_started', 2, mold(2)),
        Step('mold_loaded', 2, 0.5, gives=(Spawn(key(2, 0)),)),
        Step('spawned', key(2, 0), pid(2, 0)),
        Step('ready', key(2, 0), gives=(Commit(2), Kill(mold(1), signal.SIGKILL), Spawn(key(2, 1)), Spawn(key(2, 2)))),
        Step('spawned', key(2, 1), pid(2, 1)),
        Step('ready', key(2, 1)),
        Step('spawned', key(2, 2), pid(2, 2)),
        Step('ready', key(2, 2), gives=(drain(1, 0), Spawn(key(2, 3)))),
        Step('spawned', key(2, 3), pid(2, 3)),
        Step('ready', key(2, 3), gives=(drain(1, 1),)),
        Step('leaving', key(1, 0)),
        Step('leaving', key(1, 1), says='generation 2: loaded, 4 workers'),
    ],
    'reload: to fewer workers': [
        *FIRST,
        Step('reload', plan(main=1), gives=(StartMold(2, Preload.AUTO),)),
        Step('mold_started', 2, mold(2)),
        Step('mold_loaded', 2, 0.5, gives=(Spawn(key(2, 0)),)),
        Step('spawned', key(2, 0), pid(2, 0)),
        Step('ready', key(2, 0), gives=(Commit(2), Kill(mold(1), signal.SIGKILL), drain(1, 0), drain(1, 1))),
    ],
    'reload: HUP while it loads supersedes it': [
        *LOADING,
        Step('reload', plan(), gives=(Kill(mold(2), signal.SIGKILL), Discard(2), StartMold(3, Preload.AUTO))),
        Step('mold_started', 3, mold(3)),
        Step('mold_failed', 2, 'too late'),
        Step('exited', mold(2), KILLED),
        Step('mold_loaded', 3, 0.5, gives=(Spawn(key(3, 0)),)),
    ],
    'reload: HUP while it is proved supersedes it': [
        *PROVING,
        Step(
            'reload',
            plan(),
            gives=(
                Kill(mold(2), signal.SIGKILL),
                Kill(pid(2, 0), signal.SIGTERM),
                Discard(2),
                StartMold(3, Preload.AUTO),
            ),
            says='generation 2 is given up; generation 1 serves on: it is superseded',
        ),
    ],
    'reload: HUP while the last one rolls': [
        *TAKEN_OVER,
        Step('reload', plan(), gives=(StartMold(3, Preload.AUTO),)),
        Step('mold_started', 3, mold(3)),
        Step('spawned', key(2, 1), pid(2, 1)),
        Step('mold_loaded', 3, 0.5, gives=(Spawn(key(3, 0)),)),
        Step('spawned', key(3, 0), pid(3, 0)),
        Step(
            'ready',
            key(3, 0),
            gives=(
                Commit(3),
                Kill(mold(2), signal.SIGKILL),
                Kill(pid(2, 1), signal.SIGTERM),  # it wasn't ready: nothing is lost with it
                drain(1, 1),
                Spawn(key(3, 1)),
            ),
        ),
    ],
    'reload: a worker that was told to end before it was ready, but was': [
        *TAKEN_OVER,
        Step('spawned', key(2, 1), pid(2, 1)),
        Step('resize', -1, gives=(drain(1, 1), Kill(pid(2, 1), signal.SIGTERM)), says='generation 2: main: 1'),
        Step('ready', key(2, 1), gives=(drain(2, 1),)),
        Step('tick', after=DOOM + 1),
        Step('tick', after=GRACE - 4, gives=(Ping(key(2, 0)),)),
        Step('exited', pid(2, 1), 0, gives=(Release(key(2, 1)),)),
    ],
    'reload: of two servers one is ready, and drained when the other fails': [
        Step('reload', plan(api=1, admin=1), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, mold(1)),
        Step('mold_loaded', 1, 0.5, gives=(Spawn(key(1, 0, 'api')), Spawn(key(1, 0, 'admin')))),
        Step('spawned', key(1, 0, 'api'), 11),
        Step('spawned', key(1, 0, 'admin'), 12),
        Step('ready', key(1, 0, 'api')),
        Step('ready', key(1, 0, 'admin'), gives=(Commit(1),)),
        Step('reload', plan(api=1, admin=1), gives=(StartMold(2, Preload.AUTO),)),
        Step('mold_started', 2, mold(2)),
        Step('mold_loaded', 2, 0.5, gives=(Spawn(key(2, 0, 'api')), Spawn(key(2, 0, 'admin')))),
        Step('spawned', key(2, 0, 'api'), 21),
        Step('spawned', key(2, 0, 'admin'), 22),
        Step('ready', key(2, 0, 'api')),
        Step(
            'failed',
            key(2, 0, 'admin'),
            'boom',
            gives=(Kill(mold(2), signal.SIGKILL), Discard(2), Drain(key(2, 0, 'api'), Backlog.LEAVE, GRACE)),
        ),
    ],
    'reload: a new worker that dies in the roll costs no old one': [
        *TAKEN_OVER,
        Step('exited', pid(2, 0), KILLED, gives=(Release(key(2, 0)), Spawn(key(2, 0)))),
        Step('spawned', key(2, 0), 900),
        Step('ready', key(2, 0)),  # as many as wanted: the old one stays
        Step('spawned', key(2, 1), 901),
        Step('ready', key(2, 1), gives=(drain(1, 1),)),
    ],
    'reload: an old worker that dies in the roll makes room for a new one': [
        *TAKEN_OVER,
        Step('exited', pid(1, 1), KILLED, gives=(Release(key(1, 1)),), says=r'was killed by SIGKILL$'),
    ],
    'drain: a worker that does not finish is killed': [
        *TAKEN_OVER,
        Step('pong', key(2, 0)),
        Step('tick', after=PING, gives=(Ping(key(1, 1)), Ping(key(2, 0)))),
        Step('pong', key(1, 1)),
        Step('pong', key(2, 0)),
        Step('tick', after=GRACE - PING, gives=(Ping(key(1, 1)), Ping(key(2, 0)))),
        Step(
            'tick', after=fleet.DRAIN_MARGIN, gives=(Kill(pid(1, 0), signal.SIGKILL),), says='did not finish within 30'
        ),
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)),)),
    ],
    'ping: a worker that is silent is aborted, then killed, and replaced': [
        *FIRST,
        Step('tick', after=PING, gives=(Ping(key(1, 0)), Ping(key(1, 1)))),
        Step('pong', key(1, 0)),
        Step('tick', after=PING, gives=(Ping(key(1, 0)),)),
        Step('pong', key(1, 0)),
        Step('tick', after=SILENCE - PING, gives=(Ping(key(1, 0)), Kill(pid(1, 1), signal.SIGABRT), Spawn(key(1, 2)))),
        Step('tick', after=DOOM, gives=(Kill(pid(1, 1), signal.SIGKILL),)),
        Step('exited', pid(1, 1), KILLED, gives=(Release(key(1, 1)),)),
    ],
    'worn: another is ready first': [
        *FIRST,
        Step(
            'worn',
            key(1, 0),
            'it has answered 1000 requests',
            gives=(Spawn(key(1, 2)),),
            says=r'^worker main/1/0 \(pid 101\) is to be replaced: it has answered 1000 requests$',
        ),
        Step('worn', key(1, 0), 'again'),
        Step('spawned', key(1, 2), pid(1, 2)),
        Step('ready', key(1, 2), gives=(drain(1, 0),)),
        Step('worn', key(1, 0), 'too late'),
        Step('exited', pid(1, 0), 0, gives=(Release(key(1, 0)),)),
    ],
    'worn: all at once are replaced one after the other': [
        *FIRST,
        Step('worn', key(1, 1), 'enough', gives=(Spawn(key(1, 2)),)),
        Step('worn', key(1, 0), 'enough'),
        Step('spawned', key(1, 2), pid(1, 2)),
        Step('ready', key(1, 2), gives=(drain(1, 0),)),
        Step('leaving', key(1, 0)),
        Step('exited', pid(1, 0), 0, gives=(Release(key(1, 0)), Spawn(key(1, 0)))),
        Step('spawned', key(1, 0), 900),
        Step('ready', key(1, 0), gives=(drain(1, 1),)),
        Step('exited', pid(1, 1), 0, gives=(Release(key(1, 1)),)),
    ],
    'worn: one that does not end holds the next up until it is killed': [
        *FIRST,
        Step('worn', key(1, 0), 'enough', gives=(Spawn(key(1, 2)),)),
        Step('spawned', key(1, 2), pid(1, 2)),
        Step('ready', key(1, 2), gives=(drain(1, 0),)),
        Step('worn', key(1, 1), 'enough'),
        Step('tick', after=PING, gives=(Ping(key(1, 1)), Ping(key(1, 2)))),
        Step('tick', after=GRACE + fleet.DRAIN_MARGIN - PING, gives=(Kill(pid(1, 0), signal.SIGKILL),)),
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)), Spawn(key(1, 0)))),
    ],
    'worn: its replacement cannot start, and it goes on': [
        *FIRST,
        Step('worn', key(1, 0), 'enough', gives=(Spawn(key(1, 2)),)),
        Step('spawned', key(1, 2), pid(1, 2)),
        Step('failed', key(1, 2), 'no module'),
        Step('exited', pid(1, 2), EX_CONFIG << 8, gives=(Release(key(1, 2)),)),
        Step('tick', after=0.5, gives=(Spawn(key(1, 2)),)),
    ],
    'worn: it dies before its replacement is ready': [
        *FIRST,
        Step('worn', key(1, 0), 'enough', gives=(Spawn(key(1, 2)),)),
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)),), says='was killed by SIGKILL; replaced$'),
        Step('spawned', key(1, 2), pid(1, 2)),
        Step('ready', key(1, 2)),
    ],
    'worn: the only worker': [
        Step('reload', plan(main=1), gives=(StartMold(1, Preload.AUTO),)),
        *started(1, 0),
        Step('worn', key(1, 0), 'enough', gives=(Spawn(key(1, 1)),)),
        Step('spawned', key(1, 1), pid(1, 1)),
        Step('ready', key(1, 1), gives=(drain(1, 0),)),
    ],
    'worn: in each server one': [
        Step('reload', plan(api=1, admin=1), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, mold(1)),
        Step('mold_loaded', 1, 0.5, gives=(Spawn(key(1, 0, 'api')), Spawn(key(1, 0, 'admin')))),
        Step('spawned', key(1, 0, 'api'), 11),
        Step('spawned', key(1, 0, 'admin'), 12),
        Step('ready', key(1, 0, 'api')),
        Step('ready', key(1, 0, 'admin'), gives=(Commit(1),)),
        Step('worn', key(1, 0, 'api'), 'enough', gives=(Spawn(key(1, 1, 'api')),)),
        Step('worn', key(1, 0, 'admin'), 'enough', gives=(Spawn(key(1, 1, 'admin')),)),
    ],
    'worn: where fewer are wanted it goes first': [
        *FIRST,
        Step('worn', key(1, 0), 'enough', gives=(Spawn(key(1, 2)),)),
        Step('spawned', key(1, 2), pid(1, 2)),
        Step('resize', -1, gives=(drain(1, 0), Kill(pid(1, 2), signal.SIGTERM))),
    ],
    'worn: in a reload it is one of the old': [
        *LOADING,
        Step('worn', key(1, 1), 'enough', gives=(Spawn(key(1, 2)),)),
        Step('spawned', key(1, 2), pid(1, 2)),
        Step('mold_loaded', 2, 0.5, gives=(Spawn(key(2, 0)),)),
        Step('spawned', key(2, 0), pid(2, 0)),
        Step(
            'ready',
            key(2, 0),
            gives=(
                Commit(2),
                Kill(mold(1), signal.SIGKILL),
                Kill(pid(1, 2), signal.SIGTERM),
                drain(1, 0),
                Spawn(key(2, 1)),
            ),
        ),
        Step('worn', key(2, 0), 'enough'),
        Step('spawned', key(2, 1), pid(2, 1)),
        Step('ready', key(2, 1), gives=(drain(1, 1), Spawn(key(2, 2)))),
        Step('spawned', key(2, 2), pid(2, 2)),
        Step('ready', key(2, 2), gives=(drain(2, 0),)),
    ],
    'worn: in a stop it is too late': [
        *FIRST,
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL))),
        Step('worn', key(1, 0), 'enough', says='^$'),
    ],
    'stopped: replaced at once, and ended with its stacks shown': [
        *FIRST,
        Step(
            'stopped',
            pid(1, 0),
            gives=(Spawn(key(1, 2)),),
            says=r'^worker main/1/0 \(pid 101\) was stopped by a signal; replaced$',
        ),
        Step(
            'tick',
            after=fleet.STOP_TIME,
            gives=(Kill(pid(1, 0), signal.SIGABRT), Kill(pid(1, 0), signal.SIGCONT)),
            says=r'worker main/1/0 \(pid 101\) is still stopped, and is aborted',
        ),
        Step('continued', pid(1, 0)),
        Step('tick', after=DOOM, gives=(Kill(pid(1, 0), signal.SIGKILL),)),
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)),)),
    ],
    'stopped: and continued, it finishes what it has': [
        *FIRST,
        Step('stopped', pid(1, 0), gives=(Spawn(key(1, 2)),)),
        Step('pong', key(1, 0)),
        Step('continued', pid(1, 0), after=1, gives=(drain(1, 0),)),
        Step('tick', after=fleet.STOP_TIME),
        Step('leaving', key(1, 0)),
        Step('exited', pid(1, 0), 0, gives=(Release(key(1, 0)),)),
    ],
    'stopped: and killed': [
        *FIRST,
        Step('stopped', pid(1, 0), gives=(Spawn(key(1, 2)),)),
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)),)),
    ],
    'stopped: while it drains': [
        *TAKEN_OVER,
        Step('stopped', pid(1, 0), says='^$'),
        Step('tick', after=fleet.STOP_TIME, gives=(Kill(pid(1, 0), signal.SIGABRT), Kill(pid(1, 0), signal.SIGCONT))),
    ],
    'stopped: while it starts, it is ended and another is tried after a while': [
        *RESTARTING,
        Step('stopped', 900, says='was stopped by a signal before it was ready'),
        Step(
            'tick',
            after=fleet.STOP_TIME,
            gives=(Kill(900, signal.SIGABRT), Kill(900, signal.SIGCONT)),
            says='tried again in 0.5 s',
        ),
        Step('exited', 900, signal.SIGABRT, gives=(Release(key(1, 0)),)),
        Step('tick', after=0.5, gives=(Spawn(key(1, 0)),)),
    ],
    'stopped: while it starts, and continued, it goes on': [
        *RESTARTING,
        Step('stopped', 900),
        Step('continued', 900, after=1),
        Step('tick', after=fleet.STOP_TIME),
        Step('ready', key(1, 0)),
        Step('asked', key(1, 0), gives=(drain(1, 0), Spawn(key(1, 2)))),
    ],
    'stopped: while it starts, and ready before anybody knows that it was continued': [
        *RESTARTING,
        Step('stopped', 900),
        Step('ready', key(1, 0)),
        Step('continued', 900),
        Step('tick', after=fleet.STOP_TIME),
    ],
    'stopped: the first of a generation that is to take over': [
        *PROVING,
        Step('stopped', pid(2, 0)),
        Step(
            'tick',
            after=fleet.STOP_TIME,
            gives=(
                Kill(pid(2, 0), signal.SIGABRT),
                Kill(pid(2, 0), signal.SIGCONT),
                Kill(mold(2), signal.SIGKILL),
                Discard(2),
            ),
            says='generation 2 is given up; generation 1 serves on: .* was stopped by a signal before it was ready',
        ),
    ],
    'stopped: and continued when its generation has been given up': [
        *PROVING,
        Step('stopped', pid(2, 0)),
        Step('mold_failed', 2, 'too late'),
        Step('exited', mold(2), KILLED, gives=(Discard(2),)),
        Step('continued', pid(2, 0), gives=(Kill(pid(2, 0), signal.SIGTERM),)),
    ],
    'stopped: while it starts for the first time, and everything is to stop': [
        Step('reload', plan(main=1), gives=(StartMold(1, Preload.AUTO),)),
        *started(1, 0)[:3],
        Step('stopped', pid(1, 0)),
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL), Kill(pid(1, 0), signal.SIGTERM))),
        Step('exited', mold(1), KILLED),
        Step('tick', after=DOOM, gives=(Kill(pid(1, 0), signal.SIGKILL),)),
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)), Exit(EX_OK))),
    ],
    'stopped: in a stop, the others wait until it has not the listeners any more': [
        *FIRST,
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL))),
        Step('stopped', pid(1, 0), says='^$'),
        Step('exited', mold(1), KILLED),
        Step('tick', after=fleet.STOP_TIME, gives=(Kill(pid(1, 0), signal.SIGABRT), Kill(pid(1, 0), signal.SIGCONT))),
        Step('exited', pid(1, 0), signal.SIGABRT, gives=(Release(key(1, 0)), drain(1, 1, Backlog.ACCEPT))),
    ],
    'stopped: and continued in a stop, it is drained like the others': [
        *FIRST,
        Step('stopped', pid(1, 0), gives=(Spawn(key(1, 2)),)),
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL))),
        Step('exited', mold(1), KILLED),
        Step('unspawned', key(1, 2), 'ended', gives=(Release(key(1, 2)),)),
        Step('continued', pid(1, 0), gives=(drain(1, 0, Backlog.ACCEPT), drain(1, 1, Backlog.ACCEPT))),
    ],
    'stopped: while it drains, and continued during an upgrade, it still drains': [
        *HANDING_OVER,
        Step('asked', key(1, 0), gives=(drain(1, 0),)),
        Step('stopped', pid(1, 0)),
        Step('exited', mold(1), KILLED),
        Step('continued', pid(1, 0), gives=(HandOver(),)),
        Step('stop', gives=(CloseListeners(), drain(1, 1, Backlog.ACCEPT))),
        Step('exited', pid(1, 1), 0, gives=(Release(key(1, 1)),)),
        Step('tick', after=GRACE + fleet.DRAIN_MARGIN, gives=(Kill(pid(1, 0), signal.SIGKILL),)),
    ],
    'stopped: quit': [
        *FIRST,
        Step('stopped', pid(1, 0), gives=(Spawn(key(1, 2)),)),
        Step(
            'quit',
            gives=(
                CloseListeners(),
                Kill(mold(1), signal.SIGKILL),
                Kill(pid(1, 0), signal.SIGKILL),
                Quit(key(1, 1)),
            ),
        ),
    ],
    'stopped: the mold, which is as good as dead': [
        *FIRST,
        Step('stopped', mold(1), gives=(Kill(mold(1), signal.SIGKILL),), says='was stopped by a signal, and is killed'),
        Step('stopped', mold(1)),
        Step('exited', mold(1), KILLED, after=10, gives=(StartMold(2, Preload.AUTO),)),
    ],
    'resize': [
        *FIRST,
        Step('resize', 1, gives=(Spawn(key(1, 2)),), says='wanted in generation 1: main: 3'),
        Step('spawned', key(1, 2), pid(1, 2)),
        Step('ready', key(1, 2)),
        Step('resize', -1, gives=(drain(1, 2),)),
        Step('resize', -1, gives=(drain(1, 1),)),
        Step('resize', -1),  # one is left
        Step('exited', pid(1, 1), 0, gives=(Release(key(1, 1)),)),
        Step('resize', 1, gives=(Spawn(key(1, 1)),)),
    ],
    'rest': [
        *FIRST,
        Step('rest', gives=(drain(1, 0), drain(1, 1)), says='resting'),
        Step('exited', pid(1, 0), 0, gives=(Release(key(1, 0)),)),
        Step('exited', pid(1, 1), 0, gives=(Release(key(1, 1)),)),
        Step('resize', -1),
        Step('resize', 1, gives=(Spawn(key(1, 0)),)),
    ],
    'rest: until a reload': [
        *FIRST,
        Step('rest', gives=(drain(1, 0), drain(1, 1))),
        Step('reload', plan(), gives=(StartMold(2, Preload.AUTO),)),
        Step('mold_started', 2, mold(2)),
        Step('mold_loaded', 2, 0.5, gives=(Spawn(key(2, 0)),)),
        Step('spawned', key(2, 0), pid(2, 0)),
        Step('ready', key(2, 0), gives=(Commit(2), Kill(mold(1), signal.SIGKILL), Spawn(key(2, 1)))),
    ],
    'rest: a reload that is under way takes over first': [
        *PROVING,
        Step('rest', gives=(drain(1, 0), drain(1, 1))),
        Step('ready', key(2, 0), gives=(Commit(2), Kill(mold(1), signal.SIGKILL), drain(2, 0))),
    ],
    'rest: while a worker starts': [
        *FIRST,
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)), Spawn(key(1, 0)))),
        Step('spawned', key(1, 0), 900),
        Step('rest', gives=(drain(1, 1), Kill(900, signal.SIGTERM))),
        Step('exited', 900, signal.SIGTERM, gives=(Release(key(1, 0)),)),
    ],
    'rest: not before the first generation serves': [
        Step('reload', plan(), gives=(StartMold(1, Preload.AUTO),)),
        Step('rest'),
        *started(1, 0, 1),
    ],
    'rest: too late': [
        *FIRST,
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL))),
        Step('rest'),
    ],
    'stop: only when nobody else has the listeners, all is accepted': [
        *FIRST,
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL)), says='stopping'),
        Step('tick', after=1),
        Step('exited', mold(1), KILLED, gives=(drain(1, 0, Backlog.ACCEPT), drain(1, 1, Backlog.ACCEPT))),
        Step('exited', pid(1, 0), 0, gives=(Release(key(1, 0)),)),
        Step('exited', pid(1, 1), 0, gives=(Release(key(1, 1)), Exit(EX_OK)), says='stopped'),
    ],
    'stop: while a worker starts': [
        *FIRST,
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)), Spawn(key(1, 0)))),
        Step('spawned', key(1, 0), 900),
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL), Kill(900, signal.SIGTERM))),
        Step('exited', mold(1), KILLED),
        Step('exited', 900, signal.SIGTERM, gives=(Release(key(1, 0)), drain(1, 1, Backlog.ACCEPT))),
    ],
    'stop: while a worker is spawned that is never heard of': [
        *FIRST,
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)), Spawn(key(1, 0)))),
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL))),
        Step('exited', mold(1), KILLED),
        Step('unspawned', key(1, 0), 'ended', gives=(Release(key(1, 0)), drain(1, 1, Backlog.ACCEPT))),
    ],
    'stop: while a reload hangs': [
        *LOADING,
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL), Kill(mold(2), signal.SIGKILL))),
        Step('exited', mold(2), KILLED),
        Step('exited', mold(1), KILLED, gives=(drain(1, 0, Backlog.ACCEPT), drain(1, 1, Backlog.ACCEPT))),
    ],
    'stop: HUP and TTIN are too late': [
        *FIRST,
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL))),
        Step('reload', plan()),
        Step('resize', 1),
        Step('exited', mold(1), KILLED, gives=(drain(1, 0, Backlog.ACCEPT), drain(1, 1, Backlog.ACCEPT))),
    ],
    'stop: a second time is at once': [
        *FIRST,
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL))),
        Step('exited', mold(1), KILLED, gives=(drain(1, 0, Backlog.ACCEPT), drain(1, 1, Backlog.ACCEPT))),
        Step('stop', gives=(Quit(key(1, 0)), Quit(key(1, 1))), says='at once'),
        Step('exited', pid(1, 0), 0, gives=(Release(key(1, 0)),)),
        Step('tick', after=DOOM, gives=(Kill(pid(1, 1), signal.SIGKILL),)),
        Step('exited', pid(1, 1), KILLED, gives=(Release(key(1, 1)), Exit(EX_OK))),
    ],
    'quit': [
        *FIRST,
        Step('quit', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL), Quit(key(1, 0)), Quit(key(1, 1)))),
        Step('quit'),
        Step('exited', mold(1), KILLED),
        Step('exited', pid(1, 0), 0, gives=(Release(key(1, 0)),)),
        Step('exited', pid(1, 1), 0, gives=(Release(key(1, 1)), Exit(EX_OK))),
    ],
    'stop: while a start is put off': [
        *FIRST,
        Step('exited', pid(1, 0), KILLED, gives=(Release(key(1, 0)), Spawn(key(1, 0)))),
        Step('unspawned', key(1, 0), 'no memory', gives=(Release(key(1, 0)),)),
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL))),
        Step('tick', after=1),
    ],
    'quit: while the first generation loads': [
        Step('reload', plan(), gives=(StartMold(1, Preload.AUTO),)),
        Step('mold_started', 1, mold(1)),
        Step('quit', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL))),
        Step('exited', mold(1), KILLED, gives=(Exit(EX_OK),)),
    ],
    'upgrade: handed over when the mold has gone': [
        *HANDING_OVER,
        Step('exited', mold(1), KILLED, gives=(HandOver(),)),
    ],
    'upgrade: too early': [
        Step('reload', plan(), gives=(StartMold(1, Preload.AUTO),)),
        Step('upgrade', says='not upgraded: nobody serves yet'),
    ],
    'upgrade: one at a time': [*UPGRADING, Step('upgrade', says='not upgraded twice')],
    'upgrade: it cannot take over': [
        *UPGRADING,
        Step('verified', EX_CONFIG << 8, 'no module', says='^not upgraded: no module$'),
        Step('upgrade', gives=(Verify(),)),
    ],
    'upgrade: it dies without a word': [
        *UPGRADING,
        Step('verified', KILLED, '', says='not upgraded: the process that verifies it was killed by SIGKILL'),
    ],
    'upgrade: no process can be started': [
        *FIRST,
        Step('upgrade', gives=(Verify(),)),
        Step('not_upgraded', 'no memory', says='not upgraded: no memory'),
        Step('upgrade', gives=(Verify(),)),
    ],
    'upgrade: it hangs': [
        *UPGRADING,
        Step('tick', after=LOAD - 1, gives=(Ping(key(1, 0)), Ping(key(1, 1)))),
        Step('pong', key(1, 0)),
        Step('pong', key(1, 1)),
        Step('tick', after=1, gives=(Kill(VERIFIER, signal.SIGABRT),)),
        Step('tick', after=DOOM, gives=(Kill(VERIFIER, signal.SIGKILL),)),
        Step('verified', KILLED, 'in wait', says='it was not verified within load_timeout = 60 s\nin wait'),
    ],
    'upgrade: a stop ends the verification': [
        *UPGRADING,
        Step(
            'quit',
            gives=(
                CloseListeners(),
                Kill(VERIFIER, signal.SIGKILL),
                Kill(mold(1), signal.SIGKILL),
                Quit(key(1, 0)),
                Quit(key(1, 1)),
            ),
        ),
        Step('exited', mold(1), KILLED),
        Step('exited', pid(1, 0), 0, gives=(Release(key(1, 0)),)),
        Step('exited', pid(1, 1), 0, gives=(Release(key(1, 1)),)),
        Step('verified', KILLED, '', gives=(Exit(EX_OK),)),
    ],
    'upgrade: a reload goes on meanwhile, until it would take over': [
        *UPGRADING,
        Step('reload', plan(), gives=(StartMold(2, Preload.AUTO),)),
        Step('mold_started', 2, mold(2)),
        Step(
            'verified',
            0,
            '',
            gives=(Kill(mold(1), signal.SIGKILL), Kill(mold(2), signal.SIGKILL), Discard(2)),
            says='generation 2 is given up; generation 1 serves on: an upgrade supersedes it',
        ),
        Step('exited', mold(1), KILLED),
        Step('exited', mold(2), KILLED, gives=(HandOver(),)),
    ],
    'upgrade: a worker that starts is awaited, and not adopted': [
        *FIRST,
        Step('resize', 1, gives=(Spawn(key(1, 2)),)),
        Step('upgrade', gives=(Verify(),)),
        Step('verifying', VERIFIER),
        Step('verified', 0, '', gives=(Kill(mold(1), signal.SIGKILL),)),
        Step('exited', mold(1), KILLED),
        Step('spawned', key(1, 2), pid(1, 2), gives=(Kill(pid(1, 2), signal.SIGTERM),)),
        Step('exited', pid(1, 2), signal.SIGTERM, gives=(Release(key(1, 2)), HandOver())),
    ],
    'upgrade: a stop on the way': [
        *HANDING_OVER,
        Step('stop', gives=(CloseListeners(), Kill(mold(1), signal.SIGKILL))),
        Step('exited', mold(1), KILLED, gives=(drain(1, 0, Backlog.ACCEPT), drain(1, 1, Backlog.ACCEPT))),
    ],
    'upgrade: the exec fails': [
        *HANDING_OVER,
        Step('exited', mold(1), KILLED, gives=(HandOver(),)),
        Step('not_upgraded', 'no such file', gives=(StartMold(2, Preload.AUTO),), says='not upgraded: no such file'),
    ],
}


@pytest.mark.parametrize('story', STORIES.values(), ids=STORIES)
def test_each_event_gives_its_orders(story: list[Step]) -> None:
    boss = Supervisor()
    now = 1000.0
    for number, step in enumerate(story):
        now += step.after
        orders = getattr(boss, step.event)(now, *step.values)
        log = '\n'.join(order.text for order in orders if isinstance(order, Log))
        assert [order for order in orders if not isinstance(order, Log)] == step.gives, f'step {number}: {step}\n{log}'
        assert re.search(step.says, log), f'step {number}: {step} says {log!r}'
        deadline = boss.next_deadline()
        if step.event == 'tick':
            assert deadline is None or deadline > now, f'step {number}: {step} would be repeated without end'


def heir(before: list[Step] = FIRST) -> tuple[Supervisor, list[Order]]:
    """The supervisor of the next master, and its first orders, Log orders aside."""
    boss, successor = Supervisor(), Supervisor()
    for step in before:
        getattr(boss, step.event)(1000.0, *step.values)
    given = successor.adopt(1000.0, json.loads(json.dumps(boss.bequeath())))
    return successor, [order for order in given if not isinstance(order, Log)]


def orders_of(given: list[Order]) -> list[Order]:
    return [order for order in given if not isinstance(order, Log)]


def test_the_next_master_begins_with_the_workers_of_the_last_and_replaces_them() -> None:
    boss, given = heir()
    assert given == [Reread()]
    assert boss.report(1000.0).healthy
    assert orders_of(boss.reload(1000.0, plan())) == [StartMold(2, Preload.AUTO)]
    boss.mold_started(1000.0, 2, mold(2))
    assert orders_of(boss.mold_loaded(1000.0, 2, 0.1)) == [Spawn(key(2, 0))]
    boss.spawned(1000.0, key(2, 0), pid(2, 0))
    assert orders_of(boss.ready(1000.0, key(2, 0))) == [Commit(2), drain(1, 0), Spawn(key(2, 1))]
    boss.spawned(1000.0, key(2, 1), pid(2, 1))
    assert orders_of(boss.ready(1000.0, key(2, 1))) == [drain(1, 1)]


def test_the_next_master_goes_on_with_what_was_under_way() -> None:
    """One drains since the last reload, the next is about to."""
    boss, _ = heir(TAKEN_OVER)
    assert orders_of(boss.leaving(1000.0, key(1, 0))) == []
    assert orders_of(boss.exited(1000.0, pid(1, 0), 0)) == [Release(key(1, 0))]
    given = orders_of(boss.tick(1000.0 + GRACE + fleet.DRAIN_MARGIN))
    assert Kill(pid(1, 0), signal.SIGKILL) not in given
    assert orders_of(boss.reload(1040.0, plan())) == [StartMold(3, Preload.AUTO)]


def test_a_worker_that_drained_before_has_no_more_time_than_it_had() -> None:
    boss, _ = heir(TAKEN_OVER)
    given = boss.tick(1000.0 + GRACE + fleet.DRAIN_MARGIN)
    assert Kill(pid(1, 0), signal.SIGKILL) in given


def test_what_the_next_master_cannot_load_costs_nothing_and_is_tried_again() -> None:
    boss, _ = heir()
    now, tries = 1000.0, 0
    given = boss.not_reloaded(now, 'unreadable')
    for _ in range(200):
        assert not [order for order in given if isinstance(order, (Exit, CloseListeners, Drain, Kill))]
        if Reread() in given:
            tries += 1
            given = boss.not_reloaded(now, 'unreadable')
            continue
        for number in (0, 1):
            boss.pong(now, key(1, number))
        deadline = boss.next_deadline()
        assert deadline is not None
        now = deadline
        given = boss.tick(now)
    assert tries > 5
    assert boss.report(now).text == 'reload failed: unreadable; generation 1 serves on: 2 of 2 workers'


def test_workers_that_the_next_master_adopted_are_replaced_by_its_own_generation_alone() -> None:
    boss, _ = heir()
    boss.reload(1000.0, plan())
    assert orders_of(boss.exited(1000.0, pid(1, 0), KILLED)) == [Release(key(1, 0))]
    assert orders_of(boss.exited(1000.0, pid(1, 1), KILLED)) == [Release(key(1, 1))]
    assert orders_of(boss.mold_failed(1000.0, 2, 'boom')) == [Discard(2)]
    assert Reread() in boss.tick(boss.next_deadline() or 0.0)


def test_a_crash_loop_slows_down_and_fills_no_log() -> None:
    """A worker of the current generation that can't start any more, because the code on the disk broke."""
    boss, now = serving(Preload.NEVER)
    boss.exited(now, pid(1, 0), KILLED)
    delays, complaints = [], 0
    for number in range(10):
        boss.spawned(now, key(1, 0), 5000 + number)
        orders = boss.failed(now, key(1, 0), 'ImportError: no luck')
        complaints += sum(isinstance(order, Log) and order.level == ERROR for order in orders)
        assert boss.exited(now, 5000 + number, EX_CONFIG << 8)[0] == Release(key(1, 0))
        before = now
        while Spawn(key(1, 0)) not in (orders := boss.tick(now) + boss.pong(now, key(1, 1))):
            deadline = boss.next_deadline()
            assert deadline is not None
            assert deadline > now
            now = deadline
        delays.append(now - before)
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert complaints == 1


def test_a_worker_that_dies_whenever_it_is_ready_slows_down_and_is_told_a_line_a_death() -> None:
    """Whatever it dies of, it dies more and more seldom: the log grows by two lines a minute in the end."""
    boss, now = serving()
    delays = []
    lines: list[str] = []
    process = pid(1, 0)
    for number in range(10):
        orders = boss.exited(now, process, 11)
        lines += [order.text for order in orders if isinstance(order, Log) and order.level > DEBUG]
        before = now
        while Spawn(key(1, 0)) not in orders:
            deadline = boss.next_deadline()
            assert deadline is not None
            assert deadline > now
            now = deadline
            orders = boss.tick(now) + boss.pong(now, key(1, 1))
        delays.append(now - before)
        process = 5000 + number
        boss.spawned(now, key(1, 0), process)
        orders = boss.ready(now, key(1, 0))
        lines += [order.text for order in orders if isinstance(order, Log) and order.level > DEBUG]
    assert delays == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert len(lines) == 10


def serving(preload: Preload = Preload.AUTO) -> tuple[Supervisor, float]:
    boss = Supervisor()
    boss.reload(0.0, plan(preload))
    boss.mold_started(0.0, 1, mold(1))
    boss.mold_loaded(0.0, 1, 0.1)
    for slot in (0, 1):
        boss.spawned(0.0, key(1, slot), pid(1, slot))
        boss.ready(0.0, key(1, slot))
    return boss, 0.0


LATE: dict[str, tuple[Any, ...]] = {
    'ready': ('ready', key(1, 0)),
    'failed': ('failed', key(1, 0), 'boom'),
    'asked': ('asked', key(7, 0)),
    'leaving': ('leaving', key(7, 0)),
    'pong': ('pong', key(7, 0)),
    'spawned twice': ('spawned', key(1, 0), 4711),
    'spawned, of a generation that is no more': ('spawned', key(7, 0), 4711),
    'unspawned, but it is known to run': ('unspawned', key(1, 0), 'boom'),
    'mold started, of a generation that is no more': ('mold_started', 7, 4711),
    'mold loaded twice': ('mold_loaded', 1, 0.5),
    'mold unsafe, but it has loaded': ('mold_unsafe', 1, ['a thread']),
    'mold failed, but it has loaded': ('mold_failed', 1, 'boom'),
    'worn, of a generation that is no more': ('worn', key(7, 0), 'enough'),
    'exit of a stranger': ('exited', 4711, 0),
    'stop of a stranger': ('stopped', 4711),
    'continued, but nobody has stopped it': ('continued', pid(1, 0)),
    'tick': ('tick',),
}


@pytest.mark.parametrize('late', LATE.values(), ids=LATE)
def test_what_comes_too_late_changes_nothing(late: tuple[Any, ...]) -> None:
    boss, now = serving()
    event, *values = late
    before = boss.next_deadline()
    assert getattr(boss, event)(now, *values) == []
    assert boss.next_deadline() == before


def test_orders_are_frozen_values() -> None:
    assert Spawn(key(1, 0)) == Spawn(key(1, 0))
    assert Spawn(key(1, 0)) != Quit(key(1, 0))
    assert len({Spawn(key(1, 0)), Spawn(key(1, 0)), Quit(key(1, 0))}) == 2
    assert repr(drain(1, 0)) == f"Drain(('main', 1, 0), {Backlog.LEAVE!r}, 30.0)"
    with pytest.raises(AttributeError, match='frozen'):
        Spawn(key(1, 0)).key = key(1, 1)
    with pytest.raises(ValueError, match='zip'):
        Spawn()
