"""Starts servers whose own command line is missing or lacks what we need: ``python -m benchlib.launch NAME APP``."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

HOST = '127.0.0.1'


def application_of(options: argparse.Namespace) -> Any:
    module, _, name = options.application.partition(':')
    return getattr(import_module(module), name)


def bjoern(options: argparse.Namespace) -> None:
    import_module('bjoern').run(application_of(options), HOST, options.port)


def cheroot(options: argparse.Namespace) -> None:
    server = import_module('cheroot.wsgi').Server(
        (HOST, options.port), application_of(options), numthreads=options.threads, request_queue_size=1024
    )
    server.keep_alive_conn_limit = 1024  # 10 otherwise, and the command line can't say so
    if options.certificate:
        adapter = import_module('cheroot.ssl.builtin').BuiltinSSLAdapter
        server.ssl_adapter = adapter(options.certificate, options.key)
    server.start()


def eventlet(options: argparse.Namespace) -> None:
    library = import_module('eventlet')
    library.monkey_patch()  # first of all, so that the application's sleep lets others run
    application = application_of(options)
    listener = library.listen((HOST, options.port), backlog=1024)
    if options.certificate:
        listener = library.wrap_ssl(listener, certfile=options.certificate, keyfile=options.key, server_side=True)
    serve = import_module('eventlet.wsgi').server
    if options.access_log:
        with open(options.access_log, 'a', encoding='utf-8', buffering=1) as log:
            serve(listener, application, log=log)
    else:
        serve(listener, application, log_output=False)


SERVERS = {'bjoern': bjoern, 'cheroot': cheroot, 'eventlet': eventlet}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('server', choices=SERVERS)
    parser.add_argument('application', metavar='MODULE:NAME')
    parser.add_argument('--port', type=int, required=True)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--certificate', default='')
    parser.add_argument('--key', default='')
    parser.add_argument('--access-log', default='')
    options = parser.parse_args()
    SERVERS[options.server](options)


if __name__ == '__main__':
    main()
