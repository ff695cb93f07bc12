"""What is done to the server: each action of the plan, and the harm that it excuses."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from chaoslib import processes
from chaoslib.clients import SLOW, TIMEOUT, Slow
from chaoslib.ledger import Harm, Loss
from chaoslib.site import BROKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chaoslib.ledger import Ledger
    from chaoslib.plan import Step
    from chaoslib.service import Service
    from chaoslib.site import Site

END_TIME = 10.0
"""Seconds for a process to end that was killed."""

START_TIME = 0.5
"""Seconds that the reload of this application takes, about."""

STOPPED_SHORTLY = 0.5
"""Seconds: less than the master waits for somebody to continue it."""


class Actor:
    def __init__(self, site: Site, service: Service, ledger: Ledger) -> None:
        self._site = site
        self._service = service
        self._ledger = ledger
        self._slow = Slow()
        self._asking: list[threading.Thread] = []
        self._hangs = 0
        self._broken = False

    def act(self, step: Step) -> None:
        """Do it.  Raises AssertionError where a new master doesn't start."""
        if self._broken:
            # What was broken is mended a moment later, as an operator would, or nothing that dies could be replaced.
            self._site.renew()
            self._broken = False
        self._slow.end(time.monotonic())
        self._asking = [thread for thread in self._asking if thread.is_alive()]
        if _ACTS[step.action](self, step):
            self._ledger.done[step.action] += 1

    def end(self) -> None:
        """Wait for those who still ask."""
        self._slow.end(float('inf'))
        for thread in self._asking:
            thread.join()

    # --- deaths ---------------------------------------------------------------------------------------------------

    def _victim(self, step: Step) -> int | None:
        workers = self._service.workers()
        return workers[int(step.aim * len(workers))] if workers else None

    def _kill_worker(self, step: Step) -> bool:
        victim = self._victim(step)
        if victim is None:
            return False
        since = time.monotonic()
        _send(victim, signal.SIGKILL)
        processes.wait_for_end(victim, END_TIME)
        self._ledger.add(Harm(victim, step.action, since, time.monotonic()))
        return True

    def _kill_mold(self, step: Step) -> bool:
        mold = self._service.mold()
        if mold is not None:
            _send(mold, signal.SIGKILL)
        return mold is not None

    def _kill_newcomer(self, step: Step) -> bool:
        """A mold or worker of the next generation, or a process between them, at any moment of its start."""
        self._reload(step)
        time.sleep(step.aim * START_TIME)
        newcomer = self._service.newest()
        if newcomer is None:
            return False
        since = time.monotonic()
        _send(newcomer, signal.SIGKILL)
        processes.wait_for_end(newcomer, END_TIME)
        self._ledger.add(Harm(newcomer, step.action, since, time.monotonic()))  # it may just have begun to serve
        return True

    def _kill_master(self, step: Step) -> bool:
        self._service.kill_master()
        return True

    def _terminate_worker(self, step: Step) -> bool:
        victim = self._victim(step)
        if victim is not None:
            _send(victim, signal.SIGTERM)
        return victim is not None

    def _stop_worker(self, step: Step) -> bool:
        """The master finds out, and ends it."""
        victim = self._victim(step)
        if victim is None:
            return False
        since = time.monotonic()
        _send(victim, signal.SIGSTOP)
        stopped = time.monotonic()

        def wait() -> None:
            processes.wait_for_end(victim, END_TIME)
            self._ledger.add(Harm(victim, step.action, since, stopped))

        self._begin(wait)
        return True

    def _stop_and_continue_worker(self, step: Step) -> bool:
        """It is replaced, too, and loses nothing."""
        victim = self._victim(step)
        if victim is None:
            return False
        _send(victim, signal.SIGSTOP)
        time.sleep(STOPPED_SHORTLY)
        _send(victim, signal.SIGCONT)
        return True

    def _crash_worker(self, step: Step) -> bool:
        def crash() -> None:
            since = time.monotonic()
            worker = None
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError), self._ask('/crash/it') as answer:
                worker = int(answer.readline())
                answer.read()
            if worker is not None:
                self._ledger.add(Harm(worker, step.action, since, time.monotonic()))

        self._begin(crash)
        return True

    # --- abuse ----------------------------------------------------------------------------------------------------

    def _hog(self, step: Step) -> bool:
        return self._expect(200, '/hog/it', 'hog', lambda: None)

    def _hang(self, step: Step) -> bool:
        self._hangs += 1
        name = f'{self._service.master}-{self._hangs}'
        return self._expect(504, f'/hang/{name}', 'hang', lambda: self._site.who_hangs(name))

    def _expect(self, status: int, path: str, request: str, find_worker: Callable[[], int | None]) -> bool:
        """Have somebody ask for ``path``, who is to get this status."""

        def ask() -> None:
            began = time.monotonic()
            complaint, wrong = '', False
            try:
                with self._ask(path) as answer:
                    answer.read()
                    if answer.status != status:
                        complaint, wrong = f'{answer.status} {answer.reason}', True
            except (OSError, http.client.HTTPException) as error:
                complaint = repr(error)
            if complaint:
                self._ledger.add(Loss(request, complaint, find_worker(), began, time.monotonic(), wrong))
            else:
                self._ledger.count_answer(request)

        self._begin(ask)
        return True

    def _slow_clients(self, step: Step) -> bool:
        self._slow.begin(step.action, self._service.port)
        return True

    @contextlib.contextmanager
    def _ask(self, path: str) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection('127.0.0.1', self._service.port, timeout=TIMEOUT)
        try:
            connection.request('GET', path, headers={'Connection': 'close'})
            with connection.getresponse() as answer:
                yield answer
        finally:
            connection.close()

    def _begin(self, what: Callable[[], None]) -> None:
        thread = threading.Thread(target=what)
        thread.start()
        self._asking.append(thread)

    # --- what operators do ----------------------------------------------------------------------------------------

    def _reload(self, step: Step) -> bool:
        self._site.renew()
        self._service.signal(signal.SIGHUP)
        return True

    def _reload_twice(self, step: Step) -> bool:
        return self._reload(step) and self._reload(step)

    def _reload_broken(self, step: Step) -> bool:
        self._site.break_application(BROKEN[step.action])
        self._broken = True
        self._service.signal(signal.SIGHUP)
        return True

    def _reload_bad_option(self, step: Step) -> bool:
        self._site.break_options()
        self._broken = True
        self._service.signal(signal.SIGHUP)
        return True

    def _upgrade(self, step: Step) -> bool:
        self._service.signal(signal.SIGUSR2)
        return True

    def _grow(self, step: Step) -> bool:
        self._service.signal(signal.SIGTTIN)
        return True

    def _shrink(self, step: Step) -> bool:
        self._service.signal(signal.SIGTTOU)
        return True

    def _reopen(self, step: Step) -> bool:
        self._site.rotate_log()
        self._service.signal(signal.SIGUSR1)
        return True


_ACTS: dict[str, Callable[[Actor, Step], bool]] = {
    'kill a worker': Actor._kill_worker,
    'kill the mold': Actor._kill_mold,
    'kill a newcomer': Actor._kill_newcomer,
    'kill the master': Actor._kill_master,
    'terminate a worker': Actor._terminate_worker,
    'stop a worker': Actor._stop_worker,
    'stop and continue a worker': Actor._stop_and_continue_worker,
    'crash a worker': Actor._crash_worker,
    'hog memory': Actor._hog,
    'hang': Actor._hang,
    'reload': Actor._reload,
    'reload twice': Actor._reload_twice,
    **dict.fromkeys(BROKEN, Actor._reload_broken),
    'reload a bad option': Actor._reload_bad_option,
    'upgrade': Actor._upgrade,
    'one worker more': Actor._grow,
    'one worker fewer': Actor._shrink,
    'reopen the logs': Actor._reopen,
    **dict.fromkeys(SLOW, Actor._slow_clients),
}


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has gone by itself meanwhile
        os.kill(pid, number)
