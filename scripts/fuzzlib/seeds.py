"""The inputs that fuzzing begins with: each valid in a way of its own, or wrong in one place.

What was found by fuzzing is not kept here, but as a named case in tests/http1.
"""

from __future__ import annotations

_GET = b'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
_CHUNKED = b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'

REQUESTS = [
    # the request line
    _GET,
    b'GET /a/b%20c/%C3%A9?d=e&f=%2F HTTP/1.1\r\nHost: example.com:8080\r\n\r\n',
    b'GET http://user.example/a?b HTTP/1.1\r\nHost: x\r\n\r\n',
    b'GET https://[::1]:8443 HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n',
    b'OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n',
    b'CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n',
    b'GET / HTTP/1.0\r\n\r\n',
    b'GET / HTTP/1.9\r\nHost: x\r\n\r\n',
    b'GET / HTTP/2.0\r\n\r\n',
    b'GET /\r\n\r\n',
    b'\r\n\r\n' + _GET,
    b"!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: x\r\n\r\n",
    b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',  # TLS
    b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    # fields
    b'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\na: c\r\nCookie: d=e\r\nCookie: f=g\r\nH:\t i \t\r\nJ:\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: x\r\nX-Real_IP: 1\r\nX-Real-IP: 2\r\nUser-Agent: \xe9\xff\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost : x\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n',
    b'GET / HTTP/1.1\rHost: x\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\nConnection: upgrade\r\n\r\n' + _GET,
    b'GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: x\r\n' + b'A: b\r\n' * 100 + b'\r\n',
    b'GET /' + b'a' * 9000 + b' HTTP/1.1\r\nHost: x\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: x\r\nA: ' + b'b' * 17000 + b'\r\n\r\n',
    # framing
    b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Type: a/b\r\n\r\nabc' + _GET,
    b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n' + _GET,
    b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc',
    b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc',
    b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc',
    b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999999999\r\n\r\n',
    b'POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\nabc',
    b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n',
    b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n',
    b'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    # chunks
    _CHUNKED + b'3\r\nabc\r\n0\r\n\r\n' + _GET,
    _CHUNKED + b'1\r\na\r\n0A\r\n0123456789\r\n000\r\nA: b\r\nC:\r\n\r\n' + _GET,
    _CHUNKED + b'3;a=b;c="d;\\"e" \r\nabc\r\n0 ;f\r\n\r\n',
    _CHUNKED + b'4\r\n\r\n\r\n\r\n0\r\n\r\n',
    _CHUNKED + b'6_0\r\nabc\r\n0\r\n\r\n',
    _CHUNKED + b'0x3\r\nabc\r\n0\r\n\r\n',
    _CHUNKED + b'3 \r\nabc\r\n0\r\n\r\n',
    _CHUNKED + b'3\nabc\r\n0\r\n\r\n',
    _CHUNKED + b'3\r\nabcd\r\n0\r\n\r\n',
    _CHUNKED + b'3;a\n\r\nabc\r\n0\r\n\r\n',
    _CHUNKED + b'ffffffffffffffff\r\nabc',
    _CHUNKED + b'0\r\nContent-Length: 5\r\n\r\n',
    _CHUNKED + b'0\r\nGET / HTTP/1.1\r\n\r\n',
    _CHUNKED + b'1;' + b'a' * 5000 + b'\r\na\r\n0\r\n\r\n',
    _CHUNKED + b'1\r\na\r\n' * 200 + b'0\r\n\r\n',
]
"""For the targets that read requests: a client's bytes."""

RESPONSES = [
    b'\x0b200 OK\x1eContent-Type\x1ftext/plain\x1dbody',
    b'\x03200 OK\x1eContent-Length\x1f4\x1dbody',
    b'\x03200 OK\x1eContent-Length\x1f999999999999999999\x1dbody',
    b'\x03200 OK\x1dbody',
    b'\x02200 OK\x1dbody',
    b'\x00200 OK\x1eContent-Length\x1f4\x1dbody',
    b'\x07200 OK\x1eContent-Length\x1f4',
    b'\x03204 No Content\x1eContent-Length\x1f0',
    b'\x0b304 Not Modified\x1eContent-Length\x1f4\x1eETag\x1f"a"\x1dbody',
    b'\x09404 Not Found\x1eSet-Cookie\x1fa=b\x1eSet-Cookie\x1fc=d',
    b'\x03599 \xc3\xa9\x1eX\x1f\t\xc3\xa9 \x1eY\x1f\x1ed',
    b'\x03200 OK\x1eDate\x1fyesterday\x1eserver\x1fmine\x1dbody',
    b'\x03200 OK\x1eX\x1fa\r\nB: c',
    b'\x03200 OK\r\nB: c\x1eX\x1fa',
    b'\x03200 OK\x1eX: a\r\nB\x1fc',
    b'\x03200 OK\x1eX\x1fa\r\n\r\n<html>',
    b'\x03100 Continue\x1eX\x1fa',
    b'\x03200\x1eX\x1fa',
    b'\x03200 OK\x1eConnection\x1fclose\x1eTransfer-Encoding\x1fchunked',
    b'\x03200 OK\x1eContent-Length\x1f+4\x1dbody',
    b'\x03200 OK\x1eContent-Length\x1f4\x1econtent-length\x1f5\x1dbody',
    b'\x03200 OK\x1eX\x1f\xe2\x9c\x93\x1eY\x1f\xff',
]
"""For the target that writes responses: see ``targets.answer_of``."""
