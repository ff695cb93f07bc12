"""Objects of the application by the names that options have for them."""

from __future__ import annotations

import os
import sys

from prefork.errors import ConfigError
from prefork.settings import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def import_object(spec: str) -> Any:
    """The callable that ``module:name`` or ``module:name.attribute`` names.

    Raises ConfigError, with the nearest name where something isn't there, and with its cause where the import failed.
    """
    import importlib

    module_name, _, attributes = spec.partition(':')
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ''
        if not f'{module_name}.'.startswith(f'{missing}.'):  # the module is there; what it imports isn't
            raise ConfigError(f'{spec}: importing {module_name} failed: {_describe(error)}') from error
        near = nearest(missing.rpartition('.')[2], _sibling_modules(missing))
        raise ConfigError(f'{spec}: there is no module {missing!r}{near}') from None
    except Exception as error:
        raise ConfigError(f'{spec}: importing {module_name} failed: {_describe(error)}') from error
    path = module_name
    for attribute in attributes.split('.'):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            near = nearest(attribute, [name for name in dir(found) if not name.startswith('_')])
            raise ConfigError(f'{spec}: {path} has no {attribute!r}{near}') from None
        path += f'.{attribute}'
    if not callable(found):
        raise ConfigError(f'{spec}: {path} is {type(found).__name__}, which is not callable')
    return found


def _sibling_modules(name: str) -> list[str]:
    """The modules that there are where ``name`` was looked for: in its package, or in the current directory."""
    import pkgutil

    package, _, _ = name.rpartition('.')
    path = list(sys.modules[package].__path__) if package in sys.modules else [os.getcwd()]
    return [module.name for module in pkgutil.iter_modules(path)]


def _describe(error: BaseException) -> str:
    return f'{type(error).__name__}: {error}'
