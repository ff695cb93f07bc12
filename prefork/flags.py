"""The flags of the command line: those about the command itself, and one for each option of :mod:`prefork.settings`.

They are read here and not by argparse, which imports gettext, locale, shutil, three compressors and more: that was a
megabyte in the processes of a run, and a sixth of the time until it served.
"""

from __future__ import annotations

from prefork.errors import UsageError
from prefork.settings import ADDRESSES, OPTIONS, closest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_USAGE = 'usage: prefork-wsgi [flags] [FILE[#NAME] | MODULE:CALLABLE] [NAME=VALUE ...]'
_DESCRIPTION = (
    'Serve the WSGI application of a PasteDeploy-style ini file, or a WSGI callable; with neither, a demo.'
    '  NAME=VALUE sets a variable of the ini file.'
)
_EPILOG = 'A flag wins over the [server:NAME] section of the file, where the same options stand without dashes.'

# Where the groups of --help begin, in the order of the option table.
_GROUPS = {
    'use': 'what is served',
    'bind': 'sockets',
    'workers': 'processes',
    'max_header_line': 'requests',
    'keep_alive': 'connections',
    'ssl_cert_file': 'TLS',
    'trusted_proxies': 'proxies',
    'access_log': 'logs',
    'pidfile': 'the service',
}
_INDENT = 24
_NARROWEST = 50


class Flag:
    """``names`` are what it may be called, ``metavar`` is '' where it takes no value, and ``group`` that of --help."""

    __slots__ = ('group', 'help', 'metavar', 'name', 'names')

    def __init__(self, name: str, names: tuple[str, ...], metavar: str, help: str, group: str) -> None:
        self.name = name
        self.names = names
        self.metavar = metavar
        self.help = help
        self.group = group


def table() -> Iterator[Flag]:
    """Every flag there is, in the order of --help."""
    group = 'flags'
    yield Flag('help', ('-h', '--help'), '', 'print the flags', group)
    yield Flag('version', ('--version',), '', 'print the version', group)
    yield Flag('check', ('--check',), '', 'load everything, serve nothing', group)
    yield Flag('print_config', ('--print-config',), '', 'print the effective options as an ini', group)
    servers = 'serve [server:NAME] alone; may be repeated (default: main and all that say they are for prefork)'
    yield Flag('server', ('--server',), 'NAME', servers, group)
    for option in OPTIONS:
        group = _GROUPS.get(option.name, group)
        names = ('-n', '--app-name', option.flag) if option.name == 'app' else (option.flag,)
        help = option.help + (' May be repeated.' if option.kind is ADDRESSES else '')
        if option.default:
            help += f' (default: {option.default})'
        yield Flag(option.name, names, option.kind.metavar, help, group)


def read(argv: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The values of each flag in ``argv`` by its name, '' where it takes none, and the words that are no flags.

    A value is what follows a ``=``, or the next word.  It stays text: it is read, and complained of, together with the
    ini's.  Raises UsageError with all that is wrong.
    """
    by_name = {name: flag for flag in table() for name in flag.names}
    given: dict[str, list[str]] = {}
    words: list[str] = []
    complaints = []
    rest = iter(argv)
    for word in rest:
        if word == '--':
            words += rest
        elif not word.startswith('-'):
            words.append(word)
        else:
            try:
                flag, value = _take(word, rest, by_name)
                given.setdefault(flag.name, []).append(value)
            except UsageError as error:
                complaints.append(str(error))
    if complaints:
        raise UsageError('; '.join(complaints))
    return given, words


def _take(word: str, rest: Iterator[str], by_name: dict[str, Flag]) -> tuple[Flag, str]:
    """The flag that ``word`` is, and its value, which may be the next of the ``rest``.  Raises UsageError."""
    name, equals, value = word.partition('=')
    if word[:2] in by_name:  # one letter, with its value right behind it
        name, equals, value = word[:2], word[2:], word[2:]
    flag = by_name.get(name)
    if flag is None:
        near = closest(name.strip('-'), [known.name for known in by_name.values()])
        hint = '' if near is None else f" (did you mean '--{near.replace('_', '-')}'?)"
        raise UsageError(f'there is no flag {name}{hint}')
    if not flag.metavar:
        if equals:
            raise UsageError(f'{name} takes no value')
    elif not equals:
        value = next(rest, '--')
        if value.startswith('--'):  # nobody's value, but a flag whose own value would be missed
            raise UsageError(f'{name} needs a value: {name} {flag.metavar}')
    return flag, value


def help_text(width: int) -> str:
    """What --help prints, for a terminal of so many columns."""
    import textwrap  # like many a module, not where a server starts

    width = max(width, _NARROWEST)
    lines = [_USAGE, '', *textwrap.wrap(_DESCRIPTION, width)]
    group = ''
    for flag in table():
        if flag.group != group:
            group = flag.group
            lines += ['', f'{group}:']
        names = '  ' + ', '.join(f'{name} {flag.metavar}'.rstrip() for name in flag.names)
        if len(names) > _INDENT - 2:
            lines.append(names)
            names = ''
        lines += textwrap.wrap(flag.help, width, initial_indent=names.ljust(_INDENT), subsequent_indent=' ' * _INDENT)
    return '\n'.join([*lines, '', *textwrap.wrap(_EPILOG, width)])
