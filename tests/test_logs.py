"""What the logs are written to."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from prefork.logs import Sparingly, logger, open_file, replace

if TYPE_CHECKING:
    from pathlib import Path

CLAIM = """
import os, sys
from prefork.logs import claim_standard_descriptors
for number in map(int, sys.argv[2:]):
    os.close(number)
claim_standard_descriptors()
there = [os.readlink(f'/proc/self/fd/{number}') for number in range(3)]
os.write(int(sys.argv[1]), ' '.join(there).encode())
"""


@pytest.mark.parametrize('closed', [(), (0,), (1,), (2,), (0, 2), (0, 1, 2)], ids=str)
def test_closed_standard_descriptors_are_filled(closed: tuple[int, ...]) -> None:
    reader, writer = os.pipe()
    with (
        open(reader) as answer,
        subprocess.Popen(
            [sys.executable, '-c', CLAIM, str(writer), *map(str, closed)],
            pass_fds=[writer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ),
    ):
        os.close(writer)
        there = answer.read().split()
    assert [number for number in range(3) if there[number] == os.devnull] == list(closed)


NO_STREAMS = """
import os, sys
from prefork.logs import claim_standard_descriptors
assert sys.stdout is None and sys.stderr is None
claim_standard_descriptors()
print('x')
print('x', file=sys.stderr)
os._exit(7)
"""


def test_python_has_its_streams_again() -> None:
    """Python gives up those that are closed when it starts; as wsgi.errors, applications write to one of them."""
    command = ['sh', '-c', 'exec "$@" <&- >&- 2>&-', 'sh', sys.executable, '-c', NO_STREAMS]
    assert subprocess.run(command, check=False).returncode == 7


def test_a_log_is_appended_to_and_not_inherited_by_programs(tmp_path: Path) -> None:
    path = tmp_path / 'log'
    path.write_text('before\n')
    descriptor = open_file(str(path))
    assert descriptor is not None
    os.write(descriptor, b'after\n')
    assert path.read_text() == 'before\nafter\n'
    assert os.get_blocking(descriptor)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_others_cannot_read_a_new_log(tmp_path: Path) -> None:
    path = tmp_path / 'log'
    before = os.umask(0)
    try:
        os.close(open_file(str(path)) or 0)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_fifo_that_nobody_reads_is_refused(tmp_path: Path) -> None:
    """Opening it would wait for a reader, and the master with it."""
    os.mkfifo(tmp_path / 'log')
    with pytest.raises(OSError, match='No such device or address'):
        open_file(str(tmp_path / 'log'))


@pytest.mark.parametrize('inherited', [True, False])
def test_a_descriptor_gets_another_file(inherited: bool, tmp_path: Path) -> None:
    one, two = (os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT) for name in ('one', 'two'))
    os.set_inheritable(one, inherited)
    replace(one, two)
    os.close(two)
    os.write(one, b'line\n')
    assert os.get_inheritable(one) is inherited
    os.close(one)
    assert (tmp_path / 'one').read_text() == ''
    assert (tmp_path / 'two').read_text() == 'line\n'


def test_warnings_that_anybody_can_cause_are_few(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, 'propagate', True)  # whatever other tests made of it
    caplog.set_level(logging.INFO, logger.name)
    warnings = Sparingly()
    for second in range(130):
        warnings.warn(1000.0 + second, f'at {second}')
    assert caplog.messages == [
        'at 0',
        'at 60, and 59 more since the last such line',
        'at 120, and 59 more since the last such line',
    ]
