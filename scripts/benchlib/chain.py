"""What chain.ini is made of: small filters and a controller as services have them, without the classes below them.

The same code runs on prefork.toolkit and on plain WebOb and Routes: the variable ``classes`` of the ini file names the
module that has the base classes.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

from webob.exc import HTTPRequestEntityTooLarge

RESOURCES = ('authors', 'publishers', 'books')
ACTIONS = (
    ('GET', '', 'index'),
    ('POST', '', 'create'),
    ('GET', '/new', 'new'),
    ('GET', '/{id}', 'show'),
    ('PUT', '/{id}', 'update'),
    ('DELETE', '/{id}', 'delete'),
    ('GET', '/{id}/edit', 'edit'),
)
"""Each resource has these: 21 routes."""

CONTEXT = 'benchlib.context'


class Limit:
    """Refuses large bodies."""

    def __init__(self, application: Any, most: str) -> None:
        self.application = application
        self.most = int(most)

    def process_request(self, req: Any) -> Any:
        if (req.content_length or 0) > self.most:
            return HTTPRequestEntityTooLarge()
        return None


class Context:
    """Tells the application who asks."""

    def process_request(self, req: Any) -> None:
        req.environ[CONTEXT] = {'user': req.headers.get('X-User', 'anonymous'), 'address': req.remote_addr}


class Version:
    """Tells the client which version of the API answered."""

    def __init__(self, application: Any, latest: str) -> None:
        self.application = application
        self.latest = latest

    def process_response(self, response: Any) -> Any:
        response.headers['X-API-Version'] = self.latest
        return response


class Resource:
    """Says what was asked of it, and by whom."""

    def __init__(self, name: str, response_class: Any) -> None:
        self.name = name
        self.response_class = response_class

    def answer(self, req: Any) -> Any:
        variables = req.environ['wsgiorg.routing_args'][1]
        text = f'{variables["action"]} {self.name} {variables.get("id", "-")} for {req.environ[CONTEXT]["user"]}\n'
        return self.response_class(text, content_type='text/plain')


def _classes(global_config: dict[str, str]) -> Any:
    return import_module(global_config.get('classes', 'prefork.toolkit'))


def _filter(behaviour: type, global_config: dict[str, str], **options: str) -> Any:
    middleware = type(behaviour.__name__, (behaviour, _classes(global_config).Middleware), {})
    return middleware.factory(global_config, **options)  # type: ignore[attr-defined]


limit = functools.partial(_filter, Limit)
context = functools.partial(_filter, Context)
version = functools.partial(_filter, Version)


def library(global_config: dict[str, str]) -> Any:
    classes = _classes(global_config)
    controller = type('Controller', (Resource, classes.Application), {'__call__': classes.wsgify(Resource.answer)})
    mapper = classes.Mapper()
    for name in RESOURCES:
        resource = controller(name, classes.Response)
        for method, path, action in ACTIONS:
            conditions = {'method': [method]}
            mapper.connect(None, f'/v2/{name}{path}', controller=resource, action=action, conditions=conditions)
    return classes.Router(mapper)
