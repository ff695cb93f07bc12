"""prefork: a multi-process prefork WSGI server with a pure-stdlib core.

The public names are imported when they are first asked for, so that ``import prefork`` costs nothing and a run
imports no module that it doesn't use.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # what __getattr__ gives, for who checks types
    from prefork.deploy import Loader as Loader
    from prefork.deploy import appconfig as appconfig
    from prefork.deploy import loadapp as loadapp
    from prefork.deploy import loadfilter as loadfilter
    from prefork.deploy import loadserver as loadserver
    from prefork.server import Server as Server
    from prefork.toolkit import Application as Application
    from prefork.toolkit import Debug as Debug
    from prefork.toolkit import Middleware as Middleware
    from prefork.toolkit import Request as Request
    from prefork.toolkit import Router as Router

__version__ = '0.1.0'

_PUBLIC = {
    'Server': 'prefork.server',
    'Loader': 'prefork.deploy',
    'loadapp': 'prefork.deploy',
    'loadfilter': 'prefork.deploy',
    'loadserver': 'prefork.deploy',
    'appconfig': 'prefork.deploy',
    'Request': 'prefork.toolkit',
    'Application': 'prefork.toolkit',
    'Middleware': 'prefork.toolkit',
    'Debug': 'prefork.toolkit',
    'Router': 'prefork.toolkit',
}

__all__ = ['__version__', *_PUBLIC]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
