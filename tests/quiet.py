"""A pytest plugin for scripts/test: a test that passes prints nothing, so that the closing line stands out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Counted as what it is, but without a letter; None leaves it to pytest, for all but passed and skipped tests."""
    if report.passed and report.when == 'call':
        return 'passed', '', ''
    return ('skipped', '', '') if report.skipped else None
