"""What the loader says of a mistake: the whole text, with the file, the line, and what was probably meant."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from prefork import errors
from prefork.deploy import appconfig, loadapp
from tests.deploy.conftest import WriteIni

# name: (app.ini, the error's class, its text without the folder)
MISTAKES: dict[str, tuple[str, type[errors.IniError], str]] = {
    'unknown name': (
        '[app:main]\nuse = bsae\n[app:base]\npaste.app_factory = @:app\n',
        errors.IniLookupError,
        "app.ini:2: [app:main] use: no app 'bsae' (did you mean [app:base] in line 3?); there is main, base",
    ),
    'case of a name': (
        '[pipeline:main]\npipeline = dibbus\n[app:Dibbus]\npaste.app_factory = @:app\n',
        errors.IniLookupError,
        "app.ini:2: [pipeline:main] pipeline: no app 'dibbus'; there is [app:Dibbus] in line 3, and case matters",
    ),
    'a filter where an app is wanted': (
        '[pipeline:main]\npipeline = f f\n[filter:f]\npaste.filter_factory = @:filter_factory\n',
        errors.IniLookupError,
        "app.ini:2: [pipeline:main] pipeline: no app 'f'; [filter:f] in line 3 is a filter",
    ),
    'no main': (
        '[app:one]\npaste.app_factory = @:app\n[app:two]\npaste.app_factory = @:app\n',
        errors.IniLookupError,
        "app.ini: no app 'main'; there is one, two; for another one write app.ini#NAME",
    ),
    'no app at all': (
        '[filter:f]\npaste.filter_factory = @:filter_factory\n',
        errors.IniLookupError,
        "app.ini: no app 'main', and no app at all",
    ),
    'two sections': (
        '[app:main]\npaste.app_factory = @:app\n[composite:main]\npaste.composite_factory = @:composite\n',
        errors.IniLookupError,
        "app.ini: app 'main' is ambiguous: [app:main] in line 1 and [composite:main] in line 3",
    ),
    'empty pipeline': (
        '[pipeline:main]\npipeline =\n',
        errors.IniLookupError,
        'app.ini:2: [pipeline:main] pipeline: a pipeline needs at least an app',
    ),
    'misspelt pipeline': (
        '[pipeline:main]\npipelin = a\n',
        errors.IniLookupError,
        "app.ini:1: [pipeline:main] pipeline = ... is missing (did you mean 'pipelin'?)",
    ),
    'options of a pipeline': (
        '[pipeline:main]\npipeline = a\nx = 1\ny = 2\n',
        errors.IniLookupError,
        'app.ini:3: [pipeline:main] x: a pipeline takes no options of its own (x, y); "set NAME = ..." reaches its '
        'members',
    ),
    'get of what is not there': (
        '[DEFAULT]\ndebug = 1\n[app:main]\npaste.app_factory = @:app\nget x = debgu\n',
        errors.IniLookupError,
        "app.ini:5: [app:main] get x: no global 'debgu' (did you mean 'debug'?); "
        'set it in [DEFAULT], or pass debgu=VALUE',
    ),
    'circle': (
        '[app:main]\nuse = b\n[app:b]\nuse = main\n',
        errors.IniLookupError,
        'app.ini:2: [app:main] use: this goes round in a circle: [app:b] -> [app:main] -> [app:b] '
        '(used by app.ini:4 [app:b] use, by app.ini:2 [app:main] use)',
    ),
    'circle through a composite': (
        '[pipeline:main]\npipeline = c\n[composite:c]\npaste.composite_factory = @:composite\n/ = main\n',
        errors.IniLookupError,
        'app.ini:2: [pipeline:main] pipeline: this goes round in a circle: '
        '[composite:c] -> [pipeline:main] -> [composite:c] '
        '(used by app.ini:5 [composite:c] /, by app.ini:2 [pipeline:main] pipeline)',
    ),
    'percent in DEFAULT': (
        '[DEFAULT]\nfmt = %d\n[app:main]\npaste.app_factory = @:app\n',
        errors.IniParseError,
        "app.ini:2: [DEFAULT] fmt: bad '%d': write %% for a percent sign, %(NAME)s for a variable",
    ),
    'variable in DEFAULT': (
        '[DEFAULT]\na = %(nosuch)s\n[app:main]\npaste.app_factory = @:app\n',
        errors.IniParseError,
        "app.ini:2: [DEFAULT] a: no variable 'nosuch'; set it in [DEFAULT], or pass nosuch=VALUE",
    ),
    'bad expression': (
        '[app:main]\npaste.app_factory = not a module\n',
        errors.IniImportError,
        "app.ini:2: [app:main] paste.app_factory: 'not a module' is not module:attribute",
    ),
    'no module': (
        '[app:main]\npaste.app_factory = nosuchmodule.x:app\n',
        errors.IniImportError,
        "app.ini:2: [app:main] paste.app_factory: there is no module 'nosuchmodule'",
    ),
    'no attribute': (
        '[app:main]\npaste.app_factory = @:composit\n',
        errors.IniImportError,
        "app.ini:2: [app:main] paste.app_factory: module 'tests.deploy.sample' has no attribute 'composit' "
        "(did you mean 'composite'?)",
    ),
    'call without a colon': (
        '[app:main]\nuse = call:module\n',
        errors.IniLookupError,
        'app.ini:2: [app:main] use: call:module is not call:MODULE:NAME',
    ),
    'unknown scheme': (
        '[app:main]\nuse = eg:Foo\n',
        errors.IniLookupError,
        "app.ini:2: [app:main] use: 'eg:Foo' has an unknown scheme; known are config, egg and call",
    ),
    'distribution not installed': (
        '[app:main]\nuse = egg:No-Such-Thing\n',
        errors.IniImportError,
        "app.ini:2: [app:main] use: the distribution 'No-Such-Thing' is not installed",
    ),
    'distribution with a version': (
        '[app:main]\nuse = egg:Foo==1.0\n',
        errors.IniImportError,
        "app.ini:2: [app:main] use: the distribution 'Foo==1.0' is not installed; "
        'write the name alone, without a version',
    ),
    'required distribution': (
        '[app:main]\npaste.app_factory = @:app\nrequire = No-Such-Thing\n',
        errors.IniImportError,
        "app.ini:3: [app:main] require: the distribution 'No-Such-Thing' is not installed",
    ),
    'factory of another kind': (
        '[app:main]\npaste.filter_factory = @:filter_factory\n',
        errors.IniLookupError,
        'app.ini:2: [app:main] paste.filter_factory: this is the factory of a filter; '
        'nothing says what makes this app; write use = ... or paste.app_factory = module:attribute',
    ),
    'misspelt factory': (
        '[app:main]\nx = 1\npaste.app_fatcory = @:app\n',
        errors.IniLookupError,
        "app.ini:3: [app:main] paste.app_fatcory: not a factory (did you mean 'paste.app_factory'?); "
        'nothing says what makes this app; write use = ... or paste.app_factory = module:attribute',
    ),
    'misspelt at the front': (
        '[app:main]\npase.app_factory = @:app\n',
        errors.IniLookupError,
        "app.ini:2: [app:main] pase.app_factory: not a factory (did you mean 'paste.app_factory'?); "
        'nothing says what makes this app; write use = ... or paste.app_factory = module:attribute',
    ),
    'no factory': (
        '[filter-app:main]\nnext = a\n[app:a]\npaste.app_factory = @:app\n',
        errors.IniLookupError,
        'app.ini:1: [filter-app:main] nothing says what makes this filter; '
        'write use = ... or paste.filter_factory = module:attribute',
    ),
    'two factories': (
        '[app:main]\npaste.app_factory = @:app\npaste.composite_factory = @:composite\n',
        errors.IniLookupError,
        'app.ini:3: [app:main] paste.composite_factory: one factory is enough, and here are '
        'paste.app_factory and paste.composite_factory',
    ),
    'an option too many': (
        '[app:main]\npaste.app_factory = @:strict\ncolor = red\n',
        errors.IniFactoryError,
        "app.ini:3: [app:main] color: the factory strict(global_conf: 'dict[str, Any]', colour: 'str', "
        "size: 'str' = '1') takes no 'color' (did you mean 'colour'?)",
    ),
    'an option too few': (
        '[app:main]\npaste.app_factory = @:strict\nsize = 2\n',
        errors.IniFactoryError,
        "app.ini:2: [app:main] paste.app_factory: the factory strict(global_conf: 'dict[str, Any]', colour: 'str', "
        "size: 'str' = '1') cannot be called: strict() missing 1 required positional argument: 'colour'",
    ),
    'the parameter taken already': (
        '[app:main]\npaste.app_factory = @:app\nglobal_conf = x\n',
        errors.IniFactoryError,
        "app.ini:3: [app:main] global_conf: the factory app(global_conf: 'dict[str, Any]', **options: 'str') "
        "is given 'global_conf' already",
    ),
    'a module for a factory': (
        '[app:main]\npaste.app_factory = @\n',
        errors.IniFactoryError,
        "app.ini:2: [app:main] paste.app_factory: the factory cannot be called: 'module' object is not callable",
    ),
    'bad pattern of a URL map': (
        '[composite:main]\npaste.composite_factory = prefork.deploy.urlmap:urlmap_factory\nport x /a = a\n'
        '[app:a]\npaste.app_factory = @:app\n',
        errors.IniParseError,
        'app.ini:3: [composite:main] port x /a: this is not [domain HOST] [port PORT] /PATH',
    ),
    'duplicate key': (
        '[app:main]\npaste.app_factory = @:app\na = 1\n\na = 2\n',
        errors.IniParseError,
        'app.ini:5: [app:main] a: this key is there twice; the first one is in line 3',
    ),
    'missing file': (
        '[app:main]\nuse = config:nosuch.ini\n',
        errors.IniFileNotFound,
        'app.ini:2: [app:main] use: nosuch.ini: there is no such file',
    ),
    'name in another file': (
        '[app:main]\nuse = config:other.ini#x\n',
        errors.IniLookupError,
        "app.ini:2: [app:main] use: other.ini: no app 'x'; there is inner, bad",
    ),
    'mistake in another file': (
        '[pipeline:main]\npipeline = a\n[app:a]\nuse = config:other.ini#inner\n',
        errors.IniLookupError,
        "other.ini:2: [app:inner] use: no app 'y'; there is inner, bad "
        '(used by app.ini:4 [app:a] use, by app.ini:2 [pipeline:main] pipeline)',
    ),
    'percent in another file': (
        '[app:main]\nuse = config:other.ini#bad\n',
        errors.IniParseError,
        "other.ini:4: [app:bad] use: bad '%': write %% for a percent sign, %(NAME)s for a variable "
        '(used by app.ini:2 [app:main] use)',
    ),
    'another file that is none': (
        '[app:main]\nuse = config:broken.ini\n',
        errors.IniParseError,
        "broken.ini:1: 'words' stands before any [section] (used by app.ini:2 [app:main] use)",
    ),
}


@pytest.mark.parametrize(('text', 'kind', 'message'), MISTAKES.values(), ids=MISTAKES)
def test_mistake(ini_file: WriteIni, tmp_path: Path, text: str, kind: type[errors.IniError], message: str) -> None:
    ini_file('[app:inner]\nuse = y\n[app:bad]\nuse = %\n', 'other.ini')
    ini_file('words\n', 'broken.ini')
    path = ini_file(text)
    with pytest.raises(errors.IniError) as caught:
        loadapp(f'config:{path}')
    said = str(caught.value).replace(f'{tmp_path}/', '')
    assert said == message
    assert type(caught.value) is kind


# name: (app.ini, the error's class, its complaints)
SEVERAL: dict[str, tuple[str, type[errors.IniError], list[str]]] = {
    'lines and duplicates': (
        'words\n[app:main]\na = 1\nflag\na = 2\n[uwsgi]\nb = 1\nb = 2\n[app:main]\n= 1\n',
        errors.IniParseError,
        [
            "app.ini:1: 'words' stands before any [section]",
            "app.ini:4: [app:main] no '=' or ':' in 'flag'",
            'app.ini:5: [app:main] a: this key is there twice; the first one is in line 3',
            'app.ini:9: [app:main] this section is there twice; the first one is in line 2',
            "app.ini:10: [app:main] no key before '= 1'",
        ],
    ),
    'values of DEFAULT': (
        '[DEFAULT]\na = %d\nb = 1\nc = %(x)s\n[app:main]\nuse = nosuch\n',
        errors.IniParseError,
        [
            "app.ini:2: [DEFAULT] a: bad '%d': write %% for a percent sign, %(NAME)s for a variable",
            "app.ini:4: [DEFAULT] c: no variable 'x'; set it in [DEFAULT], or pass x=VALUE",
        ],
    ),
    'values of a section': (
        '[app:main]\npaste.app_factory = @:app\na = 5%\nset b = %(x)s\nget c = d\n',
        errors.IniParseError,
        [
            "app.ini:3: [app:main] a: bad '%': write %% for a percent sign, %(NAME)s for a variable",
            "app.ini:4: [app:main] set b: no variable 'x'; set it in [app:main] or [DEFAULT], or pass x=VALUE",
            "app.ini:5: [app:main] get c: no global 'd'; set it in [DEFAULT], or pass d=VALUE",
        ],
    ),
    'members of a pipeline': (
        '[pipeline:main]\npipeline = one two f f a\n[filter:f]\nuse = egg:No-Such-Thing\n'
        '[app:a]\npaste.app_factory = @:app\n',
        errors.IniLookupError,
        [
            "app.ini:2: [pipeline:main] pipeline: no filter 'one'; there is f",
            "app.ini:2: [pipeline:main] pipeline: no filter 'two'; there is f",
            "app.ini:4: [filter:f] use: the distribution 'No-Such-Thing' is not installed "
            '(used by app.ini:2 [pipeline:main] pipeline)',
        ],
    ),
    'what a section needs': (
        '[app:main]\nuse = a\nrequire = No-Such No-Other\nfilter-with = f\n',
        errors.IniImportError,
        [
            "app.ini:3: [app:main] require: the distribution 'No-Such' is not installed",
            "app.ini:3: [app:main] require: the distribution 'No-Other' is not installed",
            "app.ini:2: [app:main] use: no app 'a'; there is main",
            "app.ini:4: [app:main] filter-with: no filter 'f', and no filter at all",
        ],
    ),
    'both sides of a filter-app': (
        '[filter-app:main]\nuse = f\nnext = a\n',
        errors.IniLookupError,
        [
            "app.ini:3: [filter-app:main] next: no app 'a'; there is main",
            "app.ini:2: [filter-app:main] use: no filter 'f', and no filter at all",
        ],
    ),
    'applications of a URL map': (
        '[composite:main]\nuse = call:prefork.deploy.urlmap:urlmap_factory\n/a = a\n/b = b\n/c = c\nd = a\n'
        '[app:a]\npaste.app_factory = nosuchmodule:x\n[app:b]\npaste.app_factory = @:app\nx = %\n'
        '[app:c]\npaste.app_factory = @:app\n',
        errors.IniImportError,
        [
            "app.ini:8: [app:a] paste.app_factory: there is no module 'nosuchmodule' "
            '(used by app.ini:3 [composite:main] /a)',
            "app.ini:11: [app:b] x: bad '%': write %% for a percent sign, %(NAME)s for a variable "
            '(used by app.ini:4 [composite:main] /b)',
            'app.ini:6: [composite:main] d: this is not [domain HOST] [port PORT] /PATH',
        ],
    ),
    'applications of a cascade': (
        '[composite:main]\nuse = call:prefork.deploy.standins:cascade_factory\ncatch = 40\napp1 = a\napp2 = b\nx = c\n',
        errors.IniParseError,
        [
            "app.ini:3: [composite:main] catch: '40' is not a status",
            "app.ini:4: [composite:main] app1: no app 'a'; there is main",
            "app.ini:5: [composite:main] app2: no app 'b'; there is main",
            'app.ini:6: [composite:main] x: a cascade takes keys that begin with app, and catch',
        ],
    ),
    'of another file, each with what led there': (
        '[app:main]\nuse = config:broken.ini\n',
        errors.IniParseError,
        [
            "broken.ini:2: [a] no '=' or ':' in 'one' (used by app.ini:2 [app:main] use)",
            "broken.ini:3: [a] no '=' or ':' in 'two' (used by app.ini:2 [app:main] use)",
        ],
    ),
}


@pytest.mark.parametrize(('text', 'kind', 'complaints'), SEVERAL.values(), ids=SEVERAL)
def test_several_mistakes_are_told_at_once(
    ini_file: WriteIni, tmp_path: Path, text: str, kind: type[errors.IniError], complaints: list[str]
) -> None:
    ini_file('[a]\none\ntwo\n', 'broken.ini')
    with pytest.raises(errors.IniError) as caught:
        loadapp(f'config:{ini_file(text)}')
    assert [line.replace(f'{tmp_path}/', '') for line in caught.value.complaints] == complaints
    assert type(caught.value) is kind


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / 'app.ini'
    path.write_bytes(b'[app:main]\nx = caf\xe9\n')
    with pytest.raises(errors.IniParseError, match=r"app\.ini:2: not UTF-8: b'\\xe9'"):
        loadapp(f'config:{path}')


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(errors.IniFileError, match='the file cannot be read: Is a directory') as caught:
        loadapp(f'config:{tmp_path}')
    assert isinstance(caught.value.__cause__, IsADirectoryError)


COMPATIBLE: dict[str, tuple[str, type[Exception]]] = {
    'unknown name': ('use = nosuch', LookupError),
    'missing file': ('use = config:nosuch.ini', FileNotFoundError),
    'import': ('use = egg:No-Such-Thing', ImportError),
    'percent': ('x = %', ValueError),
    'call': ('paste.app_factory = @:strict', TypeError),
    'anything': ('', errors.ConfigError),
}


@pytest.mark.parametrize(('option', 'kind'), COMPATIBLE.values(), ids=COMPATIBLE)
def test_what_callers_of_pastedeploy_catch_is_caught(ini_file: WriteIni, option: str, kind: type[Exception]) -> None:
    path = ini_file(f'[app:main]\n{option}\n')
    with pytest.raises(kind):
        loadapp(f'config:{path}')


def notes_of(path: str) -> tuple[BaseException, list[str]]:
    with pytest.raises((RuntimeError, TypeError)) as caught:
        loadapp(f'config:{path}')
    folder = str(Path(path).parent) + '/'
    return caught.value, [note.replace(folder, '') for note in caught.value.__notes__]


def test_what_a_factory_raises_is_left_alone_but_for_the_place(ini_file: WriteIni) -> None:
    error, notes = notes_of(
        ini_file(
            '[composite:main]\npaste.composite_factory = @:composite\n/ = a\n'
            '[pipeline:a]\npipeline = b\n[app:b]\npaste.app_factory = @:failing\n'
        )
    )
    assert str(error) == 'the database is down'
    assert notes == [
        'while creating app.ini:7 [app:b] paste.app_factory',
        'while creating app.ini:2 [composite:main] paste.composite_factory',
    ]


def test_a_factory_without_a_section_is_where_it_is_named(ini_file: WriteIni) -> None:
    _, notes = notes_of(ini_file('[pipeline:main]\npipeline = call:@:failing\n'))
    assert notes == ['while creating app.ini:2 [pipeline:main] pipeline']


def test_an_option_that_the_error_names_is_found(ini_file: WriteIni) -> None:
    error, notes = notes_of(ini_file('[app:main]\npaste.app_factory = @:Application.factory\n\ncolor = red\n'))
    assert type(error) is TypeError
    assert notes == ['while creating app.ini:2 [app:main] paste.app_factory; app.ini:4 [app:main] color']


WARNINGS: dict[str, tuple[str, dict[str, str], list[str]]] = {
    'DEFAULT has the key': (
        '[DEFAULT]\ndebug = true\n[app:main]\npaste.app_factory = @:app\ndebug = false\n',
        {},
        [
            'app.ini:5: [app:main] debug: ignored, because [DEFAULT] in line 2 has it; write "set debug = ..."',
        ],
    ),
    'the key comes from outside': (
        '[app:main]\npaste.app_factory = @:app\ndebug = false\n',
        {'debug': 'x'},
        ['app.ini:3: [app:main] debug: ignored, because it was given from outside; write "set debug = ..."'],
    ),
    'DEFAULT wins over the outside': (
        '[DEFAULT]\nport = 1\n[app:main]\npaste.app_factory = @:app\np = %(port)s\n',
        {'port': '2'},
        ['app.ini:2: [DEFAULT] port: this wins over the port given from outside in every %(port)s'],
    ),
    'a section of the file itself is not the outside': (
        '[DEFAULT]\nport = 1\n[app:main]\nset port = 2\nuse = config:app.ini#b\n'
        '[app:b]\npaste.app_factory = @:app\np = %(port)s\n',
        {},
        [],
    ),
    'options for a pipeline': (
        '[app:main]\nuse = p\nx = 1\n[pipeline:p]\npipeline = a\n[app:a]\npaste.app_factory = @:app\n',
        {},
        ['app.ini:3: [app:main] x: ignored, because p takes no options; "set x = ..." reaches its members'],
    ),
    'options for the filter of another section': (
        '[app:main]\nuse = fa\nx = 1\n[filter-app:fa]\nuse = f\nnext = a\n'
        '[filter:f]\npaste.filter_factory = @:filter_factory\n[app:a]\npaste.app_factory = @:app\n',
        {},
        ['app.ini:3: [app:main] x: ignored, because fa takes no options; "set x = ..." reaches its members'],
    ),
    'duplicates elsewhere': (
        '[uwsgi]\nenv = a\nenv = b\n[app:main]\npaste.app_factory = @:app\n[uwsgi]\n',
        {},
        [
            'app.ini:3: [uwsgi] env: this key is there twice; the first one is in line 2',
            'app.ini:6: [uwsgi] this section is there twice; the first one is in line 1',
        ],
    ),
    'nothing': ('[DEFAULT]\nport = 1\n[app:main]\npaste.app_factory = @:app\n', {'port': '2'}, []),
    'once though used twice': (
        '[DEFAULT]\nx = 1\n[composite:main]\npaste.composite_factory = @:composite\n/ = a\n/b = a\n'
        '[app:a]\npaste.app_factory = @:app\nx = 2\n',
        {},
        ['app.ini:9: [app:a] x: ignored, because [DEFAULT] in line 2 has it; write "set x = ..."'],
    ),
}


@pytest.mark.parametrize(('text', 'variables', 'expected'), WARNINGS.values(), ids=WARNINGS)
def test_warning(
    ini_file: WriteIni,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    text: str,
    variables: dict[str, Any],
    expected: list[str],
) -> None:
    caplog.set_level(logging.WARNING, 'prefork')
    loadapp(f'config:{ini_file(text)}', global_conf=variables)
    assert [line.replace(f'{tmp_path}/', '') for line in caplog.messages] == expected


def test_appconfig_creates_nothing(ini_file: WriteIni) -> None:
    path = ini_file('[app:main]\npaste.app_factory = @:failing\nx = 1\n')
    assert appconfig(f'config:{path}').local_conf == {'x': '1'}
