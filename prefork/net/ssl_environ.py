"""What environ says of a TLS connection, under the names that Apache's mod_ssl has made known.

A value is bytes in Latin-1, as PEP 3333 has it: text of a certificate that isn't ASCII is UTF-8 in there.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, TypeAlias

    from prefork.net.tls import ServerSocket

    # As ssl gives it: relative distinguished names, each of one or more attributes.
    Name: TypeAlias = tuple[tuple[tuple[str, str], ...], ...]

# The attributes of a distinguished name: what ssl calls them, what OpenSSL does in a string, and what mod_ssl does in
# the name of a variable of their own, which not all have.
_ATTRIBUTES = {
    'commonName': ('CN', 'CN'),
    'countryName': ('C', 'C'),
    'description': ('description', 'D'),
    'domainComponent': ('DC', ''),
    'emailAddress': ('emailAddress', 'Email'),
    'givenName': ('GN', 'G'),
    'initials': ('initials', 'I'),
    'localityName': ('L', 'L'),
    'organizationName': ('O', 'O'),
    'organizationalUnitName': ('OU', 'OU'),
    'stateOrProvinceName': ('ST', 'ST'),
    'streetAddress': ('street', ''),
    'surname': ('SN', 'S'),
    'title': ('title', 'T'),
    'userId': ('UID', 'UID'),
}

_OID = re.compile(r'[0-9]+(\.[0-9]+)+')
_CONTROL = re.compile(r'[\0-\x1f\x7f\\]')
# RFC 4514 2.4: what is escaped where it stands, at the beginning, and at the end; a control character may be, and is.
_SPECIAL = re.compile(r'["+,;<>\\\0-\x1f\x7f]|^[ #]| $')

_UTF8_STRING = 12


def variables(sock: ServerSocket) -> dict[str, str]:
    """Those of a connection that has made its handshake.

    Raises OSError or ValueError where the client's certificate, though valid, has something in it that isn't text.
    """
    import ssl

    cipher = sock.cipher()
    found = {
        'SSL_PROTOCOL': sock.version() or '',
        'SSL_CIPHER': cipher[0] if cipher else '',
        'SSL_CLIENT_VERIFY': 'NONE',
    }
    if sock.asked_name is not None:
        found['SSL_TLS_SNI'] = sock.asked_name
    encoded = sock.getpeercert(binary_form=True)
    if encoded is not None:
        found['SSL_CLIENT_VERIFY'] = 'SUCCESS'  # nobody gets here without, where certificates are asked for
        found['SSL_CLIENT_CERT'] = ssl.DER_cert_to_PEM_cert(encoded)
        found.update(of_certificate(sock.getpeercert() or {}))
    return found


def of_certificate(certificate: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a client's certificate, in the form in which ssl gives it."""
    found = {
        'SSL_CLIENT_M_VERSION': str(certificate['version']),
        'SSL_CLIENT_M_SERIAL': certificate['serialNumber'],
        'SSL_CLIENT_V_START': certificate['notBefore'],
        'SSL_CLIENT_V_END': certificate['notAfter'],
    }
    for key, part in (('SSL_CLIENT_S_DN', 'subject'), ('SSL_CLIENT_I_DN', 'issuer')):
        found[key] = _native(to_string(certificate[part]))
        counts: dict[str, int] = {}
        for name, value in _single(certificate[part]):
            count = counts[name] = counts.get(name, -1) + 1
            found[f'{key}_{name}_{count}' if count else f'{key}_{name}'] = _native(_CONTROL.sub(_escape, value))
    return found


def to_string(name: Name) -> str:
    """A distinguished name by RFC 4514, which is RFC 2253's notation: the last part first."""
    parts = ('+'.join(_attribute(kind, value) for kind, value in part) for part in reversed(name))
    return ','.join(parts)


def _single(name: Name) -> Iterator[tuple[str, str]]:
    """The attributes that have a variable of their own, each with the end of its name."""
    for part in name:
        for kind, value in part:
            _, variable = _ATTRIBUTES.get(kind, ('', ''))
            if variable:
                yield variable, value


def _attribute(kind: str, value: str) -> str:
    if _OID.fullmatch(kind):
        # RFC 4514 2.4: the value of a type without a name is its BER encoding.  ssl tells only the text of it.
        return f'{kind}=#{_encoded(value).hex().upper()}'
    short, _ = _ATTRIBUTES.get(kind, (kind, ''))
    return f'{short}={_SPECIAL.sub(_escape, value)}'


def _encoded(value: str) -> bytes:
    """``value`` as a UTF8String."""
    content = value.encode()
    length = len(content)
    if length < 0x80:
        return bytes([_UTF8_STRING, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, 'big')
    return bytes([_UTF8_STRING, 0x80 | len(size)]) + size + content


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return f'\\{character}' if character.isprintable() else f'\\{ord(character):02X}'


def _native(text: str) -> str:
    return text.encode().decode('latin-1')
