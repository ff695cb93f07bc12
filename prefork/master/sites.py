"""Which generation has which site, and the sockets, logs and pidfile that the master holds for them."""

from __future__ import annotations

import os

from prefork import logs
from prefork.logs import logger
from prefork.master.site import Deployment, Site
from prefork.master.sockets import Sockets
from prefork.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any
    from wsgiref.types import WSGIApplication

    from prefork.master.activation import Activation
    from prefork.master.children import Child
    from prefork.master.orders import Key
    from prefork.master.pidfile import Pidfile
    from prefork.worker.duty import Roster


class Sites:
    """The sites of the generation that serves, and of the one that may come to serve."""

    __slots__ = ('_arriving', '_by_generation', '_logging', '_pidfile', '_proven', '_shrunk', '_sockets')

    def __init__(self, activation: Activation | None = None) -> None:
        self._sockets = Sockets(activation)
        self._by_generation: dict[int, Site] = {}
        self._arriving: Site | None = None
        """For the generation that the supervisor is to start next."""
        self._proven = 0
        """The generation that took over last."""
        self._shrunk: set[int] = set()
        """Generations with a listener that their successor hasn't."""
        self._logging: Site | None = None
        """Whose error log this process writes to."""
        self._pidfile: Pidfile | None = None

    def open(self, site: Site) -> None:
        """Open what ``site`` needs, for the generation that begins next.

        Raises BindError or ConfigError; then nothing is open that wasn't before, and what serves goes on as it did.
        """
        try:
            if site is not self._logging:
                site.open_logs()
            new = self._sockets.open(site)
            self._move_pidfile(site.deployment.settings.pidfile)
            site.open_rosters()
        except Exception:
            if site is not self._logging:
                site.close_logs()
            self._close_unused()
            raise
        # What serves is left as it is, certificates too: a generation that comes to nothing has changed nothing, and
        # its predecessor's workers start with what they started with before.
        for earlier in self._by_generation.values():
            site.keep_sessions(earlier)
        self._arriving = site
        for listener in new:
            logger.info('listening on %s', listener)

    def log_to(self, site: Site) -> None:
        """Open the logs of the first ``site``, and log there what comes before its sockets are open, too.

        Raises ConfigError.
        """
        site.open_logs()
        self._log_here(site)

    def _log_here(self, site: Site) -> None:
        if self._logging is not None and self._logging.has_standard_error():
            site.take_standard_error()
        site.log_here()
        self._logging = site

    def of(self, generation: int) -> Site:
        """What the generation serves.  One that replaces a dead mold's serves what that one did."""
        if generation not in self._by_generation:
            site = self._arriving or self._by_generation[max(self._by_generation)]
            self._by_generation[generation] = site
            self._arriving = None
        return self._by_generation[generation]

    def ready_url(self, key: Key) -> str:
        """What the worker has to answer before it serves: '' for nothing, as in a generation that has proved itself."""
        server, generation, _ = key
        return '' if generation == self._proven else self.of(generation).parts[server].settings.ready_url

    def commit(self, generation: int) -> None:
        """The generation has taken over from all others."""
        self._proven = generation
        self._log_here(self._by_generation[generation])
        kept = self._by_generation[generation].listeners()
        others = [number for number in self._by_generation if number != generation]
        self._shrunk.update(number for number in others if self._by_generation[number].listeners() - kept)
        for number in others:
            self.discard(number)

    def discard(self, generation: int) -> None:
        """The generation is given up, or has been taken over from: close what no other has."""
        site = self._by_generation.pop(generation, None)
        if site is not None and site not in self._by_generation.values():
            site.close_logs()
            site.close_rosters()
        self._close_unused()

    def reopen_logs(self, children: Iterable[Child]) -> None:
        """Write each log that is a file to what is at its path now, here and in ``children``; a new file, if need be.

        What can't be opened is written to where it was.  Molds pass on what they have: whoever is forked by one that
        hasn't read the message yet gets a message of its own.
        """
        opened: dict[str, int | None] = {}
        for site in self._each():
            for name, path in site.log_files().items():
                if (new := _open_once(path, opened)) is not None:
                    site.replace_log(name, new)
        for child in children:
            for name, path in child.log_files().items():
                if (new := _open_once(path, opened)) is not None:
                    _pass_on(child, name, new)
        for new in opened.values():
            if new is not None:
                os.close(new)

    # --- from one program to the next -----------------------------------------------------------------------------

    def bequeath(self) -> dict[str, Any]:
        """For this process after an exec, in the terms of JSON: all that its children still need."""
        assert self._logging is not None
        servers = {name: part.settings.access_log for name, part in self._logging.parts.items()}
        settings = self._logging.deployment.settings
        return {
            'sockets': self._sockets.bequeath(),
            'generation': self._proven,
            'shrunk': sorted(self._shrunk),
            'pidfile': None if self._pidfile is None else self._pidfile.bequeath(),
            'error_log': [settings.error_log, settings.log_level, self._logging.error_log],
            'access_logs': servers,
        }

    def inherit(self, legacy: dict[str, Any]) -> Site:
        """Hold what :meth:`bequeath` told of; a site with what is known of that of the workers that there are.

        Nothing can be started with it, and nothing reads its settings but to know its logs.
        """
        path, level, descriptor = legacy['error_log']
        common = {'bind': (), 'workers': 1, 'pool_size': 1, 'error_log': path, 'log_level': level}
        servers = {name: Settings({**common, 'access_log': log}) for name, log in legacy['access_logs'].items()}
        site = Site(Deployment(servers, _nothing))
        site.error_log = descriptor
        next(iter(site.parts.values())).listeners = self._sockets.inherit(legacy['sockets'])
        self._by_generation[legacy['generation']] = site
        self._proven = legacy['generation']
        self._shrunk.update(legacy['shrunk'])
        if legacy['pidfile'] is not None:
            from prefork.master.pidfile import Pidfile

            self._pidfile = Pidfile.inherit(legacy['pidfile'])
        self._log_here(site)
        return site

    def _each(self) -> list[Site]:
        """The sites, each once: several generations may have the same."""
        return list(dict.fromkeys(self._by_generation.values()))

    def rosters(self) -> list[Roster]:
        """Those of the generation that has taken over."""
        parts = self._by_generation[self._proven].parts.values()
        return [part.roster for part in parts if part.roster is not None]

    def roster(self, key: Key) -> Roster | None:
        """That of the worker's server."""
        server, generation, _ = key
        return self.of(generation).parts[server].roster

    def is_last_to_accept(self, generation: int) -> bool:
        """Whether the kernel may hold connections that only workers of this generation can accept."""
        return generation in self._shrunk

    def close_listeners(self) -> None:
        """Let no new connection in, and close the master's copies."""
        for site in self._each():
            site.close_rosters()
        self._sockets.refuse()
        self._sockets.keep(set())

    def _move_pidfile(self, path: str) -> None:
        """Have the pidfile be ``path``; '' is none.  Raises ConfigError, and leaves it where it was."""
        wanted = os.path.abspath(path) if path else ''
        if wanted == (self._pidfile.path if self._pidfile is not None else ''):
            return
        new = None
        if wanted:
            from prefork.master.pidfile import Pidfile

            new = Pidfile(wanted)
        self.remove_pidfile()
        self._pidfile = new

    def remove_pidfile(self) -> None:
        """The master ends, or has another one."""
        if self._pidfile is not None:
            self._pidfile.remove()
            self._pidfile = None

    def close_in_child(self, mine: Site) -> None:
        """In a fork of the master: close what belongs to it, and to other sites alone."""
        if self._pidfile is not None:
            self._pidfile.close()
        self._log_here(mine)
        for site in self._each():
            if site is not mine:
                site.close_logs()
                site.close_rosters()
        for listener in set(self._sockets).difference(mine.listeners()):
            listener.close()
        self._sockets.close_given()

    def _close_unused(self) -> None:
        used = [*self._by_generation.values(), *([self._arriving] if self._arriving is not None else [])]
        self._sockets.keep({listener for site in used for listener in site.listeners()})


def _nothing(server: str) -> WSGIApplication:
    raise LookupError(server)


def _open_once(path: str, opened: dict[str, int | None]) -> int | None:
    """The file's descriptor in ``opened``, which gets it, or None and a complaint, the first time."""
    if path not in opened:
        try:
            opened[path] = logs.open_file(path)
        except OSError as error:
            opened[path] = None
            logger.error('%s cannot be reopened; its old file is written to: %s', path, error.strerror or error)
    return opened[path]


def _pass_on(child: Child, name: str, new: int) -> None:
    try:
        child.channel.send('reopen', [os.dup(new)], log=name)
    except OSError as error:  # no descriptor is free, and the others aren't to suffer for it
        logger.error('process %d still writes to its old logs: %s', child.pid, error.strerror)
