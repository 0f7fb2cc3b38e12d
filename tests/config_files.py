"""Files that are right, ways to make them wrong, and what the tests of the configuration ask of a problem."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from rig import config
from rig.errors import ConfigError, Problem
from rig.scenario import Scenario

REPOSITORY = Path(__file__).parents[1]
SHIPPED = REPOSITORY / "tests_hil" / "scenarios"
PRODUCTS = REPOSITORY / "products"

BOARDS = """\
bench: {driver: lab}
defaults:
  protocol: smp
  memory: {preset: swap-offset}
  probe: {driver: virtual}
  supply: {driver: ppk2, voltage_mv: 3000}
  console: {driver: uart, baudrate: 115200}
  radio: {driver: bleak, adapter: hci0}
boards:
  - name: dk1
    soc: nrf52840
    ble: {name: unit-1, address: "C0:00:00:00:00:01"}
    supply: {port: /dev/supply1}
    console: {port: /dev/console1}
  - name: dk2
    soc: nrf52832
    ble: {name: unit-2, address: "C0:00:00:00:00:02"}
    supply: {port: /dev/supply2}
    console: {port: /dev/console2}
"""

SCENARIO = """\
scenario: cuts
protocol: smp
boards: all
images:
  old: {build: {version: 1.0.0, size: 64 KiB}}
  new: {build: {version: 1.1.0, size: 64 KiB}}
update: {request: test, confirm: true}
faults:
  - none
  - power_cut: {trigger: {phase: install}, offset_ms: {uniform: [0, 5000]}, off_ms: 500}
trials: 20
seed: 1
"""


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def edited(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{old!r} must occur once"
    return text.replace(old, new)


def place(text: str, marker: str) -> tuple[int, int]:
    """Line and column, from 1, where `marker` begins."""
    before = text[: text.index(marker)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def boards_problems(folder: Path, text: str | bytes) -> tuple[Problem, ...]:
    path = write(folder, "boards.yaml", text)
    with pytest.raises(ConfigError) as caught:
        config.load_boards(path)
    assert all(problem.file == str(path) for problem in caught.value.problems)
    return caught.value.problems


def scenario_problems(folder: Path, text: str | bytes) -> tuple[Problem, ...]:
    path = write(folder, "cuts.yaml", text)
    with pytest.raises(ConfigError) as caught:
        config.load_scenarios([path])
    assert all(problem.file == str(path) for problem in caught.value.problems)
    return caught.value.problems


def only(problems: tuple[Problem, ...]) -> Problem:
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]


def scenario(folder: Path, text: str = SCENARIO) -> Scenario:
    (loaded,) = config.load_scenarios([write(folder, "cuts.yaml", text)])
    return loaded


def boards(folder: Path, text: str = BOARDS) -> config.BoardsFile:
    return config.load_boards(write(folder, "boards.yaml", text))


@dataclass(frozen=True)
class Mistake:
    """`new` in place of `old` is a mistake that is found where `marker` begins."""

    old: str
    new: str
    marker: str
    key: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.new.strip()[:30]}"

    def check(self, problem: Problem, text: str) -> None:
        assert (problem.line, problem.column) == place(text, self.marker)
        assert problem.key == self.key
        assert self.reason in problem.reason
        assert self.hint in problem.hint
