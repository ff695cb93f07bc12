"""The command line of scripts/count."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import sys
import sysconfig
from pathlib import Path

from countlib import cases, measure, record

RECORD = Path(__file__).with_name('record.toml')

DESCRIPTION = """\
Count the instructions that a request costs in a worker's loop, under valgrind, and compare them with the record of this
interpreter's build. Other than times, counts of the same code are the same again, on a busy machine too."""


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    build = str(_build())
    written = record.parse(RECORD.read_text())
    obstacle = _obstacle(options, written.get(build))
    if obstacle:
        print(f'scripts/count: {"skipped: " if options.check else ""}{obstacle}', file=sys.stderr)
        return 0 if options.check else 1
    chosen = _chosen(options)
    try:
        found = measure.instructions(list(chosen.values()))
    except measure.Failed as failure:
        print(f'scripts/count: {failure}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    counts = dict(zip(chosen, found, strict=True))
    recorded = written.get(build, {})
    print(f'{build}\n{record.table(counts, recorded)}')
    if options.record:
        RECORD.write_text(record.render(record.with_counts(written, build, counts)))
        return 0
    costs_more = any(record.judge(count, recorded.get(name)) is record.Verdict.MORE for name, count in counts.items())
    return 1 if options.check and costs_more else 0


def _parser() -> argparse.ArgumentParser:
    listed = '\n'.join(f'  {case.name:9}{case.about}' for case in cases.CASES)
    parser = argparse.ArgumentParser(
        prog='scripts/count',
        description=DESCRIPTION,
        epilog=f'cases:\n{listed}\n\nThe record is {os.path.relpath(RECORD)}.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('cases', nargs='*', type=_case, metavar='CASE', help='default: all')
    action = parser.add_mutually_exclusive_group()
    limit = f'{record.TOLERANCE:.0%}'.replace('%', ' %%')
    action.add_argument('--check', action='store_true', help=f'fail where a count is over {limit} above the record')
    action.add_argument('--record', action='store_true', help='put the counts into the record')
    return parser


def _case(name: str) -> str:
    if name not in cases.BY_NAME:
        raise argparse.ArgumentTypeError(f'no case {name}; there are {", ".join(cases.BY_NAME)}')
    return name


def _build() -> record.Build:
    return record.Build(
        platform.python_version(),
        platform.machine(),
        platform.python_compiler(),
        ' '.join(platform.libc_ver()),
        sysconfig.get_config_vars(),
        sys.base_prefix,
    )


def _obstacle(options: argparse.Namespace, recorded: record.Counts | None) -> str:
    """What keeps us from counting here; '' if nothing does."""
    if options.check and recorded is None:
        return f'{RECORD.name} has nothing of this build: {_build()}'
    if not shutil.which('valgrind'):
        return 'needs valgrind; on Debian and Ubuntu: apt install valgrind'
    return ''


def _chosen(options: argparse.Namespace) -> dict[str, cases.Case]:
    """The cases that can be counted, by their names in the record."""
    chosen = {}
    for case in cases.CASES:
        if options.cases and case.name not in options.cases:
            continue
        try:
            versions = {name: importlib.metadata.version(name) for name in case.needs}
        except importlib.metadata.PackageNotFoundError as error:
            print(f'scripts/count: {case.name} is left out: it needs {error.name}', file=sys.stderr)
            continue
        chosen[record.entry(case.name, versions)] = case
    return chosen
