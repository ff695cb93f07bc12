"""What scripts/bench --write leaves: a page of Markdown, and the picture that it shows."""

from __future__ import annotations

import dataclasses
import itertools
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchlib import cli, environment, page, picture, report, rounds, wrk
from benchlib.cases import Case

SVG = '{http://www.w3.org/2000/svg}'
LABELS = {'us': 'us 1.0', 'bare': 'bare', 'peer': 'peer <2> & co'}
HELLO, TLS = Case('hello', 'the <same> request'), Case('tls', 'over TLS')

RUN = page.Circumstances(
    date='2026-11-24',
    processor='Some Processor',
    processors=2,
    kernel='6.1',
    python='3.11.7',
    rounds=3,
    seconds=2,
    connections=32,
    command='scripts/bench --rounds 3',
)


def add(results: report.Results, case: str, **rates: float) -> None:
    for server, rate in rates.items():
        results.add(case, server, wrk.Sample(int(rate), rate, {}, {'50': 1}))


@pytest.fixture
def results() -> report.Results:
    """hello in which the bound is twice as fast as us and the peer half, and tls without the bound and the peer."""
    made = report.Results()
    add(made, 'hello', us=50_000.0, bare=100_000.0, peer=25_000.0)
    add(made, 'tls', us=40_000.0)
    made.excuse('tls', 'bare', 'has no TLS')
    made.fail('tls', 'peer', 'did not start')
    return made


def test_the_page_says_where_and_how_and_has_the_table(results: report.Results) -> None:
    text = page.page(results, {'hello': 'short requests', 'tls': 'over TLS'}, LABELS, RUN, ['rounds differ'])
    assert text.splitlines() == [
        '# prefork beside other servers',
        '',
        '2026-11-24, Some Processor, 2 processors, Linux 6.1, Python 3.11.7; one worker on one core, wrk on another, '
        '32 connections, median of 3 rounds of 2 s. Measured by `scripts/bench --rounds 3`.',
        '',
        '![Requests a second, as multiples of those of prefork](results.svg)',
        '',
        '| requests/s | hello | tls |',
        '|---|---:|---:|',
        '| us 1.0 | 50,000 | 40,000 |',
        '| bare | 100,000 |  |',
        '| peer <2> & co | 25,000 | ! |',
        '',
        '- **hello**: short requests',
        '- **tls**: over TLS',
        '',
        'What the figures do not tell:',
        '',
        '- rounds differ',
    ]


def test_a_page_without_remarks_ends_with_the_cases(results: report.Results) -> None:
    assert page.page(results, {'hello': 'short requests'}, LABELS, RUN, []).endswith('\n- **hello**: short requests\n')


def draw(results: report.Results, *drawn: Case) -> ElementTree.Element:
    servers = [*LABELS]
    return ElementTree.fromstring(picture.draw(results, list(drawn), servers, 'us', 'bare', [RUN.where, RUN.how]))


def bars(panel: ElementTree.Element) -> dict[str | None, float]:
    """The length of each bar, by its class."""
    return {bar.get('class'): float(bar.get('width', '')) for bar in panel.iter(f'{SVG}rect')}


def words(element: ElementTree.Element) -> list[str | None]:
    return [text.text for text in element.iter(f'{SVG}text')]


def test_bars_are_as_long_as_servers_are_fast(results: report.Results) -> None:
    (panel,) = draw(results, HELLO).iter(f'{SVG}g')
    assert bars(panel) == {'bound': picture.BAR, 'ours': picture.BAR / 2, 'peer': picture.BAR / 4}
    assert words(panel) == ['hello', 'the <same> request', 'us', '50,000/s', 'bare', '2.00', 'peer', '0.50']


def test_the_line_stands_where_our_bar_ends(results: report.Results) -> None:
    (panel,) = draw(results, HELLO).iter(f'{SVG}g')
    (line,) = panel.iter(f'{SVG}line')
    assert line.get('x1') == line.get('x2') == str(float(picture.NAMES + picture.BAR // 2))


def test_who_takes_no_part_has_a_reason_instead_of_a_bar(results: report.Results) -> None:
    _, panel = draw(results, HELLO, TLS).iter(f'{SVG}g')
    assert bars(panel) == {'ours': picture.BAR}
    assert words(panel) == ['tls', 'over TLS', 'us', '40,000/s', 'bare', 'has no TLS', 'peer', 'failed']


def test_a_case_without_us_has_no_panel(results: report.Results) -> None:
    add(results, 'big', peer=1.0)
    assert [words(panel)[0] for panel in draw(results, Case('big', 'large'), TLS).iter(f'{SVG}g')] == ['tls']


@pytest.mark.parametrize('count', [1, 3, 4, 9])
def test_panels_stand_beside_and_below_each_other_within_the_picture(count: int) -> None:
    made, drawn = report.Results(), [Case(f'case{number}', 'about') for number in range(count)]
    for case in drawn:
        add(made, case.name, us=1.0, bare=2.0, peer=1.5)
    drawing = draw(made, *drawn)
    places = []
    for panel in drawing.iter(f'{SVG}g'):
        x, y = panel.get('transform', '').removeprefix('translate(').removesuffix(')').split()
        places.append((int(x), int(y)))
    assert len(set(places)) == count
    assert max(x for x, _ in places) + picture.PANEL <= int(drawing.get('width', ''))
    rows = sorted({y for _, y in places})
    assert len(rows) == -(-count // picture.COLUMNS)
    assert all(after - before > len(LABELS) * picture.LINE for before, after in itertools.pairwise(rows))
    assert rows[-1] + len(LABELS) * picture.LINE < int(drawing.get('height', ''))


def test_the_picture_tells_of_its_circumstances(results: report.Results) -> None:
    assert words(draw(results, HELLO))[-2:] == [RUN.where, RUN.how]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is installed and nothing measured: prefork answers twice as often as the others."""

    def run_case(case: Case, servers: list[object], plan: object, results: report.Results) -> None:
        add(results, case.name, prefork=200.0, granian=100.0)

    monkeypatch.setattr(environment, 'ensure', lambda *_: [])
    monkeypatch.setattr(environment, 'versions', lambda _: {'prefork': '0.1', 'granian': '2.8'})
    monkeypatch.setattr(rounds, 'run_case', run_case)
    monkeypatch.setattr('shutil.which', lambda name: f'/usr/bin/{name}')
    monkeypatch.setattr('os.sched_getaffinity', lambda _: {0, 1})


@pytest.mark.usefixtures('quick')
def test_page_and_picture_are_written(tmp_path: Path) -> None:
    folder = tmp_path / 'new' / 'folder'
    assert cli.main(['--cases', 'big,post', '--servers', 'prefork,granian', '--write', str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} == {page.PAGE, page.PICTURE}
    text = (folder / page.PAGE).read_text()
    assert '| prefork 0.1 | 200 | 200 |\n| granian 2.8 | 100 | 100 |\n' in text
    assert '`scripts/bench --cases post,big --servers prefork,granian`' in text
    panels = ElementTree.fromstring((folder / page.PICTURE).read_text()).iter(f'{SVG}g')
    assert [words(panel)[0] for panel in panels] == ['post', 'big']


@pytest.mark.usefixtures('quick')
def test_a_picture_needs_prefork(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(['--servers', 'granian', '--write', str(tmp_path)]) == 1
    assert 'it has to be among the servers' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'command'),
    [
        ([], 'scripts/bench'),
        (['--rounds', '3', '--write', '/somewhere', '--venv', '/elsewhere'], 'scripts/bench'),
        (['--rounds', '5', '--cases', 'hello'], 'scripts/bench --cases hello --rounds 5'),
        (['--servers', 'prefork,bare loop'], "scripts/bench --servers 'prefork,bare loop'"),
    ],
)
def test_the_command_is_what_measures_the_same_again(arguments: list[str], command: str) -> None:
    assert cli._command(cli._parser().parse_args(arguments)) == command


def test_what_there_is_one_of_is_one() -> None:
    run = dataclasses.replace(RUN, processors=1, connections=1, rounds=1)
    assert ', 1 processor, ' in run.where
    assert run.how.endswith(', 1 connection, median of 1 round of 2 s')
