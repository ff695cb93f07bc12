"""SIGUSR1: log files that were moved away are left, by every process, and no line is lost or written twice."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.master.site import APP, Load, Waiting, changed, get, hang_up, molds, open_files, reload, workers
from tests.serving import serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.master.site import Site
    from tests.serving import Server

# The error log is a file, and the tests hear the same lines.
HEARD = """
from prefork import logs
setup = logs.setup
def setup_both(settings, descriptor):
    setup(settings, descriptor)
    logs.logger.addHandler(logs.DescriptorHandler(logs.STDERR))
logs.setup = setup_both
"""


INI = """
[server:main]
bind = 127.0.0.1:0
workers = 1
access_log = off
error_log = {log}
log_level = debug

[app:main]
paste.app_factory = app:make
"""

MADE = (
    APP
    + """

def make(global_conf):
    return fail

def fail(environ, start_response):
    raise ValueError('on purpose')
"""
)


def use_again(server: Server) -> None:
    server.send_signal(signal.SIGUSR1)
    server.stderr.wait_for('the logs are reopened')


def move(log: Path, number: int) -> Path:
    return log.rename(log.with_name(f'{log.name}.{number}'))


def wait_until_left(path: Path, pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):  # the process has ended
            while str(path) in open_files(pid):
                os.sched_yield()


def wait_until_logged(log: Path, path: str) -> None:
    """A line is written a moment after its response."""
    while path not in paths(log.read_text()):
        os.sched_yield()


def paths(text: str) -> list[str]:
    return [line.split('"')[1].split()[1] for line in text.splitlines()]


@pytest.mark.parametrize('disturb', [use_again, hang_up], ids=['nothing else happens', 'it is reloaded'])
def test_each_line_is_in_one_file(disturb: Callable[[Server], object], site: Site) -> None:
    log = site.folder / 'access.log'
    with site.serve('--access-log', str(log)) as server:
        with Load(server) as load:
            moved = []
            for number in range(5):
                disturb(server)
                moved.append(move(log, number))
                load.wait_for_more(10)
                use_again(server)
                load.wait_for_more(10)
        server.terminate()
        assert server.wait() == 0
    assert load.failures == []
    files = [file.read_text() for file in (*moved, log)]
    assert all(files)
    assert all(text.endswith('\n') for text in files)
    assert Counter(path for text in files for path in paths(text)) == Counter(load.asked)


def kill_worker(server: Server) -> None:
    os.kill(workers(server)[0], signal.SIGKILL)


# What happens just before the signal, and the line that tells its end.
DISTURBANCES: dict[str, tuple[Callable[[Server], None], str]] = {
    'nothing': (lambda server: None, 'the logs are reopened'),
    'a worker dies': (kill_worker, r'worker \S+ \(pid \d+\) is ready'),
    'a mold dies': (lambda server: os.kill(molds(server)[0], signal.SIGKILL), 'generation 2: loaded'),
    'a reload begins': (hang_up, 'generation 2: loaded'),
}


@pytest.mark.parametrize(('disturb', 'end'), DISTURBANCES.values(), ids=DISTURBANCES)
def test_no_process_keeps_an_old_file(disturb: Callable[[Server], None], end: str, site: Site) -> None:
    access, errors = site.folder / 'access.log', site.folder / 'error.log'
    flags = ('--access-log', str(access), '--error-log', str(errors))
    with serve(*site.arguments(2, flags), cwd=site.folder, command=changed(HEARD)) as server:
        disturb(server)
        old = [move(access, 1), move(errors, 1)]
        server.send_signal(signal.SIGUSR1)
        server.stderr.wait_for(end)
        for path in old:
            wait_until_left(path, [server.pid, *molds(server), *workers(server)])
        assert 'the logs are reopened' in errors.read_text()
        assert 'the logs are reopened' not in old[1].read_text()


HOLDING = (
    APP
    + """

def hold():
    if os.path.exists('hold'):
        wait()

os.register_at_fork(before=hold)
"""
)


def test_a_worker_whose_fork_was_ordered_before_writes_to_the_new_file(site: Site) -> None:
    log, hold = site.folder / 'access.log', site.folder / 'hold'
    site.write(HOLDING)
    with site.serve('--access-log', str(log), workers=1) as server:
        (mold,), (worker,) = molds(server), workers(server)
        hold.touch()
        os.kill(worker, signal.SIGKILL)
        server.stderr.wait_for('replaced')
        site.wait_for_arrival()
        old = move(log, 1)
        use_again(server)
        hold.unlink()
        site.open_gate('fork')
        server.stderr.wait_for('is ready')
        wait_until_left(old, [server.pid, mold, *workers(server)])
        assert get(server, '/first')
        server.terminate()
        assert server.wait() == 0
        assert old.read_text() == ''
        assert paths(log.read_text()) == ['/first']


def test_a_worker_that_drains_writes_to_the_new_file(site: Site) -> None:
    log = site.folder / 'access.log'
    with site.serve('--access-log', str(log), workers=1) as server:
        (busy,) = workers(server)
        waiting = Waiting(server)
        site.wait_for_arrival()
        reload(server)
        old = move(log, 1)
        use_again(server)
        wait_until_left(old, [busy])
        site.open_gate('finished')
        assert waiting.result() == 'finished'
        server.terminate()
        assert server.wait() == 0
        assert old.read_text() == ''
        assert paths(log.read_text()) == ['/wait']


def test_without_a_mold_workers_are_told_too(site: Site) -> None:
    log = site.folder / 'access.log'
    command = changed('linux.become_subreaper = lambda: False')
    with serve(*site.arguments(2, ('--access-log', str(log))), cwd=site.folder, command=command) as server:
        old = move(log, 1)
        use_again(server)
        victim = workers(server)[0]
        os.kill(victim, signal.SIGKILL)
        server.stderr.wait_for('is ready')
        wait_until_left(old, [server.pid, *workers(server)])


def test_what_cannot_be_reopened_is_written_to_where_it_was(site: Site) -> None:
    folder = site.folder / 'logs'
    folder.mkdir()
    log = folder / 'access.log'
    with site.serve('--access-log', str(log), workers=1) as server:
        away = folder.rename(site.folder / 'away')
        use_again(server)
        reason = 'cannot be reopened; its old file is written to: No such file or directory'
        assert f'{log} {reason}' in server.stderr.text
        get(server, '/first')
        wait_until_logged(away / 'access.log', '/first')
        folder.mkdir()
        use_again(server)
        wait_until_left(away / 'access.log', workers(server))
        get(server, '/second')
        server.terminate()
        assert server.wait() == 0
        assert paths((away / 'access.log').read_text()) == ['/first']
        assert paths(log.read_text()) == ['/second']


NO_DESCRIPTORS = """
import errno, os
def dup(descriptor):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
os.dup = dup
"""


def test_a_master_without_descriptors_goes_on(site: Site) -> None:
    log = site.folder / 'access.log'
    command = changed(NO_DESCRIPTORS)
    with serve(*site.arguments(1, ('--access-log', str(log))), cwd=site.folder, command=command) as server:
        old = move(log, 1)
        use_again(server)
        for pid in (*molds(server), *workers(server)):
            assert f'process {pid} still writes to its old logs: Too many open files' in server.stderr.text
            assert str(old) in open_files(pid)
        assert get(server)


def test_a_file_that_is_copied_and_truncated_goes_on_from_its_start(site: Site) -> None:
    """As logrotate's copytruncate does it: what is appended must not leave a hole of zeros before it."""
    log = site.folder / 'access.log'
    with site.serve('--access-log', str(log), workers=1) as server:
        get(server, '/first')
        wait_until_logged(log, '/first')
        os.truncate(log, 0)
        get(server, '/second')
        server.terminate()
        assert server.wait() == 0
        assert '\0' not in log.read_text()
        assert paths(log.read_text()) == ['/second']


def test_standard_streams_are_left_alone(site: Site) -> None:
    with site.serve('--access-log', '-', workers=1) as server:
        use_again(server)
        get(server, '/first')
        server.stdout.wait_for('GET /first')


def test_a_reload_that_fails_logs_where_its_predecessor_did(site: Site) -> None:
    """The new log is used once the new generation has proved itself."""
    one, two = site.folder / 'one.log', site.folder / 'two.log'
    (site.folder / 'app.ini').write_text(INI.format(log=one))
    site.write(MADE)
    environment = {**site.environment(None), 'PYTHONPATH': str(site.folder)}
    with serve('app.ini', cwd=site.folder, env=environment, command=changed(HEARD)) as server:
        (site.folder / 'app.ini').write_text(INI.format(log=two))
        site.write('raise ValueError("broken")\n')
        hang_up(server)
        server.stderr.wait_for('generation 2 is given up')
        assert 'generation 2 is given up' in one.read_text()
        site.write(MADE)
        reload(server)
        assert 'generation 3: loaded' in two.read_text()
        assert 'generation 3: loaded' not in one.read_text()
        worker = workers(server)[-1]  # the last one of its predecessor's may not have gone yet
        with pytest.raises(AssertionError):
            get(server)
        server.stderr.wait_for('ValueError: on purpose')
        assert re.search(rf'\[{worker}\] ERROR (.*\n)*ValueError: on purpose', two.read_text())
        for pid in (server.pid, *molds(server), worker):
            assert str(two) in open_files(pid)
            assert str(one) not in open_files(pid)
