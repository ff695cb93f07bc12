"""The line parser against the standard library's, and what it adds: lines, all errors at once, duplicates."""

from __future__ import annotations

import configparser
import random

import pytest

from prefork.deploy import ini
from prefork.errors import IniParseError

Values = dict[str, dict[str, str]]

GRAMMAR = {
    'nothing': '',
    'only comments': '# a\n; b\n',
    'both delimiters': '[s]\na = 1\nb: 2\nc=3\nd:4\n',
    'first delimiter counts': '[s]\na = b:c\nhttp://x/ = y\n/: meta\ndomain a port 80 / = app\n',
    'blank in a key': '[s]\na b   c = d\n',
    'no inline comment': '[s]\na = 1 ; note\nb = 2 # note\n',
    'empty values': '[s]\na =\nb:\nc =   \n',
    'continued': '[s]\na = 1\n  2\n\t3\nb = 4\n',
    'continued after an empty first line': '[s]\na =\n  1\n  2\n',
    'comment in a continued value': '[s]\na = 1\n# no\n   ; nor this\n  2\n',
    'blank lines in a value': '[s]\na = 1\n\n  2\n\n\nb = 3\n',
    'deeper than the option, not than the section': '[s]\n  a = 1\n  b = 2\n    3\n a2 = 4\n',
    'continuation that looks like a header': '[s]\na = 1\n  [t]\n  b = 2\n',
    'indented header': '[s]\na = 1\n[t]\n  [u]\n  b = 2\n',
    'words after a header': '[app:main] words\na = 1\n[filter:x] ; see [y]\nb = 2\n',
    'case matters': '[S]\nA = 1\na = 2\n[s]\nA = 3\n[default]\nx = 1\n',
    'DEFAULT in two parts': '[DEFAULT]\na = 1\n[s]\nb = 2\n[DEFAULT]\nc = 3\n',
    'CRLF': '[s]\r\na = 1\r\n  2\r\n',
    'CR': '[s]\ra = 1\r  2\r',
    'no newline at the end': '[s]\na = 1',
    'form feed and line separator are no line ends': '[s]\na = 1\x0c2\x853\u20284\n',
    'non-breaking blanks are blanks': '[s]\n\u00a0a\u00a0=\u00a01\u00a0\n',
    'percent signs are nothing': '[s]\na = %(b)s %% %\n',
}

BROKEN = {
    'no header': 'a = 1\n',
    'no delimiter': '[s]\nflag\n',
    'no key': '[s]\n = 1\n',
    'empty header': '[]\na = 1\n',
    'header without an end': '[s\na = 1\n',
    'key twice': '[s]\na = 1\na = 2\n',
    'key twice in DEFAULT': '[DEFAULT]\na = 1\n[s]\n[DEFAULT]\na = 2\n',
    'section twice': '[s]\na = 1\n[t]\n[s]\nb = 1\n',
}


def theirs(text: str) -> Values | None:
    """What the standard library makes of it; None for an error."""
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_file(text.replace('\r\n', '\n').replace('\r', '\n').split('\n'))
    except configparser.Error:
        return None
    own = {name: dict(parser._sections[name]) for name in parser.sections()}  # type: ignore[attr-defined]
    return {'DEFAULT': dict(parser.defaults()), **own}


def ours(text: str) -> Values | None:
    document = ini.parse(text, 'x.ini')
    if document.malformed or document.duplicates:
        return None
    sections = (document.defaults, *document.sections.values())
    return {section.name: {key: option.value for key, option in section.options.items()} for section in sections}


@pytest.mark.parametrize('text', GRAMMAR.values(), ids=GRAMMAR)
def test_grammar_is_the_standard_librarys(text: str) -> None:
    assert ours(text) == theirs(text) is not None


@pytest.mark.parametrize('text', BROKEN.values(), ids=BROKEN)
def test_broken_for_both(text: str) -> None:
    assert theirs(text) is None
    assert ours(text) is None


def test_any_sequence_of_lines_means_the_same_to_both() -> None:
    lines = [
        '[s]',
        '[t] x',
        '[DEFAULT]',
        'a = 1',
        'b: 2',
        '  c',
        ' d = 3',
        '\te',
        '',
        '   ',
        '# n',
        '  ; n',
        'f',
        '=',
        '[',
    ]
    choose = random.Random(1)
    seen = {True: 0, False: 0}
    for _ in range(5000):
        text = '\n'.join(choose.choices(lines, weights=[4, 3, 2, 3, 3, 3, 2, 2, 2, 1, 1, 1, 0.2, 0.2, 0.2], k=7))
        if choose.random() < 0.8:
            text = f'[s{choose.randrange(3)}]\n{text}'
        expected = theirs(text)
        assert ours(text) == expected, text
        seen[expected is None] += 1
    assert min(seen.values()) > 500  # both outcomes were exercised


def test_byte_order_mark_is_no_text() -> None:
    assert ours('\ufeff[s]\na = 1\n') == {'DEFAULT': {}, 's': {'a': '1'}}


def test_places() -> None:
    document = ini.parse('# c\n[DEFAULT]\nx = 1\n\n[app:main]\na =\n  1\n  2\nb: 3\n', 'x.ini')
    main = document.sections['app:main']
    assert str(document.defaults.options['x'].place) == 'x.ini:3 [DEFAULT] x'
    assert str(main.place) == 'x.ini:5 [app:main]'
    assert [main.place_of(key).line for key in ('a', 'b', 'nosuch')] == [6, 9, 5]


def test_every_bad_line_is_reported() -> None:
    document = ini.parse('words\nmore words\n[s]\nflag\na = 1\n: 2\n[t]\nother\n', 'x.ini')
    assert list(map(str, document.malformed)) == [
        "x.ini:1: 'words' stands before any [section]",
        "x.ini:4: [s] no '=' or ':' in 'flag'",
        "x.ini:6: [s] no key before ': 2'",
        "x.ini:8: [t] no '=' or ':' in 'other'",
    ]
    assert {type(error) for error in document.malformed} == {IniParseError}


def test_duplicates_are_left_to_the_caller_and_the_first_counts() -> None:
    document = ini.parse('[s]\na = 1\na = 2\n[t]\n[s]\na = 3\n', 'x.ini')
    assert [str(error) for error in document.duplicates] == [
        'x.ini:3: [s] a: this key is there twice; the first one is in line 2',
        'x.ini:5: [s] this section is there twice; the first one is in line 1',
    ]
    assert document.sections['s'].options['a'].value == '1'
