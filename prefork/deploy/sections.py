"""What the sections of a file are called, and how the one that a name means is found."""

from __future__ import annotations

from prefork.deploy.ini import DEFAULT
from prefork.errors import IniLookupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from prefork.deploy.ini import Document, Section

    T = TypeVar('T')

MAIN = 'main'


class Kind:
    """What a name is wanted as: an app, a filter or a server.

    ``prefixes`` are those of its sections, ``protocols`` the names of its factories, which are both the keys in a
    section and the groups of entry points.  Each is in groups: of a group the first hit counts, and hits in two
    groups are ambiguous.
    """

    __slots__ = ('prefixes', 'protocols', 'word')

    def __init__(
        self, word: str, prefixes: tuple[tuple[str, ...], ...], protocols: tuple[tuple[str, ...], ...]
    ) -> None:
        self.word = word
        self.prefixes = prefixes
        self.protocols = protocols

    def __repr__(self) -> str:
        return f'<{self.word}>'


APP = Kind(
    'app',
    (('app', 'application'), ('composite', 'composit'), ('pipeline',), ('filter-app',)),
    (('paste.app_factory',), ('paste.composite_factory',), ('paste.composit_factory',)),
)
FILTER = Kind('filter', (('filter',),), (('paste.filter_factory', 'paste.filter_app_factory'),))
SERVER = Kind('server', (('server',),), (('paste.server_factory', 'paste.server_runner'),))
KINDS = (APP, FILTER, SERVER)

CALL_PROTOCOLS = {
    'app': 'paste.app_factory',
    'application': 'paste.app_factory',
    'composite': 'paste.composite_factory',
    'composit': 'paste.composite_factory',
    'filter': 'paste.filter_factory',
    'filter-app': 'paste.filter_factory',
    'server': 'paste.server_factory',
}
"""How what ``call:`` names is called, by the prefix of the section (or the word of the kind) that uses it."""

_KIND_OF_PREFIX = {prefix: kind for kind in KINDS for group in kind.prefixes for prefix in group}


def hits(groups: tuple[tuple[str, ...], ...], find: Callable[[str], T | None]) -> list[tuple[str, T]]:
    """The first member of each group for which ``find`` has something, with what it has."""
    found = []
    for group in groups:
        for member in group:
            item = find(member)
            if item is not None:
                found.append((member, item))
                break
    return found


def prefix_of(section: str) -> str:
    """``filter-app`` of ``filter-app:main``; the name itself where there is no colon."""
    return section.partition(':')[0]


def is_ours(section: str) -> bool:
    """Whether the loader reads such a section, or leaves it to others as it does [loggers] and [uwsgi]."""
    return section == DEFAULT or prefix_of(section) in _KIND_OF_PREFIX


def names(document: Document, kind: Kind) -> dict[str, Section]:
    """The sections of this kind by the names they can be asked for, in the order of the file."""
    found: dict[str, Section] = {}
    for section_kind, name, section in _named(document):
        if section_kind is kind:
            found.setdefault(name, section)
    return found


def _named(document: Document) -> Iterator[tuple[Kind, str, Section]]:
    for section in document.sections.values():
        prefix, colon, name = section.name.partition(':')
        if prefix in _KIND_OF_PREFIX:
            yield _KIND_OF_PREFIX[prefix], name.strip() if colon else MAIN, section


def find(document: Document, kind: Kind, name: str) -> Section:
    """The section that ``name`` means.  Raises IniLookupError, without a place, where there is none or more than one.

    ``[app]`` without a name is main, unless there is a main with the name written out.
    """

    def sections(prefix: str) -> list[Section] | None:
        start = prefix + ':'
        return [
            section
            for section in document.sections.values()
            if section.name.startswith(start) and section.name[len(start) :].strip() == name
        ] or None

    found = hits(kind.prefixes, sections)
    if not found and name == MAIN:
        found = [(prefix, [section]) for prefix, section in hits(kind.prefixes, document.sections.get)]
    candidates = [section for _, group in found for section in group]
    if not candidates:
        raise IniLookupError(_explain_missing(document, kind, name))
    if len(candidates) > 1:
        raise IniLookupError(f'{kind.word} {name!r} is ambiguous: {" and ".join(map(_shown, candidates))}')
    return candidates[0]


def _shown(section: Section) -> str:
    return f'[{section.name}] in line {section.place.line}'


def _explain_missing(document: Document, kind: Kind, name: str) -> str:
    """What went wrong with ``name``, and what was probably meant."""
    known = names(document, kind)
    for section_kind, other, section in _named(document):
        if other == name and section_kind is not kind:
            return f'no {kind.word} {name!r}; {_shown(section)} is a {section_kind.word}'
    for section in document.sections.values():
        prefix, colon, rest = section.name.partition(':')
        written = rest.strip() if colon else MAIN
        if written.lower() == name.lower() and _KIND_OF_PREFIX.get(prefix.lower()) is kind:
            return f'no {kind.word} {name!r}; there is {_shown(section)}, and case matters'
    if not known:
        return f'no {kind.word} {name!r}, and no {kind.word} at all'

    from prefork.settings import closest  # only when something is wrong

    near = closest(name, known)
    hint = '' if near is None else f' (did you mean {_shown(known[near])}?)'
    return f'no {kind.word} {name!r}{hint}; there is {", ".join(known)}'
