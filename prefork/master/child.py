"""A worker process around its loop: what it does before it serves, what its master and signals tell it, how it ends."""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import traceback

from prefork import scoreboard
from prefork.errors import EX_CONFIG, EX_OK, EX_SOFTWARE, ConfigError
from prefork.logs import AccessLog, logger
from prefork.master import linux, oom
from prefork.master.signals import Signals
from prefork.net.listener import wrap
from prefork.worker.backlog import Backlog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from wsgiref.types import WSGIApplication

    from prefork.master.channel import Channel
    from prefork.master.orders import Key
    from prefork.master.site import Part, Site
    from prefork.scoreboard import Row
    from prefork.worker.loop import Loop

ALARM_MARGIN = 5.0
"""The master ends a load that takes too long; so much later the kernel does, if there is no master any more."""

REPORT_LIMIT = 1 << 16
"""Characters of a traceback that are reported."""

_SAY_TIMEOUT = 5.0

_OURS = (
    'prefork.master.',
    'prefork.deploy.',
    'prefork.configuration',
    'prefork.objects',
    'prefork.cli',
    'importlib',
    '_frozen_importlib',
)


def run_worker(
    key: Key, channel: Channel, row: Row, seat: int, site: Site, apps: Mapping[str, WSGIApplication], ready_url: str
) -> int:
    """Be the worker ``key``: load what ``apps`` doesn't have, serve until told to go; the exit status.

    ``seat`` is its place in the roster of its server.  Where ``ready_url`` isn't '', its application must answer that
    before anybody else.

    Runs in the worker's own process, which has closed by now whatever belongs to other processes.
    """
    server, generation, slot = key
    part = site.keep_only(server)
    _fill(row, part.index, generation, slot)
    channel.send('spawned', pid=os.getpid())
    start_faulthandler()
    oom.go_before_parent()
    # What was registered in the mold is about things that the siblings have too, temporary folders for one.
    atexit._clear()
    try:
        with_alarm(part.settings.load_timeout)
        site.settle()
        app = apps[server] if server in apps else site.deployment.load_app(server)
        prepare(part.settings.post_fork)
        linux.continue_when_orphaned()  # one that stays stopped would keep the address from a new master
    except BaseException as error:  # SystemExit too: an application that exits while it loads can't be served
        channel.send('failed', reason=describe(error))
        channel.finish(_SAY_TIMEOUT)
        return EX_CONFIG
    finally:
        without_alarm()
    return _Worker(channel, row, seat, site, part, app).run(ready_url)


def _fill(row: Row, server: int, generation: int, slot: int) -> None:
    for field, value in (('server', server), ('generation', generation), ('slot', slot), ('pid', os.getpid())):
        row.put(field, value)
    row.put('state', scoreboard.STARTING)


def prepare(spec: str) -> None:
    """Call the function that ``post_fork`` names."""
    if spec:
        from prefork.objects import import_object

        import_object(spec)()


class _Worker:
    """The loop, and those that it listens to besides clients."""

    __slots__ = ('_channel', '_loop', '_part', '_ready', '_row', '_signals', '_site', '_status')

    def __init__(self, channel: Channel, row: Row, seat: int, site: Site, part: Part, app: WSGIApplication) -> None:
        from prefork.worker.duty import NOBODY, Duty
        from prefork.worker.loop import Loop

        self._status = EX_OK
        self._ready = False
        self._channel = channel
        self._row = row
        self._site = site
        self._part = part
        self._signals = Signals((signal.SIGTERM,))
        if part.contexts is not None:
            context = part.contexts.open()
            for listener in part.listeners:
                wrap(listener, context)
        log = None if part.access_log is None else AccessLog(part.access_log, part.settings.access_log_format)
        # Debuggers that keep what they saw in memory want to know that the next request comes to the same process.
        shared = part.settings.workers > 1
        self._loop: Loop = Loop(
            app,
            part.listeners,
            part.settings,
            row=row,
            access_log=log,
            multiprocess=shared,
            duty=None if part.roster is None or seat == NOBODY else Duty(part.roster, seat),
            on_worn=self._on_worn,
        )
        self._loop.watch(channel, self._on_message)
        self._loop.watch(self._signals, self._on_signal)

    def run(self, ready_url: str) -> int:
        if ready_url:
            from prefork.worker.probe import Probe

            self._loop.acceptor.hold()
            Probe(self._loop, ready_url, self._on_probed)
        else:
            self._say_ready()
        if not self._loop.run():
            self._status = EX_SOFTWARE
        atexit._run_exitfuncs()
        self._channel.finish(_SAY_TIMEOUT)
        return self._status

    def _say_ready(self) -> None:
        self._loop.acceptor.release()
        self._ready = True
        self._row.put('state', scoreboard.READY)
        self._channel.send('ready')

    def _on_probed(self, complaint: str) -> None:
        if complaint:
            self._channel.send('failed', reason=complaint)
            self._status = EX_CONFIG
            self._loop.stop()
        else:
            self._say_ready()

    def _on_message(self) -> None:
        messages, ended = self._channel.receive()
        for message in messages:
            if message.incomplete:  # 'reopen' is all that comes with one
                logger.error('no descriptor is free for a log that was reopened: its old file is written to')
            else:
                _ACTS[message.kind](self, *message.descriptors, **message.body)
        if ended:
            self._orphaned()

    def _on_signal(self) -> None:
        if signal.SIGTERM not in self._signals.read():
            return
        if not self._ready:
            self._loop.stop()
        else:
            self._channel.send('asked')  # the master knows whether all go, as when its whole group got the signal

    def _on_worn(self, reason: str) -> None:
        self._channel.send('worn', reason=reason)

    def _orphaned(self) -> None:
        """The master died.  A new one must be able to bind, so the listeners go first."""
        self._loop.unwatch(self._channel)
        self._loop.acceptor.close()
        logger.warning('the master is gone: finishing what there is')
        self._drain(Backlog.LEAVE.value, self._part.settings.graceful_timeout)

    def _drain(self, backlog: str, timeout: float) -> None:
        self._loop.drain(timeout, Backlog(backlog))
        self._channel.send('leaving')

    def _quit(self) -> None:
        self._loop.stop()

    def _ping(self) -> None:
        self._channel.send('pong')

    def _listen(self) -> None:
        """The master is another one than made the roster: it can't see to it that somebody is on duty."""
        self._loop.acceptor.listen_by_itself()

    def _reopen(self, new: int, log: str) -> None:
        self._site.replace_log(log, new)
        os.close(new)


_ACTS: dict[str, Callable[..., None]] = {
    'drain': _Worker._drain,
    'quit': _Worker._quit,
    'ping': _Worker._ping,
    'listen': _Worker._listen,
    'reopen': _Worker._reopen,
}


# --- for molds and workers alike --------------------------------------------------------------------------------


def start_faulthandler() -> None:
    """Show all stacks on a fatal signal, SIGABRT from the master among them."""
    try:
        faulthandler.enable()
    except (ValueError, OSError, RuntimeError, AttributeError):
        pass  # there is no standard error to show them on


def with_alarm(load_timeout: float) -> None:
    """Have the kernel end this process if it still loads long after the master should have ended it."""
    signal.setitimer(signal.ITIMER_REAL, load_timeout + ALARM_MARGIN)


def without_alarm() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def describe(error: BaseException) -> str:
    """What the operator is told about a failed load: the application's own part of the traceback.

    A ConfigError says all there is in its message, but for what caused it.
    """
    if not isinstance(error, ConfigError):
        return _format(error)
    if error.__cause__ is None:
        return str(error)
    return f'{error}\n{_format(error.__cause__)}'


def _format(error: BaseException) -> str:
    lines = traceback.format_exception(type(error), error, _skip_ours(error.__traceback__))
    return ''.join(lines).rstrip()[-REPORT_LIMIT:]


def _skip_ours(frames: TracebackType | None) -> TracebackType | None:
    """Without the frames of the server that called the application."""
    rest = frames
    while rest is not None and _is_ours(rest):
        rest = rest.tb_next
    return rest


def _is_ours(frame: TracebackType) -> bool:
    name: str = frame.tb_frame.f_globals.get('__name__', '')
    return name.startswith(_OURS)
