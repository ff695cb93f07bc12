"""From what the command line asked for to what is served: the effective options, and the application behind them.

The options of ``[server:NAME]`` and the flags on top of them are read here, in the master, without importing any
application code; a source's ``load_app`` imports it, in the mold or in a worker.
"""

from __future__ import annotations

import os
import re
import sys

from prefork.errors import ConfigError
from prefork.objects import import_object
from prefork.settings import MASTER, OPTIONS, Settings, from_text, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from wsgiref.types import WSGIApplication

    Triple = tuple[str, str, str]

FROM_FLAG = 'command line:'
"""The ``where`` of an option that came as a flag."""

HONOURED = ('host', 'port', 'listen', 'threads')
"""What is taken from a section that is written for another server: names that mean the same there as here."""

_LOGGERS = re.compile(r'^\s*\[loggers\]', re.MULTILINE)
_FACTORIES = ('paste.server_factory', 'paste.server_runner')
_WAYS_TO_LISTEN = {'bind': 'bind', 'listen': 'listen', 'host': 'host and port', 'port': 'host and port'}


class Effective:
    """The options that the servers run with, each by its name.

    ``origins`` says, by server and name, where each option that was given came from: ``FILE:LINE`` or its flag.
    ``notices`` are sentences for the log, about what was not taken from the file.
    """

    __slots__ = ('notices', 'origins', 'servers')

    def __init__(self, notices: list[str]) -> None:
        self.servers: dict[str, Settings] = {}
        self.origins: dict[str, dict[str, str]] = {}
        self.notices = notices


# --- where applications come from -------------------------------------------------------------------------------


class IniSource:
    """An ini file; ``variables`` (NAME=VALUE) are global configuration of its application and its server."""

    __slots__ = ('path', 'servers', 'variables')

    def __init__(self, path: str, servers: Sequence[str], variables: dict[str, str]) -> None:
        self.path = os.path.abspath(path)  # a reload finds it wherever the process is by then
        self.servers = tuple(servers)
        self.variables = variables

    def server_options(self) -> tuple[dict[str, list[Triple]], list[str]]:
        """The options of each section that is served, by its name, and notices.

        Those are the sections that were asked for, else main and whatever other says that it is for prefork.
        """
        from prefork import deploy  # here and below: not without an ini file

        _check_exists(self.path)
        sections = deploy.servers(self.path)
        names = list(sections)
        missing = [name for name in self.servers if name not in names]
        if missing:
            raise ConfigError(*(f'{self.path}: there is no [server:{name}]{nearest(name, names)}' for name in missing))
        # A section that says it is another server's isn't read: its variables may be set for that one alone.
        wanted = self.servers or [name for name in names if name == 'main' or _may_be_ours(sections[name])]
        options = {}
        complaints = deploy.Complaints()
        for name in wanted:
            with complaints:
                options[name] = deploy.server_options(self.path, name, self.variables)
        complaints.end()
        if not self.servers:
            options = {name: section for name, section in options.items() if name == 'main' or _is_ours(section)}
        if options:
            return options, []
        notices = []
        if names:
            others = ', '.join(names)
            notices.append(f'{self.path} has no [server:main]: the defaults are used; --server takes {others}')
        return {'main': []}, notices

    def load_app(self, name: str) -> WSGIApplication:
        """The application called ``name``, after the file's own logging configuration where it has one."""
        from prefork import deploy

        _configure_logging(self.path, self.variables)
        app: WSGIApplication = deploy.loadapp(self._uri(), name=name, global_conf=self.variables)
        return app

    def composition(self, name: str) -> list[str]:
        """The tree of what ``load_app`` composes, as indented lines."""
        from prefork import deploy

        return deploy.composition(self._uri(), name=name, global_conf=self.variables)

    def _uri(self) -> str:
        from urllib.parse import quote  # in the mold or a worker: the master needn't carry it

        return f'config:{quote(self.path)}'  # its path ends at its first #, and is unquoted


class CallableSource:
    """A WSGI callable, as ``module:callable``, for those with no ini file."""

    __slots__ = ('spec',)

    def __init__(self, spec: str) -> None:
        self.spec = spec

    def server_options(self) -> tuple[dict[str, list[Triple]], list[str]]:
        return {'main': []}, []

    def composition(self, name: str) -> list[str]:
        return [self.spec]

    def load_app(self, name: str) -> WSGIApplication:
        """Import it, with the current directory first on the path, where the interpreter's ``-m`` has it too."""
        if (here := os.getcwd()) not in sys.path[:1]:
            sys.path.insert(0, here)
        app: WSGIApplication = import_object(self.spec)
        return app


if TYPE_CHECKING:
    Source = IniSource | CallableSource


def _check_exists(path: str) -> None:
    if os.path.exists(path):
        return
    folder = os.path.dirname(path) or os.curdir
    near = nearest(os.path.basename(path), os.listdir(folder) if os.path.isdir(folder) else [])
    hint = '' if path.endswith('.ini') else '; a WSGI callable is named MODULE:CALLABLE'
    raise ConfigError(f'{path}: there is no such file{near}{hint}')


def _configure_logging(path: str, variables: dict[str, str]) -> None:
    """Do what the file's [loggers], [handlers] and [formatters] say, as pserve does.

    They go by :mod:`logging.config`, whose sections interpolate ``here``, ``__file__`` and the variables.
    """
    with open(path, encoding='utf-8-sig') as file:
        text = file.read()
    if not _LOGGERS.search(text):
        return
    import configparser
    import logging.config

    given = {**variables, 'here': os.path.dirname(path), '__file__': path}
    literal = {name: value.replace('%', '%%') for name, value in given.items()}
    # Not strict: a key that is there twice in a section of somebody else's is no reason not to log.
    parser = configparser.ConfigParser(literal, strict=False)
    try:
        parser.read_string(text, path)
        logging.config.fileConfig(parser, disable_existing_loggers=False)
    except Exception as error:  # whatever a handler's constructor raises: it is named by the file
        raise ConfigError(f'{path}: [loggers]: {type(error).__name__}: {error}') from error


# --- options ----------------------------------------------------------------------------------------------------


def effective(source: Source, flags: list[Triple]) -> Effective:
    """The options of the source's servers with the flags on top.

    Raises ConfigError with every complaint there is about them, or IniError where the file itself can't be read.
    """
    sections, notices = source.server_options()
    found = Effective(notices)
    complaints = _for_one_alone(list(sections), flags)
    for server, section in sections.items():
        section, ignored = _for_this_server(section, flags)
        found.notices += ignored
        try:
            found.servers[server] = from_text([*section, *flags])
        except ConfigError as error:
            complaints += error.complaints
        complaints += _several_ways_to_listen(section)
        found.origins[server] = _origins(section, flags)
    complaints = complaints or _disagreements(found)
    if complaints:
        raise ConfigError(*dict.fromkeys(complaints))  # what is wrong with a flag is wrong for each server
    return found


def _for_one_alone(servers: list[str], flags: list[Triple]) -> list[str]:
    """Complaints about flags that can't be meant for several servers."""
    if len(servers) == 1:
        return []
    names = ', '.join(servers)
    return [
        f'{where} {name}: there are the servers {names}; pick one with --server'
        for name, _, where in flags
        if name in ('app', 'bind')
    ]


def _disagreements(found: Effective) -> list[str]:
    """Complaints about options of the one master that two servers give different values."""
    first, *others = found.servers
    return [
        f"{found.origins[other].get(row.name, 'default')}: [server:{other}] {row.name}: it is the master's, and"
        f' [server:{first}] has {row.kind.show(getattr(found.servers[first], row.name))}'
        for other in others
        for row in OPTIONS
        if row.scope == MASTER and getattr(found.servers[other], row.name) != getattr(found.servers[first], row.name)
    ]


def _may_be_ours(written: dict[str, str]) -> bool:
    """Whether a section as it is written may turn out to be ours: whatever it uses is yet to be found out."""
    use = written.get('use', '').strip()
    others = not use or (use.lower().startswith(('egg:', 'call:')) and not _is_prefork(use))
    return 'app' in written or 'get app' in written or not others


def _is_ours(section: list[Triple]) -> bool:
    """Whether a section that isn't main is to be served: it says that it is for prefork, or what it serves."""
    return any(name == 'app' or (name == 'use' and _is_prefork(text)) for name, text, _ in section)


def _for_this_server(section: list[Triple], flags: list[Triple]) -> tuple[list[Triple], list[str]]:
    """The options of ``section`` that are for prefork, and a notice about the others where it names another server."""
    options = [triple for triple in section if triple[0] not in _FACTORIES]
    named = [triple for triple in section if triple[0] == 'use'] or [
        triple for triple in section if triple[0] in _FACTORIES
    ]
    if not named or _is_prefork(named[0][1]) or any(name == 'use' for name, _, _ in flags):
        return options, []
    key, server, where = named[0]
    kept = [triple for triple in options if triple[0] in HONOURED]
    ignored = [name for name, _, _ in options if name not in (*HONOURED, 'use')]
    notice = f'{where} {key} = {server}: prefork serves in its place'
    if kept:
        notice += f'; taken: {", ".join(name for name, _, _ in kept)}'
    if ignored:
        notice += f'; ignored: {", ".join(ignored)}'
    return kept, [notice]


def _is_prefork(use: str) -> bool:
    scheme, _, rest = use.strip().partition(':')
    return scheme.lower() == 'egg' and rest.partition('#')[0].strip().lower() == 'prefork'


def _several_ways_to_listen(section: list[Triple]) -> list[str]:
    """A complaint where bind, listen, and host and port contradict each other: neither order nor luck should decide."""
    ways: dict[str, Triple] = {}
    for triple in section:
        if triple[0] in _WAYS_TO_LISTEN:
            ways.setdefault(_WAYS_TO_LISTEN[triple[0]], triple)
    if len(ways) < 2:
        return []
    first, *others = ways
    return [
        f'{where} {name}: there is {first} already; one of them is enough'
        for name, _, where in (ways[way] for way in others)
    ]


def _origins(section: list[Triple], flags: list[Triple]) -> dict[str, str]:
    places: dict[str, list[str]] = {}
    for name, _, where in section:
        option = 'bind' if name in _WAYS_TO_LISTEN else name
        places.setdefault(option, []).append(where.split(': [')[0])
    by_name = {option.name: option.flag for option in OPTIONS}
    return {name: ', '.join(found) for name, found in places.items()} | {name: by_name[name] for name, _, _ in flags}
