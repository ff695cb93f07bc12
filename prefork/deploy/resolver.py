"""One section to one context: its options sorted into globals and locals, then by its kind."""

from __future__ import annotations

from prefork.deploy import factories
from prefork.deploy.complaints import Complaints
from prefork.deploy.contexts import FactoryContext, FilterAppContext, Options, PipelineContext
from prefork.deploy.ini import DEFAULT
from prefork.deploy.interpolation import interpolate
from prefork.deploy.reference import Reference
from prefork.deploy.sections import APP, CALL_PROTOCOLS, FILTER, KINDS, SERVER, hits, prefix_of
from prefork.errors import IniError, IniLookupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from prefork.deploy.contexts import Context
    from prefork.deploy.files import File
    from prefork.deploy.ini import Place, Section
    from prefork.deploy.loaders import ConfigLoader
    from prefork.deploy.sections import Kind

SET, GET = 'set ', 'get '


class Resolver:
    """Resolves ``section`` of ``file``, to which ``reference`` led, for ``loader``."""

    __slots__ = ('file', 'loader', 'names', 'options', 'reference', 'section')

    def __init__(self, file: File, section: Section, reference: Reference, loader: ConfigLoader) -> None:
        self.file = file
        self.section = section
        self.reference = reference
        self.loader = loader
        self.names = {**file.defaults, **section.options}  # what %(name)s can mean
        self.options = Options({**file.default_values, **reference.global_conf}, section.place)

    def resolve(self) -> Context:
        self._sort_options()
        filter_with = None if self.reference.kind is SERVER else self._pop('filter-with')
        complaints = Complaints()
        for distribution in (self._pop('require') or '').split():
            with complaints:
                self._refer('require', self.reference.kind).located(factories.require, distribution)
        around = []
        with complaints:
            context = self._composed()
        if filter_with is not None:
            with complaints:
                around.append(self._resolve('filter-with', FILTER, filter_with))
        complaints.end()
        context.filter_with += around
        return context

    def _composed(self) -> Context:
        """What the section is without the filter around it."""
        prefix = prefix_of(self.section.name)
        if prefix == 'pipeline':
            return self._pipeline()
        if prefix == 'filter-app':
            return self._filter_app()
        return self._made_by_factory(self.reference.kind)

    def _sort_options(self) -> None:
        """Fill ``options``: ``set`` goes to the globals, what [DEFAULT] has too is dropped, the rest is local."""
        options, own = self.options, self.section.options
        from_globals = []
        complaints = Complaints()
        for key in [*own, *(key for key in self.file.defaults if key not in own)]:
            if key.startswith(SET):
                with complaints:
                    self.set_global(key)
            elif key.startswith(GET):
                from_globals.append(key)
            elif key not in self.file.defaults:
                with complaints:
                    options.local_conf[key] = self.value(key)
                options.places[key] = self.names[key].place
            elif key in own:
                self._warn_dropped(key)
        for key in from_globals:  # after every `set`, and they win
            name = key[len(GET) :].strip()
            with complaints:
                options.local_conf[name] = self.global_value(key)
            options.places[name] = self.names[key].place
        complaints.end()  # what the section refers to may depend on any of them

    def value(self, key: str) -> str:
        """The interpolated value of an option."""
        try:
            return interpolate(self.names[key], self.names)
        except IniError as error:
            raise error.extended(used_by=self.reference.used_by()) from None

    def set_global(self, key: str) -> None:
        """Do what ``set NAME = value`` says."""
        name = key[len(SET) :].strip()
        self.options.additions[name] = self.options.global_conf[name] = self.value(key)

    def global_value(self, key: str) -> Any:
        """What ``get NAME = GLOBAL`` means."""
        source = self.value(key)
        if source in self.options.global_conf:
            return self.options.global_conf[source]
        from prefork.settings import nearest  # only when something is wrong

        hint = nearest(source, self.options.global_conf)
        raise self._error(key, f'no global {source!r}{hint}; set it in [{DEFAULT}], or pass {source}=VALUE')

    def _warn_dropped(self, key: str) -> None:
        winner = self.file.defaults[key].place
        where = 'it was given from outside' if winner.line is None else f'[{DEFAULT}] in line {winner.line} has it'
        self.file.warn(self.section.place_of(key), f'ignored, because {where}; write "set {key} = ..."')

    def _pipeline(self) -> PipelineContext:
        members = (self._pop_required('pipeline')).split()
        if not members:
            raise self._error('pipeline', 'a pipeline needs at least an app')
        if self.options.local_conf:
            extra = ', '.join(self.options.local_conf)
            first = next(iter(self.options.local_conf))
            raise self._error(
                first, f'a pipeline takes no options of its own ({extra}); "set NAME = ..." reaches its members'
            )
        complaints = Complaints()
        with complaints:
            app = self._resolve('pipeline', APP, members[-1])
        filters = []
        for name in members[:-1]:
            with complaints:
                filters.append(self._resolve('pipeline', FILTER, name))
        complaints.end()
        return PipelineContext(self.loader, self.options, app, filters)

    def _filter_app(self) -> FilterAppContext:
        complaints = Complaints()
        with complaints:
            next_app = self._resolve('next', APP, self._pop_required('next'))
        with complaints:
            filter = self._made_by_factory(FILTER)
        complaints.end()
        return FilterAppContext(self.loader, self.options, filter, next_app)

    def _made_by_factory(self, kind: Kind) -> Context:
        use = self._pop('use')
        if use is None:
            return self._explicit(kind)
        context = self._resolve('use', kind, use, CALL_PROTOCOLS[prefix_of(self.section.name)])
        context.override(self.loader, self.options)
        if not context.takes_options():
            for key, place in self.options.places.items():
                self.file.warn(place, f'ignored, because {use} takes no options; "set {key} = ..." reaches its members')
        return context

    def _explicit(self, kind: Kind) -> FactoryContext:
        """A section that names its factory by ``paste.app_factory = module:attribute`` or the like."""
        local_conf = self.options.local_conf
        found = hits(kind.protocols, local_conf.get)
        if len(found) > 1:
            keys = ' and '.join(key for key, _ in found)
            raise self._error(found[1][0], f'one factory is enough, and here are {keys}')
        if not found:
            raise self._no_factory(kind)
        protocol, expression = found[0]
        del local_conf[protocol]
        self.options.place = self.section.place_of(protocol)
        factory = self._refer(protocol, kind).located(factories.load_expression, expression)
        return FactoryContext(kind, self.loader, self.options, protocol, factory)

    def _no_factory(self, kind: Kind) -> IniError:
        from prefork.settings import nearest  # only when something is wrong

        wanted = [key for group in kind.protocols for key in group]
        others = {key: other for other in KINDS for group in other.protocols for key in group if other is not kind}
        problem = f'nothing says what makes this {kind.word}; write use = ... or {wanted[0]} = module:attribute'
        for key in self.options.local_conf:
            if key in others:
                return self._error(key, f'this is the factory of a {others[key].word}; {problem}')
            near = nearest(key, [*wanted, 'use'])
            if near or key.startswith('paste.'):
                return self._error(key, f'not a factory{near}; {problem}')
        return self._error(None, problem)

    def _pop(self, key: str) -> str | None:
        self.options.places.pop(key, None)
        value: str | None = self.options.local_conf.pop(key, None)
        return value

    def _pop_required(self, key: str) -> str:
        value = self._pop(key)
        if value is None:
            from prefork.settings import nearest  # only when something is wrong

            raise self._error(None, f'{key} = ... is missing{nearest(key, self.options.local_conf)}')
        return value

    def _resolve(self, key: str, kind: Kind, name: str, call_protocol: str | None = None) -> Context:
        return self.loader.resolve(name, self._refer(key, kind, call_protocol))

    def _refer(self, key: str, kind: Kind, call_protocol: str | None = None) -> Reference:
        """The reference that stands in this section under ``key``."""
        place = self.section.place_of(key)
        return Reference(kind, self.options.global_conf, place, self.reference, call_protocol)

    def _error(self, key: str | None, problem: str) -> IniError:
        place: Place = self.section.place if key is None else self.section.place_of(key)
        return place.error(IniLookupError, problem, self.reference.used_by())
