"""The virtual environment of a service, made once and made again when what belongs in it changes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import venv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

INSTALL_TIME = 1200.0
"""Seconds for one run of pip, which may have to fetch and build much."""


class NotInstalled(Exception):
    """Something couldn't be installed; the text is what, and pip's last words."""


class Environment:
    """The environment in ``directory``: ``requirements`` from the package index, and the checkout, editable.

    It is made anew when the requirements or Python change (or when ``directory`` is removed); the checkout is
    installed again when its pyproject.toml changes.  ``installed.json`` there remembers both.
    """

    def __init__(self, directory: Path, requirements: tuple[str, ...], checkout: Path) -> None:
        self.directory = directory
        self.requirements = requirements
        self.checkout = checkout
        self._stamp = directory / 'installed.json'

    @property
    def programs(self) -> Path:
        return self.directory / 'bin'

    def ensure(self) -> None:
        """Make it ready unless it is.  Raises NotInstalled."""
        found = json.loads(self._stamp.read_text()) if self._stamp.is_file() else {}
        service = _digest(sys.version, self.requirements)
        project = _digest((self.checkout / 'pyproject.toml').read_bytes())
        if found.get('service') != service:
            venv.EnvBuilder(with_pip=True, symlinks=True, clear=self.directory.exists()).create(self.directory)
            self._pip('install', *self.requirements)
            found = {'service': service}
        if found.get('project') != project:
            self._pip('install', '--editable', str(self.checkout))
            self._stamp.write_text(json.dumps({**found, 'project': project}))

    def version(self, distribution: str) -> str:
        """The version of a distribution that is installed here."""
        program = f'import importlib.metadata; print(importlib.metadata.version({distribution!r}))'
        command = [str(self.programs / 'python'), '-c', program]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def unpack_source(self, distribution: str, folder: Path) -> Path:
        """Unpack the source of the installed version, which has its tests, in ``folder``; where it is then."""
        version = self.version(distribution)
        sources = self.directory / 'sources'
        pattern = f'{distribution.replace("-", "_")}-{version}.tar.gz'
        if not (sources / pattern).is_file():
            wanted = f'{distribution}=={version}'
            self._pip('download', '--no-deps', '--no-binary', ':all:', '--dest', str(sources), wanted)
        with tarfile.open(sources / pattern) as archive:
            archive.extractall(folder, filter='data')
        return folder / pattern.removesuffix('.tar.gz')

    def _pip(self, *arguments: str) -> None:
        command = [str(self.programs / 'python'), '-m', 'pip', '--quiet', '--disable-pip-version-check', *arguments]
        done = subprocess.run(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors='replace',
            timeout=INSTALL_TIME,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith('WARNING')]
            raise NotInstalled('\n'.join([f'pip {" ".join(arguments)}', *lines[-10:]]))


def _digest(*content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()
