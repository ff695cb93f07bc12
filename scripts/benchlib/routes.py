"""What finding a route costs: Routes by itself, and with the index that the toolkit's Router gives its mapper.

``python -m benchlib.routes ROUNDS`` prints the medians as JSON, ``{who: {number of routes: microseconds a match}}``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeAlias

    Figures: TypeAlias = dict[str, dict[str, float]]

SIZES = (10, 1000)
MATCHES = 2000  # in a round, at the most
ROUTES, INDEX = 'Routes', 'with the index'

RESOURCE = (
    ('', 'GET'),
    ('', 'POST'),
    ('.{format}', 'GET'),
    ('/detail', 'GET'),
    ('/{id}', 'GET'),
    ('/{id}', 'PUT'),
    ('/{id}', 'DELETE'),
    ('/{id}.{format}', 'GET'),
    ('/{id}/action', 'POST'),
    ('/{id}/tags/{tag}', 'GET'),
)
"""The ten routes of a resource, below a version and a project, as the APIs of OpenStack have them."""

ASKED = ('', '.json', '/detail', '/12', '/12.json', '/12/tags/new', '/12/nowhere')


def measure(rounds: int) -> Figures:
    """Time both in turns; nothing else is in a match than the method of the mapper that a middleware calls."""
    from routes import Mapper

    from prefork.toolkit.routing import index_routes

    turns: list[tuple[str, int, Callable[[str, dict[str, str]], object], list[str]]] = []
    for size in SIZES:
        resources = size // len(RESOURCE)
        paths = [f'/v2.1/f00d/things{number}{end}' for number in _spread(resources) for end in ASKED]
        mapper, indexed = _mapper(Mapper, resources), _mapper(Mapper, resources)
        index_routes(indexed)
        turns += [(ROUTES, size, mapper.routematch, paths), (INDEX, size, indexed.routematch, paths)]
    samples: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for who, size, match, paths in turns:
            samples.setdefault((who, size), []).append(_microseconds(match, paths))
    return {who: {str(size): statistics.median(samples[who, size]) for size in SIZES} for who in (ROUTES, INDEX)}


def _mapper(mapper_class: Any, resources: int) -> Any:
    mapper = mapper_class(register=False)
    for number in range(resources):
        for path, method in RESOURCE:
            mapper.connect(None, f'/v2.1/{{project}}/things{number}{path}', conditions={'method': [method]})
    mapper.create_regs()
    return mapper


def _spread(resources: int) -> Iterable[int]:
    """Resources from the first to the last: Routes finds the early ones sooner."""
    return sorted({0, resources // 4, resources // 2, resources * 3 // 4, resources - 1})


def _microseconds(match: Callable[[str, dict[str, str]], object], paths: list[str]) -> float:
    environ = {'REQUEST_METHOD': 'GET'}
    passes = MATCHES // len(paths)
    began = time.perf_counter()
    for _ in range(passes):
        for path in paths:
            match(path, environ)
    return (time.perf_counter() - began) / (passes * len(paths)) * 1e6


def table(figures: Figures) -> str:
    """Who down, numbers of routes across, and how many times the first the last is."""
    rows = [['microseconds/match', *(f'{size:,} routes' for size in SIZES), 'x']]
    for who, costs in figures.items():
        few, *_, many = (costs[str(size)] for size in SIZES)
        rows.append([who, *(f'{costs[str(size)]:,.1f}' for size in SIZES), f'x{many / few:.2f}'])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join('  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


if __name__ == '__main__':
    print(json.dumps(measure(int(sys.argv[1]))))
