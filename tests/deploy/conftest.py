from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

WriteIni = Callable[..., str]


@pytest.fixture
def ini_file(tmp_path: Path) -> WriteIni:
    """Writes a file, in whose text @ is the module of the sample factories, and returns its path."""

    def write(text: str, name: str = 'app.ini') -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace('@', 'tests.deploy.sample'), 'utf-8')
        return str(path)

    return write
