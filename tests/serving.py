"""A server in a process of its own, for tests: started, awaited until it serves, and gone when the test is over.

    with serve('app.ini', '--bind', '127.0.0.1:0', cwd=tmp_path) as server:
        httpx.get(server.url)

Nothing here sleeps or polls: a thread for each of the server's output pipes reads as lines come, so that the server
never blocks on a full pipe, and whoever waits for a line is woken by it, by the end of the output, or by the deadline.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from _typeshed import StrPath

ROOT = Path(__file__).resolve().parent.parent
PREFORK = (sys.executable, '-m', 'prefork')

START_TIMEOUT = 30.0
"""The outer deadline of a start: process, application and first generation of workers."""

STOP_TIMEOUT = 15.0
"""How long a server that was told to stop may take before it is killed and its test fails."""

LISTENING = re.compile(r'\blistening on (https?://\S+|unix:\S+)')
READY = re.compile(r'\bready: (\d+) workers?\b')


class Output:
    """What a process has written to one of its pipes so far, and a place to wait for more.

    ``wait_for`` looks on from where its last match ended, so that a second wait for the same line waits for a new one.
    """

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe
        self._text = ''
        self._seen = 0
        self._ended = False
        self._grown = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._pipe:
            with self._grown:
                self._text += line
                self._grown.notify_all()
        with self._grown:
            self._ended = True
            self._grown.notify_all()

    @property
    def text(self) -> str:
        with self._grown:
            return self._text

    def wait_for(self, pattern: str | re.Pattern[str], timeout: float = START_TIMEOUT) -> re.Match[str]:
        """The next match of ``pattern``; AssertionError, with the whole output, where that ends or time runs out."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._grown:
            while (match := wanted.search(self._text, self._seen)) is None:
                remaining = deadline - time.monotonic()
                if self._ended or remaining <= 0:
                    why = 'the output ended' if self._ended else f'{timeout:g} s passed'
                    raise AssertionError(f'{why} without {wanted.pattern!r}; there was:\n{self._text}')
                self._grown.wait(remaining)
            self._seen = match.end()
            return match

    def close(self, timeout: float) -> None:
        """Read to the end, which comes when the last process that holds the pipe is gone."""
        self._reader.join(timeout)
        if self._reader.is_alive():
            raise AssertionError('a process that outlived its server holds the output open')
        self._pipe.close()


class Server:
    """A running server; ``serve`` makes one.

    ``urls`` are the listeners as they were logged, the first of them is ``url``; ``stdout`` and ``stderr`` are
    :class:`Output`; ``workers`` is the number that was logged with readiness.
    """

    def __init__(
        self, command: Sequence[StrPath], cwd: StrPath | None, env: Mapping[str, str], pass_fds: Sequence[int] = ()
    ) -> None:
        # A session of its own: a signal to its process group reaches workers too, whoever their parent is by then.
        with _nothing_ignored():
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors='backslashreplace',
                start_new_session=True,
                pass_fds=pass_fds,
            )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.stdout = Output(self._process.stdout)
        self.stderr = Output(self._process.stderr)
        self.urls: tuple[str, ...] = ()
        self.workers = 0

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Listeners are logged when they are bound, before the first worker; so at readiness all of them are known."""
        self.workers = int(self.stderr.wait_for(READY, timeout)[1])
        self.urls = tuple(LISTENING.findall(self.stderr.text))
        if not self.urls:
            raise AssertionError(f'ready, but no listener was logged:\n{self.stderr.text}')

    @property
    def pid(self) -> int:
        """The master's."""
        return self._process.pid

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None, f'{self.url} has no port'
        return port

    def connect(self, timeout: float = START_TIMEOUT) -> socket.socket:
        """A TCP connection to the first listener, each of whose operations has ``timeout`` seconds."""
        return socket.create_connection((urlsplit(self.url).hostname, self.port), timeout)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Begin a graceful stop (SIGTERM); ``wait`` is for its end."""
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """The master's exit status, negative where a signal ended it; AssertionError where it goes on for longer."""
        if self._process.poll() is None:
            end = os.pidfd_open(self.pid)  # Popen's own wait with a timeout looks again and again, up to 50 ms apart
            try:
                if not select.select([end], [], [], timeout)[0]:
                    raise AssertionError(f'still running after {timeout:g} s:\n{self.stderr.text}')
            finally:
                os.close(end)
        return self._process.wait()

    def close(self) -> None:
        """Stop it at once (SIGINT) where it still runs, and kill what is left; a server that has to be killed fails."""
        try:
            if self._process.poll() is None:
                self.send_signal(signal.SIGINT)
                self.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):  # as it should be: nobody is left
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            self.stdout.close(STOP_TIMEOUT)
            self.stderr.close(STOP_TIMEOUT)


@contextlib.contextmanager
def serve(
    *argv: StrPath,
    cwd: StrPath | None = None,
    env: Mapping[str, str] | None = None,
    command: Sequence[StrPath] = PREFORK,
    pass_fds: Sequence[int] = (),
    timeout: float = START_TIMEOUT,
) -> Iterator[Server]:
    """``python -m prefork`` with ``argv``, serving when the block begins and gone when it ends.

    ``env`` is added to this process's environment, and ``pass_fds`` are descriptors that it inherits.  Raises
    AssertionError, with the server's log, where it isn't ready within ``timeout`` seconds.
    """
    with start(*argv, cwd=cwd, env=env, command=command, pass_fds=pass_fds) as server:
        server.wait_until_ready(timeout)
        yield server


@contextlib.contextmanager
def start(
    *argv: StrPath,
    cwd: StrPath | None = None,
    env: Mapping[str, str] | None = None,
    command: Sequence[StrPath] = PREFORK,
    pass_fds: Sequence[int] = (),
) -> Iterator[Server]:
    """``serve`` without its wait, for a start that a test wants to watch."""
    server = Server([*command, *argv], cwd, _environment(env), pass_fds)
    try:
        yield server
    finally:
        server.close()


def run(
    *argv: StrPath,
    cwd: StrPath | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = START_TIMEOUT,
) -> subprocess.CompletedProcess[str]:
    """``python -m prefork`` with ``argv`` to its end, for what doesn't serve, such as ``--check``."""
    command = [*PREFORK, *argv]
    with _nothing_ignored():
        return subprocess.run(
            command, cwd=cwd, env=_environment(env), timeout=timeout, capture_output=True, text=True, check=False
        )


@contextlib.contextmanager
def _nothing_ignored() -> Iterator[None]:
    """What is started in this block has its signals at their defaults, also where this process ignores some.

    A shell without job control makes what it runs in the background ignore SIGINT and SIGQUIT, nohup SIGHUP.  That is
    inherited through exec, which resets only what is caught (execve(2)).
    """
    inherited = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    ignored = [number for number in inherited if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    environment = {**os.environ, **(extra or {})}
    # The checkout comes first, wherever the server is started, so that it is this tree that is tested.
    environment['PYTHONPATH'] = os.pathsep.join(filter(None, (str(ROOT), environment.get('PYTHONPATH'))))
    return environment
