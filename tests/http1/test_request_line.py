"""The request line (RFC 9112 3): its forms, methods and versions, and how long it may be."""

from __future__ import annotations

import pytest

from tests.http1.reception import FEEDS, Limits, accepted, head, receive, refused

# name → request line, and of it: method, path (PATH_INFO), query, protocol
SERVED = {
    'origin form (RFC 9112 3.2.1)': (b'GET /a/b?c=d HTTP/1.1', 'GET', '/a/b', 'c=d', 'HTTP/1.1'),
    'the root': (b'GET / HTTP/1.1', 'GET', '/', '', 'HTTP/1.1'),
    'an empty query': (b'GET /a? HTTP/1.1', 'GET', '/a', '', 'HTTP/1.1'),
    'a question mark in the query': (b'GET /?a?b HTTP/1.1', 'GET', '/', 'a?b', 'HTTP/1.1'),
    'a query stays encoded (RFC 3875 4.1.7)': (b'GET /?a=%2B+%zz HTTP/1.1', 'GET', '/', 'a=%2B+%zz', 'HTTP/1.1'),
    'a path is decoded to bytes (PEP 3333)': (b'GET /%C3%a9%2F%00 HTTP/1.1', 'GET', '/Ã©/\0', '', 'HTTP/1.1'),
    'a path with one encoded letter': (b'GET /%41 HTTP/1.1', 'GET', '/A', '', 'HTTP/1.1'),
    'a path is decoded once': (b'GET /%2541 HTTP/1.1', 'GET', '/%41', '', 'HTTP/1.1'),
    'a percent sign that encodes nothing stays (RFC 3986 2.1)': (
        b'GET /%zz%4%g0%+1% HTTP/1.1',
        'GET',
        '/%zz%4%g0%+1%',
        '',
        'HTTP/1.1',
    ),
    'slashes and dots stay as they are': (b'GET //a//../b HTTP/1.1', 'GET', '//a//../b', '', 'HTTP/1.1'),
    'visible characters that are in no URI': (b'GET /"<>\\^`{|} HTTP/1.1', 'GET', '/"<>\\^`{|}', '', 'HTTP/1.1'),
    'asterisk form (3.2.4)': (b'OPTIONS * HTTP/1.1', 'OPTIONS', '*', '', 'HTTP/1.1'),
    'absolute form (3.2.2)': (b'GET http://h:1/a?b HTTP/1.1', 'GET', '/a', 'b', 'HTTP/1.1'),
    'absolute form without a path (RFC 9110 4.2.3)': (b'GET http://h HTTP/1.1', 'GET', '/', '', 'HTTP/1.1'),
    'absolute form with a query alone': (b'GET http://h?a/b?c HTTP/1.1', 'GET', '/', 'a/b?c', 'HTTP/1.1'),
    'absolute form in capitals': (b'GET HTTPS://H/A HTTP/1.1', 'GET', '/A', '', 'HTTP/1.1'),
    'absolute form with an empty query': (b'GET http://h/a? HTTP/1.1', 'GET', '/a', '', 'HTTP/1.1'),
    'absolute form with an empty port': (b'GET http://h:/a HTTP/1.1', 'GET', '/a', '', 'HTTP/1.1'),
    'absolute form with two slashes for a path': (b'GET http://h//a HTTP/1.1', 'GET', '//a', '', 'HTTP/1.1'),
    'absolute form with "@" in the path': (b'GET http://h/u@a HTTP/1.1', 'GET', '/u@a', '', 'HTTP/1.1'),
    'absolute form, decoded': (b'GET http://h/%2e%C3 HTTP/1.1', 'GET', '/.\xc3', '', 'HTTP/1.1'),
    'absolute form of OPTIONS without a path is asterisk form (RFC 9112 3.2.4)': (
        b'OPTIONS http://h:8001 HTTP/1.1',
        'OPTIONS',
        '*',
        '',
        'HTTP/1.1',
    ),
    'absolute form of OPTIONS with a path': (b'OPTIONS http://h/ HTTP/1.1', 'OPTIONS', '/', '', 'HTTP/1.1'),
    'absolute form of OPTIONS with a query': (b'OPTIONS http://h?a HTTP/1.1', 'OPTIONS', '/', 'a', 'HTTP/1.1'),
    'authority of another in the path of origin form': (b'GET //h:1/a HTTP/1.1', 'GET', '//h:1/a', '', 'HTTP/1.1'),
    'a path that is a target of another form': (b'GET /http://h/ HTTP/1.1', 'GET', '/http://h/', '', 'HTTP/1.1'),
    'a path of OPTIONS': (b'OPTIONS /* HTTP/1.1', 'OPTIONS', '/*', '', 'HTTP/1.1'),
    'semicolons': (b'GET /a;b=c;d HTTP/1.1', 'GET', '/a;b=c;d', '', 'HTTP/1.1'),
    'encoded line ends': (b'GET /%0d%0A?%0d%0a HTTP/1.1', 'GET', '/\r\n', '%0d%0a', 'HTTP/1.1'),
    'TRACE is for the application (RFC 9110 9.3.8)': (b'TRACE / HTTP/1.1', 'TRACE', '/', '', 'HTTP/1.1'),
    'absolute form of IPv6': (b'GET http://[::1]:80/a HTTP/1.1', 'GET', '/a', '', 'HTTP/1.1'),
    'absolute form in the query of origin form': (b'GET /?http://h/ HTTP/1.1', 'GET', '/', 'http://h/', 'HTTP/1.1'),
    'methods are case-sensitive (RFC 9110 9.1)': (b'get / HTTP/1.1', 'get', '/', '', 'HTTP/1.1'),
    'any token is a method (RFC 9112 3.1)': (
        b"!#$%&'*+-.^_`|~09AZaz / HTTP/1.1",
        "!#$%&'*+-.^_`|~09AZaz",
        '/',
        '',
        'HTTP/1.1',
    ),
    'the longest method': (b'M' * 64 + b' / HTTP/1.1', 'M' * 64, '/', '', 'HTTP/1.1'),
    'HTTP/1.0': (b'GET / HTTP/1.0', 'GET', '/', '', 'HTTP/1.0'),
    'a later minor version (RFC 9110 2.5)': (b'GET / HTTP/1.9', 'GET', '/', '', 'HTTP/1.1'),
}

REFUSED = {
    'nothing': (b'', 400),
    'a method alone': (b'GET', 400),
    'HTTP/0.9 (RFC 9112 3)': (b'GET /', 400),
    'HTTP/0.9, said': (b'GET / HTTP/0.9', 505),
    'HTTP/2.0 (RFC 9110 15.6.6)': (b'GET / HTTP/2.0', 505),
    'the preface of HTTP/2 (RFC 9113 3.4)': (b'PRI * HTTP/2.0', 505),
    'HTTP/3.0': (b'GET / HTTP/3.0', 505),
    'no minor version (RFC 9112 2.3)': (b'GET / HTTP/1', 400),
    'no minor version, but a dot': (b'GET / HTTP/1.', 400),
    'no major version': (b'GET / HTTP/.1', 400),
    'a leading zero in the version': (b'GET / HTTP/01.1', 400),
    'three parts in the version': (b'GET / HTTP/1.1.1', 400),
    'a blank in the version': (b'GET / HTTP /1.1', 400),
    'a blank behind the slash of the version': (b'GET / HTTP/ 1.1', 400),
    'a version with a sign': (b'GET / HTTP/+1.1', 400),
    'two digits in the minor version': (b'GET / HTTP/1.10', 400),
    'two digits in the major version': (b'GET / HTTP/11.1', 400),
    'a version in small letters (RFC 9112 2.3)': (b'GET / http/1.1', 400),
    'a version with a comma': (b'GET / HTTP/1,1', 400),
    'another protocol': (b'GET / HTTPS/1.1', 400),
    'digits of another script': ('GET / HTTP/1.\u0661'.encode(), 400),
    'a blank at the end (RFC 9112 3)': (b'GET / HTTP/1.1 ', 400),
    'a blank at the start': (b' GET / HTTP/1.1', 400),
    'two blanks before the target (RFC 9112 3)': (b'GET  / HTTP/1.1', 400),
    'two blanks before the version': (b'GET /  HTTP/1.1', 400),
    'a tab before the target': (b'GET\t/ HTTP/1.1', 400),
    'a tab before the version': (b'GET /\tHTTP/1.1', 400),
    'a form feed for a blank': (b'GET /\x0cHTTP/1.1', 400),
    'a blank in the target (RFC 9112 3.2)': (b'GET /a b HTTP/1.1', 400),
    'no target': (b'GET HTTP/1.1', 400),
    'an empty target': (b'GET  HTTP/1.1', 400),
    'NUL in the target': (b'GET /\0 HTTP/1.1', 400),
    'DEL in the target': (b'GET /\x7f HTTP/1.1', 400),
    'a control in the target': (b'GET /\x1b HTTP/1.1', 400),
    'a byte above 127 in the target (RFC 3986 2)': (b'GET /\xe9 HTTP/1.1', 400),
    'a byte above 127 in the query': (b'GET /?\xe9 HTTP/1.1', 400),
    'a byte above 127 in absolute form': (b'GET http://h\xe9/ HTTP/1.1', 400),
    'a vertical tab in the target': (b'GET /\x0b HTTP/1.1', 400),
    'a no-break space for a blank': (b'GET\xa0/ HTTP/1.1', 400),
    'NEL for a blank': (b'GET /\x85HTTP/1.1', 400),
    'a fragment (RFC 9110 7.1)': (b'GET /#a HTTP/1.1', 400),
    'a fragment alone': (b'GET # HTTP/1.1', 400),
    'a fragment in absolute form': (b'GET http://h/#a HTTP/1.1', 400),
    'a bare CR in the target (RFC 9112 2.2)': (b'GET /\ra HTTP/1.1', 400),
    'a bare LF in the target': (b'GET /\na HTTP/1.1', 400),
    'a bare LF as the end of the line': (b'GET / HTTP/1.1\nA: b', 400),
    'CR twice': (b'GET / HTTP/1.1\r', 400),
    'a method with a delimiter (RFC 9110 9.1)': (b'G(T / HTTP/1.1', 400),
    'a method with a colon': (b'Host: / HTTP/1.1', 400),
    'a method with a byte above 127': (b'G\xc9T / HTTP/1.1', 400),
    'a method with NUL': (b'GET\0 / HTTP/1.1', 400),
    'no method': (b' / HTTP/1.1', 400),
    'a method longer than any (RFC 9112 3)': (b'M' * 65 + b' / HTTP/1.1', 501),
    'CONNECT is for proxies (RFC 9110 9.3.6)': (b'CONNECT h:80 HTTP/1.1', 501),
    'CONNECT with a path': (b'CONNECT / HTTP/1.1', 501),
    'an asterisk for another method (RFC 9112 3.2.4)': (b'GET * HTTP/1.1', 400),
    'CONNECT in absolute form': (b'CONNECT http://h/ HTTP/1.1', 501),
    'an asterisk for HEAD': (b'HEAD * HTTP/1.1', 400),
    'an asterisk for options': (b'options * HTTP/1.1', 400),
    'two asterisks': (b'OPTIONS ** HTTP/1.1', 400),
    'an asterisk with a query': (b'OPTIONS *?a HTTP/1.1', 400),
    'an asterisk with a path': (b'OPTIONS */a HTTP/1.1', 400),
    'authority form of OPTIONS': (b'OPTIONS h:80 HTTP/1.1', 400),
    'a name alone': (b'GET h HTTP/1.1', 400),
    'authority form for another method (RFC 9112 3.2.3)': (b'GET h:80 HTTP/1.1', 400),
    'a relative path (RFC 9112 3.2.1)': (b'GET a/b HTTP/1.1', 400),
    'a query alone': (b'GET ?a HTTP/1.1', 400),
    'absolute form of another scheme (RFC 9112 3.2.2)': (b'GET ftp://h/ HTTP/1.1', 400),
    'absolute form with one slash': (b'GET http:/h/ HTTP/1.1', 400),
    'absolute form without a host (RFC 9110 4.2.1)': (b'GET http:///a HTTP/1.1', 400),
    'absolute form with a port alone': (b'GET http://:80/ HTTP/1.1', 400),
    'absolute form of nothing': (b'GET http:// HTTP/1.1', 400),
    'absolute form with a query for a host': (b'GET http://?a HTTP/1.1', 400),
    'absolute form with a port above 65535': (b'GET http://h:65536/ HTTP/1.1', 400),
    'absolute form with a port that is none': (b'GET http://h:a/ HTTP/1.1', 400),
    'absolute form with two ports': (b'GET http://h:1:2/ HTTP/1.1', 400),
    'absolute form with an empty userinfo': (b'GET http://@h/ HTTP/1.1', 400),
    'absolute form with a bad IPv6': (b'GET http://[::1/ HTTP/1.1', 400),
    'absolute form without slashes': (b'GET http:h HTTP/1.1', 400),
    'absolute form of a scheme that begins like http': (b'GET httpx://h/ HTTP/1.1', 400),
    'absolute form with nothing behind': (b'GET http:// HTTP/1.1', 400),
    'absolute form with userinfo (4.2.4)': (b'GET http://u:p@h/ HTTP/1.1', 400),
    'absolute form with half an IPv6 address': (b'GET http://[::1/ HTTP/1.1', 400),
    'absolute form with a port of letters': (b'GET http://h:a/ HTTP/1.1', 400),
    'absolute form with a backslash': (b'GET http://h\\a HTTP/1.1', 400),
}


@pytest.mark.parametrize('name', SERVED)
def test_served(name: str, feed: str) -> None:
    line, method, path, query, protocol = SERVED[name]
    environ = accepted(head(line=line), feed).environ
    assert environ['REQUEST_METHOD'] == method
    assert environ['PATH_INFO'] == path
    assert environ['QUERY_STRING'] == query
    assert environ['SERVER_PROTOCOL'] == protocol
    assert environ['REQUEST_URI'] == line.split(b' ')[1].decode()


@pytest.mark.parametrize('name', REFUSED)
def test_refused(name: str, feed: str) -> None:
    line, status = REFUSED[name]
    # An empty request line is an empty line before one (RFC 9112 2.2), and "Host: x" is what comes next.
    assert refused(head(line=line), feed) == status


def _line(method: int = 3, target: int = 1, version: bytes = b'HTTP/1.1') -> bytes:
    """A request line with a method and a target of so many bytes."""
    return b'M' * method + b' /' + b'a' * (target - 1) + b' ' + version


# Limits are those of the option table where nothing else is said: max_url_len is 8192.
LENGTHS_SERVED = {
    'a line of 8,000 bytes (RFC 9112 3)': _line(target=8000 - len('GET  HTTP/1.1')),
    'the longest target': _line(target=8192),
    'the longest target of the longest method': _line(64, 8192),
}
LENGTHS_REFUSED = {
    'a target one byte too long': (_line(target=8193), 414),
    'a target one byte too long, of a short method': (_line(1, 8193), 414),
    'a target much too long': (_line(target=60000), 414),
    'a target too long in a line without a version': (_line(target=8300, version=b''), 414),
    'a target too long for a version that is not served': (_line(target=8193, version=b'HTTP/2.0'), 414),
    'a line that is too long because of blanks': (b'GET /' + b' ' * 9000 + b'HTTP/1.1', 414),
    'the method and the target are too long: the method comes first': (_line(65, 8193), 501),
    'a method as long as no target may be': (_line(8193), 501),
    'a long word that is no method': (b'M' * 60 + b'(' * 9000, 400),
}


@pytest.mark.parametrize('name', LENGTHS_SERVED)
def test_length_served(name: str, feed: str) -> None:
    line = LENGTHS_SERVED[name]
    assert accepted(head(line=line), feed).environ['REQUEST_URI'] == line.split(b' ')[1].decode()


@pytest.mark.parametrize('name', LENGTHS_REFUSED)
def test_length_refused(name: str, feed: str) -> None:
    line, status = LENGTHS_REFUSED[name]
    assert refused(head(line=line), feed) == status


@pytest.mark.parametrize('pieces', ['whole', 'byte by byte'])
def test_a_target_that_never_ends_is_refused_while_it_arrives(pieces: str) -> None:
    fitting = b'GET /' + b'a' * (8191 + len(' HTTP/1.1'))  # it may yet be a target of 8192 bytes, a blank and a version
    assert receive(FEEDS[pieces](fitting)).refused is None
    assert receive(FEEDS[pieces](fitting + b'\r')).refused is None
    assert receive(FEEDS[pieces](fitting + b'a')).refused == 414


@pytest.mark.parametrize('length', range(1, 20))
def test_the_limit_of_a_target_is_the_option(length: int, feed: str) -> None:
    data = head(line=_line(target=length))
    limits = Limits(max_url_len=10)
    if length <= 10:
        assert accepted(data, feed, limits).environ['REQUEST_URI'] == '/' + 'a' * (length - 1)
    else:
        assert refused(data, feed, limits) == 414


# RFC 9112 2.2: empty lines before a request line are skipped; they end with CR and LF, as all lines do.
@pytest.mark.parametrize('lines', [b'\r\n', b'\r\n\r\n', b'\r\n' * 5000], ids=['one', 'two', 'many'])
def test_empty_lines_before_the_request_line_are_skipped(lines: bytes, feed: str) -> None:
    assert accepted(lines + head(), feed).environ['REQUEST_URI'] == '/'


@pytest.mark.parametrize('lines', [b'\n', b'\r', b'\r\n\n', b'\r\n\r', b'\r\r\n', b'\n\r\n', b' \r\n'])
def test_what_is_no_empty_line_before_the_request_line_is_refused(lines: bytes, feed: str) -> None:
    assert refused(lines + head(), feed) == 400


def test_empty_lines_alone_are_no_request(feed: str) -> None:
    reception = receive(FEEDS[feed](b'\r\n' * 3))
    assert reception.refused is None
    assert len(reception.requests) == (feed == 'with another behind')
