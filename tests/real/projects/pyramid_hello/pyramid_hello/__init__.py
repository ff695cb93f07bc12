"""A Pyramid application, made by the [app:main] of development.ini beside this package."""

from __future__ import annotations

import os
from typing import Any

from pyramid.config import Configurator
from pyramid.response import FileResponse, Response


def main(global_config: dict[str, str], **settings: str) -> Any:
    with Configurator(settings=settings) as config:
        for name, pattern, view in (
            ('home', '/', hello),
            ('echo', '/echo', echo),
            ('lines', '/lines', lines),
            ('file', '/file', file),
        ):
            config.add_route(name, pattern)
            config.add_view(view, route_name=name)
        return config.make_wsgi_app()


def hello(request: Any) -> Any:
    greeting = request.registry.settings['pyramid_hello.greeting']
    return Response(f'{greeting}, {request.params.get("name", "world")}, from Pyramid')


def echo(request: Any) -> Any:
    return Response(request.body, content_type=request.content_type)


def lines(request: Any) -> Any:
    return Response(app_iter=(f'line {number}\n'.encode() for number in range(10_000)), content_type='text/plain')


def file(request: Any) -> Any:
    return FileResponse(os.environ['DATA_FILE'], request, content_type='application/octet-stream')
