"""Ini files in PasteDeploy's format, and what they describe: applications, filters, servers.

``loadapp``, ``loadfilter``, ``loadserver`` and ``appconfig`` are PasteDeploy's; ``composition`` shows what was
composed; Loader finds a file and loads from it; ``servers`` and ``server_options`` read [server:NAME] sections
without importing what they name.
"""

from __future__ import annotations

from prefork.deploy.complaints import Complaints
from prefork.deploy.loader import Loader, appconfig, composition, loadapp, loadfilter, loadserver
from prefork.deploy.servers import server_options, servers

__all__ = [
    'Complaints',
    'Loader',
    'appconfig',
    'composition',
    'loadapp',
    'loadfilter',
    'loadserver',
    'server_options',
    'servers',
]
