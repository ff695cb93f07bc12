"""gunicorn's corpus: ``valid/NAME.http`` and ``invalid/NAME.http``, each with a ``NAME.py`` that says what is expected.

The Python files are read, not run: they assign dicts of literals, lists of those, or the name of an exception.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

from corporalib.case import Case, Ending, Request, Unreadable, cgi_fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDS_EARLY = frozenset(('NoMoreData', 'ChunkMissingTerminator'))
"""The exceptions that say that bytes were missing, not wrong."""

_ESCAPES = {b'\\r': b'\r', b'\\n': b'\n', b'\\t': b'\t', b'\\0': b'\0'}
_ESCAPE = re.compile(rb'\\(?:[rnt0]|x([0-9a-fA-F]{2}))')
_TEXT_METHODS = frozenset(('decode', 'encode', 'replace'))


def read(folder: Path) -> Iterator[Case | Unreadable]:
    """The cases in ``folder``, in the order of their names, which are ``gunicorn:valid/NAME``."""
    for path in sorted(folder.glob('*valid/*.http')):
        name = f'gunicorn:{path.parent.name}/{path.stem}'
        try:
            yield _case(name, unescape(path.read_bytes()), expected(path.with_suffix('.py')))
        except Unreadable as error:
            yield error
        except (KeyError, OSError, SyntaxError, TypeError, ValueError) as error:
            yield Unreadable(f'{name}: {error!r}')


def _case(name: str, data: bytes, expectation: list[dict[str, Any]] | str) -> Case:
    if isinstance(expectation, str):
        return Case(name, data, (), Ending.CUT if expectation in ENDS_EARLY else Ending.REFUSED)
    return Case(name, data, tuple(map(_request, expectation)), Ending.COMPLETE)


def unescape(text: bytes) -> bytes:
    """The bytes that a ``.http`` file stands for: its own line ends count for nothing, escapes do."""
    text = text.replace(b'\n', b'')
    return _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()) if match[1] else _ESCAPES[match[0]], text)


def expected(path: Path) -> list[dict[str, Any]] | str:
    """What a ``.py`` file assigns to ``request``: the requests, or the name of an exception.  Raises Unreadable."""
    names: dict[str, Any] = {}
    for statement in ast.parse(path.read_text(encoding='utf-8'), str(path)).body:
        match statement:
            case ast.ImportFrom(names=imported):
                names.update((alias.name, alias.name) for alias in imported)
            case ast.Assign(targets=[ast.Name(id='cfg')]) | ast.Expr():  # settings of gunicorn's own, docstrings
                pass
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                names[name] = _evaluate(value, names, path)
            case _:
                raise Unreadable(f'{path}:{statement.lineno}: {ast.unparse(statement)[:60]}')
    found = names.get('request')
    if not isinstance(found, str | dict | list):
        raise Unreadable(f'{path}: no request')
    return [found] if isinstance(found, dict) else found


def _evaluate(node: ast.expr, names: dict[str, Any], path: Path) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.List(elts=elements):
            return [_evaluate(element, names, path) for element in elements]
        case ast.Tuple(elts=elements):
            return tuple(_evaluate(element, names, path) for element in elements)
        case ast.Dict(keys=keys, values=values):
            return {
                _evaluate(key, names, path): _evaluate(value, names, path)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
        case ast.Call(func=ast.Name(id='uri'), args=[argument], keywords=[]):
            return _evaluate(argument, names, path)  # what it is taken apart into isn't compared
        case ast.Call(func=ast.Attribute(value=subject, attr=method), args=arguments, keywords=[]) if (
            method in _TEXT_METHODS
        ):
            text = _evaluate(subject, names, path)
            if isinstance(text, str | bytes):
                return getattr(text, method)(*(_evaluate(argument, names, path) for argument in arguments))
    raise Unreadable(f'{path}:{node.lineno}: {ast.unparse(node)[:60]}')


def _request(expectation: dict[str, Any]) -> Request:
    body = expectation['body']
    major, minor = expectation['version']
    return Request(
        expectation['method'],
        expectation['uri'],
        f'{major}.{minor}',
        cgi_fields(expectation['headers']),
        body.encode() if isinstance(body, str) else body,
    )
