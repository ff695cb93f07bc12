"""The sockets that the service manager opened for us (sd_listen_fds(3)), and which server listens on which of them."""

from __future__ import annotations

import os

from prefork.errors import BindError, ConfigError
from prefork.settings import Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefork.settings import Settings

FIRST = 3
"""SD_LISTEN_FDS_START: the number of the first descriptor; the others follow."""

UNNAMED = 'unknown'
"""What a socket is called to which the manager gave no name."""


class Activation:
    """``names`` has the name of each descriptor that was passed to this process; several may have the same.

    ``complaint`` says why there are none although the environment speaks of some.
    """

    __slots__ = ('complaint', 'names')

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        self.names: dict[int, str] = {}
        self.complaint = ''
        owner, count = environ.get('LISTEN_PID', ''), environ.get('LISTEN_FDS', '')
        if not all(text.isascii() and text.isdigit() for text in (owner, count)):
            self.complaint = f'LISTEN_PID={owner} and LISTEN_FDS={count} make no sense'
        elif int(owner) != pid:
            # As after a wrapper that starts this program instead of becoming it.
            self.complaint = f'LISTEN_PID says that they are for process {owner}, and this one is {pid}'
        else:
            names = environ.get('LISTEN_FDNAMES', '').split(':')
            names += [''] * int(count)
            self.names = {FIRST + index: names[index] or UNNAMED for index in range(int(count))}

    def hold(self) -> None:
        """Forget what isn't open, and keep the rest from the programs that the application runs."""
        for descriptor in list(self.names):
            try:
                os.set_inheritable(descriptor, False)
            except OSError:
                self.complaint = f'LISTEN_FDS speaks of descriptor {descriptor}, which is not open'
                del self.names[descriptor]

    def addresses(self, servers: Mapping[str, Settings]) -> dict[str, tuple[Address, ...]]:
        """Where each server listens.  Names have become numbers, and who has no ``bind`` has what nobody else names.

        Raises BindError for a name that no socket has, and ConfigError for a socket that would be served twice.
        """
        found = {name: self._numbered(each.bind) for name, each in servers.items() if 'bind' in each.given}
        taken = [address.port for addresses in found.values() for address in addresses if address.scheme == 'fd']
        for number in taken:
            if taken.count(number) > 1:
                raise ConfigError(f'bind: fd:{number} ({self.names.get(number, UNNAMED)}) is there twice')
        rest = tuple(Address('fd', '', number) for number in self.names if number not in taken)
        return {name: found.get(name) or rest or each.bind for name, each in servers.items()}

    def notices(self, listening: Mapping[str, tuple[Address, ...]]) -> list[str]:
        """What the operator should know where each server listens like that."""
        taken = {address.port for addresses in listening.values() for address in addresses if address.scheme == 'fd'}
        left = [f'fd:{number} ({name})' for number, name in self.names.items() if number not in taken]
        told = [f'no server has a bind for what was passed as {", ".join(left)}'] if left else []
        return told + ([f'sockets were passed that cannot be used: {self.complaint}'] if self.complaint else [])

    def _numbered(self, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        numbered: list[Address] = []
        for address in addresses:
            if address.scheme == 'fd' and address.host:
                numbered += self._named(address)
            else:
                numbered.append(address)
        return tuple(numbered)

    def _named(self, address: Address) -> list[Address]:
        found = [Address('fd', '', number) for number, name in self.names.items() if name == address.host]
        if found:
            return found
        there = f'there are {", ".join(sorted(set(self.names.values())))}' if self.names else self.complaint
        raise BindError(f'cannot listen on {address}: no socket of that name was passed; {there or "there are none"}')
