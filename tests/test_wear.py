"""What a trial may wear of a page, and the ledger that adds it up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rig.config import Configuration
from rig.errors import ConfigError, Problem, StorageError
from rig.model import Board, Expectation, Fault, Phase, Protocol, Region, Trial, Trigger, TriggerKind, WearBudget
from rig.plan import plan
from rig.run.wear import check_wear
from rig.scenario import FaultShare
from rig.store.wear import spent_erases
from rig.wear import erases_of
from tests.config_files import BOARDS, boards, boards_problems, edited, only
from tests.simulated_cuts import template
from tests.test_aimed_programmes import AIMED, beside
from tests.test_plan import IMAGES, MEMORY, SCENARIO, board, image

CUT = Fault(trigger=Trigger(kind=TriggerKind.PHASE, phase=Phase.INSTALL), off_s=0.3)
OFFSET = replace(board("dk1"), memory=replace(MEMORY, upload_offset=4096))
SCRATCH = replace(board("dk1"), memory=replace(MEMORY, scratch=Region(start=0xF0000, size=8 * 4096)))


def trial(**changes: object) -> Trial:
    return replace(template(), old=image("1.0.0"), new=image("1.1.0"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("on", "changes", "erases"),
    [
        (OFFSET, {}, 2 + 1 + 2),
        (OFFSET, {"fault": CUT}, 2 + 2 + 3 * 2 + 1),
        (OFFSET, {"fault": replace(CUT, repeat=3)}, 2 + 4 + 7 * 2 + 3),
        (OFFSET, {"again": image("1.2.0")}, 2 + 2 + 2 * 2),
        (OFFSET, {"confirm": False, "expect": Expectation.ROLLED_BACK}, 2 + 1 + 2 * 2),
        (board("dk1"), {}, 2 + 1 + 4),
        (SCRATCH, {}, 2 + 1 + 2 * 3 + 2),
        (board("dk1"), {"protocol": Protocol.SECURE_DFU, "fault": CUT}, 1 + 2 * (10 + 16)),
        (OFFSET, {"inspect": True}, 0),
    ],
)
def test_the_bound_of_a_trial(on: Board, changes: dict[str, object], erases: int) -> None:
    """64 KiB are 16 pages, and 17 with a header: three times a scratch area of eight."""
    assert erases_of(trial(**changes), on) == erases


def test_the_budget_is_read_from_the_file_and_has_its_place(tmp_path: Path) -> None:
    found = boards(tmp_path, edited(BOARDS, "defaults:\n", "defaults:\n  wear: {erases: 10000}\n"))
    assert [one.wear for one in found.boards] == [WearBudget(erases=10_000)] * 2
    assert {(place.line, place.key) for place in found.wear_places.values()} == {(3, "defaults.wear.erases")}
    assert boards(tmp_path).wear_places == {}


def test_a_budget_of_nothing_is_refused(tmp_path: Path) -> None:
    problem: Problem = only(boards_problems(tmp_path, edited(BOARDS, "defaults:\n", "defaults:\n  wear: {erases: 0}\n")))
    assert problem.key == "defaults.wear.erases"


def test_a_damaged_ledger_is_an_error_and_no_new_beginning(tmp_path: Path) -> None:
    assert spent_erases(tmp_path, "dk1") == 0
    (tmp_path / ".wear").mkdir()
    (tmp_path / ".wear/a-1.json").write_text('{"format": "rig.wear/1", "boards": {"dk1": 12, "dk2": 5}}')
    (tmp_path / ".wear/b-2.json").write_text('{"format": "rig.wear/1", "boards": {"dk1": 30}}')
    assert spent_erases(tmp_path, "dk1") == 42
    (tmp_path / ".wear/b-2.json").write_text('{"format": "rig.wear/1", "boards": {"dk1": ')
    with pytest.raises(StorageError, match=r"b-2\.json: not JSON"):
        spent_erases(tmp_path, "dk1")
    (tmp_path / ".wear/b-2.json").write_text('{"format": "rig.wear/1", "boards": {"dk1": "many"}}')
    with pytest.raises(StorageError, match="numbers of erases"):
        spent_erases(tmp_path, "dk1")


def test_aimed_cuts_count_as_many_times_as_their_budget_lets_a_board_have_its_turn(tmp_path: Path) -> None:
    limited = boards(tmp_path, edited(BOARDS, "defaults:\n", "defaults:\n  wear: {erases: 100}\n"))
    (first, _) = limited.boards
    scenario = replace(SCENARIO, faults=(FaultShare(programme=(AIMED, beside(after=1))),), again=0.0, trials=7)
    dealt = plan([scenario], [first], {("s", "dk1"): IMAGES["s", "dk1"]})
    each = 2 + 3 + 5 * 2 + 2
    with pytest.raises(ConfigError) as caught:
        check_wear(Configuration(boards=limited, scenarios=(scenario,)), dealt, tmp_path)
    (problem,) = caught.value.problems
    assert f"the 7 trials of this campaign may add {7 * each}" in problem.reason
    assert problem.hint.startswith(f"{100 // each} of them fit")
    enough = replace(limited, boards=(replace(first, wear=WearBudget(erases=7 * each)),))
    check_wear(Configuration(boards=enough, scenarios=(scenario,)), dealt, tmp_path)
