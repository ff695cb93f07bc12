"""Starts: what is preloaded and what each worker loads, what ends a start with which status, who holds what."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from prefork.errors import EX_CONFIG, EX_UNAVAILABLE
from tests.master.site import APP, changed, children, get, hang_up, is_alive, molds, open_files, reload, workers
from tests.serving import PREFORK, serve, start

if TYPE_CHECKING:
    from tests.certificates import Certificates
    from tests.master.site import Site

# Each load of the application leaves a line with the pid of the process that it was loaded in.
LOGGED = APP + "\n\nwith open('loads', 'a') as loads:\n    loads.write(f'{os.getpid()}\\n')\n"
THREAD = (
    LOGGED + "import threading\nthreading.Thread(target=threading.Event().wait, name='Beat', daemon=True).start()\n"
)
SOCKET = LOGGED + "import socket\nkept = socket.create_connection(('127.0.0.1', PORT))\n"


def loads(site: Site) -> list[int]:
    return list(map(int, (site.folder / 'loads').read_text().split()))


def test_the_application_is_loaded_once_for_all_workers(site: Site) -> None:
    site.write(LOGGED)
    with site.serve() as server:
        assert 'preload: generation 1 loaded once, in ' in server.stderr.text
        assert loads(site) == molds(server)
        reload(server)
        assert loads(site)[1:] == molds(server)[-1:]


@pytest.mark.parametrize('closed', ['<&- >&-', '>&-'])
def test_a_start_without_standard_descriptors(closed: str, site: Site) -> None:
    """As some inits do it: what is logged to standard output must not get into a socket of that number."""
    command = ('sh', '-c', f'exec "$@" {closed}', 'sh', *PREFORK)
    flags = ('--bind', '127.0.0.1:0', '--workers', '1', '--log-level', 'debug')
    with serve('app:app', *flags, cwd=site.folder, command=command) as server:
        assert [get(server) for _ in range(3)] == [str(pid) for pid in workers(server)] * 3
        assert 'ERROR' not in server.stderr.text
        for pid in (server.pid, *workers(server)):
            assert {os.readlink(f'/proc/{pid}/fd/{number}') for number in (0, 1)} == {os.devnull}


def test_a_thread_that_is_left_makes_each_worker_load(site: Site) -> None:
    site.write(THREAD)
    with site.serve() as server:
        text = server.stderr.text
        assert text.count('preload: each worker loads the application itself') == 1
        assert 'the thread Beat' in text
        first, *others = loads(site)
        assert not is_alive(first), 'the mold that found the thread is gone'
        assert Counter(others) == Counter(workers(server))
        assert int(get(server)) in others


def test_a_connection_that_is_left_makes_each_worker_load(site: Site) -> None:
    with socket.create_server(('127.0.0.1', 0)) as database:
        port = database.getsockname()[1]
        site.write(SOCKET.replace('PORT', str(port)))
        with site.serve() as server:
            assert f'a socket to 127.0.0.1:{port}' in server.stderr.text
            assert Counter(loads(site)[1:]) == Counter(workers(server))


def test_preload_true_keeps_what_auto_would_not(site: Site) -> None:
    site.write(THREAD)
    with site.serve('--preload', 'true') as server:
        assert loads(site) == molds(server)
        assert 'each worker loads' not in server.stderr.text
        assert get(server)


def test_preload_false_loads_in_each_worker(site: Site) -> None:
    site.write(LOGGED)
    with site.serve('--preload', 'false') as server:
        assert Counter(loads(site)) == Counter(workers(server))
        assert 'preload:' not in server.stderr.text


def test_without_a_subreaper_the_master_forks_workers_itself(site: Site) -> None:
    site.write(LOGGED)
    command = changed('linux.become_subreaper = lambda: False')
    arguments = site.arguments(2, ())
    with serve(*arguments, cwd=site.folder, env=site.environment(None), command=command) as server:
        assert children(server.pid) == set(workers(server)) == set(loads(site))
        site.change(version='two')
        reload(server)
        assert get(server, '/version') == 'two'
        site.write('raise ValueError("broken")\n')
        hang_up(server)
        server.stderr.wait_for('generation 3 is given up; generation 2 serves on')
        assert get(server, '/version') == 'two'


def test_an_application_may_ignore_its_children(site: Site) -> None:
    """Then the mold can't wait for the process between it and a worker, and needn't."""
    site.write(APP + '\nimport signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n')
    with site.serve() as server:
        assert int(get(server)) in workers(server)


def test_post_fork_runs_in_each_worker_before_it_serves(site: Site) -> None:
    site.write(
        LOGGED + "\n\ndef after():\n    with open('forks', 'a') as forks:\n        forks.write(f'{os.getpid()}\\n')\n"
    )
    with site.serve('--post-fork', 'app:after') as server:
        forks = Counter(map(int, (site.folder / 'forks').read_text().split()))
        assert forks == Counter(workers(server))


def test_what_a_worker_registers_at_exit_is_run_and_what_the_mold_did_is_not(site: Site) -> None:
    site.write(
        APP + 'import atexit\n'
        "def say(text):\n    with open('exits', 'a') as exits:\n        exits.write(f'{text} {os.getpid()}\\n')\n"
        "atexit.register(say, 'mold')\n"
        "def after():\n    atexit.register(say, 'worker')\n"
    )
    with site.serve('--post-fork', 'app:after') as server:
        pids = workers(server)
        server.terminate()
        assert server.wait() == 0
    said = (site.folder / 'exits').read_text().splitlines()
    assert sorted(said) == sorted(f'worker {pid}' for pid in pids)


def test_notices_about_the_configuration_are_logged(site: Site) -> None:
    site.write(APP + '\n\ndef factory(global_conf):\n    return app\n')
    (site.folder / 'app.ini').write_text(
        '[server:main]\nuse = egg:waitress#main\nport = 0\n[app:main]\nuse = call:app:factory\n'
    )
    environment = {**site.environment(None), 'PYTHONPATH': str(site.folder)}
    with serve('app.ini', '--workers', '1', cwd=site.folder, env=environment) as server:
        assert 'prefork serves in its place' in server.stderr.text


# --- starts that fail -------------------------------------------------------------------------------------------

FAILING = {
    'the application raises': ([], 'raise ValueError("no database")\n', 'ValueError: no database'),
    'it exits': ([], 'raise SystemExit(0)\n', 'SystemExit: 0'),
    'it ends the process': (
        [],
        'import os\nos._exit(0)\n',
        'the mold of generation 1 .* exited with status 0 while it loaded',
    ),
    'it hangs': (['--load-timeout', '0.3'], APP + 'wait()\n', 'not loaded within load_timeout = 0.3 s'),
    'it raises in each worker': (
        ['--preload', 'false'],
        'raise ValueError("no database")\n',
        'ValueError: no database',
    ),
    'it ends each worker': (
        ['--preload', 'false'],
        'import os\nos._exit(0)\n',
        'exited with status 0 before it was ready',
    ),
    'post_fork raises': (['--post-fork', 'app:fail'], APP + 'def fail():\n    1 / 0\n', 'ZeroDivisionError'),
    'post_fork is not there': (['--post-fork', 'app:nothing'], APP, "app:nothing: app has no 'nothing'\n"),
}


@pytest.mark.parametrize(('flags', 'text', 'reason'), FAILING.values(), ids=FAILING)
def test_an_application_that_cannot_be_loaded_ends_the_start(
    flags: list[str], text: str, reason: str, site: Site
) -> None:
    site.write(text)
    with site.start(*flags) as server:
        assert server.wait() == EX_CONFIG
        server.stderr.wait_for(reason)
        server.stderr.wait_for('stopped')


def test_a_taken_port_is_named_when_it_stays_taken(site: Site) -> None:
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        arguments = site.arguments(1, ('--bind', f'127.0.0.1:{port}'))
        with start(*arguments, cwd=site.folder, command=changed('master.BIND_RETRY = 0.3')) as server:
            server.stderr.wait_for(f'cannot listen on 127.0.0.1:{port}: Address already in use; trying for 0.3 s')
            assert server.wait() == EX_UNAVAILABLE
            server.stderr.wait_for(f'cannot listen on 127.0.0.1:{port}: Address already in use')
            assert 'listening on' not in server.stderr.text


def test_a_port_that_becomes_free_is_taken(site: Site) -> None:
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        with site.start('--bind', f'127.0.0.1:{port}') as server:
            server.stderr.wait_for('trying for 5 s')
            other.close()
            server.wait_until_ready()
            assert server.port == port
            assert get(server)


def test_a_reload_while_it_waits_for_a_port_comes_after_that(site: Site) -> None:
    with (
        socket.create_server(('127.0.0.1', 0)) as other,
        site.start('--bind', f'127.0.0.1:{other.getsockname()[1]}') as server,
    ):
        server.stderr.wait_for('trying for 5 s')
        hang_up(server)
        other.close()
        server.stderr.wait_for('listening on')
        server.stderr.wait_for('reloading')
        server.wait_until_ready()
        assert get(server)


def test_waiting_for_a_port_can_be_stopped(site: Site) -> None:
    with (
        socket.create_server(('127.0.0.1', 0)) as other,
        site.start('--bind', f'127.0.0.1:{other.getsockname()[1]}') as server,
    ):
        server.stderr.wait_for('trying for 5 s')
        server.terminate()
        assert server.wait(2) == 0


def test_tls_files_are_looked_at_before_anything_is_bound(site: Site) -> None:
    with site.start('--ssl-cert-file', '/nowhere/cert', '--ssl-key-file', '/nowhere/key') as server:
        assert server.wait() == EX_CONFIG
        server.stderr.wait_for('ssl_cert_file: /nowhere/cert: No such file or directory')
        server.stderr.wait_for('ssl_key_file: /nowhere/key: No such file or directory')
        assert 'listening' not in server.stderr.text


def test_a_log_that_cannot_be_opened_ends_the_start(site: Site) -> None:
    with site.start('--access-log', '/nowhere/log') as server:
        assert server.wait() == EX_CONFIG
        server.stderr.wait_for('access_log: /nowhere/log: No such file or directory')


TWO_SERVERS = """
import sys
from prefork.master.master import Deployment, Master
from prefork.settings import Settings, parse_address

def load_app(server):
    import app
    def named(environ, start_response):
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return [f'{server} {app.VERSION}'.encode()]
    return named

def load():
    ways = {'bind': (parse_address('127.0.0.1:0'),), 'access_log': 'off', 'log_level': 'debug'}
    return Deployment({'api': Settings({**ways, 'workers': 2}), 'admin': Settings({**ways, 'workers': 1})}, load_app)

sys.exit(Master(load).run())
"""


def test_one_generation_spans_two_servers(site: Site) -> None:
    environment = {**site.environment(None), 'PYTHONPATH': str(site.folder)}
    with serve(command=(sys.executable, '-c', TWO_SERVERS), cwd=site.folder, env=environment) as server:
        assert server.workers == 3

        def versions() -> list[str]:
            found = []
            for url in server.urls:
                with urllib.request.urlopen(url, timeout=10) as response:
                    found.append(response.read().decode())
            return found

        for worker in workers(server):
            assert len(sockets(worker)) == 2, 'its own listener and its channel'
        assert versions() == ['api one', 'admin one']
        site.change(version='two')
        reload(server)
        assert versions() == ['api two', 'admin two']


# --- what each process holds ------------------------------------------------------------------------------------


def test_tls_is_served_by_every_worker_with_one_set_of_tickets(site: Site, certificates: Certificates) -> None:
    flags = ('--ssl-cert-file', str(certificates.cert), '--ssl-key-file', str(certificates.key))
    with site.serve(*flags) as server:
        assert server.url.startswith('https://')
        context = ssl.create_default_context(cafile=str(certificates.ca))
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose ticket comes with the handshake
        with urllib.request.urlopen(
            f'https://localhost:{server.port}/version', context=context, timeout=10
        ) as response:
            assert response.read() == b'one'
        session = None
        asked: set[str] = set()
        while len(asked) < 2:
            sock = socket.create_connection(('127.0.0.1', server.port), 10)
            with context.wrap_socket(sock, server_hostname='localhost', session=session) as client:
                assert client.session_reused is (session is not None)
                session = client.session
                client.sendall(b'GET /pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
                with client.makefile('rb') as answer:
                    asked.add(answer.read().rpartition(b'\r\n')[2].decode())


def sockets(pid: int) -> set[str]:
    return {target for target in open_files(pid) if target.startswith('socket:')}


def test_no_process_holds_what_belongs_to_others(site: Site) -> None:
    path = site.folder / 'other'
    with site.serve('--bind', f'127.0.0.1:0 unix:{path}') as server:
        for _ in range(3):
            one, two = workers(server)[-2:]
            mold = molds(server)[-1]
            while len(sockets(mold)) > 3:  # it hasn't closed yet what the last worker has
                os.sched_yield()
            master = sockets(server.pid)
            listeners = sockets(one) & sockets(two)
            assert len(listeners) == 2
            assert listeners == sockets(mold) & master
            assert len(sockets(one)) == len(sockets(two)) == len(sockets(mold)) == 3, 'the listeners and one channel'
            assert not (sockets(one) | sockets(two) | sockets(mold)) & (master - listeners), 'the other ends'
            reload(server)  # which forks a mold while the master has channels to others


def test_nothing_is_inherited_by_programs_that_the_application_runs(site: Site) -> None:
    site.write(
        'import subprocess\n\n'
        'def app(environ, start_response):\n'
        '    shown = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True).stdout\n'
        '    start_response("200 OK", [])\n'
        '    return [shown]\n'
    )
    with site.serve(workers=1) as server:
        assert 'socket:' not in get(server)
        assert 'anon_inode' not in get(server)
