"""The command line of scripts/try-corpora."""

from __future__ import annotations

import argparse
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from corporalib import gunicorn, llhttp
from corporalib.arguments import ARGUED, NOT_APPLICABLE
from corporalib.case import Unreadable
from corporalib.exchange import exchange
from corporalib.judge import judge
from tests.serving import serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from corporalib.case import Case

SCRIPTS = Path(__file__).resolve().parents[1]

DESCRIPTION = """\
Serve an application with this checkout and put the requests of other servers' tests to it: what is valid has to reach
the application as it was sent, and what isn't has to be refused. Where we differ, a table argues from the RFC."""

EPILOG = """\
DIR is gunicorn's source distribution, or its tests/requests; a checkout of nodejs/llhttp, or its test/request."""

SERVER = (
    'corporalib.app:application',
    *('--bind', '127.0.0.1:0', '--workers', '1', '--threads', '1', '--access-log', 'off'),
)


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    cases: list[Case | Unreadable] = []
    for folder in options.folders:
        found = list(read(folder))
        if not found:
            parser.error(f'{folder} has no corpus')
        cases += found
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the server is stopped on the way out
    try:
        failed, tried = _try_all(cases, options.verbose)
    except KeyboardInterrupt:
        return 130
    print(f'{tried - failed} passed, {failed} failed')
    return 1 if failed else 0


def read(folder: Path) -> Iterator[Case | Unreadable]:
    """The cases of the corpora that are in ``folder``, or where their projects have them below it."""
    for requests in (folder, folder / 'tests' / 'requests'):
        yield from gunicorn.read(requests)
    for requests in (folder, folder / 'test' / 'request'):
        yield from llhttp.read(requests)


def _try_all(cases: Sequence[Case | Unreadable], verbose: bool) -> tuple[int, int]:
    """Report on each case; how many failed, of how many that were tried."""
    failed = tried = 0
    with serve(*SERVER, env={'PYTHONPATH': str(SCRIPTS)}) as server:
        client = partial(exchange, ('127.0.0.1', server.port))
        for case in cases:
            if isinstance(case, Unreadable):
                lines = [f'unreadable: {case}']
            elif case.name in NOT_APPLICABLE:
                if verbose:
                    print(f'{case.name}: not applicable, {NOT_APPLICABLE[case.name]}')
                continue
            else:
                argument = ARGUED.get(case.name)
                lines = list(judge(case, argument, client))
                if verbose and argument:
                    print(f'{case.name}: {argument.outcome}, {argument.section}: {argument.reason}')
            for line in lines:
                print(f'FAILED  {line}', flush=True)
            tried += 1
            failed += bool(lines)
    return failed, tried


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='scripts/try-corpora', description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument('folders', nargs='+', type=Path, metavar='DIR')
    parser.add_argument(
        '--verbose', action='store_true', help='say also where we differ from a corpus, and what does not apply'
    )
    return parser
