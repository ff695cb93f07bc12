"""Forwarded and X-Forwarded-*: whose word is taken, and which of their words."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.errors import ProtocolError
from prefork.net.origin import TRUSTED
from prefork.net.proxy import TrustedProxies

PROXY, INNER = '10.0.0.1', 'inner'
ENVIRON = {
    'REMOTE_ADDR': PROXY,
    'REMOTE_PORT': '999',
    'SERVER_NAME': '127.0.0.1',
    'SERVER_PORT': '8080',
    'SCRIPT_NAME': '',
    'PATH_INFO': '/a/b',
    'wsgi.url_scheme': 'http',
    'HTTP_HOST': INNER,
}
NETWORKS = '10.0.0.0/8', '2001:db8::/32'

FOR, PROTO, HOST, PORT, PREFIX, FORWARDED = (
    'HTTP_X_FORWARDED_FOR',
    'HTTP_X_FORWARDED_PROTO',
    'HTTP_X_FORWARDED_HOST',
    'HTTP_X_FORWARDED_PORT',
    'HTTP_X_FORWARDED_PREFIX',
    'HTTP_FORWARDED',
)


def through(fields: dict[str, str], changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The environ of a request with ``fields`` that a trusted proxy has sent."""
    environ: dict[str, Any] = {**ENVIRON, TRUSTED: True, **(changes or {}), **fields}
    TrustedProxies(NETWORKS).apply(environ)
    return environ


# --- the client ---------------------------------------------------------------------------------------------------

# fields → REMOTE_ADDR
CLIENTS: dict[str, tuple[dict[str, str], str]] = {
    'nothing said': ({}, PROXY),
    'the client': ({FOR: '192.0.2.7'}, '192.0.2.7'),
    'what the client made up is left of it': ({FOR: '1.1.1.1, 192.0.2.7'}, '192.0.2.7'),
    'a trusted address that the client made up': ({FOR: '10.1.1.1, 192.0.2.7'}, '192.0.2.7'),
    'through a second proxy of ours': ({FOR: '192.0.2.7, 10.9.9.9'}, '192.0.2.7'),
    'through a second and a third, and what the client made up': (
        {FOR: '1.1.1.1, 192.0.2.7, 10.8.8.8, 10.9.9.9'},
        '192.0.2.7',
    ),
    'through a proxy of somebody else': ({FOR: '192.0.2.7, 198.51.100.1, 10.9.9.9'}, '198.51.100.1'),
    'nobody but proxies': ({FOR: '10.2.2.2, 10.9.9.9'}, '10.2.2.2'),
    'empty elements': ({FOR: ' , 192.0.2.7,, ,10.9.9.9 ,'}, '192.0.2.7'),
    'nothing but empty elements': ({FOR: ', ,'}, PROXY),
    'with a port': ({FOR: '192.0.2.7:1234'}, '192.0.2.7'),
    'IPv6': ({FOR: '2001:db9::7'}, '2001:db9::7'),
    'IPv6 in brackets': ({FOR: '[2001:db9::7]'}, '2001:db9::7'),
    'IPv6 with a port': ({FOR: '[2001:db9::7]:1234'}, '2001:db9::7'),
    'IPv6 in its shortest form': ({FOR: '2001:DB9:0:0::7'}, '2001:db9::7'),
    'IPv4 in IPv6': ({FOR: '::ffff:192.0.2.7'}, '192.0.2.7'),
    'a proxy that is IPv4 in IPv6': ({FOR: '192.0.2.7, ::ffff:10.9.9.9'}, '192.0.2.7'),
    'an IPv6 proxy': ({FOR: '192.0.2.7, 2001:db8::1'}, '192.0.2.7'),
    'an IPv6 proxy with a port': ({FOR: '192.0.2.7, [2001:db8::1]:443'}, '192.0.2.7'),
    # the proxy's own address stands where it doesn't know the client's
    'nonsense for an address': ({FOR: '192.0.2.7, <script>'}, PROXY),
    'unknown': ({FOR: '192.0.2.7, unknown'}, PROXY),
    'unknown, and known to be behind a second proxy': ({FOR: 'unknown, 10.9.9.9'}, '10.9.9.9'),
    'a made-up name behind a second proxy': ({FOR: '192.0.2.7, _hidden, 10.9.9.9'}, '10.9.9.9'),
    'a zone with anything in it': ({FOR: 'fe80::1%"<script>'}, PROXY),
    'a bracket that is not closed': ({FOR: '[2001:db9::7'}, PROXY),
    'a port that is none': ({FOR: '192.0.2.7:http'}, PROXY),
    'leading zeros': ({FOR: '192.0.02.7'}, PROXY),
    'a number for an address': ({FOR: '3221225991'}, PROXY),
    # RFC 7239
    'Forwarded': ({FORWARDED: 'for=192.0.2.7'}, '192.0.2.7'),
    'Forwarded, quoted and with a port': ({FORWARDED: 'For="[2001:db9::7]:1234" , for=10.9.9.9'}, '2001:db9::7'),
    'Forwarded, without the quotes it needs': ({FORWARDED: 'for=[2001:db9::7]:1234'}, '2001:db9::7'),
    'Forwarded, right to left': ({FORWARDED: 'for=1.1.1.1, for=192.0.2.7, for=10.9.9.9'}, '192.0.2.7'),
    'Forwarded by nobody known': ({FORWARDED: 'for=1.1.1.1, for=unknown;proto=https'}, PROXY),
    'Forwarded, a client without a name': ({FORWARDED: 'for=1.1.1.1, proto=https'}, PROXY),
    'Forwarded, behind a second proxy without a name': ({FORWARDED: 'proto=https, for=10.9.9.9'}, '10.9.9.9'),
    'Forwarded with a made-up name': ({FORWARDED: 'for=_gazonk'}, PROXY),
    'Forwarded with a made-up port': ({FORWARDED: 'for="192.0.2.7:_p"'}, '192.0.2.7'),
    'Forwarded with a made-up name and port': ({FORWARDED: 'for="_gazonk:_p"'}, PROXY),
    'Forwarded, an escape': ({FORWARDED: r'for="192.0.2\.7"'}, '192.0.2.7'),
    'Forwarded, a comma in quotes': ({FORWARDED: 'for=192.0.2.7;ext=",for=1.1.1.1"'}, '192.0.2.7'),
    'Forwarded, empty': ({FORWARDED: ''}, PROXY),
    'Forwarded, empty elements and pairs': ({FORWARDED: ',;for=192.0.2.7;;proto=http ,'}, '192.0.2.7'),
    'Forwarded, in capitals': ({FORWARDED: 'FOR=192.0.2.7;BY=10.0.0.1'}, '192.0.2.7'),
    # both kinds
    'both say the same': ({FORWARDED: 'for=192.0.2.7', FOR: '192.0.2.7'}, '192.0.2.7'),
    'both say the same in other words': (
        {FORWARDED: 'for="[2001:db9::7]:1", for=10.9.9.9', FOR: '1.1.1.1, 2001:db9:0::7'},
        '2001:db9::7',
    ),
    'Forwarded names nobody': ({FORWARDED: 'proto=https', FOR: '192.0.2.7'}, '192.0.2.7'),
    'X-Forwarded-For is empty': ({FORWARDED: 'for=192.0.2.7', FOR: ' , '}, '192.0.2.7'),
}


@pytest.mark.parametrize(('fields', 'address'), CLIENTS.values(), ids=CLIENTS)
def test_the_client(fields: dict[str, str], address: str) -> None:
    environ = through(fields)
    assert environ['REMOTE_ADDR'] == address
    assert fields.items() <= environ.items()  # an application may want to see what was said


PORTS = {
    'nothing said': ({}, '999'),
    'none': ({FOR: '192.0.2.7'}, '0'),
    'of IPv4': ({FOR: '192.0.2.7:1234'}, '1234'),
    'of IPv6': ({FOR: '[2001:db9::7]:1234'}, '1234'),
    'in Forwarded': ({FORWARDED: 'for="192.0.2.7:1234"'}, '1234'),
    'made up': ({FORWARDED: 'for="192.0.2.7:_x"'}, '0'),
    'too large': ({FOR: '192.0.2.7:65536'}, '0'),
    'of the client alone': ({FOR: '192.0.2.7, 10.9.9.9:1234'}, '0'),
}


@pytest.mark.parametrize(('fields', 'port'), PORTS.values(), ids=PORTS)
def test_the_port_of_the_client(fields: dict[str, str], port: str) -> None:
    assert through(fields)['REMOTE_PORT'] == port


# every chain of up to four: a made-up address, other people's proxies, ours, and such as can't be read
LINKS = '192.0.2.1', '2001:db9::1', '10.0.0.2', '2001:db8::2', 'unknown'


@pytest.mark.parametrize('style', ['X-Forwarded-For', 'Forwarded'])
def test_the_right_most_that_is_not_trusted_wins(style: str) -> None:
    proxies = TrustedProxies(NETWORKS)
    for length in range(1, 5):
        for chain in itertools.product(LINKS, repeat=length):
            expected = PROXY
            for link in reversed(chain):
                if link == 'unknown':
                    break
                expected = link
                if not proxies.trusts(link):
                    break
            if style == 'Forwarded':
                fields = {FORWARDED: ', '.join(f'for="[{link}]"' if ':' in link else f'for={link}' for link in chain)}
            else:
                fields = {FOR: ', '.join(chain)}
            assert through(fields)['REMOTE_ADDR'] == expected, chain


# --- what it asked for --------------------------------------------------------------------------------------------

# fields → scheme and Host
REQUESTS: dict[str, tuple[dict[str, str], tuple[str, str]]] = {
    'scheme and host': ({FOR: '192.0.2.7', PROTO: 'HTTPS', HOST: 'a.example:8443'}, ('https', 'a.example:8443')),
    'scheme alone': ({PROTO: 'https'}, ('https', INNER)),
    'a scheme that is none': ({PROTO: 'ftp'}, ('http', INNER)),
    'a host that is none': ({HOST: 'a/../b'}, ('http', INNER)),
    'a host with a port that is none': ({HOST: 'a.example:http'}, ('http', INNER)),
    'lists go together': (
        {FOR: '192.0.2.7, 10.9.9.9', PROTO: 'https, http', HOST: 'outer, middle'},
        ('https', 'outer'),
    ),
    'what the client made up is left of it in each': (
        {FOR: '1.1.1.1, 192.0.2.7', PROTO: 'https, http', HOST: 'made.up, outer'},
        ('http', 'outer'),
    ),
    'a list of another length: the last word': (
        {FOR: '192.0.2.7', PROTO: 'https, http', HOST: 'made.up, outer'},
        ('http', 'outer'),
    ),
    'Forwarded': ({FORWARDED: 'for=192.0.2.7;proto=https;host=a.example'}, ('https', 'a.example')),
    'Forwarded, a host in quotes': ({FORWARDED: 'host="a.example:8443"'}, ('http', 'a.example:8443')),
    'Forwarded, of the proxy nearest to the client': (
        {FORWARDED: 'for=192.0.2.7;proto=https;host=outer, for=10.9.9.9;proto=http;host=middle'},
        ('https', 'outer'),
    ),
    'Forwarded, of the last that is trusted': (
        {FORWARDED: 'for=1.1.1.1;proto=https;host=made.up, for=192.0.2.7;proto=http;host=outer'},
        ('http', 'outer'),
    ),
    'both, each what the other does not say': (
        {FORWARDED: 'for=192.0.2.7;proto=https', FOR: '192.0.2.7', HOST: 'a.example'},
        ('https', 'a.example'),
    ),
    'both say the same': (
        {FORWARDED: 'proto=HTTPS;host="a.example:8443"', PROTO: 'https', HOST: 'A.example', PORT: '8443'},
        ('https', 'a.example:8443'),
    ),
}


@pytest.mark.parametrize(('fields', 'expected'), REQUESTS.values(), ids=REQUESTS)
def test_scheme_and_host(fields: dict[str, str], expected: tuple[str, str]) -> None:
    environ = through(fields)
    assert (environ['wsgi.url_scheme'], environ['HTTP_HOST']) == expected


@pytest.mark.parametrize('listener', ['http', 'https'])
@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_https_follows_the_scheme(listener: str, scheme: str) -> None:
    environ = through(
        {PROTO: scheme}, {'wsgi.url_scheme': listener, **({'HTTPS': 'on'} if listener == 'https' else {})}
    )
    assert (environ['wsgi.url_scheme'], environ.get('HTTPS')) == (scheme, 'on' if scheme == 'https' else None)


def test_a_scheme_that_is_known_already_wins() -> None:
    environ: dict[str, Any] = {**ENVIRON, TRUSTED: True, PROTO: 'http', PORT: '443'}
    TrustedProxies(NETWORKS).apply(environ, 'https')
    assert (environ['wsgi.url_scheme'], environ['HTTPS'], environ['HTTP_HOST']) == ('https', 'on', INNER)


# X-Forwarded-Port beside other fields → SERVER_PORT and Host
SERVER_PORTS: dict[str, tuple[dict[str, str], tuple[str, str | None]]] = {
    'one of its own': ({PORT: '8443'}, ('8443', 'inner:8443')),
    'the default one': ({PORT: '80'}, ('80', 'inner')),
    'the default one of https': ({PORT: '443', PROTO: 'https'}, ('443', 'inner')),
    'that of the other scheme': ({PORT: '443'}, ('443', 'inner:443')),
    'with a host': ({PORT: '8443', HOST: 'a.example'}, ('8443', 'a.example:8443')),
    'with a host that has another': ({PORT: '8443', HOST: 'a.example:1'}, ('8443', 'a.example:8443')),
    'with an IPv6 host': ({PORT: '8443', HOST: '[2001:db9::1]:1'}, ('8443', '[2001:db9::1]:8443')),
    'Host has another': ({PORT: '80', 'HTTP_HOST': 'inner:8080'}, ('80', 'inner')),
    'Host is something else': ({PORT: '81', 'HTTP_HOST': "o'hara"}, ('81', "o'hara")),
    'of the proxy nearest to the client': (
        {PORT: '8443, 80', FOR: '192.0.2.7, 10.9.9.9'},
        ('8443', 'inner:8443'),
    ),
    'of the last that is trusted': ({PORT: '8443, 81', FOR: '1.1.1.1, 192.0.2.7'}, ('81', 'inner:81')),
    'a list of another length: the last word': ({PORT: '8443, 81', FOR: '192.0.2.7'}, ('81', 'inner:81')),
    'beside Forwarded': ({PORT: '8443', FORWARDED: 'host=a.example'}, ('8443', 'a.example:8443')),
    'no number': ({PORT: 'http'}, ('8080', 'inner')),
    'zero': ({PORT: '0'}, ('8080', 'inner')),
    'with a sign': ({PORT: '+81'}, ('8080', 'inner')),
    'with a zero in front': ({PORT: '081'}, ('8080', 'inner')),
    'too large': ({PORT: '65536'}, ('8080', 'inner')),
    'in other digits': ({PORT: '\xb2'}, ('8080', 'inner')),
}


@pytest.mark.parametrize(('fields', 'expected'), SERVER_PORTS.values(), ids=SERVER_PORTS)
def test_the_port_of_the_server(fields: dict[str, str], expected: tuple[str, str | None]) -> None:
    environ = through(fields)
    assert (environ['SERVER_PORT'], environ.get('HTTP_HOST')) == expected


def test_a_port_without_a_host() -> None:
    environ: dict[str, Any] = {**ENVIRON, TRUSTED: True, PORT: '8443'}
    del environ['HTTP_HOST']  # HTTP/1.0
    TrustedProxies(NETWORKS).apply(environ)
    assert environ['SERVER_PORT'] == '8443'
    assert 'HTTP_HOST' not in environ


# X-Forwarded-Prefix → SCRIPT_NAME
PREFIXES = {
    '/app': '/app',
    '/app/': '/app',
    '/a/b.c/~d': '/a/b.c/~d',
    '/': '',
    '': '',
    '/made/up, /app': '/app',
    '/app, ': '/app',
    '/caf%C3%A9%20': '/caf\xc3\xa9 ',
    '/caf\xc3\xa9': '/caf\xc3\xa9',
    # no path, or one that would become something else in a URL
    'app': '',
    'http://evil.example/': '',
    '//evil.example': '',
    '/%2Fevil.example': '',
    '/\\evil.example': '',
    '/%5Cevil.example': '',
    '/a//b': '',
    '/app//': '',
    '/../a': '',
    '/a/%2e%2e': '',
    '/a/.': '',
    '/..a': '/..a',
    '/a%0d%0aSet-Cookie:x': '',
    '/a%00': '',
    '/a%7f': '',
    '/a\tb': '',
    '/a b': '',
    '/a?b': '',
    '/a#b': '',
    '/a%': '',
    '/a%zz': '',
    '/<script>': '',
    '/"': '',
}


@pytest.mark.parametrize(('prefix', 'script_name'), PREFIXES.items(), ids=map(repr, PREFIXES))
def test_the_prefix(prefix: str, script_name: str) -> None:
    environ = through({PREFIX: prefix})
    assert environ['SCRIPT_NAME'] == script_name


def test_the_path_stays_as_the_proxy_sent_it() -> None:
    """The prefix names what was taken off.  To take it off once more would lead past a rule of the proxy's for paths:
    of /app/app/admin, it sees /app/admin to be none of /app's administration."""
    environ = through({PREFIX: '/a'})
    assert (environ['SCRIPT_NAME'], environ['PATH_INFO']) == ('/a', '/a/b')


# --- what isn't believed ------------------------------------------------------------------------------------------

CONTRADICTIONS = {
    'about the client': {FORWARDED: 'for=192.0.2.7', FOR: '1.1.1.1'},
    'about the client, further away': {FORWARDED: 'for=192.0.2.7, for=10.9.9.9', FOR: '192.0.2.7, 192.0.2.8'},
    'one does not know the client': {FORWARDED: 'for=unknown', FOR: '192.0.2.7'},
    'one hides the client': {FORWARDED: 'for=_hidden', FOR: '192.0.2.7'},
    'the other does not know it': {FORWARDED: 'for=192.0.2.7', FOR: 'nonsense'},
    'about the scheme': {FORWARDED: 'for=192.0.2.7;proto=https', FOR: '192.0.2.7', PROTO: 'http'},
    'about the host': {FORWARDED: 'host=evil.example', HOST: 'a.example'},
    'malformed: no value': {FORWARDED: 'for=192.0.2.7, proto'},
    'malformed: an empty value': {FORWARDED: 'for='},
    'malformed: a parameter twice': {FORWARDED: 'for=192.0.2.7;For=1.1.1.1'},
    'malformed: a blank in it': {FORWARDED: 'for=192.0.2.7 proto=http'},
    'malformed: a quote that hides what follows': {FORWARDED: 'for="1.1.1.1, for=192.0.2.7'},
    'malformed: a quote that ends in the next element': {FORWARDED: 'for="1.1.1.1, for="[2001:db9::7]"'},
    'malformed: a character that is none of a token': {FORWARDED: 'for=192.0.2.7;proto=ht/tp'},
}


@pytest.mark.parametrize('fields', CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_what_cannot_all_be_true_is_refused(fields: dict[str, str]) -> None:
    """A proxy that sets one of the fields lets its clients send the other: what they say is no better than a lie."""
    with pytest.raises(ProtocolError) as refused:
        through(fields)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    'fields',
    [fields for table in (CLIENTS, REQUESTS, PORTS) for fields, _ in table.values()] + list(CONTRADICTIONS.values()),
)
def test_nobody_else_is_believed(fields: dict[str, str]) -> None:
    others = {'HTTP_X_FORWARDED_SSL': 'on', 'HTTP_X_FORWARDED_PREFIX': '/x', 'HTTP_X_FORWARDED_SERVER': 'x'}
    environ: dict[str, Any] = {**ENVIRON, TRUSTED: False, 'HTTP_X_REAL_IP': '1.1.1.1', **others, **fields}
    TrustedProxies(('10.0.0.0/8',)).apply(environ)
    assert environ == {**ENVIRON, TRUSTED: False, 'HTTP_X_REAL_IP': '1.1.1.1'}


TRUST = {
    'in the network': ('10.0.0.0/8', '10.1.2.3', True),
    'outside': ('10.0.0.0/8', '11.1.2.3', False),
    'one address': ('127.0.0.1', '127.0.0.1', True),
    'IPv4 in IPv6': ('10.0.0.0/8', '::ffff:10.1.2.3', True),
    'IPv6': ('::1', '::1', True),
    'unix': ('unix', '', True),
    'unix is not asked for': ('10.0.0.0/8', '', False),
    'an address is not unix': ('unix', '10.0.0.1', False),
    'nonsense': ('10.0.0.0/8', '10.0.0', False),
}


@pytest.mark.parametrize(('network', 'address', 'trusted'), TRUST.values(), ids=TRUST)
def test_trust(network: str, address: str, trusted: bool) -> None:
    assert TrustedProxies((network,)).trusts(address) is trusted


# --- whatever comes -----------------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.sampled_from([FORWARDED, FOR, PROTO, HOST, PORT, PREFIX]), st.text('for=;,"\\ [].:/%12ab_', max_size=60)
    )
)
def test_no_text_is_too_strange(fields: dict[str, str]) -> None:
    try:
        environ = through(fields)
    except ProtocolError:
        return
    assert environ['wsgi.url_scheme'] == 'http'
    assert not set('<>" ') & set(environ['REMOTE_ADDR'] + environ['REMOTE_PORT'] + environ['SERVER_PORT'])
    assert not environ['SCRIPT_NAME'].startswith('//')


@pytest.mark.parametrize('key', [FORWARDED, FOR, HOST, PORT, PREFIX])
def test_a_long_field_takes_linear_time(key: str) -> None:
    """Not minutes, that is: the test has one of them."""
    for text in (
        'for="' + '\\a' * 30000,
        'for=' + 'a' * 60000 + '\0',
        'a=b;' * 15000,
        '," ' * 20000,
        ' ' * 60000 + '\0',
        '/a' * 30000 + '\0',
        '/' * 60000,
        '1.' * 30000,
        '[' * 60000,
    ):
        try:
            environ = through({key: text})
        except ProtocolError:
            continue
        assert environ['REMOTE_ADDR'] == PROXY
