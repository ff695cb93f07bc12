"""The same against systemd itself: a user manager in namespaces of its own, where this machine can run one."""

from __future__ import annotations

import os
import re
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.master.site import Site, children
from tests.serving import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEMD = next((path for path in ('/usr/lib/systemd/systemd', '/lib/systemd/systemd') if os.path.exists(path)), '')
DEADLINE = 30.0

# In namespaces with no control group but its own, and nothing of the machine's systemd.  The shell stays, as process 1:
# in its place systemd would be the system's manager, whatever it is told.
MANAGER = """
set -e
echo $$ >"$1/cgroup.procs"
exec unshare --cgroup --mount --pid --fork --kill-child --mount-proc sh -ec '
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount -t tmpfs tmpfs /run
    mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR"
    "$0" --user --unit=up.service --log-target=console --show-status=no
' "$2"
"""


class Systemd:
    """A user manager; ``folder`` is for its units and whatever else there is to keep."""

    def __init__(self, folder: Path, cgroup: Path) -> None:
        self._cgroup = cgroup
        self._units = folder / 'config' / 'systemd' / 'user'
        self._units.mkdir(parents=True)
        self._environment = {
            **os.environ,
            'HOME': str(folder),
            'XDG_CONFIG_HOME': str(folder / 'config'),
            'XDG_RUNTIME_DIR': '/run/user/0',
        }
        up = folder / 'up'
        os.mkfifo(up)
        self.write('up.service', f'[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c "echo >{up}"\n')
        with (folder / 'manager.log').open('w') as log:
            self._process = subprocess.Popen(
                ['sh', '-c', MANAGER, 'sh', cgroup, SYSTEMD],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        reader, end = os.open(up, os.O_RDWR), os.pidfd_open(self._process.pid)
        ready, _, _ = select.select([reader, end], [], [], DEADLINE)
        os.close(reader)
        os.close(end)
        if reader not in ready:
            self.close()
            pytest.skip('systemd does not run here:\n' + (folder / 'manager.log').read_text())
        (self._pid,) = children(self._process.pid)

    def write(self, name: str, text: str) -> None:
        """Make a unit."""
        (self._units / name).write_text(text)

    def enter(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside the manager."""
        return subprocess.run(
            ['nsenter', '--mount', '--pid', '--cgroup', '--target', str(self._pid), *command],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def control(self, *arguments: str) -> None:
        """systemctl, which waits until the job is done; fails as it does."""
        done = self.enter('systemctl', '--user', *arguments)
        assert done.returncode == 0, (
            f'{done.stderr}\n{self.enter("systemctl", "--user", "status", arguments[-1]).stdout}'
        )

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.enter('systemctl', '--user', 'show', '--value', '--property', name, unit).stdout.strip()

    def wait_for(self, unit: str, name: str, pattern: str) -> str:
        deadline = time.monotonic() + DEADLINE
        while not re.search(pattern, value := self.show(unit, name)):
            assert time.monotonic() < deadline, f'{unit}: {name}={value!r}, and not {pattern!r}'
        return value

    def close(self) -> None:
        """End all that is in the namespaces, and the control group with it."""
        self._process.kill()  # and with the first process of a namespace go all others
        self._process.wait()
        with (self._cgroup / 'cgroup.events').open() as events:
            poll = select.poll()
            poll.register(events, select.POLLPRI)
            while 'populated 1' in events.read():
                assert poll.poll(DEADLINE * 1000), 'a process is left'
                events.seek(0)
        for folder, _, _ in os.walk(self._cgroup, topdown=False):
            os.rmdir(folder)


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    mounts = [line.split() for line in Path('/proc/mounts').read_text().splitlines()]
    root = next((Path(mount[1]) for mount in mounts if mount[2] == 'cgroup2'), None)
    if root is None or os.getuid() or not SYSTEMD or not shutil.which('unshare'):
        pytest.skip('it takes systemd, control groups, and root to make namespaces')
    cgroup = root / f'prefork-test-{os.getpid()}'
    try:
        cgroup.mkdir()
    except OSError as error:
        pytest.skip(f'no control group can be made: {error}')
    made = Systemd(tmp_path, cgroup)
    yield made
    made.close()


def version() -> int:
    shown = subprocess.run([SYSTEMD, '--version'], capture_output=True, text=True, check=True).stdout
    return int(shown.split()[1].split('.')[0])


SERVICE = """
[Service]
{kind}
WorkingDirectory={folder}
Environment=PYTHONPATH={root} PYTHONDONTWRITEBYTECODE=1
ExecStart={python} -m prefork app:app --workers 2 --access-log off --log-level debug {flags}
StandardError=append:{folder}/server.log
KillMode=mixed
{more}
"""
SOCKET = """
[Socket]
ListenStream={folder}/socket
FileDescriptorName=web
"""


def kinds() -> list[str]:
    """The ways to be told of a reload that this systemd has."""
    old = 'Type=notify\nExecReload=kill -HUP $MAINPID'
    return [old, 'Type=notify-reload'] if SYSTEMD and version() >= 253 else [old]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def install(systemd: Systemd, site: Site, kind: str = kinds()[-1], flags: str = '', more: str = '') -> None:
    text = SERVICE.format(kind=kind, folder=site.folder, root=ROOT, python=sys.executable, flags=flags, more=more)
    systemd.write('site.service', text)


def ask(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE)
        client.connect(str(path))
        client.sendall(b'GET /version HTTP/1.0\r\n\r\n')
        with client.makefile('rb') as answer:
            return answer.read().rpartition(b'\r\n')[2].decode()


@pytest.mark.parametrize('kind', kinds(), ids=lambda kind: kind.split()[0])
def test_a_service(kind: str, systemd: Systemd, site: Site) -> None:
    path = site.folder / 'own'
    install(systemd, site, kind, f'--bind unix:{path}')
    systemd.control('start', 'site.service')
    assert ask(path) == 'one', 'what start waited for'
    systemd.wait_for('site.service', 'StatusText', '^generation 1: 2 of 2 workers$')
    main = systemd.show('site.service', 'MainPID')
    site.change(version='two')
    systemd.control('reload', 'site.service')
    if kind == 'Type=notify-reload':
        assert ask(path) == 'two', 'what reload waited for'
    systemd.wait_for('site.service', 'StatusText', '^generation 2: 2 of 2 workers$')
    assert ask(path) == 'two'
    site.write('raise ValueError("no database")\n')
    systemd.control('reload', 'site.service')
    systemd.wait_for('site.service', 'StatusText', '^reload failed: .*no database; generation 2 serves on: 2 of 2')
    systemd.wait_for('site.service', 'ActiveState', '^active$')
    assert ask(path) == 'two'
    assert systemd.show('site.service', 'MainPID') == main
    systemd.control('stop', 'site.service')
    assert systemd.show('site.service', 'Result') == 'success'
    assert not path.exists()


def test_a_start_that_fails(systemd: Systemd, site: Site) -> None:
    site.write('raise ValueError("no database")\n')
    install(systemd, site, flags=f'--bind unix:{site.folder}/own')
    with pytest.raises(AssertionError, match=r'Job for site\.service failed'):
        systemd.control('start', 'site.service')
    assert systemd.show('site.service', 'ExecMainStatus') == '78'
    assert systemd.show('site.service', 'StatusText').startswith('start failed: the application cannot be loaded: ')


class Load:
    """A client that asks without a pause, and keeps what went wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._end = threading.Event()
        self.answers = 0
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self._end.is_set():
            try:
                answer = ask(self._path)
            except OSError as error:
                answer = repr(error)
            if not answer.isalpha():
                self.failures.append(answer)
            self.answers += 1

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._end.set()
        self._thread.join(DEADLINE)


def test_a_socket_unit(systemd: Systemd, site: Site) -> None:
    """It starts the service, which has no bind, and no restart of it costs a request."""
    path = site.folder / 'socket'
    install(systemd, site, more='StandardOutput=null')
    systemd.write('site.socket', SOCKET.format(folder=site.folder))
    systemd.control('start', 'site.socket')
    assert systemd.show('site.service', 'ActiveState') == 'inactive'
    assert ask(path) == 'one'
    systemd.wait_for('site.service', 'ActiveState', '^active$')
    with Load(path) as load:
        for version in ('two', 'three', 'four'):
            site.change(version=version)
            systemd.control('restart', 'site.service')
            assert ask(path) == version
    assert load.failures == []
    assert load.answers > 3
    systemd.control('stop', 'site.service')
    assert path.is_socket()
    assert ask(path) == 'four', 'which starts it again'


def test_a_socket_by_its_name(systemd: Systemd, site: Site) -> None:
    install(systemd, site, flags='--bind fd:web')
    systemd.write('site.socket', SOCKET.format(folder=site.folder))
    systemd.control('start', 'site.socket')
    assert ask(site.folder / 'socket') == 'one'


def test_the_watchdog(systemd: Systemd, site: Site) -> None:
    path = site.folder / 'own'
    install(systemd, site, flags=f'--bind unix:{path}', more='WatchdogSec=2\nRestart=on-failure\nRestartSec=0')
    systemd.control('start', 'site.service')
    fed = {systemd.show('site.service', 'WatchdogTimestampMonotonic')}
    while len(fed) < 3:
        fed.add(systemd.show('site.service', 'WatchdogTimestampMonotonic'))
    assert systemd.show('site.service', 'NRestarts') == '0'
    main = systemd.show('site.service', 'MainPID')
    systemd.enter('kill', '-STOP', main)
    systemd.wait_for('site.service', 'NRestarts', '1')
    systemd.wait_for('site.service', 'StatusText', '^generation 1: 2 of 2 workers$')
    assert ask(path) == 'one'
    assert systemd.show('site.service', 'MainPID') != main
