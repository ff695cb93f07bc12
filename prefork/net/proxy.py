"""What a request says of where it came from before it came to us, and whose word on that is taken.

Forwarded (RFC 7239) and X-Forwarded-For, -Proto, -Host and -Port are lists to which each proxy appends.  Whatever
stands left of what the last trusted proxy wrote is the client's own invention.
"""

from __future__ import annotations

import re

from prefork.errors import ProtocolError
from prefork.net.origin import TRUSTED, set_scheme

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv6Address
    from typing import Any

UNIX = 'unix'

NO_PORT = '0'
"""REMOTE_PORT where a proxy names a client without its port; a peer on a unix socket has that one, too."""

_DEFAULT_PORTS = {'http': '80', 'https': '443'}

# RFC 7239 4: forwarded-pair = token "=" ( token / quoted-string ), and none at all is fine between two semicolons.
# Addresses are often written without the quotes that their colons and brackets would need: nothing else has those.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = re.compile(
    rf"""[ \t]*(?:({_TOKEN})=(?:([!#$%&'*+\-.^_`|~0-9A-Za-z:\[\]]+)|"((?:[^"\\]|\\.)*)"))?[ \t]*""", re.DOTALL
)
# RFC 7239 6: node = nodename [ ":" node-port ].  Of an address the characters are checked here, the rest by ipaddress,
# which would also take a zone with anything in it.
_NODE = re.compile(r'(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:([0-9]{1,5})|_[0-9A-Za-z._\-]+))?|([0-9A-Fa-f:.]+)')
_HOST = re.compile(r'([\w.\-~%]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]+))?', re.ASCII)
_PORT = re.compile(r'[1-9][0-9]{0,4}')
# RFC 3986 3.3: segments of pchar, none of them empty: a path that begins with two slashes would name a host where an
# application puts it into a Location.
_PREFIX = re.compile(r"((?:/(?:[!$&'()*+\-.0-9:;=@A-Z_a-z~\x80-\xff]|%[0-9A-Fa-f]{2})+)*)/?")
_PERCENT_ENCODED = re.compile('%([0-9A-Fa-f]{2})')
_STRANGE = re.compile(r'[\0-\x1f\\\x7f]|//|/\.\.?(?:/|\Z)')  # what no encoding may bring into a prefix, either


class Hop:
    """One proxy's word: the client that asked it, and the scheme, host and port that it was asked for.

    What it doesn't say is ''; ``client`` is also '' where it says that it doesn't know, or something that is no
    address, and ``named`` tells the two apart.
    """

    __slots__ = ('client', 'client_port', 'host', 'named', 'port', 'scheme')

    def __init__(self, node: str | None, scheme: str, host: str, port: str = '') -> None:
        self.named = node is not None
        self.client, self.client_port = ('', NO_PORT) if node is None else _parse_node(node)
        self.scheme = scheme.lower()
        self.host = host
        self.port = port


class TrustedProxies:
    """The proxies that are believed: ``networks`` in CIDR notation, or ``unix`` for whoever comes by a unix socket."""

    __slots__ = ('_networks', '_unix')

    def __init__(self, networks: Iterable[str]) -> None:
        from ipaddress import ip_network  # not without proxies

        words = set(networks)
        self._unix = UNIX in words
        self._networks = [ip_network(word) for word in sorted(words - {UNIX})]

    def trusts(self, address: str) -> bool:
        """Whether ``address`` is a trusted proxy's; '' is the peer on a unix socket."""
        if not address:
            return self._unix
        from ipaddress import ip_address

        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, 'ipv4_mapped', None)  # ::ffff:192.0.2.1, on a listener for both families
        return any((mapped or parsed) in network for network in self._networks)

    def apply(self, environ: dict[str, Any], scheme: str = '') -> None:
        """Make ``environ`` that of the client, as far as trusted proxies say who that is and what it asked for.

        ``scheme`` is what is known of that by other means.  From anybody else, what they say is removed: no application
        shall believe what we don't.  Raises ProtocolError where two fields contradict each other: one of them is the
        client's own, which a proxy let pass that sets the other.
        """
        if not environ.get(TRUSTED):
            for key in [key for key in environ if key.startswith('HTTP_X_FORWARDED')]:
                del environ[key]
            environ.pop('HTTP_FORWARDED', None)
            return
        hop = _agreed(
            self._outermost(_parse_forwarded(environ.get('HTTP_FORWARDED', ''))),
            self._outermost(_parse_x_forwarded(environ)),
        )
        if hop.client:
            environ['REMOTE_ADDR'] = hop.client
            environ['REMOTE_PORT'] = hop.client_port
        scheme = scheme or hop.scheme
        if scheme in _DEFAULT_PORTS:
            set_scheme(environ, scheme)
        if _HOST.fullmatch(hop.host):
            environ['HTTP_HOST'] = hop.host
        if _PORT.fullmatch(hop.port) and int(hop.port) < 65536:
            _set_port(environ, hop.port)
        if prefix := _prefix(_last(_items(environ, 'HTTP_X_FORWARDED_PREFIX'))):
            environ['SCRIPT_NAME'] = prefix

    def _outermost(self, hops: list[Hop]) -> Hop:
        """The word of the trusted proxy that is nearest to the client, of whom it may not know the address."""
        found = Hop(None, '', '')
        for hop in reversed(hops):
            if not hop.client and found.client:  # all that is known is the proxy that doesn't know more
                hop.named, hop.client, hop.client_port = True, found.client, found.client_port
                return hop
            found = hop
            if not hop.client or not self.trusts(hop.client):
                break
        return found


def text_of(address: IPv4Address | IPv6Address) -> str:
    """An address as applications and logs shall see it: IPv4 inside IPv6 is IPv4."""
    return str(getattr(address, 'ipv4_mapped', None) or address)


def _set_port(environ: dict[str, Any], port: str) -> None:
    """PEP 3333, "URL Reconstruction": Host is what URLs are made of, with a port unless it is the scheme's own."""
    environ['SERVER_PORT'] = port
    host = _HOST.fullmatch(environ.get('HTTP_HOST', ''))
    if host is not None:
        default = port == _DEFAULT_PORTS[environ['wsgi.url_scheme']]
        environ['HTTP_HOST'] = host[1] if default else f'{host[1]}:{port}'


def _prefix(text: str) -> str:
    """SCRIPT_NAME for what a proxy took off the path, percent-decoded as PEP 3333 has it; '' for what is no path."""
    match = _PREFIX.fullmatch(text)
    prefix = _PERCENT_ENCODED.sub(lambda octet: chr(int(octet[1], 16)), match[1]) if match else ''
    return '' if _STRANGE.search(prefix) else prefix


# --- the fields -------------------------------------------------------------------------------------------------


def _agreed(standard: Hop, custom: Hop) -> Hop:
    """What Forwarded and X-Forwarded-* say together.  Raises ProtocolError where they contradict each other."""
    if standard.named and custom.named and standard.client != custom.client:
        raise ProtocolError('Forwarded and X-Forwarded-For contradict each other')
    if standard.scheme and custom.scheme and standard.scheme != custom.scheme:
        raise ProtocolError('Forwarded and X-Forwarded-Proto contradict each other')
    if standard.host and custom.host and _name(standard.host) != _name(custom.host):
        raise ProtocolError('Forwarded and X-Forwarded-Host contradict each other')
    agreed = standard if standard.named else custom
    agreed.scheme = standard.scheme or custom.scheme
    agreed.host = standard.host or custom.host
    agreed.port = custom.port
    return agreed


def _name(host: str) -> str:
    """A host without its port, which one proxy may put here and another into a field of its own."""
    match = _HOST.fullmatch(host)
    return match[1].lower() if match else host


def _parse_x_forwarded(environ: dict[str, Any]) -> list[Hop]:
    """What the proxies have said, the nearest to us last."""
    clients = _items(environ, 'HTTP_X_FORWARDED_FOR')
    others = [_items(environ, f'HTTP_X_FORWARDED_{name}') for name in ('PROTO', 'HOST', 'PORT')]
    if not clients:
        return [Hop(None, *map(_last, others))]
    # A list as long as that of the clients was appended to by each; of any other, only our proxy's own word is sure.
    length = len(clients)
    aligned = [items if len(items) == length else [_last(items)] * length for items in others]
    return [Hop(*words) for words in zip(clients, *aligned, strict=True)]


def _items(environ: dict[str, Any], key: str) -> list[str]:
    """RFC 9110 5.6.1: the elements of a list, without the empty ones."""
    return [item for part in environ.get(key, '').split(',') if (item := part.strip(' \t'))]


def _last(items: list[str]) -> str:
    return items[-1] if items else ''


def _parse_forwarded(text: str) -> list[Hop]:
    """RFC 7239 4.  Raises ProtocolError: with one quote that nobody closes, a client could hide the proxy's word."""
    hops = []
    pairs: dict[str, str] = {}
    position = 0
    while True:
        match = _PAIR.match(text, position)
        assert match is not None  # it may be empty
        name, plain, quoted = match.groups()
        position = match.end()
        separator = text[position : position + 1]
        if separator not in ('', ',', ';') or (name and name.lower() in pairs):  # each parameter once an element
            raise ProtocolError('the Forwarded field is malformed')
        if name:
            pairs[name.lower()] = plain if plain is not None else re.sub(r'\\(.)', r'\1', quoted, flags=re.DOTALL)
        if separator != ';':
            if pairs:
                hops.append(Hop(pairs.get('for'), pairs.get('proto', ''), pairs.get('host', '')))
            pairs = {}
        if not separator:
            return hops
        position += 1


def _parse_node(node: str) -> tuple[str, str]:
    """RFC 7239 6: the address and port in a node; '' and NO_PORT for unknown, for a made-up name and for nonsense."""
    from ipaddress import ip_address

    match = _NODE.fullmatch(node)
    if match is None:
        return '', NO_PORT
    bracketed, ipv4, port, bare = match.groups()
    try:
        address = text_of(ip_address(bracketed or ipv4 or bare))
    except ValueError:
        return '', NO_PORT
    return address, port if port and int(port) < 65536 else NO_PORT
