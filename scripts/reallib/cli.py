"""The command line of scripts/try-real."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from reallib.environment import Environment
from reallib.services import BY_NAME
from reallib.trial import try_service

CHECKOUT = Path(__file__).resolve().parents[2]

DESCRIPTION = """\
Install real services from the package index, serve them with this checkout, call their APIs and check what they
answer. Each has a virtual environment of its own, made once; what can't be installed is a failure."""


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: servers are stopped on the way out
    passed = failed = 0
    started = time.monotonic()
    try:
        for name in options.services or BY_NAME:
            service = BY_NAME[name]
            with tempfile.TemporaryDirectory(prefix=f'prefork-real-{name}-') as folder:
                environment = Environment(options.venvs.absolute() / name, service.requirements, CHECKOUT)
                trial = try_service(service, environment, Path(folder))
            passed += trial.passed
            failed += trial.failed
    except KeyboardInterrupt:
        return 130
    print(f'Python {sys.version.split()[0]}, {time.monotonic() - started:.0f} s')
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    listed = '\n'.join(f'  {service.name:11}{service.about}' for service in BY_NAME.values())
    parser = argparse.ArgumentParser(
        prog='scripts/try-real',
        description=DESCRIPTION,
        epilog=f'services:\n{listed}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('services', nargs='*', type=_service, metavar='SERVICE', help='default: all of them')
    parser.add_argument(
        '--venvs', type=Path, default=CHECKOUT / '.real-venv', metavar='DIR', help='default: .real-venv'
    )
    return parser


def _service(name: str) -> str:
    if name not in BY_NAME:
        raise argparse.ArgumentTypeError(f'no {name}; there are {", ".join(BY_NAME)}')
    return name
