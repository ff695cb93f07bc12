"""The mold: a fork of the master that loads the application once and forks workers from it on request.

Workers are the master's children, not the mold's: the mold forks twice, the process in between ends at once, and the
orphan falls to the master, who is a subreaper.  So the master can wait for workers whichever mold they came from.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time

from prefork.errors import EX_CONFIG, EX_OK, EX_SOFTWARE
from prefork.logs import logger
from prefork.master import linux, oom, preload
from prefork.master.channel import Channel
from prefork.master.child import describe, run_worker, start_faulthandler, with_alarm, without_alarm
from prefork.master.orders import Preload
from prefork.master.signals import fork, ignore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from wsgiref.types import WSGIApplication

    from prefork.master.channel import Message
    from prefork.master.site import Site
    from prefork.scoreboard import Scoreboard

_SAY_TIMEOUT = 5.0

_FORK_TIMEOUT = 5.0
"""For the process between mold and worker, which does nothing but fork: hooks of the application may hang in that."""


def get_ready_to_fork() -> None:
    """In the master: have in memory what every child needs, and keep the garbage collector from writing to it.

    Modules that a mold imports go to free blocks all over the pages that it shares with the master, and each of these
    is then there twice.  2.6 MiB of PSS of a master, a mold and two workers.
    """
    import prefork.worker.loop  # noqa: F401

    gc.unfreeze()  # what an earlier generation has left
    gc.collect()
    gc.freeze()


def run_mold(channel: Channel, site: Site, board: Scoreboard, kind: Preload) -> int:
    """Be the mold of ``site``: load, report, and fork until the master closes the channel; the exit status."""
    start_faulthandler()
    oom.go_before_parent()
    # What goes to the whole process group: the master, who gets it too, ends molds by other means.
    signal.signal(signal.SIGTERM, ignore)
    started = time.monotonic()
    mold = _Mold(channel, site, board)
    status = mold.load(kind)
    if status is not None:
        return status
    loaded = time.monotonic() - started
    mold.freeze()
    return mold.serve(loaded)


class _Mold:
    __slots__ = ('_apps', '_board', '_channel', '_site')

    def __init__(self, channel: Channel, site: Site, board: Scoreboard) -> None:
        self._channel = channel
        self._site = site
        self._board = board
        self._apps: dict[str, WSGIApplication] = {}

    def load(self, kind: Preload) -> int | None:
        """Load every server's application, unless workers do; the exit status where that is the end of this mold."""
        deployment = self._site.deployment
        servers = () if kind is Preload.NEVER else tuple(deployment.servers)
        before = preload.inet_sockets()
        try:
            with_alarm(deployment.settings.load_timeout)
            self._site.settle()
            linux.end_when_orphaned()  # one that hangs or is stopped would keep the address from a new master
            if self._channel.hung_up():  # it was an orphan already, of whom the kernel tells nothing
                return EX_OK
            for name in servers:
                self._apps[name] = deployment.load_app(name)
        except BaseException as error:  # SystemExit too: an application that exits while it loads can't be served
            self._say('failed', reason=describe(error))
            return EX_CONFIG
        finally:
            without_alarm()
        left = preload.leftovers(before) if kind is Preload.AUTO else []
        if left:
            self._say('unsafe', found=left)
            return EX_OK
        return None

    def freeze(self) -> None:
        """Put all there is out of the garbage collector's reach: marking it would copy every page in every worker."""
        if any(settings.max_rss for settings in self._site.deployment.servers.values()):
            import prefork.worker.memory  # noqa: F401

        gc.collect()
        gc.freeze()
        # A full collection waits until a quarter of what the last one has found has come up anew.  With this one, that
        # finds nothing, garbage in workers doesn't wait: 0.6 MiB of each with Django, more where more is loaded.
        gc.collect()

    def serve(self, seconds: float) -> int:
        """Say that it took so long to load, and fork."""
        self._say('loaded', seconds=seconds)
        while True:
            self._channel.wait()
            messages, ended = self._channel.receive()
            while messages:
                message = messages.pop(0)
                if message.incomplete:
                    # Of a worker that isn't forked for it the end of its channel tells.
                    logger.error('no descriptor is free in the mold: %r cannot be done', message.kind)
                    continue
                if message.kind == 'reopen':
                    self._site.replace_log(message.body['log'], message.descriptors[0])
                    os.close(message.descriptors[0])
                    continue
                others = [descriptor for later in messages for descriptor in later.descriptors]
                self._spawn(message, others)
            if ended:
                return EX_OK

    def _say(self, kind: str, **body: Any) -> None:
        self._channel.send(kind, **body)
        self._channel.finish(_SAY_TIMEOUT)

    def _spawn(self, message: Message, others: list[int]) -> None:
        """Fork the worker, which reports itself on its own channel; ``unspawned`` where that is impossible.

        ``others`` came with messages that are still to be obeyed.
        """
        worker_channel = Channel(socket.socket(fileno=message.descriptors[0]))
        row = self._board[message.body['row']]
        row.put('pid', 0)
        try:
            between = fork(lambda: self._fork_worker(message.body, worker_channel, others))
            reason = self._wait_for(between)
        except OSError as error:
            reason = f'could not be forked: {error.strerror}'
        if reason:
            worker_channel.send('unspawned', reason=reason)
        elif pid := row.get('pid'):
            # It says so itself, unless a hook hangs before it can.  The master is its parent by now.
            worker_channel.send('forked', pid=pid)
        worker_channel.finish(_SAY_TIMEOUT)
        worker_channel.close()

    def _wait_for(self, between: int) -> str:
        """Wait for the end of the process that forks a worker; why there is none, '' where there is."""
        # Before the master ends this mold for not answering: then nobody could find the process in between any more.
        patience = min(_FORK_TIMEOUT, self._site.deployment.settings.load_timeout / 2)
        hangs = linux.wait_for_end(between, patience) is False
        try:
            if hangs:
                os.kill(between, signal.SIGKILL)
            _, status = os.waitpid(between, 0)
        except (ChildProcessError, ProcessLookupError):  # the application waits for its children, or ignores SIGCHLD
            return ''
        if hangs:
            return f'could not be forked within {patience:g} s'
        return 'could not be forked' if status else ''

    def _fork_worker(self, ordered: dict[str, Any], worker_channel: Channel, others: list[int]) -> int:
        """In the process between mold and worker."""
        server, generation, slot = ordered['key']
        row, seat, ready_url = self._board[ordered['row']], ordered['seat'], ordered['ready_url']
        self._channel.close()
        for descriptor in others:
            os.close(descriptor)
        me = os.getpid()

        def be_worker() -> int:
            # While it loads, it must not outlive the master either; that it outlives this process is meant.
            if linux.wait_for_end(me):
                linux.end_when_orphaned()
            if worker_channel.hung_up():  # the master died before that
                return EX_OK
            return run_worker((server, generation, slot), worker_channel, row, seat, self._site, self._apps, ready_url)

        try:
            row.put('pid', fork(be_worker))  # for the mold to know
        except OSError:
            return EX_SOFTWARE
        return EX_OK
