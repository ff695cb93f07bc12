"""Nothing writable is needed: no folder, no home, no shared memory.  A mount namespace has all of it read-only."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING

import pytest

from tests.master.site import APP, Load, get, hang_up, open_site, reload
from tests.namespaces import as_root, as_user, for_others, in_mount_namespace
from tests.serving import PREFORK, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.master.site import Site
    from tests.serving import Server

pytestmark = as_root

READ_ONLY = """
while umount -l /dev/shm 2> /dev/null; do :; done
cut -d ' ' -f 5 /proc/self/mountinfo | while read -r place; do
    mount -o remount,bind,ro "$place" 2> /dev/null || true
done
"""

NO_PROC = READ_ONLY + 'umount -l /proc\n'
NO_DEV = NO_PROC + 'mount -t tmpfs -o ro tmpfs /dev\n'

PROBING = (
    APP
    + """
import json, os

FOLDERS = ['.', '/', '/tmp', '/var/tmp', '/dev/shm', '/run', '/root']

def probing(environ, start_response):
    if environ['PATH_INFO'] != '/writable':
        environ['wsgi.input'].read()
        return app(environ, start_response)
    writable = []
    for folder in FOLDERS:
        try:
            os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR))
            writable.append(folder)
        except OSError:
            pass
    body = json.dumps([writable, os.environ.get('HOME'), os.getuid()]).encode()
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [body]

def make(global_conf):
    return probing
"""
)

INI = """
[server:main]
use = egg:prefork
bind = 127.0.0.1:0
workers = 2
body_buffer = 64K
log_level = debug
{option}

[app:main]
paste.app_factory = app:make
"""


@pytest.fixture
def site() -> Iterator[Site]:
    with open_site() as site:
        site.write(PROBING)
        yield site


def post(server: Server, size: int) -> int:
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=20)
    try:
        connection.request('POST', '/version', b'x' * size)
        return connection.getresponse().status
    finally:
        connection.close()


USERS = {'root': ((), 0), 'an ordinary user': (as_user(65534, 65534), 65534)}
WORLDS = {'all read-only': READ_ONLY, 'and no /proc': NO_PROC, 'and nothing in /dev': NO_DEV}


@pytest.mark.parametrize('world', WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize(('become', 'uid'), USERS.values(), ids=USERS)
def test_it_serves_reloads_and_stops(become: tuple[str, ...], uid: int, world: str, site: Site) -> None:
    (site.folder / 'app.ini').write_text(INI.format(option='spool_dir = none'))
    command = (*for_others(), *in_mount_namespace(world), *become, 'env', '-u', 'HOME', *PREFORK)
    environment = {'PYTHONPATH': str(site.folder)}
    with serve('app.ini', cwd=site.folder, env=environment, command=command) as server:
        assert json.loads(get(server, '/writable')) == [[], None, uid]
        assert post(server, 1000) == 200
        assert post(server, 500_000) == 413
        with Load(server) as load:
            site.write(PROBING.replace("'one'", "'version two'"))  # it is written where it isn't read-only
            reload(server)
            site.write('raise ValueError("broken")\n')
            hang_up(server)
            server.stderr.wait_for('generation 3 is given up; generation 2 serves on')
        assert load.failures == []
        assert get(server, '/version') == 'version two'
        server.terminate()
        assert server.wait() == 0
        assert server.stderr.text.count('ERROR') == 1


def test_large_bodies_are_refused_where_the_folder_for_them_cannot_be_written(site: Site) -> None:
    (site.folder / 'app.ini').write_text(INI.format(option=''))
    command = (*for_others(), *in_mount_namespace(READ_ONLY), *PREFORK)
    environment = {'PYTHONPATH': str(site.folder)}
    with serve('app.ini', cwd=site.folder, env=environment, command=command) as server:
        assert post(server, 1000) == 200
        assert post(server, 500_000) == 507
        server.stderr.wait_for('WARNING POST .*: the body cannot be kept: /tmp: .*Read-only file system')
        assert post(server, 1000) == 200
