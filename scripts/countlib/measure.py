"""Counts a case: the process that serves runs under valgrind, and its client is here, where nothing is counted.

The client sends a request when it has read the answer to the last one, so that the loop has the same to do each time
that it wakes up.  What start-up costs is in a short run as well as in a long one, and their difference is without it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from countlib.cases import Case

SCRIPTS = Path(__file__).parents[1]

SHORT, LONG = 200, 2000
"""Requests of the two runs: after the first ones all that is made once has been made."""

PATIENCE = 60.0  # seconds for an answer, the start included

# What a count depends on besides the code: hashes (PYTHONHASHSEED), and what the environment says of place and time.
ENVIRONMENT = {'PYTHONHASHSEED': '0', 'PYTHONPATH': '..', 'LC_ALL': 'C.UTF-8', 'TZ': 'UTC'}

# Cachegrind counts what callgrind counts, in half the time: its simulation of caches is off.
VALGRIND = (shutil.which('valgrind') or 'valgrind', '--tool=cachegrind', '--cache-sim=no')


class Failed(Exception):
    """A case could not be counted."""


def instructions(cases: Sequence[Case]) -> list[int]:
    """Instructions a request, for each case.  Raises Failed."""
    for case in cases:
        _run(case, 1, ())  # it answers as it should; and compiles what is imported, which one of two runs would do
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as executor:
        long = executor.map(lambda case: _count(case, LONG), cases)  # first, so that all cores have work to the end
        short = executor.map(lambda case: _count(case, SHORT), cases)
        try:
            return [round((after - before) / (LONG - SHORT)) for before, after in zip(short, long, strict=True)]
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _count(case: Case, requests: int) -> int:
    with tempfile.NamedTemporaryFile(prefix='prefork-count-') as report:
        _run(case, requests, (*VALGRIND, f'--cachegrind-out-file={report.name}'))
        # "Cachegrind output file format" of valgrind's manual: the totals stand in a line of their own.
        found = re.search(rb'^summary: (\d+)', report.read(), re.MULTILINE)
    if found is None:
        raise Failed(f'{case.name}: valgrind has counted nothing')
    return int(found[1])


def _run(case: Case, requests: int, wrapper: tuple[str, ...]) -> None:
    """Start the process that serves the case, have it answer so many requests, and end it."""
    client, served = socket.socketpair()
    # Room for a whole response: whether a send takes all of it must not depend on how fast the client reads.
    served.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    client.settimeout(PATIENCE)
    command = [*wrapper, *_python(case), '-m', 'countlib.served', case.application, case.access_log]
    with (
        tempfile.TemporaryFile() as words,
        client,
        subprocess.Popen(
            [*command, str(served.fileno())],
            cwd=SCRIPTS,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=words,
            stderr=words,
            pass_fds=[served.fileno()],
        ) as process,
    ):
        served.close()
        try:
            for number in range(requests):
                client.sendall(case.request(number))
                _check_answer(case, client)
            process.communicate(timeout=PATIENCE)  # the end of its input is the end
        except (OSError, HTTPException, subprocess.TimeoutExpired) as error:
            process.kill()
            words.seek(0)
            raise Failed(f'{case.name}: {error!r}\n{words.read().decode(errors="replace")}'.rstrip()) from error
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise Failed(f'{case.name}: exit status {process.returncode}')


def _python(case: Case) -> list[str]:
    """The interpreter, without what a machine may have in .pth files where nothing of site-packages is needed."""
    return [sys.executable] if case.needs else [sys.executable, '-S']


def _check_answer(case: Case, client: socket.socket) -> None:
    response = HTTPResponse(client)
    response.begin()
    body = response.read()
    if response.status != 200 or body != case.answer:
        raise HTTPException(f'answered {response.status} and {body[:40]!r} of {len(body)} bytes')
