"""The pidfile: what is in its place already, and who removes it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from prefork.errors import EX_CONFIG, EX_NOPERM, ConfigError
from prefork.master.pidfile import Pidfile
from tests.master.site import get, hang_up, molds, open_files, reload, workers
from tests.namespaces import as_root, as_user, for_others
from tests.serving import PREFORK, serve, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.master.site import Site


@pytest.fixture
def gone() -> int:
    """The number of a process that there was."""
    process = subprocess.Popen(['true'])
    process.wait()
    return process.pid


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives, and has a pidfile's lock where a test gives it one."""
    with subprocess.Popen(['cat'], stdin=subprocess.PIPE) as process:
        yield process


MINE = f'{os.getpid()}\n'


def test_it_says_this_process_to_everybody(tmp_path: Path) -> None:
    path = tmp_path / 'pid'
    before = os.umask(0o077)
    try:
        pidfile = Pidfile(str(path))
    finally:
        os.umask(before)
    assert path.read_text() == MINE
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]
    pidfile.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_one_left_is_replaced(tmp_path: Path, gone: int, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / 'pid'
    path.write_text(f'{gone}\n')
    Pidfile(str(path)).close()
    assert path.read_text() == MINE
    assert f'process {gone}, which it says, is gone or none of ours' in caplog.text


@pytest.mark.parametrize('text', ['', '4294967297\n', '0'])
def test_what_says_no_process_is_replaced(text: str, tmp_path: Path) -> None:
    path = tmp_path / 'pid'
    path.write_text(text)
    Pidfile(str(path)).close()
    assert path.read_text() == MINE


def test_a_number_that_is_another_programs_by_now_is_replaced(
    tmp_path: Path, other: subprocess.Popen[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / 'pid'
    path.write_text(f'{other.pid}\n')
    Pidfile(str(path)).close()
    assert path.read_text() == MINE
    assert f'process {other.pid}, which it says, is gone or none of ours' in caplog.text


def test_a_number_that_is_ours_by_now_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In a container, the master has the same number at each start."""
    path = tmp_path / 'pid'
    path.write_text(MINE)
    before = path.stat().st_ino
    pidfile = Pidfile(str(path))
    assert path.stat().st_ino != before
    assert caplog.text == ''
    pidfile.remove()


def test_a_lock_says_nothing_when_the_process_is_gone(tmp_path: Path, gone: int) -> None:
    """Whoever can read the file can lock it."""
    path = tmp_path / 'pid'
    path.write_text(f'{gone}\n')
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        Pidfile(str(path)).close()
    assert path.read_text() == MINE


def test_one_that_lives_keeps_its_file(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    path = tmp_path / 'pid'
    path.write_text(f'{other.pid}\n')
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match=f'process {other.pid} has it, and runs'):
            Pidfile(str(path))
    assert path.read_text() == f'{other.pid}\n'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('text', ['root:x:0:0:root:/root:/bin/sh\n', '-1', '12 34'])
def test_a_file_of_another_kind_is_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / 'pid'
    path.write_text(text)
    with pytest.raises(ConfigError, match='there is a file of that name that is no pidfile'):
        Pidfile(str(path))
    assert path.read_text() == text


def test_a_fifo_is_no_pidfile(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pid')
    with pytest.raises(ConfigError, match='that is no pidfile'):
        Pidfile(str(tmp_path / 'pid'))


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """A folder that others can write to is no place for it, but harm none."""
    (tmp_path / 'precious').write_text('')
    (tmp_path / 'pid').symlink_to('precious')
    (tmp_path / f'pid.{os.getpid()}').symlink_to('precious')
    Pidfile(str(tmp_path / 'pid')).close()
    assert (tmp_path / 'precious').read_text() == ''
    assert (tmp_path / 'pid').read_text() == MINE
    assert not (tmp_path / 'pid').is_symlink()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='/nowhere/pid: No such file or directory'):
        Pidfile(str(tmp_path / 'nowhere' / 'pid'))


def test_what_is_another_ones_by_now_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / 'pid'
    pidfile = Pidfile(str(path))
    path.write_text('1\n')
    pidfile.remove()
    assert path.read_text() == '1\n'


def test_what_somebody_put_in_its_place_keeps_nobody_waiting(tmp_path: Path) -> None:
    pidfile = Pidfile(str(tmp_path / 'pid'))
    (tmp_path / 'pid').unlink()
    os.mkfifo(tmp_path / 'pid')
    pidfile.remove()
    assert (tmp_path / 'pid').exists()


def test_one_that_was_removed_already_is_no_error(tmp_path: Path) -> None:
    pidfile = Pidfile(str(tmp_path / 'pid'))
    (tmp_path / 'pid').unlink()
    pidfile.remove()


# --- of a server ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_it_is_there_as_long_as_the_master(number: signal.Signals, site: Site) -> None:
    path = site.folder / 'pid'
    with site.serve('--pidfile', 'pid') as server:
        assert path.read_text() == f'{server.pid}\n'
        inode = path.stat().st_ino
        reload(server)
        assert path.stat().st_ino == inode
        assert str(path) in open_files(server.pid)
        for child in (*molds(server), *workers(server)):
            assert str(path) not in open_files(child), 'the lock is whoever has it open'
        server.send_signal(number)
        assert server.wait() == 0
        assert not path.exists()


def test_a_start_that_fails_leaves_none(site: Site) -> None:
    site.write('raise ValueError("broken")\n')
    with site.start('--pidfile', 'pid') as server:
        assert server.wait() == EX_CONFIG
        assert not (site.folder / 'pid').exists()


def test_a_second_master_is_refused(site: Site) -> None:
    with site.serve('--pidfile', 'pid', workers=1) as server:
        with site.start('--pidfile', 'pid') as second:
            assert second.wait() == EX_CONFIG
            second.stderr.wait_for(f'pidfile: {site.folder}/pid: process {server.pid} has it, and runs')
        assert (site.folder / 'pid').read_text() == f'{server.pid}\n'
        assert get(server)


def test_a_killed_master_is_succeeded_while_its_workers_finish(site: Site) -> None:
    """They hold neither its lock nor its name."""
    with site.serve('--pidfile', 'pid', workers=1) as server:
        everybody = [*molds(server), *workers(server)]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        server.send_signal(signal.SIGKILL)
        server.wait()
        with site.serve('--pidfile', 'pid', workers=1) as successor:
            assert f'process {server.pid}, which it says, is gone' in successor.stderr.text
            assert (site.folder / 'pid').read_text() == f'{successor.pid}\n'
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)


INI = """
[server:main]
bind = 127.0.0.1:0
workers = 1
log_level = debug
pidfile = {pidfile}

[app:main]
use = egg:prefork
"""


def test_a_reload_moves_it(site: Site) -> None:
    ini, one, two = site.folder / 'app.ini', site.folder / 'one', site.folder / 'two'
    ini.write_text(INI.format(pidfile=one))
    with serve('app.ini', cwd=site.folder) as server:
        ini.write_text(INI.format(pidfile=site.folder / 'nowhere' / 'pid'))
        hang_up(server)
        server.stderr.wait_for('not reloaded: pidfile: .*: No such file or directory')
        assert one.read_text() == f'{server.pid}\n'
        ini.write_text(INI.format(pidfile=two))
        reload(server)
        assert not one.exists()
        assert two.read_text() == f'{server.pid}\n'
        ini.write_text(INI.format(pidfile=''))
        reload(server)
        assert not two.exists()


@as_root
def test_a_folder_that_is_not_ours(site: Site) -> None:
    command = (*for_others(), *as_user(65534, 65534), *PREFORK)
    with start('--bind', '127.0.0.1:0', '--pidfile', '/pid', command=command) as server:
        assert server.wait() == EX_NOPERM
        server.stderr.wait_for('pidfile: /pid: Permission denied')
