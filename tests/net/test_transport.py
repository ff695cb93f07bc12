"""The ends of transports, and what one keeps of OpenSSL then.  How it speaks TLS is in tests/worker/test_tls.py."""

from __future__ import annotations

import os
import socket
import ssl
import sys
from typing import TYPE_CHECKING

import pytest

from prefork.net.tls import make_context
from prefork.net.transport import PlainTransport, TLSTransport
from prefork.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import Certificates


@pytest.fixture
def pair(certificates: Certificates) -> Iterator[tuple[TLSTransport, ssl.SSLSocket]]:
    """Both sides, after the handshake."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    trusting = ssl.create_default_context(cafile=certificates.ca)
    server = make_context(Settings(certificates.options))
    with (
        server.wrap_socket(ours, server_side=True, do_handshake_on_connect=False) as served,
        trusting.wrap_socket(theirs, server_hostname='localhost', do_handshake_on_connect=False) as client,
    ):
        transport = TLSTransport(served)  # type: ignore[arg-type]  # the context makes ServerSockets
        shake_hands(client, transport)
        yield transport, client


@pytest.fixture
def transport(pair: tuple[TLSTransport, ssl.SSLSocket]) -> TLSTransport:
    return pair[0]


@pytest.fixture
def client(pair: tuple[TLSTransport, ssl.SSLSocket]) -> ssl.SSLSocket:
    return pair[1]


def shake_hands(client: ssl.SSLSocket, transport: TLSTransport) -> None:
    unfinished = [client.do_handshake, transport.handshake]
    while unfinished:
        for step in list(unfinished):
            try:
                step()
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            unfinished.remove(step)


def test_a_closed_transport_leaves_the_next_owner_of_its_descriptor_alone(transport: TLSTransport) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        theirs.send(b'not for it')
        descriptor = transport.fileno()
        transport.close()
        os.dup2(ours.fileno(), descriptor)
        try:
            with pytest.raises(OSError, match='Bad file descriptor'):
                transport.send(b'a response')
            with pytest.raises(OSError, match='Bad file descriptor'):
                transport.recv(100)
        finally:
            os.close(descriptor)
        with pytest.raises(BlockingIOError):
            theirs.recv(100)
        assert ours.recv(100) == b'not for it'


def test_a_closed_transport_keeps_nothing_of_openssl(transport: TLSTransport) -> None:
    """A slot keeps it until the next client comes."""
    engine = transport._socket._sslobj  # type: ignore[attr-defined]
    held = sys.getrefcount(engine)
    transport.close()
    assert sys.getrefcount(engine) < held
    assert sys.getrefcount(engine) == 2, 'our own, and that of getrefcount'


def test_what_a_client_sends_after_our_end_can_be_read(transport: TLSTransport, client: ssl.SSLSocket) -> None:
    """Closing with it unread would reset the connection, and cost the client what it has still to read."""
    client.send(b'x' * 1000)
    transport.finish()
    client.send(b'x' * 1000)
    with pytest.raises(BlockingIOError):
        while transport.recv(65536):
            pass


def test_a_descriptor_that_somebody_has_closed_can_be_closed(transport: TLSTransport) -> None:
    plain, other = socket.socketpair()
    for each in (transport, PlainTransport(plain)):
        os.close(each.fileno())
        each.close()
        assert each.fileno() == -1
    other.close()
