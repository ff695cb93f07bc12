"""The command line of scripts/try-slow."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from slowlib.attack import COMMAND, MODES, Verdict, attack, is_installed
from slowlib.visitor import Visitor
from tests.serving import serve

SCRIPTS = Path(__file__).resolve().parents[1]

DESCRIPTION = """\
Serve an application with this checkout, one worker with as many slots for connections as there are slow clients, and
have slowhttptest be those clients, in one of its modes after the other. Meanwhile a page is asked for on new
connections, several times a second: it has to come each time."""

SERVER = (
    'slowlib.app:application',
    *('--bind', '127.0.0.1:0', '--workers', '1', '--access-log', 'off', '--pool-size'),
)
COLUMNS = '{:<16}{:>12}{:>8}{:>10}{:>11}{:>11}  {}'


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if not is_installed():
        print(f"{COMMAND} is not installed; it is Debian's package of that name", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the server is stopped on the way out
    print(COLUMNS.format('mode', 'connections', 'fresh', 'answered', 'median', 'worst', 'slowhttptest'), flush=True)
    try:
        passed = [_try(name, options) for name in options.modes or MODES]
    except KeyboardInterrupt:
        return 130
    return 0 if all(passed) else 1


def _try(name: str, options: argparse.Namespace) -> bool:
    """Report on one mode; whether everybody was served."""
    arguments = (options.connections, options.rate, options.seconds)
    with (
        serve(*SERVER, str(options.slots), env={'PYTHONPATH': str(SCRIPTS)}) as server,
        Visitor(server.port) as visitor,
    ):
        verdict = attack(MODES[name], server.url, *arguments)
    _report(name, options.connections, visitor, verdict)
    return verdict.available and not visitor.failures


def _report(name: str, connections: int, visitor: Visitor, verdict: Verdict) -> None:
    median, worst = (f'{seconds * 1000:.1f} ms' for seconds in (visitor.median, visitor.worst))
    answered = visitor.asked - len(visitor.failures)
    print(COLUMNS.format(name, connections, visitor.asked, answered, median, worst, verdict.text))
    for failure in dict.fromkeys(visitor.failures):
        print(f'    {visitor.failures.count(failure)} failed with {failure}')
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='scripts/try-slow', description=DESCRIPTION)
    parser.add_argument('modes', nargs='*', choices=[*MODES, []], metavar='MODE', help=f'of {", ".join(MODES)}')
    parser.add_argument('--seconds', type=int, default=20, metavar='N', help='for each mode; default: 20')
    parser.add_argument('--connections', type=int, default=1000, metavar='N', help='default: 1000')
    parser.add_argument('--slots', type=int, default=1000, metavar='N', help="the worker's pool_size; default: 1000")
    parser.add_argument('--rate', type=int, default=500, metavar='N', help='new ones a second; default: 500')
    return parser
