"""An index in front of a Routes mapper, so that finding a route among a thousand costs what it costs among ten.

Routes tries one route after another.  Here a tree of path segments says which few could match a path at all, and only
those are asked, with Routes' own ``Route.match`` and in the mapper's order: what is found is what Routes would find.

    /v2.1/{project}/servers       servers  is an exact edge, {project} an open one: any segment takes it
    /v2.1/{project}/servers.json  also takes the open edge 'servers.' of a route that ends in servers.{format}
    /files/{path:.*}              ends at the open edge '', whatever follows: its variable may hold slashes

Paths are all that it looks at: routes that differ in nothing but their conditions or requirements are still tried one
after another, as are those with minimization whose paths begin with the same text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from routes import Mapper
from routes.route import Route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import WSGIEnvironment

Ranked: TypeAlias = tuple[int, Any]
"""A route, after its rank: the lower one is tried first."""

_WITHIN_A_SEGMENT = re.compile(
    r"""(?: \[\^ [^][\\]* / [^][\\]* \]    # a class that excludes the slash
          | \[ -? (?: [a-z]-[a-z] | [A-Z]-[A-Z] | [0-9]-[0-9] | \\[dsw.-] | [\w.,:;@~+%] )+ -? \]
          | \\[dsw.-] | [\w,:;@~%-]        # one character; a dot alone could be a slash
          | \( (?:\?:)? | [)|] | [*+?] | \{[\d,]+\} )*""",
    re.VERBOSE,
)
"""Requirements that no slash can meet.  Others that can't are taken for such that can: it costs time, not answers."""

_REFERS_BY_NUMBER = re.compile(r'\\[1-9]|\(\?\(')
"""Groups have other numbers in the expression of all routes together, which Routes asks first: such a requirement may
fail there that is met by itself."""


def index_routes(mapper: Mapper) -> None:
    """Have ``mapper``, which has compiled its routes, match by an index from now on.

    The index follows when the mapper is compiled again.  A mapper of a class with a matching of its own is left alone.
    """
    if type(mapper)._match is Mapper._match:
        # All that matches, here and in subclasses, goes through this method; Routes has no other place to hook in.
        mapper._match = RouteIndex(mapper).match


class RouteIndex:
    """The routes of one mapper by their paths."""

    def __init__(self, mapper: Mapper) -> None:
        self._mapper = mapper
        self._built = self._build()

    def match(self, url: str, environ: WSGIEnvironment | None) -> tuple[dict[str, Any] | None, Any, list[Any]]:
        """``Mapper._match``: the variables, the route, and the log of the debug mode; (None, None, []) for no match."""
        mapper = self._mapper
        compiled, tree = self._built
        if compiled is not mapper._prefix2routes:
            # The mapper was compiled again since.  One attribute holds both, so that other threads see no mixture.
            compiled, tree = self._built = self._build()
        # The debug mode tells of each route that was tried; and $, with which expressions end, ignores a last newline.
        if tree is None or mapper.always_scan or mapper.debug or '\n' in url:
            nothing_indexed: tuple[dict[str, Any] | None, Any, list[Any]] = Mapper._match(mapper, url, environ)
            return nothing_indexed
        if mapper.prefix:
            rest = re.match(f'{mapper.prefix}(.*)', url)
            if rest is None:
                return None, None, []
            url = rest[1] or '/'
        environ = environ or mapper.environ
        domains = mapper.sub_domains, mapper.sub_domains_ignore, mapper.domain_match
        for _, route in tree.candidates(url):
            variables = route.match(url, environ, *domains)
            if variables or isinstance(variables, dict):
                return variables, route, []
        return None, None, []

    def _build(self) -> tuple[object, _Node | None]:
        """What the mapper has compiled, which it makes anew each time, and the tree of it; None where none can be."""
        compiled = self._mapper._prefix2routes
        tree = _Node()
        rank = 0
        # Routes tries those with a longer literal beginning first, and those with the same in their order.
        for prefix in sorted(compiled, key=len, reverse=True):
            for route in compiled[prefix]:
                if any(map(_REFERS_BY_NUMBER.search, route.reqs.values())):
                    return compiled, None
                tree.add(_parts(route, prefix), (rank, route))
                rank += 1
        return compiled, tree


def _parts(route: Any, prefix: str) -> Iterable[str | bool]:
    """A route's path: text, and for each variable whether its value may hold a slash."""
    if type(route) is not Route or route.minimization:
        # Another class may match as it likes, and minimization may leave out what comes after the first text.
        return [prefix, True]
    return [part if isinstance(part, str) else _may_hold_slash(part, route) for part in route.routelist]


def _may_hold_slash(variable: dict[str, str], route: Any) -> bool:
    if variable['name'] == 'controller':
        return True  # one of the mapper's controllers, whose names may be paths
    requirement = route.reqs.get(variable['name'])
    if not requirement:
        return variable['type'] == '*'
    return not _WITHIN_A_SEGMENT.fullmatch(requirement)


class _Node:
    """What may follow the segments that lead here.

    ``exact`` are the edges of segments that are nothing but text; ``open`` those of segments that begin with a text,
    perhaps none, before their first variable.  ``ends`` are the routes that end here, and ``tails`` those of which any
    rest may follow.
    """

    __slots__ = ('ends', 'exact', 'lengths', 'open', 'tails')

    def __init__(self) -> None:
        self.exact: dict[str, _Node] = {}
        self.open: dict[str, _Node] = {}
        self.lengths: list[int] = []  # of the texts of the open edges, ascending
        self.ends: list[Ranked] = []
        self.tails: list[Ranked] = []

    def add(self, parts: Iterable[str | bool], ranked: Ranked) -> None:
        """Put a route, whose path is ``parts``, below this node, the root."""
        node, text, variable = self, '', False
        for part in parts:
            if part is True:
                node._opened(text).tails.append(ranked)
                return
            if part is False:
                variable = True
                continue
            first, *others = part.split('/')
            text += '' if variable else first
            for other in others:
                node = node._opened(text) if variable else node.exact.setdefault(text, _Node())
                text, variable = other, False
        node = node._opened(text) if variable else node.exact.setdefault(text, _Node())
        node.ends.append(ranked)

    def _opened(self, text: str) -> _Node:
        if len(text) not in self.lengths:
            self.lengths = sorted([*self.lengths, len(text)])
        return self.open.setdefault(text, _Node())

    def candidates(self, url: str) -> list[Ranked]:
        """The routes below this node, the root, that could match, in the order to try them."""
        found: list[Ranked] = []
        nodes = [self]
        for segment in url.split('/'):
            following: list[_Node] = []
            for node in nodes:
                child = node.exact.get(segment)
                if child is not None:
                    following.append(child)
                for length in node.lengths:
                    if length > len(segment):
                        break
                    child = node.open.get(segment[:length])
                    if child is not None:
                        following.append(child)
                        found += child.tails
            nodes = following
            if not nodes:
                break
        for node in nodes:
            found += node.ends
        found.sort()
        return found
