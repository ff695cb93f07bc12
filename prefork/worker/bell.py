"""A descriptor that wakes whoever waits for it in a poller, rung from any thread."""

from __future__ import annotations

import os
import threading

_RING = (1).to_bytes(8, 'little')  # eventfd(2) adds eight bytes to its counter, and a pipe takes them as well


class Bell:
    """Readable from :meth:`ring` until :meth:`silence`.  To ring a bell that is closed does nothing."""

    __slots__ = ('_in', '_lock', '_out')

    def __init__(self) -> None:
        if hasattr(os, 'eventfd'):
            self._in = self._out = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self._in, self._out = os.pipe()
            os.set_blocking(self._in, False)
            os.set_blocking(self._out, False)
        # A thread may ring while the loop ends: it must not write to what the number stands for by then.
        self._lock = threading.Lock()

    def fileno(self) -> int:
        return self._in

    def ring(self) -> None:
        with self._lock:
            if self._out < 0:
                return
            try:
                os.write(self._out, _RING)
            except BlockingIOError:
                pass  # it rings already

    def silence(self) -> None:
        try:
            os.read(self._in, 4096)
        except BlockingIOError:
            pass  # it was silent

    def close(self) -> None:
        with self._lock:
            for descriptor in {self._in, self._out}:
                os.close(descriptor)
            self._in = self._out = -1
