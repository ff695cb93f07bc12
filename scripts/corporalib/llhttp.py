"""llhttp's corpus: Markdown in which a request, in a block of its own, is followed by what its parser logs of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from corporalib.case import Case, Ending, Request, Unreadable, cgi_fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LENIENT = 'request-lenient-'
"""What the types of cases begin with that a parser has to be told to take.  Nobody can tell us."""

BENIGN_ERRORS = frozenset((5, 22))
"""The codes of errors that say that what follows is no request: data after ``Connection: close``, or an upgrade."""

_LINES = r'(?:(?!```)[^\n]*\n)*'
_PART = re.compile(
    r'^(?P<level>##+) (?P<title>[^\n]+)$'
    rf'|^<!-- meta=(?P<meta>\{{.*\}}) -->\s*^```http\n(?P<input>{_LINES})```\n{_LINES}```log\n(?P<log>{_LINES})```$',
    re.MULTILINE,
)
_EVENT = re.compile(r'off=(?:(?P<offset>\d+)|NULL) (?:len=(?P<length>\d+) span\[(?P<span>\w+)\]=|(?P<event>.+))')
_ERROR = re.compile(r'error code=(\d+) ')
_ESCAPE = re.compile(r'\\(?:([rntf])|x([0-9a-fA-F]+)|([0-7]{1,3}))')
_CONTROLS = {'r': '\r', 'n': '\n', 't': '\t', 'f': '\f'}


def read(folder: Path) -> Iterator[Case | Unreadable]:
    """The cases in ``folder``, named ``llhttp:FILE/TITLE`` after all headings that they stand below in their file."""
    names: dict[str, int] = {}
    for path in sorted(folder.glob('*.md')):
        titles: dict[int, str] = {}
        for part in _PART.finditer(path.read_text(encoding='utf-8')):
            if part['level']:
                depth = len(part['level'])
                titles = {level: title for level, title in titles.items() if level < depth}
                titles[depth] = part['title'].strip()
                continue
            name = '/'.join([f'llhttp:{path.stem}', *titles.values()])
            names[name] = names.get(name, 0) + 1
            if names[name] > 1:
                name = f'{name} ({names[name]})'
            try:
                yield _case(name, part['meta'], part['input'], part['log'])
            except (KeyError, ValueError) as error:
                yield Unreadable(f'{name}: {error!r}')


def unescape(text: str) -> bytes:
    """The bytes that a block stands for: its line ends are CRLF, but for the last one and those after a backslash.

    Raises ValueError.
    """
    if '${' in text:
        raise ValueError('an expression of JavaScript')
    text = text.removesuffix('\n').replace('\\\n', '').replace('\n', '\r\n')
    return _ESCAPE.sub(_unescape_one, text).encode()


def _unescape_one(match: re.Match[str]) -> str:
    if match[1]:
        return _CONTROLS[match[1]]
    return chr(int(match[2], 16) if match[2] else int(match[3], 8))


def _case(name: str, meta: str, block: str, log: str) -> Case:
    data = unescape(block)
    if json.loads(meta)['type'].startswith(LENIENT):
        return Case(name, data, (), Ending.REFUSED)
    return Case(name, data, *read_log(log, data))


class _Message:
    """A message while its events are read."""

    def __init__(self) -> None:
        self.spans: dict[str, bytes] = {}
        self.fields: list[tuple[bytes, bytes]] = []
        self.headed = False

    def add(self, span: str, content: bytes) -> None:
        self.spans[span] = self.spans.get(span, b'') + content

    def end_field(self) -> None:
        field = self.spans.pop('header_field', b''), self.spans.pop('header_value', b'')
        if not self.headed:  # else it is a trailer, which isn't part of the request's fields
            self.fields.append(field)

    def request(self) -> Request:
        fields = [(name.decode('latin-1'), value.decode('latin-1')) for name, value in self.fields]
        return Request(
            self.spans['method'].decode('latin-1'),
            self.spans['url'].decode('latin-1'),
            self.spans.get('version', b'0.9').decode('latin-1'),  # HTTP/0.9 has none
            cgi_fields(fields),
            self.spans.get('body', b''),
        )


def read_log(log: str, data: bytes) -> tuple[tuple[Request, ...], Ending]:
    """The complete requests of a log, whose contents stand in ``data``, and its end.  Raises ValueError."""
    requests: list[Request] = []
    message: _Message | None = None
    for line in log.splitlines():
        match = _EVENT.match(line)
        if match is None:
            raise ValueError(f'no event: {line!r}')
        if match['event'] == 'message begin':
            message = _Message()
        elif error := _ERROR.match(match['event'] or ''):
            return tuple(requests), Ending.COMPLETE if int(error[1]) in BENIGN_ERRORS else Ending.REFUSED
        elif message is None:
            continue
        elif match['span']:
            start = int(match['offset'])
            message.add(match['span'], data[start : start + int(match['length'])])
        elif match['event'] == 'header_value complete':
            message.end_field()
        elif match['event'].startswith('headers complete'):
            message.headed = True
        elif match['event'] == 'message complete':
            requests.append(message.request())
            message = None
    return tuple(requests), Ending.COMPLETE if message is None else Ending.CUT
