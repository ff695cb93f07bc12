"""The master: it binds, forks, waits for whatever can be waited for, and does what the supervisor decides.

It never imports application code.  It has one loop, over the channels of its children and its signals; whatever takes
time happens in a child, so that every signal is obeyed at once.
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
import time
from collections import deque

from prefork.errors import EX_OK, BindError, ChannelError, PreforkError
from prefork.logs import claim_standard_descriptors, logger
from prefork.master import orders
from prefork.master.children import Children, event
from prefork.master.guard import Guard
from prefork.master.invocation import Invocation
from prefork.master.oom import OomKills
from prefork.master.signals import MASTER_SIGNALS, Signals, in_foreground
from prefork.master.site import Deployment, Site
from prefork.master.sites import Sites
from prefork.master.spawner import Spawner
from prefork.master.supervisor import Supervisor
from prefork.scoreboard import Scoreboard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from prefork.master.children import Child
    from prefork.master.daemon import Launch
    from prefork.master.orders import Key, Order
    from prefork.master.upgrade import Verification

__all__ = ['Deployment', 'Master']

BIND_RETRY = 5.0
"""Seconds for which a taken address is tried again at start: a predecessor's workers may still be closing it."""

_BIND_PAUSE = 0.1
_ENDS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
_STEPS = {signal.SIGTTIN: 1, signal.SIGTTOU: -1}


class Master:
    """``load`` reads the configuration at the start and at each HUP; it raises ConfigError where it can't be used."""

    def __init__(self, load: Callable[[], Deployment]) -> None:
        claim_standard_descriptors()  # before the selector below can get one of their numbers
        self._load = load
        self._invocation = Invocation()
        self._manager = self._invocation.manager()
        self._supervisor = Supervisor(None if self._manager is None else self._manager.watchdog)
        self._clock = time.monotonic
        self._board = Scoreboard()
        self._children = Children(self._board)
        self._sites = Sites(self._invocation.activation())
        self._guard = Guard()
        self._signals: Signals
        self._spawner: Spawner
        self._queue: deque[Order] = deque()
        self._status: int | None = None
        self._oom_kills = OomKills()
        self._launch: Launch | None = None
        """In a daemon: who waits for it to be ready."""
        self._verification: Verification | None = None

    def run(self) -> int:
        """Serve until a signal ends it, or the failure of the first generation; the exit status.

        With ``daemon``, another process serves, and this one waits until it is ready.  Raises ConfigError and
        BindError, before anything has been started.
        """
        legacy = self._invocation.legacy()
        if legacy is not None:
            return self._succeed(legacy)
        self._signals = Signals(MASTER_SIGNALS)  # first of all: process 1 gets no signal that it has no handler for
        try:
            site = Site(self._load())
            if not site.deployment.settings.daemon:
                return self._run(site)
            if _ENDS.intersection(self._signals.read()):
                return EX_OK
        finally:
            self._close()
        from prefork.master import daemon

        return daemon.launch(lambda launch: self._run_in_background(site, launch))

    def _succeed(self, legacy: dict[str, Any]) -> int:
        """Go on where another binary has stopped, or see whether this one could."""
        from prefork.master import upgrade

        if legacy.get('verify'):
            return upgrade.verify(self._load, legacy, self._invocation.activation())
        self._signals = Signals(MASTER_SIGNALS)
        try:
            self._prepare()
            upgrade.take_over(legacy, self._sites, self._children)
            self._obey(self._supervisor.adopt(self._clock(), legacy['fleet']))
            self._reap()  # who has ended meanwhile, though SIGCHLD came when nobody had a handler for it
            return self._serve()
        finally:
            self._close()

    def _run_in_background(self, site: Site, launch: Launch) -> int:
        self._launch = launch
        self._children = Children(self._board)  # its selector is this process's alone
        self._signals = Signals(MASTER_SIGNALS)
        try:
            return self._run(site)
        finally:
            self._close()

    def _prepare(self) -> None:
        """To have children, and to wait for signals and for what they say."""
        self._spawner = Spawner(self._children, self._sites, self._board, self._close_in_child)
        self._children.selector.register(self._signals, selectors.EVENT_READ)

    def _close_in_child(self, site: Site) -> None:
        """In a fork: close what is the master's alone, or other children's."""
        if self._launch is not None:
            self._launch.close()
        if self._verification is not None:
            self._verification.close_in_child()
        self._guard.close_in_child()
        self._children.close_in_child()
        self._signals.close_descriptors()
        self._sites.close_in_child(site)

    def _close(self) -> None:
        self._guard.close()
        self._sites.close_listeners()
        self._sites.remove_pidfile()
        self._children.selector.close()
        self._signals.close()

    def _run(self, site: Site) -> int:
        self._sites.log_to(site)
        if self._launch is not None:
            self._launch.listen()
            site.take_standard_error()
        if not self._open(site):
            return EX_OK
        self._prepare()
        self._start(site)
        return self._serve()

    # --- configurations -------------------------------------------------------------------------------------------

    def _open(self, site: Site) -> bool:
        """Open the first site, trying for a while where an address is taken; False where a signal says to end."""
        deadline: float | None = None
        meanwhile: list[int] = []
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._signals, selectors.EVENT_READ)
            while True:
                try:
                    self._sites.open(site)
                    self._signals.put_back(meanwhile)
                    return True
                except BindError as error:
                    taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
                    if not taken or (deadline is not None and self._clock() > deadline):
                        raise
                    if deadline is None:
                        deadline = self._clock() + BIND_RETRY
                        logger.warning('%s; trying for %g s', error, BIND_RETRY)
                # Nothing tells when an address becomes free.  Signals are what can be waited for meanwhile.
                if waiting.select(_BIND_PAUSE):
                    meanwhile += self._signals.read()
                    if _ENDS.intersection(meanwhile):
                        return False

    def _start(self, site: Site) -> None:
        for notice in site.deployment.notices:
            logger.info('%s', notice)
        for warning in site.warnings:
            logger.warning('%s', warning)
        plan = site.plan(forks_from_molds=self._spawner.has_molds)
        self._obey(self._supervisor.reload(self._clock(), plan))

    def _reload(self, order: orders.Reread) -> None:
        """What can fail comes first and touches nothing that serves; then the new generation has to prove itself."""
        logger.info('reloading')
        if self._manager is not None:
            self._manager.reloading(self._clock())
        try:
            site = Site(self._load())
            self._sites.open(site)
        except Exception as error:  # whatever it is, what serves goes on serving
            logger.error('not reloaded: %s', error, exc_info=not isinstance(error, PreforkError))
            self._obey(self._supervisor.not_reloaded(self._clock(), str(error)))
            return
        self._start(site)

    # --- the loop -------------------------------------------------------------------------------------------------

    def _serve(self) -> int:
        children, supervisor = self._children, self._supervisor
        while self._status is None:
            ready = children.selector.select(self._tell_manager())
            # First: a signal to the whole process group is what our children tell of, too.
            for number in self._signals.read():
                self._on_signal(number)
            for key, _ in ready:
                child = key.data
                if child is not None and child.reachable:
                    child.channel.flush()
                    self._receive(child)
            if self._verification is not None:
                self._verification.read()
            self._guard.look(self._clock())
            # Last: what has been said in time isn't late only because this process was.
            self._obey(supervisor.tick(self._clock()))
            children.wait_for_room()
        self._tell_manager()
        return self._status

    def _tell_manager(self) -> float | None:
        """Tell the service manager what is new, if there is one; the seconds until something has to be done or told."""
        now = self._clock()
        deadlines = [self._supervisor.next_deadline(), self._guard.next_deadline()]
        if self._manager is not None:
            self._manager.tell(now, self._supervisor.report(now))
            deadlines.append(self._manager.next_deadline())
        deadline = min((each for each in deadlines if each is not None), default=None)
        return None if deadline is None else max(0.0, deadline - now)

    def _on_signal(self, number: int) -> None:
        supervisor, now = self._supervisor, self._clock()
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP:
            self._obey(supervisor.hung_up(now))
        elif number == signal.SIGUSR2 and supervisor.running:
            self._obey(supervisor.upgrade(now))
        elif number == signal.SIGTERM:
            self._obey(supervisor.stop(now))
        elif number in _ENDS:
            self._obey(supervisor.quit(now))
        elif number in _STEPS:
            self._obey(supervisor.resize(now, _STEPS[signal.Signals(number)]))
        elif number == signal.SIGUSR1:
            self._sites.reopen_logs(self._children)
            logger.info('the logs are reopened')
        elif number == signal.SIGWINCH:
            if not in_foreground():  # else it is only the terminal, whose window has another size
                self._obey(supervisor.rest(now))
        else:
            logger.warning('%s is ignored', signal.Signals(number).name)

    def _reap(self) -> None:
        """Wait for every child that has ended: ours, and those that others left to a subreaper or to process 1.

        Those that were stopped or continued are noticed, too.
        """
        supervisor = self._supervisor
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return
            if not pid:
                return
            # What it said last may say why.
            for child in self._children:
                if child.pid in (0, pid) and child.reachable:
                    self._receive(child)
                if child.pid == pid:
                    child.relieve()
            now = self._clock()
            if self._verification is not None and pid == self._verification.pid and not _lives(status):
                complaint, self._verification = self._verification.finish(), None
                self._obey(supervisor.verified(now, status, complaint))
            elif os.WIFSTOPPED(status):
                self._obey(supervisor.stopped(now, pid))
            elif os.WIFCONTINUED(status):
                self._obey(supervisor.continued(now, pid))
            else:
                killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
                out_of_memory = self._oom_kills.claim(now) if killed else False
                self._obey(supervisor.exited(now, pid, status, out_of_memory))

    def _receive(self, child: Child) -> None:
        try:
            messages, ended = child.channel.receive()
            for message in messages:
                if self._children.get(child.owner) is child:  # else it was told of its end, and another has its key
                    self._obey(event(self._supervisor, self._clock(), child, message))
        except ChannelError as error:
            logger.error('process %d is killed for what it sent: %s', child.pid, error)
            ended = True
            if child.pid:
                _kill_child(child.pid, signal.SIGKILL)
        if ended:
            known = self._children.get(child.owner) is child
            self._children.hang_up(child)
            # That a child has ended is for waitpid to say, but for one whose pid isn't known.
            if known and not child.pid and not isinstance(child.owner, int):
                reason = 'ended before it said its pid'
                self._obey(self._supervisor.unspawned(self._clock(), child.owner, reason))

    # --- what the supervisor orders -------------------------------------------------------------------------------

    def _obey(self, given: list[Order]) -> None:
        """Carry out the orders, and those that come of them, in the order in which they were given."""
        idle = not self._queue
        self._queue.extend(given)
        while idle and self._queue:
            _ACTS[type(self._queue[0])](self, self._queue[0])
            self._queue.popleft()

    def _start_mold(self, order: orders.StartMold) -> None:
        number, now = order.generation, self._clock()
        try:
            pid = self._spawner.start_mold(number, order.preload)
        except OSError as error:
            self._obey(self._supervisor.mold_failed(now, number, f'no mold can be forked: {error.strerror}'))
        else:
            self._obey(self._supervisor.mold_started(now, number, pid))

    def _spawn(self, order: orders.Spawn) -> None:
        try:
            pid = self._spawner.spawn(order.key)
        except OSError as error:
            reason = f'cannot be forked: {error.strerror}'
            self._obey(self._supervisor.unspawned(self._clock(), order.key, reason))
        else:
            if pid:
                self._obey(self._supervisor.spawned(self._clock(), order.key, pid))

    def _drain(self, order: orders.Drain) -> None:
        _, generation, _ = order.key
        backlog = orders.Backlog.ACCEPT if self._sites.is_last_to_accept(generation) else order.backlog
        self._tell(order.key, signal.SIGTERM, 'drain', backlog=backlog.value, timeout=order.timeout)

    def _quit(self, order: orders.Quit) -> None:
        self._tell(order.key, signal.SIGKILL, 'quit')

    def _ping(self, order: orders.Ping) -> None:
        self._tell(order.key, 0, 'ping')

    def _tell(self, key: Key, instead: int, kind: str, **body: Any) -> None:
        """Send the worker a message, or the signal where its channel is closed."""
        child = self._children.get(key)
        if child is None:
            return
        if child.reachable:
            child.channel.send(kind, **body)
        elif child.pid:
            _kill_child(child.pid, instead)

    def _release(self, order: orders.Release) -> None:
        self._children.release(order.key)

    def _kill(self, order: orders.Kill) -> None:
        if self._verification is not None and order.pid == self._verification.pid:
            self._verification.kill(order.signal)
        else:
            _kill_child(order.pid, order.signal)

    def _verify(self, order: orders.Verify) -> None:
        from prefork.master import upgrade

        try:
            self._verification = upgrade.Verification(self._invocation, self._sites, self._children.selector)
        except OSError as error:
            reason = f'no process can be started: {error.strerror}'
            self._obey(self._supervisor.not_upgraded(self._clock(), reason))
        else:
            self._obey(self._supervisor.verifying(self._clock(), self._verification.pid))

    def _hand_over(self, order: orders.HandOver) -> None:
        if not self._supervisor.handing_over:
            return
        if len(self._queue) > 1:
            self._queue.append(order)  # what was ordered before has to be done first
            return
        from prefork.master import upgrade

        if self._manager is not None:
            self._manager.reloading(self._clock())
        fleet = self._supervisor.bequeath()
        reason = upgrade.hand_over(self._invocation, self._signals, self._sites, self._children, fleet)
        self._obey(self._supervisor.not_upgraded(self._clock(), reason))

    def _commit(self, order: orders.Commit) -> None:
        self._sites.commit(order.generation)
        self._guard.watch(self._children.selector, self._sites.rosters())
        if self._launch is not None:
            self._launch.end(EX_OK)

    def _discard(self, order: orders.Discard) -> None:
        self._sites.discard(order.generation)

    def _close_listeners(self, order: orders.CloseListeners) -> None:
        self._guard.close()
        self._sites.close_listeners()

    def _tell_operator(self, order: orders.Log) -> None:
        logger.log(order.level, '%s', order.text)

    def _exit(self, order: orders.Exit) -> None:
        self._status = order.status


_ACTS: dict[type[Order], Callable[[Master, Any], None]] = {
    orders.StartMold: Master._start_mold,
    orders.Spawn: Master._spawn,
    orders.Drain: Master._drain,
    orders.Quit: Master._quit,
    orders.Ping: Master._ping,
    orders.Kill: Master._kill,
    orders.Release: Master._release,
    orders.Commit: Master._commit,
    orders.Discard: Master._discard,
    orders.CloseListeners: Master._close_listeners,
    orders.Verify: Master._verify,
    orders.HandOver: Master._hand_over,
    orders.Reread: Master._reload,
    orders.Log: Master._tell_operator,
    orders.Exit: Master._exit,
}


def _lives(status: int) -> bool:
    """Whether a wait status is of a process that was only stopped or continued."""
    return os.WIFSTOPPED(status) or os.WIFCONTINUED(status)


def _kill_child(pid: int, number: int) -> None:
    """Send a signal to a child, and to nobody else: some of them are told of by processes without our rights."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        os.kill(pid, number)
    except (ChildProcessError, ProcessLookupError):
        pass  # a stranger's pid by now; its end has been heard of, or will be
