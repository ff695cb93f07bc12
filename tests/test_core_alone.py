"""The server needs the standard library alone: an ini is served where webob, routes and psutil can't be imported."""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import TYPE_CHECKING

from tests import serving

if TYPE_CHECKING:
    from pathlib import Path

# A module that is None in sys.modules raises ModuleNotFoundError when it is imported, in forked children too.
WITHOUT = """
import importlib.metadata
import sys

find = importlib.metadata.distribution


def distribution(name):
    if name.lower() == 'paste':
        raise importlib.metadata.PackageNotFoundError(name)
    return find(name)


importlib.metadata.distribution = distribution
sys.modules.update(dict.fromkeys(['webob', 'routes', 'psutil', 'paste', 'pkg_resources']))
from prefork.cli import main
sys.exit(main())
"""

INI = """
[server:main]
use = egg:prefork
bind = 127.0.0.1:0
workers = 1

[pipeline:main]
pipeline = shout map

[filter:shout]
paste.filter_factory = plain:shout_factory

[composite:map]
use = egg:Paste#urlmap
/importable = importable

[app:importable]
paste.app_factory = plain:importable_factory
"""

APP = """
import importlib
import json
import sys


def importable_factory(global_conf):
    def importable(environ, start_response):
        found = {}
        for name in ('webob', 'routes', 'psutil', 'json'):
            try:
                importlib.import_module(name)
                found[name] = True
            except ImportError:
                found[name] = False
        start_response('200 OK', [('Content-Type', 'application/json')])
        return [json.dumps(found).encode()]

    return importable


def shout_factory(global_conf):
    return lambda app: lambda environ, start_response: [part.upper() for part in app(environ, start_response)]
"""


def test_the_main_job_needs_no_other_distribution(tmp_path: Path) -> None:
    (tmp_path / 'app.ini').write_text(INI)
    (tmp_path / 'plain.py').write_text(APP)
    command = (sys.executable, '-c', WITHOUT)
    with (
        serving.serve('app.ini', cwd=tmp_path, command=command) as server,
        urllib.request.urlopen(f'{server.url}/importable', timeout=10) as response,
    ):
        found = json.loads(response.read().lower())
    assert found == {'webob': False, 'routes': False, 'psutil': False, 'json': True}
