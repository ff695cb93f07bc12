"""Whole files, against what PasteDeploy composes of them: the quirks that stand beside this file, and real ones.

``FILE.expected.json`` has, for each name of a file and each set of variables, PasteDeploy's result in the stub world:
the tree, the factories in the order they were imported and called in, and appconfig's answer; or its error.  Every
difference of ours stands in a table below, with its reason.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from prefork import errors
from prefork.deploy import appconfig, loadapp, loadfilter, loadserver
from tests.deploy.stub_world import PROBE, StubWorld

QUIRKS = Path(__file__).parent / 'quirks'
REAL = Path(os.environ.get('PREFORK_INI_CORPUS') or Path(__file__).parents[3] / 'shared' / 'ini')

VARIABLES: dict[str, dict[str, str]] = {
    'plain': {},
    'global_conf': {'debug': 'from-global-conf', 'prefork_extra': 'x', 'here': '/overridden'},
    'vars': {
        'http_port': '6543',
        'http_host': '127.0.0.1',
        'fcgi_host': '127.0.0.1',
        'fcgi_port': '26543',
        'bar': 'baz',
        'inherit': 'bazbar',
        'does_not_exist': 'now-it-does',
        'nosuch': 'given',
    },
}

# PasteDeploy's exceptions, and ours for the same mistakes.
ERRORS: dict[str, type[errors.IniError]] = {
    'LookupError': errors.IniLookupError,
    'IndexError': errors.IniLookupError,  # an empty pipeline
    'AttributeError': errors.IniImportError,  # an expression that isn't one
    'FileNotFoundError': errors.IniFileNotFound,
    'DuplicateSectionError': errors.IniParseError,
    'InterpolationMissingOptionError': errors.IniParseError,
    'InterpolationSyntaxError': errors.IniParseError,
    'ParsingError': errors.IniParseError,
}

# (file, kind, name): the deliberate deviation by its number, and what ours makes of it, in every set of variables.
#  D1  filter-with around a pipeline, a filter-app or another filter-with makes an application
#  D2  what a section overrides through `use` reaches the application within a filter-with, and appconfig shows it
#  D3  [app] without a name means main
#  D4  call: works in every place, because the place says what it is
#  D5  a byte order mark is no part of the first line
#  D8  an option may be called `callable`
DEVIATIONS: dict[tuple[str, str, str], tuple[str, str]] = {
    ('bare_app.ini', 'app', 'main'): ('D3', 'm:f'),
    ('bom.ini', 'app', 'main'): ('D5', 'm:f'),
    ('filter_app_call.ini', 'app', 'main'): ('D4', 'call:m:f(m:a)'),
    ('filter_with_on_filter_app_and_composite.ini', 'app', 'main'): ('D1', 'm:g(m:f(m:a))'),
    ('filter_with_through_use.ini', 'app', 'main'): ('D2', 'm:f(egg:Foo#main@paste.app_factory[k=main, extra=1])'),
    ('filter_with_through_use.ini', 'app', 'both'): ('D1', 'm:g(m:f(m:a[k=base]))'),
    ('kwarg_name_collisions.ini', 'app', 'main'): ('D8', 'm:f[callable=x]'),
    ('pipeline_call_and_egg_members.ini', 'app', 'callapp'): ('D4', 'm:f(call:m:app)'),
    ('pipeline_call_and_egg_members.ini', 'app', 'callfilter'): ('D4', 'call:m:filt(m:a)'),
    ('pipeline_filter_with.ini', 'app', 'main'): ('D1', 'm:g(m:f(m:a))'),
    ('pastedeploy-tests/executable.ini', 'app', 'main'): ('D3', 'egg:FakeApp#basic_app@paste.app_factory'),
    ('pastedeploy-tests/executable.ini', 'server', 'main'): ('D3', 'egg:PasteScript#cgi@paste.server_runner(probe)'),
}

# Real files that include another one, which the collection may lack.
INCLUDES = {
    'allura/docker-dev.ini': 'allura/development.ini',
    'allura/test.ini': 'allura/development.ini',
    'snovault/production.ini.in': 'snovault/base.ini',
}


class Corpus:
    """A folder of ini files, each with what is expected of it."""

    def __init__(self, root: Path, recorded_root: str, excluded: tuple[str, ...] = ()) -> None:
        self.root = root
        self.recorded_root = recorded_root  # what stands for the folder in the expectations
        found = sorted(path.relative_to(root).as_posix() for path in root.rglob('*.expected.json'))
        self.files = [name.removesuffix('.expected.json') for name in found if not name.startswith(excluded)]

    def expected(self, file: str) -> dict[str, Any]:
        text = (self.root / f'{file}.expected.json').read_text('utf-8')
        expected: dict[str, Any] = json.loads(text.replace(self.recorded_root, str(self.root)))
        return expected


QUIRK_FILES = Corpus(QUIRKS, '<CORPUS>/_quirks')
REAL_FILES = Corpus(REAL, '<CORPUS>', excluded=('quirks/', '_quirks/'))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> StubWorld:
    world = StubWorld()
    world.install(monkeypatch)
    return world


@pytest.mark.parametrize('file', QUIRK_FILES.files)
def test_quirk(world: StubWorld, file: str) -> None:
    compare(world, QUIRK_FILES, file)


@pytest.mark.parametrize('file', REAL_FILES.files or [pytest.param('', marks=pytest.mark.skip('no such collection'))])
def test_real_file(world: StubWorld, file: str) -> None:
    included = INCLUDES.get(file)
    if included and not (REAL / included).exists():
        pytest.skip(f'{included} is not there')
    compare(world, REAL_FILES, file)


@pytest.mark.skipif(not (REAL / 'nova/api-paste.ini').exists(), reason='no such collection')
def test_nova_api_paste_ini_composes(world: StubWorld) -> None:
    uri = f'config:{REAL}/nova/api-paste.ini'
    compute = loadapp(uri, name='osapi_compute').tree
    assert compute['factory'] == 'call:nova.api.openstack.urlmap:urlmap_factory'
    assert list(compute['children']) == ['/', '/v2', '/v2.1', '/v2/+', '/v2.1/+']
    metadata = loadapp(uri, name='metadata').tree
    assert shown(metadata['children']['/']) == (
        'oslo_middleware.cors:filter_factory[oslo_config_project=nova]'
        '(oslo_middleware.http_proxy_to_wsgi:HTTPProxyToWSGI.factory'
        '(nova.api.metadata.handler:MetadataRequestHandler.factory))'
    )


def test_each_deviation_is_met() -> None:
    """A row of the table whose file is gone compares nothing."""
    known = {*QUIRK_FILES.files, *REAL_FILES.files}
    assert {file for file, _, _ in DEVIATIONS if '/' not in file or REAL_FILES.files} <= known


def compare(world: StubWorld, corpus: Corpus, file: str) -> None:
    """Load every name of the file with every set of variables."""
    expected = corpus.expected(file)
    compared = 0
    for variables, global_conf in VARIABLES.items():
        for kind, names in expected[variables].items():
            for name, wanted in names.items():
                got = load(world, corpus.root / file, kind, name, global_conf)
                deviation = DEVIATIONS.get((file, kind, name))
                if deviation is not None:
                    assert got.get('tree') != wanted.get('tree'), f'no deviation in {name}'
                    assert shown(got['tree']) == deviation[1], deviation[0]
                elif 'error' in wanted:
                    assert type(got.get('error')) is ERRORS[wanted['error']['type']], (
                        f'{variables} {kind} {name}: {got}'
                    )
                else:
                    assert got == wanted, f'{variables} {kind} {name}'
                compared += 1
    assert compared or not any(expected['names'].values())


def load(world: StubWorld, path: Path, kind: str, name: str, global_conf: dict[str, str]) -> dict[str, Any]:
    """What the loader makes of one name, in the form of the expectations."""
    uri = f'config:{path}'
    world.imports, world.calls = [], []
    try:
        if kind == 'app':
            node = loadapp(uri, name=name, global_conf=global_conf)
        else:
            node = {'filter': loadfilter, 'server': loadserver}[kind](uri, name=name, global_conf=global_conf)(PROBE)
    except errors.IniError as error:
        return {'error': error}
    got = {'tree': node.tree, 'imports': list(world.imports), 'calls': list(world.calls)}
    if kind == 'app':
        config = appconfig(uri, name=name, global_conf=global_conf)
        got['config'] = {'merged': dict(config), 'local': config.local_conf, 'global': config.global_conf}
    return got


def shown(tree: dict[str, Any]) -> str:
    """A tree in one line: ``filter[key=value](app)``."""
    if tree['kind'] == 'applied':
        return f'{shown(tree["filter"])}({shown(tree["app"])})'
    if tree['kind'] == 'probe':
        return 'probe'
    options = ', '.join(f'{key}={value}' for key, value in tree['local'].items())
    made = f'{tree["factory"]}[{options}]' if options else str(tree['factory'])
    return f'{made}({shown(tree["app"])})' if tree['kind'] == 'filter_app' else made
