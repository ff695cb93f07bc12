"""Every case of a request arrives three ways: whole, byte by byte, and with another request behind it."""

from __future__ import annotations

import pytest

from tests.http1.reception import FEEDS


@pytest.fixture(params=FEEDS)
def feed(request: pytest.FixtureRequest) -> str:
    return str(request.param)
