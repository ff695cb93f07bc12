"""The grammar of RFC 9110, 9112 and 3986 that prefork holds clients and applications to, as named regexes.

Most are used with ``fullmatch``, and say so where they aren't.  None can take more than linear time: no part may match
what its neighbour matches.
"""

from __future__ import annotations

import re

# RFC 9110 5.6.2: token.  Methods and field names are tokens.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
TOKEN = re.compile(_TOKEN)  # with match, too, of a method whose line is still on its way

# RFC 9112 3: request-line = method SP request-target SP HTTP-version, with exactly one blank between the parts.
# The target is visible ASCII without "#": a fragment never travels (RFC 9110 7.1), and a raw byte above 127 isn't
# a URI.  Some characters that RFC 3986 wants encoded ("|", "^", quotes) are sent by real clients and harm nobody.
_TARGET = r'[!-"$-~]+'
REQUEST_LINE = re.compile(rf'({_TOKEN}) ({_TARGET}) (HTTP/[0-9]\.[0-9])')

# RFC 9112 5: field-line = field-name ":" OWS field-value OWS.  No blank before the colon, and a value has no
# controls but HTAB (RFC 9110 5.5), so that a bare CR, a bare LF, NUL and a folded line all fail here.
_VALUE = r'[\t -~\x80-\xff]*'
FIELD_VALUE = re.compile(_VALUE)
FIELD_LINE = re.compile(rf'{_TOKEN}:{_VALUE}'.encode('latin-1'))

# RFC 3986 3.2.2: eight groups, of which the last two may be an IPv4 address, and "::" for one or more that are zero:
# at most ``before`` of them stand before it, and ``behind`` (with the last two) exactly behind.
_GROUP = '[0-9A-Fa-f]{1,4}'
_OCTET = '(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])'
_LAST_TWO = rf'(?:{_GROUP}:{_GROUP}|{_OCTET}(?:\.{_OCTET}){{3}})'


def _shortened(before: int, behind: str) -> str:
    return f'(?:(?:{_GROUP}:){{0,{before - 1}}}{_GROUP})?::{behind}' if before else f'::{behind}'


_IPV6 = '|'.join(
    [
        f'(?:{_GROUP}:){{6}}{_LAST_TWO}',
        *(_shortened(before, f'(?:{_GROUP}:){{{5 - before}}}{_LAST_TWO}') for before in range(6)),
        _shortened(6, _GROUP),
        _shortened(7, ''),
    ]
)
_IP_LITERAL = rf"\[(?:{_IPV6}|v[0-9A-Fa-f]+\.[0-9A-Za-z\-._~!$&'()*+,;=:]+)\]"

# RFC 9110 7.2, RFC 3986 3.2.2 and 3.2.3: Host = uri-host [ ":" port ].  All of it may be empty, for a target without an
# authority (RFC 9112 3.2); but a port without a host is none of HTTP's (RFC 9110 4.2.1), and no port is above 65535.
_REG_NAME = r"(?:[0-9A-Za-z\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"
_PORT = '0*(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[0-5]?[0-9]{1,4})?'
HOST = re.compile(rf'(?:(?:{_IP_LITERAL}|{_REG_NAME})(?::{_PORT})?)?')

# RFC 9112 3.2.2: absolute-form, of the schemes that a request to an origin server can have.  A host is needed: one
# without, as in "http://:80/", must be rejected (RFC 9110 4.2.1).
ABSOLUTE_FORM = re.compile(r'[Hh][Tt][Tt][Pp][Ss]?://([^/?:][^/?]*)((?:/[^?]*)?)(?:\?(.*))?')

# RFC 9110 8.6: Content-Length = 1*DIGIT.  Eighteen digits are an exabyte: more is nonsense, not a length.
CONTENT_LENGTH = re.compile(r'0*[0-9]{1,18}')

# RFC 9112 7: transfer-coding = token *( OWS ";" OWS transfer-parameter ).  Only chunked is implemented, which has no
# parameters, so that theirs aren't looked at.
CODING = re.compile(rf'{_TOKEN}(?:[ \t]*;[ \t -~]*)?')

# With match.  RFC 9112 7.1: chunk-size [ chunk-ext ] CRLF; extensions are skipped, whatever they say, but have to be
# some: names, each with a token or a quoted string or nothing (7.1.1).  The possessive quantifiers keep time linear.
# Only single characters have them: before Python 3.11.5, a possessive group that fails leaves its position wrong.
_TEXT = r'[\t !#-\[\]-~\x80-\xff]*+'
_QUOTED = rf'"{_TEXT}(?:\\[\t -~\x80-\xff]{_TEXT})*"'  # RFC 9110 5.6.4
_EXTENSION = rf'[ \t]*+;[ \t]*+{_TOKEN}+(?:[ \t]*+=[ \t]*+(?:{_TOKEN}+|{_QUOTED}))?'
CHUNK_LINE = re.compile(rf'([0-9A-Fa-f]{{1,16}})((?:{_EXTENSION})+)?\r\n'.encode('latin-1'))

# PEP 3333: the status is three digits, one blank and a reason, with no blanks around and no controls.  The reason may
# be empty (RFC 9112 4).  A 1xx is not a final response.
STATUS = re.compile(r'[2-9][0-9][0-9] (?:(?! )[ -~\x80-\xff]+(?<! ))?')

# PEP 3333: what an application may put into a field value; "any control characters" are forbidden, HTAB too.
FIELD_TEXT = re.compile(r'[ -~\x80-\xff]*')

# With sub.
PERCENT_ENCODED = re.compile('%([0-9A-Fa-f]{2})')

# With sub.  RFC 9112 2.2: empty lines before a request line are skipped.
EMPTY_LINES = re.compile(rb'\A(?:\r\n)+')

# With search: line ends that aren't CRLF.  Both are refused at once, while the head still arrives, so that nobody waits
# for the end of a head that can't come (RFC 9112 2.2 lets a recipient take a bare LF; smuggling lives on that).
BARE_LF = re.compile(rb'(?<!\r)\n')
BARE_CR = re.compile(rb'\r(?=[^\n])')
