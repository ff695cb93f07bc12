"""The [server:NAME] sections as the master reads them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from prefork import errors
from prefork.deploy import server_options, servers
from prefork.settings import from_text
from tests.deploy.conftest import WriteIni

Triples = list[tuple[str, str, str]]

NAMES: dict[str, tuple[str, list[str]]] = {
    'none': ('[app:main]\n', []),
    'in the order of the file': ('[server:b]\n[app:x]\n[server:a]\n[server: c ]\n', ['b', 'a', 'c']),
    'without a name': ('[server]\n', ['main']),
    'not these': ('[servers:a]\n[Server:b]\n[server_main]\n', []),
    'a bad value is nothing to the names': ('[DEFAULT]\nx = %\n[server:a]\n', ['a']),
}


@pytest.mark.parametrize(('text', 'expected'), NAMES.values(), ids=NAMES)
def test_names(ini_file: WriteIni, text: str, expected: list[str]) -> None:
    assert list(servers(ini_file(text))) == expected


OPTIONS: dict[str, tuple[str, dict[str, object], Triples]] = {
    'all of them, with their lines': (
        '[server:main]\nuse = egg:prefork\n\nbind = :80\n  :81\n',
        {},
        [('use', 'egg:prefork', 'app.ini:2: [server:main]'), ('bind', ':80\n:81', 'app.ini:4: [server:main]')],
    ),
    'no use': ('[server:main]\nthreads = 2\n', {}, [('threads', '2', 'app.ini:2: [server:main]')]),
    'none of DEFAULT, but what it has is no reason to drop': (
        '[DEFAULT]\nthreads = 1\ndebug = true\n[server:main]\nthreads = 2\n',
        {},
        [('threads', '2', 'app.ini:5: [server:main]')],
    ),
    'interpolated': (
        '[DEFAULT]\nport = 1\n[server:main]\nport = %(p)s\nhost = %(here)s\n',
        {'p': 80, 'here': '/x'},
        [('port', '80', 'app.ini:4: [server:main]'), ('host', '<folder>', 'app.ini:5: [server:main]')],
    ),
    'set and get': (
        '[DEFAULT]\na = 1\n[server:main]\nset b = 2\nget threads = b\nget backlog = a\nget workers = c\n',
        {'c': '3'},
        [
            ('threads', '2', 'app.ini:5: [server:main]'),
            ('backlog', '1', 'app.ini:6: [server:main]'),
            ('workers', '3', 'app.ini:7: [server:main]'),
        ],
    ),
    'filter-with is an option like any other': (
        '[server:main]\nfilter-with = x\n',
        {},
        [('filter-with', 'x', 'app.ini:2: [server:main]')],
    ),
    'use of another section': (
        '[server:main]\nuse = base\nthreads = 2\n[server:base]\nuse = egg:waitress\nthreads = 1\nport = 80\n',
        {},
        [
            ('threads', '2', 'app.ini:3: [server:main]'),
            ('port', '80', 'app.ini:7: [server:base]'),
            ('use', 'egg:waitress', 'app.ini:5: [server:base]'),
        ],
    ),
    'use of another file': (
        '[server:main]\nset x = 7\nuse = config:other.ini#s\n',
        {},
        [('use', 'egg:prefork', 'other.ini:2: [server:s]'), ('threads', '7', 'other.ini:3: [server:s]')],
    ),
    'a factory stays what it is': (
        '[server:main]\npaste.server_factory = nosuchmodule:x\n',
        {},
        [('paste.server_factory', 'nosuchmodule:x', 'app.ini:2: [server:main]')],
    ),
    'require is not looked at': ('[server:main]\nrequire = No-Such-Thing\n', {}, []),
}


@pytest.mark.parametrize(('text', 'variables', 'expected'), OPTIONS.values(), ids=OPTIONS)
def test_options(
    ini_file: WriteIni, tmp_path: Path, text: str, variables: dict[str, object], expected: Triples
) -> None:
    ini_file('[server:s]\nuse = egg:prefork\nthreads = %(x)s\n', 'other.ini')
    found = server_options(ini_file(text), 'main', variables)
    folder = str(tmp_path)
    plain = [(key, value.replace(folder, '<folder>'), where.replace(f'{folder}/', '')) for key, value, where in found]
    assert sorted(plain) == sorted(expected)


def test_no_application_code_is_imported(ini_file: WriteIni) -> None:
    before = set(sys.modules)
    path = ini_file('[server:main]\nuse = egg:nosuch\n[app:main]\npaste.app_factory = antigravity:x\n')
    server_options(path, 'main')
    assert set(sys.modules) <= before | {'prefork.settings'}


def test_they_are_what_settings_take(ini_file: WriteIni) -> None:
    path = ini_file('[server:main]\nuse = egg:prefork\nhost = ::1\nport = 81\nthreads = 2\n')
    settings = from_text(server_options(path, 'main'))
    assert (str(settings.bind[0]), settings.threads) == ('[::1]:81', 2)
    path = ini_file('[server:main]\nthreds = 2\n')
    with pytest.raises(errors.ConfigError) as caught:
        from_text(server_options(path, 'main'))
    assert str(caught.value) == f"{path}:2: [server:main] threds: no such option (did you mean 'threads'?)"


BAD: dict[str, tuple[str, str]] = {
    'unknown': ('[server:mian]\n', "app.ini: no server 'main' (did you mean [server:mian] in line 1?); there is mian"),
    'several': (
        '[server:main]\na = %\nget b = c\n',
        "app.ini:2: [server:main] a: bad '%': write %% for a percent sign, %(NAME)s for a variable\n"
        "app.ini:3: [server:main] get b: no global 'c'",
    ),
    'not a server': ('[server:main]\nuse = x\n[app:x]\n', 'app.ini:2: [server:main] use: no server'),
    'circle': ('[server:main]\nuse = main\n', 'app.ini:2: [server:main] use: this goes round in a circle'),
    'no global': ('[server:main]\nget x = y\n', "app.ini:2: [server:main] get x: no global 'y'"),
    'percent': ('[server:main]\nx = %\n', "app.ini:2: [server:main] x: bad '%'"),
    'unknown scheme': ('[server:main]\nuse = eg:x\n', "app.ini:2: [server:main] use: 'eg:x' has an unknown scheme"),
    'file': ('[server:main]\nuse = config:nosuch.ini\n', 'app.ini:2: [server:main] use: nosuch.ini: there is no'),
}


@pytest.mark.parametrize(('text', 'message'), BAD.values(), ids=BAD)
def test_mistakes(ini_file: WriteIni, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(errors.IniError) as caught:
        server_options(ini_file(text), 'main')
    assert str(caught.value).replace(f'{tmp_path}/', '').startswith(message)
