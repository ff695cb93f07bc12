"""From a name or a URI to a context, and the loaders that composite factories are given.

A name is that of a section in the same file, or a URI: ``config:PATH#NAME``, ``egg:DISTRIBUTION#NAME`` or
``call:MODULE:NAME``.
"""

from __future__ import annotations

import os
import re

from prefork.deploy import factories, sections
from prefork.deploy.contexts import FactoryContext, Options
from prefork.deploy.files import open_file
from prefork.deploy.ini import Place
from prefork.deploy.reference import Reference
from prefork.deploy.resolver import Resolver
from prefork.deploy.sections import APP, FILTER, MAIN, SERVER
from prefork.errors import IniError, IniFileError, IniLookupError, IniParseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from prefork.deploy.contexts import Context
    from prefork.deploy.files import File
    from prefork.deploy.ini import Section
    from prefork.deploy.sections import Kind


class ReferenceLoader:
    """What looks names up: the object that composite factories are given.

    ``reference`` is what led to the section that it was made for.
    """

    __slots__ = ('reference',)

    def __init__(self, reference: Reference) -> None:
        self.reference = reference

    def get_app(self, name: str | None = None, global_conf: Mapping[str, Any] | None = None) -> Any:
        return self.app_context(name, global_conf).create()

    def get_filter(self, name: str | None = None, global_conf: Mapping[str, Any] | None = None) -> Any:
        return self.filter_context(name, global_conf).create()

    def get_server(self, name: str | None = None, global_conf: Mapping[str, Any] | None = None) -> Any:
        return self.server_context(name, global_conf).create()

    def app_context(self, name: str | None = None, global_conf: Mapping[str, Any] | None = None) -> Context:
        return self.get_context(APP, name, global_conf)

    def filter_context(self, name: str | None = None, global_conf: Mapping[str, Any] | None = None) -> Context:
        return self.get_context(FILTER, name, global_conf)

    def server_context(self, name: str | None = None, global_conf: Mapping[str, Any] | None = None) -> Context:
        return self.get_context(SERVER, name, global_conf)

    def get_context(self, kind: Kind, name: str | None = None, global_conf: Mapping[str, Any] | None = None) -> Context:
        wanted = MAIN if name is None else name
        reference = Reference(kind, dict(global_conf or {}), self.place_of(wanted), self.reference)
        return self.resolve(wanted, reference)

    def place_of(self, name: str) -> Place | None:
        """Where ``name`` was probably written."""
        return self.reference.place

    def resolve(self, name: str, reference: Reference) -> Context:
        if is_uri(name):
            return resolve_uri(name, reference)
        raise reference.error(IniLookupError, f'{name!r} is not a URI, and there is no file that could have it')


class ConfigLoader(ReferenceLoader):
    """Looks names up in a file; URIs are relative to the file's directory, as the file was named."""

    __slots__ = ('_section', 'file')

    def __init__(self, file: File, reference: Reference, section: Section | None = None) -> None:
        super().__init__(reference)
        self.file = file
        self._section = section

    @property
    def filename(self) -> str:
        return self.file.filename

    def place_of(self, name: str) -> Place | None:
        if self._section is None:
            return self.reference.place
        for option in self._section.options.values():
            if name in option.value.split():
                return option.place
        return self._section.place

    def resolve(self, name: str, reference: Reference) -> Context:
        if is_uri(name):
            return resolve_uri(name, reference, relative_to=os.path.dirname(self.filename))
        section = self.section(name, reference)
        with reference:
            return Resolver(self.file, section, reference, ConfigLoader(self.file, reference, section)).resolve()

    def section(self, name: str, reference: Reference) -> Section:
        """The section that ``reference`` means by ``name``."""
        try:
            section = sections.find(self.file.document, reference.kind, name)
        except IniLookupError as error:
            raise self._not_found(name, reference, error.problem) from None
        reference.leads_to(self.file.absolute_path, section)
        return section

    def _not_found(self, name: str, reference: Reference, problem: str) -> IniError:
        if reference.place is None:
            apps = sections.names(self.file.document, APP)
            hint = f'; for another one write {self.filename}#NAME' if name == MAIN and apps and MAIN not in apps else ''
            return Place(self.filename).error(IniLookupError, problem + hint)
        elsewhere = reference.place.path != self.filename
        return reference.error(IniLookupError, f'{self.filename}: {problem}' if elsewhere else problem)


class EggLoader(ReferenceLoader):
    """Looks names up in the entry points of a distribution."""

    __slots__ = ('distribution',)

    def __init__(self, distribution: str, reference: Reference) -> None:
        super().__init__(reference)
        self.distribution = distribution

    def resolve(self, name: str, reference: Reference) -> Context:
        if is_uri(name):
            return super().resolve(name, reference)
        protocol, factory = reference.located(factories.load_entry_point, self.distribution, reference.kind, name)
        options = _options(reference, f'egg:{self.distribution}#{name}')
        return FactoryContext(reference.kind, self, options, protocol, factory)


def is_uri(name: str) -> bool:
    return re.match(r'[a-zA-Z]+:', name) is not None


def resolve_uri(uri: str, reference: Reference, name: str | None = None, relative_to: str | None = None) -> Context:
    """The context that ``uri`` means; its fragment counts only where there is no ``name``."""
    scheme, path, fragment = split_uri(uri, reference)
    if name is None:
        name = fragment
    if scheme == 'config':
        return open_config(file_path(path, reference, relative_to), reference).resolve(name, reference)
    if scheme == 'egg':
        return EggLoader(path, reference).resolve(name, reference)
    factory = reference.located(factories.load_call, path)
    options = _options(reference, uri)
    return FactoryContext(reference.kind, ReferenceLoader(reference), options, reference.call_protocol, factory)


def _options(reference: Reference, uri: str) -> Options:
    """Those of what has no section: the globals alone, which are those of the section that refers to it."""
    return Options(reference.global_conf, reference.place or Place(uri))


def split_uri(uri: str, reference: Reference) -> tuple[str, str, str]:
    """The scheme in lower case, the path and the name of a URI that ``reference`` has."""
    address, hash, fragment = uri.partition('#')
    scheme, colon, path = address.partition(':')
    if not colon:
        problem = f'{uri!r} has no scheme; write config:PATH, egg:DISTRIBUTION or call:MODULE:NAME'
        raise reference.error(IniLookupError, problem)
    if scheme.lower() not in ('config', 'egg', 'call'):
        raise reference.error(IniLookupError, f'{uri!r} has an unknown scheme; known are config, egg and call')
    return scheme.lower(), path, fragment if hash else MAIN


def file_path(path: str, reference: Reference, relative_to: str | None) -> str:
    """The file that ``config:path`` names."""
    absolute = os.path.isabs(path)
    path = path.replace('\\', '/')
    if not absolute:
        if not relative_to:
            raise reference.error(IniParseError, f'config:{path} is relative, and there is nothing it is relative to')
        path = f'{relative_to}/{path}'
    if path.startswith('///'):  # as in a file: URL
        path = path[2:]
    if '%' in path:
        from urllib.parse import unquote  # slow to import

        path = unquote(path)
    return path.strip()


def open_config(path: str, reference: Reference) -> ConfigLoader:
    """The loader of the file that ``reference`` leads to."""
    try:
        file = open_file(path, reference.global_conf)
    except IniFileError as error:
        if reference.place is None:
            raise
        raise reference.error(type(error), f'{path}: {error.problem}') from error.__cause__
    except IniError as error:
        raise error.extended(used_by=reference.used_by()) from error.__cause__
    if reference.parent is None:
        file.warn_of_overruled(reference.global_conf)
    return ConfigLoader(file, reference)
