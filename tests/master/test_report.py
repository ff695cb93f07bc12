"""What the service manager is told in each state that there is, and when the service counts as alive."""

from __future__ import annotations

from typing import Any

import pytest

from prefork.master import fleet, supervisor
from prefork.master.orders import Ping
from prefork.master.report import State, summary
from prefork.master.supervisor import Supervisor
from tests.master.test_supervisor import (
    FIRST,
    GRACE,
    HANDING_OVER,
    LOAD,
    LOADING,
    PROVING,
    TAKEN_OVER,
    Step,
    key,
    mold,
    pid,
    plan,
)

KILLED = 9
TRACEBACK = 'no load: Traceback (most recent call last):\n  File "app.py"\nValueError: no\ndatabase'
STARTED = FIRST[:2]
"""The mold of the first generation loads."""


def told(story: list[Step], watchdog: float | None = None) -> tuple[Supervisor, float]:
    boss, now = Supervisor(watchdog), 1000.0
    for step in story:
        now += step.after
        getattr(boss, step.event)(now, *step.values)
    return boss, now


SERVING = 'generation 1: 2 of 2 workers'

# The story; then the state, the line, and in how many seconds the state ends at the latest.
REPORTS: dict[str, tuple[list[Step], State, str, float | None]] = {
    'nothing yet': ([], State.STARTING, '', None),
    'a start': (STARTED, State.STARTING, 'generation 1 loads', LOAD),
    'a start, loaded': (FIRST[:5], State.STARTING, 'generation 1 starts its workers', LOAD),
    'a start, with one of two workers': (FIRST[:6], State.READY, 'generation 1: 1 of 2 workers', None),
    'a start over': ([*STARTED, Step('reload', plan())], State.STARTING, 'generation 2 loads', LOAD),
    'serving': (FIRST, State.READY, SERVING, None),
    'a dead worker': ([*FIRST, Step('exited', pid(1, 0), KILLED)], State.READY, 'generation 1: 1 of 2 workers', None),
    'one more': (
        [*FIRST, Step('resize', 1)],
        State.READY,
        'generation 1: 2 of 3 workers',
        None,
    ),
    'a reload': (LOADING, State.RELOADING, f'{SERVING}; generation 2 loads', LOAD),
    'a reload that is proved': (PROVING, State.RELOADING, f'{SERVING}; generation 2 starts its workers', LOAD),
    'a reload that rolls': (TAKEN_OVER, State.RELOADING, 'generation 2: 1 of 2 workers, 1 of older generations', LOAD),
    'a reload that waits for old workers to accept no more': (
        [*TAKEN_OVER, Step('spawned', key(2, 1), pid(2, 1)), Step('ready', key(2, 1)), Step('leaving', key(1, 0))],
        State.RELOADING,
        'generation 2: 2 of 2 workers',
        None,
    ),
    'a reload that is over': (
        [
            *TAKEN_OVER,
            Step('spawned', key(2, 1), pid(2, 1)),
            Step('ready', key(2, 1)),
            Step('leaving', key(1, 0)),
            Step('leaving', key(1, 1)),
        ],
        State.READY,
        'generation 2: 2 of 2 workers',
        None,
    ),
    'a reload that failed': (
        [*LOADING, Step('mold_failed', 2, TRACEBACK)],
        State.READY,
        'reload failed: no load: database; generation 1 serves on: 2 of 2 workers',
        None,
    ),
    'a reload that hung': (
        [*LOADING, Step('tick', after=LOAD)],
        State.READY,
        'reload failed: the application was not loaded within load_timeout = 60 s;'
        ' generation 1 serves on: 2 of 2 workers',
        None,
    ),
    'a configuration that cannot be used': (
        [*FIRST, Step('not_reloaded', 'app.ini:1: no\napp.ini:2: no')],
        State.READY,
        'reload failed: app.ini:1: no; generation 1 serves on: 2 of 2 workers',
        None,
    ),
    'such a one while a reload is under way': (
        [*LOADING, Step('not_reloaded', 'no')],
        State.RELOADING,
        'reload failed: no; generation 1 serves on: 2 of 2 workers; generation 2 loads',
        LOAD,
    ),
    'a reload after one that failed': (
        [*LOADING, Step('mold_failed', 2, 'no'), Step('reload', plan())],
        State.RELOADING,
        f'{SERVING}; generation 3 loads',
        LOAD,
    ),
    'a reload that succeeded after one that failed': (
        [*LOADING, Step('not_reloaded', 'no'), *TAKEN_OVER[len(LOADING) :]],
        State.RELOADING,
        'generation 2: 1 of 2 workers, 1 of older generations',
        LOAD,
    ),
    'a reload that is superseded': (
        [*LOADING, Step('reload', plan())],
        State.RELOADING,
        f'{SERVING}; generation 3 loads',
        LOAD,
    ),
    'a dead mold': (
        [*FIRST, Step('exited', mold(1), KILLED)],
        State.RELOADING,
        f'{SERVING}; generation 2 loads',
        LOAD,
    ),
    'a stop': ([*FIRST, Step('stop')], State.STOPPING, 'stopping: 2 workers left', None),
    'a stop that drains': (
        [*FIRST, Step('stop'), Step('exited', mold(1), KILLED)],
        State.STOPPING,
        'stopping: 2 workers left',
        GRACE + fleet.DRAIN_MARGIN,
    ),
    'a stop with one left': (
        [*FIRST, Step('stop'), Step('exited', mold(1), KILLED), Step('exited', pid(1, 0), 0)],
        State.STOPPING,
        'stopping: 1 worker left',
        GRACE + fleet.DRAIN_MARGIN,
    ),
    'a start that failed': (
        [*STARTED, Step('mold_failed', 1, TRACEBACK)],
        State.STOPPING,
        'start failed: no load: database',
        fleet.DOOM_TIME,
    ),
    'a stop after a reload that failed': (
        [*LOADING, Step('mold_failed', 2, 'no'), Step('stop')],
        State.STOPPING,
        'stopping: 2 workers left',
        None,
    ),
}


@pytest.mark.parametrize(('story', 'state', 'text', 'seconds'), REPORTS.values(), ids=REPORTS)
def test_each_state_is_told(story: list[Step], state: State, text: str, seconds: float | None) -> None:
    boss, now = told(story)
    report = boss.report(now)
    assert (report.state, report.text) == (state, text)
    assert (None if report.until is None else report.until - now) == seconds


SUMMARIES = {
    'one line': ('no database', 'no database'),
    'several lines': ('app.ini:1: no\napp.ini:2: no', 'app.ini:1: no'),
    'a traceback': ('no: Traceback (most recent call last):\n  File "x"\nValueError: none', 'no: ValueError: none'),
    'half a traceback': ('Traceback (most recent call last):', 'Traceback (most recent call last):'),
    'nothing': ('', ''),
}


@pytest.mark.parametrize(('reason', 'line'), SUMMARIES.values(), ids=SUMMARIES)
def test_a_reason_becomes_a_line(reason: str, line: str) -> None:
    assert summary(reason) == line


# --- health ------------------------------------------------------------------------------------------------------

TWO_SERVERS = [
    Step('reload', plan(api=1, admin=1)),
    Step('mold_started', 1, mold(1)),
    Step('mold_loaded', 1, 0.5),
    Step('spawned', key(1, 0, 'api'), 11),
    Step('spawned', key(1, 0, 'admin'), 12),
    Step('ready', key(1, 0, 'api')),
    Step('ready', key(1, 0, 'admin')),
]
PING, SILENCE = supervisor.PING_INTERVAL, supervisor.PING_TIMEOUT
HANGING = [*FIRST, Step('tick', after=PING)]
"""Both workers have been pinged."""

HEALTH: dict[str, tuple[list[Step], bool]] = {
    'a start': (STARTED, False),
    'serving': (FIRST, True),
    'an unanswered ping': (HANGING, True),
    'a worker that hangs beside one that does not': (
        [*HANGING, Step('pong', key(1, 0)), Step('tick', after=SILENCE)],
        True,
    ),
    'all hang': ([*HANGING, Step('tick', after=SILENCE)], False),
    'all are dead': ([*FIRST, Step('exited', pid(1, 0), KILLED), Step('exited', pid(1, 1), KILLED)], False),
    'their replacement serves': (
        [*HANGING, Step('tick', after=SILENCE), Step('spawned', key(1, 2), 900), Step('ready', key(1, 2))],
        True,
    ),
    'one of two servers has nobody': ([*TWO_SERVERS, Step('exited', 11, KILLED)], False),
    'old workers serve while new ones start': (PROVING, True),
    'new ones serve while old ones drain': (TAKEN_OVER, True),
    'a stop has deadlines of its own': ([*FIRST, Step('stop'), Step('exited', mold(1), KILLED)], True),
}


@pytest.mark.parametrize(('story', 'healthy'), HEALTH.values(), ids=HEALTH)
def test_it_is_alive_while_each_server_has_somebody_who_answers(story: list[Step], healthy: bool) -> None:
    boss, now = told(story)
    assert boss.report(now).healthy is healthy


def test_a_ping_that_is_overdue_is_no_answer_although_nobody_has_acted_on_it_yet() -> None:
    boss, now = told(HANGING)
    assert boss.report(now + SILENCE - 1).healthy
    assert not boss.report(now + SILENCE).healthy


@pytest.mark.parametrize(
    ('watchdog', 'interval', 'timeout'), [(None, 10, 60), (8, 2, 4), (30, 7.5, 15), (3600, 10, 60)]
)
def test_a_worker_that_hangs_is_replaced_before_the_watchdog_ends_all(
    watchdog: float | None, interval: float, timeout: float
) -> None:
    boss, now = told(FIRST, watchdog)
    assert boss.next_deadline() == now + interval
    pings: list[Any] = [Ping(key(1, 0)), Ping(key(1, 1))]
    assert boss.tick(now + interval) == pings
    boss.pong(now + interval, key(1, 0))
    assert boss.next_deadline() == now + interval + min(interval, timeout)
    boss.tick(now + interval + timeout)
    assert [worker.key[2] for worker in boss._fleet.workers() if worker.answers(now + interval + timeout)] == [0]


def test_a_worker_that_is_continued_during_an_upgrade_is_pinged_as_often_as_the_watchdog_needs() -> None:
    boss, now = told([*HANDING_OVER, Step('pong', key(1, 1)), Step('stopped', pid(1, 0))], watchdog=8)
    boss.continued(now + 1, pid(1, 0))
    boss.pong(now + 1.5, key(1, 1))
    assert boss.next_deadline() == now + 1 + 2
