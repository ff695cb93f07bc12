"""PEP 3333: from a request to the application, and what comes of its result.

:meth:`Gateway.respond` runs in the calling thread, which owns the connection until it returns.  It never raises: this
is the one frame that whatever an application throws ends in.
"""

from __future__ import annotations

import sys
from time import gmtime, monotonic, time

from prefork import __version__
from prefork.errors import RequestTimeout
from prefork.logs import logger
from prefork.net.origin import TRUSTED, set_scheme
from prefork.worker.file_wrapper import FileWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeAlias

    from prefork.net.listener import Listener
    from prefork.net.preface import Preface
    from prefork.net.proxy import TrustedProxies
    from prefork.settings import Settings
    from prefork.worker.exchange import Exchange

    WSGIApplication: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_DAYS = ('Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun')
_MONTHS = ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec')


class Gateway:
    """One server's application and what its responses share."""

    __slots__ = (
        '_app',
        '_base',
        '_date',
        '_date_begin',
        '_date_end',
        '_proxies',
        '_scheme_key',
        'behind_proxies',
        'persistent',
    )

    def __init__(self, app: WSGIApplication, settings: Settings, multiprocess: bool) -> None:
        self._app = app
        self._scheme_key = settings.secure_proxy_ssl_header
        self._proxies = _trusted_proxies(settings)
        self.behind_proxies = self._proxies is not None or bool(self._scheme_key)
        """Whether requests may be other clients' than who sends them, which ``see_through`` finds out."""
        self.persistent = settings.keep_alive
        """Whether connections persist: the option, until the worker drains."""
        self._date = b''
        self._date_begin = self._date_end = 0.0
        self._base: dict[str, Any] = {
            'SCRIPT_NAME': '',
            'SERVER_SOFTWARE': f'prefork/{__version__}',
            'wsgi.version': (1, 0),
            'wsgi.url_scheme': 'http',
            'wsgi.errors': sys.stderr,
            'wsgi.multithread': settings.threads > 1,
            'wsgi.multiprocess': multiprocess,
            'wsgi.run_once': False,
            'wsgi.file_wrapper': FileWrapper,
            'wsgi.input_terminated': True,
        }

    def base_environ(self, listener: Listener) -> dict[str, Any]:
        """What all requests of a listener have in common."""
        environ = self._base.copy()
        address = listener.address
        on_tcp = address.scheme == 'tcp'
        environ['SERVER_NAME'] = address.host if on_tcp else 'localhost'
        environ['SERVER_PORT'] = str(address.port) if on_tcp else '80'
        if listener.tls:
            set_scheme(environ, 'https')
        return environ

    def client_environ(self, address: str, port: int) -> dict[str, Any]:
        """What the requests of a connection have of their own; ``address`` is '' for the peer on a unix socket."""
        environ: dict[str, Any] = {'REMOTE_ADDR': address, 'REMOTE_PORT': str(port)}
        if self._proxies is not None:
            environ[TRUSTED] = self._proxies.trusts(address)
        return environ

    def introduce(self, own: dict[str, Any], preface: Preface) -> dict[str, Any]:
        """``own`` of a connection whose proxy has said for whom it speaks; without that, it stays as it is."""
        if preface.local:
            return own
        if preface.client is None:
            environ = {**own, TRUSTED: False}  # the proxy is trusted, which goes for nobody whom it doesn't name
        else:
            environ = own | self.client_environ(*preface.client)
        if preface.tls:
            set_scheme(environ, 'https')
        return environ

    def see_through(self, environ: dict[str, Any]) -> None:
        """Make ``environ`` that of the client behind the proxies.  Raises ProtocolError where they contradict."""
        scheme = self._claimed_scheme(environ) if self._scheme_key else ''
        if self._proxies is not None:
            self._proxies.apply(environ, scheme)
        elif scheme:
            set_scheme(environ, scheme)

    def respond(self, exchange: Exchange) -> None:
        """Call the application for the exchange's request and send all of the response, or queue it there.

        In the application, and nowhere else, a RequestTimeout may come up whenever the time is over: each ``try`` that
        has the application in it is within another, for the one that arrives when the first has been left.
        """
        result: Any = None
        try:
            try:
                exchange.since = monotonic()  # enter() and leave(), without their calls
                result = self._app(exchange.connection.environ, exchange.start_response)
                exchange.since = 0.0
                if exchange.claimed:
                    exchange.settle()
                kind = type(result)
                if kind is list or kind is tuple:
                    exchange.send_whole(result)
                elif kind is FileWrapper:
                    exchange.send_file(result)
                else:
                    exchange.send_each(result)
            except BaseException as error:
                exchange.leave()
                exchange.fail(error)
        except RequestTimeout:
            pass  # somebody else has the connection, and has told the client
        exchange.complete = not exchange.ended
        if type(result) is not list:
            self._close(exchange, result)

    def _close(self, exchange: Exchange, result: Any) -> None:
        try:
            try:
                close = getattr(result, 'close', None)
                if close is not None:
                    exchange.enter()
                    close()
                    exchange.leave()
            except BaseException:
                exchange.leave()
                logger.exception('%s: close() of the response failed', exchange.connection.line)
        except RequestTimeout:
            pass

    def date(self) -> bytes:
        """The Date field (RFC 9110 6.6.1), made once a second."""
        now = time()
        if not self._date_begin <= now < self._date_end:
            self._date_begin = float(int(now))
            self._date_end = self._date_begin + 1
            self._date = _date_field(now)
        return self._date

    def _claimed_scheme(self, environ: dict[str, Any]) -> str:
        """What the field of secure_proxy_ssl_header says: to whom proxies are trusted, those alone."""
        if not environ.get(TRUSTED, True):
            environ.pop(self._scheme_key, None)
        scheme = environ.get(self._scheme_key, '').lower()
        return scheme if scheme in ('http', 'https') else ''


def _trusted_proxies(settings: Settings) -> TrustedProxies | None:
    if not settings.trusted_proxies:
        return None
    from prefork.net.proxy import TrustedProxies  # not without proxies

    return TrustedProxies(settings.trusted_proxies)


def _date_field(now: float) -> bytes:
    """RFC 9110 5.6.7: IMF-fixdate, which is English whatever the locale says."""
    year, month, day, hour, minute, second, weekday, *_ = gmtime(now)
    text = f'{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year} {hour:02}:{minute:02}:{second:02} GMT'
    return f'Date: {text}\r\n'.encode()
