"""The bound of every pure-Python server: a selectors loop that answers each read with the same bytes, unparsed.

``python -m benchlib.bareloop PORT CASE [CERTIFICATE KEY]``
"""

from __future__ import annotations

import selectors
import socket
import ssl
import sys

from benchlib import cases

RECEIVE = 65536
WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def canned(body: bytes) -> bytes:
    """The least that is a response with a date: what a server can't do without."""
    head = b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n' % len(body)
    return head + b'Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n' + body


class BareLoop:
    """Serves ``listener``, a non-blocking socket, for ever.

    A connection's data in the selector is what of the response is still unsent; ``b''`` while it reads.
    On a TLS listener the first recv() of a connection does the handshake.
    """

    def __init__(self, listener: socket.socket, response: bytes) -> None:
        self.listener = listener
        self.response = response
        self.selector = selectors.DefaultSelector()

    def run(self) -> None:
        listener, select = self.listener, self.selector.select
        self.selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in select():
                if key.fileobj is listener:
                    self.accept()
                else:
                    self.answer(key)

    def accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return  # gone before it was accepted, or a handshake that failed at once
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(connection, selectors.EVENT_READ, b'')

    def answer(self, key: selectors.SelectorKey) -> None:
        connection: socket.socket = key.fileobj  # type: ignore[assignment]  # we register sockets alone
        unsent: bytes = key.data
        sent = 0
        try:
            if not unsent:
                if not connection.recv(RECEIVE):
                    self.close(connection)
                    return
                unsent = self.response
            sent = connection.send(unsent)
        except WAIT:
            pass  # nothing was there, or nothing went: what is unsent says which
        except OSError:
            self.close(connection)
            return
        if sent != len(unsent) or key.data:
            self.wait(connection, unsent[sent:])

    def wait(self, connection: socket.socket, unsent: bytes) -> None:
        events = selectors.EVENT_WRITE if unsent else selectors.EVENT_READ
        self.selector.modify(connection, events, unsent)

    def close(self, connection: socket.socket) -> None:
        self.selector.unregister(connection)
        connection.close()


def main(port: str, case: str, *files: str) -> None:
    listener = socket.create_server(('127.0.0.1', int(port)), backlog=1024)
    listener.setblocking(False)
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        listener = context.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)
    BareLoop(listener, canned(cases.BY_NAME[case].answer)).run()


if __name__ == '__main__':
    main(*sys.argv[1:])
