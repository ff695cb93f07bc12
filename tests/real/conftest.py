"""The three projects, each served by a prefork of its own for all tests of a module."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.serving import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.serving import Server

PROJECTS = Path(__file__).parent / 'projects'
APPLICATIONS = {'Pyramid': 'development.ini', 'Flask': 'flask_hello:app', 'Django': 'django_hello:application'}
ON_A_FREE_PORT = ('--bind', '127.0.0.1:0', '--workers', '1')


class Site(NamedTuple):
    name: str
    server: Server
    data: bytes
    """What the site's /file holds."""


def install(project: Path, destination: Path) -> Path:
    """Copy a project and give it what pip would: the entry point that ``use = egg:`` looks up."""
    shutil.copytree(project, destination)
    info = destination / f'{project.name}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {project.name}\nVersion: 1.0\n')
    (info / 'entry_points.txt').write_text(f'[paste.app_factory]\nmain = {project.name}:main\n')
    return destination


@pytest.fixture(scope='module', params=list(APPLICATIONS))
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    data = bytes(range(256)) * 4000
    (folder / 'data').write_bytes(data)
    project = install(PROJECTS / 'pyramid_hello', folder / 'project') if name == 'Pyramid' else PROJECTS
    environment = {'DATA_FILE': str(folder / 'data')}
    with serve(APPLICATIONS[name], *ON_A_FREE_PORT, cwd=project, env=environment) as server:
        yield Site(name, server, data)
    assert server.wait() == 0
