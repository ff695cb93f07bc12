"""Where bodies are kept: memory, then a file that has no name."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from prefork.errors import ProtocolError
from prefork.worker.spool import Spool, open_temporary

if TYPE_CHECKING:
    from pathlib import Path

PIECES = [b'abc', b'', b'defgh', b'i' * 100]
WHOLE = b''.join(PIECES)


@pytest.mark.parametrize('limit', [0, 2, 3, 8, 107, 108, 1000])
def test_what_goes_in_comes_out(tmp_path: Path, limit: int) -> None:
    spool = Spool(limit, str(tmp_path))
    for piece in PIECES:
        spool.write(piece)
    assert spool.size == len(WHOLE)
    file = spool.take()
    assert file.read() == WHOLE
    assert isinstance(file, io.BytesIO) is (limit >= len(WHOLE)), 'memory up to the limit, not one byte more'
    assert list(tmp_path.iterdir()) == []
    spool.close()
    assert file.closed


def test_an_empty_body(tmp_path: Path) -> None:
    assert Spool(0, str(tmp_path)).take().read() == b''


def test_no_folder() -> None:
    spool = Spool(3, 'none')
    spool.write(b'abc')
    with pytest.raises(ProtocolError, match='larger than the memory') as caught:
        spool.write(b'd')
    assert caught.value.status == 413
    assert Spool(3, 'none').size == 0


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    spool = Spool(3, str(tmp_path / 'missing'))
    with pytest.raises(ProtocolError, match='No such file') as caught:
        spool.write(b'abcd')
    assert caught.value.status == 507
    spool.close()


@pytest.mark.parametrize('method', ['write', 'take'])
def test_a_disk_that_is_full(method: str) -> None:
    """/dev/full takes nothing; what is buffered is refused when the file is turned back to its start."""
    spool = Spool(1 << 30, '/')
    spool._file = open('/dev/full', 'r+b')  # noqa: SIM115 - the spool closes it
    with pytest.raises(ProtocolError, match='No space left') as caught:
        if method == 'write':
            spool.write(b'x' * 1_000_000)
        else:
            spool.write(b'x')
            spool.take()
    assert caught.value.status == 507
    spool.close()


@pytest.mark.parametrize('supported', [True, False], ids=['O_TMPFILE', 'a name for a moment'])
def test_a_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    if not supported:
        monkeypatch.delattr(os, 'O_TMPFILE', raising=False)
    descriptor = open_temporary(str(tmp_path))
    try:
        os.write(descriptor, b'x')
        assert os.pread(descriptor, 10, 0) == b'x'
        assert not os.get_inheritable(descriptor)
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        assert os.fstat(descriptor).st_nlink == 0
        assert list(tmp_path.iterdir()) == []
    finally:
        os.close(descriptor)


def test_a_file_system_without_nameless_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """open(2): EOPNOTSUPP is what such a file system says, EISDIR such a kernel."""
    import errno

    opener = os.open
    for code in (errno.EOPNOTSUPP, errno.EISDIR):

        def open_(path: str, flags: int, mode: int = 0o777, code: int = code) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(code, os.strerror(code), path)
            return opener(path, flags, mode)

        monkeypatch.setattr(os, 'open', open_)
        os.close(open_temporary(str(tmp_path)))
        assert list(tmp_path.iterdir()) == []
