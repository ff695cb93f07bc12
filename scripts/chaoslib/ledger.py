"""What clients were given and what they lost, what was done to workers, and whether the one excuses the other."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

ACCEPT_SLACK = 0.1
"""Seconds after a signal was sent in which the worker may still have accepted a connection."""

NOTICE_TIME = 20.0
"""Seconds in which a client has noticed that its worker is gone.  Later its pid may be another's."""


class Harm(NamedTuple):
    """A worker was ended, so that the requests inside it are lost.  ``until`` is when it could accept no more."""

    pid: int
    what: str
    since: float
    until: float


class Gap(NamedTuple):
    """There was no master, and a new one on its way: a new connection could go nowhere."""

    since: float
    until: float


class Loss(NamedTuple):
    """A request without its answer.

    ``worker`` is the pid of who had it, None where the client doesn't know.  ``wrong`` says that there was an answer,
    and not the right one.
    """

    request: str
    what: str
    worker: int | None
    began: float
    ended: float
    wrong: bool = False


class Ledger:
    """Written by many threads, read when they have ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.answered: Counter[str] = Counter()
        """By request."""
        self.done: Counter[str] = Counter()
        """By action."""
        self.harms: list[Harm] = []
        self.gaps: list[Gap] = []
        self.losses: list[Loss] = []
        self.problems: list[str] = []
        """What else is not as it should be, in sentences."""

    def count_answer(self, request: str) -> None:
        with self._lock:
            self.answered[request] += 1

    def add(self, entry: Harm | Gap | Loss) -> None:
        # A list's append needs no lock.
        match entry:
            case Harm():
                self.harms.append(entry)
            case Gap():
                self.gaps.append(entry)
            case Loss():
                self.losses.append(entry)

    def complain(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def excused(self) -> Counter[str]:
        """How many losses each excuse is for."""
        return Counter(reason for loss in self.losses if (reason := excuse(loss, self.harms, self.gaps)))

    def unexcused(self) -> list[Loss]:
        return [loss for loss in self.losses if not excuse(loss, self.harms, self.gaps)]


def excuse(loss: Loss, harms: list[Harm], gaps: list[Gap]) -> str:
    """Why the request could not be answered; '' where it should have been.

    What was inside a worker that was ended is lost.  A wrong answer is nobody's right, and a worker that lives, or
    went by itself, has to answer what it has.
    """
    if loss.wrong:
        return ''
    if loss.worker is not None:
        for harm in harms:
            if harm.pid == loss.worker and harm.since <= loss.ended <= harm.until + NOTICE_TIME:
                return f'its worker: {harm.what}'
        return ''
    for harm in harms:
        if harm.since <= loss.ended and loss.began <= harm.until + ACCEPT_SLACK:
            return f'on a new connection, while somebody: {harm.what}'
    if any(gap.since <= loss.ended and loss.began <= gap.until for gap in gaps):
        return 'there was no master'
    return ''
