"""Forwarded and X-Forwarded-*: whose word is taken, and which of their words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefork.net.proxy import TRUSTED, TrustedProxies

INNER = {
    'REMOTE_ADDR': '10.0.0.1',
    'REMOTE_PORT': '999',
    'wsgi.url_scheme': 'http',
    'HTTP_HOST': 'inner',
}

FOR, PROTO, HOST, FORWARDED = (
    'HTTP_X_FORWARDED_FOR',
    'HTTP_X_FORWARDED_PROTO',
    'HTTP_X_FORWARDED_HOST',
    'HTTP_FORWARDED',
)

# fields → REMOTE_ADDR, scheme, host, with 10.0.0.0/8 and 2001:db8::/32 trusted
CASES: dict[str, tuple[dict[str, str], tuple[str, str, str]]] = {
    'nothing said': ({}, ('10.0.0.1', 'http', 'inner')),
    'the client': ({FOR: '192.0.2.7'}, ('192.0.2.7', 'http', 'inner')),
    'what the client made up is left of it': ({FOR: '1.1.1.1, 192.0.2.7'}, ('192.0.2.7', 'http', 'inner')),
    'through a second proxy of ours': ({FOR: '192.0.2.7, 10.9.9.9'}, ('192.0.2.7', 'http', 'inner')),
    'nobody but proxies': ({FOR: '10.2.2.2, 10.9.9.9'}, ('10.2.2.2', 'http', 'inner')),
    'with a port': ({FOR: '192.0.2.7:1234'}, ('192.0.2.7', 'http', 'inner')),
    'IPv6': ({FOR: '2001:db9::7'}, ('2001:db9::7', 'http', 'inner')),
    'IPv6 with a port': ({FOR: '[2001:db9::7]:1234'}, ('2001:db9::7', 'http', 'inner')),
    'IPv6 proxy': ({FOR: '192.0.2.7, 2001:db8::1'}, ('192.0.2.7', 'http', 'inner')),
    'nonsense for an address': ({FOR: '192.0.2.7, <script>'}, ('10.0.0.1', 'http', 'inner')),
    'scheme and host': (
        {FOR: '192.0.2.7', PROTO: 'HTTPS', HOST: 'a.example:8443'},
        ('192.0.2.7', 'https', 'a.example:8443'),
    ),
    'scheme alone': ({PROTO: 'https'}, ('10.0.0.1', 'https', 'inner')),
    'a scheme that is none': ({PROTO: 'ftp'}, ('10.0.0.1', 'http', 'inner')),
    'a host that is none': ({HOST: 'a/../b'}, ('10.0.0.1', 'http', 'inner')),
    'lists go together': (
        {FOR: '192.0.2.7, 10.9.9.9', PROTO: 'https, http', HOST: 'outer, middle'},
        ('192.0.2.7', 'https', 'outer'),
    ),
    'a list of another length: the last word': (
        {FOR: '192.0.2.7', PROTO: 'https, http', HOST: 'made.up, outer'},
        ('192.0.2.7', 'http', 'outer'),
    ),
    'Forwarded': (
        {FORWARDED: 'for=192.0.2.7;proto=https;host=a.example'},
        ('192.0.2.7', 'https', 'a.example'),
    ),
    'Forwarded, quoted and with a port': (
        {FORWARDED: 'For="[2001:db9::7]:1234"; Proto=https , for=10.9.9.9'},
        ('2001:db9::7', 'https', 'inner'),
    ),
    'Forwarded beats the others': (
        {FORWARDED: 'for=192.0.2.7', FOR: '1.1.1.1', PROTO: 'https'},
        ('192.0.2.7', 'http', 'inner'),
    ),
    'Forwarded by nobody known': ({FORWARDED: 'for=1.1.1.1, for=unknown;proto=https'}, ('10.0.0.1', 'https', 'inner')),
    'Forwarded with a made-up name': ({FORWARDED: 'for=_gazonk'}, ('10.0.0.1', 'http', 'inner')),
    'Forwarded, malformed': ({FORWARDED: 'for=192.0.2.7, proto'}, ('10.0.0.1', 'http', 'inner')),
    'Forwarded, a parameter twice': ({FORWARDED: 'for=192.0.2.7;for=1.1.1.1'}, ('10.0.0.1', 'http', 'inner')),
    'Forwarded, an escape': ({FORWARDED: r'for="192.0.2\.7"'}, ('192.0.2.7', 'http', 'inner')),
    'Forwarded, empty': ({FORWARDED: ''}, ('10.0.0.1', 'http', 'inner')),
}


def seen(environ: dict[str, Any]) -> tuple[str, str, str]:
    return environ['REMOTE_ADDR'], environ['wsgi.url_scheme'], environ['HTTP_HOST']


@pytest.mark.parametrize(('fields', 'expected'), CASES.values(), ids=CASES)
def test_a_trusted_proxy_is_believed(fields: dict[str, str], expected: tuple[str, str, str]) -> None:
    environ: dict[str, Any] = {**INNER, TRUSTED: True, **fields}
    TrustedProxies(('10.0.0.0/8', '2001:db8::/32')).apply(environ)
    assert seen(environ) == expected
    assert fields.items() <= environ.items()  # an application may want to see what was said


@pytest.mark.parametrize(('fields', 'expected'), CASES.values(), ids=CASES)
def test_nobody_else_is(fields: dict[str, str], expected: tuple[str, str, str]) -> None:
    environ: dict[str, Any] = {**INNER, TRUSTED: False, **fields}
    TrustedProxies(('10.0.0.0/8',)).apply(environ)
    assert environ == {**INNER, TRUSTED: False}


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


@given(st.text(alphabet='for=;,"\\ [].:12ab_', max_size=60), st.sampled_from([FORWARDED, FOR, PROTO, HOST]))
def test_no_text_is_too_strange(text: str, key: str) -> None:
    environ: dict[str, Any] = {**INNER, TRUSTED: True, key: text}
    TrustedProxies(('10.0.0.0/8',)).apply(environ)
    assert environ['wsgi.url_scheme'] == 'http'


def test_a_long_field_takes_linear_time() -> None:
    for text in ('for="' + '\\a' * 30000, 'for=' + 'a' * 60000 + '\0', 'a=b;' * 15000, '," ' * 20000):
        environ: dict[str, Any] = {**INNER, TRUSTED: True, FORWARDED: text}
        TrustedProxies(('10.0.0.0/8',)).apply(environ)
        assert environ['REMOTE_ADDR'] == '10.0.0.1'
