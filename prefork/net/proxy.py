"""What a request says of where it came from before it came to us, and whose word on that is taken.

Forwarded (RFC 7239) and X-Forwarded-For, -Proto and -Host are lists to which each proxy appends.  Whatever stands
left of what the last trusted proxy wrote is the client's own invention.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

TRUSTED = 'prefork.trusted_proxy'
"""The environ key that says whether the request was sent by a trusted proxy; there only where any is trusted."""

UNIX = 'unix'

_FORWARDED = (
    'HTTP_FORWARDED',
    'HTTP_X_FORWARDED_FOR',
    'HTTP_X_FORWARDED_PROTO',
    'HTTP_X_FORWARDED_HOST',
    'HTTP_X_FORWARDED_SCHEME',
    'HTTP_X_FORWARDED_SERVER',
    'HTTP_X_FORWARDED_PORT',
)

# RFC 7239 4: forwarded-pair = token "=" ( token / quoted-string ).
_PAIR = re.compile(r"""\s*([!#$%&'*+\-.^_`|~\w]+)=(?:([!#$%&'*+\-.^_`|~\w]+)|"((?:[^"\\]|\\.)*)")\s*""", re.ASCII)
_HOST = re.compile(r'[\w.\-~%]+(?::\d+)?|\[[0-9A-Fa-f:.]+\](?::\d+)?', re.ASCII)


class Hop:
    """One proxy's word: the address that asked it, and the scheme and host that it was asked for; '' is unsaid."""

    __slots__ = ('client', 'host', 'scheme')

    def __init__(self, client: str, scheme: str, host: str) -> None:
        self.client = client
        self.scheme = scheme
        self.host = host


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

    def apply(self, environ: dict[str, Any]) -> None:
        """Make ``environ`` that of the client, as far as trusted proxies say who that is and what it asked for.

        From anybody else, what they say is removed: no application shall believe what we don't.
        """
        if not environ.get(TRUSTED):
            for key in _FORWARDED:
                environ.pop(key, None)
            return
        hop = self._outermost(_hops(environ))
        if hop is None:
            return
        if hop.client:
            environ['REMOTE_ADDR'] = hop.client
            environ['REMOTE_PORT'] = ''
        if hop.scheme in ('http', 'https'):
            environ['wsgi.url_scheme'] = hop.scheme
        if _HOST.fullmatch(hop.host):
            environ['HTTP_HOST'] = hop.host

    def _outermost(self, hops: list[Hop]) -> Hop | None:
        """The word of the trusted proxy that is nearest to the client."""
        chosen = None
        for hop in reversed(hops):
            chosen = hop
            if not hop.client or not self.trusts(hop.client):
                break
        return chosen


def _hops(environ: dict[str, Any]) -> list[Hop]:
    """What the proxies have said, the nearest to us last.  Of both kinds of field, the standard's counts."""
    forwarded = environ.get('HTTP_FORWARDED')
    if forwarded is not None:
        return _parse_forwarded(forwarded)
    clients, schemes, hosts = (
        [item.strip() for item in environ.get(key, '').split(',') if item.strip()]
        for key in ('HTTP_X_FORWARDED_FOR', 'HTTP_X_FORWARDED_PROTO', 'HTTP_X_FORWARDED_HOST')
    )
    if not clients:
        return [Hop('', _last(schemes).lower(), _last(hosts))] if schemes or hosts else []
    # A list as long as that of the clients was appended to by each; of any other, only our proxy's own word is sure.
    length = len(clients)
    if len(schemes) != length:
        schemes = [_last(schemes)] * length
    if len(hosts) != length:
        hosts = [_last(hosts)] * length
    triples = zip(clients, schemes, hosts, strict=True)
    return [Hop(_address(client), scheme.lower(), host) for client, scheme, host in triples]


def _last(items: list[str]) -> str:
    return items[-1] if items else ''


def _parse_forwarded(text: str) -> list[Hop]:
    """RFC 7239 4; a field that isn't by the grammar says nothing."""
    hops = []
    position = 0
    pairs: dict[str, str] = {}
    while True:
        match = _PAIR.match(text, position)
        if match is None:
            return []
        name = match[1].lower()
        if name in pairs:
            return []  # RFC 7239 4: each parameter once an element
        pairs[name] = match[2] if match[2] is not None else re.sub(r'\\(.)', r'\1', match[3])
        position = match.end()
        separator = text[position : position + 1]
        if separator not in ('', ',', ';'):
            return []
        if separator != ';':
            hops.append(Hop(_address(pairs.get('for', '')), pairs.get('proto', '').lower(), pairs.get('host', '')))
            pairs = {}
        if not separator:
            return hops
        position += 1


def _address(node: str) -> str:
    """RFC 7239 6: the address in a node, without its port; '' for unknown, for a made-up name and for nonsense."""
    from ipaddress import ip_address

    if node.startswith('['):
        node = node[1:].partition(']')[0]
    elif node.count(':') == 1:
        node = node.partition(':')[0]
    try:
        return str(ip_address(node))
    except ValueError:
        return ''
