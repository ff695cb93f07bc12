"""``%(name)s`` in values: the standard library's BasicInterpolation, with errors that name the line.

``%%`` is a percent sign, any other ``%`` an error.  A name is looked up in the section, then in [DEFAULT], both of
which the caller gives as one mapping.
"""

from __future__ import annotations

import re

from prefork.deploy.ini import DEFAULT
from prefork.errors import IniParseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefork.deploy.ini import Option
    from prefork.errors import IniError

MAX_DEPTH = 10  # configparser.MAX_INTERPOLATION_DEPTH

_VARIABLE = re.compile(r'%\(([^)]+)\)s')


def escape(text: str) -> str:
    """Text that interpolates to ``text``."""
    return text.replace('%', '%%')


def interpolate(option: Option, names: Mapping[str, Option]) -> str:
    """The value of ``option`` with every ``%`` resolved.  Raises IniParseError at the place of the bad ``%``."""
    if '%' not in option.value:
        return option.value
    parts: list[str] = []
    _expand(option, names, (option.key,), parts)
    return ''.join(parts)


def _expand(option: Option, names: Mapping[str, Option], way: tuple[str, ...], parts: list[str]) -> None:
    if len(way) > MAX_DEPTH:
        raise option.place.error(IniParseError, f'more than {MAX_DEPTH} levels of %(...)s: {" -> ".join(way)}')
    text, done = option.value, 0
    while (percent := text.find('%', done)) >= 0:
        parts.append(text[done:percent])
        if text.startswith('%%', percent):
            parts.append('%')
            done = percent + 2
            continue
        variable = _VARIABLE.match(text, percent)
        if variable is None:
            bad = text[percent : percent + 12].split('\n')[0]
            raise option.place.error(
                IniParseError, f'bad {bad!r}: write %% for a percent sign, %(NAME)s for a variable'
            )
        name, done = variable[1], variable.end()
        found = names.get(name)
        if found is None:
            raise _missing(option, name, names)
        if '%' not in found.value:
            parts.append(found.value)
        elif name in way:
            raise option.place.error(IniParseError, f'%({name})s refers to itself: {" -> ".join((*way, name))}')
        else:
            _expand(found, names, (*way, name), parts)
    parts.append(text[done:])


def _missing(option: Option, name: str, names: Mapping[str, Option]) -> IniError:
    from prefork.settings import nearest  # only when something is wrong

    where = ' or '.join(dict.fromkeys((f'[{option.place.section}]', f'[{DEFAULT}]')))
    hint = nearest(name, [other for other in names if other != option.place.key])  # itself would be a circle
    return option.place.error(IniParseError, f'no variable {name!r}{hint}; set it in {where}, or pass {name}=VALUE')
