"""Where bodies are kept: memory, then a file that has no name; and what becomes of them where there is no room."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from prefork.errors import ProtocolError
from prefork.worker.spool import Spool, open_temporary, why_not
from tests.serving import run
from tests.serving import serve as serve_process
from tests.worker.harness import DEADLINE, PLAIN, Client, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.serving import Server
    from tests.worker.conftest import Serve
    from tests.worker.harness import Environ, Log, StartResponse

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
    with pytest.raises(ProtocolError, match='cannot be kept') as caught:
        spool.write(b'abcd')
    assert caught.value.status == 507
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    spool.close()


@pytest.mark.parametrize('method', ['write', 'take'])
def test_a_disk_that_is_full(method: str) -> None:
    """/dev/full takes nothing; what is buffered is refused when the file is turned back to its start."""
    spool = Spool(1 << 30, '/')
    spool._file = open('/dev/full', 'r+b')  # noqa: SIM115 - the spool closes it
    with pytest.raises(ProtocolError, match='cannot be kept') as caught:
        if method == 'write':
            spool.write(b'x' * 1_000_000)
        else:
            spool.write(b'x')
            spool.take()
    assert caught.value.status == 507
    assert 'No space left' in str(caught.value.__cause__)
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


def test_why_no_file_can_be_made(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    assert why_not(str(tmp_path)) == ''
    assert why_not('none') == ''
    assert why_not(str(tmp_path / 'missing')) == 'No such file or directory'
    assert why_not(str(tmp_path / 'file')) == 'Not a directory'
    assert why_not('/proc')
    assert [path.name for path in tmp_path.iterdir()] == ['file']


# --- requests and responses that find no room ---------------------------------------------------------------------


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The length of the body, or at ``/large`` a response that is more than any kernel takes in."""
    start_response('200 OK', list(PLAIN))
    if environ['PATH_INFO'] == '/large':
        return (bytes(100_000) for _ in range(300))
    return [b'%d' % len(environ['wsgi.input'].read())]


SMALL, LARGE = b'x' * 1000, b'x' * 300_000
UPLOAD = request('POST', '/upload', f'Content-Length: {len(LARGE)}', body=LARGE)
CHUNKED = request('POST', '/upload', 'Transfer-Encoding: chunked', body=b'%x\r\n%b\r\n0\r\n\r\n' % (len(LARGE), LARGE))
CANNOT_BE_KEPT = 'POST /upload HTTP/1.1: the body cannot be kept: '


@contextlib.contextmanager
def small_files_only() -> Iterator[None]:
    """No file of this process may have more than 100,000 bytes: what a full disk is, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize('upload', [UPLOAD, CHUNKED], ids=['counted', 'chunked'])
def test_a_body_for_which_there_is_no_room(serve: Serve, log: Log, tmp_path: Path, upload: bytes) -> None:
    worker = serve(app, body_buffer=5000, spool_dir=str(tmp_path))
    with small_files_only():
        client = worker.connect()
        client.send(upload)
        response = client.response()
        assert (response.status, response.headers['connection']) == (507, 'close')
        assert str(tmp_path) not in response.body.decode(), 'that is not for the client'
        assert client.is_closed()
        client = worker.connect()
        client.send(request('POST', '/', 'Content-Length: 1000', body=SMALL))
        assert client.response().body == b'1000'
    assert f'{CANNOT_BE_KEPT}{tmp_path}: [Errno 27] File too large' in log.text
    client.send(upload)
    assert client.response().body == b'300000', 'there is room again'


def test_a_response_for_which_there_is_no_room(serve: Serve, log: Log, tmp_path: Path) -> None:
    worker = serve(app, max_parked=0, body_buffer=100_000, spool_dir=str(tmp_path))
    with small_files_only():
        client = worker.connect(receive_buffer=4096)
        client.send(request('GET', '/large'))
        log.wait_for('GET /large HTTP/1.1: the response cannot be kept for a slow client: [Errno 27] File too large')
        with pytest.raises(ConnectionResetError):
            client.rest()
    assert worker.connect().get().body == b'0'


def test_a_folder_that_goes_and_comes_back(serve: Serve, log: Log, tmp_path: Path) -> None:
    folder = tmp_path / 'folder'
    folder.mkdir()
    worker = serve(app, body_buffer=5000, spool_dir=str(folder))
    for status in (200, 507, 507, 200):
        if status == 200:
            folder.mkdir(exist_ok=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        client = worker.connect()
        client.send(UPLOAD)
        assert client.response().status == status
    assert log.text.count(f'{CANNOT_BE_KEPT}{folder}: [Errno 2]') == 1, 'once, whatever they upload'


# --- no folder ----------------------------------------------------------------------------------------------------


def test_a_body_that_is_known_to_be_too_large_for_the_memory(serve: Serve) -> None:
    """RFC 9110 10.1.1: the body isn't asked for, as nothing it could be would be served."""
    client = serve(app, body_buffer=5000, spool_dir='none').connect()
    client.send(request('POST', '/', 'Content-Length: 5001', 'Expect: 100-continue'))
    response = client.response()
    assert (response.status, response.early) == (413, [])


@pytest.mark.parametrize('fields', [['Content-Length: 5000'], ['Content-Length: 5000', 'Expect: 100-continue']])
def test_a_body_that_fits_into_the_memory(serve: Serve, fields: list[str]) -> None:
    client = serve(app, body_buffer=5000, spool_dir='none').connect()
    client.send(request('POST', '/', *fields))
    client.send(b'x' * 5000)
    assert client.response().body == b'5000'


@pytest.mark.parametrize(('size', 'status'), [(5000, 200), (5001, 413)])
def test_chunks_that_fit_into_the_memory_or_do_not(serve: Serve, size: int, status: int) -> None:
    client = serve(app, body_buffer=5000, spool_dir='none').connect()
    client.send(request('POST', '/', 'Transfer-Encoding: chunked') + b'%x\r\n%b\r\n0\r\n\r\n' % (size, b'x' * size))
    assert client.response().status == status


def test_a_body_that_is_not_to_be_kept(serve: Serve) -> None:
    client = serve(app, body_buffer=5000, spool_dir='none', request_buffering=False).connect()
    client.send(UPLOAD)
    assert client.response().body == b'300000'


# --- a server -----------------------------------------------------------------------------------------------------


def in_a_folder_of_its_own(options: str) -> tuple[str, ...]:
    """The command of a server that has a file system with these options mounted at ``folder``, and nobody else has."""
    mount = f'mount -t tmpfs -o {options} none folder && exec "$@"'
    return 'unshare', '--mount', 'sh', '-c', mount, 'sh', sys.executable, '-m', 'prefork'


def may_mount(folder: Path) -> bool:
    (folder / 'folder').mkdir()
    command = [*in_a_folder_of_its_own('size=64k')[:-3], 'true']
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def ask(server: Server, data: bytes) -> int:
    client = Client(server.connect(DEADLINE))
    client.send(data)
    status = client.response().status
    client.close()
    return status


FLAGS = ('--bind=127.0.0.1:0', '--workers=1', '--access-log=off', '--body-buffer=5000', '--spool-dir=folder')
SPEC = f'{__name__}:app'


def test_a_full_disk(tmp_path: Path) -> None:
    if not may_mount(tmp_path):
        pytest.skip('nothing can be mounted here')
    command = in_a_folder_of_its_own('size=64k')
    with serve_process(SPEC, *FLAGS, '--max-parked=0', cwd=tmp_path, command=command) as server:
        assert ask(server, UPLOAD) == 507
        server.stderr.wait_for('the body cannot be kept: folder: .Errno 28. No space left on device')
        slow = Client(server.connect(DEADLINE))
        slow.send(request('GET', '/large'))
        server.stderr.wait_for('the response cannot be kept for a slow client: .Errno 28. No space left on device')
        assert ask(server, request('POST', '/', 'Content-Length: 1000', body=SMALL)) == 200
        slow.close()


def test_a_file_system_that_is_read_only(tmp_path: Path) -> None:
    if not may_mount(tmp_path):
        pytest.skip('nothing can be mounted here')
    with serve_process(SPEC, *FLAGS, cwd=tmp_path, command=in_a_folder_of_its_own('ro')) as server:
        assert 'spool_dir: folder: Read-only file system; bodies of more than' in server.stderr.text
        assert ask(server, UPLOAD) == 507
        assert ask(server, request('POST', '/', 'Content-Length: 1000', body=SMALL)) == 200


def test_a_missing_folder_is_told_of_at_once(tmp_path: Path) -> None:
    warning = (
        '[server:main] spool_dir: folder: No such file or directory;'
        ' bodies of more than body_buffer = 5000 bytes cannot be kept'
    )
    checked = run(SPEC, *FLAGS, '--check', cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, f'{warning}\n'), 'it may be there when it is needed'
    with serve_process(SPEC, *FLAGS, cwd=tmp_path) as server:
        assert warning in server.stderr.text
        assert ask(server, UPLOAD) == 507
        (tmp_path / 'folder').mkdir()
        assert ask(server, UPLOAD) == 200
