"""What ini files use of Paste and PasteDeploy, for where those aren't installed.

``factories.STAND_INS`` says which entry point each factory stands in for; the URL map is in a module of its own.
"""

from __future__ import annotations

import io

from prefork.deploy.complaints import Complaints
from prefork.errors import IniParseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from prefork.deploy.loaders import ReferenceLoader

    Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

TRUSTED = 'prefork.trusted_proxy'
"""The environ key that the server sets to true where ``trusted_proxies`` has the address of who sent the request."""


# --- egg:Paste#cascade --------------------------------------------------------------------------------------------


class Cascade:
    """Asks one application after the other, until one answers with a status that isn't ``caught``.

    The last one's answer counts in any case.  Each gets the request as it came, its body included.
    """

    def __init__(self, applications: Sequence[Application], caught: Iterable[int]) -> None:
        self._applications = applications[:-1]
        self._last = applications[-1]
        self._caught = frozenset(caught)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ['wsgi.input']
        if not hasattr(body, 'seek'):  # not our server's, or a middleware's: it can be read once
            body = environ['wsgi.input'] = io.BytesIO(body.read(int(environ.get('CONTENT_LENGTH') or 0)))
        start = body.tell()
        for application in self._applications:
            attempt = _Attempt(self._caught)
            result = application(environ.copy(), attempt.start_response)
            answer = attempt.answer(result, start_response)
            if answer is not None:
                return answer
            body.seek(start)
        return self._last(environ, start_response)


class _Attempt:
    """One application's ``start_response``, held back until its status is known."""

    def __init__(self, caught: frozenset[int]) -> None:
        self._caught = caught
        self._started: tuple[Any, ...] = ()
        self._written: list[bytes] = []

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        self._started = status, headers, exc_info
        return self._written.append

    def answer(self, result: Iterable[bytes], start_response: Any) -> Iterable[bytes] | None:
        """The body to send, with ``start_response`` called; None where the status is caught, and the result closed."""
        blocks = iter(result)
        first: list[bytes] = []
        if not self._started:  # PEP 3333: it may wait until the first block is asked for
            first = [block for _, block in zip(range(1), blocks, strict=False)]
        if self._started and int(self._started[0][:3]) in self._caught:
            _close(result)
            return None
        if self._started:
            start_response(*self._started)
        return _Rest([*self._written, *first], blocks, result)


class _Rest:
    """What an application has produced already, and then the rest of its result."""

    def __init__(self, begun: list[bytes], blocks: Iterable[bytes], result: Iterable[bytes]) -> None:
        self._blocks = _chain(begun, blocks)
        self._result = result

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks

    def close(self) -> None:
        _close(self._result)


def _chain(begun: list[bytes], blocks: Iterable[bytes]) -> Iterator[bytes]:
    yield from begun
    yield from blocks


def _close(result: Iterable[bytes]) -> None:
    close = getattr(result, 'close', None)
    if close is not None:
        close()


def cascade_factory(
    loader: ReferenceLoader, global_conf: Mapping[str, Any], catch: str = '404', **local_conf: str
) -> Cascade:
    """The composite factory: ``app1``, ``app2``… in the order of their names; ``catch`` has statuses to go on at."""
    complaints = Complaints()
    applications = []
    caught = catch.replace(',', ' ').split()
    for status in caught:
        if not (status.isascii() and status.isdigit() and len(status) == 3):
            with complaints:
                raise IniParseError(f'{status!r} is not a status', key='catch')
    for key in sorted(local_conf):
        with complaints:
            if not key.startswith('app'):
                raise IniParseError('a cascade takes keys that begin with app, and catch', key=key)
            applications.append(loader.get_app(local_conf[key], global_conf=global_conf))
    complaints.end()
    if not applications:
        raise IniParseError('a cascade needs at least app1')
    return Cascade(applications, map(int, caught))


# --- egg:PasteDeploy#config ---------------------------------------------------------------------------------------


def config_filter(app: Application, global_conf: Mapping[str, Any], **local_conf: str) -> Application:
    """The filter-app factory: the configuration is in ``environ['paste.config']`` for whoever is behind it."""
    config = {**global_conf, **local_conf}

    def with_config(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ['paste.config'] = config.copy()
        return app(environ, start_response)

    return with_config


# --- egg:PasteDeploy#prefix ---------------------------------------------------------------------------------------


class Prefix:
    """Serves ``app`` below ``prefix``, and as the host, port and scheme that its clients know it by.

    X-Forwarded-For, -Proto, -Host and -Port are the server's to believe, by ``trusted_proxies``.  What PasteDeploy's
    filter also knows, ``translate_forwarded_server`` takes of a trusted proxy alone: the proxy's own name and -Scheme.
    """

    def __init__(
        self, app: Application, prefix: str, translate_forwarded_server: bool, force_port: str | None, scheme: str
    ) -> None:
        self._app = app
        self._prefix = prefix.rstrip('/')
        self._translate = translate_forwarded_server
        self._force_port = force_port
        self._scheme = scheme

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._translate and environ.get(TRUSTED):
            _take_forwarded(environ)
        if self._force_port is not None:
            _force_port(environ, self._force_port)
        if self._scheme:
            environ['wsgi.url_scheme'] = self._scheme
        path = environ.get('PATH_INFO', '')
        if self._prefix and (path == self._prefix or path.startswith(self._prefix + '/')):
            path = path[len(self._prefix) :]
        environ['PATH_INFO'] = path or '/'
        environ['SCRIPT_NAME'] = self._prefix
        return self._app(environ, start_response)


def _force_port(environ: dict[str, Any], forced: str) -> None:
    """The port that clients see; '' is the default one of the scheme, which no URL mentions."""
    default = '80' if environ['wsgi.url_scheme'] == 'http' else '443'
    environ['SERVER_PORT'] = forced or default
    host = environ.get('HTTP_HOST', '')
    name, colon, port = host.rpartition(':')
    if colon and port.isdigit():
        host = name
    environ['HTTP_HOST'] = f'{host}:{forced}' if forced else host


def _take_forwarded(environ: dict[str, Any]) -> None:
    server = environ.get('HTTP_X_FORWARDED_SERVER', '').rpartition(',')[2].strip()
    if server:
        environ['SERVER_NAME'] = server
        if 'HTTP_X_FORWARDED_HOST' not in environ:
            environ['HTTP_HOST'] = server
    scheme = environ.get('HTTP_X_FORWARDED_SCHEME', '').rpartition(',')[2].strip().lower()
    if scheme in ('http', 'https') and 'HTTP_X_FORWARDED_PROTO' not in environ:
        environ['wsgi.url_scheme'] = scheme


_TRUE, _FALSE = ('true', 'yes', 'on', 'y', 't', '1'), ('false', 'no', 'off', 'n', 'f', '0')  # as PasteDeploy reads them


def prefix_filter(
    app: Application,
    global_conf: Mapping[str, Any],
    prefix: str = '/',
    translate_forwarded_server: str = 'true',
    force_port: str | None = None,
    scheme: str = '',
) -> Prefix:
    """The filter-app factory."""
    word = translate_forwarded_server.strip().lower()
    if word not in _TRUE + _FALSE:
        raise IniParseError(f'{word!r} is neither true nor false', key='translate_forwarded_server')
    if force_port and not (force_port.isascii() and force_port.isdigit()):
        raise IniParseError(f'{force_port!r} is not a port', key='force_port')
    if prefix and not prefix.startswith('/'):
        raise IniParseError(f'{prefix!r} does not begin with /', key='prefix')
    return Prefix(app, prefix, word in _TRUE, force_port, scheme)
