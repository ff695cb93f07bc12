"""What the processes of one generation are given: options, listeners, TLS, logs and the way to the application."""

from __future__ import annotations

import os

from prefork import logs
from prefork.errors import BindError, ConfigError
from prefork.master import linux
from prefork.master.generation import Plan
from prefork.master.orders import Preload
from prefork.net.listener import Listener, open_listener
from prefork.scoreboard import ROWS
from prefork.worker.pool import allow_descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import WSGIApplication

    from prefork.settings import Address, Settings

    ListenerKey = tuple[Address, str, int]


class Deployment:
    """What is to be served, as it is configured now.

    ``servers`` has the options of each server by name; ``load_app(name)`` makes the application of that server, and is
    called in molds and workers alone.  ``notices`` are sentences for the operator about how the options were read.
    """

    __slots__ = ('load_app', 'notices', 'servers')

    def __init__(
        self,
        servers: dict[str, Settings],
        load_app: Callable[[str], WSGIApplication],
        notices: Iterable[str] = (),
    ) -> None:
        self.servers = servers
        self.load_app = load_app
        self.notices = tuple(notices)

    @property
    def settings(self) -> Settings:
        """Options of the scope ``master``, which are the same in every server."""
        return next(iter(self.servers.values()))


class Part:
    """One server's share of a site."""

    __slots__ = ('access_log', 'context', 'index', 'listeners', 'settings')

    def __init__(self, index: int, settings: Settings, context: ssl.SSLContext | None) -> None:
        self.index = index
        """Its place in the configuration, which is how the scoreboard names it."""
        self.settings = settings
        self.context = context
        self.listeners: list[Listener] = []
        self.access_log: int | None = None
        """A descriptor, or None."""

    def close_log(self) -> None:
        if self.access_log is not None and self.access_log > logs.STDERR:
            os.close(self.access_log)
        self.access_log = None


class Site:
    """One deployment made real, in three steps that the master takes when it starts and when it reloads.

    The constructor checks whatever needs neither a socket nor a file of ours to be opened: it raises ConfigError and
    leaves nothing behind.  Then :meth:`Sockets.open` gives it its listeners, and :meth:`open_logs` its logs.
    """

    __slots__ = ('deployment', 'parts')

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        _check(deployment.servers)
        self.parts = {
            name: Part(index, settings, _tls_context(settings))
            for index, (name, settings) in enumerate(deployment.servers.items())
        }

    def plan(self, *, forks_from_molds: bool) -> Plan:
        """What the supervisor needs to know of it."""
        settings = self.deployment.settings
        preload = Preload(settings.preload) if forks_from_molds else Preload.NO_MOLD
        workers = {name: part.settings.workers for name, part in self.parts.items()}
        return Plan(workers, settings.load_timeout, settings.graceful_timeout, preload)

    def open_logs(self) -> None:
        """Open the access logs.  Raises ConfigError."""
        for part in self.parts.values():
            path = part.settings.access_log
            try:
                part.access_log = logs.open_file(path)
            except OSError as error:
                self.close_logs()
                raise ConfigError(f'access_log: {path}: {error.strerror or error}') from error

    def close_logs(self) -> None:
        for part in self.parts.values():
            part.close_log()

    def listeners(self) -> set[Listener]:
        return {listener for part in self.parts.values() for listener in part.listeners}

    def keep_only(self, server: str) -> Part:
        """In a worker of ``server``: close what belongs to other servers."""
        mine = self.parts[server]
        for part in self.parts.values():
            if part is not mine:
                part.close_log()
                for listener in part.listeners:
                    listener.close()
        return mine


def _check(servers: dict[str, Settings]) -> None:
    complaints = []
    if 2 * sum(settings.workers for settings in servers.values()) > ROWS:
        complaints.append(f'workers: more than {ROWS // 2} over all servers; a reload needs room for twice as many')
    owners: dict[Address, str] = {}
    for name, settings in servers.items():
        shortage = allow_descriptors(settings.pool_size)
        if shortage:
            complaints.append(
                f'[server:{name}] pool_size: {settings.pool_size} connections need {shortage} descriptors more than'
                ' the hard limit of this process allows (ulimit -n -H)'
            )
        if settings.max_rss and not _is_installed('psutil'):
            complaints.append(f'[server:{name}] max_rss: psutil is needed, and not installed')
        for address in settings.bind:
            if address.port or address.scheme != 'tcp':
                if address in owners:
                    complaints.append(f'bind: {address} is both {owners[address]!r} and {name!r}')
                owners[address] = name
    if complaints:
        raise ConfigError(*complaints)


def _is_installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    if not (settings.ssl_cert_file or settings.ssl_key_file or settings.ssl_ca_file):
        return None
    from prefork.net import tls  # not without TLS: ssl is the largest import there is

    return tls.make_context(settings)


class Sockets:
    """The listeners that the master holds, by what was asked for: a reload keeps those that it asks for again."""

    __slots__ = ('_open',)

    def __init__(self) -> None:
        self._open: dict[ListenerKey, Listener] = {}

    def open(self, site: Site) -> list[Listener]:
        """Give ``site`` its listeners, and return those that are new.  Raises BindError, having opened none."""
        opened: dict[ListenerKey, Listener] = {}
        wanted = {name: _keys(name, part.settings.bind) for name, part in site.parts.items()}
        try:
            for name, part in site.parts.items():
                for key in wanted[name]:
                    if key not in self._open:
                        opened[key] = open_listener(key[0], part.settings)
        except BindError:
            _discard(opened.values())
            raise
        kept = self._open.keys() & {key for keys in wanted.values() for key in keys}
        self._open.update(opened)
        for name, part in site.parts.items():
            part.listeners = [self._open[key] for key in wanted[name]]
            for key in kept.intersection(wanted[name]):
                self._open[key].adjust(part.settings)
        return list(opened.values())

    def keep(self, wanted: set[Listener]) -> None:
        """Close all but the ``wanted`` ones."""
        unwanted = {key: listener for key, listener in self._open.items() if listener not in wanted}
        for key in unwanted:
            del self._open[key]
        _discard(unwanted.values())

    def __iter__(self) -> Iterator[Listener]:
        return iter(list(self._open.values()))


def _keys(server: str, addresses: Iterable[Address]) -> list[ListenerKey]:
    """What makes a listener the same one in two configurations.

    An address is one wherever it stands.  Port 0 is as many as there are of it, each server having its own.
    """
    keys: list[ListenerKey] = []
    for address in addresses:
        if address.scheme == 'tcp' and not address.port:
            keys.append((address, server, sum(key[0] == address for key in keys)))
        else:
            keys.append((address, '', 0))
    return keys


def _discard(listeners: Iterable[Listener]) -> None:
    """Let no new connection in, and close.  Those that are complete are for the workers that have a listener too.

    A listener that was given to us may go on elsewhere, and is only closed.
    """
    for listener in listeners:
        if listener.address.scheme == 'tcp' and not listener.adopted:
            linux.refuse_new_connections(listener.socket)
        listener.unlink()
        listener.close()
