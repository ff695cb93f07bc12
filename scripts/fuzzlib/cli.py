"""The command line of scripts/fuzz, and the environment that it fuzzes in."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = CHECKOUT / 'scripts'
VENV = CHECKOUT / '.fuzz-venv'
TARGETS = {
    'requests': 'the bytes of a client, under the limits that servers have',
    'limits': 'the same where next to nothing is allowed, so that every limit is reached',
    'responses': 'what an application says',
}

DESCRIPTION = """\
Check that any bytes of a client are requests or refused with a status of ours, in less than 10 ms and however they are
cut; and that whatever an application answers is refused, or read by h11 as it is.

Inputs come from atheris, which looks for those that reach new code; where it can't be installed, from random changes
to the seeds. One that breaks a rule is printed, and ends it with status 1."""


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    environment = {**os.environ, 'PYTHONPATH': f'{SCRIPTS}{os.pathsep}{CHECKOUT}'}
    try:
        python = _ensure(options.venv.absolute())
        for target in options.targets or TARGETS:
            command = [str(python), '-m', 'fuzzlib.run', target, str(options.seconds), str(options.runs)]
            command += [str(options.seed), options.by]
            if status := subprocess.run(command, env=environment).returncode:
                return status
    except KeyboardInterrupt:
        return 130
    except subprocess.CalledProcessError as error:
        print(f'{error.cmd[0]}: h11 cannot be installed', file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    listed = '\n'.join(f'  {name:11}{about}' for name, about in TARGETS.items())
    parser = argparse.ArgumentParser(
        prog='scripts/fuzz',
        description=DESCRIPTION,
        epilog=f'targets:\n{listed}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('targets', nargs='*', type=_target, metavar='TARGET', help='default: all of them')
    parser.add_argument('--seconds', type=int, default=60, metavar='N', help='for each target, at most; default: 60')
    parser.add_argument(
        '--runs', type=int, default=0, metavar='N', help='inputs for each target, at most; default: no limit'
    )
    parser.add_argument('--seed', type=int, default=1, metavar='N', help='of the random numbers; default: 1')
    parser.add_argument(
        '--by',
        choices=['atheris', 'mutation'],
        default='atheris',
        help='what makes the inputs; default: atheris where it is installed',
    )
    parser.add_argument(
        '--venv', type=Path, default=VENV, metavar='DIR', help='made if it is not there; default: .fuzz-venv'
    )
    return parser


def _target(name: str) -> str:
    if name not in TARGETS:
        raise argparse.ArgumentTypeError(f'no {name}; there are {", ".join(TARGETS)}')
    return name


def _ensure(directory: Path) -> Path:
    """The interpreter of a virtual environment with h11 and, where it can be had, atheris; it is made once."""
    python = directory / 'bin' / 'python'
    made = directory / 'made'
    if not made.is_file():
        if directory.exists() and directory != VENV:
            sys.exit(f'scripts/fuzz: {directory} is there, and was not made by this script: name another one')
        print(f'making {directory}, once', file=sys.stderr, flush=True)
        venv.EnvBuilder(with_pip=True, symlinks=True, clear=directory.exists()).create(directory)
        pip = [str(python), '-m', 'pip', 'install', '-qq', '--disable-pip-version-check']
        subprocess.run([*pip, 'h11'], check=True)
        if subprocess.run([*pip, '--only-binary=:all:', 'atheris'], stderr=subprocess.DEVNULL).returncode:
            print('atheris cannot be installed here: random changes to the seeds have to do', file=sys.stderr)
        made.touch()
    return python
