"""What was composed: each app and filter that was created, as a tree, for those who want to see it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prefork.deploy.contexts import Context


class Entry:
    """One thing that was created, with what was created for it, in the order in which a request passes through."""

    __slots__ = ('_inner_first', 'children', 'text')

    def __init__(self, text: str, inner_first: bool) -> None:
        self.text = text
        self._inner_first = inner_first
        self.children: list[Entry] = []

    def lines(self, indent: str = '') -> list[str]:
        children = self.children
        if self._inner_first:  # a pipeline creates its app before its filters
            children = [*children[1:], *children[:1]]
        return [indent + self.text, *(line for child in children for line in child.lines(indent + '  '))]


class Journal:
    """Written by :meth:`Context.create`; ``lines`` is the tree so far, indented by two blanks a level."""

    __slots__ = ('_open', '_roots')

    def __init__(self) -> None:
        self._roots: list[Entry] = []
        self._open: list[Entry] = []

    def begin(self, context: Context) -> None:
        """``context`` is being created: what begins before ``end`` is part of it."""
        entry = Entry(context.shown(), context.inner_first)
        (self._open[-1].children if self._open else self._roots).append(entry)
        self._open.append(entry)

    def end(self) -> None:
        self._open.pop()

    def lines(self) -> list[str]:
        return [line for root in self._roots for line in root.lines()]
