"""Sockets that a service manager passes: which server gets which, what is wrong with the rest, and what stays whose."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prefork.errors import EX_CONFIG, EX_UNAVAILABLE, BindError, ConfigError
from prefork.master.activation import Activation
from prefork.settings import Settings, parse_address
from tests.master.site import APP, Waiting, get, hang_up, open_files, reload, workers
from tests.serving import PREFORK, serve, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.master.site import Site

OURS = 4711


def passed(names: str | None, count: int, owner: int = OURS) -> Activation:
    environ = {'LISTEN_PID': str(owner), 'LISTEN_FDS': str(count)}
    return Activation(environ if names is None else {**environ, 'LISTEN_FDNAMES': names}, OURS)


def servers(**binds: str | None) -> dict[str, Settings]:
    return {
        name: Settings({} if bind is None else {'bind': tuple(map(parse_address, bind.split()))})
        for name, bind in binds.items()
    }


# --- which server gets which -------------------------------------------------------------------------------------

SHARED_OUT = {
    'by name': (passed('web:admin', 2), servers(a='fd:admin', b='fd:web'), {'a': 'fd:4', 'b': 'fd:3'}),
    'all of one name': (passed('web:admin:web', 3), servers(a='fd:web'), {'a': 'fd:3 fd:5'}),
    'by number': (passed('web:admin', 2), servers(a='fd:4'), {'a': 'fd:4'}),
    'beside an address': (passed('web', 1), servers(a='fd:web [::1]:80'), {'a': 'fd:3 [::1]:80'}),
    'all of them where none is named': (passed('web:admin', 2), servers(a=None), {'a': 'fd:3 fd:4'}),
    'what others leave': (passed('web:admin', 2), servers(a=None, b='fd:admin'), {'a': 'fd:3', 'b': 'fd:4'}),
    'nothing is left': (passed('web', 1), servers(a=None, b='fd:web'), {'a': '127.0.0.1:8080', 'b': 'fd:3'}),
    'without names': (passed(None, 2), servers(a='fd:unknown'), {'a': 'fd:3 fd:4'}),
    'with too few names': (passed('web', 2), servers(a='fd:unknown'), {'a': 'fd:4'}),
    'with an empty name': (passed(':web', 2), servers(a='fd:web', b='fd:unknown'), {'a': 'fd:4', 'b': 'fd:3'}),
    'none was passed': (passed('', 0), servers(a=None), {'a': '127.0.0.1:8080'}),
    'they are for another process': (passed('web', 1, owner=1), servers(a=None), {'a': '127.0.0.1:8080'}),
    'an address where one is given': (passed('web', 1), servers(a=':80'), {'a': '0.0.0.0:80'}),
}


@pytest.mark.parametrize(('given', 'wanted', 'found'), SHARED_OUT.values(), ids=SHARED_OUT)
def test_each_server_has_what_it_names(given: Activation, wanted: dict[str, Settings], found: dict[str, str]) -> None:
    addresses = given.addresses(wanted)
    assert {name: ' '.join(map(str, each)) for name, each in addresses.items()} == found


WRONG = {
    'no such name': (passed('web:admin:web', 3), 'fd:api', BindError, 'fd:api: no socket .*; there are admin, web$'),
    'none was passed': (passed('', 0), 'fd:web', BindError, 'no socket of that name was passed; there are none'),
    'for another process': (passed('web', 1, owner=1), 'fd:web', BindError, 'for process 1, and this one is 4711'),
    'no number': (Activation({'LISTEN_FDS': 'x'}, OURS), 'fd:web', BindError, 'LISTEN_PID= and LISTEN_FDS=x make no'),
    'name and number': (passed('web', 1), 'fd:web fd:3', ConfigError, r'bind: fd:3 \(web\) is there twice'),
}


@pytest.mark.parametrize(('given', 'bind', 'kind', 'complaint'), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(given: Activation, bind: str, kind: type[Exception], complaint: str) -> None:
    with pytest.raises(kind, match=complaint):
        given.addresses(servers(a=bind))


def test_one_socket_is_not_served_twice() -> None:
    with pytest.raises(ConfigError, match=r'bind: fd:3 \(web\) is there twice'):
        passed('web', 1).addresses(servers(a='fd:web', b='fd:3'))


def test_what_nobody_accepts_from_is_noticed() -> None:
    given = passed('web:admin', 2)
    assert given.notices(given.addresses(servers(a='fd:web'))) == [
        'no server has a bind for what was passed as fd:4 (admin)'
    ]
    assert given.notices(given.addresses(servers(a=None))) == []


def test_what_is_not_open_is_forgotten() -> None:
    given = passed('web', 1)
    closed = os.open(os.devnull, os.O_RDONLY)
    os.close(closed)
    given.names = {closed: 'web'}
    given.hold()
    with pytest.raises(BindError, match=f'descriptor {closed}, which is not open'):
        given.addresses(servers(a='fd:web'))


# --- processes ---------------------------------------------------------------------------------------------------

# What a manager does between fork and exec: the sockets get the numbers from 3 on, in their order.
ACTIVATE = """
import fcntl, os, sys
owner, names, given, *command = sys.argv[1:]
high = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in given.split(',')]
os.closerange(3, 100)
for index, number in enumerate(high):
    os.dup2(number, 3 + index)
    os.close(number)
os.environ.update(LISTEN_PID=owner or str(os.getpid()), LISTEN_FDS=str(len(high)), LISTEN_FDNAMES=names)
os.execv(command[0], command)
"""


def activating(names: str, *sockets: socket.socket, owner: str = '') -> dict[str, Any]:
    """What ``serve`` needs to have the sockets passed under these names."""
    numbers = [sock.fileno() for sock in sockets]
    given = ','.join(map(str, numbers))
    return {'command': (sys.executable, '-c', ACTIVATE, owner, names, given, *PREFORK), 'pass_fds': numbers}


@contextlib.contextmanager
def listening(*where: object) -> Iterator[list[socket.socket]]:
    """Sockets that a manager would have: on a path, or on the loopback address of a family."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for place in where:
            if isinstance(place, int):
                host = '::1' if place == socket.AF_INET6 else '127.0.0.1'
                sockets.append(stack.enter_context(socket.create_server((host, 0), family=place)))
            else:
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.bind(str(place))
                sock.listen()
                sockets.append(sock)
        yield sockets


def arguments(site: Site, *flags: str, workers: int = 1) -> list[str]:
    """The command line without a bind."""
    return ['app:app', '--workers', str(workers), '--access-log', 'off', '--log-level', 'debug', *flags]


def ask(sock: socket.socket, path: str = '/version') -> bytes:
    """Ask whoever accepts from the socket that this one is."""
    with socket.socket(sock.family) as client:
        client.settimeout(10)
        client.connect(sock.getsockname())
        client.sendall(f'GET {path} HTTP/1.0\r\n\r\n'.encode())
        with client.makefile('rb') as answer:
            return answer.read().rpartition(b'\r\n')[2]


def test_all_that_was_passed_is_served(site: Site, tmp_path: Path) -> None:
    with (
        listening(socket.AF_INET, socket.AF_INET6, tmp_path / 'socket') as sockets,
        serve(*arguments(site), cwd=tmp_path, env=site.environment(None), **activating('a:b:c', *sockets)) as server,
    ):
        ports = [sock.getsockname()[1] for sock in sockets[:2]]
        assert server.urls == (f'http://127.0.0.1:{ports[0]}', f'http://[::1]:{ports[1]}', f'unix:{tmp_path}/socket')
        for sock in sockets:
            assert ask(sock) == b'one'
        server.terminate()
        assert server.wait() == 0
        assert (tmp_path / 'socket').is_socket(), 'it is the managers'


def test_the_environment_is_not_for_the_application(site: Site) -> None:
    site.write(
        'import os\n\ndef app(environ, start_response):\n    start_response("200 OK", [])\n'
        '    return [",".join(name for name in os.environ if name.startswith("LISTEN_")).encode()]\n'
    )
    with (
        listening(socket.AF_INET) as sockets,
        serve(*arguments(site), cwd=site.folder, env=site.environment(None), **activating('a', *sockets)),
    ):
        assert ask(sockets[0]) == b''


def test_a_reload_finds_a_socket_again_that_one_before_had_dropped(site: Site) -> None:
    ini = '[server:main]\nbind = {bind}\nworkers = 1\naccess_log = off\n[app:main]\nuse = call:app:factory\n'
    site.write(APP + '\n\ndef factory(global_conf):\n    return app\n')
    path = site.folder / 'app.ini'
    path.write_text(ini.format(bind='fd:web'))
    environment = {**site.environment(None), 'PYTHONPATH': str(site.folder)}
    with listening(socket.AF_INET, socket.AF_INET) as (web, admin):
        given = activating('web:admin', web, admin)
        with serve('app.ini', '--log-level', 'debug', cwd=site.folder, env=environment, **given) as server:
            assert 'WARNING no server has a bind for what was passed as fd:4 (admin)\n' in server.stderr.text
            path.write_text(ini.format(bind='fd:admin'))
            reload(server)
            assert ask(admin) == b'one'
            path.write_text(ini.format(bind='fd:web fd:admin'))
            reload(server)
            assert ask(web) == ask(admin) == b'one'
            path.write_text(ini.format(bind='fd:nothing'))
            hang_up(server)
            server.stderr.wait_for('not reloaded: cannot listen on fd:nothing: no socket .*; there are admin, web')
            assert ask(web) == b'one'


def test_only_the_master_keeps_what_is_not_served(site: Site) -> None:
    with (
        listening(socket.AF_INET, socket.AF_INET) as sockets,
        serve(
            *arguments(site, '--bind', 'fd:web'),
            cwd=site.folder,
            env=site.environment(None),
            **activating('web:admin', *sockets),
        ) as server,
    ):
        web, admin = (os.readlink(f'/proc/self/fd/{sock.fileno()}') for sock in sockets)
        (worker,) = workers(server)
        assert {web, admin} <= open_files(server.pid)
        assert admin not in open_files(worker)
        held = [os.readlink(f'/proc/{worker}/fd/{number}') for number in os.listdir(f'/proc/{worker}/fd')]
        assert held.count(web) == 1
        for number in (3, 4):
            _, flags, *_ = Path(f'/proc/{server.pid}/fdinfo/{number}').read_text().splitlines()
            assert int(flags.split()[1], 8) & os.O_CLOEXEC, 'nor what the application runs'


STARTS_THAT_FAIL = {
    'no such name': ('web', '', ['--bind', 'fd:api'], EX_UNAVAILABLE, 'fd:api: .* there are web'),
    'for another process': ('web', '1', ['--bind', 'fd:web'], EX_UNAVAILABLE, 'LISTEN_PID says .* for process 1, and'),
    'twice': ('web', '', ['--bind', 'fd:web fd:3'], EX_CONFIG, r'bind: fd:3 \(web\) is there twice'),
}


@pytest.mark.parametrize(
    ('names', 'owner', 'flags', 'status', 'complaint'), STARTS_THAT_FAIL.values(), ids=STARTS_THAT_FAIL
)
def test_a_start_that_cannot_have_its_sockets_ends(
    names: str, owner: str, flags: list[str], status: int, complaint: str, site: Site
) -> None:
    with (
        listening(socket.AF_INET) as sockets,
        start(*arguments(site, *flags), cwd=site.folder, **activating(names, *sockets, owner=owner)) as server,
    ):
        assert server.wait() == status
        server.stderr.wait_for(complaint)


def test_a_name_without_activation(site: Site) -> None:
    with site.start('--bind', 'fd:web') as server:
        assert server.wait() == EX_UNAVAILABLE
        server.stderr.wait_for('cannot listen on fd:web: no socket was passed by name; LISTEN_FDS is not set')


def test_sockets_of_another_process_are_left_alone(site: Site) -> None:
    """As where a service that was activated runs us as one of its programs."""
    with listening(socket.AF_INET) as sockets:
        flags = arguments(site, '--bind', '127.0.0.1:0')
        with serve(*flags, cwd=site.folder, **activating('web', *sockets, owner='1')) as server:
            assert 'WARNING sockets were passed that cannot be used: LISTEN_PID says that ' in server.stderr.text
            assert server.port != sockets[0].getsockname()[1]
            assert get(server, '/version') == 'one'


def test_a_stop_leaves_a_shared_socket_to_whoever_holds_it(site: Site) -> None:
    """What is in its backlog is for the next who accepts: a manager starts the service again for it."""
    with listening(socket.AF_INET, site.folder / 'socket') as sockets:
        flags, environment = arguments(site, '--threads', '1'), site.environment(None)
        with serve(*flags, cwd=site.folder, env=environment, **activating('a:b', *sockets)) as server:
            (worker,) = workers(server)
            shared = {os.readlink(f'/proc/self/fd/{sock.fileno()}') for sock in sockets}
            waiting = Waiting(server)  # in the only thread, so that nobody accepts
            site.wait_for_arrival()
            clients = [socket.socket(sock.family) for sock in sockets]
            for client, sock in zip(clients, sockets, strict=True):
                client.connect(sock.getsockname())
                client.sendall(b'GET /version HTTP/1.0\r\n\r\n')
            server.terminate()
            while shared & open_files(worker):  # it drains
                os.sched_yield()
            site.open_gate('finished')
            assert waiting.result() == 'finished'
            assert server.wait() == 0
        site.change(version='two')
        with serve(*flags, cwd=site.folder, env=environment, **activating('a:b', *sockets)):
            for client in clients:
                with client, client.makefile('rb') as answer:
                    assert answer.read().endswith(b'two')
