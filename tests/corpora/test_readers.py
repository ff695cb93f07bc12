"""The readers of scripts/try-corpora: from the files of two projects to bytes and what is expected of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from corporalib import cli, gunicorn, llhttp
from corporalib.case import Case, Ending, Request, Unreadable, cgi_fields
from tests.corpora.corpora import LLHTTP, write_gunicorn, write_llhttp

if TYPE_CHECKING:
    from pathlib import Path


def test_gunicorn(tmp_path: Path) -> None:
    assert list(gunicorn.read(write_gunicorn(tmp_path))) == [
        Case('gunicorn:invalid/colon', b'GET / HTTP/1.1\r\nHost : a\r\n\r\n', (), Ending.REFUSED),
        Case('gunicorn:invalid/cut', b'GET / HTTP/1.0\r\nbaz', (), Ending.CUT),
        Case(
            'gunicorn:valid/post',
            b'POST /form?a=b HTTP/1.0\r\nContent-Length: 4\r\n\r\nx\ty!',
            (Request('POST', '/form?a=b', '1.0', {'CONTENT_LENGTH': '4'}, b'x\ty!'),),
            Ending.COMPLETE,
        ),
        Case(
            'gunicorn:valid/two',
            b'GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n',
            (Request('GET', '/1', '1.1', {}, b''), Request('GET', '/2', '1.1', {'HTTP_HOST': 'a'}, b'')),
            Ending.COMPLETE,
        ),
    ]


def test_llhttp(tmp_path: Path) -> None:
    fields = {'HTTP_TRANSFER_ENCODING': 'chunked'}
    assert list(llhttp.read(write_llhttp(tmp_path))) == [
        Case(
            'llhttp:sample/Requests/Chunks and a trailer',
            b'PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\r!\r\n0\r\nT: u\r\n\r\n',
            (Request('PUT', '/', '1.1', fields, b'a\r!'),),
            Ending.COMPLETE,
        ),
        Case(
            'llhttp:sample/Requests/Data after close',
            b'GET /a HTTP/1.0\r\n\r\nGET /b HTTP/1.0\r\n\r\n',
            (Request('GET', '/a', '1.0', {}, b''),),
            Ending.COMPLETE,
        ),
        Case(
            'llhttp:sample/Errors/No number',
            b'PUT / HTTP/1.0\r\nContent-Length: 4 2\r\n',
            (),
            Ending.REFUSED,
        ),
        Case('llhttp:sample/Errors/Unfinished', b'PUT / HTTP/1.0\r\nContent-Le', (), Ending.CUT),
        Case('llhttp:sample/Errors/Unfinished (2)', b'GET / HTTP/1.0\r\na: \x01\r\n\r\n', (), Ending.REFUSED),
    ]


@pytest.mark.parametrize(
    ('text', 'data'),
    [
        pytest.param('a\nb\n', b'a\r\nb', id='line ends but the last are CRLF'),
        pytest.param('a\\\nb\n', b'ab', id='an escaped line end is none'),
        pytest.param('\\r\\n\\t\\f\n', b'\r\n\t\x0c', id='names'),
        pytest.param('\\x7f\\177\\0\n', b'\x7f\x7f\0', id='numbers'),
        pytest.param('\\xff\n', b'\xc3\xbf', id='characters above 127 are UTF-8'),
        pytest.param('\\"\n', b'\\"', id='what is no escape stays'),
    ],
)
def test_blocks_of_llhttp(text: str, data: bytes) -> None:
    assert llhttp.unescape(text) == data


@pytest.mark.parametrize(
    ('text', 'data'),
    [
        pytest.param(b'a\\r\\n\nb', b'a\r\nb', id='line ends are escapes'),
        pytest.param(b'a\\nb\\0\\t\\x0D\\xe9', b'a\nb\0\t\r\xe9', id='other escapes'),
        pytest.param('\u00e9'.encode(), b'\xc3\xa9', id='bytes as they are'),
    ],
)
def test_files_of_gunicorn(text: bytes, data: bytes) -> None:
    assert gunicorn.unescape(text) == data


@pytest.mark.parametrize(
    ('program', 'complaint'),
    [
        pytest.param('import os', 'a.py:1: import os', id='a statement that nobody needs'),
        pytest.param('request = open("x").read()', "a.py:1: open('x')", id='a call'),
        pytest.param('request = "a".format("b")', "a.py:1: 'a'.format('b')", id='a method that does more than text'),
        pytest.param('request = [].__class__', 'a.py:1: [].__class__', id='an attribute'),
        pytest.param('request = unknown', 'a.py:1: unknown', id='a name that was not assigned'),
        pytest.param('request = 1', 'a.py: no request', id='a number'),
        pytest.param('response = {}', 'a.py: no request', id='no request'),
        pytest.param('request = {}', "gunicorn:valid/a: KeyError('body')", id='a request without a body'),
        pytest.param('request =', 'gunicorn:valid/a: SyntaxError', id='no Python'),
    ],
)
def test_what_gunicorn_expects_is_read_and_not_run(program: str, complaint: str, tmp_path: Path) -> None:
    files = {'valid/a.http': 'GET / HTTP/1.0\\r\\n\\r\\n', 'valid/a.py': program}
    (found,) = gunicorn.read(write_gunicorn(tmp_path, files))
    assert isinstance(found, Unreadable)
    assert complaint in str(found)


@pytest.mark.parametrize(
    ('old', 'new', 'complaint'),
    [
        pytest.param('off=3 method complete', 'three', "no event: 'three'", id='no event'),
        pytest.param('{"type": "request"}', '{"type"}', 'JSONDecodeError', id='no JSON'),
        pytest.param('{"type": "request"}', '{}', "KeyError('type')", id='no type'),
        pytest.param('T: u', '${1}', 'JavaScript', id='an expression'),
        pytest.param('off=0 len=3 span[method]="PUT"\noff=3', 'off=3', "KeyError('method')", id='no method'),
    ],
)
def test_what_llhttp_logs_has_to_be_known(old: str, new: str, complaint: str, tmp_path: Path) -> None:
    found = list(llhttp.read(write_llhttp(tmp_path, LLHTTP.replace(old, new, 1))))
    assert len(found) == 5
    assert isinstance(found[0], Unreadable)
    assert str(found[0]).startswith('llhttp:sample/Requests/Chunks and a trailer: ')
    assert complaint in str(found[0])


@pytest.mark.parametrize(
    ('fields', 'variables'),
    [
        pytest.param([('Content-Type', 'a'), ('X-b', 'c')], {'CONTENT_TYPE': 'a', 'HTTP_X_B': 'c'}, id='names'),
        pytest.param([('a', '\tb c ')], {'HTTP_A': 'b c'}, id='blanks around a value'),
        pytest.param([('a', 'b'), ('A', 'c')], {'HTTP_A': 'b, c'}, id='repeated'),
        pytest.param([('Cookie', 'a=b'), ('cookie', 'c=d')], {'HTTP_COOKIE': 'a=b; c=d'}, id='cookies'),
        pytest.param([('a_b', 'c')], {}, id='an underscore'),
    ],
)
def test_fields_become_variables(fields: list[tuple[str, str]], variables: dict[str, str]) -> None:
    assert cgi_fields(fields) == variables


def test_corpora_are_found_where_their_projects_have_them(tmp_path: Path) -> None:
    write_gunicorn(tmp_path / 'g' / 'tests' / 'requests')
    write_llhttp(tmp_path / 'l' / 'test' / 'request')
    assert len(list(cli.read(tmp_path / 'g'))) == len(list(cli.read(tmp_path / 'g' / 'tests' / 'requests'))) == 4
    assert len(list(cli.read(tmp_path / 'l'))) == len(list(cli.read(tmp_path / 'l' / 'test' / 'request'))) == 5
    assert list(cli.read(tmp_path)) == []
