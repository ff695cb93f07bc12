"""What is counted, in a process of its own: a worker's loop that serves one client until standard input ends.

``python -m countlib.served APPLICATION ACCESS_LOG DESCRIPTOR``, where the descriptor is a connected socket.
"""

from __future__ import annotations

import gc
import os
import socket
import sys

from countlib import apps
from prefork.logs import AccessLog, open_file
from prefork.net.listener import open_listener
from prefork.scoreboard import Scoreboard
from prefork.settings import Address, Settings
from prefork.worker import handoff
from prefork.worker.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(application: str, access_log: str, descriptor: str) -> None:
    # Calls are some 50 times slower here: they'd look stuck to the sentry, and how often it looks would be counted.
    handoff.TICK = 3600.0
    settings = Settings({})
    log = open_file(access_log)
    # The loop wants an address to say where it serves; nobody will connect to it.
    listener = open_listener(Address('tcp', '127.0.0.1', 0), settings)
    loop = Loop(
        _load(application),
        [listener],
        settings,
        row=Scoreboard(1)[0],
        access_log=None if log is None else AccessLog(log, settings.access_log_format),
    )
    loop.acceptor.hold()
    loop.watch(sys.stdin, loop.stop)
    loop.acceptor.serve(socket.socket(fileno=int(descriptor)))
    gc.collect()
    gc.freeze()  # as in a mold, whose workers collect what their requests leave and nothing else
    loop.run()


def _load(application: str) -> Any:
    if not application.startswith('config:'):
        return getattr(apps, application)
    from prefork.deploy import loadapp

    return loadapp(application, relative_to=os.getcwd())


if __name__ == '__main__':
    main(*sys.argv[1:])
