"""The variables of a client's certificate, and names as RFC 4514 writes them, read back by another parser."""

from __future__ import annotations

import re

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from prefork.net.ssl_environ import of_certificate, to_string

Name = tuple[tuple[tuple[str, str], ...], ...]


def of(*attributes: tuple[str, str]) -> Name:
    """A name of parts with one attribute each."""
    return tuple((attribute,) for attribute in attributes)


def cn(value: str) -> Name:
    return of(('commonName', value))


NAMES: dict[str, tuple[Name, str]] = {
    'nothing': ((), ''),
    'the last part first': (
        of(('countryName', 'NL'), ('organizationName', 'Acme'), ('commonName', 'x')),
        'CN=x,O=Acme,C=NL',
    ),
    'two attributes in a part': (((('commonName', 'x'), ('userId', 'y')),), 'CN=x+UID=y'),
    'the same attribute twice': (of(('domainComponent', 'net'), ('domainComponent', 'example')), 'DC=example,DC=net'),
    'an address': (of(('emailAddress', 'ada@example.net')), 'emailAddress=ada@example.net'),
    'all that is special': (cn('"a+b,c;d<e>f\\g=h'), r'CN=\"a\+b\,c\;d\<e\>f\\g=h'),
    'a blank before': (cn(' x'), r'CN=\ x'),
    'a blank behind': (cn('x '), r'CN=x\ '),
    'nothing but a blank': (cn(' '), r'CN=\ '),
    'nothing but two': (cn('  '), r'CN=\ \ '),
    'blanks in between': (cn('a  b'), 'CN=a  b'),
    'a hash before': (cn('#a#'), r'CN=\#a#'),
    'NUL and line ends': (cn('a\0b\r\nc'), r'CN=a\00b\0D\0Ac'),
    'what is not ASCII': (cn('Bücher ✓'), 'CN=Bücher ✓'),
    'an empty value': (cn(''), 'CN='),
    'a type with a name that we do not shorten': (of(('pseudonym', 'x')), 'pseudonym=x'),
    'a type without a name': (of(('1.2.3.4', 'xy')), '1.2.3.4=#0C027879'),
    'a long value of a type without a name': (of(('1.2.3.4', 'x' * 200)), '1.2.3.4=#0C81C8' + '78' * 200),
}


@pytest.mark.parametrize(('name', 'string'), NAMES.values(), ids=NAMES)
def test_a_name_as_a_string(name: Name, string: str) -> None:
    assert to_string(name) == string


ATTRIBUTES = {
    'commonName': NameOID.COMMON_NAME,
    'organizationName': NameOID.ORGANIZATION_NAME,
    'organizationalUnitName': NameOID.ORGANIZATIONAL_UNIT_NAME,
    'stateOrProvinceName': NameOID.STATE_OR_PROVINCE_NAME,
    'userId': NameOID.USER_ID,
}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(ATTRIBUTES)),
            st.text(
                st.one_of(st.characters(codec='utf-8'), st.sampled_from(' #,+"\\<>;=\0\n')), min_size=1, max_size=20
            ),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_name_is_read_back_as_it_was(attributes: list[tuple[str, str]]) -> None:
    parsed = x509.Name.from_rfc4514_string(to_string(of(*attributes)))
    assert [(attribute.oid, attribute.value) for attribute in parsed] == [
        (ATTRIBUTES[kind], value) for kind, value in attributes
    ]


CERTIFICATE = {
    'version': 3,
    'serialNumber': '0A1B',
    'notBefore': 'Jan  1 00:00:00 2026 GMT',
    'notAfter': 'Jan  1 00:00:00 2027 GMT',
    'subject': of(
        ('organizationalUnitName', 'One'),
        ('organizationalUnitName', 'Two'),
        ('commonName', 'Bücher\0, "x"'),
        ('surname', 'S'),
        ('streetAddress', 'Lane 1'),
    ),
    'issuer': of(('commonName', 'Authority')),
}


def test_the_variables_of_a_certificate() -> None:
    assert of_certificate(CERTIFICATE) == {
        'SSL_CLIENT_M_VERSION': '3',
        'SSL_CLIENT_M_SERIAL': '0A1B',
        'SSL_CLIENT_V_START': 'Jan  1 00:00:00 2026 GMT',
        'SSL_CLIENT_V_END': 'Jan  1 00:00:00 2027 GMT',
        'SSL_CLIENT_S_DN': 'street=Lane 1,SN=S,CN=B\xc3\xbccher\\00\\, \\"x\\",OU=Two,OU=One',
        'SSL_CLIENT_S_DN_OU': 'One',
        'SSL_CLIENT_S_DN_OU_1': 'Two',
        'SSL_CLIENT_S_DN_CN': 'B\xc3\xbccher\\00, "x"',
        'SSL_CLIENT_S_DN_S': 'S',
        'SSL_CLIENT_I_DN': 'CN=Authority',
        'SSL_CLIENT_I_DN_CN': 'Authority',
    }


@given(st.text(st.characters(codec='utf-8')))
def test_a_value_of_its_own_has_no_controls(value: str) -> None:
    """Nobody who takes it for a line, or for C's text, is misled."""
    shown = of_certificate({**CERTIFICATE, 'subject': cn(value)})['SSL_CLIENT_S_DN_CN']
    assert not re.search(r'[\0-\x1f\x7f]', shown)
    assert all(ord(character) < 256 for character in shown), 'PEP 3333'
