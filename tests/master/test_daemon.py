"""The daemon: what the process that was started tells of it, and what it has left behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from prefork.errors import EX_CONFIG, EX_SOFTWARE, EX_TEMPFAIL, EX_UNAVAILABLE
from tests.master.site import APP, changed, children, open_files, watched
from tests.serving import Output, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.master.site import Site

LOGS = ('--error-log', 'error.log', '--access-log', 'access.log')
FLAGS = ('--daemon', 'true', '--pidfile', 'pid', *LOGS)


def ask(site: Site, path: str = '/pid') -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(site.folder / 'socket'))
        client.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'.encode())
        with client.makefile('rb') as answer:
            return answer.read().rpartition(b'\r\n')[2].decode()


@contextlib.contextmanager
def daemon(site: Site, *flags: str) -> Iterator[int]:
    """A daemon that serves, as its pidfile says when the process that was started has ended well."""
    with site.start(*FLAGS, '--bind', f'unix:{site.folder}/socket', *flags) as server:
        assert server.wait() == 0
        assert server.stderr.text == ''
        with started(site) as pid:
            yield pid


@contextlib.contextmanager
def started(site: Site) -> Iterator[int]:
    """The process that the pidfile names, gone when the block ends."""
    pid = int((site.folder / 'pid').read_text())
    with watched(pid) as end:
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(end, signal.SIGINT)
            assert select.select([end], [], [], 15)[0]


def log(site: Site) -> str:
    return (site.folder / 'error.log').read_text()


@contextlib.contextmanager
def followed(site: Site, name: str = 'error.log') -> Iterator[Output]:
    """The log as it grows, wherever the file of that name comes to be."""
    # Where there is no file yet it can't be told of what is new, but looks: once a second unless told otherwise.
    command = ['tail', '-n', '+1', '-F', '-s', '0.05', '--quiet', str(site.folder / name)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tail:
        assert tail.stdout is not None
        output = Output(tail.stdout)
        try:
            yield output
        finally:
            tail.kill()
            output.close(10)


def check_standard_descriptors(pids: set[int], log: Path) -> None:
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):  # it has ended
            found = [os.readlink(f'/proc/{pid}/fd/{number}') for number in range(3)]
            assert found == [os.devnull, os.devnull, str(log)]


def test_the_process_that_was_started_ends_when_the_daemon_serves(site: Site) -> None:
    with daemon(site) as pid:
        assert ask(site, '/version') == 'one'
        assert int(ask(site)) in children(pid)
        assert 'is ready' in log(site)
        session, group = os.getsid(pid), os.getpgid(pid)
        assert session != os.getsid(0)
        assert session == group != pid, 'it can have no terminal: it leads no session'
        assert len(children(pid)) >= 2
        check_standard_descriptors({pid, *children(pid)}, site.folder / 'error.log')
    assert not (site.folder / 'pid').exists()
    assert 'stopped' in log(site)


def test_it_is_reloaded_and_stopped_like_any_other(site: Site) -> None:
    with daemon(site) as pid, followed(site) as output:
        site.change(version='two')
        os.kill(pid, signal.SIGHUP)
        output.wait_for('generation 2: loaded')
        assert ask(site, '/version') == 'two'
        check_standard_descriptors({pid, *children(pid)}, site.folder / 'error.log')
        os.kill(pid, signal.SIGWINCH)
        output.wait_for('resting')
        os.kill(pid, signal.SIGTERM)
        output.wait_for('stopped')


def test_another_error_log_gets_standard_error_too(site: Site) -> None:
    path = site.folder / 'app.ini'
    options = '[server:main]\nbind = unix:socket\ndaemon = true\npidfile = pid\naccess_log = off\nerror_log = {}\n'
    path.write_text(options.format('error.log') + '[app:main]\nuse = egg:prefork\n')
    with start('app.ini', cwd=site.folder) as server:
        assert server.wait() == 0
    with started(site) as pid, followed(site) as output:
        path.write_text(options.format('other.log') + '[app:main]\nuse = egg:prefork\n')
        before = children(pid)
        os.kill(pid, signal.SIGHUP)
        output.wait_for('reloading')
        with followed(site, 'other.log') as other:
            other.wait_for('generation 2: loaded')
        check_standard_descriptors({pid, *children(pid) - before}, site.folder / 'other.log')


SAYS = """
import sys
print('loading', file=sys.stderr)

def app(environ, start_response):
    print('asked', file=environ['wsgi.errors'], flush=True)
    start_response('200 OK', [('Content-Length', '0')])
    return []
"""


def test_what_the_application_says_is_in_the_error_log(site: Site) -> None:
    site.write(SAYS)
    with daemon(site) as pid, followed(site) as output:
        output.wait_for('(?m)^loading$')
        ask(site)
        output.wait_for('(?m)^asked$')
        old = site.folder / 'old'
        (site.folder / 'error.log').rename(old)
        os.kill(pid, signal.SIGUSR1)
        output.wait_for('the logs are reopened')
        for each in (pid, *children(pid)):
            while str(old) in open_files(each):
                os.sched_yield()
        ask(site)
        output.wait_for('(?m)^asked$')
        assert old.read_text().count('asked') == 1


# --- starts that fail -------------------------------------------------------------------------------------------


def test_an_application_that_cannot_be_loaded(site: Site) -> None:
    site.write('raise ValueError("broken")\n')
    with site.start(*FLAGS) as server:
        assert server.wait() == EX_CONFIG
        server.stderr.wait_for('the application cannot be loaded: app:app: importing app failed: ValueError: broken')
        assert 'INFO' not in server.stderr.text
    assert 'ValueError: broken' in log(site)
    assert not (site.folder / 'pid').exists()


def test_a_port_that_is_taken(site: Site) -> None:
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        arguments = site.arguments(1, (*FLAGS, '--bind', f'127.0.0.1:{port}'))
        with start(*arguments, cwd=site.folder, command=changed('master.BIND_RETRY = 0.3')) as server:
            server.stderr.wait_for('Address already in use; trying for 0.3 s')
            server.stderr.wait_for(f'cannot listen on 127.0.0.1:{port}: Address already in use\n')
            assert server.wait() == EX_UNAVAILABLE


def test_a_daemon_has_no_terminal_to_log_to(site: Site) -> None:
    with site.start('--daemon', 'true', '--access-log', '-') as server:
        assert server.wait() == EX_CONFIG
        server.stderr.wait_for('error_log: a daemon has no terminal to log to; set a path, or off')
        server.stderr.wait_for(r'\[server:main\] access_log: a daemon has no terminal')


@contextlib.contextmanager
def loading(site: Site) -> Iterator[int]:
    """The master, while the application waits."""
    site.wait_for_arrival()
    try:
        with started(site) as pid:
            yield pid
    finally:
        with contextlib.suppress(OSError):  # a mold that waits there still, as one without a master does
            os.close(os.open(site.folder / 'gate', os.O_WRONLY | os.O_NONBLOCK))


ENDS = {'it is killed': (signal.SIGKILL, EX_SOFTWARE), 'it is told to end': (signal.SIGTERM, EX_TEMPFAIL)}


@pytest.mark.parametrize(('number', 'status'), ENDS.values(), ids=ENDS)
def test_a_master_that_ends_before_it_is_ready(number: signal.Signals, status: int, site: Site) -> None:
    site.write(APP + 'wait()\n')
    with site.start(*FLAGS) as server, loading(site) as pid:
        os.kill(pid, number)
        assert server.wait() == status


def test_interrupting_the_start_ends_it(site: Site) -> None:
    site.write(APP + 'wait()\n')
    with site.start(*FLAGS) as server, loading(site) as pid, watched(pid) as end:
        server.send_signal(signal.SIGINT)
        assert server.wait() == EX_TEMPFAIL
        assert select.select([end], [], [], 10)[0]
        assert 'Traceback' not in server.stderr.text


def test_nobody_has_to_wait(site: Site) -> None:
    """A start whose first process is killed goes on, as it would without it."""
    site.write(APP + 'wait()\n')
    with (
        site.start(*FLAGS, '--bind', f'unix:{site.folder}/socket') as server,
        loading(site),
        followed(site) as output,
    ):
        server.send_signal(signal.SIGKILL)
        server.wait()
        site.open_gate('')
        output.wait_for('ready: 2 workers')
        assert ask(site, '/version') == 'one'
