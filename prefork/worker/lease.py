"""What an application holds while it is called, its connection, and how that is taken from a call that takes too long.

The thread of a call owns the connection, until the leader finds that the application has had the thread for longer than
``request_timeout``.  It takes the connection back, answers in the call's place, and has an exception raised in the
thread.  Two things must hold then, whatever the thread does at that moment: the two never both own the connection, and
the exception comes up within the call or not at all.

So the thread notes when it enters the application, and may only be interrupted in there.  On leaving it writes
``since`` and then reads ``claimed``; the leader writes ``claimed`` and then reads ``since``.  The interpreter's lock
lets no thread see these in another order, so at least one of the two sees what the other wrote: a leader that comes too
late gives the claim up, and a thread that finds itself claimed waits for the leader's decision before it touches
anything.  An ordinary call pays two stores and a look.

In the same way the leader borrows the connection, to send what the thread has kept back, or what the socket had no
room for: that is a claim that is always given up again.  Whoever takes the lead writes ``prompt`` and then reads
``since``; the thread writes ``since`` and then reads ``prompt``.  So what was kept back is seen by at least one of the
two, and sent.  A thread that leaves something queued asks the leader to send it when there is room.  The leader stops
to watch for that, clears ``asked`` and then reads ``since``; the thread writes ``since`` and then reads ``asked``, to
ask again.
"""

from __future__ import annotations

import sys
import threading
import traceback
from time import monotonic

from prefork.errors import RequestTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

handover = threading.Lock()
"""Held from a claim to its outcome: who finds a claim on its lease waits here until it is decided."""


class Lease:
    """One call's.  The thread calls ``enter`` and ``leave``, the leader ``claim``.

    ``since`` is when the application got the thread, 0 while it is the server's; ``ended`` whether the connection was
    taken away, after which nothing of it may be touched; ``prompt`` whether nothing may be kept back; ``asked`` whether
    the leader shall send what is queued.
    """

    __slots__ = ('asked', 'claimed', 'ended', 'prompt', 'since')

    def __init__(self) -> None:
        self.since = 0.0
        self.claimed = False
        self.ended = False
        self.prompt = True
        self.asked = False

    def enter(self) -> None:
        """The application has the thread from now on."""
        self.since = monotonic()

    def leave(self) -> None:
        """The server has the thread back.  Raises RequestTimeout where the lease has ended; no other comes after it."""
        self.since = 0.0
        if self.claimed:
            self.settle()

    def settle(self) -> None:
        """Wait for the outcome of a claim.  Raises RequestTimeout where the lease has ended."""
        with handover:
            if not self.ended:
                return
            _raise_in(threading.get_ident(), None)  # what is still on its way would come up outside of the call
        raise RequestTimeout

    def claim(self, since: float) -> bool:
        """End the lease, if the application still has the thread that it got at ``since``; whether it had.

        The caller holds ``handover`` until it has interrupted the thread.
        """
        self.claimed = True
        self.ended = self.since == since
        self.claimed = self.ended
        return self.ended

    def hurry(self) -> None:
        """By the thread that has taken the lead from this call: keep nothing back any more."""
        self.prompt = True

    def borrow(self, use: Callable[[], None]) -> None:
        """Call ``use``, which may touch the connection, if the application has the thread now."""
        with handover:
            if self.ended:
                return
            self.claimed = True
            if self.since:
                use()
            self.claimed = False


def interrupt(thread: int) -> None:
    """Have RequestTimeout raised in a thread as soon as it executes Python code."""
    _raise_in(thread, RequestTimeout)


def _raise_in(thread: int, exception: type[BaseException] | None) -> None:
    try:
        import ctypes  # not before something takes too long
    except ImportError:  # a Python without it: the call keeps its thread for as long as it likes
        return
    argument = None if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), argument)


def stack(thread: int, caller: CodeType) -> str:
    """Where a thread is now, as a traceback of the frames from the one on that ``caller`` called."""
    found: list[tuple[FrameType, int]] = []
    frame = sys._current_frames().get(thread)
    while frame is not None and frame.f_code is not caller:
        found.append((frame, frame.f_lineno))
        frame = frame.f_back
    found.reverse()
    while found and found[0][0].f_globals.get('__name__', '').startswith('prefork.worker.'):
        del found[0]  # ours, between the two
    return ''.join(traceback.StackSummary.extract(iter(found)).format()).rstrip()
