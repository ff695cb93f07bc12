"""Where we differ from a corpus and why we are right, and which of its cases don't apply to us.

That a request of HTTP/1.1 without a Host field is refused (RFC 9112 3.2) isn't here: ``corporalib.case`` sees to it.
"""

from __future__ import annotations

from typing import NamedTuple


class Argument(NamedTuple):
    """``outcome`` is what we do instead, as ``str(case.Outcome)`` has it; ``cases`` are the names that it is for."""

    outcome: str
    section: str
    reason: str
    cases: tuple[str, ...]


ARGUMENTS = (
    Argument(
        'served 1',
        'RFC 9110 9.1',
        'a method is a token, of which any is for the application to know: 405 or 501 is its answer to give',
        ('gunicorn:invalid/003c', 'llhttp:invalid/HTTP protocol and ANNOUNCE method', 'llhttp:invalid/Invalid method'),
    ),
    Argument(
        'served 1',
        'RFC 9112 3',
        'request lines of at least 8000 bytes ought to be supported, and this one has half of that',
        ('gunicorn:invalid/006',),
    ),
    Argument(
        'served 1',
        'RFC 9110 5.1',
        'fields that nobody knows are ignored; what an underscore makes look like a framing field is never shown',
        ('gunicorn:invalid/040', 'gunicorn:invalid/chunked_07'),
    ),
    Argument(
        'served 1',
        'RFC 9112 2.2',
        'at least one empty line before a request line is ignored, so two may be, and there is nothing else in them',
        ('gunicorn:invalid/rfc9112_leading_crlf_02',),
    ),
    Argument(
        'refused 400',
        'RFC 9112 3.2',
        'no form of a request target has a fragment, which is for the client alone (RFC 9110 7.1)',
        (
            'gunicorn:valid/005',
            'llhttp:transfer-encoding/POST with `chunked` as last transfer-encoding',
            'llhttp:transfer-encoding/POST with `chunked` as last transfer-encoding (multiple headers)',
            'llhttp:uri/Fragment in URI',
        ),
    ),
    Argument(
        'refused 501',
        'RFC 9112 6.1',
        'a transfer coding that a server does not understand is answered with 501; WSGI could not say that a body is '
        'compressed still, and identity is no coding any more',
        (
            'gunicorn:valid/025',
            'gunicorn:valid/025_line',
            'gunicorn:valid/029',
            'gunicorn:valid/030',
            'gunicorn:valid/rfc9112_smuggle_gzip_chunked_01',
            'gunicorn:valid/rfc9112_smuggle_te_identity_chunked_01',
        ),
    ),
    Argument(
        'refused 400',
        'RFC 9112 5.1',
        'a server must refuse a request with a blank between a field name and its colon',
        ('gunicorn:valid/028',),
    ),
    Argument(
        'refused 400',
        'RFC 9112 5.2',
        'a server must refuse folded lines, or unfold them; nobody sends them but to find who reads them otherwise',
        ('gunicorn:valid/compat_obs_fold', 'gunicorn:valid/compat_obs_fold_huge'),
    ),
    Argument(
        'served 0',
        'RFC 9112 8',
        'its body ends before its Content-Length, and an incomplete request is not to be executed',
        ('gunicorn:valid/099',),
    ),
    Argument(
        'refused 400',
        'RFC 9110 4.2.4',
        'userinfo in a target from who knows where ought to be treated as an error',
        ('gunicorn:valid/rfc9112_target_absolute_userinfo_01', 'llhttp:uri/`host:port` and basic auth'),
    ),
    Argument(
        'refused 501',
        'RFC 9110 9.3.6',
        'CONNECT is for proxies, and an origin server need not implement it',
        (
            'gunicorn:valid/rfc9112_target_authority_connect_01',
            'gunicorn:valid/rfc9112_target_authority_ipv6_01',
            'llhttp:method/CONNECT request',
            'llhttp:method/CONNECT request with CAPS',
            'llhttp:method/CONNECT with body',
            'llhttp:uri/Underscore in hostname',
        ),
    ),
    Argument(
        'refused 400',
        'RFC 9112 3.2.4',
        'the asterisk is a target for OPTIONS alone; M-SEARCH has it in datagrams, which is not HTTP',
        ('llhttp:method/M-SEARCH request',),
    ),
    Argument(
        'refused 400',
        'RFC 9112 2.3',
        'the version begins with "HTTP", in capitals: this is another protocol',
        (
            'llhttp:method/SOURCE request with ICE',
            'llhttp:method/OPTIONS request with RTSP',
            'llhttp:method/ANNOUNCE request with RTSP',
        ),
    ),
    Argument(
        'refused 400',
        'RFC 9112 3',
        'a request line has a version; what has none is HTTP/0.9, of which these RFCs know nothing',
        ('llhttp:sample/No HTTP version',),
    ),
    Argument(
        'served 1',
        'RFC 9112 9.3',
        'the first request is whole and its connection does not persist, so that what follows is not read',
        ('llhttp:connection/`keep-alive`/Resetting flags when keep-alive is off (1.0, lenient)',),
    ),
    Argument(
        'served 1',
        'RFC 9112 9.6',
        'the first request is whole and says close, after which no further request may be processed',
        ('llhttp:connection/`close`/CRLF between requests, explicit `close` (lenient)',),
    ),
    Argument(
        'served 1, refused 400',
        'RFC 9110 5.5',
        'the first request is whole and valid; the second has a control in a value and is refused',
        ('llhttp:lenient-headers/Second request header value (lenient)',),
    ),
)

ARGUED = {name: argument for argument in ARGUMENTS for name in argument.cases}

NOT_APPLICABLE = {
    'gunicorn:invalid/007': 'it is larger than a limit of gunicorn (8,190 bytes a field), not than ours',
    'gunicorn:invalid/008': 'it is larger than a limit of gunicorn (8,190 bytes a field), not than ours',
    'gunicorn:invalid/010': 'it is for limit_request_field_size = 10',
    'gunicorn:invalid/011': 'it is for limit_request_fields = 2',
    'gunicorn:invalid/012': 'it is for limit_request_field_size = 98',
    'gunicorn:invalid/013': 'it is for limit_request_field_size = 14',
    'gunicorn:invalid/017': 'it is larger than a limit of gunicorn (8,190 bytes a field), not than ours',
    'gunicorn:invalid/019': 'it is for forwarded_allow_ips = *: fields that say different schemes',
    'gunicorn:invalid/limit_header_default_01': 'it is for limit_request_field_size = 0, another default',
    'gunicorn:invalid/pp_01': 'it is for proxy_protocol = true',
    'gunicorn:invalid/pp_02': 'it is for proxy_protocol = true',
    'gunicorn:invalid/pp_03': 'it is for proxy_protocol = true',
    'gunicorn:valid/031compat': 'it is for casefold_http_method = true, against RFC 9110 9.1: methods have a case',
    'gunicorn:valid/040_compat': 'it is for header_map = dangerous, which shows fields with an underscore',
    'gunicorn:valid/pp_01': 'it is for proxy_protocol = true',
    'gunicorn:valid/pp_02': 'it is for proxy_protocol = true',
    'gunicorn:valid/pp_03': 'it is for proxy_protocol = true',
    'gunicorn:valid/pp_04': 'it is for proxy_protocol = true',
    'gunicorn:valid/pp_05': 'it is for proxy_protocol = true',
    'llhttp:content-length/Content-Length reset when no body is received': 'its parser is told that no body comes',
}
"""Names of cases that depend on what a user of the other parser sets, and what that is."""
