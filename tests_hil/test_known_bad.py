"""Devices with a planted defect: the rig must say FAIL, and name what the device did."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from rig.model import Outcome, Verdict
from tests_hil.campaigns import boards_file, run_campaign, scenario_file

SWAP_OF_FIVE_PAGES_MS = 1800
INSTALL_CUTS = {
    "power_cut": {"trigger": {"phase": "install"}, "offset_ms": {"uniform": [0, SWAP_OF_FIVE_PAGES_MS]}, "off_ms": 300}
}
ROLLBACK = {"update": {"request": "test", "confirm": False}, "expect": "rolled_back"}
MCUBOOT = "rig.virtual.mcuboot:Mcuboot"


def judge_device(folder: Path, defect: str | None, trials: int, **scenario: object) -> Counter[tuple[Verdict, Outcome]]:
    bootloader = {"class": MCUBOOT, "defects": [defect] if defect else []}
    if defect == "overwrite-request-first" or scenario.pop("overwrite", False):
        bootloader["mode"] = "overwrite-only"
    boards = boards_file(folder, only="nrf52840", bootloader=bootloader)
    if "mode" in bootloader:
        boards.write_text(boards.read_text().replace('"preset": "swap-offset"', '"preset": "swap-move"'))
    judgements = run_campaign(folder, scenario_file(folder, trials=trials, **scenario), boards)
    return Counter((j.verdict, j.outcome) for j in judgements)


def test_status_written_before_the_copy_bricks(tmp_path: Path) -> None:
    found = judge_device(tmp_path, "status-before-copy", 24, faults=[INSTALL_CUTS])
    assert found[Verdict.FAIL, Outcome.BRICKED] > 0
    assert not any(verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE) for verdict, _ in found)


def test_no_revert_is_not_reverted(tmp_path: Path) -> None:
    assert judge_device(tmp_path, "no-revert", 3, **ROLLBACK) == {(Verdict.FAIL, Outcome.NOT_REVERTED): 3}


def test_an_overwrite_that_clears_its_request_first_bricks(tmp_path: Path) -> None:
    found = judge_device(tmp_path, "overwrite-request-first", 12, faults=[INSTALL_CUTS])
    assert found[Verdict.FAIL, Outcome.BRICKED] > 0


def test_erased_user_data_are_noticed(tmp_path: Path) -> None:
    found = judge_device(tmp_path, "user-data-erased", 2)
    assert set(found) == {(Verdict.FAIL, Outcome.UPDATED)}


@pytest.mark.parametrize(
    ("scenario", "outcomes"),
    [
        ({"faults": [INSTALL_CUTS], "trials": 24}, {Outcome.RESUMED, Outcome.RECOVERED_ON_RETRY}),
        ({**ROLLBACK, "trials": 3}, {Outcome.ROLLED_BACK}),
        ({"faults": [INSTALL_CUTS], "overwrite": True, "trials": 12}, {Outcome.RESUMED, Outcome.RECOVERED_ON_RETRY}),
        ({"trials": 2}, {Outcome.UPDATED}),
    ],
    ids=["install cuts", "rollback", "overwrite", "plain"],
)
def test_the_good_device_passes_the_same_scenarios(tmp_path: Path, scenario: dict[str, object], outcomes: set[Outcome]) -> None:
    trials = scenario.pop("trials")
    found = judge_device(tmp_path, None, int(str(trials)), **scenario)
    assert {verdict for verdict, _ in found} == {Verdict.PASS}
    assert {outcome for _, outcome in found} <= outcomes
