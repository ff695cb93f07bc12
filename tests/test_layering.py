"""Who may import whom: DESIGN's layers as a table, held against every import that stands in the source."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parent.parent / 'prefork'
MODULES = {
    '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts).removesuffix('.__init__'): path
    for path in sorted(PACKAGE.rglob('*.py'))
}

# A part is a module of prefork, or a package with all that is in it.  What each may import besides itself; a higher
# layer may use any lower one: cli, master, worker, then net and http1.
COMMON = {'prefork', 'errors', 'settings', 'scoreboard', 'logs'}
MAY_IMPORT = {
    'prefork': {'server', 'deploy', 'toolkit'},  # the public names, when they are asked for
    'errors': set(),
    'scoreboard': set(),
    'settings': {'errors'},
    'logs': {'settings', 'errors'},
    'flags': {'errors', 'settings'},
    'objects': {'settings', 'errors'},
    '__main__': {'cli'},
    'cli': COMMON | {'configuration', 'flags', 'objects', 'master'},
    'configuration': COMMON | {'objects', 'deploy'},
    'server': COMMON | {'worker', 'net'},
    'master': COMMON | {'objects', 'worker', 'net'},
    'worker': COMMON | {'net', 'http1'},
    'net': COMMON,
    'http1': COMMON,
    'deploy': COMMON,
    'status': COMMON,
    'toolkit': COMMON,
    'demo': {'toolkit'},  # an application, as anybody could write it
}

# Beyond the standard library.
THIRD_PARTY = {'toolkit': {'webob', 'routes'}, 'worker': {'psutil'}}

# Modules without a socket, a clock or a file: all that they may import.  The master's policy is made of them.
_POLICY = {
    f'prefork.master.{name}'
    for name in ('supervisor', 'rollout', 'handover', 'failures', 'shutdown', 'report', 'fleet', 'generation', 'orders')
}
PURE = {
    'prefork.http1': {'re', 'enum', 'prefork.errors', 'prefork.http1'},
    'prefork.deploy.ini': {'re', 'prefork.errors'},
    'prefork.net.proxy': {'re', 'ipaddress', 'prefork.errors', 'prefork.net.origin'},
    'prefork.net.preface': {'re', 'ipaddress', 'prefork.errors', 'prefork.net.proxy'},
    'prefork.worker.backlog': {'enum'},
    **dict.fromkeys(sorted(_POLICY), _POLICY | {'enum', 'signal', 'prefork.errors', 'prefork.worker.backlog'}),
}

# What costs every process that imports it a megabyte or more, or milliseconds.  It may stand in the function that
# needs it, and at the top only of the modules that are imported where it is needed anyway.
HEAVY = {'asyncio', 'dataclasses', 'importlib.metadata', 'inspect', 'psutil', 'ssl', 'subprocess', 'tempfile', 'typing'}
HEAVY_WHERE_NEEDED = {'prefork.net.tls': {'ssl'}, 'prefork.worker.memory': {'psutil'}}
NOT_THE_CORE = ('prefork.toolkit', 'prefork.demo')


class Import:
    """One imported module of one import statement."""

    def __init__(self, importer: str, line: int, name: str) -> None:
        self.importer = importer
        self.name = name
        self.where = f'{importer}:{line}: {name}'

    @property
    def is_ours(self) -> bool:
        return self.name.partition('.')[0] == 'prefork'

    @property
    def top(self) -> str:
        return self.name.partition('.')[0]


def part_of(module: str) -> str:
    return module.split('.')[1] if '.' in module else module


def imports_of(module: str, nodes: Iterator[ast.AST]) -> Iterator[Import]:
    """Each import among ``nodes``, with ``from package import submodule`` and relative imports as the module meant."""
    package = module if MODULES[module].name == '__init__.py' else module.rpartition('.')[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parent = package.split('.')[: len(package.split('.')) - node.level + 1]
                base = '.'.join([*parent, *filter(None, [base])])
            for alias in node.names:
                full = f'{base}.{alias.name}'
                yield Import(module, node.lineno, full if full in MODULES or base == 'importlib' else base)


@functools.cache
def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def all_imports(module: str) -> list[Import]:
    return list(imports_of(module, ast.walk(parsed(module))))


def run_time_nodes(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """The statements that run when a module is imported: not those in functions, nor under ``if TYPE_CHECKING``."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == 'TYPE_CHECKING':
            yield from run_time_nodes(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for name in ('body', 'orelse', 'finalbody'):
                yield from run_time_nodes(getattr(node, name, []))


@pytest.mark.parametrize('module', MODULES)
def test_parts_import_only_what_is_below_them(module: str) -> None:
    part = part_of(module)
    assert part in MAY_IMPORT, f'{part} has no layer yet: give it one'
    allowed = MAY_IMPORT[part] | {part}
    assert [found.where for found in all_imports(module) if found.is_ours and part_of(found.name) not in allowed] == []


@pytest.mark.parametrize('module', MODULES)
def test_nothing_but_what_is_declared_is_needed_beyond_python(module: str) -> None:
    allowed = THIRD_PARTY.get(part_of(module), set()) | sys.stdlib_module_names | {'_typeshed'}
    assert [found.where for found in all_imports(module) if not found.is_ours and found.top not in allowed] == []


@pytest.mark.parametrize('pure', PURE)
def test_pure_modules_reach_nothing_outside(pure: str) -> None:
    nothing = {'__future__', 'typing', 'collections.abc', '_typeshed'}  # no effect of their own
    modules = [module for module in MODULES if module == pure or module.startswith(f'{pure}.')]
    assert modules, f'there is no {pure}'
    for module in modules:
        for found in all_imports(module):
            names = [found.name[:end] for end in range(len(found.name) + 1) if found.name[end : end + 1] in ('.', '')]
            assert not {*names}.isdisjoint(PURE[pure] | nothing), found.where


@pytest.mark.parametrize('module', [name for name in MODULES if not name.startswith(NOT_THE_CORE)])
def test_importing_the_core_is_cheap(module: str) -> None:
    body = parsed(module).body
    heavy = HEAVY - HEAVY_WHERE_NEEDED.get(module, set())
    assert [found.where for found in imports_of(module, run_time_nodes(body)) if found.name in heavy] == []


CASES = {
    'a module': ('import prefork.net.tls', 'prefork.net.tls'),
    'a name': ('from prefork.errors import ConfigError', 'prefork.errors'),
    'a submodule': ('from prefork import errors', 'prefork.errors'),
    'a name of the package': ('from prefork import __version__', 'prefork'),
    'relative': ('from .errors import ConfigError', 'prefork.errors'),
    'relative, a submodule': ('from . import errors', 'prefork.errors'),
    'in a function': ('def f():\n    import webob.exc', 'webob.exc'),
    'for types alone': ('if TYPE_CHECKING:\n    import webob', 'webob'),
}


@pytest.mark.parametrize(('source', 'name'), CASES.values(), ids=CASES)
def test_imports_are_found(source: str, name: str) -> None:
    assert [found.name for found in imports_of('prefork.cli', ast.walk(ast.parse(source)))] == [name]
