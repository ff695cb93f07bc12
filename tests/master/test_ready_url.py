"""ready_url: a new generation serves nobody before it has answered a request of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import urllib.request
from typing import TYPE_CHECKING

import pytest

from prefork.errors import EX_CONFIG
from tests.master.site import APP as PLAIN
from tests.master.site import Load, changed, get, hang_up, is_alive, reload, workers
from tests.serving import serve

if TYPE_CHECKING:
    from tests.certificates import Certificates
    from tests.master.site import Site

# Each answer to /ready leaves a line with the pid and the version of who gave it.
APP = (
    PLAIN.replace('def app(', 'def other(')
    + """

def ready(environ, start_response):
    start_response('204 No Content', [])
    return []


def app(environ, start_response):
    if environ['PATH_INFO'] != '/ready':
        return other(environ, start_response)
    with open('asked', 'a') as asked:
        asked.write(f"{os.getpid()} {VERSION} {environ['wsgi.url_scheme']} {environ['HTTP_HOST']}\\n")
    return ready(environ, start_response)
"""
)


def answering(body: str) -> str:
    """A second version, in which ``body`` is what answers /ready."""
    text = APP.replace("'one'", "'two'")
    return text.replace("    start_response('204 No Content', [])\n    return []", f'    {body}')


def asked(site: Site) -> list[tuple[int, str]]:
    """Who answered /ready so far: pids and versions."""
    lines = [line.split() for line in (site.folder / 'asked').read_text().splitlines()]
    return [(int(line[0]), line[1]) for line in lines]


UNREADY = {
    'an error of its own': (
        "start_response('503 Service Unavailable', []); return [b'no \"database\"\\n' * 100]",
        r'worker main/2/0 \(pid \d+\) cannot start: ready_url = /ready was answered 503 Service Unavailable:'
        r" 'no \"database\"\\nno",
    ),
    'a path that is not there': (
        "start_response('404 Not Found', []); return []",
        'ready_url = /ready was answered 404 Not Found\n',
    ),
    'an exception': (
        'raise ValueError("no database")',
        'ready_url = /ready was answered 500 Internal Server Error',
    ),
    'the end of its process': ('os._exit(3)', r'worker main/2/0 \(pid \d+\) exited with status 3 before it was ready'),
    'no end': (
        'wait()',
        r'worker main/2/0 \(pid \d+\) was not ready within load_timeout = 1.5 s',
    ),
}


@pytest.mark.parametrize(('body', 'reason'), UNREADY.values(), ids=UNREADY)
def test_what_is_not_ready_does_not_take_over(body: str, reason: str, site: Site) -> None:
    site.write(APP)
    with site.serve('--ready-url', '/ready', '--load-timeout', '1.5' if body == 'wait()' else '30') as server:
        before = workers(server)
        site.write(answering(body))
        with Load(server) as load:
            hang_up(server)
            server.stderr.wait_for(f'generation 2 is given up; generation 1 serves on: .*{reason}')
            load.wait_for_more(50)
        assert load.failures == []
        assert workers(server) == before
        assert get(server, '/version') == 'one'
        assert len(re.findall(reason, server.stderr.text)) == 1
        site.write(answering("start_response('302 Found', [('Location', '/')]); return []"))
        reload(server)
        assert get(server, '/version') == 'two'


def test_its_exception_is_logged_once(site: Site) -> None:
    site.write(APP)
    with site.serve('--ready-url', '/ready') as server:
        site.write(answering('raise ValueError("no database")'))
        hang_up(server)
        server.stderr.wait_for('generation 2 is given up')
        server.stderr.wait_for(r'worker main/2/0 \(pid \d+\) exited with status 78')
        assert server.stderr.text.count('ValueError: no database') == 1
        assert 'GET /ready HTTP/1.1: the application failed' in server.stderr.text


def test_where_it_hangs_is_shown(site: Site) -> None:
    site.write(APP)
    with site.serve('--ready-url', '/ready', '--load-timeout', '1') as server:
        site.write(answering('wait()'))
        hang_up(server)
        server.stderr.wait_for(r'app.py", line \d+ in wait')


def test_each_new_worker_that_proves_a_generation_answers_itself(site: Site) -> None:
    """Not one that serves already, although it has the same listener."""
    site.write(APP)
    with site.serve('--ready-url', '/ready') as server:
        assert sorted(asked(site)) == sorted((pid, 'one') for pid in workers(server))
        site.write(APP.replace("'one'", "'two'"))
        hang_up(server)
        first = server.stderr.wait_for(r'worker main/2/0 \(pid (\d+)\) is ready')[1]
        server.stderr.wait_for('generation 2: loaded, 2 workers')
        assert asked(site)[2:] == [(int(first), 'two')]


def test_a_worker_of_a_generation_that_serves_is_not_asked(site: Site) -> None:
    """What is out of order for a while must not cost the service its workers, one after the other."""
    site.write(answering("start_response('500 No' if os.path.exists('down') else '200 OK', []); return []"))
    with site.serve('--ready-url', '/ready', workers=1) as server:
        (site.folder / 'down').touch()
        (worker,) = workers(server)
        os.kill(worker, signal.SIGKILL)
        server.stderr.wait_for(r'worker main/1/0 \(pid \d+\) is ready')
        assert asked(site) == [(worker, 'two')]
        assert get(server, '/version') == 'two'


def test_a_start_that_is_not_ready_ends(site: Site) -> None:
    site.write(answering("start_response('503 Service Unavailable', []); return [b'no database']"))
    with site.start('--ready-url', '/ready') as server:
        assert server.wait() == EX_CONFIG
        server.stderr.wait_for("cannot start: ready_url = /ready was answered 503 Service Unavailable: 'no database'")
        server.stderr.wait_for('stopped')
        assert 'ready: ' not in server.stderr.text


def test_nobody_is_served_before(site: Site) -> None:
    site.write(answering("wait(); start_response('200 OK', []); return []"))
    with site.start('--ready-url', '/ready', workers=1) as server:
        site.wait_for_arrival()
        port = int(server.stderr.wait_for(r'listening on http://127.0.0.1:(\d+)')[1])
        with socket.create_connection(('127.0.0.1', port), 10) as client:
            client.sendall(b'GET /version HTTP/1.0\r\n\r\n')
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(1)
            site.open_gate('')
            client.settimeout(10)
            assert client.recv(1000).endswith(b'two')


@pytest.mark.parametrize(
    ('number', 'end'),
    [
        (signal.SIGTERM, 'exited with status 0'),  # it needn't be killed
        (signal.SIGINT, 'was killed by SIGKILL'),
        (signal.SIGQUIT, 'was killed by SIGKILL'),
    ],
)
def test_a_signal_ends_it_while_it_is_asked(number: signal.Signals, end: str, site: Site) -> None:
    site.write(answering('wait()'))
    with site.start('--ready-url', '/ready', workers=1) as server:
        site.wait_for_arrival()
        ((worker, _),) = asked(site)
        server.send_signal(number)
        server.stderr.wait_for(rf'worker main/1/0 \(pid {worker}\) {end}')
        assert server.wait() == 0
        assert not is_alive(worker)


def test_a_reload_supersedes_one_that_is_asked(site: Site) -> None:
    site.write(APP)
    with site.serve('--ready-url', '/ready', workers=1) as server:
        site.write(answering('wait()'))
        hang_up(server)
        site.wait_for_arrival()
        site.write(APP.replace("'one'", "'three'"))
        hang_up(server)
        server.stderr.wait_for('generation 2 is given up; generation 1 serves on: it is superseded')
        server.stderr.wait_for('generation 3: loaded, 1 worker')
        assert get(server, '/version') == 'three'


def test_without_a_subreaper(site: Site) -> None:
    site.write(APP)
    command = changed('linux.become_subreaper = lambda: False')
    arguments = site.arguments(1, ('--ready-url', '/ready'))
    with serve(*arguments, cwd=site.folder, env=site.environment(None), command=command) as server:
        site.write(answering("start_response('500 No', []); return []"))
        hang_up(server)
        server.stderr.wait_for('generation 2 is given up; generation 1 serves on: .* was answered 500 No')
        assert get(server, '/version') == 'one'


TWO_SERVERS = """
[server:main]
port = 0
workers = 1
ready_url = /ready
[server:api]
use = egg:prefork
port = 0
workers = 1
app = api
{ready}
[app:main]
use = call:app:factory
[app:api]
use = call:app:broken_factory
"""
FACTORIES = """
def factory(global_conf):
    return app


def broken(environ, start_response):
    start_response('500 No', [])
    return []


def broken_factory(global_conf):
    return broken
"""


def test_each_server_has_its_own(site: Site) -> None:
    site.write(APP + FACTORIES)
    path = site.folder / 'app.ini'
    path.write_text(TWO_SERVERS.format(ready=''))
    environment = {**site.environment(None), 'PYTHONPATH': str(site.folder)}
    with serve('app.ini', cwd=site.folder, env=environment) as server:
        assert len(asked(site)) == 1
        path.write_text(TWO_SERVERS.format(ready='ready_url = api.example.org/ready'))
        hang_up(server)
        server.stderr.wait_for('generation 2 is given up; .* worker api/2/0 .*: ready_url = api.example.org/ready was')


def test_it_is_asked_as_its_clients_ask(site: Site, certificates: Certificates) -> None:
    """But for TLS itself: the application sees the same scheme, and the host that the option names."""
    site.write(APP)
    flags = ('--ssl-cert-file', str(certificates.cert), '--ssl-key-file', str(certificates.key))
    with site.serve('--ready-url', 'www.example.org:8443/ready', *flags, workers=1) as server:
        assert (site.folder / 'asked').read_text().split()[1:] == ['one', 'https', 'www.example.org:8443']
        context = ssl.create_default_context(cafile=str(certificates.ca))
        with urllib.request.urlopen(f'{server.url}/version', context=context, timeout=10) as response:
            assert response.read() == b'one'
