"""HUP, with good code and with broken code, under load: not one request fails, and the right generation serves."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.certificates import Certificates
from tests.master.site import APP, Load, Waiting, children, get, hang_up, is_alive, molds, open_files, reload, workers
from tests.serving import LISTENING, serve

if TYPE_CHECKING:
    from tests.master.site import Site
    from tests.serving import Server

BROKEN = {
    'it raises': ('raise ValueError("no database")\n', 'ValueError: no database'),
    'a syntax error': ('def app(:\n', 'SyntaxError'),
    'no such module': ('import nothing_of_that_name\n', "No module named 'nothing_of_that_name'"),
    'no application in it': ('name = "other"\n', "no 'app'"),
    'it exits': ('raise SystemExit("goodbye")\n', 'SystemExit: goodbye'),
    'it ends the process': ('import os\nos._exit(9)\n', 'exited with status 9'),
    'it kills the process': ('import os\nos.kill(os.getpid(), 11)\n', 'was killed by SIGSEGV'),
}


@pytest.mark.parametrize(('text', 'reason'), BROKEN.values(), ids=BROKEN)
def test_broken_code_changes_nothing(text: str, reason: str, site: Site) -> None:
    with site.serve() as server:
        before = workers(server)
        site.write(text)
        with Load(server) as load:
            hang_up(server)
            server.stderr.wait_for(f'(?s)generation 2 is given up; generation 1 serves on.*{reason}')
            load.wait_for_more(50)
        assert load.failures == []
        assert workers(server) == before
        assert get(server, '/version') == 'one'
        assert server.stderr.text.count('generation 2 is given up') == 1
        site.change(version='two')
        reload(server)
        assert get(server, '/version') == 'two'


def test_the_traceback_is_the_applications(site: Site) -> None:
    site.write(APP + 'def connect():\n    raise ValueError("no database")\n')
    with site.serve() as server:
        site.write(APP + 'def connect():\n    raise ValueError("no database")\n\nconnect()\n')
        hang_up(server)
        server.stderr.wait_for('generation 2 is given up')
        server.stderr.wait_for('ValueError: no database')
        told = server.stderr.text.partition('generation 2 is given up')[2]
        assert f'File "{site.folder}/app.py", line ' in told
        assert 'in connect' in told
        assert 'prefork/master' not in told
        assert told.count('Traceback (most recent call last)') == 1


def test_code_that_hangs_changes_nothing(site: Site) -> None:
    with site.serve('--load-timeout', '0.3') as server:
        site.write(APP + 'wait()\n')
        with Load(server) as load:
            hang_up(server)
            server.stderr.wait_for('generation 2 is given up; .*not loaded within load_timeout = 0.3 s')
            server.stderr.wait_for('the mold of generation 2 .* was killed by SIGABRT')
            load.wait_for_more(50)
        assert load.failures == []
        assert re.search(r'app.py", line \d+ in wait', server.stderr.text), 'where it hung'
        assert get(server, '/version') == 'one'


HANGING_HOOKS = {
    'before it, in the mold': ('before=hang', 'the mold of generation 2 .* was killed by SIGKILL'),
    'in the process between mold and worker': ('after_in_child=hang', 'could not be forked within 0.5 s'),
    'in the worker': ('after_in_child=lambda: os.getppid() in MOLDS or hang()', 'was not ready within load_timeout'),
}


@pytest.mark.parametrize(('hook', 'reason'), HANGING_HOOKS.values(), ids=HANGING_HOOKS)
def test_a_fork_that_hangs_in_a_hook_of_the_application_changes_nothing(hook: str, reason: str, site: Site) -> None:
    with site.serve('--load-timeout', '1') as server:
        before = workers(server)
        hang = 'import time\nMOLDS = [os.getpid()]\ndef hang():\n    time.sleep(1000)\n'
        site.write(f'{APP}{hang}os.register_at_fork({hook})\n')
        hang_up(server)
        server.stderr.wait_for(f'generation 2 is given up; generation 1 serves on: .*{reason}')
        assert workers(server) == before
        site.change(version='two')
        reload(server)
        assert get(server, '/version') == 'two'
        left = children(server.pid)
        server.terminate()
        assert server.wait() == 0
        assert [pid for pid in left if is_alive(pid)] == []


def test_workers_that_cannot_start_change_nothing(site: Site) -> None:
    """The application loads, but what a worker does first fails."""
    site.write(APP + 'def after():\n    pass\n')
    with site.serve('--post-fork', 'app:after') as server:
        site.write(APP + 'def after():\n    raise OSError("no cache")\n')
        with Load(server) as load:
            hang_up(server)
            server.stderr.wait_for('generation 2 is given up; generation 1 serves on: worker main/2/0 .* cannot start')
            server.stderr.wait_for('OSError: no cache')
            load.wait_for_more(50)
        assert load.failures == []
        assert get(server, '/version') == 'one'


# In the order in which they come between good ones; the last two take all of load_timeout.
UNLOADABLE = (
    'raise ValueError("broken")\n',
    'def app(:\n',
    'import os\nos._exit(9)\n',
    APP.replace('body = VERSION.encode()', 'raise ValueError("broken")'),
    APP.replace('body = VERSION.encode()', 'start_response("503 Service Unavailable", []); return []'),
    APP.replace('body = VERSION.encode()', 'os._exit(9)'),
    APP + 'wait()\n',
    APP.replace('body = VERSION.encode()', 'body = wait()'),
)


def test_twenty_reloads_in_a_row_good_and_broken_mixed(site: Site) -> None:
    with site.serve('--ready-url', '/version', '--load-timeout', '2') as server, Load(server) as load:
        version = 'one'
        for number in range(20):
            load.wait_for_more(5)
            if number % 5 in (1, 3):
                site.write(UNLOADABLE[number // 5 * 2 + number % 5 // 3])
                hang_up(server)
                server.stderr.wait_for(r'generation \d+ is given up; generation \d+ serves on')
            else:
                version = f'version {number}'
                site.change(version=version)
                reload(server)
            assert get(server, '/version') == version
    assert load.failures == []
    assert load.answers > 100


def test_a_storm_of_hangups_ends_in_the_last_code(site: Site) -> None:
    with site.serve() as server, Load(server) as load:
        for number in range(30):
            site.change(version=f'version {number}')
            hang_up(server)
        # Signals of one kind merge: how many reloads there were is not known, only how it ends.
        while get(server, '/version') != 'version 29':
            load.wait_for_more(1)
        # All others have been given up or have drained: a mold and two workers are left.
        reload(server)
        assert get(server, '/version') == 'version 29'
    assert load.failures == []


def test_a_request_in_flight_is_answered_by_its_old_worker(site: Site) -> None:
    with site.serve() as server:
        waiting = Waiting(server)
        site.wait_for_arrival()
        site.change(version='two')
        reload(server)  # which waits for nobody's end
        assert get(server, '/version') == 'two'
        site.open_gate('finished')
        assert waiting.result() == 'finished'


def test_what_does_not_finish_in_time_is_ended(site: Site) -> None:
    with site.serve('--graceful-timeout', '0.2') as server:
        waiting = Waiting(server)
        site.wait_for_arrival()
        reload(server)
        with pytest.raises(ConnectionError):
            waiting.result()
        assert get(server) != ''


def test_a_reload_supersedes_one_that_hangs(site: Site) -> None:
    with site.serve() as server:
        site.write(APP + 'wait()\n')
        hang_up(server)
        site.wait_for_arrival()
        site.change(version='three')
        hang_up(server)
        server.stderr.wait_for('generation 2 is given up; generation 1 serves on: it is superseded')
        server.stderr.wait_for('generation 3: loaded, 2 workers')
        assert get(server, '/version') == 'three'


INI = """
[server:main]
use = egg:prefork
bind = {bind}
workers = {workers}
keepalive_timeout = 15
access_log = {log}
{more}

[app:main]
use = call:app:factory
"""

FACTORY = APP + '\n\ndef factory(global_conf):\n    return app\n'


class Configured:
    """A site that is served by an ini file."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.path = site.folder / 'app.ini'
        site.write(FACTORY)
        self.configure()

    def configure(self, bind: str = '127.0.0.1:0', workers: int = 2, log: str = 'off', more: str = '') -> None:
        self.path.write_text(INI.format(bind=bind, workers=workers, log=log, more=more))


@pytest.fixture
def configured(site: Site) -> Configured:
    return Configured(site)


ENVIRONMENT = {'PYTHONPATH': '.', 'PYTHONDONTWRITEBYTECODE': '1'}


def test_new_options_apply(configured: Configured, tmp_path: Path) -> None:
    with serve('app.ini', '--log-level', 'debug', cwd=tmp_path, env=ENVIRONMENT) as server, Load(server) as load:
        configured.configure(workers=3, log=str(tmp_path / 'access.log'))
        reload(server)
        assert 'generation 2: loaded, 3 workers' in server.stderr.text
        load.wait_for_more(10)
        configured.configure(workers=1)
        reload(server)
        assert 'generation 3: loaded, 1 worker' in server.stderr.text
        load.wait_for_more(10)
        for pid in (server.pid, molds(server)[-1], workers(server)[-1]):
            assert str(tmp_path / 'access.log') not in open_files(pid), 'nobody writes there any more'
    assert load.failures == []
    assert 'GET /version?' in (tmp_path / 'access.log').read_text()


def test_a_new_number_of_threads_applies(configured: Configured, tmp_path: Path) -> None:
    configured.configure(workers=1, more='threads = 1')
    with serve('app.ini', cwd=tmp_path, env=ENVIRONMENT) as server:
        configured.configure(workers=1, more='threads = 2')
        reload(server)
        both = [Waiting(server), Waiting(server)]
        with (tmp_path / 'arrivals').open() as arrivals, (tmp_path / 'arrivals').open('w'):
            assert arrivals.read(2) == '..', 'both are in the application at once'
        while any(waiting.in_progress for waiting in both):  # until both have gone, together or one by one
            with contextlib.suppress(OSError):  # nobody waits at this moment
                os.close(os.open(tmp_path / 'gate', os.O_WRONLY | os.O_NONBLOCK))
        assert [waiting.result() for waiting in both] == ['', '']


def test_new_limits_apply(configured: Configured, tmp_path: Path) -> None:
    with serve('app.ini', cwd=tmp_path, env=ENVIRONMENT) as server:
        assert status(server, '/' + 'x' * 100) == 200
        configured.configure(more='max_url_len = 50')
        reload(server)
        assert status(server, '/' + 'x' * 100) == 414
        assert status(server, '/version') == 200


def status(server: Server, path: str) -> int:
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=10)
    try:
        connection.request('GET', path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_new_certificate_is_shown(configured: Configured, certificates: Certificates, tmp_path: Path) -> None:
    """It has the old one's name: certificates are renewed in place."""
    certificate, key = tmp_path / 'cert.pem', tmp_path / 'key.pem'
    shutil.copy(certificates.cert, certificate)
    shutil.copy(certificates.key, key)
    configured.configure(more=f'ssl_cert_file = {certificate}\nssl_key_file = {key}')
    with serve('app.ini', cwd=tmp_path, env=ENVIRONMENT) as server:
        first = ssl.get_server_certificate(('127.0.0.1', server.port))
        assert first == certificates.cert.read_text()
        (tmp_path / 'renewed').mkdir()
        renewed = Certificates(tmp_path / 'renewed')
        certificate.write_bytes(renewed.cert.read_bytes())
        hang_up(server)
        server.stderr.wait_for('not reloaded: .*ssl_key_file')
        assert ssl.get_server_certificate(('127.0.0.1', server.port)) == first, 'it has another key'
        key.write_bytes(renewed.key.read_bytes())
        reload(server)
        assert ssl.get_server_certificate(('127.0.0.1', server.port)) == renewed.cert.read_text()


def test_a_configuration_that_cannot_be_used_changes_nothing(configured: Configured, tmp_path: Path) -> None:
    with serve('app.ini', '--log-level', 'debug', cwd=tmp_path, env=ENVIRONMENT) as server:
        with socket.create_server(('127.0.0.1', 0)) as other:
            taken = other.getsockname()[1]
            for configuration, complaint in (
                ({'more': 'colour = red'}, 'not reloaded: .*app.ini:8: .*colour: no such option'),
                ({'bind': f'127.0.0.1:0 127.0.0.1:{taken}'}, f'not reloaded: cannot listen on 127.0.0.1:{taken}'),
                ({'more': 'ssl_cert_file = /nowhere'}, 'not reloaded: (?s:.*)/nowhere: No such file'),
                ({'log': '/nowhere/access.log'}, 'not reloaded: access_log: /nowhere/access.log: No such file'),
                ({'more': 'error_log = /nowhere/error.log'}, 'not reloaded: error_log: /nowhere/error.log: No such'),
            ):
                configured.configure(**configuration)  # type: ignore[arg-type]
                hang_up(server)
                server.stderr.wait_for(complaint)
                assert get(server, '/version') == 'one'
        assert len(workers(server)) == 2
        assert len(molds(server)) == 1


def test_listeners_are_added_and_removed_and_the_rest_is_kept(configured: Configured, tmp_path: Path) -> None:
    path = tmp_path / 'socket'
    with serve('app.ini', '--log-level', 'debug', cwd=tmp_path, env=ENVIRONMENT) as server:
        first = server.port
        configured.configure(bind=f'127.0.0.1:0 unix:{path} [::1]:0')
        with Load(server) as load:
            reload(server)
            urls = LISTENING.findall(server.stderr.text)
            assert urls[:2] == [f'http://127.0.0.1:{first}', f'unix:{path}']
            assert len(urls) == 3, 'what was there already is not opened again'
            with urllib.request.urlopen(f'{urls[2]}/version', timeout=10) as response:
                assert response.read() == b'one'
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(10)
                client.connect(str(path))
                client.sendall(b'GET /version HTTP/1.0\r\n\r\n')
                assert client.recv(1000).endswith(b'one')
            configured.configure()
            reload(server)
            load.wait_for_more(10)
        assert load.failures == []
        assert not path.exists()
        with pytest.raises(OSError, match='refused'):
            socket.create_connection(('::1', int(urls[2].rpartition(':')[2])), 10)


def test_a_listener_that_is_kept_is_the_same_socket_with_new_options(configured: Configured, tmp_path: Path) -> None:
    with serve('app.ini', cwd=tmp_path, env=ENVIRONMENT) as server:
        inode = os.stat(f'/proc/{server.pid}/fd/{listening_descriptor(server.pid)}').st_ino
        configured.configure(more='backlog = 7\ntcp_keepidle = 77')
        reload(server)
        assert os.stat(f'/proc/{server.pid}/fd/{listening_descriptor(server.pid)}').st_ino == inode
        assert backlog(server.port) == 7


def listening_descriptor(pid: int) -> int:
    lines = [line.split() for line in Path('/proc/net/tcp').read_text().splitlines()]
    listening = {f'socket:[{line[9]}]' for line in lines if line[3] == '0A'}
    for link in Path(f'/proc/{pid}/fd').iterdir():
        if str(link.readlink()) in listening:
            return int(link.name)
    raise AssertionError('no listener')


def backlog(port: int) -> int:
    shown = subprocess.run(['ss', '-Hltn', f'sport = :{port}'], capture_output=True, text=True, check=True).stdout
    return int(shown.split()[2])
