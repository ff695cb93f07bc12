"""The man pages say what the option table says: each flag and option once, with its kind of value and its default."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from prefork import flags
from prefork.settings import OPTIONS, Option

MAN = Path(__file__).parent.parent / 'man'
COMMAND, INI = MAN / 'prefork-wsgi.1', MAN / 'prefork-wsgi.ini.5'

ITEM = re.compile(r'^\.It (Fl|Ic) (?P<names>.+?)(?: No =)?(?: Ar (?P<metavar>\S+))?$')
DEFAULT = re.compile(r'The default is \.Cm (\S+) [.;]')


class Item:
    """An entry of a list in a page: the names before its value, the value's kind, and its text on one line."""

    def __init__(self, names: tuple[str, ...], metavar: str) -> None:
        self.names = names
        self.metavar = metavar
        self.text = ''

    @property
    def default(self) -> str:
        if 'It is not set by default.' in self.text:
            return ''
        match = DEFAULT.search(self.text)
        assert match, f'{self.names}: no default in {self.text!r}'
        return match[1].replace('\\-', '-')


def items(page: Path, macro: str) -> list[Item]:
    """The entries of ``page`` whose names are set in ``macro``: Fl for flags, Ic for options."""
    found: list[Item] = []
    current: Item | None = None
    for line in page.read_text().splitlines():
        if line.startswith(('.It ', '.El')):
            match = ITEM.match(line) if line.startswith(f'.It {macro} ') else None
            current = None
            if match:
                current = Item(tuple(match['names'].split(' , ')), match['metavar'] or '')
                found.append(current)
        elif current is not None:
            current.text = f'{current.text} {line}'.strip()
    return found


FLAGS = {item.names[-1]: item for item in items(COMMAND, 'Fl')}
ENTRIES = {item.names[-1]: item for item in items(INI, 'Ic')}


@pytest.mark.parametrize('option', OPTIONS, ids=lambda option: option.name)
def test_each_option_stands_in_both_pages(option: Option) -> None:
    for item in (FLAGS[option.flag[1:]], ENTRIES[option.name]):
        assert item.default == option.default
        assert item.metavar == option.kind.metavar
        assert item.text.startswith(option.help)


def test_nothing_else_stands_there() -> None:
    assert set(FLAGS) == {flag.names[-1][1:] for flag in flags.table()}
    assert list(ENTRIES) == [option.name for option in OPTIONS]


def test_flags_have_all_their_names() -> None:
    for flag in flags.table():
        names = {name[1:] for name in flag.names if name != '-h'}
        assert set(FLAGS[flag.names[-1][1:]].names) == names


@pytest.mark.parametrize('page', [COMMAND, INI], ids=lambda page: page.name)
def test_no_entry_is_there_twice(page: Path) -> None:
    entries = [line for line in page.read_text().splitlines() if line.startswith(('.It Fl', '.It Ic'))]
    assert sorted(set(entries)) == sorted(entries)


@pytest.mark.skipif(shutil.which('mandoc') is None, reason='mandoc is not installed; on Debian: apt install mandoc')
@pytest.mark.parametrize('page', [COMMAND, INI], ids=lambda page: page.name)
def test_mandoc_has_nothing_to_say(page: Path) -> None:
    output = subprocess.run(['mandoc', '-Tlint', str(page)], capture_output=True, text=True, check=False).stdout
    # Which other pages are installed on this machine is no fault of this one.
    assert [line for line in output.splitlines() if 'referenced manual not found' not in line] == []
