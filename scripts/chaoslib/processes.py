"""Processes as /proc shows them."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import NamedTuple

ZOMBIE = 'Z'


class Process(NamedTuple):
    pid: int
    name: str
    state: str
    parent: int
    session: int
    started: int
    """In clock ticks since the machine started."""

    def __str__(self) -> str:
        return f'{self.pid} ({self.name}, state {self.state}, parent {self.parent})'


def of_sessions(sessions: set[int]) -> list[Process]:
    """All processes whose session leader is, or was, one of these."""
    found = []
    for folder in Path('/proc').iterdir():
        if folder.name.isdecimal():
            try:
                process = _parse((folder / 'stat').read_text())
            except (FileNotFoundError, ProcessLookupError):  # before the file was opened, or after
                continue
            if process.session in sessions:
                found.append(process)
    return found


def _parse(stat: str) -> Process:
    # proc_pid_stat(5): pid (name) state ppid pgrp session …, and the name may have parentheses and spaces in it.
    start, _, rest = stat.rpartition(')')
    pid, _, name = start.partition(' (')
    fields = rest.split()
    state, parent, _, session = fields[:4]
    return Process(int(pid), name, state, int(parent), int(session), int(fields[19]))


def wait_for_end(pid: int, timeout: float) -> None:
    """Block until the process has ended, for so many seconds at most; a dead one that nobody has reaped has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([descriptor], [], [], max(timeout, 0.0))
    finally:
        os.close(descriptor)
