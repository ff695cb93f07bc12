"""``prefork-wsgi``: its words, --check, --print-config and exit statuses.  What it serves is tested elsewhere."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import prefork
from prefork import cli
from prefork.configuration import CallableSource, IniSource, effective
from prefork.errors import ConfigError, UsageError
from prefork.objects import import_object
from tests import serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefork.settings import Settings

ROOT = Path(__file__).parent.parent
PLAIN = """\
import os
import signal
import sys


def app(environ, start_response):
    start_response('200 OK', [])
    return [b'plain']


def words(environ, start_response):
    start_response('200 OK', [])
    return [' '.join(sys.argv[1:]).encode()]


def factory(global_conf, **local_conf):
    return app


def broken_factory(global_conf):
    raise ValueError('no database')


def stuck_factory(global_conf):
    signal.pause()


def exiting_factory(global_conf):
    raise SystemExit(0)


def crashing_factory(global_conf):
    os.kill(os.getpid(), signal.SIGKILL)


def logging_factory(global_conf):
    import logging

    logging.getLogger('of.the.application').info('hello from the application')
    return app


class Site:
    application = staticmethod(app)


answer = 42
"""

SERVER = '[server:main]\nuse = egg:prefork\n'
APP = '\n[app:main]\npaste.app_factory = plain:factory\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with plain.py, whose name is free again for the next test."""
    (tmp_path / 'plain.py').write_text(PLAIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'plain', raising=False)
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = folder / 'app.ini'
        path.write_text(text)
        return path

    return write


def near(text: str) -> str:
    """``text`` with the paths in it as they look from the current directory."""
    return text.replace(os.getcwd() + os.sep, '')


def settings_of(*argv: str) -> Settings:
    command = cli.parse(list(argv))
    (settings,) = effective(command.source, command.flags).servers.values()
    return settings


# --- words ------------------------------------------------------------------------------------------------------

SOURCES = {
    'nothing': ([], ('DEMO', (), {}), {}),
    'file': (['app.ini'], ('app.ini', (), {}), {}),
    'file and application': (['app.ini#admin'], ('app.ini', (), {}), {'app': 'admin'}),
    'URI': (['config:etc/app.ini#admin'], ('etc/app.ini', (), {}), {'app': 'admin'}),
    'application as pserve has it': (['-n', 'admin', 'app.ini'], ('app.ini', (), {}), {'app': 'admin'}),
    'application as a flag': (['app.ini', '--app-name=admin'], ('app.ini', (), {}), {'app': 'admin'}),
    'application as an option': (['app.ini', '--app', 'admin'], ('app.ini', (), {}), {'app': 'admin'}),
    'application twice the same': (['app.ini#x', '-n', 'x'], ('app.ini', (), {}), {'app': 'x'}),
    'server': (['--server', 'tls', 'app.ini'], ('app.ini', ('tls',), {}), {}),
    'servers': (['--server=a', '--server=b', 'app.ini'], ('app.ini', ('a', 'b'), {}), {}),
    'variables': (['app.ini', 'a=1', 'b=x=y', 'c='], ('app.ini', (), {'a': '1', 'b': 'x=y', 'c': ''}), {}),
    'name with a blank': (['app.ini#my app'], ('app.ini', (), {}), {'app': 'my app'}),
    'query of a URI': (
        ['config:app.ini?http_port=8080&a=%20b#admin', 'a=c', 'd=e'],
        ('app.ini', (), {'http_port': '8080', 'a': 'c', 'd': 'e'}),
        {'app': 'admin'},
    ),
    'variables of the demo': (['greeting=Hi'], ('DEMO', (), {'greeting': 'Hi'}), {}),
    'flags between words': (
        ['--threads', '2', 'app.ini', '--workers=3', 'a=1'],
        ('app.ini', (), {'a': '1'}),
        {'threads': '2', 'workers': '3'},
    ),
    'flag twice': (['--threads', '2', '--threads', '3'], ('DEMO', (), {}), {'threads': '3'}),
    'addresses': (['--bind', ':1', '--bind', ':2'], ('DEMO', (), {}), {'bind': ':1 :2'}),
    'standard output': (['--access-log', '-'], ('DEMO', (), {}), {'access_log': '-'}),
    'empty value': (['--error-log='], ('DEMO', (), {}), {'error_log': ''}),
    'letter with its value': (['-nadmin'], ('DEMO', (), {}), {'app': 'admin'}),
    'words that look like flags': (['--', '--check=1'], ('DEMO', (), {'--check': '1'}), {}),
    'negative number': (['--threads', '-1'], ('DEMO', (), {}), {'threads': '-1'}),
}


@pytest.mark.parametrize(('argv', 'source', 'flags'), SOURCES.values(), ids=SOURCES)
def test_words(argv: list[str], source: tuple[str, tuple[str, ...], dict[str, str]], flags: dict[str, str]) -> None:
    command = cli.parse(argv)
    assert isinstance(command.source, IniSource)
    path = cli.DEMO if source[0] == 'DEMO' else os.path.abspath(source[0])
    assert (command.source.path, command.source.servers, command.source.variables) == (path, *source[1:])
    assert {name: text for name, text, _ in command.flags} == flags
    assert command.run is cli.serve


def test_a_callable(folder: Path) -> None:
    command = cli.parse(['plain:app', '--threads', '1'])
    assert isinstance(command.source, CallableSource)
    assert command.source.spec == 'plain:app'


def test_a_file_that_looks_like_a_callable_is_a_file(folder: Path) -> None:
    (folder / 'plain:app').touch()
    assert isinstance(cli.parse(['plain:app']).source, IniSource)


def test_a_file_that_looks_like_a_variable_is_a_file(folder: Path) -> None:
    (folder / 'a=b.ini').touch()
    source = cli.parse(['a=b.ini', 'c=d']).source
    assert isinstance(source, IniSource)
    assert (os.path.basename(source.path), source.variables) == ('a=b.ini', {'c': 'd'})


MISUSE = {
    'unknown flag': (['--threds', '3'], "there is no flag --threds (did you mean '--threads'?)"),
    'all unknown flags': (['--foo=3', '-x'], 'there is no flag --foo; there is no flag -x'),
    'abbreviated flag': (['--thread=3'], "there is no flag --thread (did you mean '--threads'?)"),
    'flag without its value': (['--threads'], '--threads needs a value: --threads N'),
    'flag in the place of a value': (['--error-log', '--check'], '--error-log needs a value: --error-log PATH'),
    'value for a flag that has none': (['--check=yes'], '--check takes no value'),
    'letter without its value': (['-n'], '-n needs a value: -n TEXT'),
    'several': (['--foo', '--check=1'], 'there is no flag --foo; --check takes no value'),
    'a dash': (['-'], 'there is no flag -'),
    'two files': (['app.ini', 'other.ini'], 'other.ini: not NAME=VALUE'),
    'variable without a name': (['app.ini', '=x'], '=x: not NAME=VALUE'),
    'query that is none': (['app.ini?x#a'], "?x: bad query field: 'x'"),
    'two applications': (['app.ini#a', '-n', 'b'], 'app.ini#a names one application and --app b another'),
    'variables for a callable': (['plain:app', 'a=1'], 'NAME=VALUE: plain:app is a callable'),
    'a section for a callable': (['plain:app', '--server', 'x', '-n', 'y'], '--server, --app: plain:app is'),
}


@pytest.mark.parametrize(('argv', 'problem'), MISUSE.values(), ids=MISUSE)
def test_misuse(argv: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=re.escape(problem)):
        cli.parse(argv)
    assert cli.main(argv) == 64
    assert capsys.readouterr().err.startswith('prefork-wsgi: ')


def test_a_bug_of_ours_has_its_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(command: cli.Command) -> int:
        raise ZeroDivisionError('a bug')

    monkeypatch.setattr(cli, 'serve', broken)
    assert cli.main(['plain:app']) == 70
    assert capsys.readouterr().err.endswith('ZeroDivisionError: a bug\n')


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(['--version', '--check']) == 0
    assert capsys.readouterr().out == f'prefork {prefork.__version__}\n'


def test_help_has_all_flags_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(['--help']) == 0
    text = capsys.readouterr().out
    order = [
        '--check',
        'what is served:',
        '--app',
        'sockets:',
        '--bind',
        'processes:',
        '--workers',
        'logs:',
        '--log-level',
    ]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert '%(client_ip)s' in text


def test_python_m_prefork() -> None:
    done = serving.run('--version')
    assert (done.returncode, done.stdout) == (0, f'prefork {prefork.__version__}\n')


# --- options ----------------------------------------------------------------------------------------------------


def test_a_flag_wins_over_the_file(write: Callable[[str], Path]) -> None:
    write(SERVER + 'threads = 2\nworkers = 3\n')
    made = settings_of('app.ini', '--threads', '5')
    assert (made.threads, made.workers) == (5, 3)


def test_variables_reach_the_server_section(write: Callable[[str], Path]) -> None:
    write(SERVER + 'bind = 127.0.0.1:%(http_port)s\n')
    assert str(settings_of('app.ini', 'http_port=81').bind[0]) == '127.0.0.1:81'


def test_a_file_with_a_question_mark_is_a_file(folder: Path) -> None:
    (folder / 'a?b=c.ini').touch()
    source = cli.parse(['a?b=c.ini']).source
    assert isinstance(source, IniSource)
    assert (os.path.basename(source.path), source.variables) == ('a?b=c.ini', {})


def test_the_named_server_section(write: Callable[[str], Path]) -> None:
    write(SERVER + 'threads = 2\n[server:other]\nuse = egg:prefork\nthreads = 3\n')
    assert settings_of('app.ini', '--server', 'other').threads == 3


def test_no_server_section_means_the_defaults(write: Callable[[str], Path]) -> None:
    write(APP)
    assert str(settings_of('app.ini').bind[0]) == '127.0.0.1:8080'


def test_no_section_main_is_noticed(write: Callable[[str], Path]) -> None:
    write('[server:other]\nuse = egg:waitress\nthreads = 3\n')
    found = effective(IniSource('app.ini', (), {}), [])
    assert found.servers['main'].threads == 4
    assert [near(notice) for notice in found.notices] == [
        'app.ini has no [server:main]: the defaults are used; --server takes other'
    ]


OTHER_SERVERS = {
    'waitress': (
        'use = egg:waitress#main\nlisten = *:6543\nthreads = 8\nurl_scheme = https\nchannel_timeout = 9\n',
        '0.0.0.0:6543',
        'app.ini:2: [server:main] use = egg:waitress#main: prefork serves in its place; taken: listen, threads;'
        ' ignored: url_scheme, channel_timeout',
    ),
    'Paste': (
        'use = egg:Paste#http\nhost = 0.0.0.0\nport = 5000\n',
        '0.0.0.0:5000',
        'app.ini:2: [server:main] use = egg:Paste#http: prefork serves in its place; taken: host, port',
    ),
    'gunicorn': (
        'use = egg:gunicorn\nworkers = 99\nbind = nonsense\n',
        '127.0.0.1:8080',
        'app.ini:2: [server:main] use = egg:gunicorn: prefork serves in its place; ignored: workers, bind',
    ),
    'a factory of its own': (
        'paste.server_factory = mine:factory\nport = 81\n',
        '127.0.0.1:81',
        'app.ini:2: [server:main] paste.server_factory = mine:factory: prefork serves in its place; taken: port',
    ),
}


@pytest.mark.parametrize(('section', 'bind', 'notice'), OTHER_SERVERS.values(), ids=OTHER_SERVERS)
def test_sections_of_other_servers(section: str, bind: str, notice: str, write: Callable[[str], Path]) -> None:
    write(f'[server:main]\n{section}')
    found = effective(IniSource('app.ini', (), {}), [])
    assert str(found.servers['main'].bind[0]) == bind
    assert [near(text) for text in found.notices] == [notice]
    assert found.servers['main'].use == 'egg:prefork'


MANY = """
[app:api]
paste.app_factory = plain:factory
[app:metadata]
paste.app_factory = plain:factory
[server:api]
use = egg:prefork
app = api
bind = 127.0.0.1:0
threads = 2
[server:metadata]
app = metadata
bind = 127.0.0.1:0
[server:other]
use = egg:waitress#main
port = 81
"""


def servers_of(*argv: str) -> dict[str, Settings]:
    command = cli.parse(list(argv))
    return effective(command.source, command.flags).servers


def test_all_sections_for_prefork_are_served(write: Callable[[str], Path]) -> None:
    write(MANY)
    assert {name: settings.app for name, settings in servers_of('app.ini').items()} == {
        'api': 'api',
        'metadata': 'metadata',
    }
    assert list(servers_of('app.ini', '--server=metadata')) == ['metadata']
    assert {settings.threads for settings in servers_of('app.ini', '--threads=7').values()} == {7}


def test_a_section_of_another_server_is_not_read(write: Callable[[str], Path]) -> None:
    write(MANY + 'host = %(nowhere)s\n')
    assert list(servers_of('app.ini')) == ['api', 'metadata']
    with pytest.raises(ConfigError, match="no variable 'nowhere'"):
        servers_of('app.ini', '--server=other')


def test_sections_that_use_another_are_served_if_that_is_for_prefork(write: Callable[[str], Path]) -> None:
    write('[server:a]\nuse = b\n[server:b]\nuse = egg:prefork\n[server:c]\nuse = d\n[server:d]\nuse = egg:waitress\n')
    assert list(servers_of('app.ini')) == ['a', 'b']


def test_mistakes_of_several_servers_are_told_at_once(write: Callable[[str], Path]) -> None:
    write(MANY.replace('threads = 2', 'threads = %(x)s').replace('app = metadata', 'app = metadata\nthreads = %'))
    with pytest.raises(ConfigError) as caught:
        servers_of('app.ini')
    assert [near(text).partition(':')[2][:24] for text in caught.value.complaints] == [
        '10: [server:api] threads',
        '13: [server:metadata] th',
    ]


def test_check_loads_the_application_of_each_server(
    write: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    apps = MANY.replace('plain:factory', 'plain:crashing_factory', 1).replace('plain:factory', 'plain:broken_factory')
    write(apps)
    assert cli.main(['--check', 'app.ini']) == 78
    ended, broken = capfd.readouterr().err.splitlines()
    assert ended == 'loading the application ended in SIGKILL'
    assert near(broken) == 'while creating app.ini:5 [app:metadata] paste.app_factory: ValueError: no database'


COMPLAINTS_OF_MANY = {
    'one address for two': (['--bind=:80'], 'command line: bind: there are the servers api, metadata; pick one'),
    'one application for two': (['-n', 'api'], 'command line: app: there are the servers api, metadata; pick one'),
    'one that is not there': (['--server=apo'], "app.ini: there is no [server:apo] (did you mean 'api'?)"),
    'a bad flag is complained of once': (
        ['--threads=0'],
        'command line: threads: 0 is below 1, the least there can be',
    ),
}


@pytest.mark.parametrize('name', COMPLAINTS_OF_MANY)
def test_complaints_about_several_servers(name: str, write: Callable[[str], Path]) -> None:
    write(MANY)
    flags, complaint = COMPLAINTS_OF_MANY[name]
    with pytest.raises(ConfigError) as caught:
        servers_of('app.ini', *flags)
    assert len(caught.value.complaints) == 1
    assert complaint in caught.value.complaints[0]


def test_servers_must_agree_on_what_is_the_masters(write: Callable[[str], Path]) -> None:
    write(MANY.replace('app = metadata', 'app = metadata\ngraceful_timeout = 5'))
    with pytest.raises(ConfigError) as caught:
        servers_of('app.ini')
    assert [near(text) for text in caught.value.complaints] == [
        "app.ini:13: [server:metadata] graceful_timeout: it is the master's, and [server:api] has 30"
    ]


def test_several_servers_serve(write: Callable[[str], Path]) -> None:
    path = write(MANY)
    (path.parent / 'plain.py').write_text(
        'def factory(conf, **local):\n'
        '    def app(environ, start_response):\n'
        "        start_response('200 OK', [])\n"
        "        return [environ['SERVER_PORT'].encode()]\n"
        '    return app\n'
    )
    env = {'PYTHONPATH': str(path.parent)}
    with serving.serve(str(path), '--workers=1', env=env) as server:
        assert len(server.urls) == 2
        for url in server.urls:
            with urllib.request.urlopen(url, timeout=30) as answer:
                assert answer.read().decode() == url.rstrip('/').rpartition(':')[2]


def test_a_section_of_another_server_can_be_claimed(write: Callable[[str], Path]) -> None:
    write('[server:main]\nuse = egg:gunicorn\nworkers = 3\n')
    assert settings_of('app.ini', '--use', 'egg:prefork').workers == 3


def test_all_complaints_at_once(write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    write(SERVER + 'threds = 2\nbacklog = 0\nbind = :1\nport = 80\n')
    assert cli.main(['--check', 'app.ini', '--workers', 'many']) == 78
    assert near(capsys.readouterr().err).splitlines() == [
        "app.ini:3: [server:main] threds: no such option (did you mean 'threads'?)",
        'app.ini:4: [server:main] backlog: 0 is below 1, the least there can be',
        "command line: workers: 'many' is not a whole number",
        'app.ini:6: [server:main] port: there is bind already; one of them is enough',
    ]


# --- --check ----------------------------------------------------------------------------------------------------

LOGGING = """
[loggers]
keys = root
[handlers]
keys = file
[formatters]
keys =
[logger_root]
level = INFO
handlers = file
[handler_file]
class = FileHandler
args = ('%(here)s/%(name)s.log',)
formatter =
"""

GOOD = {
    'an ini file': (SERVER + APP, ['app.ini']),
    'a callable': ('', ['plain:app']),
    'an attribute of a class': ('', ['plain:Site.application']),
    'a named application': ('[app:other]\npaste.app_factory = plain:factory\n', ['app.ini#other']),
    'an application named by its server': (
        SERVER + 'app = other\n[app:other]\npaste.app_factory = plain:factory\n',
        ['app.ini'],
    ),
    'a post_fork': (SERVER + 'post_fork = plain:factory\n' + APP, ['app.ini']),
}


@pytest.mark.parametrize(('text', 'argv'), GOOD.values(), ids=GOOD)
def test_check_passes(
    text: str, argv: list[str], write: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    write(text)
    assert cli.main(['--check', *argv]) == 0
    assert capfd.readouterr() == ('', '')
    assert 'plain' not in sys.modules, 'the application was imported by the process that checks'


FAILING = {
    'no such file': ('', ['ap.ini'], "ap.ini: there is no such file (did you mean 'app.ini'?)"),
    'no such file, and no ini': (
        '',
        ['nothing.like.it'],
        'nothing.like.it: there is no such file; a WSGI callable is named MODULE:CALLABLE',
    ),
    'no such server': (SERVER, ['app.ini', '--server=mian'], "there is no [server:mian] (did you mean 'main'?)"),
    'no such application': (SERVER + APP, ['app.ini#mian'], 'mian'),
    'not an ini file': ('words\n', ['app.ini'], 'app.ini:1: '),
    'broken application': (
        '[app:main]\npaste.app_factory = plain:broken_factory\n',
        ['app.ini'],
        ' [app:main] paste.app_factory: ValueError: no database\n',
    ),
    'exiting application': ('[app:main]\npaste.app_factory = plain:exiting_factory\n', ['app.ini'], 'SystemExit'),
    'crashing application': ('[app:main]\npaste.app_factory = plain:crashing_factory\n', ['app.ini'], 'SIGKILL'),
    'application that takes too long': (
        '[app:main]\npaste.app_factory = plain:stuck_factory\n',
        ['app.ini', '--load-timeout', '0.1'],
        'not loaded within load_timeout = 0.1 s',
    ),
    'no such module': ('', ['plian:app'], "there is no module 'plian' (did you mean 'plain'?)"),
    'no such package': ('', ['json.decode:app'], "there is no module 'json.decode' (did you mean 'decoder'?)"),
    'no such callable': ('', ['plain:ap'], "plain has no 'ap' (did you mean 'app'?)"),
    'not a callable': ('', ['plain:answer'], 'plain.answer is int, which is not callable'),
    'no such post_fork': (SERVER + 'post_fork = plain:nothing\n' + APP, ['app.ini'], "plain has no 'nothing'"),
    'no such certificate': (SERVER + 'ssl_cert_file = no.pem\nssl_key_file = no.key\n' + APP, ['app.ini'], 'no.pem'),
    'certificate that is none': (
        SERVER + 'ssl_cert_file = plain.py\nssl_key_file = plain.py\n' + APP,
        ['app.ini'],
        'ssl_cert_file, ssl_key_file: plain.py, plain.py: ',
    ),
    'certificates of names alone': (
        SERVER + 'ssl_sni =\n  a.example plain.py plain.py\n' + APP,
        ['app.ini'],
        'ssl_cert_file: TLS needs both ssl_cert_file and ssl_key_file',
    ),
    'certificate of a name in a flag': (APP, ['--ssl-sni', 'a.example x y, b.example', 'app.ini'], "'b.example' is"),
    'logging of an unknown class': (
        LOGGING.replace('FileHandler', 'Nothing'),
        ['app.ini', 'name=x'],
        'app.ini: [loggers]',
    ),
}


@pytest.mark.parametrize(('text', 'argv', 'complaint'), FAILING.values(), ids=FAILING)
def test_check_fails(
    text: str, argv: list[str], complaint: str, write: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    write(text)
    assert cli.main(['--check', *argv]) == 78
    output, errors = capfd.readouterr()
    assert output == ''
    assert complaint in near(errors)
    assert 'Traceback' not in errors


def test_check_has_the_traceback_for_those_who_debug(
    write: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    write('[app:main]\npaste.app_factory = plain:broken_factory\n')
    assert cli.main(['--check', 'app.ini', '--log-level', 'debug']) == 78
    errors = capfd.readouterr().err
    assert errors.startswith('Traceback')
    assert 'in broken_factory' in errors


def test_check_as_a_command(write: Callable[[str], Path], folder: Path) -> None:
    write(SERVER + '[app:main]\npaste.app_factory = nothing:at_all\n')
    done = serving.run('--check', 'app.ini', cwd=folder)
    assert done.returncode == 78
    assert near(done.stderr).startswith('app.ini:4: [app:main] ')
    assert len(done.stderr.splitlines()) == 1


def test_logging_is_configured_before_the_application_is_loaded(write: Callable[[str], Path], folder: Path) -> None:
    write(LOGGING + '[app:main]\npaste.app_factory = plain:logging_factory\n')
    assert cli.main(['--check', 'app.ini', 'name=50%']) == 0
    assert (folder / '50%.log').read_text() == 'hello from the application\n'


def test_a_failing_import_keeps_its_cause(folder: Path) -> None:
    (folder / 'halfway.py').write_text('import no_such_module_at_all\n')
    with pytest.raises(ConfigError, match='importing halfway failed: ModuleNotFoundError: No module named') as caught:
        import_object('halfway:app')
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


# --- --print-config ---------------------------------------------------------------------------------------------


def test_print_config_says_where_each_option_came_from(
    write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write(SERVER + 'host = localhost\nport = 81\naccess_log_format = %%(status_code)s %%(host)s\n' + APP)
    assert cli.main(['--print-config', 'app.ini', '--threads', '7']) == 0
    lines = near(capsys.readouterr().out).splitlines()
    assert lines[:4] == ['[server:main]', '# app.ini:2', 'use = egg:prefork', '# default']
    origins = dict(zip(lines[2::2], lines[1::2], strict=True))
    assert origins['bind = localhost:81'] == '# app.ini:3, app.ini:4'
    assert origins['threads = 7'] == '# --threads'
    assert origins['access_log_format = %%(status_code)s %%(host)s'] == '# app.ini:5'
    assert origins['backlog = 1024'] == '# default'


def test_print_config_to_a_reader_that_has_left(write: Callable[[str], Path]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [*serving.PREFORK, '--print-config', str(write(SERVER + APP))]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=30, cwd=ROOT, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b'')


def test_what_print_config_prints_means_the_same(
    write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write('[server:main]\nuse = egg:waitress\nlisten = :81\nfoo = bar\n' + APP)
    flags = ['--access-log-format', '%(host)s', '--max-body', '5M', '--ssl-ciphers', 'HIGH']
    assert cli.main(['--print-config', 'app.ini', *flags]) == 0
    printed = capsys.readouterr().out
    assert near(printed).startswith('# app.ini:2: [server:main] use = egg:waitress: prefork serves in its place;')
    before = settings_of('app.ini', *flags)
    write(printed)
    assert settings_of('app.ini').lines() == before.lines()


COMPOSED = """
[composite:main]
use = call:prefork.deploy.urlmap:urlmap_factory
/ = home
/x = x
[app:home]
paste.app_factory = plain:factory
[pipeline:x]
pipeline = keep borrowed
[filter:keep]
paste.filter_factory = plain:keep_factory
[app:borrowed]
use = home
filter-with = keep
"""

TREE = """\
# [server:main] serves
#   [composite:main] app.ini:2 prefork.deploy.urlmap:urlmap_factory
#     [app:home] app.ini:7 plain:factory
#     [pipeline:x] app.ini:8
#       [filter:keep] app.ini:11 plain:keep_factory
#       [app:borrowed] app.ini:12 plain:factory
#         [filter:keep] app.ini:11 plain:keep_factory
"""


def test_print_config_shows_what_is_composed(write: Callable[[str], Path]) -> None:
    path = write(COMPOSED)
    (path.parent / 'plain.py').write_text(
        'def factory(conf, **local):\n    return print\n\n'
        'def keep_factory(conf, **local):\n    return lambda app: app\n'
    )
    done = serving.run('--print-config', 'app.ini', cwd=path.parent, env={'PYTHONPATH': str(path.parent)})
    assert (done.returncode, done.stderr) == (0, '')
    tree = done.stdout[done.stdout.index('# [server:main] serves') :]
    assert tree.replace(f'{path.parent}/', '') == TREE
    path.write_text(done.stdout)  # what was printed is an ini of the same options
    assert cli.main(['--print-config', 'app.ini']) == 78, 'it has no application'


# --- serving ----------------------------------------------------------------------------------------------------


ENDS = {
    'an address of another machine': (['--bind', '192.0.2.1:0', 'plain:app'], 69, 'cannot listen on 192.0.2.1:0'),
    'no such application': (['--bind', '127.0.0.1:0', 'plain:ap'], 78, "plain has no 'ap' (did you mean 'app'?)"),
    'no such file': (['nothing.ini'], 78, 'nothing.ini: there is no such file'),
}


@pytest.mark.parametrize(('argv', 'status', 'complaint'), ENDS.values(), ids=ENDS)
def test_a_start_that_fails(argv: list[str], status: int, complaint: str, folder: Path) -> None:
    done = serving.run(*argv, cwd=folder)
    assert done.returncode == status
    assert complaint in done.stderr


def test_a_callable_is_served_from_the_current_directory(folder: Path) -> None:
    argv = ['plain:Site.application', '--bind', '127.0.0.1:0', '--workers', '1']
    console_script = (sys.executable, '-P', '-m', 'prefork')  # -P: the current directory isn't on the path by itself
    with (
        serving.serve(*argv, cwd=folder, command=console_script) as server,
        urllib.request.urlopen(server.url, timeout=10) as response,
    ):
        assert response.read() == b'plain'


def test_the_command_line_is_not_read_by_the_application(folder: Path) -> None:
    """Keystone's configuration does, and knows none of our flags."""
    with (
        serving.serve('plain:words', '--bind', '127.0.0.1:0', '--workers', '1', cwd=folder) as server,
        urllib.request.urlopen(server.url, timeout=10) as response,
    ):
        assert response.read() == b''


def test_a_reload_reads_the_file_again_with_the_flags_on_top(write: Callable[[str], Path], folder: Path) -> None:
    text = SERVER + 'bind = 127.0.0.1:1\nworkers = 1\n[app:main]\nuse = egg:prefork\ngreeting = first\n'
    write(text)

    def page() -> str:
        with urllib.request.urlopen(server.url, timeout=10) as response:
            return str(response.read())

    with serving.serve('app.ini', '--bind', '127.0.0.1:0', cwd=folder) as server:
        assert 'first' in page()
        write(text.replace('first', 'second').replace('workers = 1', 'workers = 2'))
        server.send_signal(signal.SIGHUP)
        assert server.stderr.wait_for(r'generation 2: loaded, (\d+) workers')[1] == '2'
        assert 'second' in page()
        write(text.replace('workers', 'wrokers'))
        server.send_signal(signal.SIGHUP)
        server.stderr.wait_for(r"app\.ini:4: \[server:main\] wrokers: no such option \(did you mean 'workers'\?\)")
        assert 'second' in page()


# --- pserve -----------------------------------------------------------------------------------------------------


def test_pserve_runs_this_server(write: Callable[[str], Path], folder: Path) -> None:
    write(SERVER + 'bind = 127.0.0.1:0\nworkers = 1\n' + APP)
    pserve = (sys.executable, '-m', 'pyramid.scripts.pserve')
    env = {'PYTHONPATH': os.pathsep.join([str(ROOT), str(folder)])}
    with (
        serving.serve('app.ini', cwd=folder, command=pserve, env=env) as server,
        urllib.request.urlopen(server.url, timeout=10) as response,
    ):
        assert response.read() == b'plain'


def test_options_of_pserve_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    def app(environ: object, start_response: object) -> list[bytes]:
        raise AssertionError('not called')

    with pytest.raises(SystemExit) as caught:
        cli.run_paste_server(app, {'__file__': 'app.ini', 'here': os.curdir}, thread='2')
    assert caught.value.code == 78
    assert capsys.readouterr().err == "app.ini: [server] thread: no such option (did you mean 'threads'?)\n"
