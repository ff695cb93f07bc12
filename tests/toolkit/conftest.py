"""What makes hops cheap can be left out: then WebOb's own methods show through, and nothing may look different."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from prefork.toolkit import Request, wsgify

OURS: list[tuple[type[Any], str]] = [
    (Request, 'send'),
    (Request, 'get_response'),
    (wsgify, '__get__'),
    (wsgify, '__call__'),
]


def leave_hops_to_webob(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in OURS:
        monkeypatch.delattr(owner, name)
    leave_routers_to_routes(monkeypatch)


def leave_routers_to_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where routes.request_config() shows nothing yet, each request goes through RoutesMiddleware.
    monkeypatch.setattr('prefork.toolkit.matching._CONFIG', threading.local())


@pytest.fixture(params=['our hops', "WebOb's hops"])
def hops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != 'our hops':
        leave_hops_to_webob(monkeypatch)
