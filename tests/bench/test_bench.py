"""The parts of scripts/bench that start nothing: wrk's output, medians, ratios, the table, and who takes part."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
import time
import venv
from pathlib import Path
from typing import Any

import pytest
import webob

from benchlib import app, bareloop, cases, chain, cli, environment, page, report, routes, servers, wrk
from benchlib.cases import Need
from benchlib.wrk import Cores, Sample
from prefork.deploy import loadapp

WRK_OUTPUT = """Running 2s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
  41207 requests in 2.00s, 3.07MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
  Non-2xx or 3xx responses: 2
{"requests": 41207, "microseconds": 2000000, "errors": {"connect": 0, "read": 3, "write": 0, "timeout": 1, \
"status": 2}, "latency": {"50": 300, "98": 700, "99": 900, "100": 2520}}
"""


REPORT = json.loads(WRK_OUTPUT.splitlines()[-1])

UNKNOWN = Cores()


def sample(rate: float, cores: Cores = UNKNOWN, **errors: int) -> Sample:
    return Sample(int(rate), rate, errors, {'50': 1}, cores)


def results(**rates: list[float]) -> report.Results:
    """Samples of one case, hello, for servers named by keyword."""
    made = report.Results()
    for server, values in rates.items():
        for rate in values:
            made.add('hello', server, sample(rate))
    return made


def test_wrk_output_is_parsed_with_the_errors_that_happened() -> None:
    parsed = wrk.parse(WRK_OUTPUT)
    assert parsed == Sample(
        41207, 20603.5, {'read': 3, 'timeout': 1, 'status': 2}, {'50': 300, '98': 700, '99': 900, '100': 2520}
    )


@pytest.mark.parametrize('output', ['', 'unable to connect to 127.0.0.1:1 Connection refused\n'])
def test_wrk_output_without_a_report_is_an_error(output: str) -> None:
    with pytest.raises(ValueError, match=f'wrk reported nothing: {output.strip()!r}'):
        wrk.parse(output)


def test_a_run_of_no_length_has_no_rate() -> None:
    assert wrk.parse(WRK_OUTPUT.replace('2000000', '0')).rate == 0.0


@pytest.mark.parametrize(
    ('fast', 'latency', 'errors'),
    [
        pytest.param(None, None, {'read': 1}, id='nobody asked'),
        pytest.param(Sample(9, 9.0, {}, {'99': 400}), {'99': 400}, {'read': 1}, id='theirs beside that of all'),
        pytest.param(
            Sample(9, 9.0, {'read': 2, 'status': 3}, {'99': 4}), {'99': 4}, {'read': 3, 'status': 3}, id='errors'
        ),
        pytest.param(
            Sample(0, 0.0, {'timeout': 4}, {'99': 0}), None, {'read': 1, 'timeout': 4}, id='none was answered'
        ),
    ],
)
def test_the_latency_of_fast_requests_and_their_errors_stand_beside_the_rate_of_all(
    fast: Sample | None, latency: dict[str, int] | None, errors: dict[str, int]
) -> None:
    found = wrk.with_fast(Sample(500, 250.0, {'read': 1}, {'99': 50_000}), fast)
    assert (found.requests, found.rate, found.latency) == (500, 250.0, {'99': 50_000})
    assert (found.fast, found.errors) == (latency, errors)


def test_fast_requests_are_sent_alone_by_a_wrk_that_ends_before_the_one_that_sends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / 'calls'
    program = tmp_path / 'wrk'
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\necho \'{json.dumps(REPORT)}\'\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    core = min(os.sched_getaffinity(0))
    for name, seconds in [('hello', [2]), ('mix', [2, 3]), ('mix-cpu', [2, 3])]:
        case = cases.BY_NAME[name]
        calls.write_text('')
        found = wrk.measure(case, 4321, 32, 2, core, core)
        commands = sorted(calls.read_text().splitlines(), key=lambda command: re.findall(r'--duration (\d+)s', command))
        assert [int(*re.findall(r'--duration (\d+)s', command)) for command in commands] == seconds
        assert commands[-1].endswith(' -- ' + ' '.join([case.load, *case.paths]))
        assert '--connections 32 ' in commands[-1]
        if case.fast:
            assert commands[0].endswith(' -- plain /')
        assert found.fast == (REPORT['latency'] if case.fast else None)


@pytest.mark.parametrize(
    ('rates', 'median'),
    [
        pytest.param([5.0], 5.0, id='one round'),
        pytest.param([9.0, 1.0, 5.0], 5.0, id='the middle, not the mean'),
        pytest.param([1.0, 2.0], 1.5, id='between two'),
    ],
)
def test_median_of_rounds(rates: list[float], median: float) -> None:
    assert results(peer=rates).median('hello', 'peer') == median


@pytest.mark.parametrize(
    ('rates', 'server', 'ratio'),
    [
        pytest.param({'us': [4.0], 'peer': [2.0]}, 'peer', 2.0, id='ahead'),
        pytest.param({'us': [1.0, 1.0, 9.0], 'peer': [4.0, 0.5, 2.0]}, 'peer', 0.5, id='of medians'),
        pytest.param({'us': [4.0]}, 'us', None, id='not to ourselves'),
        pytest.param({'peer': [2.0]}, 'peer', None, id='without ours'),
        pytest.param({'us': [4.0]}, 'peer', None, id='without theirs'),
        pytest.param({'us': [4.0], 'peer': [0.0]}, 'peer', None, id='to nothing'),
    ],
)
def test_ratio_is_our_median_over_theirs(rates: dict[str, list[float]], server: str, ratio: float | None) -> None:
    assert results(**rates).ratio('hello', server, 'us') == ratio


def test_table_has_medians_ratios_marks_and_gaps() -> None:
    found = results(us=[100_000.0], bare=[160_000.0], slow=[5_000.0])
    found.add('tls', 'us', sample(40_000.0))
    found.add('tls', 'bare', sample(50_000.0, timeout=7))
    found.excuse('tls', 'slow', 'has no TLS')
    found.fail('log', 'us', 'did not start')
    labels = {'us': 'us 1.0', 'bare': 'bare', 'slow': 'slow 2.1'}
    assert report.table(found, ['hello', 'tls', 'log'], labels, 'us').splitlines() == [
        'requests/s            hello             tls  log',
        'us 1.0      100,000          40,000           -!',
        'bare        160,000   x0.62  50,000!  x0.80   -',
        'slow 2.1      5,000   x20.0              -    -',
    ]


def test_a_case_with_fast_requests_has_a_column_for_their_latency() -> None:
    found = results(us=[100_000.0], slow=[5_000.0], starved=[5_000.0])
    for server, times in {'us': [9_000, 1_260, 1_000], 'slow': [12_000]}.items():
        for p99 in times:
            found.add('mix', server, wrk.with_fast(sample(9_000.0), Sample(1, 1.0, {}, {'99': p99})))
    found.add('mix', 'starved', sample(9_000.0))
    labels = {'us': 'us', 'slow': 'slow', 'starved': 'starved'}
    assert report.table(found, ['hello', 'mix'], labels, 'us').splitlines() == [
        'requests/s            hello            mix      p99',
        'us          100,000          9,000           1.3 ms',
        'slow          5,000   x20.0  9,000   x1.00  12.0 ms',
        'starved       5,000   x20.0  9,000   x1.00        -',
    ]
    assert page.table(found, ['hello', 'mix'], labels).splitlines() == [
        '| requests/s | hello | mix | p99 |',
        '|---|---:|---:|---:|',
        '| us | 100,000 | 9,000 | 1.3 ms |',
        '| slow | 5,000 | 9,000 | 12.0 ms |',
        '| starved | 5,000 | 9,000 |  |',
    ]
    document = report.as_json(found, 'us')
    assert [document['mix'][server]['fast_p99'] for server in labels] == [1.26, 12.0, None]
    assert document['mix']['slow']['samples'][0]['fast'] == {'99': 12_000}


def test_remarks_name_each_thing_once_with_its_cases() -> None:
    found = report.Results()
    found.excuse('stream', 'bare', 'runs no application')
    for case in ('log', 'tls'):
        found.fail(case, 'peer', 'did not start: exit status 1')
    found.add('hello', 'peer', sample(10.0, read=1, status=2))
    found.add('hello', 'peer', sample(10.0, read=1))
    found.add('hello', 'bare', sample(10.0, Cores(load=0.99, idle=0.2)))
    found.add('post', 'bare', sample(10.0, Cores(load=0.99, idle=0.01)))
    found.add('big', 'bare', sample(10.0, Cores(load=0.5, idle=0.2)))
    assert report.remarks(found, {'peer': 'peer 2', 'bare': 'bare loop'}) == [
        'peer 2 (hello): errors: 2 read, 2 bad status in 20 requests',
        'bare loop (hello): bounded by wrk, which had no time left while the server had: it may be faster than this',
        'peer 2 (log, tls): did not start: exit status 1',
        'bare loop (stream): runs no application',
    ]


def test_failures_of_one_server_and_case_add_up() -> None:
    found = report.Results()
    found.fail('log', 'peer', 'ended by itself')
    found.fail('log', 'peer', 'its log has 1 lines for 2 requests')
    assert found.failures == {('log', 'peer'): 'ended by itself; its log has 1 lines for 2 requests'}


@pytest.mark.parametrize(
    ('rates', 'text'),
    [
        pytest.param([100.0, 109.0], '', id='quiet'),
        pytest.param(
            [100.0, 150.0], 'rounds differ by up to 50% (peer 2, hello); on a quiet machine by less', id='not'
        ),
        pytest.param([0.0, 100.0], '', id='a round without an answer is an error, not unrest'),
    ],
)
def test_unrest(rates: list[float], text: str) -> None:
    assert report.unrest(results(peer=rates), {'peer': 'peer 2'}) == text


def test_json_has_measured_and_excused_servers() -> None:
    found = results(us=[4.0, 6.0], peer=[2.0])
    found.excuse('log', 'peer', 'has no access log')
    document = report.as_json(found, 'us')
    assert [(case, *document[case]) for case in document] == [('hello', 'us', 'peer'), ('log', 'peer')]
    assert (document['hello']['us']['median'], document['hello']['peer']['ratio']) == (5.0, 2.5)
    assert [round_['rate'] for round_ in document['hello']['us']['samples']] == [4.0, 6.0]
    assert (document['log']['peer']['excuse'], document['log']['peer']['median']) == ('has no access log', None)


@pytest.mark.parametrize(
    ('server', 'case', 'excuse'),
    [
        ('waitress', 'hello', ''),
        ('waitress', 'tls', 'has no TLS'),
        ('bjoern', 'log', 'has no access log'),
        ('bare loop', 'mix', 'runs no application'),
        ('prefork', 'tls', ''),
    ],
)
def test_excuses(server: str, case: str, excuse: str) -> None:
    assert servers.BY_NAME[server].excuse(cases.BY_NAME[case]) == excuse


TAKING_PART = [
    pytest.param(server, case, id=f'{server.name}-{case.name}')
    for server in servers.SERVERS
    for case in cases.CASES
    if not server.excuse(case)
]


@pytest.mark.parametrize(('server', 'case'), TAKING_PART)
def test_commands_have_port_certificate_and_log_where_needed(server: servers.Server, case: cases.Case) -> None:
    place = servers.Place(Path('/venv/bin'), 4321, 32, Path('/f/cert.pem'), Path('/f/key.pem'), Path('/f/access.log'))
    words = ' '.join(server.command(place, case))
    assert '4321' in words
    assert ('/f/cert.pem' in words and '/f/key.pem' in words) == (Need.TLS in case.needs)
    if server.name != 'granian':  # it logs to its standard output, which is that file
        assert ('/f/access.log' in words) == (Need.ACCESS_LOG in case.needs)


def call_application(case: cases.Case, path: str, **more: object) -> tuple[list[object], bytes]:
    """What the application gives to start_response, and its body."""
    started: list[object] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> Any:
        started.extend([status, dict(headers)])

    environ = {'PATH_INFO': path, 'CONTENT_LENGTH': str(len(case.post)), 'wsgi.input': io.BytesIO(case.post + b'more')}
    application = getattr(app, case.application.partition(':')[2])
    return started, b''.join(application({**environ, **more}, start_response))


@pytest.mark.parametrize('case', [case for case in cases.CASES if not case.ini], ids=lambda case: case.name)
def test_the_application_answers_each_path_as_the_case_says(case: cases.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, 'SLEEP', 0)
    for path in case.paths:
        started, body = call_application(case, path)
        assert body == case.answer
        length = {} if case.unframed else {'Content-Length': str(len(body))}
        assert started == ['200 OK', {'Content-Type': 'text/plain', **length}]


def test_the_file_goes_through_the_wrapper_of_a_server_that_has_one() -> None:
    wrapped: list[object] = []

    def wrapper(file: io.BufferedReader, size: int) -> list[bytes]:
        with file:
            wrapped.append((os.fstat(file.fileno()).st_size, size))
            return [file.read()]

    for _ in range(2):  # from its beginning each time
        _, body = call_application(cases.BY_NAME['file'], '/', **{'wsgi.file_wrapper': wrapper})
        assert body == app.CONTENT
    assert wrapped == [(1 << 20, 65536)] * 2


def test_the_stream_has_a_block_at_a_time() -> None:
    blocks = app.stream({}, lambda *_: lambda _: None)
    assert [len(block) for block in blocks] == [4096] * 16


def test_a_computation_takes_its_time_of_the_processor() -> None:
    before = time.thread_time()
    assert app.compute({}) == app.HELLO
    assert time.thread_time() - before >= app.COMPUTATION == 0.02


def chain_on(classes: str) -> Any:
    return loadapp(f'config:{servers.HERE / "chain.ini"}', global_conf={'classes': classes})


CHAIN_REQUESTS = [
    *[
        pytest.param(
            method, f'/v2/{resource}{path.format(id=42)}', {}, f'{action} {resource}', id=f'{action} {resource}'
        )
        for resource in chain.RESOURCES
        for method, path, action in chain.ACTIONS
    ],
    pytest.param('GET', '/v2/books/42', {'X-User': 'me'}, 'show books 42 for me\n', id='another user'),
    pytest.param('HEAD', '/v2/books/42', {}, '404 Not Found', id='no route for the method'),
    pytest.param('GET', '/v2/books/42/43', {}, '404 Not Found', id='no route'),
    pytest.param('POST', '/v2/books', {'Content-Length': '65537'}, '413 Request Entity Too Large', id='too large'),
]


@pytest.mark.parametrize(('method', 'path', 'headers', 'answer'), CHAIN_REQUESTS)
def test_the_chain_answers_alike_on_the_toolkit_and_on_plain_webob(
    method: str, path: str, headers: dict[str, str], answer: str
) -> None:
    def ask(application: Any) -> tuple[str, list[tuple[str, str]], bytes]:
        response = webob.Request.blank(path, method=method, headers=headers).get_response(application)
        return response.status, response.headerlist, response.body

    ours = ask(chain_on('prefork.toolkit'))
    assert ours == ask(chain_on('benchlib.plain'))
    status, _, body = ours
    assert answer in status + body.decode()


def test_the_chain_is_as_long_as_it_says_and_made_of_either_kind() -> None:
    for classes in ('prefork.toolkit', 'benchlib.plain'):
        link = chain_on(classes)
        for name in ('Limit', 'Context', 'Version'):
            assert (type(link).__name__, type(link).__mro__[2].__module__.startswith(classes)) == (name, True)
            link = link.application
        assert len(link.map.matchlist) == 21


def test_the_chain_is_verified_by_its_answer() -> None:
    case = cases.BY_NAME['chain']
    for path in case.paths:
        assert webob.Request.blank(path).get_response(chain_on('benchlib.plain')).body == case.answer


@pytest.mark.parametrize('server', [server for server in servers.SERVERS if not server.lacks], ids=lambda it: it.name)
def test_each_server_runs_what_the_case_says(server: servers.Server) -> None:
    place = servers.Place(Path('/venv/bin'), 4321, 32, Path('/f/cert.pem'), Path('/f/key.pem'), Path('/f/access.log'))
    hello, chained = (server.command(place, cases.BY_NAME[name]) for name in ('hello', 'chain'))
    assert cases.APPLICATION in hello
    assert cases.APPLICATION not in chained
    assert (
        str(servers.HERE / 'chain.ini') if server.name == servers.OURS else 'benchlib.pasted:application'
    ) in chained


def test_the_bare_loop_answers_with_the_right_length() -> None:
    head, _, body = bareloop.canned(b'abc').partition(b'\r\n\r\n')
    assert body == b'abc'
    assert b'\r\nContent-Length: 3\r\n' in head


def test_chosen_names_keep_the_order_of_the_table() -> None:
    choose = cli._chooser(cases.BY_NAME)
    assert choose('tls,hello') == ['hello', 'tls']
    with pytest.raises(argparse.ArgumentTypeError, match=r'no helo; there are hello, browser'):
        choose('helo,tls')


def test_what_could_not_be_installed_is_remembered_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, checkout = tmp_path / 'venv', tmp_path / 'checkout'
    checkout.mkdir()
    (checkout / 'pyproject.toml').write_text('[project]')
    calls: list[tuple[str, ...]] = []

    def pip(directory: Path, *arguments: str) -> str:
        calls.append(arguments)
        return 'no wheel' if set(arguments) & {'bjoern-binary', 'bjoern'} else ''

    monkeypatch.setattr(environment, '_pip', pip)
    monkeypatch.setattr(venv.EnvBuilder, 'create', lambda self, where: Path(where).mkdir())
    complaints = [f'{name} cannot be installed: no wheel' for name in ('bjoern-binary', 'bjoern')]
    assert environment.ensure(directory, checkout) == complaints
    assert ('--editable', str(checkout)) in calls
    calls.clear()
    assert environment.ensure(directory, checkout) == complaints
    assert calls == []
    (checkout / 'pyproject.toml').write_text('[project] # changed')
    assert environment.ensure(directory, checkout) == complaints
    assert calls == [('--editable', str(checkout))]


def test_a_case_without_servers_installs_no_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, checkout = tmp_path / 'venv', tmp_path / 'checkout'
    checkout.mkdir()
    (checkout / 'pyproject.toml').write_text('[project]')
    calls: list[tuple[str, ...]] = []

    def pip(directory: Path, *arguments: str) -> str:
        calls.append(arguments)
        return ''

    monkeypatch.setattr(environment, '_pip', pip)
    monkeypatch.setattr(venv.EnvBuilder, 'create', lambda self, where: Path(where).mkdir(exist_ok=True))
    the_checkout = ('--editable', str(checkout))
    peers = tuple(names[0] for names in environment.PACKAGES)
    for packages, installed in [((), [the_checkout]), (environment.PACKAGES, [peers]), ((), [])]:
        calls.clear()
        assert environment.ensure(directory, checkout, packages) == []
        assert calls == installed


def test_the_routes_are_measured_and_shown_without_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, 'ensure', lambda *_: [])
    monkeypatch.setattr('shutil.which', lambda _: None)  # no wrk is needed
    programs = tmp_path / 'venv' / 'bin'
    programs.mkdir(parents=True)
    (programs / 'python').write_text(f'#!/bin/sh\nPYTHONPATH={cli.CHECKOUT} exec {sys.executable} "$@"\n')
    (programs / 'python').chmod(0o755)
    arguments = [
        '--cases',
        'routes',
        '--rounds',
        '1',
        '--venv',
        str(tmp_path / 'venv'),
        '--json',
        str(tmp_path / 'json'),
    ]
    assert cli.main(arguments) == 0
    heading, *rows = capsys.readouterr().out.strip().splitlines()[2:]
    assert re.fullmatch(r'microseconds/match +10 routes +1,000 routes +x', heading)
    assert [row.split('  ')[0] for row in rows] == [routes.ROUTES, routes.INDEX]
    figures = json.loads((tmp_path / 'json').read_text())['alone']['routes']
    assert [(who, [*costs]) for who, costs in figures.items()] == [
        (routes.ROUTES, ['10', '1000']),
        (routes.INDEX, ['10', '1000']),
    ]
    assert all(cost > 0 for costs in figures.values() for cost in costs.values())


def test_the_tables_of_routes_have_the_sizes_they_are_named_for() -> None:
    from routes import Mapper

    for size in routes.SIZES:
        assert len(routes._mapper(Mapper, size // len(routes.RESOURCE)).matchlist) == size


def test_the_routes_table_has_costs_and_growth() -> None:
    figures = {'Routes': {'10': 5.0, '1000': 1250.0}, 'with the index': {'10': 3.04, '1000': 3.8}}
    assert routes.table(figures).splitlines() == [
        'microseconds/match  10 routes  1,000 routes        x',
        'Routes                    5.0       1,250.0  x250.00',
        'with the index            3.0           3.8    x1.25',
    ]
