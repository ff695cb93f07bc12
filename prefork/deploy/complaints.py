"""Errors that don't depend on each other, told at once: who corrects a file wants to know them all."""

from __future__ import annotations

from prefork.errors import IniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def together(errors: Sequence[IniError]) -> IniError:
    """The first of one or more errors, with the complaints of all: its class is what it would be without the others."""
    first, *others = errors
    if not others:
        return first
    joined = first.extended(others=tuple(others))
    joined.__cause__ = first.__cause__
    return joined


class Complaints:
    """Collects the IniErrors of steps that don't need each other's results; ``end`` raises what there was.

    with complaints:
        one step
    with complaints:
        another step
    complaints.end()
    """

    __slots__ = ('_errors',)

    def __init__(self, errors: Iterable[IniError] = ()) -> None:
        self._errors = list(errors)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, IniError):
            return False
        self._errors.append(error)
        return True

    def end(self) -> None:
        """Raise what was collected, if anything was."""
        if self._errors:
            error = together(self._errors)
            raise error from error.__cause__
