"""How fast a client has to be that sends a body or reads a response: what min_rate and client_socket_timeout ask.

A client has GRACE seconds in hand when its transfer begins.  Each second that we wait for it costs one, and each byte
that moves earns it what ``min_rate`` says that byte may take; whoever has none left is too slow.  What can be saved is
bounded: a client that was fast once can't live on it for long.
"""

from __future__ import annotations

GRACE = 10.0
"""Seconds before min_rate is applied to a body or a response: a short pause is no attack."""

BURST = 131072
"""Bytes by which a client may be ahead of min_rate.  What it reads is told by its kernel in steps of up to 64 KiB, so
that with less a steady reader would look like one that has stopped."""


SAMPLE = 0.25
"""Seconds after which it can be told how fast a client has been lately: bytes come in bursts."""


class Pace:
    """One transfer: ``moved`` in what follows is the number of its bytes that have moved so far.

    Time is counted from :meth:`wait` to the last :meth:`deadline` or :meth:`pause`: what the application takes for its
    part isn't the client's.
    """

    __slots__ = (
        '_in_hand',
        '_judged_at',
        '_judged_moved',
        '_min_rate',
        '_moved',
        '_moved_at',
        '_now',
        '_patience',
        'keeps_up',
    )

    def __init__(self, min_rate: int, patience: float, moved: int) -> None:
        """``patience`` is client_socket_timeout; as in the option, 0 is for ever."""
        self._min_rate = min_rate
        self._patience = patience or float('inf')
        self._moved = moved
        self._in_hand = GRACE if min_rate else float('inf')

    def wait(self, now: float, moved: int) -> float:
        """It is the client's turn from now on: the first deadline."""
        self._now = self._moved_at = self._judged_at = now
        self._judged_moved = moved
        self.keeps_up = True
        return self.deadline(now, moved)

    def deadline(self, now: float, moved: int) -> float:
        """When the client will be too slow, unless more moves before."""
        self._count(now, moved)
        return min(now + self._in_hand, self._moved_at + self._patience)

    @property
    def next_look(self) -> float:
        """When to ask how much has moved, where nobody tells: often enough for the deadline to be true."""
        return self._now + self._patience / 4

    def pause(self, now: float) -> None:
        """It isn't the client's turn any more.  What has just moved is counted the next time."""
        self._count(now, self._moved)

    def may_judge(self, now: float) -> bool:
        """Whether :meth:`judge` has something to go by."""
        return now - self._judged_at >= SAMPLE

    def judge(self, now: float, moved: int) -> None:
        """Set ``keeps_up``: whether the client was as fast as min_rate since it was judged before."""
        self.keeps_up = moved - self._judged_moved >= self._min_rate * (now - self._judged_at)
        self._judged_at = now
        self._judged_moved = moved

    def _count(self, now: float, moved: int) -> None:
        # Of a block that OpenSSL has written a part of, the kernel has bytes that don't count as moved yet.
        moved = max(moved, self._moved)
        if moved != self._moved:
            self._moved_at = now
        if self._min_rate:
            earned = (moved - self._moved) / self._min_rate
            self._in_hand = min(self._in_hand - (now - self._now) + earned, GRACE + BURST / self._min_rate)
        self._moved = moved
        self._now = now
