"""The server that all this is done to: one master after the other on the same port, and what they leave behind."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
import time
from typing import TYPE_CHECKING

from chaoslib import processes
from chaoslib.ledger import Gap
from chaoslib.site import GRACEFUL_TIMEOUT
from tests.serving import start

if TYPE_CHECKING:
    from chaoslib.ledger import Ledger
    from chaoslib.site import Site
    from tests.serving import Server

LEAVE_TIME = GRACEFUL_TIMEOUT + 4.0
"""Seconds after its master's death in which a worker has finished and gone."""

SUCCESSION_TIME = 10.0
"""Seconds from a master's death in which another one serves: that of a start, on a machine that has more to do.  The
address is free at once, or nearly so."""

WATCH_INTERVAL = 1.0
ZOMBIE_LOOKS = 4
"""Looks in a row at which the same zombie is one that nobody waits for."""

START_TIMEOUT, STOP_TIMEOUT = 40.0, GRACEFUL_TIMEOUT + 10.0

FORBIDDEN = ('a bug of prefork itself', 'could not be handled', 'worker loop failed')
"""What the server never has to log."""

_WORKER = re.compile(r'worker \S+ \(pid (\d+)\) is ready')
_MOLD = re.compile(r'the mold of generation \d+ \(pid (\d+)\) is ready')


class Service:
    def __init__(self, site: Site, ledger: Ledger) -> None:
        self._site = site
        self._ledger = ledger
        self._open = contextlib.ExitStack()
        self._dead: list[Server] = []
        self._leave_by: dict[int, float] = {}
        """Until when the session of a dead master may have processes in it."""
        self._zombies: dict[int, int] = {}
        """How often each was seen, by pid."""
        self._server = self._start(0)
        try:
            self._server.wait_until_ready(START_TIMEOUT)
        except AssertionError:
            self._open.close()
            raise
        self.port = self._server.port
        self._end = threading.Event()
        self._watcher = threading.Thread(target=self._watch_again_and_again)
        self._watcher.start()

    def _start(self, port: int) -> Server:
        arguments = (self._site.ini.name, '--bind', f'127.0.0.1:{port}')
        # A changed source must be read again even within the second that bytecode files are stamped with.
        environment = {'PYTHONDONTWRITEBYTECODE': '1'}
        return self._open.enter_context(start(*arguments, cwd=self._site.folder, env=environment))

    # --- whom there is --------------------------------------------------------------------------------------------

    @property
    def master(self) -> int:
        return self._server.pid

    def workers(self) -> list[int]:
        """The pids of those that were ready once, and are there still, in the order of their readiness."""
        return self._alive(_WORKER)

    def mold(self) -> int | None:
        """The latest."""
        return next(reversed(self._alive(_MOLD)), None)

    def newest(self) -> int | None:
        """Of the processes that are not ready, and may never be: molds, workers, and who is between them."""
        there = {each.pid: each for each in processes.of_sessions({self.master}) if each.state != processes.ZOMBIE}
        for pid in (self.master, *map(int, [*_WORKER.findall(self._text()), *_MOLD.findall(self._text())])):
            there.pop(pid, None)
        return max(there, key=lambda pid: there[pid].started, default=None)

    def _alive(self, pattern: re.Pattern[str]) -> list[int]:
        there = {each.pid for each in processes.of_sessions({self.master}) if each.state != processes.ZOMBIE}
        return [pid for pid in map(int, pattern.findall(self._text())) if pid in there]

    def _text(self) -> str:
        return self._server.stderr.text

    # --- what is done to it ---------------------------------------------------------------------------------------

    def signal(self, number: signal.Signals) -> None:
        """To the master."""
        self._server.send_signal(number)

    def kill_master(self) -> None:
        """Kill it, and have a new one take the port."""
        since = time.monotonic()
        self.signal(signal.SIGKILL)
        self._server.wait()
        self._leave_by[self.master] = time.monotonic() + LEAVE_TIME
        self._dead.append(self._server)
        self._server = self._start(self.port)
        try:
            self._server.wait_until_ready(START_TIMEOUT)
        finally:
            gap = Gap(since, time.monotonic())
            self._ledger.add(gap)
        if gap.until - gap.since > SUCCESSION_TIME:
            self._ledger.complain(f'for {gap.until - gap.since:.1f} s there was no master')

    def stop(self) -> str:
        """Stop it, and look for what is left; how it ended."""
        self.signal(signal.SIGTERM)
        try:
            status = self._server.wait(STOP_TIMEOUT)
        except AssertionError:
            self._ledger.complain(f'the master did not stop within {STOP_TIMEOUT:g} s')
            ending = 'it had to be killed'
        else:
            ending = f'exit status {status}'
            if status:
                self._ledger.complain(ending)
        self._leave_by[self.master] = time.monotonic()
        for process in processes.of_sessions(set(self._leave_by)):
            processes.wait_for_end(process.pid, self._leave_by[process.session] - time.monotonic())
        self._end.set()
        self._watcher.join()
        self._look(time.monotonic())
        return ending

    def close(self) -> None:
        """Kill whatever is left."""
        self._end.set()
        self._watcher.join()
        try:
            self._open.close()
        except AssertionError as error:
            self._ledger.complain(str(error))

    # --- what it leaves behind ------------------------------------------------------------------------------------

    def log(self) -> str:
        return ''.join(server.stderr.text for server in [*self._dead, self._server])

    def check_log(self) -> None:
        for text in FORBIDDEN:
            if count := self.log().count(text):
                self._ledger.complain(f'{text!r} is in the log, {count} times')

    def _watch_again_and_again(self) -> None:
        while not self._end.wait(WATCH_INTERVAL):
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        everybody = processes.of_sessions({self.master, *self._leave_by})
        pids = {each.pid for each in everybody}
        # Dead orphans of a dead master are process 1's to reap, not ours.
        there = [each for each in everybody if each.state != processes.ZOMBIE or each.parent in pids]
        overdue = {session for session, leave_by in self._leave_by.copy().items() if leave_by <= now}
        for process in there:
            if process.session in overdue:
                self._ledger.complain(f'left over by master {process.session}: process {process.pid} ({process.name})')
        zombies = {each.pid: each for each in there if each.state == processes.ZOMBIE and each.pid != self.master}
        self._zombies = {pid: self._zombies.get(pid, 0) + 1 for pid in zombies}
        for pid, looks in self._zombies.items():
            if looks == ZOMBIE_LOOKS:
                self._ledger.complain(f'a zombie: {zombies[pid]}')
