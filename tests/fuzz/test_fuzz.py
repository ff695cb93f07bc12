"""scripts/fuzz: what it makes, what it finds, and that it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fuzzlib import cli, run
from fuzzlib.mutation import LONGEST, Mutator
from fuzzlib.targets import TARGETS, answer_of
from prefork.http1.head import HeadParser
from tests.http1.invariants import Answer

if TYPE_CHECKING:
    from pathlib import Path

# Inputs of each target beyond its seeds: enough to see that the targets work.  To find something takes scripts/fuzz.
FEW = 300


def inputs(seed: int, count: int = 200) -> list[bytes]:
    mutator = Mutator([b'GET / HTTP/1.1\r\n', b'abc'], seed)
    return [mutator.next() for _ in range(count)]


def test_the_same_seed_makes_the_same_inputs() -> None:
    assert inputs(1) == inputs(1)
    assert inputs(1) != inputs(2)


def test_inputs_differ_and_have_an_end() -> None:
    made = inputs(3, 2000)
    assert len(set(made)) > 1500
    assert max(map(len, made)) <= LONGEST


@pytest.mark.parametrize('name', TARGETS)
def test_all_rules_hold_for_a_few_inputs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    check, seeds = TARGETS[name]
    runs = len(seeds) + FEW
    assert run.by_mutation(name, check, seeds, seconds=3600, runs=runs, seed=1) == 0
    assert capsys.readouterr().out.startswith(f'{name}: {runs} inputs in ')


def test_a_target_ends_with_its_time() -> None:
    assert run.by_mutation('requests', *TARGETS['requests'], seconds=0, runs=0, seed=1) == 0


def test_an_input_that_fails_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def check(data: bytes) -> None:
        assert data != b'second'

    assert run.by_mutation('x', check, [b'first', b'second', b'third'], seconds=3600, runs=0, seed=1) == 1
    assert "check fails for b'second'" in capsys.readouterr().err


def _raise(*arguments: object) -> None:
    raise ValueError('planted')


def _drop_the_last(parser: HeadParser, data: bytes, start: int) -> None:
    parser.max_headers = 1 if start else 100  # what is allowed depends on the cuts


@pytest.mark.parametrize('bug', [_raise, _drop_the_last])
def test_planted_bugs_are_found(bug: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeadParser, 'check_partial', bug)
    assert run.by_mutation('requests', *TARGETS['requests'], seconds=3600, runs=FEW, seed=1) == 1


def test_what_takes_long_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr('fuzzlib.targets.bound', 0.0)
    assert run.by_mutation('requests', *TARGETS['requests'], seconds=3600, runs=1, seed=1) == 1
    assert 'reading it takes' in capsys.readouterr().err


ANSWERS = {
    'nothing': (b'', Answer('', [], b'', 0, False, False, False)),
    'a status': (b'\x03200 OK', Answer('200 OK', [], b'', 1, True, False, False)),
    'all flags': (b'\x0f', Answer('', [], b'', 1, True, True, True)),
    'fields': (b'\x00200 \x1eA\x1fb\r\n\x1eC', Answer('200 ', [('A', 'b\r\n'), ('C', '')], b'', 0, False)),
    'a body': (b'\x00200 \x1dabc\x1d\x1e', Answer('200 ', [], b'abc\x1d\x1e', 0, False)),
    'characters': ('\0✓é'.encode() + b'\xff', Answer('✓é\udcff', [], b'', 0, False)),
}


@pytest.mark.parametrize('name', ANSWERS)
def test_bytes_as_an_answer(name: str) -> None:
    data, answer = ANSWERS[name]
    assert answer_of(data) == answer


def test_the_command_line_knows_the_targets() -> None:
    assert list(cli.TARGETS) == list(TARGETS)


def test_an_unknown_target_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(['nosuch'])
    assert ended.value.code == 2
    assert 'there are requests, limits, responses' in capsys.readouterr().err


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / 'theirs').touch()
    with pytest.raises(SystemExit) as ended:
        cli.main(['--venv', str(tmp_path)])
    assert 'was not made by this script' in str(ended.value.code)
    assert [path.name for path in tmp_path.iterdir()] == ['theirs']
