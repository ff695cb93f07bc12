"""scripts/count without valgrind: what is recorded and compared, and that each case is answered as it should be."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from countlib import cases, cli, measure, record
from countlib.record import Build, Verdict

BUILD = Build(
    '3.11.7',
    'x86_64',
    'GCC 12.2.0',
    'glibc 2.36',
    {'CONFIG_ARGS': "'--prefix=/opt/python' '--enable-shared'", 'PY_CFLAGS': '-O3 -I/opt/python/include'},
    '/opt/python',
)


def test_a_build_is_named_by_what_it_is() -> None:
    assert str(BUILD).startswith('CPython 3.11.7, x86_64, GCC 12.2.0, glibc 2.36, configuration ')


def test_the_same_build_elsewhere_has_the_same_name() -> None:
    moved = {name: str(value).replace('/opt/python', '/usr/local') for name, value in BUILD.configuration.items()}
    assert str(dataclasses.replace(BUILD, configuration=moved, prefix='/usr/local')) == str(BUILD)


OTHERS = {
    'version': dataclasses.replace(BUILD, version='3.11.8'),
    'machine': dataclasses.replace(BUILD, machine='aarch64'),
    'compiler': dataclasses.replace(BUILD, compiler='GCC 13.2.0'),
    'C library': dataclasses.replace(BUILD, libc='glibc 2.41'),
    'optimizations': dataclasses.replace(
        BUILD, configuration={**BUILD.configuration, 'CONFIG_ARGS': "'--prefix=/opt/python' '--enable-optimizations'"}
    ),
    'flags': dataclasses.replace(
        BUILD, configuration={**BUILD.configuration, 'PY_CFLAGS': '-O2 -I/opt/python/include'}
    ),
}


@pytest.mark.parametrize('other', OTHERS.values(), ids=OTHERS)
def test_another_build_has_another_name(other: Build) -> None:
    assert str(other) != str(BUILD)


def test_a_case_is_named_with_the_versions_that_it_depends_on() -> None:
    assert record.entry('hello', {}) == 'hello'
    assert record.entry('chain', {'WebOb': '1.8.9', 'Routes': '2.5.1'}) == 'chain, Routes 2.5.1, WebOb 1.8.9'


@pytest.mark.parametrize(
    ('count', 'recorded', 'verdict'),
    [
        pytest.param(100_000, 100_000, Verdict.SAME, id='the same'),
        pytest.param(103_000, 100_000, Verdict.SAME, id='3 % more'),
        pytest.param(103_001, 100_000, Verdict.MORE, id='more than that'),
        pytest.param(97_000, 100_000, Verdict.SAME, id='3 % less'),
        pytest.param(96_999, 100_000, Verdict.LESS, id='less than that'),
        pytest.param(1, None, Verdict.NEW, id='nothing to compare with'),
    ],
)
def test_verdicts(count: int, recorded: int | None, verdict: Verdict) -> None:
    assert record.judge(count, recorded) is verdict


def test_the_table_has_what_differs_and_what_to_do() -> None:
    counts = {'hello': 85_000, 'browser': 150_000, 'big': 9_000, 'post': 110_000}
    lines = record.table(counts, {'hello': 85_085, 'browser': 160_000, 'post': 100_000}).splitlines()
    assert lines[:3] == [
        'instructions/request  counted  recorded',
        'hello                  85,000    85,085   -0.1%',
        'browser               150,000   160,000   -6.2%  less than recorded: scripts/count --record, so that it stays',
    ]
    assert lines[3] == 'big                     9,000         -          not recorded yet'
    assert lines[4].startswith('post                  110,000   100,000  +10.0%  MORE than recorded')


def test_a_record_is_read_as_it_was_written() -> None:
    made = {'b, x86_64': {'hello': 85_000, 'chain, WebOb 1.8.9': 1_200_000}, 'a, x86_64': {'hello': 99}}
    text = record.render(made)
    assert record.parse(text) == made
    assert text.index('"a, x86_64"') < text.index('"b, x86_64"')
    assert '"chain, WebOb 1.8.9" = 1_200_000\n' in text


def test_recording_replaces_the_cases_that_were_counted_and_nothing_else() -> None:
    before = {'ours': {'hello': 1, 'big': 2, 'chain, WebOb 1': 3}, 'theirs': {'hello': 4}}
    assert record.with_counts(before, 'ours', {'hello': 5, 'chain, WebOb 2': 6}) == {
        'ours': {'big': 2, 'hello': 5, 'chain, WebOb 2': 6},
        'theirs': {'hello': 4},
    }
    assert record.with_counts({}, 'ours', {'hello': 5}) == {'ours': {'hello': 5}}


def test_the_record_has_each_case_of_each_build() -> None:
    text = cli.RECORD.read_text()
    written = record.parse(text)
    assert written
    for counts in written.values():
        assert [name.partition(',')[0] for name in counts] == list(cases.BY_NAME)
    assert record.render(written) == text


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A record of this build in which hello is 1,000 and browser 2,000; valgrind is there, and counts are for tests to
    set."""
    path = tmp_path / 'record.toml'
    path.write_text(record.render({str(cli._build()): {'hello': 1_000, 'browser': 2_000}}))
    monkeypatch.setattr(cli, 'RECORD', path)
    monkeypatch.setattr('shutil.which', lambda name: f'/usr/bin/{name}')
    return path


def count(monkeypatch: pytest.MonkeyPatch, *counts: int) -> None:
    monkeypatch.setattr(measure, 'instructions', lambda chosen: list(counts))


@pytest.mark.parametrize(
    ('counts', 'status', 'word'),
    [
        pytest.param((1_000, 2_000), 0, '+0.0%', id='the same'),
        pytest.param((900, 1_900), 0, Verdict.LESS.value, id='less'),
        pytest.param((900, 2_100), 1, Verdict.MORE.value, id='one is more'),
    ],
)
def test_a_check_fails_where_a_case_costs_more(
    written: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    counts: tuple[int, int],
    status: int,
    word: str,
) -> None:
    before = written.read_text()
    count(monkeypatch, *counts)
    assert cli.main(['--check', 'hello', 'browser']) == status
    assert word in capsys.readouterr().out
    assert cli.main(['hello', 'browser']) == 0  # who doesn't check is told the same
    assert written.read_text() == before


def test_recording_makes_the_check_pass(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count(monkeypatch, 1_100)
    assert cli.main(['--check', 'hello']) == 1
    assert cli.main(['--record', 'hello']) == 0
    assert tomllib.loads(written.read_text()) == {str(cli._build()): {'browser': 2_000, 'hello': 1_100}}
    assert cli.main(['--check', 'hello']) == 0


def never(chosen: object) -> list[int]:
    raise AssertionError('nothing is to be counted')


def test_a_build_without_a_record_is_not_checked(
    written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written.write_text(record.render({'another build': {'hello': 1}}))
    monkeypatch.setattr(measure, 'instructions', never)
    assert cli.main(['--check']) == 0
    assert f'skipped: record.toml has nothing of this build: {cli._build()}' in capsys.readouterr().err


def test_without_valgrind_nothing_is_checked_and_nothing_counted(
    written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr('shutil.which', lambda name: None)
    monkeypatch.setattr(measure, 'instructions', never)
    assert cli.main(['--check']) == 0
    assert 'skipped: needs valgrind' in capsys.readouterr().err
    assert cli.main([]) == 1


def test_an_unknown_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(['hello', 'helo'])
    assert 'no case helo; there are hello, browser' in capsys.readouterr().err


@pytest.mark.parametrize('case', cases.CASES, ids=lambda case: case.name)
def test_the_loop_answers_each_case(case: cases.Case) -> None:
    measure._run(case, 3, ())


def test_requests_that_differ_do() -> None:
    assert len({cases.browser_request(number) for number in range(100)}) == 100
    assert len({cases.short_request(number) for number in range(100)}) == 1


WRONG = {
    'an answer that is another': (
        dataclasses.replace(cases.CASES[0], answer=b'Goodbye'),
        'hello: HTTPException\\("answered 200 and b\'Hello, world!',
    ),
    'an application that is missing': (
        dataclasses.replace(cases.CASES[0], application='nothing'),
        "(?s)hello: .*has no attribute 'nothing'",
    ),
}


@pytest.mark.parametrize(('case', 'words'), WRONG.values(), ids=WRONG)
def test_what_fails_is_told(case: cases.Case, words: str) -> None:
    with pytest.raises(measure.Failed, match=words):
        measure._run(case, 1, ())
