"""One service being tried: a folder, an environment, and steps that pass or fail."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from reallib.environment import NotInstalled
from tests.serving import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from reallib.environment import Environment
    from tests.serving import Server

COMMAND_TIME = 600.0
"""Seconds for a command such as the migration of a database, or a suite of tests."""

START_TIME = 120.0
"""Seconds until a server must be ready: a large service imports a thousand modules."""

LAST_WORDS = 30
"""Lines of output that are shown of what failed."""

BIND = ('--bind', '127.0.0.1:0')


class Failed(Exception):
    """A command failed; the text is what it was, and its last words."""


class GaveUp(Exception):
    """A step failed and was reported; those that need it can't be tried."""


class Service(NamedTuple):
    """A row of the table in ``reallib.services``."""

    name: str
    about: str
    requirements: tuple[str, ...]
    run: Callable[[Trial], None]


class Trial:
    """What a service's ``run`` works with.

    ``folder`` is its temporary directory, where commands run and servers are started; ``passed`` and ``failed`` count
    its steps.
    """

    def __init__(self, name: str, environment: Environment, folder: Path) -> None:
        self.name = name
        self.environment = environment
        self.folder = folder
        self.passed = 0
        self.failed = 0

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """A line of the report: whether the block raised.  What it raised is reported, and GaveUp goes on."""
        started = time.monotonic()
        try:
            yield
        except Exception as error:
            self.fail(text, error)
            raise GaveUp from error
        self.passed += 1
        print(f'ok      {self.name}: {text} ({time.monotonic() - started:.1f} s)', flush=True)

    def fail(self, text: str, error: Exception) -> None:
        self.failed += 1
        print(f'FAILED  {self.name}: {text}\n{_indented(_describe(error))}', flush=True)

    def command(
        self, program: str, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> str:
        """Run a program of the environment to its end; what it printed.  Raises Failed."""
        command = [str(self.environment.programs / program), *arguments]
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            timeout=COMMAND_TIME,
        )
        if done.returncode:
            lines = done.stdout.splitlines()[-LAST_WORDS:]
            raise Failed('\n'.join([f'{program} {" ".join(arguments)}: exit status {done.returncode}', *lines]))
        return done.stdout

    def run_tests(self, *arguments: str, env: Mapping[str, str], cwd: Path) -> None:
        """A suite of tests with the environment's pytest; it fails where one of them does, or where none ran."""
        here = {'no_proxy': '127.0.0.1'}
        output = self.command('pytest', '-q', '-p', 'no:cacheprovider', *arguments, env={**here, **env}, cwd=cwd)
        closing = output.strip().splitlines()[-1]
        if not re.search(r'\b[1-9]\d* passed', closing):
            raise Failed(f'no test passed: {closing}')
        print(f'        {closing}', flush=True)

    @contextlib.contextmanager
    def serving(
        self, what: str, *argv: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Iterator[Server]:
        """prefork-wsgi of the environment with ``argv``: two steps, that it starts, and that TERM ends it well.

        What it wrote last is shown where something fails while it runs.
        """
        command = [str(self.environment.programs / 'prefork-wsgi')]
        with contextlib.ExitStack() as stack:
            with self.step(f'{what} is served: prefork-wsgi {" ".join(argv)}'):
                server = stack.enter_context(
                    serve(*argv, cwd=cwd or self.folder, env=env, command=command, timeout=START_TIME)
                )
            try:
                yield server
            except Exception:
                for output in (server.stdout, server.stderr):
                    print(_indented('\n'.join(output.text.splitlines()[-LAST_WORDS:])), flush=True)
                raise
            with self.step(f'{what} stops: SIGTERM ends it with status 0'):
                server.terminate()
                if status := server.wait():
                    raise Failed(f'status {status}:\n{server.stderr.text}')
                stack.close()  # which finds processes that outlived it


def try_service(service: Service, environment: Environment, folder: Path) -> Trial:
    """Install the service, run it, and report; the trial has the counts."""
    trial = Trial(service.name, environment, folder)
    try:
        with trial.step(f'installed: {" ".join(service.requirements)}'):
            environment.ensure()
        service.run(trial)
    except GaveUp:
        pass  # and said so
    except Exception as error:
        trial.fail('what was started could not be ended', error)
    return trial


def _describe(error: Exception) -> str:
    if isinstance(error, (Failed, NotInstalled, AssertionError)):
        return str(error)
    return f'{type(error).__name__}: {error}'


def _indented(text: str) -> str:
    return '\n'.join('        ' + line for line in text.splitlines())
