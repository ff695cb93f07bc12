"""The way from one binary to the next, under the same pid.

At first another process becomes what is installed by now, with our sockets, and sees whether it could serve.  If so,
this one becomes it, too: what an exec keeps (the pid, children, descriptors, pending signals) is what the next master
goes on with.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys

from prefork import logs, scoreboard
from prefork.errors import EX_CONFIG, EX_OK, EX_SOFTWARE, ConfigError
from prefork.master import channel as channels
from prefork.master.child import describe, prepare, start_faulthandler, with_alarm
from prefork.master.signals import flush_streams, fork
from prefork.master.site import Site
from prefork.master.sockets import Sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from prefork.master.activation import Activation
    from prefork.master.children import Children
    from prefork.master.invocation import Invocation
    from prefork.master.signals import Signals
    from prefork.master.site import Deployment
    from prefork.master.sites import Sites
    from prefork.net.listener import Listener
    from prefork.settings import Settings

_KEPT = 1 << 16
"""Bytes of what a verifying process has written that the operator is shown, the last ones."""

# --- whether it could serve, in the master ------------------------------------------------------------------------


class Verification:
    """A process that verifies what is installed.  Whatever it writes as its standard error is its complaint.

    It leads a process group: what the application may start while it is loaded ends with it.
    """

    __slots__ = ('_pipe', '_selector', '_text', 'pid')

    def __init__(self, invocation: Invocation, sites: Sites, selector: selectors.BaseSelector) -> None:
        self._text = b''
        self._selector = selector
        self._pipe, writer = os.pipe()
        os.set_blocking(self._pipe, False)
        sockets = sites.bequeath()['sockets']
        try:
            self.pid = fork(lambda: _become_verifier(invocation, sockets, writer))
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(writer)
        selector.register(self._pipe, selectors.EVENT_READ)

    def read(self) -> None:
        """Take what has been written, so that the other process doesn't wait for room."""
        try:
            data = os.read(self._pipe, _KEPT)
        except BlockingIOError:
            return
        self._text = (self._text + data)[-_KEPT:]
        if not data:
            self._stop_waiting()  # nobody has the other end any more

    def _stop_waiting(self) -> None:
        if self._pipe in self._selector.get_map():
            self._selector.unregister(self._pipe)

    def kill(self, number: int) -> None:
        """Send it the signal, and what it has started."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            os.kill(self.pid, number)  # it was only just forked, or has ended

    def finish(self) -> str:
        """The process has ended: its complaint."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # it has left nobody behind, as it should be
        self.read()  # all that a pipe can hold
        self._stop_waiting()
        self.close_in_child()
        return self._text.decode('utf-8', 'backslashreplace').strip()

    def close_in_child(self) -> None:
        """In a fork of the master, too."""
        os.close(self._pipe)


def _become_verifier(invocation: Invocation, sockets: dict[str, Any], writer: int) -> int:
    os.setpgid(0, 0)
    os.dup2(writer, logs.STDERR)
    descriptors = [each[-1][0] for each in sockets['listeners']] + sockets['given']
    legacy = {'verify': True, 'sockets': sockets, 'descriptors': descriptors}
    try:
        invocation.repeat(legacy)
    except OSError as error:
        logs.write_whole(logs.STDERR, f'{sys.executable}: {error.strerror or error}'.encode())
    return EX_SOFTWARE


# --- whether it could serve, in the new binary --------------------------------------------------------------------


def verify(load: Callable[[], Deployment], legacy: dict[str, Any], activation: Activation | None) -> int:
    """See whether this binary could be the next master, and change nothing; the exit status.

    Raises ConfigError and BindError.
    """
    site = Site(load())
    sockets = Sockets(activation)
    sockets.inherit(legacy['sockets'])
    sockets.try_out(site)
    site.open_logs()
    signal.signal(signal.SIGABRT, signal.SIG_IGN)  # it is for the forks, whose stacks are wanted
    servers, settings = tuple(site.parts), site.deployment.settings
    # Without preloading, the applications of two servers never meet in one process.
    groups = [(name,) for name in servers] if settings.preload == 'false' else [servers]
    return max(_in_fork(site, group) for group in groups)


def _in_fork(site: Site, servers: tuple[str, ...]) -> int:
    """Load them in a process of their own; the exit status."""
    pid = fork(lambda: _load(site, servers))
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    name = signal.Signals(os.WTERMSIG(status)).name
    raise ConfigError(f'loading the application ended in {name}')


def _load(site: Site, servers: tuple[str, ...]) -> int:
    """In a process of its own: be mold and worker for once, without clients."""
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    start_faulthandler()
    try:
        with_alarm(site.deployment.settings.load_timeout)
        site.settle()
        apps = {name: site.deployment.load_app(name) for name in servers}
        for name, app in apps.items():
            part = site.parts[name]
            prepare(part.settings.post_fork)
            if part.settings.ready_url and (complaint := _probe(app, part.listeners, part.settings)):
                raise ConfigError(complaint)
    except BaseException as error:  # SystemExit too: an application that exits while it loads can't be served
        complaint = f'the application cannot be loaded: {describe(error)}\n'
        logs.write_whole(logs.STDERR, complaint.encode('utf-8', 'backslashreplace'))
        return EX_CONFIG
    return EX_OK


def _probe(app: Any, listeners: list[Listener], settings: Settings) -> str:
    """What is wrong with its answer to ``ready_url``, '' for nothing."""
    from prefork.worker.loop import Loop
    from prefork.worker.probe import Probe

    complaints: list[str] = []
    loop = Loop(app, listeners, settings, multiprocess=settings.workers > 1)

    def done(complaint: str) -> None:
        complaints.append(complaint)
        loop.stop()

    loop.acceptor.hold()
    Probe(loop, settings.ready_url, done)
    loop.run()
    return complaints[0] if complaints else f'ready_url = {settings.ready_url} was not answered'


# --- the exec -----------------------------------------------------------------------------------------------------


def hand_over(invocation: Invocation, signals: Signals, sites: Sites, children: Children, fleet: dict[str, Any]) -> str:
    """Become the new binary, with the workers of ``fleet``; only where that fails this returns, with the reason.

    No signal is lost on the way: they are blocked, which an exec leaves as it is, until the next master has handlers.
    Those that were told to this one and not heard yet are sent once more.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        for number in signals.read():
            os.kill(os.getpid(), number)
        flush_streams()
        legacy: dict[str, Any] = {'mask': sorted(mask), 'sites': sites.bequeath(), 'fleet': fleet, 'channels': []}
        descriptors = _descriptors(legacy['sites'])
        for child in children:
            bequest = child.channel.bequeath() if child.reachable else None
            legacy['channels'].append([child.owner, child.pid, bequest])
            if bequest is not None:
                descriptors += [bequest[0], *bequest[2]]
                for _, waiting in bequest[3]:
                    descriptors += waiting
        invocation.repeat({**legacy, 'descriptors': descriptors})
    except OSError as error:
        return f'{sys.executable}: {error.strerror or error}'
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    raise AssertionError('an exec that comes back')


def _descriptors(sites: dict[str, Any]) -> list[int]:
    sockets, pidfile = sites['sockets'], sites['pidfile']
    found = [each[-1][0] for each in sockets['listeners']] + sockets['given'] + [sites['error_log'][2]]
    return found if pidfile is None else [*found, pidfile[1]]


def take_over(legacy: dict[str, Any], sites: Sites, children: Children) -> None:
    """In the next master, which has handlers for its signals: hold what the last one held."""
    site = sites.inherit(legacy['sites'])
    for (server, generation, slot), pid, bequest in legacy['channels']:
        row, part = children.take_row(), site.parts.get(server)
        if row is not None and part is not None:
            # The worker goes on writing to the row that it has, in memory that is no master's any more.
            known = {'pid': pid, 'server': part.index, 'generation': generation, 'slot': slot}
            for field, value in {**known, 'state': scoreboard.READY}.items():
                row.put(field, value)
        channel = channels.closed() if bequest is None else channels.inherit(bequest)
        channel.send('listen')  # all of them: their roster isn't inherited, and so nobody would guard it
        children.adopt((server, generation, slot), channel, site, pid, row)
    signal.pthread_sigmask(signal.SIG_SETMASK, legacy['mask'])
