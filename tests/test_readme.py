"""README keeps its promises: CI runs each of its commands, and what it shows works as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()


def blocks(language: str) -> Iterator[str]:
    for match in re.finditer(rf'^```{language}\n(.*?)^```$', README, re.DOTALL | re.MULTILINE):
        yield match[1]


COMMANDS = [line for block in blocks('sh') for line in block.splitlines()]


def test_the_first_two_commands_come_first() -> None:
    assert COMMANDS == ['scripts/serve', 'scripts/test', 'pip install .', 'prefork-wsgi app.ini']


@pytest.mark.parametrize('command', COMMANDS)
def test_ci_runs_each_command(command: str) -> None:
    # Flags may be added, so that CI is quiet and takes a free port.
    words = r'\s(?:\S+\s)*?'.join(map(re.escape, command.split()))
    assert re.search(rf'^(?:answers )?{words}(?:\s|$)', (ROOT / '.ci' / 'run').read_text(), re.MULTILINE)


def test_the_ini_file_is_served(tmp_path: Path) -> None:
    (text,) = blocks('ini')
    (tmp_path / 'app.ini').write_text(text)
    with (
        serving.serve('--bind', '127.0.0.1:0', 'app.ini', cwd=tmp_path) as server,
        urllib.request.urlopen(server.url, timeout=10) as response,
    ):
        assert b'Hello from app.ini' in response.read()
        assert server.workers == 2


def test_the_embedded_server_starts_and_stops() -> None:
    (program,) = blocks('python')
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert re.fullmatch(r'http://127\.0\.0\.1:[1-9]\d*/\n', done.stdout)


def test_the_figures_are_those_of_a_run() -> None:
    run = (ROOT / 'docs' / 'bench' / 'results.md').read_text()
    table = [line for line in run.splitlines() if line.startswith('|')]
    assert len(table) > 2
    assert '\n'.join(['', '', *table, '', '']) in README, 'copy the table of docs/bench/results.md'


@pytest.mark.parametrize('path', re.findall(r'(?:`|]\()((?:docs|prefork|tests|scripts|man)/[\w./]*)(?:`|\))', README))
def test_what_it_points_to_is_there(path: str) -> None:
    assert (ROOT / path).exists()
