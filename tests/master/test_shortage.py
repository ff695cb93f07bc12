"""Descriptors that run out in the master or its children: what cannot be done now is done later, and nobody dies."""

from __future__ import annotations

import contextlib
import os
import resource
from signal import SIGKILL, SIGTTIN
from typing import TYPE_CHECKING

import pytest

from tests.master.site import changed, get, is_alive, molds, workers
from tests.serving import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.master.site import Site

WITHOUT_SUBREAPER = changed('linux.become_subreaper = lambda: False')


@contextlib.contextmanager
def without_descriptors(pid: int) -> Iterator[None]:
    """The process can open no file while the block lasts."""
    taken = {int(name) for name in os.listdir(f'/proc/{pid}/fd')}
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (next(n for n in range(soft) if n not in taken), hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize('command', [changed(''), WITHOUT_SUBREAPER], ids=['a mold forks', 'the master forks'])
def test_a_worker_that_cannot_be_started_is_started_later(command: tuple[str, ...], site: Site) -> None:
    with serve(*site.arguments(1, ()), cwd=site.folder, command=command) as server:
        with without_descriptors(server.pid):
            server.send_signal(SIGTTIN)
            server.stderr.wait_for('worker main/1/1 cannot be forked: Too many open files\ntried again in 0.5 s')
            assert int(get(server)) in workers(server)
        server.stderr.wait_for(r'worker main/1/1 \(pid \d+\) is ready')


def test_a_mold_that_cannot_be_started_is_started_later(site: Site) -> None:
    with site.serve(workers=1) as server:
        with without_descriptors(server.pid):
            os.kill(molds(server)[0], SIGKILL)
            server.stderr.wait_for('generation 2 is given up; .*: no mold can be forked: Too many open files')
            assert is_alive(int(get(server)))
        server.stderr.wait_for('generation 3: loaded, 1 worker')
