"""SIGWINCH: the workers go, the master and its sockets stay; but not when it is only a window that was resized."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import termios
from typing import TYPE_CHECKING

import pytest

from tests.master.site import Waiting, children, molds, reload, workers
from tests.serving import PREFORK, serve

if TYPE_CHECKING:
    from tests.master.site import Site
    from tests.serving import Server


def rest(server: Server) -> None:
    server.send_signal(signal.SIGWINCH)
    server.stderr.wait_for('resting: all workers drain')


@pytest.mark.parametrize('wake', [signal.SIGTTIN, signal.SIGHUP])
def test_clients_wait_while_the_master_rests(wake: signal.Signals, site: Site) -> None:
    with site.serve() as server:
        before = workers(server)
        waiting = Waiting(server)
        site.wait_for_arrival()
        rest(server)
        site.open_gate('finished')
        assert waiting.result() == 'finished'
        for _ in before:
            server.stderr.wait_for(r'worker main/1/\d \(pid \d+\) exited with status 0')
        assert children(server.pid) == set(molds(server))
        with socket.create_connection(('127.0.0.1', server.port), 10) as client:
            client.sendall(b'GET /pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
            server.send_signal(wake)
            with client.makefile('rb') as answer:
                assert int(answer.read().rpartition(b'\r\n')[2]) not in before


def test_a_master_that_rests_can_be_stopped(site: Site) -> None:
    with site.serve() as server:
        rest(server)
        server.terminate()
        assert server.wait() == 0


def test_a_terminal_whose_window_is_resized_lets_no_worker_go(site: Site) -> None:
    terminal, slave = os.openpty()
    try:
        # The shell leads the session that the server is in; the terminal that it opens becomes the session's.
        command = ('sh', '-c', 'exec < "$0"; exec "$@"', os.ttyname(slave), *PREFORK)
        arguments = site.arguments(1, ())
        with serve(*arguments, cwd=site.folder, env=site.environment(None), command=command) as server:
            (worker,) = workers(server)
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 50, 132, 0, 0))
            server.send_signal(signal.SIGTTIN)
            server.stderr.wait_for('workers wanted in generation 1: main: 2')
            assert worker in workers(server)
            reload(server)
            assert 'resting' not in server.stderr.text
    finally:
        os.close(terminal)
        os.close(slave)


def test_in_the_background_of_a_terminal_it_is_heard(site: Site) -> None:
    """Nobody resizes a window for it there: job control gives it a group of its own."""
    terminal, slave = os.openpty()
    try:
        script = 'exec < "$0"; set -m; "$@" & trap "kill -INT $!" INT; wait; wait'
        command = ('sh', '-c', script, os.ttyname(slave), *PREFORK)
        arguments = site.arguments(1, ())
        with serve(*arguments, cwd=site.folder, env=site.environment(None), command=command) as server:
            (master,) = children(server.pid)
            os.kill(master, signal.SIGWINCH)
            server.stderr.wait_for('resting: all workers drain')
    finally:
        os.close(terminal)
        os.close(slave)
