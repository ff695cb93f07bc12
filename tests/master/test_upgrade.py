"""SIGUSR2: the master becomes what is installed by now, under the same pid, and nobody notices."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prefork.errors import EX_CONFIG
from tests.master.site import (
    APP,
    Load,
    Waiting,
    changed,
    children,
    get,
    hang_up,
    is_alive,
    open_site,
    reload,
    until_it_has_ended,
    watched,
    workers,
)
from tests.master.test_activation import activating, listening
from tests.master.test_pid1 import serving as serving_as_process_1
from tests.master.test_systemd import Notified
from tests.namespaces import as_root, for_others
from tests.serving import PREFORK, ROOT, serve, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import Certificates
    from tests.master.site import Site
    from tests.serving import Server

GENERATION = r'generation (\d+): loaded, \d+ workers?'


def usr2(server: Server) -> None:
    server.send_signal(signal.SIGUSR2)


def upgrade(server: Server) -> int:
    """Upgrade, and wait until all is done: the number of the new generation."""
    usr2(server)
    server.stderr.wait_for('upgraded: ')
    return int(server.stderr.wait_for(GENERATION)[1])


def stop(server: Server) -> None:
    """Stop; nothing must be left."""
    left = children(server.pid)
    server.terminate()
    assert server.wait() == 0
    assert [pid for pid in left if is_alive(pid)] == []


def ask(sock: socket.socket, path: str = '/version') -> str:
    sock.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'.encode())
    response = http.client.HTTPResponse(sock)
    response.begin()
    assert response.status == 200
    return response.read().decode()


def ask_at(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        return ask(sock)


def wait_for_line(log: Path, text: str) -> None:
    """Wait until a log file has it: the kernel tells tail(1) of what is new.

    Where there is no file yet tail(1) looks for it, and for what is new in it, once a second unless told otherwise.
    """
    command = ['timeout', '20', 'tail', '-n', '+1', '-F', '-s', '0.05', str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tail:
        assert tail.stdout is not None
        assert any(text in line for line in tail.stdout)
        tail.terminate()


# --- what goes well -----------------------------------------------------------------------------------------------


def test_new_code_is_served_and_no_request_is_lost(site: Site) -> None:
    with site.serve() as server:
        old = workers(server)
        with Load(server) as load:
            for number, version in enumerate(('two', 'three', 'four'), 2):
                site.change(version=version)
                assert upgrade(server) == number
                assert get(server, '/version') == version
                load.wait_for_more(50)
        assert load.failures == []
        assert server.stderr.text.count('upgraded: 2 workers are adopted') == 3
        for pid in old:
            until_it_has_ended(pid)
        stop(server)


def test_a_new_prefork_serves(site: Site, tmp_path: Path) -> None:
    """Its own files were replaced, not only the application's."""
    tree = tmp_path / 'tree'
    shutil.copytree(ROOT / 'prefork', tree / 'prefork')
    script = tmp_path / 'script.py'
    script.write_text(
        f'import sys\nsys.path.insert(0, {str(tree)!r})\nfrom prefork.cli import main\nsys.exit(main())\n'
    )
    with serve(*site.arguments(1, ()), cwd=site.folder, env={'PYTHONDONTWRITEBYTECODE': '1'},
               command=(sys.executable, '-P', str(script))) as server:  # fmt: skip
        text = (tree / 'prefork' / 'master' / 'supervisor.py').read_text()
        new = tree / 'new'
        new.write_text(text.replace("'upgraded: ", "'upgraded: by another binary, ").replace(
            "f'upgraded: {count}", "f'upgraded: by another binary, {count}"))  # fmt: skip
        new.rename(tree / 'prefork' / 'master' / 'supervisor.py')
        usr2(server)
        server.stderr.wait_for('upgraded: by another binary, 1 worker is adopted')
        server.stderr.wait_for(GENERATION)
        assert get(server, '/version') == 'one'
        stop(server)


def test_requests_in_progress_are_finished(site: Site) -> None:
    with site.serve() as server:
        waiting = Waiting(server)
        site.wait_for_arrival()
        site.change(version='two')
        upgrade(server)
        assert get(server, '/version') == 'two'
        site.open_gate('finished')
        assert waiting.result() == 'finished'
        stop(server)


def test_a_unix_socket_keeps_its_file(site: Site) -> None:
    path = site.folder / 'socket'
    with site.start('--bind', f'unix:{path}') as server:
        server.stderr.wait_for('ready: 2 workers')
        inode = path.stat().st_ino
        for version in ('two', 'three'):
            site.change(version=version)
            upgrade(server)
            assert ask_at(path) == version
        assert path.stat().st_ino == inode
        stop(server)
        assert not path.exists()


def test_a_socket_that_was_passed(site: Site) -> None:
    with listening(socket.AF_INET) as sockets:
        where = activating('web', *sockets)
        flags = site.arguments(2, ('--bind', 'fd:web'))
        with serve(*flags, cwd=site.folder, env=site.environment(None), **where) as server:
            with Load(server) as load:
                for version in ('two', 'three'):
                    site.change(version=version)
                    upgrade(server)
                    assert get(server, '/version') == version
                    load.wait_for_more(20)
            assert load.failures == []
            reload(server)  # the name is still known
            stop(server)


def test_a_socket_that_was_inherited_by_number(site: Site) -> None:
    with listening(socket.AF_INET) as (sock,):
        number = sock.fileno()
        flags = site.arguments(1, ('--bind', f'fd:{number}'))
        with serve(*flags, cwd=site.folder, env=site.environment(None), pass_fds=[number]) as server:
            for version in ('two', 'three'):
                site.change(version=version)
                upgrade(server)
                assert get(server, '/version') == version
            stop(server)


def test_tls(site: Site, certificates: Certificates) -> None:
    flags = ('--ssl-cert-file', str(certificates.cert), '--ssl-key-file', str(certificates.key))
    context = ssl.create_default_context(cafile=str(certificates.ca))
    with site.serve(*flags) as server:
        with Load(server, context) as load:
            upgrade(server)
            load.wait_for_more(50)
        assert load.failures == []
        stop(server)


INI = """
[server:main]
use = egg:prefork
access_log = off
bind = {bind}
workers = {workers}
[app:main]
paste.app_factory = app:make
"""


class Ini:
    """The same site, as an ini file whose options can be changed."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.path = site.folder / 'app.ini'
        site.write(APP + '\ndef make(global_conf):\n    return app\n')

    def write(self, workers: str = '1', bind: str = '127.0.0.1:0') -> None:
        self.path.write_text(INI.format(workers=workers, bind=bind))

    def serve(self) -> contextlib.AbstractContextManager[Server]:
        environment = {**self.site.environment(None), 'PYTHONPATH': str(self.site.folder)}
        return serve(self.path, cwd=self.site.folder, env=environment)


def test_new_options_apply(site: Site) -> None:
    ini, more = Ini(site), site.folder / 'more'
    ini.write()
    with ini.serve() as server:
        ini.write('3', f'127.0.0.1:0 unix:{more}')
        usr2(server)
        server.stderr.wait_for('generation 2: loaded, 3 workers')
        assert ask_at(more) == 'one'
        ini.write('2')
        usr2(server)
        server.stderr.wait_for('generation 3: loaded, 2 workers')
        assert not more.exists()
        assert get(server, '/version') == 'one'
        stop(server)


def test_two_servers_whose_applications_never_meet(site: Site) -> None:
    """Without preloading each has processes of its own, and so it is while they are verified."""
    path, other = site.folder / 'app.ini', site.folder / 'other'
    alone = "\nimport sys\nassert 'other' not in sys.modules, 'they meet'\ndef make(global_conf):\n    return app\n"
    site.write(APP + alone)
    (site.folder / 'other.py').write_text((APP + alone).replace("'other'", "'app'").replace("'one'", "'1'"))
    path.write_text(
        '[DEFAULT]\n'
        '[server:main]\nuse = egg:prefork\npreload = false\nbind = 127.0.0.1:0\nworkers = 1\n'
        f'[server:more]\nuse = egg:prefork\npreload = false\nbind = unix:{other}\nworkers = 1\napp = other\n'
        '[app:main]\npaste.app_factory = app:make\n[app:other]\npaste.app_factory = other:make\n'
    )
    with serve(path, cwd=site.folder, env={**site.environment(None), 'PYTHONPATH': str(site.folder)}) as server:
        upgrade(server)
        assert (get(server, '/version'), ask_at(other)) == ('one', '1')
        (site.folder / 'other.py').write_text('def make(:\n')
        usr2(server)
        server.stderr.wait_for('not upgraded: ')
        server.stderr.wait_for('SyntaxError')
        assert (get(server, '/version'), ask_at(other)) == ('one', '1')
        stop(server)


def test_where_there_is_no_subreaper(site: Site) -> None:
    """The master forks its workers itself."""
    command = changed('linux.become_subreaper = lambda: False')
    with serve(*site.arguments(2, ()), cwd=site.folder, env=site.environment(None), command=command) as server:
        with Load(server) as load:
            for version in ('two', 'three'):
                site.change(version=version)
                upgrade(server)
                assert get(server, '/version') == version
        assert load.failures == []
        stop(server)


def test_descriptors_do_not_pile_up(site: Site) -> None:
    with site.serve('--pidfile', 'pid', '--error-log', '-') as server:
        upgrade(server)
        opened = len(list(Path(f'/proc/{server.pid}/fd').iterdir()))
        for _ in range(3):
            upgrade(server)
        server.stderr.wait_for(r'worker main/4/\d \(pid \d+\) exited')
        assert len(list(Path(f'/proc/{server.pid}/fd').iterdir())) <= opened
        assert (site.folder / 'pid').read_text() == f'{server.pid}\n'
        stop(server)
        assert not (site.folder / 'pid').exists()


def test_its_own_variable_is_nobodys(site: Site) -> None:
    site.write(APP.replace("b'%d' % os.getpid()", "os.environ.get('PREFORK_UPGRADE', 'none').encode()"))
    with site.serve() as server:
        upgrade(server)
        assert get(server, '/') == 'none'
        assert b'PREFORK_UPGRADE' not in Path(f'/proc/{workers(server)[-1]}/cmdline').read_bytes()


def test_logs_go_on(site: Site) -> None:
    """In their files, also those of workers that were adopted, and reopened with them."""
    log = site.folder / 'log'
    with site.start('--error-log', str(log), '--access-log', str(site.folder / 'access')) as server:
        wait_for_line(log, 'ready: 2 workers')
        usr2(server)
        wait_for_line(log, 'generation 2: loaded, 2 workers')
        log.rename(site.folder / 'log.1')
        server.send_signal(signal.SIGUSR1)
        wait_for_line(log, 'the logs are reopened')
        stop(server)
        assert server.stderr.text == ''


# --- what goes wrong ----------------------------------------------------------------------------------------------

BROKEN = {
    'an exception': (APP + "\nraise ValueError('broken')\n", r'ValueError: broken'),
    'a syntax error': ('def app(:\n', 'SyntaxError'),
    'nothing of that name': ('', 'app'),
    'an exit': (APP + '\nraise SystemExit(3)\n', 'SystemExit: 3'),
    'a crash': (APP + '\nos.abort()\n', 'SIGABRT'),
    'a silent end': (APP + '\nos._exit(5)\n', 'exited with status 5'),
}


@pytest.mark.parametrize(('text', 'reason'), BROKEN.values(), ids=BROKEN)
def test_a_broken_application_changes_nothing(text: str, reason: str, site: Site) -> None:
    with site.serve() as server:
        before = workers(server)
        with Load(server) as load:
            site.write(text)
            usr2(server)
            server.stderr.wait_for('not upgraded: ')
            load.wait_for_more(20)
            assert workers(server) == before
            assert server.stderr.text.count('not upgraded: ') == 1
            assert re.search(reason, server.stderr.text)
            site.change(version='two')
            upgrade(server)
        assert load.failures == []
        assert get(server, '/version') == 'two'
        stop(server)


def test_a_bad_option_changes_nothing(site: Site) -> None:
    ini = Ini(site)
    ini.write()
    with ini.serve() as server:
        ini.write('many')
        usr2(server)
        server.stderr.wait_for(r'not upgraded: .*app.ini:6: \[server:main\] workers')
        assert get(server, '/version') == 'one'
        stop(server)


def test_an_address_that_is_taken_changes_nothing(site: Site) -> None:
    ini, old, new = Ini(site), site.folder / 'old', site.folder / 'new'
    ini.write(bind=f'127.0.0.1:0 unix:{old}')
    with listening(socket.AF_INET) as (taken,), ini.serve() as server:
        address = f'127.0.0.1:{taken.getsockname()[1]}'
        ini.write(bind=f'127.0.0.1:0 unix:{new} {address}')
        usr2(server)
        server.stderr.wait_for(f'not upgraded: .*cannot listen on {address}')
        assert not new.exists()
        assert ask_at(old) == 'one'
        stop(server)


def test_a_ready_url_that_is_not_answered_changes_nothing(site: Site) -> None:
    with site.serve('--ready-url', '/version') as server:
        upgrade(server)
        site.write(APP.replace('body = VERSION.encode()', "raise ValueError('not today')"))
        usr2(server)
        server.stderr.wait_for('not upgraded: ')
        server.stderr.wait_for('ready_url = /version was answered 500')
        assert get(server, '/version') == 'one'
        stop(server)


def test_a_load_that_hangs_changes_nothing(site: Site) -> None:
    with site.serve('--load-timeout', '2') as server:
        before = children(server.pid)
        site.write(APP + '\nwait()\n')
        usr2(server)
        site.wait_for_arrival()
        assert get(server, '/version') == 'one'
        (verifier,) = children(server.pid) - before
        (loading,) = children(verifier)
        server.stderr.wait_for('not upgraded: it was not verified within load_timeout = 2 s')
        server.stderr.wait_for(r'app\.py", line \d+ in wait')
        until_it_has_ended(verifier)
        until_it_has_ended(loading)
        assert get(server, '/version') == 'one'
        assert children(server.pid) == before
        stop(server)


def test_a_python_that_is_gone_changes_nothing(site: Site) -> None:
    link = site.folder / 'python'
    link.symlink_to(sys.executable)
    flags = site.arguments(1, ())
    with serve(*flags, cwd=site.folder, env=site.environment(None), command=(link, '-m', 'prefork')) as server:
        link.unlink()
        usr2(server)
        server.stderr.wait_for(f'not upgraded: {link}: No such file or directory')
        assert get(server, '/version') == 'one'
        stop(server)


def test_what_breaks_after_the_verification_costs_nothing(site: Site) -> None:
    """The workers that were adopted serve until something can be started."""
    # The first load is the verifier's, the second the new master's; a file tells them apart.
    count = """
import os
if os.path.exists('upgrading'):
    with open('loads', 'a+') as loads:
        loads.write('.')
        loads.flush()
        loads.seek(0)
        if len(loads.read()) == 2:
            raise ValueError('broken at the second load')
"""
    site.write(APP + count)
    with site.serve() as server:
        old = workers(server)
        (site.folder / 'upgrading').touch()
        with Load(server) as load:
            usr2(server)
            server.stderr.wait_for('upgraded: 2 workers are adopted')
            server.stderr.wait_for('generation 2 is given up; generation 1 serves on: ')
            assert [pid for pid in old if is_alive(pid)] == old
            server.stderr.wait_for('generation 3: loaded, 2 workers')  # it is tried again by itself
            load.wait_for_more(20)
        assert load.failures == []
        for pid in old:
            until_it_has_ended(pid)
        stop(server)


# --- signals meanwhile --------------------------------------------------------------------------------------------

WAITS = """
import os
if os.path.exists('upgrading'):
    wait()
"""


@contextlib.contextmanager
def verifying(site: Site) -> Iterator[Server]:
    """A server whose verification waits at the gate."""
    site.write(APP + WAITS)
    with site.serve() as server:
        (site.folder / 'upgrading').touch()
        usr2(server)
        site.wait_for_arrival()
        (site.folder / 'upgrading').unlink()
        yield server


def test_a_second_one_is_refused(site: Site) -> None:
    with verifying(site) as server:
        usr2(server)
        server.stderr.wait_for('not upgraded twice')
        site.open_gate('.')
        server.stderr.wait_for('upgraded: ')
        server.stderr.wait_for(GENERATION)
        assert server.stderr.text.count('adopted') == 1
        stop(server)


def test_two_at_once(site: Site) -> None:
    with site.serve() as server:
        with Load(server) as load:
            for _ in range(2):
                usr2(server)
            server.stderr.wait_for('upgraded: ')
            server.stderr.wait_for(GENERATION)
        assert load.failures == []
        stop(server)


def test_a_reload_during_the_verification(site: Site) -> None:
    with verifying(site) as server:
        with Load(server) as load:
            site.change(version='two')
            reload(server)
            assert get(server, '/version') == 'two'
            site.change(version='three')
            site.open_gate('.')
            server.stderr.wait_for('upgraded: ')
            server.stderr.wait_for('generation 3: loaded, 2 workers')
            assert get(server, '/version') == 'three'
        assert load.failures == []
        stop(server)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_the_verification(number: signal.Signals, site: Site) -> None:
    with verifying(site) as server:
        left = children(server.pid)
        server.send_signal(number)
        assert server.wait(5) == 0
        for pid in left:
            until_it_has_ended(pid)
        assert 'upgraded' not in server.stderr.text


def test_a_reload_that_hangs_is_superseded(site: Site) -> None:
    site.write(APP + WAITS)
    with site.serve() as server:
        (site.folder / 'upgrading').touch()
        hang_up(server)
        site.wait_for_arrival()
        (site.folder / 'upgrading').unlink()
        usr2(server)
        server.stderr.wait_for('generation 2 is given up; generation 1 serves on: an upgrade supersedes it')
        server.stderr.wait_for('generation 3: loaded, 2 workers')
        stop(server)


SLOW_TO_HEAR = """
import os, signal
from prefork.master import upgrade
whole = upgrade.hand_over
def hand_over(*arguments):
    for number in {numbers}:
        os.kill(os.getpid(), number)
    return whole(*arguments)
upgrade.hand_over = hand_over
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_no_signal_is_lost_on_the_way(number: signal.Signals, site: Site) -> None:
    """It has been told to the one, and is heard by the other."""
    change = SLOW_TO_HEAR.format(numbers=[int(number)])
    flags = site.arguments(2, ())
    with serve(*flags, cwd=site.folder, env=site.environment(None), command=changed(change)) as server:
        usr2(server)
        assert server.wait() == 0
        server.stderr.wait_for('upgraded: 2 workers are adopted')
        server.stderr.wait_for('stopping')


def test_a_reload_on_the_way_is_done(site: Site) -> None:
    change = SLOW_TO_HEAR.format(numbers=[int(signal.SIGHUP)])
    flags = site.arguments(2, ())
    with serve(*flags, cwd=site.folder, env=site.environment(None), command=changed(change)) as server:
        with Load(server) as load:
            usr2(server)
            server.stderr.wait_for('generation 2 is given up; generation 1 serves on: it is superseded by the next')
            server.stderr.wait_for('generation 3: loaded, 2 workers')
        assert load.failures == []
        stop(server)


def test_an_exec_that_fails_changes_nothing(site: Site) -> None:
    change = """
import os
from prefork.master.invocation import Invocation
repeat = Invocation.repeat
def fail(invocation, legacy):
    if 'verify' in legacy:
        repeat(invocation, legacy)
    raise FileNotFoundError(2, 'No such file or directory')
Invocation.repeat = fail
"""
    flags = site.arguments(2, ())
    with serve(*flags, cwd=site.folder, env=site.environment(None), command=changed(change)) as server:
        before = workers(server)
        with Load(server) as load:
            usr2(server)
            server.stderr.wait_for('not upgraded: .*: No such file or directory')
            server.stderr.wait_for('generation 2: loaded, 2 workers')  # its mold was gone already
            hang_up(server)
            server.stderr.wait_for('generation 3: loaded, 2 workers')
        assert load.failures == []
        assert not set(before).intersection(workers(server))
        stop(server)


# --- deaths -------------------------------------------------------------------------------------------------------


def test_workers_that_were_adopted_may_die(site: Site) -> None:
    site.write(APP + WAITS)
    with site.serve('--load-timeout', '30') as server:
        first, second = workers(server)
        usr2(server)
        server.stderr.wait_for('upgrading: it can take over')
        (site.folder / 'upgrading').touch()
        server.stderr.wait_for('upgraded: ')
        site.wait_for_arrival()  # the mold of the new generation
        os.kill(first, signal.SIGKILL)
        server.stderr.wait_for(rf'worker main/1/\d \(pid {first}\) was killed by SIGKILL')
        assert int(get(server)) == second
        site.open_gate('.')
        server.stderr.wait_for(GENERATION)
        stop(server)


def test_a_worker_that_died_on_the_way_is_no_zombie(site: Site) -> None:
    change = """
import os
from prefork.master import upgrade
whole = upgrade.hand_over
def hand_over(invocation, signals, sites, children, fleet):
    (child, *_) = children
    os.kill(child.pid, 9)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return whole(invocation, signals, sites, children, fleet)
upgrade.hand_over = hand_over
"""
    flags = site.arguments(2, ())
    with serve(*flags, cwd=site.folder, env=site.environment(None), command=changed(change)) as server:
        usr2(server)
        server.stderr.wait_for(r'worker main/1/\d \(pid \d+\) was killed by SIGKILL')
        server.stderr.wait_for(GENERATION)
        stop(server)


def test_workers_that_were_adopted_outlive_the_master_for_no_longer_than_others(site: Site) -> None:
    with site.serve() as server:
        upgrade(server)
        server.send_signal(signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL
        server.stderr.close(15)  # its end comes with the last of them


# --- in other worlds ----------------------------------------------------------------------------------------------


def test_as_process_1(site: Site) -> None:
    with serving_as_process_1(site) as master:
        server = master.server
        with Load(server) as load:
            for number in (2, 3):
                site.change(version=f'version {number}')
                master.send_signal(signal.SIGUSR2)
                server.stderr.wait_for(r'\[1\] INFO upgraded: 1 worker is adopted')
                server.stderr.wait_for(f'generation {number}: loaded, 1 worker')
                assert get(server, '/version') == f'version {number}'
        assert load.failures == []
        master.send_signal(signal.SIGTERM)
        assert server.wait() == 0


@as_root
def test_as_another_user(site: Site, tmp_path: Path) -> None:
    with open_site() as shared:
        socket_path = shared.folder / 'open' / 'socket'
        flags = shared.arguments(1, ('--user', '12', '--group', '13', '--bind', f'unix:{socket_path}'))
        shared.write(APP.replace("b'%d' % os.getpid()", "b'%d %d' % (os.getuid(), os.getgid())"))
        command = (*for_others(), *PREFORK)
        with start(*flags, cwd=shared.folder, env=shared.environment(None), command=command) as server:
            server.stderr.wait_for('ready: 1 worker')
            usr2(server)
            server.stderr.wait_for('generation 2: loaded, 1 worker')
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(20)
                sock.connect(str(socket_path))
                assert ask(sock, '/') == '12 13'
            assert (socket_path.stat().st_uid, socket_path.stat().st_gid) == (12, 13)
            shared.write(APP + "\nimport os\nassert os.getuid() == 0, 'not root'\n")
            usr2(server)
            server.stderr.wait_for('not upgraded: ')
            server.stderr.wait_for('AssertionError: not root')
            server.terminate()
            assert server.wait() == 0


def test_a_daemon_stays_one(site: Site) -> None:
    log, pidfile = site.folder / 'log', site.folder / 'pid'
    flags = site.arguments(1, ('--daemon', 'true', '--pidfile', str(pidfile), '--error-log', str(log)))
    with start(*flags, cwd=site.folder, env=site.environment(None)) as server:
        assert server.wait() == 0
        pid = int(pidfile.read_text())
        with watched(pid) as ended:
            try:
                os.kill(pid, signal.SIGUSR2)
                wait_for_line(log, 'generation 2: loaded, 1 worker')
                assert int(pidfile.read_text()) == pid
                assert '] INFO upgraded: 1 worker is adopted' in log.read_text()
                assert os.readlink(f'/proc/{pid}/fd/2') == str(log)
            finally:
                os.kill(pid, signal.SIGTERM)
                assert select.select([ended], [], [], 20)[0]
        assert not pidfile.exists()


def test_the_service_manager_sees_a_reload(site: Site, tmp_path: Path) -> None:
    notified = Notified(f'{tmp_path}/notify')
    with contextlib.closing(notified), site.serve(env={**notified.environment, 'WATCHDOG_USEC': '60000000'}) as server:
        notified.wait_for(f'READY=1 . MAINPID={server.pid}')
        usr2(server)
        notified.wait_for(r'RELOADING=1 . MONOTONIC_USEC=\d+')
        notified.wait_for('STATUS=generation 2: 2 of 2 workers$')
        assert sum('READY=1' in message for message in notified.history) == 1
        notified.wait_for(f'READY=1 . MAINPID={server.pid}')
        site.write('def app(:\n')
        usr2(server)
        notified.wait_for('STATUS=upgrade failed: .*SyntaxError.*; generation 2 serves on: 2 of 2 workers')
        stop(server)


# --- the message --------------------------------------------------------------------------------------------------

MESSAGES = {
    'no JSON': ('x', 'no message of another prefork'),
    'something else': ('{}', 'no message of another prefork'),
    'of another format': ('{"format": 0}', 'hands over in a way that this one cannot'),
    'what is not open': ('{"format": 1, "descriptors": [987]}', 'no message of another prefork'),
}


@pytest.mark.parametrize(('text', 'complaint'), MESSAGES.values(), ids=MESSAGES)
def test_what_no_prefork_has_said_is_refused(text: str, complaint: str, site: Site) -> None:
    with site.start(env={'PREFORK_UPGRADE': text}) as server:
        assert server.wait() == EX_CONFIG
        server.stderr.wait_for(complaint)
