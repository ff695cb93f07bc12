"""``prefork-wsgi``: serve the application of an ini file, or a WSGI callable.

The flags are the options of :mod:`prefork.settings`, so that they can't drift apart.  ``main`` is the console script;
``run_paste_server`` is the entry point ``paste.server_runner``, by which ``pserve`` runs this server.
"""

from __future__ import annotations

import os
import re
import signal
import sys

from prefork import __version__, flags
from prefork.configuration import FROM_FLAG, CallableSource, Effective, IniSource, effective
from prefork.errors import EX_CONFIG, EX_OK, EX_SOFTWARE, ConfigError, PreforkError, UsageError
from prefork.objects import import_object
from prefork.settings import OPTIONS, from_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Never
    from wsgiref.types import WSGIApplication

    from prefork.configuration import Source, Triple
    from prefork.master.master import Deployment
    from prefork.settings import Settings

DEMO = os.path.join(os.path.dirname(__file__), 'demo', 'app.ini')
"""What is served where nothing is named."""

_VARIABLE = re.compile(r'([^\s=?]+)=(.*)', re.DOTALL)
_CALLABLE = re.compile(r'[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*')

# --- the command line -------------------------------------------------------------------------------------------


class Command:
    """What the command line asked for: ``run(command)`` with ``source`` and ``flags``, in the form of from_text."""

    __slots__ = ('flags', 'run', 'source')

    def __init__(self, run: Callable[[Command], int], source: Source, flags: list[Triple]) -> None:
        self.run = run
        self.source = source
        self.flags = flags


def parse(argv: list[str]) -> Command:
    """The command that ``argv`` asks for.  Raises UsageError."""
    given, words = flags.read(argv)
    runs = [run for name, run in _RUNS.items() if given.pop(name, None)] or [serve]
    servers = given.pop('server', [])
    options = {name: ' '.join(values) if name == 'bind' else values[-1] for name, values in given.items()}
    source = _source(words, servers, options)
    return Command(runs[0], source, [(name, text, FROM_FLAG) for name, text in options.items()])


def _source(words: list[str], servers: list[str], given: dict[str, str]) -> Source:
    """The FILE or callable in ``words``; ``given`` gains the application that #NAME means."""
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


def print_help(command: Command) -> int:
    """Print the flags."""
    import shutil

    print(flags.help_text(shutil.get_terminal_size().columns - 2))
    return EX_OK


def print_version(command: Command) -> int:
    """Print the version."""
    print(f'prefork {__version__}')
    return EX_OK


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


# What a flag has done in the place of serving; of several, the first here.
_RUNS = {'help': print_help, 'version': print_version, 'check': check, 'print_config': print_config}


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
