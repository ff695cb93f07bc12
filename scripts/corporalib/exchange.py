"""One case and a running server: its bytes go over a connection of their own, and what came of them comes back."""

from __future__ import annotations

import enum
import http.client
import json
import re
import socket
from typing import TYPE_CHECKING

from corporalib.app import SEEN
from corporalib.case import Outcome, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 10.0
"""Seconds for each operation on a connection; a server that is told that no more comes has no reason to wait."""

_STATUS_LINE = re.compile(rb'HTTP/1\.[01] (\d{3}) ')
_CONTENT_LENGTH = re.compile(rb'^content-length: *(\d+)\r?$', re.MULTILINE | re.IGNORECASE)


class Misbehaved(Exception):
    """The server did what it may do in no case; the text is what."""


class Feed(enum.Enum):
    """How the bytes of a case are handed to the kernel."""

    WHOLE = 'whole'
    BYTEWISE = 'byte by byte'


def exchange(address: tuple[str, int], data: bytes, feed: Feed) -> Outcome:
    """Send ``data``, then the end of file, and read until the server closes.

    Raises Misbehaved, also where the answers aren't one for each request that reached the application.
    """
    statuses = read_statuses(_send_and_read(address, data, feed))
    served = _seen(address)
    refusals = [status for status in statuses if status >= 400]
    if len(statuses) - len(refusals) != len(served):
        raise Misbehaved(f'{len(served)} requests reached the application, and the answers were {statuses}')
    if refusals and (len(refusals) > 1 or statuses[-1] < 400):
        raise Misbehaved(f'it went on after it had refused: {statuses}')
    return Outcome(tuple(served), refusals[0] if refusals else None)


def _send_and_read(address: tuple[str, int], data: bytes, feed: Feed) -> bytes:
    with socket.create_connection(address, TIMEOUT) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in _pieces(data, feed):
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise Misbehaved('it reads no more, and does not close') from None
        except OSError:
            pass  # it has refused and closed already; its answer has to be there nevertheless
        try:
            return b''.join(iter(lambda: connection.recv(65536), b''))
        except TimeoutError:
            raise Misbehaved('it does not close') from None
        except ConnectionResetError:
            raise Misbehaved('the connection was reset before its answer was read') from None


def _pieces(data: bytes, feed: Feed) -> Iterator[bytes]:
    if feed is Feed.WHOLE:
        yield data
        return
    for position in range(len(data)):
        yield data[position : position + 1]


def read_statuses(stream: bytes) -> list[int]:
    """The status of each final response in what a server sent.  Raises Misbehaved for what isn't responses.

    A response to HEAD may be followed by another only where its Content-Length is 0.
    """
    statuses: list[int] = []
    while stream:
        head, end, stream = stream.partition(b'\r\n\r\n')
        status = _STATUS_LINE.match(head)
        if not status or not end:
            raise Misbehaved(f'this is not a response: {head[:80]!r}')
        if status[1].startswith(b'1'):
            continue
        statuses.append(int(status[1]))
        length = _CONTENT_LENGTH.search(head)
        stream = stream[int(length[1]) if length else len(stream) :]
    return statuses


def _seen(address: tuple[str, int]) -> list[Request]:
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT)
    try:
        connection.request('GET', SEEN)
        records = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Misbehaved(f'it does not serve any more: {error!r}') from error
    finally:
        connection.close()
    return [Request(**{**record, 'body': record['body'].encode('latin-1')}) for record in records]
