"""A world in which every factory, call: and entry point exists, and composing a file yields a plain tree.

The loader's four look-ups (``prefork.deploy.factories``) are replaced by ones that make stubs, so that the files of
projects that aren't installed can be composed and compared with what PasteDeploy made of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from prefork.deploy import factories

# The entry points that aren't ordinary apps and filter factories.
COMPOSITES = {
    ('paste', 'urlmap'),
    ('paste', 'cascade'),
    ('rutter', 'urlmap'),
    ('encoded', 'indexer'),
    ('snovault', 'indexer'),
    ('libopencore', 'main'),
    ('fakeapp', 'remote_addr'),
}
PASTE_FILTER_APPS = (
    'auth_basic auth_cookie auth_digest auth_form auth_tkt cgitb config cowbell error_catcher errordocument evalerror '
    'flup_session grantip gzip httpexceptions lint openid paste_session pony printdebug profile recursive registry '
    'translogger wdg_validate'
)
FILTER_APPS = {('paste', name) for name in PASTE_FILTER_APPS.split()} | {
    ('pastedeploy', 'config'),
    ('pastedeploy', 'prefix'),
    ('weberror', 'main'),
    ('weberror', 'evalerror'),
    ('weberror', 'error_catcher'),
    ('fakeapp', 'caps2'),
}


class Node:
    """Something composed: a tree of plain values, which can be applied to another one as a filter is to an app."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self.tree = tree

    def __call__(self, app: Node) -> Node:
        return Node({'kind': 'applied', 'filter': self.tree, 'app': app.tree})


PROBE = Node({'kind': 'probe'})


class StubWorld:
    """``imports`` and ``calls`` have the factories in the order they were found and called in."""

    def __init__(self) -> None:
        self.imports: list[str] = []
        self.calls: list[str] = []

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(factories, 'load_expression', self._load_expression)
        patch.setattr(factories, 'load_call', lambda spec: self._stub(f'call:{spec}'))
        patch.setattr(factories, 'entry_point', _entry_point)
        patch.setattr(factories, 'require', lambda distribution: None)

    def _load_expression(self, text: str) -> Callable[..., Node]:
        if not text.startswith('egg:'):
            factories.parse_expression(text)
        return self._stub(text)

    def _stub(self, name: str) -> Callable[..., Node]:
        self.imports.append(name)

        def factory(*arguments: Any, **local_conf: Any) -> Node:
            self.calls.append(name)
            *first, global_conf = arguments
            tree = {'factory': name, 'global': dict(global_conf), 'local': dict(local_conf)}
            if not first:
                return Node({'kind': 'app', **tree})
            if isinstance(first[0], Node):
                return Node({'kind': 'filter_app', **tree, 'app': first[0].tree})
            return Node({'kind': 'composite', **tree, 'children': _children(name, first[0], global_conf, local_conf)})

        return factory


def _entry_point(distribution: str, group: str, name: str) -> str | None:
    key = (distribution.strip().lower().replace('_', '-'), name)
    groups = {
        'paste.composite_factory' if key in COMPOSITES else 'paste.app_factory',
        'paste.filter_app_factory' if key in FILTER_APPS else 'paste.filter_factory',
        'paste.server_runner',
    }
    return f'egg:{distribution}#{name}@{group}' if group in groups else None


def _children(name: str, loader: Any, global_conf: dict[str, Any], local_conf: dict[str, Any]) -> dict[str, Any]:
    """What the real composite of that name loads."""
    if 'pipeline_factory' in name:  # OpenStack's: the members are loaded without the globals
        return {key: _pipeline(loader, value.split()) for key, value in local_conf.items() if value.split()}
    if 'urlmap' in name or 'root_app_factory' in name:
        wanted = dict(local_conf)
        not_found = wanted.pop('not_found_app', None) or global_conf.get('not_found_app')
        if not_found:
            wanted = {'not_found_app': not_found, **wanted}
    elif 'cascade' in name or 'remote_addr' in name:
        wanted = {key: value for key, value in local_conf.items() if key.startswith('app')}
    else:
        wanted = {'app': local_conf['app']} if 'app' in local_conf else {}
    return {key: loader.get_app(value, global_conf=global_conf).tree for key, value in wanted.items()}


def _pipeline(loader: Any, names: list[str]) -> dict[str, Any]:
    filters = [loader.get_filter(name).tree for name in names[:-1]]
    return {'filters': filters, 'app': loader.get_app(names[-1]).tree}
