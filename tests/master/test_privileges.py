"""Who is who: the master stays root, everybody who runs the application has become the user and can't go back."""

from __future__ import annotations

import contextlib
import ctypes
import grp
import json
import os
import pwd
import signal
import socket
import ssl
import stat
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prefork.errors import EX_CONFIG, EX_NOPERM, ConfigError
from prefork.master.privileges import Identity, identity
from prefork.master.signals import fork
from prefork.settings import Settings
from tests.master.site import APP, CHANGED, children, get, molds, open_files, open_site, reload, workers
from tests.namespaces import as_root, as_user, for_others, in_mount_namespace
from tests.serving import PREFORK, serve, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.certificates import Certificates
    from tests.master.site import Site

pytestmark = as_root

UID, GID = 65534, 54321  # nobody, and a group without a name: it is nobody's by default
NAME = 'nobody'

# What the application is, as it sees it itself; and a file that it makes.
SEEN = (
    APP
    + """
import json

def seen(environ, start_response):
    name = f'made{os.getpid()}'
    if not os.path.exists(name):
        open(name, 'w').close()
    try:
        os.setuid(0)
        regained = True
    except PermissionError:
        regained = False
    found = {
        'uids': os.getresuid(),
        'gids': os.getresgid(),
        'groups': sorted(os.getgroups()),
        'regained': regained,
        'folder': os.getcwd(),
        'made': name,
        'home': os.environ.get('HOME'),
        'user': os.environ.get('USER'),
    }
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps(found).encode()]
"""
)


@pytest.fixture
def site() -> Iterator[Site]:
    with open_site() as site:
        yield site


def identities(pid: int) -> dict[str, list[int]]:
    """Numbers of users and groups of a process, each as real, effective, saved and of the file system."""
    lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    fields = dict(line.split(':', 1) for line in lines)
    return {name: list(map(int, fields[name].split())) for name in ('Uid', 'Gid', 'Groups')}


DROPPED = {'Uid': [UID] * 4, 'Gid': [GID] * 4, 'Groups': [GID]}
AS_NOBODY = ('--user', NAME, '--group', str(GID))

KINDS = {
    'preloaded': ('', 'true'),
    'loaded in each worker': ('', 'false'),
    'forked by the master': ('linux.become_subreaper = lambda: False', 'auto'),
}


@pytest.mark.parametrize(('change', 'preload'), KINDS.values(), ids=KINDS)
def test_molds_and_workers_become_the_user(change: str, preload: str, site: Site) -> None:
    command = (*for_others(), PREFORK[0], '-c', CHANGED.format(change=change))
    arguments = site.arguments(2, (*AS_NOBODY, '--preload', preload))
    with serve(*arguments, cwd=site.folder, env=site.environment(None), command=command) as server:

        def check() -> None:
            assert identities(server.pid)['Uid'] == [0] * 4
            for pid in children(server.pid):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that ends at this moment
                    assert identities(pid) == DROPPED
                    assert 'CapEff:\t0000000000000000' in Path(f'/proc/{pid}/status').read_text()

        check()
        os.kill(workers(server)[0], signal.SIGKILL)
        server.stderr.wait_for('is ready')
        check()
        for pid in molds(server):
            os.kill(pid, signal.SIGKILL)
            server.stderr.wait_for('generation 2: loaded')
            check()
        reload(server)
        check()
        assert int(get(server)) in workers(server)


def test_the_application_is_the_user_from_its_import_on(site: Site) -> None:
    site.write(APP + '\nassert os.getresuid() == (65534,) * 3\nVERSION = os.environ["HOME"]\n')
    with serve(*site.arguments(1, ('--user', NAME)), cwd=site.folder, command=(*for_others(), *PREFORK)) as server:
        assert get(server, '/version') == pwd.getpwnam(NAME).pw_dir
        (worker,) = workers(server)
        assert identities(worker)['Gid'] == [pwd.getpwnam(NAME).pw_gid] * 4


def test_what_a_fork_would_break_is_still_found(site: Site) -> None:
    """The kernel gives what /proc says of a process that was root to root: the process itself has to read it."""
    with socket.create_server(('127.0.0.1', 0)) as database:
        port = database.getsockname()[1]
        site.write(APP + f"\nimport socket\nkept = socket.create_connection(('127.0.0.1', {port}))\n")
        with serve(*site.arguments(1, AS_NOBODY), cwd=site.folder, command=(*for_others(), *PREFORK)) as server:
            assert f'a socket to 127.0.0.1:{port}' in server.stderr.text


def test_umask_and_chdir(site: Site) -> None:
    site.write(SEEN)
    # Relative to where the server is started, for the access log too; the module is found by the path that is set.
    flags = ('--umask', '0027', '--chdir', 'open', '--access-log', 'access.log')
    environment = {**site.environment(None), 'PYTHONPATH': str(site.folder)}
    arguments = site.arguments(1, (*AS_NOBODY, *flags))
    arguments[0] = 'app:seen'
    with serve(*arguments, cwd=site.folder, env=environment, command=(*for_others(), *PREFORK)) as server:
        for _ in range(2):
            found = json.loads(get(server))
            assert found['uids'] == [UID] * 3
            assert found['gids'] == [GID] * 3
            assert found['groups'] == [GID]
            assert found['regained'] is False
            assert found['folder'] == str(site.folder / 'open')
            assert found['home'] == pwd.getpwnam(NAME).pw_dir
            assert found['user'] == NAME
            made = (site.folder / 'open' / found['made']).stat()
            assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (UID, GID, 0o640)
            reload(server)
        assert (site.folder / 'access.log').stat().st_uid == 0


def test_supplementary_groups_are_the_users(site: Site) -> None:
    """By the groups of this machine, and two more."""
    before = set(os.getgrouplist(NAME, GID))
    groups = Path('/etc/group').read_text() + f'one:x:70001:{NAME}\ntwo:x:70002:root\nthree:x:70003:root,{NAME}\n'
    (site.folder / 'group').write_text(groups)
    overlay = in_mount_namespace(f'mount --bind {site.folder}/group /etc/group')
    command = (*for_others(), *overlay, *PREFORK)
    with serve(*site.arguments(1, AS_NOBODY), cwd=site.folder, command=command) as server:
        for pid in children(server.pid):
            assert set(identities(pid)['Groups']) == before | {70001, 70003}


def test_a_number_without_a_name(site: Site) -> None:
    command = (*for_others(), *PREFORK)
    flags = ('--user', '54320', '--group', str(GID))
    with serve(*site.arguments(1, flags), cwd=site.folder, env={'HOME': '/kept'}, command=command) as server:
        for pid in children(server.pid):
            assert identities(pid) == {'Uid': [54320] * 4, 'Gid': [GID] * 4, 'Groups': [GID]}


def test_a_group_alone_keeps_the_user(site: Site) -> None:
    with site.serve('--group', str(GID), workers=1) as server:
        for pid in children(server.pid):
            assert identities(pid) == {'Uid': [0] * 4, 'Gid': [GID] * 4, 'Groups': [GID]}


# --- what root has to do before and after -----------------------------------------------------------------------


def test_a_key_for_root_alone_is_read_before(site: Site, certificates: Certificates) -> None:
    key = site.folder / 'key'
    key.write_bytes(certificates.key.read_bytes())
    key.chmod(0o600)
    flags = (*AS_NOBODY, '--ssl-cert-file', str(certificates.cert), '--ssl-key-file', str(key))
    context = ssl.create_default_context(cafile=str(certificates.ca))
    with serve(*site.arguments(1, flags), cwd=site.folder, command=(*for_others(), *PREFORK)) as server:
        for _ in range(2):
            with urllib.request.urlopen(f'https://localhost:{server.port}/version', context=context) as response:
                assert response.read() == b'one'
            reload(server)


def test_a_unix_socket_is_the_users(site: Site) -> None:
    path = site.folder / 'socket'
    flags = (*AS_NOBODY, '--bind', f'unix:{path}', '--socket-mode', '0620')
    with serve(*site.arguments(1, flags), cwd=site.folder, command=(*for_others(), *PREFORK)) as server:
        for _ in range(2):
            found = path.stat()
            assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (UID, GID, 0o620)
            path.chmod(0o777)
            os.chown(path, 0, 0)
            reload(server)


def test_logs_stay_roots_and_are_reopened(site: Site) -> None:
    folder = site.folder / 'logs'
    folder.mkdir(mode=0o700)
    log = folder / 'access.log'
    flags = (*AS_NOBODY, '--access-log', str(log))
    with serve(*site.arguments(1, flags), cwd=site.folder, command=(*for_others(), *PREFORK)) as server:
        get(server, '/first')
        while '/first' not in log.read_text():
            os.sched_yield()
        old = log.rename(folder / 'old')
        server.send_signal(signal.SIGUSR1)
        server.stderr.wait_for('the logs are reopened')
        (worker,) = workers(server)
        while str(old) in open_files(worker):
            os.sched_yield()
        get(server, '/second')
        server.terminate()
        assert server.wait() == 0
    assert '/second' in log.read_text()
    assert '/first' in old.read_text()
    for path in (log, old):
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (0, 0o640)


# --- starts that fail, and who may start what -------------------------------------------------------------------

FAILING = {
    'no such user': (('--user', 'no-such-user'), EX_CONFIG, "user: there is no user 'no-such-user'"),
    'digits of another script': (('--user', '٣'), EX_CONFIG, "user: there is no user '٣'"),
    'no such group': (('--group', 'no-such-group'), EX_CONFIG, "group: there is no group 'no-such-group'"),
    'a number that says no group': (('--user', '54320'), EX_CONFIG, 'user: 54320 has no entry in passwd'),
    'a number that is nobody': (('--user', '4294967295'), EX_CONFIG, 'user: 4294967295 is above 4294967294'),
    'no such folder': (('--chdir', 'nowhere'), EX_CONFIG, 'chdir: nowhere is not a folder'),
    'a folder that the user cannot enter': (
        (*AS_NOBODY, '--chdir', 'closed'),
        EX_CONFIG,
        'cannot be loaded: chdir: closed: Permission denied',
    ),
}


@pytest.mark.parametrize(('flags', 'status', 'reason'), FAILING.values(), ids=FAILING)
def test_starts_that_fail(flags: tuple[str, ...], status: int, reason: str, site: Site) -> None:
    (site.folder / 'closed').mkdir(mode=0o700)
    with start(*site.arguments(1, flags), cwd=site.folder, command=(*for_others(), *PREFORK)) as server:
        assert server.wait() == status
        server.stderr.wait_for(reason)


def test_an_application_that_only_root_can_read(site: Site) -> None:
    (site.folder / 'app.py').chmod(0o600)
    with start(*site.arguments(1, AS_NOBODY), cwd=site.folder, command=(*for_others(), *PREFORK)) as server:
        assert server.wait() == EX_CONFIG
        server.stderr.wait_for('the application cannot be loaded: .*Permission denied')


def test_an_ordinary_user_may_name_itself(site: Site) -> None:
    command = (*for_others(), *as_user(UID, GID), *PREFORK)
    flags = (*AS_NOBODY, '--bind', f'unix:{site.folder}/open/socket')
    with serve(*site.arguments(1, flags), cwd=site.folder, command=command) as server:
        assert identities(server.pid) == {'Uid': [UID] * 4, 'Gid': [GID] * 4, 'Groups': []}
        found = (site.folder / 'open' / 'socket').stat()
        assert (found.st_uid, found.st_gid) == (UID, GID)


@pytest.mark.parametrize('flags', [('--user', 'root'), ('--group', '1'), ('--user', '54320', '--group', '1')], ids=str)
def test_an_ordinary_user_cannot_become_another(flags: tuple[str, ...], site: Site) -> None:
    command = (*for_others(), *as_user(UID, GID), *PREFORK)
    with start(*site.arguments(1, flags), cwd=site.folder, command=command) as server:
        assert server.wait() == EX_NOPERM
        server.stderr.wait_for(rf'user, group: only root can become \d+:\d+; this process is {UID}:{GID}')


@pytest.mark.parametrize('flag', ['--check', '--print-config'])
def test_looking_at_it_runs_nothing_of_the_applications_as_root(flag: str, site: Site) -> None:
    site.write(
        'import os\n'
        'with open("open/loaded", "w") as file:\n'
        '    file.write(str(os.getuid()))\n'
        'def make(global_conf):\n'
        '    return lambda environ, start_response: []\n'
    )
    (site.folder / 'app.ini').write_text(
        f'[server:main]\nuser = {NAME}\ngroup = {GID}\n[app:main]\npaste.app_factory = app:make\n'
    )
    environment = {**site.environment(None), 'PYTHONPATH': str(site.folder)}
    command = (*for_others(), *PREFORK)
    with start(flag, 'app.ini', cwd=site.folder, env=environment, command=command) as server:
        assert server.wait() == 0
    assert (site.folder / 'open' / 'loaded').read_text() == str(UID)


# --- the drop itself --------------------------------------------------------------------------------------------


def in_child(act: Callable[[], int]) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(fork(act), 0)[1])


def test_nothing_is_left_of_root() -> None:
    def act() -> int:
        os.environ['HOME'] = '/root'
        Identity(UID, GID, [GID, 5], {'HOME': '/here'}).become()
        assert os.getresuid() == (UID,) * 3
        assert os.getresgid() == (GID,) * 3
        assert sorted(os.getgroups()) == [5, GID]
        assert os.environ['HOME'] == '/here'
        return 3

    assert in_child(act) == 3


def test_a_way_back_to_root_is_noticed() -> None:
    """Where the secure bits keep the capabilities when the user changes (capabilities(7)), it can be changed back."""
    set_securebits, no_setuid_fixup = 28, 1 << 2

    def act() -> int:
        assert ctypes.CDLL(None).prctl(set_securebits, no_setuid_fixup, 0, 0, 0) == 0
        with pytest.raises(ConfigError, match='could become root again'):
            Identity(UID, GID, [GID], {}).become()
        return 3

    assert in_child(act) == 3


def test_a_drop_that_is_not_permitted_is_an_error() -> None:
    """Root in a container may be without the capability."""
    setgid = 6

    def act() -> int:
        libc = ctypes.CDLL(None)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        sets = (ctypes.c_uint32 * 6)()
        assert libc.capget(header, sets) == 0
        for index in (0, 1):
            sets[index] &= ~(1 << setgid)
        assert libc.capset(header, sets) == 0
        with pytest.raises(ConfigError, match='cannot become 65534:54321: Operation not permitted'):
            Identity(UID, GID, [GID], {}).become()
        return 3

    assert in_child(act) == 3


def test_whom_the_options_name() -> None:
    entry = pwd.getpwnam(NAME)
    found = identity(Settings({'user': NAME}))
    assert found is not None
    assert (found.uid, found.gid) == (entry.pw_uid, entry.pw_gid)
    assert found.environment == {'HOME': entry.pw_dir, 'USER': NAME, 'LOGNAME': NAME}
    assert set(found.groups) == set(os.getgrouplist(NAME, entry.pw_gid))
    by_number = identity(Settings({'user': str(entry.pw_uid), 'group': grp.getgrgid(0).gr_name}))
    assert by_number is not None
    assert (by_number.uid, by_number.gid) == (entry.pw_uid, 0)
    assert identity(Settings()) is None
