"""What peers run in the case `chain`: chain.ini on plain WebOb and Routes, loaded by PasteDeploy."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

INI = Path(__file__).with_name('chain.ini')

application = import_module('paste.deploy').loadapp(f'config:{INI}', global_conf={'classes': 'benchlib.plain'})
