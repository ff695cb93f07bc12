"""Ini files in PasteDeploy's format, and what they describe: applications, filters, servers.

``loadapp``, ``loadfilter``, ``loadserver`` and ``appconfig`` are PasteDeploy's; ``composition`` shows what was
composed; Loader finds a file and loads from it; ``server_names`` and ``server_options`` read [server:NAME] sections
without importing what they name.
"""

from __future__ import annotations

from prefork.deploy.loader import Loader, appconfig, composition, loadapp, loadfilter, loadserver
from prefork.deploy.servers import server_names, server_options

__all__ = [
    'Loader',
    'appconfig',
    'composition',
    'loadapp',
    'loadfilter',
    'loadserver',
    'server_names',
    'server_options',
]
