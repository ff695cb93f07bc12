"""The site that the process tests serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.certificates import certificates
from tests.master.site import Site

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ['certificates', 'site']


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)
