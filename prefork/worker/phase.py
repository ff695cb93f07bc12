"""Where a connection is in its life."""

from __future__ import annotations

import enum


class Phase(enum.Enum):
    """PREFACE, HANDSHAKE → IDLE → RECEIVING → RUNNING → SENDING → IDLE … or LINGERING → FREE.

    From RUNNING it may go to STREAMING or SENDING, and come back.  The loop owns a connection in every phase but
    RUNNING, where the thread that calls the application does.
    """

    PREFACE = 'preface'  # what a proxy says before the client does
    HANDSHAKE = 'handshake'  # TLS
    IDLE = 'idle'  # between requests, nothing of the next one has come
    RECEIVING = 'receiving'  # a head or a body is on its way
    RUNNING = 'running'  # the application is called, or waits for a thread
    STREAMING = 'streaming'  # the application waits for more of the body
    SENDING = 'sending'  # the response waits for the client to read
    LINGERING = 'lingering'  # our side is closed; what the client still sends is thrown away
    FREE = 'free'  # the slot has no connection
