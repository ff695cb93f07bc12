"""A composite that gives each request to the application of its path: ``egg:Paste#urlmap`` without Paste.

    [composite:main]
    use = egg:Paste#urlmap
    / = home
    /v2 = api
    domain admin.example.com port 8443 /v2 = admin

The longest path wins, entries with a domain or a port count before those without.  The path that matched moves from
PATH_INFO to SCRIPT_NAME (PEP 3333, "environ Variables").
"""

from __future__ import annotations

import re

from prefork.deploy.complaints import Complaints
from prefork.errors import IniParseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from prefork.deploy.loaders import ReferenceLoader

    Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

_SLASHES = re.compile('//+')


class Pattern:
    """What a request has to match: ``host`` and ``port``, each '' for any, and ``path`` without a slash at its end."""

    __slots__ = ('host', 'path', 'port')

    def __init__(self, host: str, port: str, path: str) -> None:
        self.host = host
        self.port = port
        self.path = path

    def rank(self) -> tuple[bool, bool, int]:
        """Sorts what is to be tried first to the front."""
        return not self.host, not self.port, -len(self.path)


def parse_pattern(text: str) -> Pattern:
    """``/path``, ``domain HOST /path``, ``domain HOST port PORT /path``...: raises IniParseError for anything else."""
    words = dict.fromkeys(('domain', 'port', 'path'), '')
    rest = iter(text.split())
    for word in rest:
        name, value = ('path', word) if word.startswith('/') else (word.lower(), next(rest, ''))
        if name not in words or words[name] or not value:
            raise _bad_pattern(text)
        words[name] = value
    if not any(words.values()) or not (words['port'] or '0').isdecimal():
        raise _bad_pattern(text)
    return Pattern(words['domain'].lower(), words['port'], _SLASHES.sub('/', words['path']).rstrip('/'))


def _bad_pattern(text: str) -> IniParseError:
    return IniParseError('this is not [domain HOST] [port PORT] /PATH', key=text)


class URLMap:
    """A WSGI application that picks one of several by host and path, else ``not_found``."""

    def __init__(self, applications: Mapping[str, Application], not_found: Application | None = None) -> None:
        """``applications`` are WSGI applications by pattern; raises IniParseError for a bad pattern."""
        entries: dict[tuple[str, str, str], tuple[Pattern, Application]] = {}
        for text, application in applications.items():
            pattern = parse_pattern(text)
            entries[pattern.host, pattern.port, pattern.path] = (pattern, application)  # the last of /a and /a/ counts
        self._entries = sorted(entries.values(), key=lambda entry: entry[0].rank())
        self._by_host = any(pattern.host or pattern.port for pattern, _ in self._entries)
        self._not_found: Application = not_found or _answer_not_found

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get('PATH_INFO', '')
        if '//' in path:
            path = _SLASHES.sub('/', path)
        host, port = _host_and_port(environ) if self._by_host else ('', '')
        for pattern, application in self._entries:
            if (pattern.host and pattern.host != host) or (pattern.port and pattern.port != port):
                continue
            prefix = pattern.path
            if path == prefix or path.startswith(prefix + '/'):
                environ['SCRIPT_NAME'] = environ.get('SCRIPT_NAME', '') + prefix
                environ['PATH_INFO'] = path[len(prefix) :]
                return application(environ, start_response)
        return self._not_found(environ, start_response)


def _host_and_port(environ: Mapping[str, Any]) -> tuple[str, str]:
    """What the client asked for; RFC 9110 7.2 and 4.2: without a port it is that of the scheme."""
    default = '443' if environ.get('wsgi.url_scheme') == 'https' else '80'
    authority = environ.get('HTTP_HOST')
    if not authority:
        return environ.get('SERVER_NAME', '').lower(), environ.get('SERVER_PORT', default)
    host, colon, port = authority.lower().rpartition(':')
    if colon and not port.endswith(']'):  # in [::1] it is one of the address
        return host, port or default
    return authority.lower(), default


def _answer_not_found(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
    body = b'404 Not Found\n'
    start_response('404 Not Found', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]


def urlmap_factory(loader: ReferenceLoader, global_conf: Mapping[str, Any], **local_conf: str) -> URLMap:
    """The composite factory.  ``not_found_app``, local or global, is asked where nothing matches."""
    name = local_conf.pop('not_found_app', None) or global_conf.get('not_found_app')
    complaints = Complaints()
    not_found, applications = None, {}
    if name:
        with complaints:
            not_found = loader.get_app(name, global_conf=global_conf)
    for pattern, app in local_conf.items():
        with complaints:
            parse_pattern(pattern)
        with complaints:
            applications[pattern] = loader.get_app(app, global_conf=global_conf)
    complaints.end()
    return URLMap(applications, not_found)
