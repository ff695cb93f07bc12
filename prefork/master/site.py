"""What the processes of one generation are given: options, listeners, TLS, logs and the way to the application."""

from __future__ import annotations

import os

from prefork import logs
from prefork.errors import ConfigError
from prefork.logs import logger
from prefork.master.generation import Plan
from prefork.master.orders import Preload
from prefork.scoreboard import ROWS
from prefork.worker.duty import open_roster
from prefork.worker.pool import allow_descriptors
from prefork.worker.spool import why_not

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import WSGIApplication

    from prefork.master.privileges import Identity
    from prefork.net.listener import Listener
    from prefork.net.tls import Contexts
    from prefork.settings import Address, Settings
    from prefork.worker.duty import Roster

ERROR_LOG = ''
"""The name of the error log among the logs of a site: no server has it."""


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

    __slots__ = ('access_log', 'contexts', 'index', 'listeners', 'roster', 'settings')

    def __init__(self, index: int, settings: Settings, contexts: Contexts | None) -> None:
        self.index = index
        """Its place in the configuration, which is how the scoreboard names it."""
        self.settings = settings
        self.contexts = contexts
        """TLS, where it is spoken."""
        self.listeners: list[Listener] = []
        self.access_log: int | None = None
        """A descriptor, or None."""
        self.roster: Roster | None = None
        """Who of its workers is on duty, where they don't all listen."""

    def close_roster(self) -> None:
        """In this process, where nobody asks for it any more."""
        if self.roster is not None:
            self.roster.close()

    def close_log(self) -> None:
        if self.access_log is not None and self.access_log > logs.STDERR:
            os.close(self.access_log)
        self.access_log = None


class Site:
    """One deployment made real, in three steps that the master takes when it starts and when it reloads.

    The constructor checks whatever needs neither a socket nor a file of ours to be opened: it raises ConfigError and
    leaves nothing behind.  Then :meth:`open_logs` gives it its logs, and :meth:`.Sockets.open` its listeners.
    """

    __slots__ = ('_identity', '_settled', 'deployment', 'error_log', 'parts', 'warnings')

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.error_log = logs.STDERR
        """A descriptor."""
        self._identity = _identity(deployment.settings)
        self._settled = False
        _check(deployment.servers)
        self.warnings = tuple(_warnings(deployment.servers))
        """Sentences for the operator about what will not work, though the rest will."""
        self.parts = {
            name: Part(index, settings, _contexts(settings))
            for index, (name, settings) in enumerate(deployment.servers.items())
        }

    def plan(self, *, forks_from_molds: bool) -> Plan:
        """What the supervisor needs to know of it."""
        settings = self.deployment.settings
        preload = Preload(settings.preload) if forks_from_molds else Preload.NO_MOLD
        workers = {name: part.settings.workers for name, part in self.parts.items()}
        return Plan(workers, settings.load_timeout, settings.graceful_timeout, preload)

    def keep_sessions(self, earlier: Site) -> None:
        """Let the TLS sessions go on that clients of ``earlier`` have with a server of the same name."""
        for name, part in self.parts.items():
            if part.contexts and name in earlier.parts and (contexts := earlier.parts[name].contexts):
                part.contexts.keep_sessions(contexts)

    def settle(self) -> None:
        """In molds and workers, before they load: be who, and where, the application runs as.  Raises ConfigError.

        What a mold's application changes of that later is left to the workers that are forked from it.
        """
        settings = self.deployment.settings
        if self._settled or (self._identity is None and settings.umask is None and not settings.chdir):
            return
        from prefork.master import privileges

        privileges.settle(settings, self._identity)
        self._settled = True

    def give_away(self, listener: Listener) -> None:
        """Let a unix socket belong to whom the application runs as."""
        if self._identity is not None:
            try:
                listener.give_to(self._identity.uid, self._identity.gid)
            except OSError as error:
                logger.warning('%s is not given to %s: %s', listener, self._identity, error.strerror or error)

    # --- logs -----------------------------------------------------------------------------------------------------

    def open_logs(self) -> None:
        """Open the error log and the access logs.  Raises ConfigError; then none of them is open."""
        path = self.deployment.settings.error_log
        try:
            if path != '-':
                self.error_log = _open_log('error_log', os.devnull if path == 'off' else path) or logs.STDERR
            for part in self.parts.values():
                part.access_log = _open_log('access_log', part.settings.access_log)
        except ConfigError:
            self.close_logs()
            raise

    def log_here(self) -> None:
        """Have this process write its own log lines to the error log, once that is open."""
        logs.setup(self.deployment.settings, self.error_log)

    def take_standard_error(self) -> None:
        """Have what this process and its programs write to standard error be in the error log, too."""
        os.dup2(self.error_log, logs.STDERR)

    def has_standard_error(self) -> bool:
        return self.error_log > logs.STDERR and os.path.sameopenfile(self.error_log, logs.STDERR)

    def log_files(self) -> dict[str, str]:
        """The paths of the logs that are files, by name: ERROR_LOG, or the server whose access log it is."""
        paths = {ERROR_LOG: self.deployment.settings.error_log}
        paths.update((name, part.settings.access_log) for name, part in self.parts.items())
        return {name: path for name, path in paths.items() if path not in ('-', 'off')}

    def replace_log(self, name: str, new: int) -> None:
        """Write the log ``name``, which is a file, to the file ``new`` from now on, in this process."""
        descriptor = self.error_log if name == ERROR_LOG else self.parts[name].access_log
        if descriptor is None:
            return
        if name == ERROR_LOG and self.has_standard_error():
            logs.replace(logs.STDERR, new)
        logs.replace(descriptor, new)

    def close_logs(self) -> None:
        if self.error_log > logs.STDERR:
            os.close(self.error_log)
        self.error_log = logs.STDERR
        for part in self.parts.values():
            part.close_log()

    # --- listeners ------------------------------------------------------------------------------------------------

    def open_rosters(self) -> None:
        """Once the listeners are open: let the workers that there will be share the duty to accept."""
        for part in self.parts.values():
            part.roster = open_roster(part.listeners, part.settings.workers)

    def close_rosters(self) -> None:
        for part in self.parts.values():
            part.close_roster()

    def listeners(self) -> set[Listener]:
        return {listener for part in self.parts.values() for listener in part.listeners}

    def keep_only(self, server: str) -> Part:
        """In a worker of ``server``: close what belongs to other servers."""
        mine = self.parts[server]
        for part in self.parts.values():
            if part is not mine:
                part.close_log()
                part.close_roster()
                for listener in part.listeners:
                    listener.close()
        return mine


def _open_log(option: str, path: str) -> int | None:
    try:
        return logs.open_file(path)
    except OSError as error:
        raise ConfigError(f'{option}: {path}: {error.strerror or error}') from error


def _check(servers: dict[str, Settings]) -> None:
    complaints = _check_service(servers)
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


def _warnings(servers: dict[str, Settings]) -> Iterator[str]:
    for name, settings in servers.items():
        if reason := why_not(settings.spool_dir):
            yield (
                f'[server:{name}] spool_dir: {settings.spool_dir}: {reason};'
                f' bodies of more than body_buffer = {settings.body_buffer} bytes cannot be kept'
            )


def _check_service(servers: dict[str, Settings]) -> list[str]:
    settings, *_ = servers.values()
    complaints = []
    if settings.chdir and not os.path.isdir(settings.chdir):
        complaints.append(f'chdir: {settings.chdir} is not a folder')
    if not settings.daemon:
        return complaints
    if os.getpid() == 1:
        complaints.append('daemon: this is process 1, with which everything else ends')
    paths = {'error_log': settings.error_log}
    paths.update((f'[server:{name}] access_log', each.access_log) for name, each in servers.items())
    for name, path in paths.items():
        if path == '-':
            complaints.append(f'{name}: a daemon has no terminal to log to; set a path, or off')
    return complaints


def _identity(settings: Settings) -> Identity | None:
    if not (settings.user or settings.group):
        return None
    from prefork.master import privileges

    return privileges.identity(settings)


def _is_installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def _contexts(settings: Settings) -> Contexts | None:
    if not (settings.ssl_cert_file or settings.ssl_key_file or settings.ssl_ca_file or settings.ssl_sni):
        return None
    from prefork.net import tls  # not without TLS: ssl is the largest import there is

    return tls.Contexts(settings)
