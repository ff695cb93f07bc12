"""The embeddable server: one worker in a thread of its caller, without a fork and without signals.

    server = Server('api', app, host='127.0.0.1', port=0)
    server.start()
    print(server.host, server.port)
    server.stop()
    server.wait()
    server.close()

It is what OpenStack's ``wsgi.Server`` was to its services, on prefork's own engine.
"""

from __future__ import annotations

import os
import threading

from prefork import logs
from prefork.errors import BindError, ConfigError
from prefork.logs import logger
from prefork.net import listener as listeners
from prefork.settings import BY_NAME, Address, Settings
from prefork.worker.backlog import Backlog
from prefork.worker.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from prefork.worker.gateway import WSGIApplication


class Server:
    """Serves a WSGI application on one address.

    ``name`` is for the logs; ``app`` may be None as long as ``start`` isn't called.  ``port`` 0 takes a free port, and
    a ``host`` that begins with ``unix:`` is the path of a unix socket.  ``pool_size`` is the most connections at once,
    ``backlog`` how many more the kernel keeps, ``use_ssl`` asks for TLS with ``ssl_cert_file`` and ``ssl_key_file``,
    ``max_url_len`` is the longest request target in bytes.  Every other option of ``[server:NAME]`` can be given by its
    name, with a value of its type: ``keep_alive=False``, ``client_socket_timeout=5``.

    The address is bound when the object is made, so that ``host`` and ``port`` are known before ``start``.  Raises
    BindError where it can't be had, and ConfigError for options that make no sense.
    """

    def __init__(
        self,
        name: str,
        app: WSGIApplication | None,
        host: str = '0.0.0.0',
        port: int = 0,
        pool_size: int | None = None,
        backlog: int = 128,
        use_ssl: bool = False,
        max_url_len: int | None = None,
        **options: Any,
    ) -> None:
        if backlog < 1:
            raise ConfigError('the backlog must be more than 0')
        unknown = options.keys() - BY_NAME.keys()
        if unknown:
            raise ConfigError(f'no such option: {", ".join(sorted(unknown))}')
        address = Address('unix', host[len('unix:') :], 0) if host.startswith('unix:') else Address('tcp', host, port)
        options = {'access_log': 'off', **options, 'bind': (address,), 'backlog': backlog}
        if pool_size:
            options['pool_size'] = pool_size
        if max_url_len is not None:
            options['max_url_len'] = max_url_len
        self.name = name
        self.app = app
        self.settings = Settings(options)
        if contradictions := self.settings.contradictions():
            raise ConfigError(*(f'{option}: {problem}' for option, problem in contradictions))
        try:
            self._listener = listeners.open_listener(address, self.settings)
        except BindError:
            logger.error('could not bind to %s', address)
            raise
        self._listener.tls = use_ssl  # the files alone don't ask for it: services share one set of options
        self.host: str = self._listener.address.host
        self.port: int = self._listener.address.port
        self._loop: Loop | None = None
        self._thread: threading.Thread | None = None
        logger.info('%s listening on %s', name, self._listener.address)

    @property
    def pool_size(self) -> int:
        """The connections that may be open at once: 0 while the server is stopped."""
        return self.settings.pool_size if self._loop is not None else 0

    @property
    def socket(self) -> socket.socket:
        """The listening socket, to look at its options; it is the server's to accept from and to close."""
        return self._listener.socket

    def start(self) -> None:
        """Serve, in a thread of its own.  Raises ConfigError where the files for TLS are missing or wrong."""
        if self._thread is not None:
            raise RuntimeError(f'{self.name} is started already')
        if self.app is None:
            raise RuntimeError(f'{self.name} has no application to serve')
        copy = self._listener.duplicate()
        try:
            if copy.tls:
                self._wrap(copy)
            descriptor = logs.open_file(self.settings.access_log)
        except Exception:
            copy.close()
            logger.error('failed to start %s on %s', self.name, self._listener)
            raise
        log = None if descriptor is None else logs.AccessLog(descriptor, self.settings.access_log_format)
        self._loop = Loop(self.app, [copy], self.settings, access_log=log)
        arguments = (self._loop, descriptor)
        self._thread = threading.Thread(target=_serve, args=arguments, name=f'prefork-{self.name}', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no new connections, and close those that are idle; the requests in progress go on.  Never fails."""
        logger.info('stopping %s', self.name)
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(lambda: loop.drain(self.settings.graceful_timeout, Backlog.LEAVE))

    def wait(self) -> None:
        """Block until the server has stopped and its last request is answered, or ``graceful_timeout`` has passed."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        logger.info('%s has stopped', self.name)

    def reset(self) -> None:
        """Make ready for another ``start``: waits until the last one has ended."""
        if self._loop is None:
            self.wait()

    def close(self) -> None:
        """Give the address back.  The server can't be started again."""
        self._listener.close()

    def _wrap(self, listener: listeners.Listener) -> None:
        from prefork.net import tls  # not without TLS: ssl is the largest import there is

        tls.check_files(self.settings)
        if not self.settings.ssl_cert_file or not self.settings.ssl_key_file:
            raise ConfigError('TLS needs both ssl_cert_file and ssl_key_file')
        listeners.wrap(listener, tls.make_context(self.settings))


def _serve(loop: Loop, log_descriptor: int | None) -> None:
    try:
        loop.run()
    finally:
        if log_descriptor is not None and log_descriptor != logs.STDOUT:
            os.close(log_descriptor)
