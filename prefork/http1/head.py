"""A request's head: bytes in, the CGI variables of PEP 3333 and the framing of the body out."""

from __future__ import annotations

from prefork.errors import ProtocolError
from prefork.http1 import grammar
from prefork.http1.memory import Memory
from prefork.http1.openings import KEY, Openings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHUNKED = -1
"""The length of a body whose end its last chunk tells."""

END = b'\r\n\r\n'
CR = ord('\r')

_MAX_METHOD = 64
_MAX_DIGITS = 18  # of a Content-Length that is shown to applications as it was sent
_MINORS = {'HTTP/1.0': 0, 'HTTP/1.1': 1}

_UNREPEATABLE = frozenset(('HTTP_HOST', 'CONTENT_LENGTH', 'CONTENT_TYPE'))


class HeadParser:
    """Parses heads under limits, all in bytes: the longest field line, the most lines, the largest head, the longest
    request target.

    ``base`` is the environ that all requests begin with: RFC 3875's variables are added to it, with values as latin-1.
    It must have no HTTP_ key and no CONTENT_ key.

    Clients send the same again and again, so most of it is validated once and then remembered: short heads, what long
    ones begin with, and single lines; 13 MiB of them where clients do their worst.
    """

    __slots__ = (
        '_fields',
        '_heads',
        '_lines',
        '_names',
        '_openings',
        '_read_line',
        'max_head',
        'max_header_line',
        'max_headers',
        'max_url_len',
    )

    def __init__(
        self,
        max_header_line: int,
        max_headers: int,
        max_head: int,
        max_url_len: int,
        base: dict[str, Any] | None = None,
    ) -> None:
        self.max_header_line = max_header_line
        self.max_headers = max_headers
        self.max_head = max_head
        self.max_url_len = max_url_len
        self._heads = Memory(self._read_head, 512)
        self._openings = Openings(base or {}, self._combine)
        self._lines = Memory(self._read_request_line)
        self._fields = Memory(self._read_field_line)
        self._read_line = self._fields.__getitem__
        self._names = Memory(_variable)

    def parse(self, head: bytes) -> tuple[dict[str, Any], int, bool, int, bool]:
        """Read a head, without the END that is behind it.

        Returns a new environ, the minor version (0 or 1), whether the connection may persist, the body's length in
        bytes or CHUNKED, and whether the client waits for 100 (Continue).  Raises ProtocolError with the status to
        answer with.
        """
        if len(head) > KEY:
            return self._read_head(head)
        # One that repeats as a whole is read for two fifths of what it cost line by line.
        environ, minor, persist, length, expects = self._heads[head]
        return environ.copy(), minor, persist, length, expects

    def _read_head(self, head: bytes) -> tuple[dict[str, Any], int, bool, int, bool]:
        line, _, rest = head.partition(b'\r\n')
        minor, authority, variables = self._lines[line]
        if len(head) > self.max_head:
            raise ProtocolError('the head is too large', 431)
        opening, size, begun, count = self._openings[rest[:KEY]]
        if rest[:size] != opening:
            opening, size, begun, count = self._openings.learn(rest)
        lines = rest[size:].split(b'\r\n') if rest else []
        if count + len(lines) > self.max_headers:  # before they are read: so many could take long
            raise ProtocolError('the head is too large', 431)
        environ: dict[str, Any] = begun.copy()
        environ.update(variables)
        if lines:
            keys = len(environ)
            environ.update(map(self._read_line, lines))
            if len(environ) != keys + len(lines) or None in environ:  # some have come again, or are to be dropped
                environ = {**self._combine(begun, lines), **variables}
        if minor and 'HTTP_HOST' not in environ:
            raise ProtocolError('HTTP/1.1 needs a Host field')  # RFC 9112 3.2
        if authority is not None:
            environ['HTTP_HOST'] = authority  # RFC 9112 3.2.2: the target's host wins
        return environ, minor, *_framing(minor, environ)

    def _combine(self, environ: dict[str, Any], lines: list[bytes]) -> dict[str, Any]:
        """An environ that has, beside what ``environ`` has, the fields of ``lines``, which came behind its own."""
        environ = environ.copy()
        for key, value in map(self._read_line, lines):
            if key is not None:
                environ[key] = _repeated(key, environ[key], value) if key in environ else value
        return environ

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
                self._check_start(line.decode('latin-1'))
            return
        if first + 2 > start:
            self._lines[data[:first]]
        # Up to three bytes of what ends the head may have come with it, and one of what ends a line.
        if len(data) - 3 > self.max_head:
            raise ProtocolError('the head is too large', 431)
        unchecked = max(data.rfind(b'\r\n', 0, start), first) + 2  # the beginning of the line that start is in
        *lines, last = data[unchecked:].split(b'\r\n')
        if len(last) > self.max_header_line + 1 or any(len(line) > self.max_header_line for line in lines):
            raise ProtocolError('a header line is too long', 431)

    def _check_start(self, line: str) -> None:
        """Refuse, in the order in which it arrives, what can't be a request line or the beginning of one."""
        method = grammar.TOKEN.match(line)
        end = method.end() if method else 0
        if end > _MAX_METHOD:
            raise ProtocolError('the method is too long', 501)  # RFC 9112 3
        if line[end : end + 1] not in ('', ' ') or not end:
            raise ProtocolError('this is not an HTTP request')
        if len(line) - end > self.max_url_len + len('  HTTP/1.1'):
            raise ProtocolError('the request target is too long', 414)

    def _read_request_line(self, data: bytes) -> tuple[int, str | None, dict[str, str]]:
        """The minor version, the authority of a target in absolute form, and the variables that a line becomes.

        Browsers send new ones all the time: this is the hot path too.
        """
        line = data.decode('latin-1')
        match = grammar.REQUEST_LINE.fullmatch(line)
        if match is None:
            self._check_start(line)
            raise ProtocolError('the request line is malformed')
        method, target, protocol = match.groups()
        if len(method) > _MAX_METHOD:
            raise ProtocolError('the method is too long', 501)
        if len(target) > self.max_url_len:
            raise ProtocolError('the request target is too long', 414)
        if protocol not in _MINORS:
            if not protocol.startswith('HTTP/1.'):
                raise ProtocolError('only HTTP/1.0 and HTTP/1.1 are served', 505)
            protocol = 'HTTP/1.1'  # RFC 9110 2.5: a minor version above ours is answered as the highest that we speak
        authority, path, query = _split_target(method, target)
        variables = {
            'REQUEST_METHOD': method,
            'REQUEST_URI': target,
            'PATH_INFO': _unquote(path) if '%' in path else path,
            'QUERY_STRING': query,
            'SERVER_PROTOCOL': protocol,
        }
        return _MINORS[protocol], authority, variables

    def _read_field_line(self, line: bytes) -> tuple[str | None, str]:
        """The variable and the value that a line becomes; no variable where the field is dropped."""
        if len(line) > self.max_header_line:
            raise ProtocolError('a header line is too long', 431)
        name, colon, value = line.decode('latin-1').partition(':')
        key: str | None = self._names[name]
        # What is printable is allowed, and found out in a third of the time.
        if not colon or not (value.isprintable() or grammar.FIELD_VALUE.fullmatch(value)):
            raise ProtocolError('a header line is malformed')
        value = value.strip(' \t')
        if key == 'HTTP_HOST' and not grammar.HOST.fullmatch(value):
            raise ProtocolError('the Host field is malformed')
        if key == 'CONTENT_LENGTH':
            if not grammar.CONTENT_LENGTH.fullmatch(value):
                raise ProtocolError('the Content-Length field is malformed')
            if len(value) > _MAX_DIGITS:
                value = value.lstrip('0') or '0'  # int() refuses thousands of digits, zeros or not
        return key, value


def _variable(name: str) -> str | None:
    """RFC 3875 4.1.18: the variable that a field of this name becomes; None for a field that is dropped."""
    if not grammar.TOKEN.fullmatch(name):
        raise ProtocolError('a header line is malformed')
    if '_' in name:  # "X_Y" and "X-Y" would be one variable: a way past a proxy's checks
        return None
    key = name.upper().replace('-', '_')
    return key if key in ('CONTENT_LENGTH', 'CONTENT_TYPE') else f'HTTP_{key}'


def _split_target(method: str, target: str) -> tuple[str | None, str, str]:
    """RFC 9112 3.2: the authority (None but in absolute form), the raw path and the raw query of a target."""
    if method == 'CONNECT':
        raise ProtocolError('CONNECT is for proxies', 501)
    if target[0] == '/':
        path, _, query = target.partition('?')
        return None, path, query
    if target == '*':
        if method != 'OPTIONS':
            raise ProtocolError('the target * is for OPTIONS')
        return None, target, ''
    match = grammar.ABSOLUTE_FORM.fullmatch(target)
    # RFC 9110 4.2.4: userinfo before the host is treated as an error; HOST has no "@".
    if match is None or not grammar.HOST.fullmatch(match[1]):
        raise ProtocolError('the request target is malformed')
    authority, path, query = match.groups('')
    if not path:
        # RFC 9110 4.2.3: none is "/", but for OPTIONS, where it is what asterisk form says (RFC 9112 3.2.4).
        path = '*' if method == 'OPTIONS' and match[3] is None else '/'
    return authority, path, query


def _unquote(path: str) -> str:
    """PEP 3333: the path percent-decoded, its bytes as code points."""
    return grammar.PERCENT_ENCODED.sub(lambda match: chr(int(match[1], 16)), path)


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
    if connection == 'keep-alive':  # nearly all that is ever said
        persist = True
    elif connection is not None:
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
