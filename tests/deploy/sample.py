"""Factories for the tests, each of them an ordinary one: what they make says what they were given."""

from __future__ import annotations

from typing import Any


class Made:
    """An app, a filter's product or a server; equal when made alike."""

    def __init__(self, what: str, global_conf: dict[str, Any], options: dict[str, Any], *inner: Any) -> None:
        self.what = what
        self.global_conf = global_conf
        self.options = options
        self.inner = inner

    def __str__(self) -> str:
        inner = f'({", ".join(map(str, self.inner))})' if self.inner else ''
        return self.what + inner


def app(global_conf: dict[str, Any], **options: str) -> Made:
    return Made(options.get('name', 'app'), global_conf, options)


def composite(loader: Any, global_conf: dict[str, Any], **options: str) -> Made:
    apps = [loader.get_app(name, global_conf=global_conf) for name in options.values()]
    return Made('composite', global_conf, options, *apps)


def filter_factory(global_conf: dict[str, Any], **options: str) -> Any:
    return lambda inner: Made('filter', global_conf, options, inner)


def filter_app(inner: Any, global_conf: dict[str, Any], **options: str) -> Made:
    return Made('filter_app', global_conf, options, inner)


def server(global_conf: dict[str, Any], **options: str) -> Any:
    return lambda inner: Made('server', global_conf, options, inner)


def server_runner(inner: Any, global_conf: dict[str, Any], **options: str) -> Made:
    return Made('runner', global_conf, options, inner)


def strict(global_conf: dict[str, Any], colour: str, size: str = '1') -> Made:
    return Made('strict', global_conf, {'colour': colour, 'size': size})


class Application:
    """As the toolkit's: the options go to the constructor."""

    def __init__(self, colour: str) -> None:
        self.colour = colour

    @classmethod
    def factory(cls, global_conf: dict[str, Any], **options: str) -> Application:
        return cls(**options)


def failing(global_conf: dict[str, Any], **options: str) -> None:
    raise RuntimeError('the database is down')


def failing_lookup(global_conf: dict[str, Any], **options: str) -> None:
    raise KeyError('database')


keep: list[Any] = []


def lazy(loader: Any, global_conf: dict[str, Any]) -> Made:
    """A composite that loads nothing now, and keeps its loader for later."""
    keep[:] = [loader]
    return Made('lazy', global_conf, {})
