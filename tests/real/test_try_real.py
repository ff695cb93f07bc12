"""scripts/try-real: what it reports, with a service that is here already in place of those that must be installed."""

from __future__ import annotations

import http.server
import sys
import threading
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reallib import cli
from reallib.client import Client, Unexpected, at_once
from reallib.environment import Environment, NotInstalled
from reallib.trial import BIND, Failed, Service, try_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reallib.trial import Trial

ROOT = Path(__file__).parents[2]
DEMO = ('--workers', '1', *BIND)


class Installed(Environment):
    """The environment of these tests, where the checkout is installed."""

    def __init__(self) -> None:
        super().__init__(Path(sys.prefix), (), ROOT)

    def ensure(self) -> None:
        pass


def attempt(run: Callable[[Trial], None], folder: Path, where: Environment | None = None) -> Trial:
    return try_service(Service('demo', 'what is served by default', (), run), where or Installed(), folder)


def test_a_service_that_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(trial: Trial) -> None:
        with trial.serving('the demo', *DEMO) as server, trial.step('it answers'), Client(server.url) as client:
            client.ask('GET', '/')

    trial = attempt(run, tmp_path)
    assert (trial.passed, trial.failed) == (4, 0), capsys.readouterr().out


def test_a_step_that_fails_ends_its_service_and_shows_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(trial: Trial) -> None:
        with trial.serving('the demo', *DEMO) as server:
            with trial.step('it has what it has not'), Client(server.url) as client:
                client.ask('GET', '/nothing')
            with trial.step('never reached'):
                pass

    trial = attempt(run, tmp_path)
    output = capsys.readouterr().out
    assert (trial.passed, trial.failed) == (2, 1)
    assert 'FAILED  demo: it has what it has not\n' in output
    assert 'GET /nothing: 404 instead of 200' in output
    assert 'ready: 1 worker' in output
    assert 'never reached' not in output


def test_a_server_that_does_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(trial: Trial) -> None:
        with trial.serving('nothing', 'none.ini', *DEMO):
            pass

    trial = attempt(run, tmp_path)
    assert (trial.passed, trial.failed) == (1, 1)
    assert 'none.ini: there is no such file' in capsys.readouterr().out


def test_a_command_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(trial: Trial) -> None:
        with trial.step('python exits'):
            trial.command('python', '-c', 'print("last words"); raise SystemExit(3)')

    assert attempt(run, tmp_path).failed == 1
    output = capsys.readouterr().out
    assert 'exit status 3' in output
    assert 'last words' in output


@pytest.mark.parametrize(
    ('test', 'passes'),
    [('def test(): pass', True), ('def test(): assert False', False), ('', False)],
    ids=['passing', 'failing', 'none'],
)
def test_suites(test: str, passes: bool, tmp_path: Path) -> None:
    def run(trial: Trial) -> None:
        with trial.step('tests'):
            trial.run_tests('test_it.py', env={}, cwd=tmp_path)

    (tmp_path / 'test_it.py').write_text(test)
    assert attempt(run, tmp_path).failed == (0 if passes else 1)


def test_what_cannot_be_installed_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ensure(self: Environment) -> None:
        raise NotInstalled(f'pip install {" ".join(self.requirements)}')

    monkeypatch.setattr(Environment, 'ensure', ensure)
    assert cli.main(['placement', '--venvs', str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert 'pip install openstack-placement' in output
    assert output.splitlines()[-1] == '0 passed, 1 failed'


def test_an_environment_is_made_again_when_what_belongs_in_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Builder:
        def __init__(self, **options: bool) -> None:
            pass

        def create(self, directory: Path) -> None:
            directory.mkdir(exist_ok=True)

    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(venv, 'EnvBuilder', Builder)
    monkeypatch.setattr(Environment, '_pip', lambda self, *arguments: calls.append(arguments))
    for requirements in [('one',), ('one',), ('one', 'two')]:
        Environment(tmp_path / 'venv', requirements, ROOT).ensure()
    checkout = ('install', '--editable', str(ROOT))
    assert calls == [('install', 'one'), checkout, ('install', 'one', 'two'), checkout]


def test_unknown_services_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(['pylons'])
    assert 'no pylons; there are pyramid, placement' in capsys.readouterr().err


# --- the client -------------------------------------------------------------------------------------------------


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_PUT(self) -> None:
        body = b''
        if self.headers['Transfer-Encoding'] == 'chunked':
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(201)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('X-Target', self.path)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}/v1'
        server.shutdown()
        thread.join()


def test_what_the_client_sends(echo: str) -> None:
    with Client(echo) as client:
        assert client.ask('PUT', '/a', expect=201, json_body={'ü': 1}).json == {'ü': 1}
        assert client.ask('PUT', '/a', expect=201, body=iter([b'in ', b'chunks'])).body == b'in chunks'
        assert client.ask('PUT', '/a?b', expect=201, body=b'').headers['X-Target'] == '/v1/a?b'
        assert client.ask('PUT', f'{echo}/whole?url', expect=201, body=b'').headers['X-Target'] == '/v1/whole?url'


def test_an_answer_that_was_not_expected(echo: str) -> None:
    with Client(echo) as client:
        with pytest.raises(Unexpected, match=r"PUT /v1/a: 201 instead of 204: b'text'"):
            client.ask('PUT', '/a', expect=204, body=b'text')
        with pytest.raises(Unexpected, match=r'not JSON .*: b.text'):
            _ = client.ask('PUT', '/a', expect=201, body=b'text').json


def test_one_of_many_that_fails() -> None:
    def work(number: int) -> None:
        if number == 2:
            raise Failed('two')

    with pytest.raises(Failed, match='two'):
        at_once(3, work)
