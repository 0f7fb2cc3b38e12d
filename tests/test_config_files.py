"""Files that are hardly files, many mistakes at once, and the promise that there is never a traceback."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rig import config
from rig.errors import ConfigError
from tests.config_files import (
    BOARDS,
    REPOSITORY,
    SCENARIO,
    SHIPPED,
    boards,
    boards_problems,
    edited,
    only,
    scenario,
    scenario_problems,
    write,
)

BAD_FILES = [
    (b"", 0, 0, "empty"),
    (b"# only a comment\n", 0, 0, "empty"),
    (b"a: 1\n\tb: 2\n", 2, 1, "'\\t'"),
    (b"bench: [1, 2\n", 2, 1, "not valid YAML"),
    (b"bench: 'x\n", 2, 1, "not valid YAML"),
    (b"a: b: c\n", 1, 5, "mapping values are not allowed here"),
    (b"a: 1\n---\nb: 2\n", 2, 1, "single document"),
    (b"a: \x01\n", 1, 4, "control character 0x01"),
    (b"a: 1\nb: \xff\n", 2, 4, "not UTF-8: byte 0xff"),
    ("a: 1".encode("utf-16"), 1, 1, "not UTF-8"),
    (b"a: *nothing\n", 1, 4, "undefined alias"),
    (b"[" * 1000, 0, 0, "nested too deeply"),
    (b"- 1\n- 2\n", 1, 1, "must be a mapping, not a list"),
    (b"just text\n", 1, 1, "must be a mapping, not text"),
]


@pytest.mark.parametrize(("content", "line", "column", "reason"), BAD_FILES, ids=[repr(row[0][:12]) for row in BAD_FILES])
def test_file_that_is_not_usable(tmp_path: Path, content: bytes, line: int, column: int, reason: str) -> None:
    for problems in (boards_problems(tmp_path, content), scenario_problems(tmp_path, content)):
        problem = only(problems)
        assert (problem.line, problem.column) == (line, column)
        assert reason in problem.reason


def test_tab_hint_says_what_to_do(tmp_path: Path) -> None:
    assert "spaces" in only(boards_problems(tmp_path, b"a: 1\n\tb: 2\n")).hint


def test_duplicate_keys_are_all_reported_with_the_line_of_the_first(tmp_path: Path) -> None:
    text = edited(edited(SCENARIO, "seed: 1\n", "seed: 1\nseed: 2\n"), "  - none\n", "  - {none: {}, none: {}}\n")

    problems = scenario_problems(tmp_path, text)

    assert [(problem.key, problem.line) for problem in problems] == [("faults[0].none", 9), ("seed", 13)]
    assert "first in line 12" in problems[1].reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [("!!python/object:os.system x", "tag"), ("&a [*a]", "contains itself"), ('"\\ud800"', "surrogate"), ("{[1]: 2}", "key"), ("{1: 2}", "key")],
)
def test_yaml_that_means_nothing_here(tmp_path: Path, value: str, reason: str) -> None:
    problems = scenario_problems(tmp_path, edited(SCENARIO, "boards: all", f"description: {value}"))

    assert any(reason in problem.reason and problem.line == 3 for problem in problems)


@pytest.mark.parametrize("depth", [45, 150, 210, 320])
def test_deep_nesting_is_refused_at_its_place(tmp_path: Path, depth: int) -> None:
    text = edited((REPOSITORY / "boards.yaml").read_text(), "mode: swap-offset", f"mode: {'[' * depth}{']' * depth}")

    problems = boards_problems(tmp_path, text)

    assert any("nested too deeply" in problem.reason for problem in problems)


def test_aliases_that_multiply_are_refused_quickly(tmp_path: Path) -> None:
    levels = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12))

    problems = scenario_problems(tmp_path, f"a0: &a0 x\n{levels}{SCENARIO}")

    assert any("multiply" in problem.reason for problem in problems)


def test_missing_file_and_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as missing:
        config.load_boards(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError) as folder:
        config.load_boards(tmp_path)

    assert only(missing.value.problems).reason == "no such file"
    assert only(folder.value.problems).reason == "is a folder, not a file"


def test_unreadable_file_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    path = write(tmp_path, "boards.yaml", BOARDS)
    monkeypatch.setattr(Path, "read_bytes", refuse)  # a test may run as root, whom no mode bits stop
    with pytest.raises(ConfigError) as caught:
        config.load_boards(path)

    assert only(caught.value.problems).reason == "cannot be read: Permission denied"


def test_unknown_scenario_name_gets_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(ConfigError) as caught:
        config.load_scenarios(["smp-rolback"])

    assert "smp-rollback" in only(caught.value.problems).hint


def test_folder_without_scenarios_and_no_name_at_all(tmp_path: Path) -> None:
    for paths in ([tmp_path], [], [""], ["a\0b"]):
        with pytest.raises(ConfigError) as caught:
            config.load_scenarios(paths)
        assert len(caught.value.problems) == 1


def test_two_scenarios_of_one_name(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", SCENARIO)
    write(tmp_path, "b.yaml", SCENARIO)

    with pytest.raises(ConfigError) as caught:
        config.load_scenarios([tmp_path])

    problem = only(caught.value.problems)
    assert (problem.file, problem.line, problem.column, problem.key) == (str(tmp_path / "b.yaml"), 1, 11, "scenario")
    assert "a.yaml:1" in problem.reason


def test_all_problems_of_a_file_come_at_once_and_in_order(tmp_path: Path) -> None:
    text = BOARDS
    for old, new in [
        ("voltage_mv: 3000", "voltage_mv: 9000"), ("baudrate: 115200", "baudrat: 115200"), ("adapter: hci0", "adapter: 7"),
        ("name: dk2", "name: dk1"), ("soc: nrf52832", "soc: nrf5283"), ("    console: {port: /dev/console2}\n", ""),
    ]:  # fmt: skip
        text = edited(text, old, new)

    problems = boards_problems(tmp_path, text)

    assert [problem.key for problem in problems] == [
        "defaults.supply.voltage_mv", "defaults.console.port", "defaults.console.baudrat", "defaults.radio.adapter",
        "boards[1].name", "boards[1].soc",
    ]  # fmt: skip


def test_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    bad_boards = write(tmp_path, "boards.yaml", edited(BOARDS, "soc: nrf52832", "soc: nrf5283"))
    one = write(tmp_path, "one.yaml", edited(SCENARIO, "seed: 1", "sead: 1"))
    two = write(tmp_path, "two.yaml", edited(SCENARIO, "{phase: install}", "{phase: instal}"))

    with pytest.raises(ConfigError) as caught:
        config.load(bad_boards, [one, two])

    assert [problem.file for problem in caught.value.problems] == [str(bad_boards), str(one), str(two)]
    assert all(str(path) + ":" in str(caught.value) for path in (bad_boards, one, two))


def test_a_mistake_does_not_hide_contradictions_elsewhere(tmp_path: Path) -> None:
    text = edited(edited(SCENARIO, "seed: 1", "seed: one\nexpect: rolled_back"), "version: 1.1.0", "version: 1.0.0")

    assert {problem.key for problem in scenario_problems(tmp_path, text)} == {"seed", "update.confirm", "images.new"}


def test_long_lines_and_control_characters_are_cut_out_of_excerpts(tmp_path: Path) -> None:
    text = edited(SCENARIO, "seed: 1", f"limits: {{{' ' * 300}\u0085boots: 3}}\nseed: 1")

    problem = only(scenario_problems(tmp_path, text))

    assert all(len(line) < 140 and line.isprintable() for line in problem.excerpt.splitlines())


def test_no_mutation_of_the_shipped_files_gives_a_traceback(tmp_path: Path) -> None:
    rng = random.Random(1)
    shipped = [(REPOSITORY / "boards.yaml").read_text(), (SHIPPED / "smp-demo.yaml").read_text()]
    junk = ["", " ", "\t", "{", "}", "[", "]", ":", "-", ",", "null", "true", "-1", "1e9", ".nan", "'", "#", "&a ", "*a", "é", "\n", "0x", "all"]
    refused: list[ConfigError] = []
    for _ in range(80):
        text = rng.choice(shipped)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(junk) + text[at + rng.choice([0, 1, 5, 20]) :]
        for load_it in (boards, scenario):
            try:
                load_it(tmp_path, text)
            except ConfigError as error:
                refused.append(error)
    assert all(error.problems and str(error) for error in refused)
    assert len(refused) > 100
