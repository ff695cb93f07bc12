"""``%(name)s`` against the standard library's BasicInterpolation, and the places of its errors."""

from __future__ import annotations

import configparser

import pytest

from prefork.deploy import ini
from prefork.deploy.interpolation import escape, interpolate
from prefork.errors import IniParseError

CASES = {
    'plain': 'a = x',
    'percent': 'a = 100%%',
    'variable': 'a = <%(b)s>\nb = 1',
    'from DEFAULT': 'a = %(d)s',
    'own before DEFAULT': 'a = %(d)s\nd = own',
    'nested': 'a = %(b)s!\nb = %(c)s?\nc = 1',
    'DEFAULT sees the section': 'a = %(via)s\nd = own',
    'percent in what is inserted': 'a = %(b)s\nb = 50%%',
    'inserted text is not read again': 'a = %(b)s(c)s\nb = %%\nc = 1',
    'continued': 'a = 1\n  %(b)s\nb = 2',
    'blank in a name': 'a = %(b c)s\nb c = 1',
    'set key': 'a = %(set b)s\nset b = 1',
    'case matters': 'a = %(B)s\nb = 1',
    'bare percent': 'a = 5%',
    'percent and letter': 'a = %d',
    'no s': 'a = %(b)d\nb = 1',
    'not closed': 'a = %(b',
    'empty name': 'a = %()s',
    'missing': 'a = %(nosuch)s',
    'missing further in': 'a = %(b)s\nb = %(nosuch)s',
    'itself': 'a = %(a)s',
    'a circle': 'a = %(b)s\nb = %(a)s',
    'ten levels': 'a = %(n9)s\n' + '\n'.join(f'n{n} = %(n{n - 1})s' for n in range(9, 0, -1)) + '\nn0 = 1',
    'eleven levels': 'a = %(n10)s\n' + '\n'.join(f'n{n} = %(n{n - 1})s' for n in range(10, 0, -1)) + '\nn0 = 1',
}


def theirs(text: str) -> str | None:
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    try:
        return parser.get('s', 'a')
    except configparser.InterpolationError:
        return None


def ours(text: str) -> str | None:
    document = ini.parse(text, 'x.ini')
    names = {**document.defaults.options, **document.sections['s'].options}
    try:
        return interpolate(names['a'], names)
    except IniParseError:
        return None


@pytest.mark.parametrize('options', CASES.values(), ids=CASES)
def test_it_is_the_standard_librarys(options: str) -> None:
    text = f'[DEFAULT]\nd = default\nvia = %(d)s\n[s]\n{options}\n'
    assert ours(text) == theirs(text)


def test_the_table_has_both_outcomes() -> None:
    outcomes = [theirs(f'[DEFAULT]\nd = default\nvia = %(d)s\n[s]\n{options}\n') for options in CASES.values()]
    assert 8 <= outcomes.count(None) <= len(outcomes) - 8


@pytest.mark.parametrize('text', ['', 'x', '%', '100%', '%%', '%(x)s', '%d%(', 'é%'])
def test_escaped_text_comes_back(text: str) -> None:
    option = ini.Option('a', escape(text), ini.Place('x.ini'))
    assert interpolate(option, {}) == text


PLACES = {
    'bad': ('a = %d', "x.ini:2: [s] a: bad '%d': write %% for a percent sign, %(NAME)s for a variable"),
    'where the bad one stands': (
        'a = %(b)s\nb = 7%',
        "x.ini:3: [s] b: bad '%': write %% for a percent sign, %(NAME)s for a variable",
    ),
    'nearest name that is not its own': (
        'a = %(port)s\nport = %(http_port)s',
        "x.ini:3: [s] port: no variable 'http_port'; set it in [s] or [DEFAULT], or pass http_port=VALUE",
    ),
    'nearest name': (
        'a = %(prot)s\nport = 1',
        "x.ini:2: [s] a: no variable 'prot' (did you mean 'port'?); set it in [s] or [DEFAULT], or pass prot=VALUE",
    ),
    'circle': ('a = %(b)s\nb = %(a)s', 'x.ini:3: [s] b: %(a)s refers to itself: a -> b -> a'),
}


@pytest.mark.parametrize(('options', 'message'), PLACES.values(), ids=PLACES)
def test_errors_say_where(options: str, message: str) -> None:
    names = ini.parse(f'[s]\n{options}\n', 'x.ini').sections['s'].options
    with pytest.raises(IniParseError) as caught:
        interpolate(names['a'], names)
    assert str(caught.value) == message
