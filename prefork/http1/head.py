"""A request's head: bytes in, the CGI variables of PEP 3333 and the framing of the body out."""

from __future__ import annotations

from prefork.errors import ProtocolError
from prefork.http1 import grammar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHUNKED = -1
"""The length of a body whose end its last chunk tells."""

END = b'\r\n\r\n'

# Lines are remembered as long as they are short and few: a client can fill the memory, never make it grow.
_MEMORY = 2048
_MEMORABLE = 512

_MAX_METHOD = 64
_MAX_DIGITS = 18  # of a Content-Length that is shown to applications as it was sent
_VERSIONS = {b'HTTP/1.1': (1, 'HTTP/1.1'), b'HTTP/1.0': (0, 'HTTP/1.0')}

_UNREPEATABLE = frozenset(('HTTP_HOST', 'CONTENT_LENGTH', 'CONTENT_TYPE'))


class HeadParser:
    """Parses heads under limits, all in bytes: the longest field line, the most lines, the largest head, the longest
    request target.

    The same lines come again and again, so each is validated once and then found in a bounded dict by its bytes.
    """

    __slots__ = ('_fields', '_lines', '_methods', '_names', 'max_head', 'max_header_line', 'max_headers', 'max_url_len')

    def __init__(self, max_header_line: int, max_headers: int, max_head: int, max_url_len: int) -> None:
        self.max_header_line = max_header_line
        self.max_headers = max_headers
        self.max_head = max_head
        self.max_url_len = max_url_len
        self._lines: dict[bytes, tuple[int, str | None, dict[str, str]]] = {}
        self._fields: dict[bytes, tuple[str | None, str]] = {}
        # The parts of lines that are new every time.  Both are few; what is too much isn't remembered.
        self._methods: dict[bytes, str] = {}
        self._names: dict[bytes, str | None] = {}

    def parse(self, head: bytes, environ: dict[str, Any]) -> tuple[int, bool, int, bool]:
        """Read ``head``, which ends before its empty line, into ``environ`` (RFC 3875 names, values as latin-1).

        Returns the minor version (0 or 1), whether the connection may persist, the body's length in bytes or CHUNKED,
        and whether the client waits for 100 (Continue).  Raises ProtocolError with the status to answer with.
        ``environ`` must have no HTTP_ key and no CONTENT_ key yet.
        """
        lines = head.split(b'\r\n')
        line = lines[0]
        try:
            minor, authority, variables = self._lines[line]
        except KeyError:
            minor, authority, variables = self._request_line(line)
        if len(head) > self.max_head or len(lines) > self.max_headers + 1:
            raise ProtocolError('the head is too large', 431)
        environ.update(variables)
        del lines[0]
        fields = self._fields
        for line in lines:
            try:
                key, value = fields[line]
            except KeyError:
                key, value = self._field_line(line)
            if key is None:
                continue
            if key in environ:
                value = _repeated(key, environ[key], value)
            environ[key] = value
        if minor and 'HTTP_HOST' not in environ:
            raise ProtocolError('HTTP/1.1 needs a Host field')  # RFC 9112 3.2
        if authority is not None:
            environ['HTTP_HOST'] = authority  # RFC 9112 3.2.2: the target's host wins
        return minor, *_framing(minor, environ)

    def check_partial(self, data: bytes, start: int) -> None:
        """Refuse what can't become a head any more, so that a client is told at once.

        ``data`` is what has come so far, without an empty line; it was checked already up to ``start``.  Nothing is
        refused here that ``parse`` would take when the rest has come.
        """
        since = max(start - 1, 0)
        if grammar.BARE_LF.search(data, since) or grammar.BARE_CR.search(data, since):
            raise ProtocolError('a line must end with CR and LF')
        first = data.find(b'\r\n')
        if first < 0:
            line = data.removesuffix(b'\r')
            if line:
                self._check_start(line)
            return
        if first + 2 > start and data[:first] not in self._lines:
            self._request_line(data[:first])
        # Up to three bytes of what ends the head may have come with it, and one of what ends a line.
        if len(data) - 3 > self.max_head:
            raise ProtocolError('the head is too large', 431)
        unchecked = max(data.rfind(b'\r\n', 0, start), first) + 2  # the beginning of the line that start is in
        *lines, last = data[unchecked:].split(b'\r\n')
        if len(last) > self.max_header_line + 1 or any(len(line) > self.max_header_line for line in lines):
            raise ProtocolError('a header line is too long', 431)

    def _check_start(self, line: bytes) -> None:
        """Refuse, in the order in which it arrives, what can't be a request line or the beginning of one."""
        method = grammar.METHOD.match(line)
        end = method.end() if method else 0
        if end > _MAX_METHOD:
            raise ProtocolError('the method is too long', 501)  # RFC 9112 3
        if line[end : end + 1] not in (b'', b' ') or not end:
            raise ProtocolError('this is not an HTTP request')
        if len(line) - end > self.max_url_len + len('  HTTP/1.1'):
            raise ProtocolError('the request target is too long', 414)

    def _request_line(self, line: bytes) -> tuple[int, str | None, dict[str, str]]:
        """Read a request line that isn't remembered.  Browsers send new ones all the time: this is the hot path too."""
        try:
            method, target, version = line.split(b' ')
            verb, (minor, protocol) = self._methods[method], _VERSIONS[version]
        except (KeyError, ValueError):
            verb, target, minor, protocol = self._unusual_line(line)
        if len(target) > self.max_url_len:
            raise ProtocolError('the request target is too long', 414)
        if not grammar.TARGET.fullmatch(target):
            self._check_start(line)
            raise ProtocolError('the request line is malformed')
        authority, path, query = _split_target(verb, target)
        variables = {
            'REQUEST_METHOD': verb,
            'REQUEST_URI': target.decode('ascii'),
            'PATH_INFO': _unquote(path) if b'%' in path else path.decode('ascii'),
            'QUERY_STRING': query.decode('ascii'),
            'SERVER_PROTOCOL': protocol,
        }
        if len(line) <= _MEMORABLE:
            if len(self._lines) >= _MEMORY:
                self._lines.clear()
            self._lines[line] = minor, authority, variables
        return minor, authority, variables

    def _unusual_line(self, line: bytes) -> tuple[str, bytes, int, str]:
        """The method, target and version of a line whose method or version isn't known yet, or that is malformed."""
        match = grammar.REQUEST_LINE.fullmatch(line)
        if match is None:
            self._check_start(line)
            raise ProtocolError('the request line is malformed')
        method, target, major, minor = match.groups()
        if len(method) > _MAX_METHOD:
            raise ProtocolError('the method is too long', 501)
        if len(target) > self.max_url_len:
            raise ProtocolError('the request target is too long', 414)
        if major != b'1':
            raise ProtocolError('only HTTP/1.0 and HTTP/1.1 are served', 505)
        verb = method.decode('ascii')
        if len(self._methods) < _MEMORY:
            self._methods[method] = verb
        # RFC 9110 2.5: a minor version above ours is answered as the highest that we speak.
        return verb, target, *_VERSIONS[b'HTTP/1.0' if minor == b'0' else b'HTTP/1.1']

    def _field_line(self, line: bytes) -> tuple[str | None, str]:
        if len(line) > self.max_header_line:
            raise ProtocolError('a header line is too long', 431)
        name, colon, raw = line.partition(b':')
        try:
            key = self._names[name]
        except KeyError:
            key = self._variable(name)
        if not colon or not grammar.FIELD_VALUE.fullmatch(raw):
            raise ProtocolError('a header line is malformed')
        value = raw.strip(b' \t').decode('latin-1')
        if key == 'HTTP_HOST' and not grammar.HOST.fullmatch(value):
            raise ProtocolError('the Host field is malformed')
        if key == 'CONTENT_LENGTH':
            if not grammar.CONTENT_LENGTH.fullmatch(value):
                raise ProtocolError('the Content-Length field is malformed')
            if len(value) > _MAX_DIGITS:
                value = value.lstrip('0') or '0'  # int() refuses thousands of digits, zeros or not
        if len(line) <= _MEMORABLE:
            if len(self._fields) >= _MEMORY:
                self._fields.clear()
            self._fields[line] = key, value
        return key, value

    def _variable(self, name: bytes) -> str | None:
        """RFC 3875 4.1.18: the variable that a field of this name becomes; None for a field that is dropped."""
        if not grammar.FIELD_NAME.fullmatch(name):
            raise ProtocolError('a header line is malformed')
        key: str | None = None
        if b'_' not in name:  # "X_Y" and "X-Y" would be one variable: a way past a proxy's checks
            key = name.decode('ascii').upper().replace('-', '_')
            if key not in ('CONTENT_LENGTH', 'CONTENT_TYPE'):
                key = f'HTTP_{key}'
        if len(name) <= _MEMORABLE and len(self._names) < _MEMORY:
            self._names[name] = key
        return key


def _split_target(method: str, target: bytes) -> tuple[str | None, bytes, bytes]:
    """RFC 9112 3.2: the authority (None but in absolute form), the raw path and the raw query of a target."""
    if method == 'CONNECT':
        raise ProtocolError('CONNECT is for proxies', 501)
    if target.startswith(b'/'):
        path, _, query = target.partition(b'?')
        return None, path, query
    if target == b'*':
        if method != 'OPTIONS':
            raise ProtocolError('the target * is for OPTIONS')
        return None, target, b''
    match = grammar.ABSOLUTE_FORM.fullmatch(target.decode('ascii'))
    # RFC 9110 4.2.4: userinfo before the host is treated as an error; HOST has no "@".
    if match is None or not grammar.HOST.fullmatch(match[1]):
        raise ProtocolError('the request target is malformed')
    authority, path_text, query_text = match.groups()
    if not path_text:
        # RFC 9110 4.2.3: none is "/", but for OPTIONS, where it is what asterisk form says (RFC 9112 3.2.4).
        path_text = '*' if method == 'OPTIONS' and query_text is None else '/'
    return authority, path_text.encode(), (query_text or '').encode()


def _unquote(path: bytes) -> str:
    """PEP 3333: the path percent-decoded, its bytes as code points."""
    return grammar.PERCENT_ENCODED.sub(lambda match: bytes((int(match[1], 16),)), path).decode('latin-1')


def _repeated(key: str, first: str, second: str) -> str:
    """RFC 9110 5.3: a field that comes again is one list, except where a list makes no sense."""
    if key in _UNREPEATABLE:
        # Equal lengths twice are allowed to be merged (RFC 9110 8.6), but whoever sends them is broken or probing.
        raise ProtocolError(f'{key.removeprefix("HTTP_").replace("_", "-").title()} is there twice')
    return f'{first}; {second}' if key == 'HTTP_COOKIE' else f'{first}, {second}'  # RFC 9113 8.2.3 for cookies


def _tokens(value: str) -> list[str]:
    return [token.strip(' \t') for token in value.lower().split(',')]


def _framing(minor: int, environ: dict[str, Any]) -> tuple[bool, int, bool]:
    """Whether the connection persists, the body's length or CHUNKED, and whether 100 (Continue) is awaited."""
    persist = minor == 1
    connection = environ.get('HTTP_CONNECTION')
    if connection is not None:
        tokens = _tokens(connection)
        # RFC 9112 9.3: close wins over keep-alive, and 1.0 persists only when asked to.
        persist = 'close' not in tokens and (minor == 1 or 'keep-alive' in tokens)
    length = 0
    content_length = environ.get('CONTENT_LENGTH')
    if content_length is not None:
        length = int(content_length)
    coding = environ.get('HTTP_TRANSFER_ENCODING')
    if coding is not None:
        _check_coding(coding, minor, content_length)
        length = CHUNKED
    expect = environ.get('HTTP_EXPECT')
    if expect is None or minor == 0:  # RFC 9110 10.1.1: from HTTP/1.0 it is ignored
        return persist, length, False
    expectations = set(_tokens(expect)) - {''}  # RFC 9110 5.6.1.2: empty members of a list are ignored
    if not expectations <= {'100-continue'}:
        raise ProtocolError('only 100-continue can be expected', 417)
    return persist, length, length != 0 and bool(expectations)


def _check_coding(coding: str, minor: int, content_length: str | None) -> None:
    if minor == 0:
        raise ProtocolError('HTTP/1.0 has no Transfer-Encoding')  # RFC 9112 6.1
    if content_length is not None:
        # RFC 9112 6.1: both framings in one request is how smuggling starts; we refuse.
        raise ProtocolError('Content-Length and Transfer-Encoding exclude each other')
    codings = _tokens(coding)
    if codings == ['chunked']:
        return
    # RFC 9110 5.6.1.2 has empty members ignored.  Here they come from who probes for a reader who does, or doesn't.
    if not all(grammar.CODING.fullmatch(member) for member in codings):
        raise ProtocolError('the Transfer-Encoding field is malformed')
    names = [member.partition(';')[0].rstrip(' \t') for member in codings]
    if 'chunked' in names and (codings[-1] != 'chunked' or names.count('chunked') > 1):
        raise ProtocolError('chunked must be the last coding, once, and without parameters')  # RFC 9112 6.3 and 7.1
    raise ProtocolError(f'the coding {names[0]} is not implemented', 501)  # RFC 9112 6.1
