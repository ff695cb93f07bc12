"""What a reference resolved to, before anything is created: factories found, options merged, nothing called.

The whole static tree is resolved first; ``Context.create`` then calls the factories.
"""

from __future__ import annotations

from prefork.deploy.complaints import together
from prefork.deploy.sections import APP
from prefork.errors import IniError, IniFactoryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from prefork.deploy.ini import Place
    from prefork.deploy.loaders import ReferenceLoader
    from prefork.deploy.sections import Kind

    Filter = Callable[[Any], Any]


class Options:
    """What is handed to a factory, and where it is from.

    ``additions`` are the section's own ``set`` keys, which are in ``global_conf`` too; ``places`` says where the keys
    of ``local_conf`` stand, ``place`` where the factory is named.
    """

    __slots__ = ('additions', 'global_conf', 'local_conf', 'place', 'places')

    def __init__(self, global_conf: dict[str, Any], place: Place) -> None:
        self.global_conf = global_conf
        self.additions: dict[str, Any] = {}
        self.local_conf: dict[str, Any] = {}
        self.places: dict[str, Place] = {}
        self.place = place


class Config(dict[str, 'Any']):
    """The options of one application: ``global_conf`` updated by ``local_conf``, which it also has apart."""

    def __init__(self, context: Context) -> None:
        super().__init__({**context.global_conf, **context.local_conf})
        self.context = context
        self.global_conf = context.global_conf
        self.local_conf = context.local_conf


class Context:
    """An app, filter or server that is ready to be created.

    ``loader`` is what a composite factory is given; ``filter_with`` has the filters around it, the innermost first.
    """

    __slots__ = ('filter_with', 'kind', 'loader', 'options', 'place')

    inner_first = False
    """Whether what a request reaches last is created first."""

    def __init__(self, kind: Kind, loader: ReferenceLoader, options: Options) -> None:
        self.kind = kind
        self.loader = loader
        self.options = options
        self.place = options.place  # of the section that was asked for, if another is used by it
        self.filter_with: list[Context] = []

    @property
    def global_conf(self) -> dict[str, Any]:
        return self.options.global_conf

    @property
    def local_conf(self) -> dict[str, Any]:
        return self.options.local_conf

    def config(self) -> Config:
        return Config(self)

    def create(self) -> Any:
        """Call the factories: those of the filters around it first, and of them the outermost."""
        journal = self.loader.reference.journal
        if journal is None:
            return self._create_within()
        journal.begin(self)
        try:
            return self._create_within()
        finally:
            journal.end()

    def shown(self) -> str:
        """What it is, and where it stands."""
        return _shown(self.place)

    def _create_within(self) -> Any:
        around = [context.create() for context in reversed(self.filter_with)]
        around.reverse()
        created = self._create()
        if not around or self.kind is APP:
            return _wrap(created, around)
        return lambda app: _wrap(created(app), around)

    def override(self, loader: ReferenceLoader, options: Options) -> None:
        """What a section with ``use`` says beats what it uses."""
        self.loader = loader
        self.place = options.place
        self.global_conf.update(options.additions)
        self.global_conf['__file__'] = options.global_conf['__file__']
        self.local_conf.update(options.local_conf)
        self.options.places.update(options.places)

    def takes_options(self) -> bool:
        """Whether local options reach a factory."""
        return True

    def _create(self) -> Any:
        raise NotImplementedError


class FactoryContext(Context):
    """A factory with its protocol, which says how it is called."""

    __slots__ = ('factory', 'protocol')

    def __init__(self, kind: Kind, loader: ReferenceLoader, options: Options, protocol: str, factory: Any) -> None:
        super().__init__(kind, loader, options)
        self.protocol = protocol
        self.factory = factory

    def shown(self) -> str:
        module, name = getattr(self.factory, '__module__', None), getattr(self.factory, '__qualname__', None)
        return f'{_shown(self.place)} {f"{module}:{name}" if module and name else repr(self.factory)}'

    def _create(self) -> Any:
        if self.protocol in ('paste.composite_factory', 'paste.composit_factory'):
            with self.loader.reference:
                return self._call(self.loader)
        if self.protocol in ('paste.filter_app_factory', 'paste.server_runner'):
            return self._call
        return self._call()

    def _call(self, *first: Any) -> Any:
        try:
            return self.factory(*first, dict(self.global_conf), **self.local_conf)
        except IniError as error:
            if error.path is not None and not error.others:
                raise
            raise together([self._placed(each) for each in error.each()]) from error
        except Exception as error:
            traceback = error.__traceback__
            if isinstance(error, TypeError) and traceback is not None and traceback.tb_next is None:
                # No frame of the factory's own: the call itself was refused.
                raise self._refused(len(first) + 1, error) from error
            error.add_note(f'while creating {self.options.place}{self._options_named(error)}')
            raise

    def _placed(self, error: IniError) -> IniError:
        """The error; one of the factory's own, which knows the key at most, at the place of that key."""
        if error.path is not None:
            return error
        place = self.options.places.get(error.key or '', self.options.place)
        return place.error(type(error), error.problem)

    def _options_named(self, error: Exception) -> str:
        """Where the options stand that the message has in quotes, as "unexpected keyword argument 'x'" has."""
        text = str(error)
        return ''.join(f'; {place}' for key, place in self.options.places.items() if repr(key) in text)

    def _refused(self, given: int, error: TypeError) -> IniError:
        """The error for options that don't fit the parameters; at the line of the one that is too much, if one is."""
        import inspect  # only when something is wrong

        from prefork.settings import nearest

        place = self.options.place
        try:
            parameters = inspect.signature(self.factory).parameters
        except (TypeError, ValueError):  # not callable, or written in C
            return place.error(IniFactoryError, f'the factory cannot be called: {error}')
        names = list(parameters)
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        name = getattr(self.factory, '__qualname__', self.factory)
        called = f'the factory {name}({", ".join(map(str, parameters.values()))})'
        for key in self.local_conf:
            place = self.options.places.get(key, place)
            if key in names[:given]:
                return place.error(IniFactoryError, f'{called} is given {key!r} already')
            if key not in names and not takes_all:
                return place.error(IniFactoryError, f'{called} takes no {key!r}{nearest(key, names[given:])}')
        return self.options.place.error(IniFactoryError, f'{called} cannot be called: {error}')


class PipelineContext(Context):
    """Filters around an app."""

    __slots__ = ('app', 'filters')

    inner_first = True

    def __init__(self, loader: ReferenceLoader, options: Options, app: Context, filters: list[Context]) -> None:
        super().__init__(APP, loader, options)
        self.app = app
        self.filters = filters

    def takes_options(self) -> bool:
        return False

    def _create(self) -> Any:
        app = self.app.create()
        filters = [context.create() for context in self.filters]
        return _wrap(app, reversed(filters))


class FilterAppContext(Context):
    """One filter around the next app."""

    __slots__ = ('filter', 'next')

    inner_first = True

    def __init__(self, loader: ReferenceLoader, options: Options, filter: Context, next: Context) -> None:
        super().__init__(APP, loader, options)
        self.filter = filter
        self.next = next

    def takes_options(self) -> bool:
        return self.filter.options is self.options  # not where the filter is another section's

    def _create(self) -> Any:
        app = self.next.create()
        return self.filter.create()(app)


def _shown(place: Place) -> str:
    section = f'[{place.section}]' if place.section else 'from outside'
    return f'{section} {place.path}:{place.line}' if place.line is not None else section


def _wrap(app: Any, filters: Iterable[Filter]) -> Any:
    """The app within the filters, the innermost first."""
    for filter in filters:
        app = filter(app)
    return app
