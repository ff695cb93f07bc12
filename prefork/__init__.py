"""prefork: a multi-process prefork WSGI server with a pure-stdlib core.

The public names are imported when they are first asked for, so that ``import prefork`` costs nothing and a run
imports no module that it doesn't use.
"""

from __future__ import annotations

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
