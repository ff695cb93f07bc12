"""Servers as processes: on one core, awaited until they accept, and stopped whatever happens."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

START_TIME = 30.0  # seconds until a server must accept
STOP_TIME = 5.0  # seconds it has to end after SIGTERM
RETRY = 0.02  # seconds between two attempts to connect


class Failed(Exception):
    """A server did not do what it should; the text says what, with its last words."""


class Running:
    """A server's process, alone in its process group.  ``errors`` is the file that its stderr goes to.

    It is reaped when it is stopped and not before, so that until then its number can't be another's.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, errors: Path) -> None:
        self.process = process
        self.port = port
        self.errors = errors
        self.descriptor = os.pidfd_open(process.pid)  # readable once the process has ended

    def await_accepting(self, deadline: float) -> None:
        """Return once the port accepts connections; raise Failed if the process ends first, or at the deadline."""
        while time.monotonic() < deadline:
            with suppress(OSError):
                socket.create_connection(('127.0.0.1', self.port), timeout=RETRY).close()
                return
            if self.ends_within(RETRY):
                break
        raise Failed(f'did not start: {self.last_words()}')

    def check(self) -> None:
        """Raise Failed if the process has ended."""
        if self.ends_within(0):
            raise Failed(f'ended by itself: {self.last_words()}')

    def ends_within(self, seconds: float) -> bool:
        return bool(select.select([self.descriptor], [], [], seconds)[0])

    def last_words(self, count: int = 3) -> str:
        """The end of its stderr, on one line, after its exit status if it has one."""
        lines = [line.strip() for line in self.errors.read_text(errors='replace').splitlines() if line.strip()]
        ended = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        return ' | '.join([f'exit status {ended.si_status}' if ended else 'it runs', *lines[-count:]])

    def terminate(self) -> None:
        """Ask it to end; ``stop`` need not wait as long then."""
        os.kill(self.process.pid, signal.SIGTERM)  # Popen.terminate() would reap it first if it has ended

    def stop(self) -> None:
        """End it, and workers that it left behind, by force if need be (or if Ctrl-C comes while we wait)."""
        try:
            self.terminate()
            self.ends_within(STOP_TIME)
        finally:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            os.close(self.descriptor)


@contextmanager
def running(
    command: list[str], port: int, core: int, files: Path, output: Path, python_path: Path
) -> Iterator[Running]:
    """Start a server in the directory ``files``, its stdout appended to ``output``; at the end, stop it.

    It gets a small environment, so that variables meant for a server elsewhere (WEB_CONCURRENCY, ...) change nothing.
    """
    environment = {name: os.environ[name] for name in ('HOME', 'PATH') if name in os.environ}
    environment |= {'LANG': 'C.UTF-8', 'PYTHONPATH': str(python_path)}
    errors = files / f'stderr-{port}'
    with open(output, 'ab') as stdout, open(errors, 'wb') as stderr:
        process = subprocess.Popen(
            command,
            cwd=files,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,  # its group is then all its processes, and Ctrl-C reaches us alone
            preexec_fn=partial(os.sched_setaffinity, 0, {core}),
        )
    server = Running(process, port, errors)
    try:
        yield server
    finally:
        server.stop()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has: all bound at once so that they differ, then released."""
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
    ports = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports
