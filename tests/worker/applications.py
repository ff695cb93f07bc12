"""Applications that give what a test wants them to, and work at every other path."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from tests.worker.harness import DEADLINE, PLAIN, echo, hello

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from tests.worker.harness import App, Environ, Gate, StartResponse


class Capture:
    """An application that hands its environs to the test."""

    def __init__(self) -> None:
        self._environs: SimpleQueue[Environ] = SimpleQueue()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self._environs.put(dict(environ))
        start_response('200 OK', [])
        return []

    def next(self) -> Environ:
        return self._environs.get(timeout=DEADLINE)

    @property
    def is_unused(self) -> bool:
        return self._environs.empty()


class Body:
    """An iterable of blocks that counts its ``close()``.  A block that is an exception is raised, one that can be
    called is called first."""

    def __init__(self, *blocks: Any) -> None:
        self._blocks = iter(blocks)
        self.asked = 0
        self.closed = 0
        self.close_called = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.asked += 1
        block = next(self._blocks)
        if callable(block):
            block = block()
        if isinstance(block, BaseException):
            raise block
        assert isinstance(block, bytes | str)
        return block  # type: ignore[return-value]  # a str is what some cases are about

    def close(self) -> None:
        self.closed += 1
        self.close_called.set()


class Single(Body):
    def __len__(self) -> int:
        return 1


def returning(result: Any, *headers: tuple[str, str], status: str = '200 OK') -> App:
    """An application that gives ``result`` at ``/``, and works at every other path."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'] != '/':
            return hello(environ, start_response)
        start_response(status, [*PLAIN, *headers])
        return result  # type: ignore[no-any-return]

    return app


def at_root(function: App) -> App:
    """``function`` at ``/``, and an application that works at every other path."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return function(environ, start_response) if environ['PATH_INFO'] == '/' else hello(environ, start_response)

    return app


def writes(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Like no application of today."""
    write = start_response('200 OK', list(PLAIN))
    write(b'one ')
    write(b'two')
    return []


def gated(gate: Gate) -> App:
    """Passes through the gate at paths that begin with ``/slow``."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ['PATH_INFO'].startswith('/slow'):
            gate.enter(environ['PATH_INFO'])
        return echo(environ, start_response)

    return app
