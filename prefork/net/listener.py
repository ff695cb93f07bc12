"""Listening sockets: opened or adopted once, in the master, and inherited by everybody else."""

from __future__ import annotations

import errno
import os
import socket
import stat

from prefork.errors import EX_NOPERM, BindError
from prefork.logs import logger
from prefork.settings import Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Any

    from prefork.settings import Settings


_MOST_UNSENT = 131072  # bytes


class Listener:
    """A listening socket, non-blocking and close-on-exec.

    ``address`` is what was bound, with the real port; ``tls`` says whether TLS is spoken on it.
    """

    __slots__ = ('_inode', 'address', 'adopted', 'socket', 'tls')

    def __init__(self, sock: socket.socket, address: Address, settings: Settings, *, adopted: bool = False) -> None:
        self.socket = sock
        self.address = address
        self.adopted = adopted
        """Whether somebody else made the socket, and may still have it."""
        self.tls = bool(settings.ssl_cert_file)
        self._inode = _inode(address.host) if address.scheme == 'unix' and not adopted else None

    def fileno(self) -> int:
        return self.socket.fileno()

    def bequeath(self) -> list[Any]:
        """For this process after an exec, in the terms of JSON: what :func:`inherit` makes the same listener of."""
        address = self.address
        return [self.fileno(), [address.scheme, address.host, address.port], self.adopted, self._inode]

    def duplicate(self) -> Listener:
        """Another descriptor of the same socket, with an owner of its own."""
        copy = object.__new__(Listener)
        copy.socket = self.socket.dup()
        copy.address, copy.adopted, copy.tls, copy._inode = self.address, self.adopted, self.tls, self._inode
        return copy

    def adjust(self, settings: Settings) -> None:
        """Apply the options of a later configuration to the same socket."""
        self.tls = bool(settings.ssl_cert_file)
        _set_options(self.socket, settings)
        if not self.adopted:
            self.socket.listen(settings.backlog)
        if self._is_at_its_path():
            try:
                os.chmod(self.address.host, settings.socket_mode)
            except OSError as error:
                logger.warning('%s: socket_mode is not applied: %s', self, error.strerror or error)

    def give_to(self, uid: int, gid: int) -> None:
        """Let a unix socket that we made be theirs.  Raises OSError."""
        if self._is_at_its_path():
            os.chown(self.address.host, uid, gid, follow_symlinks=False)

    def unlink(self) -> None:
        """Remove a unix socket's path, if it is still this one's: nobody new will find it, but it goes on working."""
        if not self._is_at_its_path():
            return
        try:
            os.unlink(self.address.host)
        except OSError:
            pass  # its folder isn't ours to write any more; the next to bind will find it stale

    def _is_at_its_path(self) -> bool:
        """Whether this is a unix socket that we made, and nobody has put another file in its place."""
        return self._inode is not None and _inode(self.address.host) == self._inode

    def close(self) -> None:
        """Close this process's copy."""
        self.socket.close()

    def __str__(self) -> str:
        """What a client would be told to use."""
        if self.address.scheme == 'unix':
            return str(self.address)
        return f'{"https" if self.tls else "http"}://{self.address}'


def open_listener(address: Address, settings: Settings) -> Listener:
    """Bind and listen.  Raises BindError, with the OSError as its cause.

    What is accepted inherits SO_KEEPALIVE and the TCP options from the listener, on Linux and the BSDs.
    """
    openers = {'tcp': _open_tcp, 'unix': _open_unix, 'fd': _adopt}
    try:
        return openers[address.scheme](address, settings)
    except OSError as error:
        failure = BindError(f'cannot listen on {address}: {error.strerror or error}')
        if isinstance(error, PermissionError):
            failure.exit_status = EX_NOPERM
        raise failure from error


def inherit(legacy: list[Any]) -> Listener:
    """The listener that :meth:`Listener.bequeath` told of; whether TLS is spoken on it, the next configuration says."""
    descriptor, (scheme, host, port), adopted, inode = legacy
    listener = object.__new__(Listener)
    listener.socket = socket.socket(fileno=descriptor)
    listener.socket.setblocking(False)
    listener.address, listener.adopted, listener.tls = Address(scheme, host, port), adopted, False
    listener._inode = None if inode is None else (inode[0], inode[1])
    return listener


def wrap(listener: Listener, context: ssl.SSLContext) -> None:
    """Speak TLS on what is accepted from now on, in this process.  The loop makes the handshakes."""
    listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)


# --- TCP --------------------------------------------------------------------------------------------------------


def _open_tcp(address: Address, settings: Settings) -> Listener:
    # As text the name would go through encodings.idna, even an address: 0.3 MiB of code and tables.
    host = address.host.encode() if address.host.isascii() else address.host
    found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, protocol, _, endpoint = found[0]
    sock = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        # Connections of a predecessor in TIME_WAIT must not keep us from binding.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _set_options(sock, settings)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # [::] and 0.0.0.0 are two listeners
        sock.bind(endpoint)
        return _listening(sock, settings)
    except BaseException:
        sock.close()
        raise


def _listening(sock: socket.socket, settings: Settings) -> Listener:
    sock.setblocking(False)
    sock.listen(settings.backlog)
    return Listener(sock, _bound_address(sock), settings)


def _set_options(sock: socket.socket, settings: Settings) -> None:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ('TCP_KEEPIDLE', 'TCP_KEEPALIVE'):  # the same thing on Linux and on macOS
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), settings.tcp_keepidle)
            break
    # A response is sent whole or in large pieces; Nagle's algorithm would only hold back the last one.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Left to itself the kernel buffers megabytes for a client that doesn't read; what is on its way isn't counted here.
    if hasattr(socket, 'TCP_NOTSENT_LOWAT'):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT)


# --- unix -------------------------------------------------------------------------------------------------------


def _open_unix(address: Address, settings: Settings) -> Listener:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if address.host.startswith('@'):
            sock.bind('\0' + address.host[1:])  # unix(7): an abstract name, without a file
        else:
            _bind_path(sock, address.host, settings.socket_mode)
        return _listening(sock, settings)
    except BaseException:
        sock.close()
        raise


def _bind_path(sock: socket.socket, path: str, mode: int) -> None:
    previous = os.umask(~mode & 0o777)  # unlike a chmod afterwards, this leaves no moment with another mode
    try:
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(path)
            sock.bind(path)
    finally:
        os.umask(previous)


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on.  Raises OSError where it isn't one."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise OSError(errno.EEXIST, 'there is a file of that name that is no socket')
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its backlog is full: somebody listens
    raise OSError(errno.EADDRINUSE, 'another process listens on it')


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


# --- inherited --------------------------------------------------------------------------------------------------


def _adopt(address: Address, settings: Settings) -> Listener:
    """A descriptor of our own for a socket that we were given: the given one stays open, for a reload to find."""
    if address.host:
        raise OSError(errno.ENOENT, 'no socket was passed by name; LISTEN_FDS is not set')
    sock = socket.socket(fileno=os.dup(address.port))
    try:
        if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            raise OSError(errno.EAFNOSUPPORT, 'it is neither a TCP socket nor a unix socket')
        if sock.type != socket.SOCK_STREAM:
            raise OSError(errno.EPROTOTYPE, 'it is not a stream socket')
        if _is_connected(sock):
            raise OSError(errno.EISCONN, 'it is a connection already; a socket unit needs Accept=no')
        os.set_inheritable(address.port, False)
        sock.setblocking(False)
        _set_options(sock, settings)
        # Whoever listens already chose the backlog, and may not allow us to change it.
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(settings.backlog)
        return Listener(sock, _bound_address(sock), settings, adopted=True)
    except BaseException:
        sock.close()
        raise


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _bound_address(sock: socket.socket) -> Address:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        path = os.fsdecode(name)
        return Address('unix', '@' + path[1:] if path.startswith('\0') else path, 0)
    return Address('tcp', name[0], name[1])
