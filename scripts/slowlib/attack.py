"""slowhttptest, one of its modes at a time: how it is called, and what it says of the server."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import NamedTuple

COMMAND = 'slowhttptest'
PATIENCE = 30.0
"""Seconds that it may take beyond those that it was given, before it is ended and its attack has failed."""

_COLOUR = re.compile(r'\x1b\[[0-9;]*[A-Za-z]')
_AVAILABLE = re.compile(r'service available: *(YES|NO)')
_STATUS = re.compile(r'Exit status: *(.*\S)')
# Who closes all connections of an attack before its time is over has won, too.
_SURVIVED = ('Hit test time limit', 'No open connections left')


class Mode(NamedTuple):
    """``flags`` of slowhttptest, and the page that it asks for."""

    flags: tuple[str, ...]
    path: str


MODES = {
    'headers': Mode(('-H', '-i', '5', '-x', '24'), '/'),
    'body': Mode(('-B', '-i', '5', '-s', '8192', '-x', '10'), '/'),
    'range': Mode(('-R', '-a', '10', '-b', '3000'), '/list'),
    'read-list': Mode(('-X', '-w', '512', '-y', '1024', '-n', '5', '-z', '32', '-k', '3'), '/list'),
    'read-generator': Mode(('-X', '-w', '512', '-y', '1024', '-n', '5', '-z', '32', '-k', '3'), '/generator'),
}


class Verdict(NamedTuple):
    """What slowhttptest said at its end, and whether that means that the server was there all the time."""

    text: str
    available: bool


def is_installed() -> bool:
    return shutil.which(COMMAND) is not None


def attack(mode: Mode, url: str, connections: int, rate: int, seconds: int) -> Verdict:
    """Open so many connections to the server at ``url``, ``rate`` of them a second, and be slow for so long."""
    command = [COMMAND, *mode.flags, '-c', str(connections), '-r', str(rate), '-l', str(seconds), '-p', '3']
    try:
        result = subprocess.run(
            [*command, '-u', url + mode.path], capture_output=True, text=True, timeout=seconds + PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return Verdict('it did not end', available=False)
    return read_verdict(result.stdout + result.stderr)


def read_verdict(output: str) -> Verdict:
    """The verdict in what slowhttptest prints: its state every five seconds, and then how it ended."""
    plain = _COLOUR.sub('', output)
    states = _AVAILABLE.findall(plain)
    status = _STATUS.search(plain)
    if not states or not status:
        return Verdict(f'it failed: {plain.strip()[-200:]!r}', available=False)
    if 'NO' in states:
        return Verdict(f'unavailable {states.count("NO")} times of {len(states)}', available=False)
    return Verdict(status[1], available=status[1] in _SURVIVED)
