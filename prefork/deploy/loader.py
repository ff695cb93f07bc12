"""PasteDeploy's four functions and the seed's Loader: from a URI to the object it describes."""

from __future__ import annotations

import os

from prefork.deploy.journal import Journal
from prefork.deploy.loaders import open_config, resolve_uri
from prefork.deploy.reference import Reference
from prefork.deploy.sections import APP, FILTER, SERVER
from prefork.errors import AppNotFound, ConfigNotFound, IniLookupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from prefork.deploy.contexts import Config, Context
    from prefork.deploy.sections import Kind

DEFAULT_CONFIG = 'api-paste.ini'
SEARCH_PATH = ('.', '~/.prefork', '~', '/etc/prefork', '/etc')
"""Where Loader looks for a file with a relative path."""


def loadapp(
    uri: str,
    name: str | None = None,
    relative_to: str | None = None,
    global_conf: Mapping[str, object] | None = None,
) -> Any:
    """The WSGI application that ``uri`` describes, such as ``config:/etc/app.ini#main``.

    ``name`` counts before the fragment, ``relative_to`` is the directory of a relative path, and ``global_conf``
    has values that the file may use as ``%(key)s`` and that every factory is given; they are literal text.  Raises
    IniError where the file is wrong; what a factory raises propagates, with a note of its place.
    """
    return _context(APP, uri, name, relative_to, global_conf).create()


def composition(
    uri: str,
    name: str | None = None,
    relative_to: str | None = None,
    global_conf: Mapping[str, object] | None = None,
) -> list[str]:
    """As loadapp, but for the tree of what was composed: indented lines of section, file, line and factory."""
    journal = Journal()
    _context(APP, uri, name, relative_to, global_conf, journal).create()
    return journal.lines()


def loadfilter(
    uri: str,
    name: str | None = None,
    relative_to: str | None = None,
    global_conf: Mapping[str, object] | None = None,
) -> Any:
    """As loadapp: a filter, which takes an application and returns one."""
    return _context(FILTER, uri, name, relative_to, global_conf).create()


def loadserver(
    uri: str,
    name: str | None = None,
    relative_to: str | None = None,
    global_conf: Mapping[str, object] | None = None,
) -> Any:
    """As loadapp: a server, which takes an application and serves it."""
    return _context(SERVER, uri, name, relative_to, global_conf).create()


def appconfig(
    uri: str,
    name: str | None = None,
    relative_to: str | None = None,
    global_conf: Mapping[str, object] | None = None,
) -> Config:
    """The options of the application, which isn't created (its factory is imported, though)."""
    return _context(APP, uri, name, relative_to, global_conf).config()


def _context(
    kind: Kind,
    uri: str,
    name: str | None,
    relative_to: str | None,
    global_conf: Mapping[str, object] | None,
    journal: Journal | None = None,
) -> Context:
    reference = Reference(kind, {key: str(value) for key, value in (global_conf or {}).items()})
    reference.journal = journal
    return resolve_uri(uri, reference, name, relative_to)


class Loader:
    """Loads applications from one ini file; ``config_path`` is where it was found.

    A relative path is looked for in SEARCH_PATH.  Raises ConfigNotFound.
    """

    def __init__(self, config_path: str | None = None) -> None:
        wanted = config_path or DEFAULT_CONFIG
        candidates = [wanted]
        if not os.path.isabs(wanted):
            candidates = [os.path.abspath(os.path.join(os.path.expanduser(part), wanted)) for part in SEARCH_PATH]
        found = next(filter(os.path.exists, candidates), None)
        if found is None:
            raise ConfigNotFound(f'there is no {" and no ".join(candidates)}')
        self.config_path = found

    def load_app(self, name: str) -> Any:
        """The application of that name.  Raises AppNotFound where the file hasn't it, or what it refers to."""
        import logging

        logger = logging.getLogger('prefork')
        logger.debug('loading application %s from %s', name, self.config_path)
        reference = Reference(APP, {})
        try:
            return open_config(self.config_path, reference).resolve(name, reference).create()
        except IniLookupError as error:
            # Only ours: a KeyError in the application's own code is a LookupError too, and no missing application.
            logger.exception('cannot find application %s', name)
            raise AppNotFound(f'cannot load application {name!r} from {self.config_path}: {error}') from error
