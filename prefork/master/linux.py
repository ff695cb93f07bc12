"""What only Linux has and Python doesn't wrap.  Everything here says whether it worked, and is done without if not."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import struct
import sys

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h

# linux/bpf_common.h: code, how many to skip if true and if false, operand.
_NO_SYN = (
    (0x30, 0, 0, 13),  # BPF_LD | BPF_B | BPF_ABS: the flags, 13 bytes into the TCP header (RFC 9293 3.1)
    (0x45, 0, 1, 0x02),  # BPF_JMP | BPF_JSET | BPF_K: is SYN among them?
    (0x06, 0, 0, 0),  # BPF_RET | BPF_K: then drop the segment
    (0x06, 0, 0, 0xFFFFFFFF),  # BPF_RET | BPF_K: else keep all of it
)


def become_subreaper() -> bool:
    """Let orphaned descendants become this process's children, as if it were init (prctl(2)).

    It holds for the process until its end, and isn't inherited by its children.
    """
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_when_orphaned() -> bool:
    """Have the kernel kill this process when its parent dies (prctl(2)).

    It holds until the process changes its user, and isn't inherited by its children.
    """
    return _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def continue_when_orphaned() -> bool:
    """Have this process continued, if a signal has stopped it, when its parent dies; it isn't killed then."""
    return _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def wait_for_end(pid: int, seconds: float | None = None) -> bool | None:
    """Block until a process has ended, and its children have another parent, for so long at most.

    Whether it has; None where that can't be waited for.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except (AttributeError, OSError):  # before Linux 5.3, or without a descriptor
        return None
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        return bool(ended.poll(None if seconds is None else seconds * 1000))
    finally:
        os.close(descriptor)


def _prctl(option: int, value: int) -> bool:
    if not sys.platform.startswith('linux'):
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (AttributeError, OSError):
        return False


def refuse_new_connections(listener: socket.socket) -> bool:
    """Have the kernel begin no more connections on this listener, in whatever process it is open.

    What is complete stays to be accepted.  On TCP so does what becomes complete: a socket filter drops SYN segments
    alone (socket(7), SO_ATTACH_FILTER), and a client whose SYN is dropped repeats it to whoever listens by then.  On a
    unix socket it is refused; there select says from now on that the listener is ready.
    """
    if not sys.platform.startswith('linux'):
        return False
    instructions = ctypes.create_string_buffer(b''.join(struct.pack('=HBBI', *each) for each in _NO_SYN))
    program = struct.pack('@HP', len(_NO_SYN), ctypes.addressof(instructions))
    try:
        if listener.family == socket.AF_UNIX:
            listener.shutdown(socket.SHUT_RD)
        else:
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True
