"""The options of [server:NAME], for a server that reads them itself: no factory is resolved, nothing is imported."""

from __future__ import annotations

import os

from prefork.deploy import sections
from prefork.deploy.complaints import Complaints
from prefork.deploy.files import read
from prefork.deploy.loaders import file_path, is_uri, open_config, split_uri
from prefork.deploy.reference import Reference
from prefork.deploy.resolver import GET, SET, Resolver
from prefork.deploy.sections import SERVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefork.deploy.ini import Place
    from prefork.deploy.loaders import ConfigLoader


def servers(path: str) -> dict[str, dict[str, str]]:
    """What each [server:NAME] section itself says, by its NAME, in the order of the file.  Raises IniError.

    It is as it is written: a section that isn't served may have variables that nobody has set.
    """
    found = sections.names(read(path), SERVER)
    return {name: {key: option.value for key, option in section.options.items()} for name, section in found.items()}


def server_options(path: str, name: str, global_conf: Mapping[str, object] | None = None) -> list[tuple[str, str, str]]:
    """``(key, text, where)`` of each option of [server:NAME], ``where`` being ``path:line: [server:NAME]``.

    ``use`` is one of them.  Where it names another section or file, what that says comes first, less what this
    section says itself, and ``use`` is the other's.  Unlike those of a factory, options that [DEFAULT] has too are
    kept, and those it has alone aren't there.  Raises IniError.
    """
    reference = Reference(SERVER, {key: str(value) for key, value in (global_conf or {}).items()})
    options = _collect(open_config(path, reference), name, reference)
    return [(key, text, f'{place.path}:{place.line}: [{place.section}]') for key, (text, place) in options.items()]


def _collect(loader: ConfigLoader, name: str, reference: Reference) -> dict[str, tuple[str, Place]]:
    section = loader.section(name, reference)
    resolver = Resolver(loader.file, section, reference, loader)
    options: dict[str, tuple[str, Place]] = {}
    complaints = Complaints()
    for key, option in section.options.items():
        if key.startswith(SET):
            with complaints:
                resolver.set_global(key)
        elif not key.startswith(GET) and key not in ('use', 'require'):
            with complaints:
                options[key] = (resolver.value(key), option.place)
    for key, option in section.options.items():
        if key.startswith(GET):
            with complaints:
                options[key[len(GET) :].strip()] = (str(resolver.global_value(key)), option.place)
    complaints.end()
    if 'use' not in section.options:
        return options
    use, place = resolver.value('use'), section.place_of('use')
    inner = Reference(SERVER, resolver.options.global_conf, place, reference)
    with reference:
        return {**_collect_used(loader, use, place, inner), **options}


def _collect_used(loader: ConfigLoader, use: str, place: Place, reference: Reference) -> dict[str, tuple[str, Place]]:
    """The options of what a section uses; only ``use`` itself where that is no section."""
    if not is_uri(use):
        return _collect(loader, use, reference)
    scheme, path, name = split_uri(use, reference)
    if scheme != 'config':
        return {'use': (use, place)}
    path = file_path(path, reference, os.path.dirname(loader.filename))
    return _collect(open_config(path, reference), name, reference)
