"""scripts/try-slow: what it makes of slowhttptest's words, and as a whole, with few clients and for a moment."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from slowlib import attack, cli
from slowlib.attack import MODES, Verdict, is_installed, read_verdict
from slowlib.visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Sequence


def said(states: Sequence[str], status: str) -> str:
    """What slowhttptest prints, in its colours."""
    shown = ''.join(f'\x1b[1;32mservice available:\x1b[1;32m   \x1b[1;32m{state}\x1b[0m\n' for state in states)
    return f'{shown}Test ended on 5th second\nExit status:\x1b[1;36m {status}\n\x1b[0m'


@pytest.mark.parametrize(
    ('output', 'verdict'),
    [
        pytest.param(said(['YES', 'YES'], 'Hit test time limit'), Verdict('Hit test time limit', True), id='survived'),
        pytest.param(
            said(['YES'], 'No open connections left'), Verdict('No open connections left', True), id='closed them all'
        ),
        pytest.param(
            said(['YES', 'NO', 'NO'], 'Hit test time limit'),
            Verdict('unavailable 2 times of 3', False),
            id='at times',
        ),
        pytest.param(
            said(['YES'], 'Cannot establish connection'), Verdict('Cannot establish connection', False), id='never'
        ),
        pytest.param('cannot do it\n', Verdict("it failed: 'cannot do it'", False), id='it could not begin'),
    ],
)
def test_a_verdict(output: str, verdict: Verdict) -> None:
    assert read_verdict(output) == verdict


def test_a_visitor_who_is_not_served() -> None:
    with socket.create_server(('127.0.0.1', 0)) as listener:

        def turn_away() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n')

        thread = threading.Thread(target=turn_away)
        thread.start()
        with Visitor(listener.getsockname()[1]) as visitor:
            thread.join()
            listener.close()  # and nobody is turned away in so many words
    assert visitor.failures[0] == "HTTPException('503 Service Unavailable')"
    assert (visitor.asked, visitor.latencies) == (len(visitor.failures), [])


def run(*argv: str) -> int:
    return cli.main(['--seconds', '1', '--connections', '30', '--rate', '300', *argv])


@pytest.mark.skipif(not is_installed(), reason='slowhttptest is not installed')
def test_a_moment_of_two_modes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run('headers', 'read-generator') == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ['mode', 'connections', 'fresh', 'answered', 'median', 'worst', 'slowhttptest']
    assert [row.split()[:2] for row in rows] == [['headers', '30'], ['read-generator', '30']]
    for row in rows:
        _, _, asked, answered, *_ = row.split()
        assert asked == answered > '0'


@pytest.mark.parametrize(('available', 'status'), [(True, 0), (False, 1)])
def test_the_verdict_is_the_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, available: bool, status: int
) -> None:
    monkeypatch.setattr(cli, 'is_installed', lambda: True)
    monkeypatch.setattr(cli, 'attack', lambda *arguments: Verdict('what it said', available))
    assert run() == status
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == list(MODES)
    assert all(row.endswith('what it said') for row in rows)


def test_without_slowhttptest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack, 'COMMAND', 'a-command-that-nobody-has')
    assert run() == 1
    assert 'slowhttptest is not installed' in capsys.readouterr().err
