"""The four functions, what composite factories are given, and the Loader class."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prefork import errors
from prefork.deploy import Loader, appconfig, loadapp, loadfilter, loadserver
from prefork.deploy.sections import APP
from tests.deploy import sample
from tests.deploy.conftest import WriteIni

CHAIN = """
[DEFAULT]
level = low
[pipeline:main]
pipeline = f fa apps
[composite:apps]
paste.composite_factory = @:composite
/ = a
/b = b
[app:a]
paste.app_factory = @:app
name = a
[app:b]
use = a
name = b
[filter:f]
paste.filter_factory = @:filter_factory
[filter:fa]
paste.filter_app_factory = @:filter_app
[server:main]
paste.server_factory = @:server
port = 1
[server:runner]
paste.server_runner = @:server_runner
"""


def test_a_chain_is_built_of_real_factories(ini_file: WriteIni) -> None:
    uri = f'config:{ini_file(CHAIN)}'
    assert str(loadapp(uri)) == 'filter(filter_app(composite(a, b)))'
    assert str(loadfilter(uri, name='fa')('app')) == 'filter_app(app)'
    assert str(loadserver(uri)('app')) == 'server(app)'
    assert str(loadserver(uri, name='runner')('app')) == 'runner(app)'


# (URI with @ for the folder, name, relative_to with the folder, what is made)
URIS: dict[str, tuple[str, str | None, str | None, str]] = {
    'main when nothing is named': ('config:@/app.ini', None, None, 'the main'),
    'fragment': ('config:@/app.ini#b', None, None, 'the b'),
    'name counts before the fragment': ('config:@/app.ini#nosuch', 'b', None, 'the b'),
    'fragment with a hash': ('config:@/app.ini#a#b', None, None, 'the a#b'),
    'scheme in capitals': ('CONFIG:@/app.ini', None, None, 'the main'),
    'relative': ('config:app.ini', None, '@', 'the main'),
    'relative, upwards': ('config:../app.ini', None, '@/sub', 'the main'),
    'backslashes': ('config:sub\\deep.ini', None, '@', 'the deep'),
    'blank': ('config:@/with blank.ini', None, None, 'the blank'),
    'quoted': ('config:@/with%20blank.ini', None, None, 'the blank'),
    'blank at the end': ('config:app.ini ', None, '@', 'the main'),
    'three slashes': ('config://@/app.ini', None, None, 'the main'),
    'call': ('call:tests.deploy.sample:app', None, None, 'app'),
}


@pytest.mark.parametrize(('uri', 'name', 'relative_to', 'expected'), URIS.values(), ids=URIS)
def test_uri(
    ini_file: WriteIni, tmp_path: Path, uri: str, name: str | None, relative_to: str | None, expected: str
) -> None:
    section = 'paste.app_factory = @:app\nname = the'
    ini_file(f'[app:main]\n{section} main\n[app:b]\n{section} b\n[app:a#b]\n{section} a#b\n')
    ini_file(f'[app:main]\n{section} deep\n', 'sub/deep.ini')
    ini_file(f'[app:main]\n{section} blank\n', 'with blank.ini')
    relative_to = relative_to and relative_to.replace('@', str(tmp_path))
    assert str(loadapp(uri.replace('@', str(tmp_path)), name=name, relative_to=relative_to)) == expected


BAD_URIS: dict[str, tuple[str, type[Exception], str]] = {
    'no scheme': ('app.ini', LookupError, "'app.ini' has no scheme"),
    'unknown scheme': ('http://x', LookupError, "'http://x' has an unknown scheme"),
    'relative to nothing': ('config:app.ini', ValueError, 'config:app.ini is relative'),
    'empty name': ('config:@/app.ini#', LookupError, "no app ''"),
    'three slashes are one': ('config://@/app.ini#', LookupError, '^/[^/]'),
    'two colons': ('call:a:b:c', LookupError, 'call:a:b:c is not call:MODULE:NAME'),
}


@pytest.mark.parametrize(('uri', 'kind', 'message'), BAD_URIS.values(), ids=BAD_URIS)
def test_bad_uri(ini_file: WriteIni, tmp_path: Path, uri: str, kind: type[Exception], message: str) -> None:
    ini_file('[app:main]\npaste.app_factory = @:app\n')
    with pytest.raises(kind, match=message):
        loadapp(uri.replace('@', str(tmp_path)), relative_to='')


def test_dotted_call_and_its_kinds(ini_file: WriteIni) -> None:
    """D4."""
    path = ini_file(
        '[pipeline:main]\npipeline = call:@:filter_factory f c\n'
        '[filter:f]\nuse = call:@:filter_factory\nfilter-with = call:@:filter_factory\n'
        '[composite:c]\nuse = call:@:composite\n/ = a\n'
        '[app:a]\nuse = call:@:Application.factory\ncolour = red\n'
    )
    made = loadapp(f'config:{path}')
    assert [made.what, made.inner[0].what, made.inner[0].inner[0].what] == ['filter'] * 3
    assert made.inner[0].inner[0].inner[0].inner[0].colour == 'red'


GLOBALS: dict[str, tuple[dict[str, Any], dict[str, str], dict[str, str]]] = {
    # name: (global_conf, what the factory gets as globals, as locals)
    'none': ({}, {'level': 'low'}, {'seen': 'low', 'port': '-'}),
    'the argument wins as a global, DEFAULT in text': ({'level': 'high'}, {'level': 'high'}, {'seen': 'low'}),
    'numbers become text': ({'number': 5}, {'number': '5'}, {}),
    'percent signs are text': ({'PS1': '%d 100%% %(x)s'}, {'PS1': '%d 100%% %(x)s'}, {}),
    'percent signs within text': ({'given': '5% %(level)s'}, {}, {'text': '<5% %(level)s>'}),
    'the section loses its own': ({'port': '1'}, {'port': '1'}, {'port': ''}),
}


@pytest.mark.parametrize(('global_conf', 'globals', 'options'), GLOBALS.values(), ids=GLOBALS)
def test_global_conf(
    ini_file: WriteIni, global_conf: dict[str, Any], globals: dict[str, str], options: dict[str, str]
) -> None:
    """D6, and who wins."""
    path = ini_file(
        '[DEFAULT]\nlevel = low\n'
        '[app:main]\npaste.app_factory = @:app\nseen = %(level)s\nport = -\ntext = <%(given)s>\n'
    )
    made = loadapp(f'config:{path}', global_conf={'given': '', **global_conf})
    assert globals.items() <= made.global_conf.items()
    assert {key: made.options.get(key, '') for key in options} == options


def test_factories_get_their_options_in_pastedeploys_order(ini_file: WriteIni) -> None:
    """The expectations of whole files don't say it: not all of them were written in order."""
    path = ini_file(
        '[app:main]\nget y = b\nz = 1\nuse = base\na = 2\n'
        '[app:base]\npaste.app_factory = @:app\nset c = 1\na = 3\nx = 4\n[DEFAULT]\nb = 1\na1 = 2\n'
    )
    made = loadapp(f'config:{path}', global_conf={'outside': '1', 'here': '/x'})
    assert list(made.global_conf) == ['here', '__file__', 'b', 'a1', 'outside', 'c']
    assert list(made.options) == ['a', 'x', 'z', 'y']


def test_each_factory_has_globals_of_its_own(ini_file: WriteIni) -> None:
    path = ini_file('[pipeline:main]\npipeline = call:@:filter_factory call:@:app\n')
    made = loadapp(f'config:{path}')
    made.inner[0].global_conf['x'] = '1'
    assert 'x' not in made.global_conf


def test_composites_are_given_a_loader(ini_file: WriteIni) -> None:
    path = ini_file(f'{CHAIN}\n[composite:lazy]\npaste.composite_factory = @:lazy\n')
    loadapp(f'config:{path}', name='lazy')
    (loader,) = sample.keep
    assert loader.filename == path
    assert str(loader.get_app()) == 'filter(filter_app(composite(a, b)))'
    assert str(loader.get_app('a')) == 'a'
    assert str(loader.get_filter('f')('x')) == 'filter(x)'
    assert str(loader.get_server()('x')) == 'server(x)'
    assert loader.app_context('b').local_conf == {'name': 'b'}
    assert loader.get_context(APP, 'b').create().options == {'name': 'b'}
    assert loader.filter_context('fa').protocol == 'paste.filter_app_factory'
    assert loader.server_context('main').local_conf == {'port': '1'}
    assert str(loader.get_app('lazy')) == 'lazy'  # later, when it is no circle any more


def test_objects_in_the_globals_of_a_composite_arrive(ini_file: WriteIni) -> None:
    path = ini_file(f'{CHAIN}\n[composite:lazy]\npaste.composite_factory = @:lazy\n')
    loadapp(f'config:{path}', name='lazy')
    shared = object()
    for name in ('a', 'config:app.ini#a'):
        assert sample.keep[0].get_app(name, global_conf={'shared': shared}).global_conf['shared'] is shared


def test_file_is_that_of_the_section_with_use(ini_file: WriteIni) -> None:
    path = ini_file('[app:main]\nuse = b\n[app:b]\npaste.app_factory = @:app\nset __file__ = /elsewhere\n')
    assert loadapp(f'config:{path}').global_conf['__file__'] == path


@pytest.mark.parametrize(
    ('filter', 'expected'),
    [('paste.filter_factory = @:filter_factory', 'mine'), ('use = f', 'its')],
    ids=['its own filter', "another section's filter"],
)
def test_use_of_a_filter_app(ini_file: WriteIni, filter: str, expected: str) -> None:
    """As in PasteDeploy: what the filter-app's own factory is given can be overridden, what it uses can't."""
    path = ini_file(
        f'[app:main]\nuse = fa\nk = mine\nset g = 1\n[filter-app:fa]\n{filter}\nnext = a\nk = its\n'
        '[filter:f]\npaste.filter_factory = @:filter_factory\n[app:a]\npaste.app_factory = @:app\n'
    )
    made = loadapp(f'config:{path}')
    assert (made.options, made.global_conf['g']) == ({'k': expected}, '1')


def test_filter_with_on_a_filter_makes_a_filter(ini_file: WriteIni) -> None:
    path = ini_file(
        '[filter:f]\npaste.filter_factory = @:filter_factory\nfilter-with = g\n'
        '[filter:g]\npaste.filter_app_factory = @:filter_app\nfilter-with = h\n'
        '[filter:h]\npaste.filter_app_factory = @:filter_app\n'
    )
    assert str(loadfilter(f'config:{path}', name='f')('app')) == 'filter_app(filter_app(filter(app)))'


def test_appconfig(ini_file: WriteIni) -> None:
    path = ini_file('[DEFAULT]\na = 1\n[app:main]\npaste.app_factory = @:app\nb = 2\nset c = 3\n')
    config = appconfig(f'config:{path}', global_conf={'d': 4})
    assert config.local_conf == {'b': '2'}
    assert config.global_conf == {'a': '1', 'c': '3', 'd': '4', 'here': os.path.dirname(path), '__file__': path}
    assert config == {**config.global_conf, **config.local_conf}
    assert str(config.context.create()) == 'app'


def test_the_same_section_with_other_globals_is_no_circle(ini_file: WriteIni) -> None:
    path = ini_file(
        '[app:main]\nset which = end\nuse = config:app.ini#%(which)s\n'
        '[app:end]\npaste.app_factory = @:app\nname = end\n'
    )
    assert str(loadapp(f'config:{path}', global_conf={'which': 'main'})) == 'end'


class TestLoader:
    def test_absolute_path_is_kept(self, ini_file: WriteIni) -> None:
        path = ini_file(CHAIN)
        loader = Loader(path)
        assert loader.config_path == path
        assert str(loader.load_app('a')) == 'a'

    @pytest.mark.parametrize('path', ['/nonexistent/api-paste.ini', 'nonexistent-paste.ini', None])
    def test_not_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv('HOME', str(tmp_path))
        with pytest.raises(errors.ConfigNotFound, match=path or r'api-paste\.ini'):
            Loader(path)

    @pytest.mark.parametrize('folder', ['cwd', 'home/.prefork', 'home'])
    def test_search(self, ini_file: WriteIni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
        for name in ('cwd', 'home/.prefork'):
            (tmp_path / name).mkdir(parents=True)
        monkeypatch.chdir(tmp_path / 'cwd')
        monkeypatch.setenv('HOME', str(tmp_path / 'home'))
        order = ['home', 'home/.prefork', 'cwd']
        for name in order[: order.index(folder) + 1]:  # what is looked at later is there too
            path = ini_file(CHAIN, f'{name}/api-paste.ini')
        assert Loader().config_path == path

    def test_odd_characters_in_the_path(self, ini_file: WriteIni) -> None:
        assert str(Loader(ini_file(CHAIN, 'a#b %41 \\.ini')).load_app('a')) == 'a'

    def test_app_not_found(self, ini_file: WriteIni, caplog: pytest.LogCaptureFixture) -> None:
        loader = Loader(ini_file(CHAIN))
        with pytest.raises(errors.AppNotFound, match="no app 'nonexistent app'") as caught:
            loader.load_app('nonexistent app')
        assert isinstance(caught.value, LookupError)
        assert caplog.records[-1].exc_info is not None

    def test_a_failing_factory_is_no_missing_app(self, ini_file: WriteIni) -> None:
        loader = Loader(ini_file('[app:main]\npaste.app_factory = @:failing_lookup\n'))
        with pytest.raises(KeyError, match='database'):
            loader.load_app('main')


def test_importing_it_is_cheap() -> None:
    heavy = {
        'typing',
        'dataclasses',
        'inspect',
        'importlib.metadata',
        'logging',
        'configparser',
        'urllib.parse',
        'difflib',
    }
    code = 'import sys, prefork.deploy; print(*sys.modules)'
    run = subprocess.run([sys.executable, '-S', '-c', code], check=True, capture_output=True, text=True)
    assert 'prefork.deploy.loader' in run.stdout.split()
    assert not heavy & {*run.stdout.split()}
