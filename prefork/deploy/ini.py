"""Ini text to sections, each option with its line: pure, no file is opened here.

The grammar is that of the standard library's ``configparser.ConfigParser(strict=True)`` with ``optionxform = str``,
because that is what every PasteDeploy file was written against.  What it adds: line numbers, and errors that are
handed to the caller, who knows whether the section matters: all bad lines, and all duplicates.
"""

from __future__ import annotations

import re

from prefork.errors import IniParseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prefork.errors import IniError

DEFAULT = 'DEFAULT'

# Greedy on purpose: the name ends at the last bracket of the line, and what follows is ignored.
_HEADER = re.compile(r'\[(.+)\]')
_LINE_END = re.compile(r'\r\n|\r|\n')
_DELIMITER = re.compile(r'[=:]')


class Place:
    """Where something stands: ``path:line: [section] key``; what doesn't apply is None."""

    __slots__ = ('key', 'line', 'path', 'section')

    def __init__(self, path: str, section: str | None = None, key: str | None = None, line: int | None = None) -> None:
        self.path = path
        self.section = section
        self.key = key
        self.line = line

    def __str__(self) -> str:
        where = self.path if self.line is None else f'{self.path}:{self.line}'
        section = '' if self.section is None else f' [{self.section}]'
        return where + section + ('' if self.key is None else f' {self.key}')

    def error(self, kind: type[IniError], problem: str, used_by: tuple[str, ...] = ()) -> IniError:
        """An exception of class ``kind`` for this place."""
        return kind(problem, path=self.path, section=self.section, key=self.key, line=self.line, used_by=used_by)


class Option:
    """One ``key = value``.  ``value`` is raw: continued lines are joined by newlines, ``%`` isn't interpreted."""

    __slots__ = ('key', 'place', 'value')

    def __init__(self, key: str, value: str, place: Place) -> None:
        self.key = key
        self.value = value
        self.place = place


class Section:
    """One ``[name]`` with its options, in the order of the file."""

    __slots__ = ('name', 'options', 'place')

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self.place = place
        self.options: dict[str, Option] = {}

    def place_of(self, key: str) -> Place:
        """Where ``key`` stands; where the section begins, if it hasn't that key."""
        option = self.options.get(key)
        return self.place if option is None else option.place


class Document:
    """A parsed file: ``sections`` by name without [DEFAULT], which is ``defaults``.

    ``malformed`` holds an error for each line that is none of an ini file, ``duplicates`` one for each section or key
    that is there a second time; the first one was kept.
    """

    __slots__ = ('defaults', 'duplicates', 'malformed', 'path', 'sections')

    def __init__(self, path: str) -> None:
        self.path = path
        self.defaults = Section(DEFAULT, Place(path, DEFAULT))
        self.sections: dict[str, Section] = {}
        self.malformed: list[IniError] = []
        self.duplicates: list[IniError] = []


def parse(text: str, path: str) -> Document:
    """The document that ``text`` is, and its errors; ``path`` is its name in them."""
    parser = _Parser(path)
    for number, line in enumerate(_LINE_END.split(text.removeprefix('\ufeff')), start=1):
        parser.feed(number, line)
    return parser.close()


class _Parser:
    """The state between two lines: the section, and the option that a deeper line would continue."""

    def __init__(self, path: str) -> None:
        self.document = Document(path)
        self.section: Section | None = None
        self.option: Option | None = None
        self.lines: list[str] = []
        self.indent = 0

    def feed(self, number: int, line: str) -> None:
        text = line.strip()
        if text.startswith(('#', ';')):
            return  # also within a continued value, to which it adds nothing
        if not text:
            self.lines.append('')
            return
        indent = len(line) - len(line.lstrip())
        if self.option is not None and indent > self.indent:
            self.lines.append(text)
            return
        self.indent = indent
        header = _HEADER.match(text)
        if header:
            self._begin_section(header[1], number)
        elif self.section is None:
            if not self.document.malformed:  # of a file that is no ini, one line says it all
                self._complain(number, f'{text!r} stands before any [section]')
        else:
            self._begin_option(self.section, text, number)

    def close(self) -> Document:
        self._end_option()
        return self.document

    def _begin_section(self, name: str, number: int) -> None:
        self._end_option()
        document = self.document
        place = Place(document.path, name, None, number)
        if name == DEFAULT:  # it may come in several parts
            self.section = document.defaults
            if document.defaults.place.line is None:
                document.defaults.place = place
            return
        self.section = Section(name, place)
        first = document.sections.setdefault(name, self.section)
        if first is not self.section:
            problem = f'this section is there twice; the first one is in line {first.place.line}'
            document.duplicates.append(place.error(IniParseError, problem))

    def _begin_option(self, section: Section, text: str, number: int) -> None:
        delimiter = _DELIMITER.search(text)
        key = text[: delimiter.start()].rstrip() if delimiter else ''
        if delimiter is None or not key:
            missing = 'key before' if delimiter else "'=' or ':' in"
            self._complain(number, f'no {missing} {text!r}')
            return
        self._end_option()
        option = Option(key, '', Place(self.document.path, section.name, key, number))
        first = section.options.setdefault(key, option)
        if first is not option:
            problem = f'this key is there twice; the first one is in line {first.place.line}'
            self.document.duplicates.append(option.place.error(IniParseError, problem))
        self.option = option
        self.lines = [text[delimiter.end() :].strip()]

    def _end_option(self) -> None:
        if self.option is not None:
            self.option.value = '\n'.join(self.lines).rstrip()
        self.option = None

    def _complain(self, number: int, problem: str) -> None:
        section = None if self.section is None else self.section.name
        self.document.malformed.append(Place(self.document.path, section, None, number).error(IniParseError, problem))
