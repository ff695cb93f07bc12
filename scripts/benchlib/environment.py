"""The virtual environment of the servers, made once and made again when what belongs in it changes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import venv
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Packages: TypeAlias = tuple[tuple[str, ...], ...]

PACKAGES: Packages = (
    ('gunicorn[gevent]',),
    ('waitress',),
    ('granian',),
    ('bjoern-binary', 'bjoern'),  # the second needs a compiler and libev
    ('pyuwsgi',),
    ('cheroot',),
    ('eventlet',),
    ('PasteDeploy',),  # loads what the servers run in the case `chain`
)
"""What is installed beside the checkout, each with what is tried next if it can't be."""

VERSIONS = """
import importlib.metadata, json
print(json.dumps({found.name.lower(): found.version for found in importlib.metadata.distributions()}))
"""


def ensure(directory: Path, checkout: Path, packages: Packages = PACKAGES) -> list[str]:
    """Make ``directory`` ready unless it is; the checkout is installed editable.  Returns what couldn't be installed.

    ``packages`` are PACKAGES, or none where no peer takes part.  All is installed anew when their list or Python has
    changed (or ``directory`` was removed), the checkout when its pyproject.toml has.  ``installed.json`` there
    remembers what it was made for, and what failed of the peers.
    """
    stamp = directory / 'installed.json'
    found = json.loads(stamp.read_text()) if stamp.is_file() else {}
    python, peers = _digest(sys.version), _digest(sys.version, PACKAGES)
    project = _digest((checkout / 'pyproject.toml').read_bytes())
    if not found or found.get('python', python) != python or found.get('peers', peers) != peers:
        print(f'making {directory}, once', file=sys.stderr, flush=True)
        venv.EnvBuilder(with_pip=True, symlinks=True, clear=directory.exists()).create(directory)
        found = {'python': python, 'complaints': []}
    if packages and 'peers' not in found:
        found |= {'peers': peers, 'complaints': _install_peers(directory, packages)}
    stamp.write_text(json.dumps(found))
    complaints: list[str] = found['complaints']
    if found.get('project') != project:
        complaint = _pip(directory, '--editable', str(checkout))
        if complaint:
            return [*complaints, f'this checkout cannot be installed: {complaint}']
        stamp.write_text(json.dumps({**found, 'project': project}))
    return complaints


def versions(directory: Path) -> dict[str, str]:
    """The version of each distribution that is installed, by its name in lower case."""
    command = [str(directory / 'bin' / 'python'), '-c', VERSIONS]
    found: dict[str, str] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def _digest(*content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _install_peers(directory: Path, packages: Packages) -> list[str]:
    if not _pip(directory, *(names[0] for names in packages)):
        return []
    failures = []  # one of them spoils it for all: one by one, then
    for names in packages:
        complaints = []
        for name in names:
            complaint = _pip(directory, name)
            if not complaint:
                break
            complaints.append(f'{name} cannot be installed: {complaint}')
        else:
            failures += complaints
    return failures


def _pip(directory: Path, *arguments: str) -> str:
    """Install, and return pip's last words if it failed."""
    command = [str(directory / 'bin' / 'python'), '-m', 'pip', 'install', '--quiet', *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors='replace')
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return '' if done.returncode == 0 else (lines or [f'pip exited with {done.returncode}'])[-1]
