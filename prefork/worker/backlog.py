"""What becomes of clients that the kernel has for a worker that goes.  The master orders it, the loop does it."""

from __future__ import annotations

import enum


class Backlog(enum.Enum):
    """What a worker that drains does with the connections that the kernel has completed and nobody has accepted."""

    LEAVE = 'leave'
    """They are for the other workers on the same sockets."""

    ACCEPT = 'accept'
    """Nobody else will come for them: accept until there are none, then close."""
