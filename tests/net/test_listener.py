"""Listening sockets: their options, which what is accepted inherits; what is in the way, and what is left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import IO, TYPE_CHECKING, Any

import pytest

from prefork.errors import EX_NOPERM, EX_UNAVAILABLE, BindError
from prefork.net.listener import Listener, open_listener, wrap
from prefork.net.tls import make_context
from prefork.settings import Settings, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import Certificates

OPTIONS = {
    'SO_REUSEADDR': (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
    'SO_KEEPALIVE': (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    'TCP_KEEPIDLE': (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 123),
    'TCP_NODELAY': (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
}


@contextlib.contextmanager
def opened(address: str, **options: Any) -> Iterator[Listener]:
    listener = open_listener(parse_address(address), Settings(options))
    try:
        yield listener
    finally:
        listener.unlink()
        listener.close()


def accept(listener: Listener) -> socket.socket:
    listener.socket.settimeout(10)
    connection, _ = listener.socket.accept()
    return connection


@pytest.mark.parametrize('address', ['127.0.0.1:0', '[::1]:0', 'localhost:0', ':0'])
def test_a_free_port_is_taken_and_known(address: str) -> None:
    with opened(address) as listener:
        host, port = listener.socket.getsockname()[:2]
        assert (listener.address.scheme, listener.address.host, listener.address.port) == ('tcp', host, port)
        assert port
        assert not listener.tls
        assert not listener.socket.get_inheritable()
        assert not listener.socket.getblocking()
        socket.create_connection((host, port), 10).close()


@pytest.mark.parametrize('tls', [False, True], ids=['plain', 'TLS'])
@pytest.mark.parametrize('option', OPTIONS.values(), ids=OPTIONS)
def test_options_hold_on_the_listener_and_on_what_it_accepts(
    option: tuple[int, int, int], tls: bool, certificates: Certificates
) -> None:
    level, name, value = option
    files = certificates.options if tls else {}
    with opened('127.0.0.1:0', tcp_keepidle=123, **files) as listener:
        assert listener.tls is tls
        if tls:
            wrap(listener, make_context(Settings(files)))
        assert listener.socket.getsockopt(level, name) == value
        with socket.create_connection(('127.0.0.1', listener.address.port), 10), accept(listener) as connection:
            assert connection.getsockopt(level, name) == value


def test_the_backlog_is_what_the_kernel_keeps() -> None:
    with opened('127.0.0.1:0', backlog=2) as listener, contextlib.ExitStack() as clients:
        for _ in range(3):  # listen(2) on Linux: one more than asked for
            clients.enter_context(socket.create_connection(('127.0.0.1', listener.address.port), 10))
        with pytest.raises(TimeoutError):
            socket.create_connection(('127.0.0.1', listener.address.port), 0.05)


def test_a_later_configuration_is_applied_to_the_same_socket(certificates: Certificates) -> None:
    with opened('127.0.0.1:0', backlog=1, tcp_keepidle=100) as listener:
        listener.adjust(Settings({'backlog': 5, 'tcp_keepidle': 200, **certificates.options}))
        assert listener.tls
        assert listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 200
        with contextlib.ExitStack() as clients:
            for _ in range(6):
                clients.enter_context(socket.create_connection(('127.0.0.1', listener.address.port), 10))


def test_an_ipv6_listener_leaves_ipv4_alone() -> None:
    """On one of several ports: some other process may have one of them for IPv4."""
    for _ in range(10):
        with opened('[::]:0') as listener:
            assert listener.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
            with contextlib.suppress(BindError), opened(f'0.0.0.0:{listener.address.port}') as other:
                assert other.address.port == listener.address.port
                return
    pytest.fail('none of their ports could be had for IPv4')


def test_a_port_that_is_taken_is_named() -> None:
    with opened('127.0.0.1:0') as listener:
        address = f'127.0.0.1:{listener.address.port}'
        with pytest.raises(BindError, match=f'cannot listen on {address}: Address already in use') as caught:
            open_listener(parse_address(address), Settings())
        assert caught.value.exit_status == EX_UNAVAILABLE
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EADDRINUSE


UNUSABLE = {
    'an address of somebody else': ('192.0.2.1:80', r'192\.0\.2\.1:80: Cannot assign'),
    'a name that is none': ('nowhere.invalid:80', r'cannot listen on nowhere\.invalid:80: '),
    'a path that is too long': ('unix:/' + 'x' * 200, 'path too long'),
    'a folder that is not there': ('unix:/nowhere/socket', 'No such file'),
    'a descriptor that is not open': ('fd:987', 'Bad file descriptor'),
    'a descriptor that is no socket': ('fd:FILE', 'Socket operation on non-socket'),
    'a datagram socket': ('fd:DATAGRAM', 'not a stream socket'),
    'a connection': ('fd:CONNECTION', 'a connection already'),
    'a socket of another kind': ('fd:NETLINK', 'neither a TCP socket nor a unix socket'),
}


@pytest.mark.parametrize(('address', 'message'), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_had_is_named(address: str, message: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        given: dict[str, socket.socket | IO[str]] = {
            'FILE': stack.enter_context((tmp_path / 'file').open('w')),
            'DATAGRAM': stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)),
            'NETLINK': stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
        }
        given['CONNECTION'], _ = map(stack.enter_context, socket.socketpair())
        for word, file in given.items():
            address = address.replace(word, str(file.fileno()))
        with pytest.raises(BindError, match=message) as caught:
            open_listener(parse_address(address), Settings())
        assert caught.value.exit_status == EX_UNAVAILABLE
        for file in given.values():
            os.fstat(file.fileno())  # what couldn't be used isn't closed


def test_what_is_not_permitted_has_a_status_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may bind whatever it wants; so the refusal is the test's own."""

    class Forbidden(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(socket, 'socket', Forbidden)
    with pytest.raises(BindError, match=r'127\.0\.0\.1:80: Permission denied') as caught:
        open_listener(parse_address('127.0.0.1:80'), Settings())
    assert caught.value.exit_status == EX_NOPERM


# --- unix -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('mode', [0o600, 0o660, 0o666])
def test_a_unix_socket_has_its_mode_from_the_start(mode: int, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with opened(f'unix:{tmp_path}/socket', socket_mode=mode) as listener:
            assert stat.S_IMODE((tmp_path / 'socket').stat().st_mode) == mode
            assert str(listener) == f'unix:{tmp_path}/socket'
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f'{tmp_path}/socket')
        assert os.umask(0o022) == 0o022, 'the umask is as it was'
        assert not (tmp_path / 'socket').exists(), 'unlink has removed it'
    finally:
        os.umask(before)


def test_a_later_configuration_changes_the_mode_of_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / 'socket'
    with opened(f'unix:{path}', socket_mode=0o666) as listener:
        listener.adjust(Settings({'socket_mode': 0o600}))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.unlink()
        path.touch(0o644)
        path.chmod(0o644)
        listener.adjust(Settings({'socket_mode': 0o600}))
        assert stat.S_IMODE(path.stat().st_mode) == 0o644, "it isn't ours"


def test_an_abstract_name_needs_no_file() -> None:
    name = f'@prefork-test-{os.getpid()}'
    with opened(f'unix:{name}') as listener:
        assert listener.address.host == name
        with socket.socket(socket.AF_UNIX) as client:
            client.connect('\0' + name[1:])
        with pytest.raises(BindError, match='in use'):
            open_listener(listener.address, Settings())


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / 'socket'
    open_listener(parse_address(f'unix:{path}'), Settings()).close()  # its owner was killed: the file stays
    assert path.is_socket()
    with opened(f'unix:{path}'), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_unix_socket_that_answers_is_not_replaced(tmp_path: Path) -> None:
    with opened(f'unix:{tmp_path}/socket') as listener:
        with pytest.raises(BindError, match='another process listens') as caught:
            open_listener(listener.address, Settings())
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EADDRINUSE
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f'{tmp_path}/socket')


def test_a_unix_socket_with_a_full_backlog_is_not_replaced(tmp_path: Path) -> None:
    path = f'{tmp_path}/socket'
    with opened(f'unix:{path}', backlog=1), contextlib.ExitStack() as stack:
        for _ in range(2):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(path)
        with pytest.raises(BindError, match='another process listens'):
            open_listener(parse_address(f'unix:{path}'), Settings())


def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / 'socket').write_text('precious')
    with pytest.raises(BindError, match='no socket'):
        open_listener(parse_address(f'unix:{tmp_path}/socket'), Settings())
    assert (tmp_path / 'socket').read_text() == 'precious'


def test_the_path_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / 'socket'
    listener = open_listener(parse_address(f'unix:{path}'), Settings())
    path.rename(tmp_path / 'old')  # as another process would, that takes the path over
    with opened(f'unix:{path}'):
        listener.unlink()
        assert path.is_socket()
    listener.close()


# --- inherited --------------------------------------------------------------------------------------------------


def test_an_inherited_listener_is_adopted() -> None:
    with socket.create_server(('127.0.0.1', 0), backlog=3) as given:
        port = given.getsockname()[1]
        given.set_inheritable(True)
        listener = open_listener(parse_address(f'fd:{given.detach()}'), Settings({'tcp_keepidle': 123}))
    assert (listener.address.host, listener.address.port) == ('127.0.0.1', port)
    assert listener.adopted
    assert not listener.socket.get_inheritable()
    assert listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 123
    with socket.create_connection(('127.0.0.1', port), 10):
        accept(listener).close()
    listener.close()


def test_an_inherited_socket_that_does_not_listen_yet_is_made_to() -> None:
    with socket.socket() as given:
        given.bind(('127.0.0.1', 0))
        port = given.getsockname()[1]
        listener = open_listener(parse_address(f'fd:{given.detach()}'), Settings())
    with socket.create_connection(('127.0.0.1', port), 10):
        accept(listener).close()
    listener.close()


def test_the_path_of_an_inherited_unix_socket_is_not_ours_to_remove(tmp_path: Path) -> None:
    path = tmp_path / 'socket'
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(path))
        listener = open_listener(parse_address(f'fd:{given.detach()}'), Settings())
    assert str(listener) == f'unix:{path}'
    listener.unlink()
    listener.close()
    assert path.is_socket()


def test_a_duplicate_has_a_life_of_its_own() -> None:
    with opened('127.0.0.1:0') as listener:
        copy = listener.duplicate()
        assert copy.address == listener.address
        assert copy.fileno() != listener.fileno()
        assert not copy.socket.get_inheritable()
        copy.close()
        with socket.create_connection(('127.0.0.1', listener.address.port), 10):
            accept(listener).close()


@pytest.mark.parametrize(
    ('address', 'tls', 'text'),
    [
        ('127.0.0.1:0', False, 'http://127.0.0.1:'),
        ('127.0.0.1:0', True, 'https://127.0.0.1:'),
        ('[::1]:0', False, 'http://[::1]:'),
    ],
)
def test_it_says_what_a_client_would_use(address: str, tls: bool, text: str, certificates: Certificates) -> None:
    with opened(address, **(certificates.options if tls else {})) as listener:
        assert str(listener) == f'{text}{listener.address.port}'
