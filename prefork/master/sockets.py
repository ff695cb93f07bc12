"""The listeners that the master holds, whichever sites listen on them."""

from __future__ import annotations

import os

from prefork import logs
from prefork.errors import BindError
from prefork.logs import logger
from prefork.master import linux
from prefork.net import listener as listeners
from prefork.net.listener import open_listener
from prefork.settings import Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from prefork.master.activation import Activation
    from prefork.master.site import Site
    from prefork.net.listener import Listener

    ListenerKey = tuple[Address, str, int]


class Sockets:
    """The listeners that the master holds, by what was asked for: a reload keeps those that it asks for again.

    ``activation`` has what the service manager passed, if it did.
    """

    __slots__ = ('_activation', '_given', '_open')

    def __init__(self, activation: Activation | None = None) -> None:
        self._activation = activation
        self._open: dict[ListenerKey, Listener] = {}
        self._given: set[int] = set() if activation is None else set(activation.names)
        """Descriptors that we were given.  They stay open: what a reload drops, another may want again."""

    def open(self, site: Site) -> list[Listener]:
        """Give ``site`` its listeners, and return those that are new.  Raises BindError, having opened none."""
        opened: dict[ListenerKey, Listener] = {}
        wanted = {name: _keys(name, addresses) for name, addresses in self._addresses(site).items()}
        try:
            for name, part in site.parts.items():
                for key in wanted[name]:
                    if key not in self._open:
                        opened[key] = open_listener(key[0], part.settings)
        except BindError:
            _discard(opened.values())
            raise
        self._given.update(key[0].port for key in opened if key[0].scheme == 'fd')
        kept = self._open.keys() & {key for keys in wanted.values() for key in keys}
        self._open.update(opened)
        for name, part in site.parts.items():
            part.listeners = [self._open[key] for key in wanted[name]]
            for key in kept.intersection(wanted[name]):
                self._open[key].adjust(part.settings)
        for listener in site.listeners():
            site.give_away(listener)
        return list(opened.values())

    def _addresses(self, site: Site) -> dict[str, tuple[Address, ...]]:
        servers = site.deployment.servers
        if self._activation is None:
            return {name: settings.bind for name, settings in servers.items()}
        addresses = self._activation.addresses(servers)
        for notice in self._activation.notices(addresses):
            logger.warning('%s', notice)
        return addresses

    def try_out(self, site: Site) -> None:
        """See whether ``site`` could have its listeners.  Raises BindError.

        This process keeps none of them, and what is open elsewhere stays as it was: those that ``site`` gets are
        closed, and only say where clients would come.
        """
        opened: dict[ListenerKey, Listener] = {}
        try:
            for name, addresses in self._addresses(site).items():
                part = site.parts[name]
                for key in _keys(name, addresses):
                    if key not in self._open:
                        opened[key] = open_listener(key[0], part.settings)
                    part.listeners.append(opened[key] if key in opened else self._open[key])
                    part.listeners[-1].tls = bool(part.settings.ssl_cert_file)
        finally:
            _discard(opened.values())
            for listener in self._open.values():
                listener.close()
            self.close_given()

    def bequeath(self) -> dict[str, Any]:
        """For this process after an exec, in the terms of JSON."""
        opened = [
            [address.scheme, address.host, address.port, server, index, listener.bequeath()]
            for (address, server, index), listener in self._open.items()
        ]
        return {'listeners': opened, 'given': sorted(self._given)}

    def inherit(self, legacy: dict[str, Any]) -> list[Listener]:
        """Hold what :meth:`bequeath` told of; the listeners."""
        for scheme, host, port, server, index, each in legacy['listeners']:
            self._open[Address(scheme, host, port), server, index] = listeners.inherit(each)
        self._given.update(legacy['given'])
        return list(self._open.values())

    def close_given(self) -> None:
        """In a fork of the master: the listeners that were made of what we were given are all it needs."""
        for descriptor in self._given:
            os.close(descriptor)
        if self._given:
            logs.claim_standard_descriptors()  # inetd(8) passes a socket as standard input

    def refuse(self) -> None:
        """Let no new connection in, but to what was given to us, which may go on elsewhere."""
        for listener in self._open.values():
            if not listener.adopted:
                linux.refuse_new_connections(listener.socket)

    def keep(self, wanted: set[Listener]) -> None:
        """Close all but the ``wanted`` ones."""
        unwanted = {key: listener for key, listener in self._open.items() if listener not in wanted}
        for key in unwanted:
            del self._open[key]
        _discard(unwanted.values())

    def __iter__(self) -> Iterator[Listener]:
        return iter(list(self._open.values()))


def _keys(server: str, addresses: Iterable[Address]) -> list[ListenerKey]:
    """What makes a listener the same one in two configurations.

    An address is one wherever it stands.  Port 0 is as many as there are of it, each server having its own.
    """
    keys: list[ListenerKey] = []
    for address in addresses:
        if address.scheme == 'tcp' and not address.port:
            keys.append((address, server, sum(key[0] == address for key in keys)))
        else:
            keys.append((address, '', 0))
    return keys


def _discard(listeners: Iterable[Listener]) -> None:
    """Close, and as far as is wise let no new connection in.  Those there are are for workers that have them open too.

    What was given to us may go on elsewhere.  A unix socket that was refused would keep those workers busy, which have
    it open until others have taken over; but nobody finds it any more.
    """
    for listener in listeners:
        if listener.address.scheme == 'tcp' and not listener.adopted:
            linux.refuse_new_connections(listener.socket)
        listener.unlink()
        listener.close()
