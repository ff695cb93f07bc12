"""Who refers to what: the trail behind each error, and the guard against going round in a circle."""

from __future__ import annotations

from prefork.deploy.sections import CALL_PROTOCOLS
from prefork.errors import IniError, IniLookupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from prefork.deploy.ini import Place, Section
    from prefork.deploy.journal import Journal
    from prefork.deploy.sections import Kind

    T = TypeVar('T')


class Reference:
    """Something that refers to an app, a filter or a server: what is wanted, and where that stands.

    ``place`` is where it stands, None when it came from outside; ``parent`` is the reference that led to the section
    it stands in.  ``call_protocol`` is how a ``call:`` is to be called, which its URI doesn't say.  ``journal`` is
    where it is noted what is created, inherited from the parent.
    """

    __slots__ = ('_depth', '_target', 'call_protocol', 'global_conf', 'journal', 'kind', 'parent', 'place')

    def __init__(
        self,
        kind: Kind,
        global_conf: dict[str, Any],
        place: Place | None = None,
        parent: Reference | None = None,
        call_protocol: str | None = None,
    ) -> None:
        self.kind = kind
        self.global_conf = global_conf
        self.place = place
        self.parent = parent
        self.call_protocol = call_protocol or CALL_PROTOCOLS[kind.word]
        self.journal: Journal | None = None if parent is None else parent.journal
        self._target: tuple[str, Section] | None = None
        self._depth = 0

    def __enter__(self) -> None:
        """The section referred to is being resolved or created: to come back to it now would never end."""
        self._depth += 1

    def __exit__(self, *exception: object) -> None:
        self._depth -= 1

    def way(self) -> Iterator[Reference]:
        """This reference and those that led to it."""
        reference: Reference | None = self
        while reference is not None:
            yield reference
            reference = reference.parent

    def used_by(self) -> tuple[str, ...]:
        return tuple(str(reference.place) for reference in self.way() if reference.place is not None)

    def error(self, kind: type[IniError], problem: str) -> IniError:
        """An error in this reference itself."""
        if self.place is None:
            return kind(problem)
        return self.place.error(kind, problem, () if self.parent is None else self.parent.used_by())

    def located(self, find: Callable[..., T], *arguments: Any) -> T:
        """``find(*arguments)``, whose errors get this reference's place."""
        try:
            return find(*arguments)
        except IniError as error:
            raise self.error(type(error), error.problem) from error.__cause__

    def leads_to(self, path: str, section: Section) -> None:
        """Note what this reference means.  Raises IniLookupError where that is on the way to it already."""
        self._target = (path, section)
        names = [f'[{section.name}]']
        for reference in list(self.way())[1:]:
            if reference._target is None:
                continue
            seen_path, seen = reference._target
            names.append(f'[{seen.name}]')
            same = (seen_path, seen.name) == (path, section.name)
            # With other globals the same section may refer to something else.
            if same and reference._depth and reference.global_conf == self.global_conf:
                raise self.error(IniLookupError, f'this goes round in a circle: {" -> ".join(reversed(names))}')
