"""Which generation has which site, and the sockets and logs that the master holds for them."""

from __future__ import annotations

import os

from prefork import logs
from prefork.errors import ConfigError
from prefork.logs import logger
from prefork.master.site import Sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prefork.master.activation import Activation
    from prefork.master.orders import Key
    from prefork.master.site import Site


class Sites:
    """The sites of the generation that serves, and of the one that may come to serve."""

    __slots__ = ('_arriving', '_by_generation', '_log', '_proven', '_shrunk', '_sockets')

    def __init__(self, activation: Activation | None = None) -> None:
        self._sockets = Sockets(activation)
        self._by_generation: dict[int, Site] = {}
        self._arriving: Site | None = None
        """For the generation that the supervisor is to start next."""
        self._proven = 0
        """The generation that took over last."""
        self._shrunk: set[int] = set()
        """Generations with a listener that their successor hasn't."""
        self._log: logs.DescriptorHandler | None = None

    def open(self, site: Site) -> None:
        """Open what ``site`` needs, for the generation that begins next.

        Raises BindError or ConfigError; then nothing is open that wasn't before, and what serves goes on as it did.
        """
        try:
            new = self._sockets.open(site)
            site.open_logs()
            self.log_to(site)
        except Exception:
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
        """Log where ``site`` wants it from now on.  Raises ConfigError, and logs on as before."""
        settings = site.deployment.settings
        previous = self._log
        try:
            self._log = logs.setup(settings)
        except OSError as error:
            raise ConfigError(f'error_log: {settings.error_log}: {error.strerror or error}') from error
        if previous is not None and previous.descriptor > logs.STDERR:
            os.close(previous.descriptor)

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
        self._close_unused()

    def is_last_to_accept(self, generation: int) -> bool:
        """Whether the kernel may hold connections that only workers of this generation can accept."""
        return generation in self._shrunk

    def close_listeners(self) -> None:
        """Let no new connection in, and close the master's copies."""
        self._sockets.refuse()
        self._sockets.keep(set())

    def close_in_child(self, mine: Site) -> None:
        """In a fork of the master: close what belongs to other sites alone."""
        for site in {id(site): site for site in self._by_generation.values()}.values():
            if site is not mine:
                site.close_logs()
        for listener in set(self._sockets).difference(mine.listeners()):
            listener.close()
        self._sockets.close_given()

    def _close_unused(self) -> None:
        used = [*self._by_generation.values(), *([self._arriving] if self._arriving is not None else [])]
        self._sockets.keep({listener for site in used for listener in site.listeners()})
