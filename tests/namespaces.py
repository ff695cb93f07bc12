"""Worlds that differ from this one, for tests: another user, a read-only file system, a process 1 of our own.

Each is the beginning of a command line, for ``serve(command=...)``.  They need root, and where the interpreter lies in
a folder that only root can enter, as that of pyenv often does, a mount namespace.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import ROOT

as_root = pytest.mark.skipif(os.geteuid() != 0, reason='only root can become another user')

# Become the user and group of the first two arguments, and run the rest.
_BECOME = """
import os, sys
user, group = map(int, sys.argv[1:3])
os.setgroups([])
os.setgid(group)
os.setuid(user)
os.execvp(sys.argv[3], sys.argv[3:])
"""

# Lets others than root reach what it is told to keep: whatever closed folder is above it gets an open one on top.
_OPEN = """
set -e
umask 022
scratch=$(mktemp -d)
mount -t tmpfs -o mode=755 tmpfs "$scratch"
number=0
for path in {needed}; do
    number=$((number + 1))
    mkdir "$scratch/$number"
    mount --bind "$path" "$scratch/$number"
done
for path in {closed}; do
    mount -t tmpfs -o mode=755 tmpfs "$path"
done
number=0
for path in {needed}; do
    number=$((number + 1))
    mkdir -p "$path"
    mount --bind "$scratch/$number" "$path"
done
umount -l "$scratch"
rmdir "$scratch"
"""


def as_user(user: int, group: int) -> tuple[str, ...]:
    """Run as the user, without other groups."""
    return sys.executable, '-c', _BECOME, str(user), str(group)


def for_others() -> tuple[str, ...]:
    """Run where others than root can reach the interpreter and this tree; skips the test where that can't be had."""
    needed = list(dict.fromkeys(os.path.realpath(path) for path in (sys.base_prefix, sys.prefix, str(ROOT))))
    closed = {folder for path in needed if (folder := _closed_above(Path(path))) is not None}
    if not closed:
        return ()
    hidden = [path for path in needed if any(path.startswith(f'{folder}/') for folder in closed)]
    return in_mount_namespace(_OPEN.format(needed=_words(hidden), closed=_words(sorted(closed))))


def in_mount_namespace(script: str) -> tuple[str, ...]:
    """Run where ``script`` has changed the mounts, for nobody else; skips the test where that isn't permitted."""
    needs('--mount')
    return 'unshare', '--mount', 'sh', '-c', f'{script}\nexec "$@"', 'sh'


def needs(*flags: str) -> None:
    """Skip the test where unshare(1) can't do that here."""
    if not _can_unshare(flags):
        pytest.skip(f'unshare {" ".join(flags)} is not permitted here')


@functools.cache
def _can_unshare(flags: tuple[str, ...]) -> bool:
    try:
        return subprocess.run(['unshare', *flags, 'true'], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _closed_above(path: Path) -> str | None:
    """The highest folder on the way to ``path`` that others can't enter."""
    folders = [*reversed(path.parents), path]
    return next((str(folder) for folder in folders if not folder.stat().st_mode & 0o001), None)


def _words(paths: list[str]) -> str:
    return ' '.join(f"'{path}'" for path in paths)
