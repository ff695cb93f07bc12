"""What an application leaves behind, and whether the mold would notice it."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

from prefork.master import preload

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_is_left() -> None:
    assert preload.leftovers(preload.inet_sockets()) == []


def test_a_thread_is_left() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name='Beat')
    thread.start()
    try:
        assert preload.leftovers(preload.inet_sockets()) == ['the thread Beat']
    finally:
        end.set()
        thread.join()


def test_a_connection_is_left() -> None:
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
        before = preload.inet_sockets()
        with socket.create_connection(('127.0.0.1', port)):
            assert preload.leftovers(before) == [f'a socket to 127.0.0.1:{port}']
        assert preload.leftovers(before) == []


def test_a_listener_is_left() -> None:
    before = preload.inet_sockets()
    with socket.create_server(('::1', 0), family=socket.AF_INET6) as server:
        assert preload.leftovers(before) == [f'a socket on [::1]:{server.getsockname()[1]}']


def test_a_datagram_socket_is_left() -> None:
    before = preload.inet_sockets()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(('127.0.0.1', 8125))
        assert preload.leftovers(before) == ['a socket to 127.0.0.1:8125']


def test_what_was_there_before_is_nobody_elses() -> None:
    """The server's own listeners."""
    others = preload.inet_sockets()
    with socket.create_server(('127.0.0.1', 0)) as server:
        before = preload.inet_sockets()
        port = server.getsockname()[1]
        assert [before[inode] for inode in before.keys() - others.keys()] == [f'a socket on 127.0.0.1:{port}']
        assert preload.leftovers(before) == []


def test_local_sockets_and_files_survive_a_fork(tmp_path: Path) -> None:
    before = preload.inet_sockets()
    one, two = socket.socketpair()
    with one, two, (tmp_path / 'file').open('w'):
        assert preload.leftovers(before) == []
