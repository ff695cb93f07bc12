"""A listener that begins no more connections, and loses none that has begun."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from prefork.master.linux import refuse_new_connections

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux can')

ADDRESSES = {
    'IPv4': (socket.AF_INET, ('127.0.0.1', 0)),
    'IPv6': (socket.AF_INET6, ('::1', 0)),
    'unix': (socket.AF_UNIX, f'\0prefork-test-{os.getpid()}'),
}


@contextlib.contextmanager
def listening(family: int, address: object) -> Iterator[socket.socket]:
    with socket.socket(family) as listener:
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen()
        listener.setblocking(False)
        yield listener


def connected(listener: socket.socket) -> socket.socket:
    client = socket.socket(listener.family)
    client.settimeout(10)
    client.connect(listener.getsockname())
    return client


@pytest.mark.parametrize(('family', 'address'), ADDRESSES.values(), ids=ADDRESSES)
def test_what_is_complete_can_be_accepted_and_nothing_new_comes(family: int, address: object) -> None:
    with listening(family, address) as listener, connected(listener) as early, connected(listener) as other:
        assert refuse_new_connections(listener)
        with socket.socket(family) as late:
            late.settimeout(0.1)  # on TCP it would be tried again
            with pytest.raises((TimeoutError, ConnectionRefusedError)):
                late.connect(listener.getsockname())
        for client in (early, other):
            accepted, _ = listener.accept()
            with accepted:
                client.sendall(b'x')
                accepted.settimeout(10)
                assert accepted.recv(1) == b'x'
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize('kind', ['IPv4', 'IPv6'])
def test_a_handshake_that_has_begun_is_completed(kind: str) -> None:
    """The client takes itself for connected as soon as it has the answer to its SYN, and its last segment may be on its
    way.  TCP_DEFER_ACCEPT (tcp(7)) makes a long way of it: until there are data, the kernel ignores that segment."""
    with listening(*ADDRESSES[kind]) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 10)
        with connected(listener) as client:
            with pytest.raises(BlockingIOError):
                listener.accept()
            assert refuse_new_connections(listener)
            client.sendall(b'x')
            listener.settimeout(10)
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(1) == b'x'


def test_it_says_where_it_cannot() -> None:
    with socket.socket() as closed:
        pass
    assert not refuse_new_connections(closed)
