"""Real modules, distributions and entry points, made on the spot."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from prefork import errors
from prefork.deploy import factories, loadapp, loadfilter, loadserver
from prefork.deploy.sections import APP
from tests.deploy.conftest import WriteIni

ENTRY_POINTS = """
[paste.app_factory]
main = tests.deploy.sample:app
twice = tests.deploy.sample:app
dotted = tests.deploy.sample:Application.factory [extra]
broken = nosuchmodule:app
[paste.composite_factory]
twice = tests.deploy.sample:composite
mapper = tests.deploy.sample:composite
[paste.filter_app_factory]
main = tests.deploy.sample:filter_app
[paste.server_runner]
main = tests.deploy.sample:server_runner
[console_scripts]
tool = tests.deploy.sample:app
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with the distribution Sample-Dist."""
    info = tmp_path / 'sample_dist-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: Sample-Dist\nVersion: 1.0\n')
    (info / 'entry_points.txt').write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def no_paste(monkeypatch: pytest.MonkeyPatch) -> None:
    def distribution(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, 'distribution', distribution)


def test_entry_points_of_every_kind(installed: Path, ini_file: WriteIni) -> None:
    path = ini_file(
        '[pipeline:main]\npipeline = egg:sample_dist c\n[composite:c]\nuse = egg:Sample-Dist#mapper\n/ = a\n'
        '[app:a]\nuse = egg:SAMPLE.DIST\nname = a\n[server:main]\nuse = egg:Sample-Dist\n'
    )
    uri = f'config:{path}'
    assert str(loadapp(uri)) == 'filter_app(composite(a))'
    assert str(loadserver(uri)('x')) == 'runner(x)'
    assert str(loadapp('egg:Sample-Dist')) == 'app'
    assert str(loadfilter('EGG:Sample-Dist#main')('x')) == 'filter_app(x)'


def test_dotted_entry_point_with_extras(installed: Path, ini_file: WriteIni) -> None:
    path = ini_file('[app:main]\nuse = egg:Sample-Dist#dotted\ncolour = red\n')
    assert loadapp(f'config:{path}').colour == 'red'


BAD: dict[str, tuple[str, type[errors.IniError], str]] = {
    'in two groups': (
        'egg:Sample-Dist#twice',
        errors.IniLookupError,
        'egg:Sample-Dist#twice is ambiguous: it is in paste.app_factory and paste.composite_factory',
    ),
    'unknown': (
        'egg:Sample-Dist#mian',
        errors.IniLookupError,
        r"Sample-Dist has no app 'mian' \(did you mean 'main'\?\); it has paste.app_factory main, ",
    ),
    'of another kind': ('egg:Sample-Dist#tool', errors.IniLookupError, "Sample-Dist has no app 'tool'; it has paste"),
    'of a module that is not there': (
        'egg:Sample-Dist#broken',
        errors.IniImportError,
        "there is no module 'nosuchmodule'",
    ),
    'not installed': ('egg:Sample', errors.IniImportError, "the distribution 'Sample' is not installed"),
    'no name': ('egg:', errors.IniImportError, "the distribution '' is not installed"),
}


@pytest.mark.parametrize(('uri', 'kind', 'message'), BAD.values(), ids=BAD)
def test_bad_entry_point(installed: Path, uri: str, kind: type[errors.IniError], message: str) -> None:
    with pytest.raises(kind, match=message):
        loadapp(uri)


def test_require(installed: Path, ini_file: WriteIni) -> None:
    path = ini_file('[app:main]\npaste.app_factory = @:app\nrequire = sample-dist Sample_Dist\n')
    assert loadapp(f'config:{path}').options == {}


@pytest.mark.usefixtures('no_paste')
def test_urlmap_is_built_in_where_paste_is_not(ini_file: WriteIni) -> None:
    path = ini_file('[composite:main]\nuse = egg:Paste#urlmap\n/ = a\n[app:a]\npaste.app_factory = @:app\n')
    assert type(loadapp(f'config:{path}')).__module__ == 'prefork.deploy.urlmap'


@pytest.mark.usefixtures('no_paste')
@pytest.mark.parametrize('uri', ['egg:Paste#gzip', 'egg:Paste#main', 'egg:Other#urlmap'])
def test_nothing_else_is(uri: str) -> None:
    with pytest.raises(errors.IniImportError, match='is not installed'):
        loadapp(uri)


def test_an_installed_paste_counts_before_the_built_in_urlmap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ini_file: WriteIni
) -> None:
    info = tmp_path / 'paste-3.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: Paste\nVersion: 3.0\n')
    (info / 'entry_points.txt').write_text('[paste.composit_factory]\nurlmap = tests.deploy.sample:composite\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    path = ini_file('[composite:main]\nuse = egg:Paste#urlmap\n/ = a\n[app:a]\npaste.app_factory = @:app\n')
    assert str(loadapp(f'config:{path}')) == 'composite(app)'


def _prefork_has_an_app() -> bool:
    try:
        found = metadata.distribution('prefork').entry_points
    except metadata.PackageNotFoundError:
        return False
    return any(point.group == 'paste.app_factory' and point.name == 'main' for point in found)


@pytest.mark.skipif(not _prefork_has_an_app(), reason='prefork is not installed')
def test_our_own_entry_points(ini_file: WriteIni) -> None:
    path = ini_file('[app:main]\nuse = egg:prefork#main\n')
    assert callable(loadapp(f'config:{path}'))
    assert factories.load_entry_point('prefork', APP, 'main')[0] == 'paste.app_factory'


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module to be written, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, 'dont_write_bytecode', True)
    yield tmp_path / 'written_by_a_test.py'
    sys.modules.pop('written_by_a_test', None)


IMPORTS: dict[str, tuple[str, str, str]] = {
    # name: (the module's text, the expression, the message)
    'missing further in': (
        'import nosuchmodule.x',
        'written_by_a_test:a',
        r"importing 'written_by_a_test' failed: No module",
    ),
    'missing name further in': (
        'from os import nosuch',
        'written_by_a_test:a',
        r"importing 'written_by_a_test' failed: can",
    ),
    'no package': ('', 'written_by_a_test.sub:a', r"there is no module 'written_by_a_test\.sub'"),
    'attribute of an attribute': (
        'class A:\n    factory = 1',
        'written_by_a_test:A.factroy',
        r"'A' has no attribute 'factroy' \(did you mean 'factory'\?\)",
    ),
}


@pytest.mark.parametrize(('text', 'expression', 'message'), IMPORTS.values(), ids=IMPORTS)
def test_import_error(module: Path, text: str, expression: str, message: str) -> None:
    module.write_text(text)
    with pytest.raises(errors.IniImportError, match=message) as caught:
        factories.load_expression(expression)
    assert caught.value.__cause__ is not None


def test_other_errors_of_a_module_are_its_own(module: Path) -> None:
    module.write_text('1 / 0')
    with pytest.raises(ZeroDivisionError):
        factories.load_expression('written_by_a_test:a')


EXPRESSIONS: dict[str, tuple[str, tuple[str, tuple[str, ...]] | None]] = {
    'module': ('m', ('m', ())),
    'attribute': ('m.n:a', ('m.n', ('a',))),
    'dotted attribute': ('m:a.b', ('m', ('a', 'b'))),
    'blanks': ('m : a ', ('m', ('a',))),
    'extras': ('m:a [x, y]', ('m', ('a',))),
    'nothing': ('', None),
    'words': ('not a module', None),
    'two colons': ('m:a:b', None),
    'a call': ('m:a()', None),
    'a path': ('m/n:a', None),
}


@pytest.mark.parametrize(('text', 'expected'), EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_expression(text: str, expected: tuple[str, tuple[str, ...]] | None) -> None:
    if expected is not None:
        assert factories.parse_expression(text) == expected
        return
    with pytest.raises(errors.IniImportError, match='is not module:attribute'):
        factories.parse_expression(text)
