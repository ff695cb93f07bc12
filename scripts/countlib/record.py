"""The record: what a request has cost, by interpreter and case, and what to say of a new count.  Pure.

Builds of CPython differ by more than what is looked for, those of one version too: a count is compared with counts of
the same build alone.
"""

from __future__ import annotations

import enum
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

TOLERANCE = 0.03
"""The share by which a count may differ from the record: counting the same code again gives 0.002 at the most."""

HEADING = """\
# Instructions a request, by the build of CPython that they were counted on, and by case.  scripts/count --record writes
# this file; CI fails where a count on the same build is more than 3 % above it.
"""

CONFIGURATION = ('CONFIG_ARGS', 'CC', 'PY_CFLAGS', 'PY_CFLAGS_NODIST', 'PY_LDFLAGS', 'Py_DEBUG', 'WITH_PYMALLOC')
"""The variables of sysconfig that say how an interpreter was compiled."""

Counts = dict[str, int]
Record = dict[str, Counts]


@dataclass(frozen=True)
class Build:
    """An interpreter, by what decides how many instructions it takes.  ``configuration`` are variables of sysconfig."""

    version: str
    machine: str
    compiler: str
    libc: str
    configuration: Mapping[str, object]
    prefix: str

    def __str__(self) -> str:
        """Its name in the record, the same wherever the same build is installed."""
        values = [f'{name}={self.configuration.get(name)}' for name in CONFIGURATION]
        digest = hashlib.sha256('\n'.join(values).replace(self.prefix, 'PREFIX').encode()).hexdigest()[:8]
        return f'CPython {self.version}, {self.machine}, {self.compiler}, {self.libc}, configuration {digest}'


def entry(case: str, versions: Mapping[str, str]) -> str:
    """A case's name in the record: ``versions`` are those of the distributions whose code is counted with it."""
    return ', '.join([case, *(f'{name} {version}' for name, version in sorted(versions.items()))])


class Verdict(enum.Enum):
    """How a count compares; the value says what follows, '' where nothing does."""

    SAME = ''
    NEW = 'not recorded yet'
    MORE = 'MORE than recorded: make it cheaper, or scripts/count --record and say in the commit what it is for'
    LESS = 'less than recorded: scripts/count --record, so that it stays'


def judge(count: int, recorded: int | None) -> Verdict:
    if recorded is None:
        return Verdict.NEW
    if count > recorded * (1 + TOLERANCE):
        return Verdict.MORE
    if count < recorded * (1 - TOLERANCE):
        return Verdict.LESS
    return Verdict.SAME


def table(counts: Counts, recorded: Counts) -> str:
    """A line for each case: the count, how far it is from the record, and the verdict where there is one."""
    rows = [('instructions/request', 'counted', 'recorded', '', '')]
    for name, count in counts.items():
        before = recorded.get(name)
        then, change = ('-', '') if before is None else (f'{before:,}', f'{count / before - 1:+.1%}')
        rows.append((name, f'{count:,}', then, change, judge(count, before).value))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        f'{name:{widths[0]}}  {count:>{widths[1]}}  {then:>{widths[2]}}  {change:>{widths[3]}}  {word}'.rstrip()
        for name, count, then, change, word in rows
    )


def parse(text: str) -> Record:
    """The record in a file: TOML, a table for each build."""
    return tomllib.loads(text)


def render(record: Record) -> str:
    """The file of a record, builds in order, so that counting one changes its lines alone."""
    blocks = [HEADING]
    for build, counts in sorted(record.items()):
        lines = [f'{_quoted(name)} = {count:_}' for name, count in counts.items()]
        blocks.append('\n'.join([f'[{_quoted(build)}]', *lines, '']))
    return '\n'.join(blocks)


def _quoted(name: str) -> str:
    """A basic string of TOML; no name has a quote, a backslash or a control character."""
    return f'"{name}"'


def with_counts(record: Record, build: str, counts: Counts) -> Record:
    """The record with these counts of a build, instead of those of the same cases, whatever versions those were of."""
    cases = {_case(name) for name in counts}
    kept = {name: count for name, count in record.get(build, {}).items() if _case(name) not in cases}
    return {**record, build: {**kept, **counts}}


def _case(name: str) -> str:
    return name.partition(',')[0]
