"""Field lines (RFC 9112 5), Host (RFC 9110 7.2) and fields that come more than once (RFC 9110 5.3)."""

from __future__ import annotations

import pytest

from tests.http1.reception import accepted, head, refused

REQUEST_LINE_KEYS = {'REQUEST_METHOD', 'REQUEST_URI', 'PATH_INFO', 'QUERY_STRING', 'SERVER_PROTOCOL'}


def fields(data: bytes, feed: str) -> dict[str, str]:
    """What the field lines put into the environ."""
    environ = accepted(data, feed).environ
    return {key: value for key, value in environ.items() if key not in REQUEST_LINE_KEYS}


# name → lines after Host → what they become
SERVED: dict[str, tuple[list[bytes], dict[str, str]]] = {
    'none': ([], {}),
    'one blank after the colon': ([b'A: b'], {'HTTP_A': 'b'}),
    'no blank after the colon': ([b'A:b'], {'HTTP_A': 'b'}),
    'blanks and tabs around the value (OWS, RFC 9110 5.6.3)': ([b'A: \t b\t \t'], {'HTTP_A': 'b'}),
    'blanks and tabs within the value': ([b'A: b \t c'], {'HTTP_A': 'b \t c'}),
    'an empty value': ([b'A:'], {'HTTP_A': ''}),
    'a value of blanks': ([b'A:  \t '], {'HTTP_A': ''}),
    'colons in the value': ([b'A: :b:'], {'HTTP_A': ':b:'}),
    'every visible character in the value': (
        [b'A: ' + bytes(range(0x21, 0x7F))],
        {'HTTP_A': bytes(range(0x21, 0x7F)).decode()},
    ),
    'obs-text is latin-1 (RFC 9110 5.5, PEP 3333)': ([b'A: caf\xc3\xa9\x80\xff'], {'HTTP_A': 'cafÃ©\x80ÿ'}),
    'a no-break space is no blank': ([b'A: \xa0b\xa0'], {'HTTP_A': '\xa0b\xa0'}),
    'names are case-insensitive (RFC 9110 5.1)': ([b'aCCept-LANGUAGE: en'], {'HTTP_ACCEPT_LANGUAGE': 'en'}),
    'any token is a name': ([b"!#$%&'*+.^`|~09AZaz-: b"], {"HTTP_!#$%&'*+.^`|~09AZAZ_": 'b'}),
    'Content-Type has no HTTP_ (RFC 3875 4.1.3)': ([b'content-type: a/b'], {'CONTENT_TYPE': 'a/b'}),
    'Content-Length has no HTTP_ (RFC 3875 4.1.2)': ([b'CONTENT-LENGTH: 0'], {'CONTENT_LENGTH': '0'}),
    'a name that only begins like Content-Length': ([b'Content-Length2: 7'], {'HTTP_CONTENT_LENGTH2': '7'}),
    'a name with an underscore is dropped (RFC 3875 4.1.18)': ([b'A_B: c', b'_: c', b'A-B: d'], {'HTTP_A_B': 'd'}),
    'a dropped name hides nothing': ([b'A-B: c', b'A_B: d'], {'HTTP_A_B': 'c'}),
    'Content_Length is dropped': ([b'Content_Length: 5'], {}),
    'Transfer_Encoding is dropped': ([b'Transfer_Encoding: chunked'], {}),
    'Content_Type is dropped': ([b'Content_Type: a/b', b'Content-Type: c/d'], {'CONTENT_TYPE': 'c/d'}),
    'a name like a variable of the request line': ([b'Request-Method: X'], {'HTTP_REQUEST_METHOD': 'X'}),
}

REFUSED = {
    'a blank before the colon (RFC 9112 5.1)': b'A : b',
    'a tab before the colon': b'A\t: b',
    'a blank before the colon of Content-Length': b'Content-Length : 5',
    'a blank in the name': b'A B: c',
    'no colon (RFC 9112 5)': b'A',
    'an empty name (RFC 9110 5.1)': b': b',
    'a colon alone': b':',
    'a line of a blank': b' ',
    'obs-fold with a blank (RFC 9112 5.2)': b'A: b\r\n c',
    'obs-fold with a tab': b'A: b\r\n\tc',
    'obs-fold of a whole field': b'A: b\r\n C: d',
    'obs-fold of an empty value': b'A:\r\n b',
    'a byte above 127 in the name': b'\xc3\xa9: b',
    'NUL in the name (RFC 9110 5.6.2)': b'A\0: b',
    'a parenthesis in the name': b'A(: b',
    'a slash in the name': b'A/B: c',
    'quotes around the name': b'"A": b',
    'a bare CR in the value (RFC 9112 2.2)': b'A: b\rc',
    'a bare CR at the start of the value': b'A:\rb',
    'a bare CR before the end of the line': b'A: b\r',
    'a bare CR in the name': b'A\rB: c',
    'a bare LF in the value (RFC 9112 2.2)': b'A: b\nc',
    'a bare LF before the end of the line': b'A: b\n',
    'a bare LF as the end of a line': b'A: b\nC: d',
    'a field behind a bare CR': b'A: b\rTransfer-Encoding: chunked',
    **{
        f'the control {code:#04x} in the value (RFC 9110 5.5)': b'A: b%cc' % code
        for code in [*range(9), *range(10, 32), 127]
    },
}


@pytest.mark.parametrize('name', SERVED)
def test_served(name: str, feed: str) -> None:
    lines, expected = SERVED[name]
    assert fields(head(*lines), feed) == {'HTTP_HOST': 'x', **expected}


@pytest.mark.parametrize('name', REFUSED)
@pytest.mark.parametrize('place', ['behind Host', 'before Host'])
def test_refused(name: str, place: str, feed: str) -> None:
    line = REFUSED[name]
    data = head(line) if place == 'behind Host' else head(line, b'Host: x', host=None)
    assert refused(data, feed) == 400


def test_a_fold_of_the_request_line_is_refused(feed: str) -> None:
    """RFC 9112 2.2: blanks between the request line and the first field are a way to hide that field."""
    assert refused(head(b' Host: x', host=None), feed) == 400


HOSTS = [
    b'example.com',
    b'EXAMPLE.com.',
    b'example.com:8080',
    b'example.com:',  # RFC 3986 3.2.3: port = *DIGIT
    b'example.com:0',
    b'example.com:65535',
    b'example.com:00000080',
    b'xn--bcher-kva.example',
    b'a,b',  # sub-delims are as good as letters
    b'1.2.3.4.5',  # a name, though it looks like an address
    b'999.1.1.1:80',
    b'a_b-c~d',
    b"!$&'()*+,;=",
    b'a%2Fb',
    b'127.0.0.1:80',
    b'[::]',
    b'[::1]:80',
    b'[1:2:3:4:5:6:7:8]',
    b'[1:2:3:4:5:6:7::]',
    b'[::2:3:4:5:6:7:8]',
    b'[fe80::ABCD]',
    b'[::ffff:192.0.2.1]',
    b'[1:2:3:4:5:6:192.0.2.1]',
    b'[1::192.0.2.255]',
    b'[1::]',
    b'[1:2::7:8]:443',
    b'[v1.a:b]',
    b'',  # RFC 9110 7.2: a target without an authority has an empty Host
]
BAD_HOSTS = [
    b'a b',
    b'a\tb',
    b'a/b',
    b'a?b',
    b'a#b',
    b'a\\b',
    b'<a>',
    b'"a"',
    b'user@a',
    b'a:b',
    b'a:-1',
    b'a:1:2',
    b'a: 1',
    b'a:65536',
    b'a:99999',
    b'a:080000',
    b'a:18446744073709551696',  # 80 in 64 bits
    b'a:0x50',
    b':80',  # RFC 9110 4.2.1: HTTP has no URI without a host
    b':',
    b'@a',
    b'a@',
    b'u:p@a:80',
    b'a,b c',
    b'http://a',
    b'a/',
    b'a%',
    b'a\x0b',
    b'a\x00b',
    b'a\x7f',
    b'a%2',
    b'a%zz',
    b'::1',
    b'[::1',
    b'::1]',
    b'[]',
    b'[:]',
    b'[1]',
    b'[1.2.3.4]',
    b'[::g]',
    b'[::12345]',
    b'[1:2:3:4:5:6:7:8:9]',
    b'[1:2:3:4:5:6:7:8:9:a]',
    b'[1:2:3:4:5:6:7]',
    b'[1:2:3:4:5:6:7::8:9]',
    b'[::1:2:3:4:5:6:7:8]',
    b'[1::2::3]',
    b'[:::]',
    b'[:1:2:3:4:5:6:7:8]',
    b'[1:2:3:4:5:6:7:8:]',
    b'[::1.2.3]',
    b'[::1.2.3.4.5]',
    b'[::256.1.1.1]',
    b'[::1.2.3.04]',
    b'[1.2.3.4::]',
    b'[1:2:3:4:5:6:7:1.2.3.4]',
    b'[::1]]',
    b'[[::1]]',
    b'[::1]a',
    b'[fe80::1%25eth0]',  # RFC 6874's zone has no meaning to anyone else
    b'[a]:80',
    b'[v.a]',
    b'a]',
    b'\xc3\xa9',
    b'a, b',
]


@pytest.mark.parametrize('host', HOSTS, ids=repr)
def test_host(host: bytes, feed: str) -> None:
    """RFC 9110 7.2, with the grammar of RFC 3986 3.2.2 and 3.2.3."""
    assert fields(head(host=b'Host: ' + host), feed) == {'HTTP_HOST': host.decode()}


@pytest.mark.parametrize('host', BAD_HOSTS, ids=repr)
@pytest.mark.parametrize('version', [b'1.0', b'1.1'])
def test_malformed_host(host: bytes, version: bytes, feed: str) -> None:
    """RFC 9112 3.2: 400, whatever the form of the target."""
    assert refused(head(line=b'GET / HTTP/' + version, host=b'Host: ' + host), feed) == 400


# name → (request line, lines, HTTP_HOST or None where there is none)
HOST_RULES: dict[str, tuple[bytes, list[bytes], str | None]] = {
    'HTTP/1.0 needs none': (b'GET / HTTP/1.0', [], None),
    'HTTP/1.0 may have one': (b'GET / HTTP/1.0', [b'Host: a'], 'a'),
    'absolute form wins (RFC 9112 3.2.2)': (b'GET http://t:1/ HTTP/1.1', [b'Host: a'], 't:1'),
    'absolute form wins over an empty one': (b'GET http://t/ HTTP/1.1', [b'Host:'], 't'),
    'absolute form wins in HTTP/1.0': (b'GET http://t/ HTTP/1.0', [b'Host: a'], 't'),
    'absolute form stands for none in HTTP/1.0': (b'GET http://t/ HTTP/1.0', [], 't'),
    'a name with an underscore is no Host': (b'GET / HTTP/1.1', [b'Host: a', b'Host_: b'], 'a'),
    'asterisk form': (b'OPTIONS * HTTP/1.1', [b'Host: a'], 'a'),
}
HOST_FAULTS = {
    'none in HTTP/1.1 (RFC 9112 3.2)': (b'GET / HTTP/1.1', [b'A: b']),
    'no field at all': (b'GET / HTTP/1.1', []),
    'none in a later minor version': (b'GET / HTTP/1.2', [b'A: b']),
    'none with absolute form': (b'GET http://t/ HTTP/1.1', [b'A: b']),
    'none with asterisk form': (b'OPTIONS * HTTP/1.1', [b'A: b']),
    'two (RFC 9112 3.2)': (b'GET / HTTP/1.1', [b'Host: a', b'Host: b']),
    'two that are equal': (b'GET / HTTP/1.1', [b'Host: a', b'Host: a']),
    'two in other letters': (b'GET / HTTP/1.1', [b'Host: a', b'A: b', b'HOST: a']),
    'two of which one is empty': (b'GET / HTTP/1.1', [b'Host:', b'Host: a']),
    'two in HTTP/1.0': (b'GET / HTTP/1.0', [b'Host: a', b'Host: a']),
    'two with absolute form': (b'GET http://t/ HTTP/1.1', [b'Host: t', b'Host: t']),
    'two with asterisk form': (b'OPTIONS * HTTP/1.1', [b'Host: t', b'Host: t']),
    'one whose line is folded': (b'GET / HTTP/1.1', [b'Host: a', b' b']),
    'one behind a blank (RFC 9112 2.2)': (b'GET / HTTP/1.1', [b' Host: a']),
    'a malformed one with absolute form (RFC 9112 3.2)': (b'GET http://t/ HTTP/1.1', [b'Host: a/b']),
}


@pytest.mark.parametrize('name', HOST_RULES)
def test_host_rule(name: str, feed: str) -> None:
    line, lines, expected = HOST_RULES[name]
    assert fields(head(*lines, line=line, host=None), feed).get('HTTP_HOST') == expected


@pytest.mark.parametrize('name', HOST_FAULTS)
def test_host_fault(name: str, feed: str) -> None:
    line, lines = HOST_FAULTS[name]
    assert refused(head(*lines, line=line, host=None), feed) == 400


REPEATS: dict[str, tuple[list[bytes], dict[str, str]]] = {
    'a list (RFC 9110 5.3)': ([b'A: b', b'A: c'], {'HTTP_A': 'b, c'}),
    'a list in the order of its lines (RFC 9110 5.3)': (
        [b'A: c', b'B: x', b'a: b', b'A: a'],
        {'HTTP_A': 'c, b, a', 'HTTP_B': 'x'},
    ),
    'equal members': ([b'A: b', b'A: b'], {'HTTP_A': 'b, b'}),
    'an empty member': ([b'A:', b'A: b', b'A:'], {'HTTP_A': ', b, '}),
    'cookies (RFC 9113 8.2.3)': ([b'Cookie: a=1', b'cookie: b=2', b'Cookie: c=3'], {'HTTP_COOKIE': 'a=1; b=2; c=3'}),
    'a name that only begins like Cookie': ([b'Cookie2: a', b'Cookie2: b'], {'HTTP_COOKIE2': 'a, b'}),
    'Content-Type once': ([b'Content-Type: a/b'], {'CONTENT_TYPE': 'a/b'}),
}
BAD_REPEATS = {
    'Content-Length, other': [b'Content-Length: 0', b'Content-Length: 1'],
    'Content-Length, equal (RFC 9110 8.6 allows to refuse it)': [b'Content-Length: 0', b'Content-Length: 0'],
    'Content-Length in other letters': [b'Content-Length: 0', b'A: b', b'content-length: 0'],
    'Content-Type, other': [b'Content-Type: a/b', b'Content-Type: c/d'],
    'Content-Type, equal': [b'Content-Type: a/b', b'Content-Type: a/b'],
    'Content-Type, empty': [b'Content-Type:', b'Content-Type: a/b'],
}


@pytest.mark.parametrize('name', REPEATS)
def test_repeat(name: str, feed: str) -> None:
    lines, expected = REPEATS[name]
    assert fields(head(*lines), feed) == {'HTTP_HOST': 'x', **expected}


@pytest.mark.parametrize('name', BAD_REPEATS)
def test_bad_repeat(name: str, feed: str) -> None:
    assert refused(head(*BAD_REPEATS[name]), feed) == 400
