"""A Pyramid project laid out as the cookiecutter does it: its ini files are served, and asked by its own tests.

The tests use WebTest, which asks a server instead of the application where WEBTEST_TARGET_URL names one.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from reallib.client import Client, Unexpected, equal
from reallib.trial import BIND, Service

if TYPE_CHECKING:
    from reallib.trial import Trial
    from tests.serving import Server

PROJECT = Path(__file__).parents[1] / 'projects' / 'starter'
REQUIREMENTS = (
    'pyramid',
    'pyramid_debugtoolbar',
    'pyramid_jinja2',
    'plaster_pastedeploy',
    'waitress',
    'setuptools<82',  # Pyramid imports pkg_resources, which later ones don't have
    'pytest',
    'WebTest',
    'WSGIProxy2',
)


def run(trial: Trial) -> None:
    project = trial.folder / 'starter'
    with trial.step('the project is installed, as pip does it'):
        shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns('__pycache__'))
        # Into a folder beside it, so that its environment is the same for the next trial.
        site = trial.folder / 'site'
        trial.command('python', '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', str(site), str(project))
    environment = {'PYTHONPATH': str(site)}
    with trial.step('its tests pass without a server'):
        trial.run_tests('tests', env=environment, cwd=project)
    for ini, variables in [('development.ini', ()), ('production.ini', ('secret=of this run',))]:
        argv = (ini, *variables, '--workers', '2', *BIND)
        with (
            trial.serving(ini, *argv, env=environment, cwd=project) as server,
            trial.step(f'its tests pass over {ini}'),
        ):
            ask(trial, server, environment, project)
    argv = ('development.ini', '--workers', '1', *BIND)
    with (
        trial.serving('development.ini, by one worker', *argv, env=environment, cwd=project) as server,
        trial.step('the debug toolbar, which keeps requests in memory, is shown'),
    ):
        check_toolbar(server.url)


def ask(trial: Trial, server: Server, environment: dict[str, str], project: Path) -> None:
    trial.run_tests('tests', env={**environment, 'WEBTEST_TARGET_URL': server.url}, cwd=project)
    if 'Traceback' in server.stderr.text:
        raise Unexpected(f'a traceback in the log:\n{server.stderr.text}')


def check_toolbar(url: str) -> None:
    """Follow the toolbar's link on a page to what it recorded of the request for that page."""
    with Client(url) as client:
        page = client.ask('GET', '/').body.decode()
        link = re.search(r'href="([^"]*/_debug_toolbar/[0-9a-f]+)"', page)
        if link is None:
            raise Unexpected(f'no link to the toolbar in {page}')
        recorded = client.ask('GET', link[1]).body.decode()
        equal('Request Vars' in recorded, True, 'the request was recorded')


SERVICE = Service('pyramid', "a cookiecutter's project, by its own ini files and tests", REQUIREMENTS, run)
