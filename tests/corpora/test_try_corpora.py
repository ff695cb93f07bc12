"""scripts/try-corpora as a whole: small corpora against a server that runs, and servers that fail."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from corporalib import cli, exchange
from corporalib.arguments import ARGUED, NOT_APPLICABLE, Argument
from corporalib.exchange import Feed, Misbehaved
from tests.corpora.corpora import GUNICORN, LLHTTP, write_gunicorn, write_llhttp

if TYPE_CHECKING:
    from pathlib import Path


def test_we_agree_with_what_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [write_gunicorn(tmp_path / 'gunicorn'), write_llhttp(tmp_path / 'llhttp')]
    assert cli.main([str(folder) for folder in folders]) == 0
    assert capsys.readouterr().out == '9 passed, 0 failed\n'


def test_what_is_not_in_the_table_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = GUNICORN | {
        'valid/post.py': GUNICORN['valid/post.py'].replace("'!'", "'?'"),
        'valid/two.py': 'import os',
        'invalid/cut.http': 'GET / HTTP/1.0\\r\\n\\r\\n',
        'invalid/colon.http': 'GET / HTTP/1.0\\r\\n\\r\\n',
    }
    texts = LLHTTP.replace('code=5', 'code=6')
    folders = [write_gunicorn(tmp_path / 'gunicorn', wrong), write_llhttp(tmp_path / 'llhttp', texts)]
    colon = Argument('served 1', 'RFC 9110 1', 'there is none', ())
    monkeypatch.setitem(ARGUED, 'gunicorn:invalid/colon', colon)
    monkeypatch.setitem(NOT_APPLICABLE, 'llhttp:sample/Errors/Unfinished', 'it is for others')
    assert cli.main(['--verbose', *(str(folder) for folder in folders)]) == 1
    *lines, summary = capsys.readouterr().out.splitlines()
    assert [line.partition(';')[0] for line in lines] == [
        'gunicorn:invalid/colon: served 1, RFC 9110 1: there is none',
        'FAILED  gunicorn:invalid/cut (whole): served 1',
        'FAILED  gunicorn:invalid/cut (byte by byte): served 1',
        "FAILED  gunicorn:valid/post (whole): request 1: its body is b'x\\ty!'",
        "FAILED  gunicorn:valid/post (byte by byte): request 1: its body is b'x\\ty!'",
        f'FAILED  unreadable: {folders[0]}/valid/two.py:1: import os',
        'FAILED  llhttp:sample/Requests/Data after close (whole): served 1',
        'FAILED  llhttp:sample/Requests/Data after close (byte by byte): served 1',
        'llhttp:sample/Errors/Unfinished: not applicable, it is for others',
    ]
    assert summary == '4 passed, 4 failed'


def test_a_folder_without_a_corpus_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(tmp_path)])
    assert caught.value.code == 2
    assert f'{tmp_path} has no corpus' in capsys.readouterr().err


# name → what is sent on each connection, what is said of it; the second connection asks what was seen
MISBEHAVIOUR: dict[str, tuple[list[bytes], str]] = {
    'an answer that no application gave': (
        [b'HTTP/1.1 200 OK\r\n\r\n', b'HTTP/1.1 200 OK\r\n\r\n[]'],
        '0 requests reached the application, and the answers were [200]',
    ),
    'a request that was not answered': (
        [
            b'',
            b'HTTP/1.1 200 OK\r\n\r\n[{"method": "GET", "target": "/", "version": "1.0", "fields": {}, "body": ""}]',
        ],
        '1 requests reached the application, and the answers were []',
    ),
    'two refusals': (
        [b'HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n' * 2, b'HTTP/1.1 200 OK\r\n\r\n[]'],
        'it went on after it had refused: [400, 400]',
    ),
    'no answer to the question': ([b'', b''], 'it does not serve any more'),
}


@pytest.mark.parametrize('feed', Feed)
@pytest.mark.parametrize('name', MISBEHAVIOUR)
def test_misbehaviour(name: str, feed: Feed) -> None:
    answers, complaint = MISBEHAVIOUR[name]

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection, connection.makefile('rb') as request:
                while request.readline().strip():
                    pass
                connection.sendall(answer)

    with socket.create_server(('127.0.0.1', 0)) as listener:
        listener.settimeout(exchange.TIMEOUT)
        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Misbehaved) as caught:
            exchange.exchange(listener.getsockname()[:2], b'GET / HTTP/1.0\r\n\r\n', feed)
        thread.join()
    assert str(caught.value).startswith(complaint)


def test_a_server_that_does_not_close_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, 'TIMEOUT', 0.05)
    with socket.create_server(('127.0.0.1', 0)) as listener, pytest.raises(Misbehaved, match='it does not close'):
        exchange.exchange(listener.getsockname()[:2], b'GET / HTTP/1.0\r\n\r\n', Feed.WHOLE)
