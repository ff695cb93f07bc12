"""Whether what an application leaves behind when it has loaded would survive a fork.

A thread exists in the process that started it and in no child; a connection would be shared by all of them, with the
bytes of one request answered to another.
"""

from __future__ import annotations

import os
import socket
import stat
import threading

_FOLDERS = ('/proc/self/fd', '/dev/fd')


def inet_sockets() -> dict[tuple[int, int], str]:
    """The open IPv4 and IPv6 sockets of this process by (device, inode), each with a description of where it leads."""
    found = {}
    for descriptor in _descriptors():
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISSOCK(status.st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as sock:
                if sock.family in (socket.AF_INET, socket.AF_INET6):
                    found[status.st_dev, status.st_ino] = _describe(sock)
        except OSError:
            continue  # closed meanwhile: the descriptor by which the folder itself was read, for one
    return found


def _descriptors() -> list[int]:
    for folder in _FOLDERS:
        try:
            return sorted(map(int, os.listdir(folder)))
        except OSError:
            continue
    return list(range(3, 1024))


def _describe(sock: socket.socket) -> str:
    try:
        return f'a socket to {_endpoint(sock.getpeername())}'
    except OSError:
        return f'a socket on {_endpoint(sock.getsockname())}'


def _endpoint(name: tuple[object, ...]) -> str:
    host, port = name[:2]
    return f'[{host}]:{port}' if ':' in str(host) else f'{host}:{port}'


def leftovers(before: dict[tuple[int, int], str]) -> list[str]:
    """What must not be forked: Python threads other than this one, and inet sockets that weren't open ``before``."""
    threads = [
        f'the thread {thread.name}' for thread in threading.enumerate() if thread is not threading.current_thread()
    ]
    return threads + [text for inode, text in inet_sockets().items() if inode not in before]
