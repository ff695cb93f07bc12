"""What only Linux has and Python doesn't wrap.  Everything here says whether it worked, and is done without if not."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_BPF_RETURN = 0x06  # linux/bpf_common.h: BPF_RET | BPF_K


def become_subreaper() -> bool:
    """Let orphaned descendants become this process's children, as if it were init (prctl(2)).

    It holds for the process until its end, and isn't inherited by its children.
    """
    if not sys.platform.startswith('linux'):
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (AttributeError, OSError):
        return False


def refuse_new_connections(listener: socket.socket) -> bool:
    """Have the kernel drop what would complete another connection on this TCP listener, in whatever process it is open.

    A socket filter that keeps 0 bytes of every packet (socket(7), SO_ATTACH_FILTER): connections that are complete
    already stay to be accepted, and a client whose packets are dropped repeats them to whoever listens next.
    """
    if not sys.platform.startswith('linux'):
        return False
    instruction = ctypes.create_string_buffer(struct.pack('=HBBI', _BPF_RETURN, 0, 0, 0))
    program = struct.pack('@HP', 1, ctypes.addressof(instruction))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True
