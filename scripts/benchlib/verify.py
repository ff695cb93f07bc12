"""One request before any is timed: a server that answers wrongly must not win."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path

from benchlib.cases import Case
from benchlib.process import Failed

PATIENCE = 10.0  # seconds for an answer, the start of a worker included


def verify(case: Case, port: int, certificate: Path) -> int:
    """Ask for each path of the case and compare status and body, or raise Failed; return how many requests it took."""
    for path in case.paths:
        try:
            status, body = _ask(case, port, path, certificate)
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f'did not answer {path}: {error!r}') from error
        if status != 200 or body != case.answer:
            raise Failed(f'answered {path} with status {status} and {body[:40]!r} of {len(body)} bytes')
    return len(case.paths)


def _ask(case: Case, port: int, path: str, certificate: Path) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=PATIENCE)
    if case.scheme == 'https':
        context = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection('127.0.0.1', port, timeout=PATIENCE, context=context)
    try:
        connection.request('POST' if case.post else 'GET', path, body=case.post or None)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
