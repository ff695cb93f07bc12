"""The helper that starts servers for tests, held against small programs that behave as servers do, and don't."""

from __future__ import annotations

import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from tests.serving import ROOT, serve, start

if TYPE_CHECKING:
    from pathlib import Path

WORKING = """
import os, signal, socket, sys
def say(text): print(f'[{os.getpid()}] INFO {text}', file=sys.stderr, flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
signal.signal(signal.SIGINT, lambda *_: sys.exit(4))
listener = socket.create_server(('127.0.0.1', 0))
say('listening on http://127.0.0.1:%d' % listener.getsockname()[1])
say('listening on unix:/nowhere')
say('ready: 2 workers')
print(os.getcwd(), os.environ['GREETING'], *sys.argv[1:], flush=True)
while True:
    connection, _ = listener.accept()
    connection.sendall(b'hello')
    connection.close()
    say('served')
"""

STUBBORN = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print('listening on http://127.0.0.1:1\\nready: 1 worker', file=sys.stderr, flush=True)
signal.sigwait([signal.SIGUSR1])
"""

# The kernel ends it: a handler of Python's may note a signal just before pause(), which then waits for another.
SILENT = 'import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); signal.pause()'

# A child that holds the output open and waits for its end of a pipe that nobody else has the other end of.
LEAVES_A_CHILD = """
import os, sys
if os.fork() == 0:
    os.read(os.pipe()[0], 1)
print('listening on http://127.0.0.1:1\\nready: 1 worker', file=sys.stderr, flush=True)
"""


def python(program: str) -> tuple[str, ...]:
    return sys.executable, '-c', program


def test_serves_within_the_block_and_is_gone_after_it(tmp_path: Path) -> None:
    with serve('one', 'two', command=python(WORKING), cwd=tmp_path, env={'GREETING': 'hi'}) as server:
        assert server.urls == (f'http://127.0.0.1:{server.port}', 'unix:/nowhere')
        assert server.url == server.urls[0]
        assert server.workers == 2
        assert server.stdout.wait_for('.+')[0] == f'{tmp_path} hi one two'
        with server.connect() as client:
            assert client.recv(100) == b'hello'
        address = ('127.0.0.1', server.port)
    assert server.wait() == 4, 'leaving the block is a quick stop, SIGINT'
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_terminate_and_wait_give_the_exit_status() -> None:
    with serve(command=python(WORKING), env={'GREETING': ''}) as server:
        server.terminate()
        assert server.wait() == 3


def test_a_second_wait_for_the_same_line_waits_for_a_new_one() -> None:
    with serve(command=python(WORKING), env={'GREETING': ''}) as server:
        for _ in range(2):
            with server.connect() as client:
                assert client.recv(100) == b'hello'
            server.stderr.wait_for('served')
        with pytest.raises(AssertionError, match=r'0\.01 s passed without .served'):
            server.stderr.wait_for('served', timeout=0.01)


@pytest.mark.parametrize(
    ('program', 'timeout', 'message'),
    [
        pytest.param('import sys; sys.exit("no such app")', 30, r'(?s)output ended .*no such app', id='it ends'),
        pytest.param(SILENT, 0.01, r'0\.01 s passed', id='it never says ready'),
        pytest.param('import sys; print("ready: 1 worker", file=sys.stderr)', 30, 'no listener', id='no listener'),
    ],
)
def test_a_start_that_fails_says_what_was_logged(program: str, timeout: float, message: str) -> None:
    with pytest.raises(AssertionError, match=message), serve(command=python(program), timeout=timeout):
        pytest.fail('the block must not begin')


def test_a_server_that_does_not_stop_is_killed_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('tests.serving.Server.wait.__defaults__', (0.01,))
    with pytest.raises(AssertionError, match=r'still running after 0\.01 s'), serve(command=python(STUBBORN)) as server:
        pass
    assert server.wait(30) == -signal.SIGKILL


def test_what_a_server_left_behind_is_killed() -> None:
    with serve(command=python(LEAVES_A_CHILD)) as server:
        assert server.wait() == 0
    # Both outputs have ended, and only the child could have held them open: closing joined their readers.
    with pytest.raises(AssertionError, match='the output ended'):
        server.stderr.wait_for('anything more')


def test_a_start_can_be_watched_line_by_line() -> None:
    with start(command=python(WORKING), env={'GREETING': ''}) as server:
        assert server.stderr.wait_for(r'listening on (\w+)')[1] == 'http'
        assert server.stderr.wait_for(r'listening on (\w+)')[1] == 'unix'
        server.stderr.wait_for('ready')
        server.send_signal(signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL


def test_this_checkout_is_what_runs(tmp_path: Path) -> None:
    """Whatever is installed, and wherever the command is started."""
    with start(command=python('import prefork; print(prefork.__file__)'), cwd=tmp_path) as process:
        assert process.stdout.wait_for('.+')[0] == str(ROOT / 'prefork' / '__init__.py')


def test_what_this_process_ignores_the_server_does_not() -> None:
    """As where the tests run in the background of a script, or under nohup."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    program = f'import signal; print([signal.getsignal(n) == signal.SIG_IGN for n in {(*map(int, numbers),)}])'
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        with start(command=python(program)) as process:
            assert process.stdout.wait_for('.+')[0] == '[False, False, False]'
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_IGN] * 3
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
