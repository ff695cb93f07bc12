"""``prefork-wsgi``: serve the application of an ini file, or a WSGI callable.

The flags are the options of :mod:`prefork.settings`, so that they can't drift apart.  ``main`` is the console script;
``run_paste_server`` is the entry point ``paste.server_runner``, by which ``pserve`` runs this server.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys

from prefork import __version__
from prefork.configuration import FROM_FLAG, CallableSource, Effective, IniSource, effective
from prefork.errors import EX_CONFIG, EX_OK, EX_SOFTWARE, ConfigError, PreforkError, UsageError
from prefork.objects import import_object
from prefork.settings import ADDRESSES, OPTIONS, from_text, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Never
    from wsgiref.types import WSGIApplication

    from prefork.configuration import Source, Triple
    from prefork.master.master import Deployment
    from prefork.settings import Settings

DEMO = os.path.join(os.path.dirname(__file__), 'demo', 'app.ini')
"""What is served where nothing is named."""

_VARIABLE = re.compile(r'([^\s=?]+)=(.*)', re.DOTALL)
_CALLABLE = re.compile(r'[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*')

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


# --- the command line -------------------------------------------------------------------------------------------


class Command:
    """What the command line asked for: ``run(command)`` with ``source`` and ``flags``, in the form of from_text."""

    __slots__ = ('flags', 'run', 'source')

    def __init__(self, run: Callable[[Command], int], source: Source, flags: list[Triple]) -> None:
        self.run = run
        self.source = source
        self.flags = flags


class _Parser(argparse.ArgumentParser):
    """argparse, but its complaints are UsageErrors, for the one place that prints complaints."""

    def error(self, message: str) -> Never:
        raise UsageError(message)


def make_parser() -> argparse.ArgumentParser:
    """Every flag there is.  Values stay text: they are read, and complained of, together with the ini's."""
    parser = _Parser(
        prog='prefork-wsgi',
        usage='%(prog)s [flags] [FILE[#NAME] | MODULE:CALLABLE] [NAME=VALUE ...]',
        description='Serve the WSGI application of a PasteDeploy-style ini file, or a WSGI callable;'
        ' with neither, a demo.  NAME=VALUE sets a variable of the ini file.',
        epilog='A flag wins over the [server:NAME] section of the file, where the same options stand without dashes.',
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument('--version', action='version', version=f'prefork {__version__}')
    parser.add_argument('--check', dest='run', action='store_const', const=check, help='load everything, serve nothing')
    parser.add_argument(
        '--print-config',
        dest='run',
        action='store_const',
        const=print_config,
        help='print the effective options as an ini',
    )
    parser.add_argument(
        '--server',
        dest='servers',
        action='append',
        metavar='NAME',
        help='serve [server:NAME] alone; may be repeated (default: main and all that say they are for prefork)',
    )
    group = parser.add_argument_group()
    for option in OPTIONS:
        if option.name in _GROUPS:
            group = parser.add_argument_group(_GROUPS[option.name])
        names = ('-n', '--app-name', option.flag) if option.name == 'app' else (option.flag,)
        repeated = option.kind is ADDRESSES
        default = f' (default: {option.default})' if option.default else ''
        group.add_argument(
            *names,
            dest=option.name,
            metavar=option.kind.metavar,
            action='append' if repeated else 'store',
            help=(option.help + (' May be repeated.' if repeated else '') + default).replace('%', '%%'),
        )
    return parser


def parse(argv: list[str]) -> Command:
    """The command that ``argv`` asks for.  Raises UsageError; ``--help`` and ``--version`` print and exit."""
    options, rest = make_parser().parse_known_args(argv)
    given = vars(options)
    unknown = [word for word in rest if word.startswith('-')]
    if unknown:
        raise UsageError('; '.join(map(_no_such_flag, unknown)))
    run = given.pop('run', serve)
    source = _source(rest, given)
    flags = [(name, ' '.join(value) if isinstance(value, list) else value, FROM_FLAG) for name, value in given.items()]
    return Command(run, source, flags)


def _no_such_flag(word: str) -> str:
    name = word.partition('=')[0]
    flags = [option.flag[2:] for option in OPTIONS] + ['app-name', 'server', 'check', 'print-config']
    near = nearest(name.lstrip('-'), [flag.replace('-', '_') for flag in flags])
    return f'there is no flag {name}' + near.replace('_', '-').replace("'", "'--", 1)


def _source(words: list[str], given: dict[str, Any]) -> Source:
    """The FILE or callable in ``words``; ``given`` loses --server, and gains the application that #NAME means."""
    servers: list[str] = given.pop('servers', [])
    named = '' if not words or (_VARIABLE.fullmatch(words[0]) and not os.path.exists(words[0])) else words[0]
    variables = _variables(words[1:] if named else words)
    if _CALLABLE.fullmatch(named) and not named.startswith('config:') and not os.path.exists(named):
        for_ini_files = {'NAME=VALUE': variables, '--server': servers, '--app': given.get('app')}
        useless = [what for what, there in for_ini_files.items() if there]
        if useless:
            raise UsageError(f'{", ".join(useless)}: {named} is a callable, this is for an ini file')
        return CallableSource(named)
    path, _, name = (named.removeprefix('config:') or DEMO).partition('#')
    if '?' in path and not os.path.exists(path):
        path, _, query = path.partition('?')
        variables = {**_query(query), **variables}
    if name and given.setdefault('app', name) != name:
        raise UsageError(f'{named} names one application and --app {given["app"]} another')
    return IniSource(path, servers, variables)


def _query(text: str) -> dict[str, str]:
    """Variables as plaster's URIs have them, ``NAME=VALUE&NAME=VALUE``."""
    from urllib.parse import parse_qsl  # slow to import

    try:
        return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)))
    except ValueError as error:
        raise UsageError(f'?{text}: {error}') from None


def _variables(words: list[str]) -> dict[str, str]:
    matches = {word: _VARIABLE.fullmatch(word) for word in words}
    strange = [word for word, match in matches.items() if match is None]
    if strange:
        raise UsageError(f'{", ".join(strange)}: not NAME=VALUE, and there is a FILE or callable already')
    return {match[1]: match[2] for match in matches.values() if match}


# --- what it does -----------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Run ``prefork-wsgi`` with the arguments ``argv``, or those of the process; its exit status."""

    def run() -> int:
        command = parse(sys.argv[1:] if argv is None else argv)
        return command.run(command)

    return _exit_status(run)


def _exit_status(run: Callable[[], int]) -> int:
    """What ``run`` returns, or what the exception that it raises stands for, which is reported on standard error."""
    try:
        return run()
    except PreforkError as error:
        _complain(error)
        return error.exit_status
    except Exception:
        import traceback

        traceback.print_exc()
        return EX_SOFTWARE


def serve(command: Command) -> int:
    """Serve until a signal ends it."""
    from prefork.master.master import Master

    return Master(lambda: load(command)).run()


def load(command: Command) -> Deployment:
    """Read everything afresh, for a start or a reload; no application code is imported yet."""
    from prefork.master.master import Deployment

    wanted = effective(command.source, command.flags)

    def load_app(name: str) -> WSGIApplication:
        # The command line was ours: oslo.config would read it as the application's, and complain of our flags.
        sys.argv = sys.argv[:1]
        return command.source.load_app(wanted.servers[name].app)

    return Deployment(wanted.servers, load_app, notices=wanted.notices)


def check(command: Command) -> int:
    """Load everything as a start would, the application included, but in a child: it may do what it likes there."""
    from prefork.master.site import Site

    deployment = load(command)
    for notice in deployment.notices:
        print(notice, file=sys.stderr)
    site = Site(deployment)
    for warning in site.warnings:
        print(warning, file=sys.stderr)

    def load_all(server: str, settings: Settings) -> None:
        site.settle()
        deployment.load_app(server)
        if settings.post_fork:
            import_object(settings.post_fork)

    return max(_in_child(load_all, server, settings) for server, settings in deployment.servers.items())


def _in_child(action: Callable[[str, Settings], None], server: str, settings: Settings) -> int:
    """Do what needs the application of a server, which is imported in a child; the exit status."""
    pid = os.fork()
    if pid == 0:
        _act_and_exit(action, server, settings)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = signal.Signals(os.WTERMSIG(status))
    if number == signal.SIGALRM:
        problem = f'the application was not loaded within load_timeout = {settings.load_timeout:g} s'
    else:
        problem = f'loading the application ended in {number.name}'
    _complain(ConfigError(problem))
    return EX_CONFIG


def _act_and_exit(action: Callable[[str, Settings], None], server: str, settings: Settings) -> Never:
    status = EX_CONFIG
    try:
        # The kernel's deadline: it ends this child whatever the application is stuck in.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, settings.load_timeout)
        action(server, settings)
        status = EX_OK
    except BaseException as error:  # SystemExit too: an application that exits while it is loaded can't be served
        _explain(error, settings)
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)  # never back into the parent's frames, nor to threads that the application started


def _explain(error: BaseException, settings: Settings) -> None:
    if settings.log_level == 'debug':
        import traceback

        traceback.print_exception(error)
    elif isinstance(error, ConfigError):
        _complain(error)
    else:
        # What a factory raised has a note of the place in the ini file.
        place = ': '.join(getattr(error, '__notes__', ['loading the application failed']))
        print(f'{place}: {type(error).__name__}: {error}', file=sys.stderr)


def print_config(command: Command) -> int:
    """Print the effective options as an ini that says where each came from and can be used as it is, and what is
    composed for each server, as an indented tree in its comments."""
    from prefork.master import privileges

    wanted = effective(command.source, command.flags)

    def print_tree(server: str, settings: Settings) -> None:
        if not os.geteuid():  # code of the application's is imported, which root never runs for it
            privileges.settle(settings, privileges.identity(settings))
        lines = command.source.composition(settings.app)
        print(f'# [server:{server}] serves', *(f'#   {line}' for line in lines), sep='\n')

    try:
        print(*_config_lines(wanted), sep='\n', flush=True)
    except BrokenPipeError:
        # Its reader has seen enough (--print-config | head); at exit, what is still in the buffer would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EX_OK
    return max(_in_child(print_tree, server, settings) for server, settings in wanted.servers.items())


def _config_lines(wanted: Effective) -> list[str]:
    lines = [f'# {notice}' for notice in wanted.notices]
    for server, settings in wanted.servers.items():
        lines.append(f'[server:{server}]')
        for option, line in zip(OPTIONS, settings.lines(), strict=True):
            lines.append(f'# {wanted.origins[server].get(option.name, "default")}')
            lines.append(line.replace('%', '%%'))  # values of an ini are interpolated
    return lines


def _complain(error: PreforkError) -> None:
    complaints = error.complaints if isinstance(error, ConfigError) else (f'prefork-wsgi: {error}',)
    print(*complaints, sep='\n', file=sys.stderr)


# --- as a server of other launchers -----------------------------------------------------------------------------


def run_paste_server(app: WSGIApplication, global_conf: dict[str, str] | None = None, **options: str) -> None:
    """Serve ``app`` until a signal ends it: ``use = egg:prefork`` in an ini that ``pserve`` runs.

    The application is there already, so a reload forks new workers from the same one: its code isn't read again.
    Exits where the options are wrong or the server fails.
    """
    from prefork.master.master import Deployment, Master

    where = f'{(global_conf or {}).get("__file__", "options")}: [server]'

    def load_options() -> Deployment:
        settings = from_text((name, text, where) for name, text in options.items())
        return Deployment({'main': settings}, lambda name: app)

    if status := _exit_status(Master(load_options).run):
        sys.exit(status)
