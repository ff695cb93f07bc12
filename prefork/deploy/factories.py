"""From the text that names a factory to the factory: ``importlib.import_module`` and ``importlib.metadata`` alone.

The functions know nothing of ini files: the errors they raise carry no place, the caller adds it.  Four of them
touch the world outside, and tests replace them: ``load_expression``, ``load_call``, ``entry_point``, ``require``.
"""

from __future__ import annotations

import importlib
import re

from prefork.deploy.sections import hits
from prefork.errors import IniImportError, IniLookupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import Distribution
    from typing import Any

    from prefork.deploy.sections import Kind

# The value of an entry point: module, attributes, and extras that nothing checks any more.
_EXPRESSION = re.compile(r'([\w.]+)\s*(?::\s*([\w.]+)\s*)?(?:\[.*\]\s*)?')

STAND_INS = {
    ('paste', 'paste.composite_factory', 'urlmap'): 'prefork.deploy.urlmap:urlmap_factory',
    ('paste', 'paste.composite_factory', 'cascade'): 'prefork.deploy.standins:cascade_factory',
    ('pastedeploy', 'paste.filter_app_factory', 'config'): 'prefork.deploy.standins:config_filter',
    ('pastedeploy', 'paste.filter_app_factory', 'prefix'): 'prefork.deploy.standins:prefix_filter',
}
"""What is built in for a distribution that isn't installed, by (normalized distribution, group, entry point)."""


def parse_expression(text: str) -> tuple[str, tuple[str, ...]]:
    """The module and the attributes of ``module:attribute.attribute [extras]``; no attribute is the module itself."""
    match = _EXPRESSION.fullmatch(text)
    if match is None:
        raise IniImportError(f'{text!r} is not module:attribute')
    return match[1], tuple(filter(None, (match[2] or '').split('.')))


def load_expression(text: str) -> Any:
    """What ``module:attribute`` names."""
    return _load(*parse_expression(text))


def load_call(spec: str) -> Any:
    """What ``MODULE:NAME`` of ``call:MODULE:NAME`` names; NAME may have dots."""
    module, colon, name = spec.partition(':')
    if not colon or ':' in name:
        raise IniLookupError(f'call:{spec} is not call:MODULE:NAME')
    return _load(module, tuple(name.split('.')))


def load_entry_point(distribution: str, kind: Kind, name: str) -> tuple[str, Any]:
    """The protocol, which is the group, and the factory of ``egg:DISTRIBUTION#NAME``."""
    found = hits(kind.protocols, lambda group: entry_point(distribution, group, name))
    if len(found) > 1:
        raise IniLookupError(
            f'egg:{distribution}#{name} is ambiguous: it is in {" and ".join(group for group, _ in found)}'
        )
    if not found:
        raise IniLookupError(f'{distribution} has no {kind.word} {name!r}{_entry_points_shown(distribution, name)}')
    group, expression = found[0]
    return group, load_expression(expression)


def entry_point(distribution: str, group: str, name: str) -> str | None:
    """The expression of one entry point, or None.  Raises IniImportError where the distribution isn't installed."""
    stand_in = STAND_INS.get((_normalized(distribution), group, name))
    try:
        installed = _distribution(distribution)
    except IniImportError:
        if any(_normalized(distribution) == key[0] and name == key[2] for key in STAND_INS):
            return stand_in
        raise
    for candidate in installed.entry_points:
        if candidate.group == group and candidate.name == name:
            return candidate.value
    return None


def require(distribution: str) -> None:
    """Raises IniImportError where the distribution isn't installed."""
    _distribution(distribution)


def _normalized(distribution: str) -> str:
    # PyPA specification, "Names and normalization".
    return re.sub(r'[-_.]+', '-', distribution).lower()


def _distribution(name: str) -> Distribution:
    from importlib import metadata  # slow to import, and only egg: needs it

    try:
        return metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError) as error:
        hint = '' if re.fullmatch(r'[\w.-]+', name) else '; write the name alone, without a version'
        raise IniImportError(f'the distribution {name!r} is not installed{hint}') from error


def _entry_points_shown(distribution: str, name: str) -> str:
    from prefork.settings import nearest  # only when something is wrong

    try:
        points = [point for point in _distribution(distribution).entry_points if point.group.startswith('paste.')]
    except IniImportError:
        return ''
    hint = nearest(name, (point.name for point in points))
    shown = ', '.join(f'{point.group} {point.name}' for point in points)
    return f'{hint}; it has {shown}' if shown else '; it has no entry points for ini files'


def _load(module_name: str, attributes: tuple[str, ...]) -> Any:
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise _import_error(module_name, error) from error
    way = f'module {module_name!r}'
    for attribute in attributes:
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            from prefork.settings import nearest  # only when something is wrong

            raise IniImportError(f'{way} has no attribute {attribute!r}{nearest(attribute, dir(found))}') from error
        way = repr(attribute)
    return found


def _import_error(module_name: str, error: ImportError) -> IniImportError:
    """Tells a module that isn't there from one that is there and fails."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and (module_name == missing or module_name.startswith(f'{missing}.')):
        return IniImportError(f'there is no module {missing!r}')
    return IniImportError(f'importing {module_name!r} failed: {error}')
