"""Flash wear: the bound holds against what the virtual bench counts page by page, and a budget is kept over campaigns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rig.model import Board, Trial
from rig.store import Campaign
from rig.store.wear import spent_erases
from rig.virtual.world import VirtualBench
from rig.wear import erases_of
from tests_hil.campaigns import boards_file, run_campaign, scenario_file
from tests_hil.test_command_line import rig

CUTS = [
    {"power_cut": {"trigger": {"phase": phase}, "offset_ms": {"uniform": [0, longest]}, "off_ms": 300}}
    for phase, longest in (("upload", 300), ("install", 1500), ("boot_new", 300), ("confirm", 30))
]
UPDATE = {"smp": {"request": "test", "confirm": True, "again": 0.5}, "secure_dfu": {"again": 0.5}}


def bench(folder: Path, mode: str, *, erases: int | None = None) -> Path:
    smp = mode != "secure-dfu"
    path = boards_file(folder, only="nrf52840", protocol="smp" if smp else "secure_dfu")
    document = json.loads(path.read_text())
    document["defaults"]["memory"] = {"preset": mode}
    if smp:
        document["defaults"]["model"] = {"bootloader": {"class": "rig.virtual.mcuboot:Mcuboot", "mode": mode}}
    if erases is not None:
        document["boards"][0]["wear"] = {"erases": erases}
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("mode", ["swap-offset", "swap-move", "swap-scratch", "overwrite-only", "secure-dfu"])
@pytest.mark.parametrize("faults", [["none"], CUTS], ids=["undisturbed", "cut"])
def test_no_page_is_erased_more_often_than_the_bound_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, faults: list[Any]
) -> None:
    """The virtual board begins blank; one that has seen trials before has each page erased once more by the probe."""
    worst: list[int] = []
    leave = VirtualBench.__aexit__

    async def look_and_leave(self: VirtualBench, *exception: Any) -> None:
        worst.append(max(self.board("dk1", user="test").soc.flash.erase_counts))
        await leave(self, *exception)

    monkeypatch.setattr(VirtualBench, "__aexit__", look_and_leave)
    protocol = "secure_dfu" if mode == "secure-dfu" else "smp"
    scenario = scenario_file(tmp_path, protocol=protocol, update=UPDATE[protocol], faults=faults, trials=2 * len(faults))
    run_campaign(tmp_path, scenario, bench(tmp_path, mode))
    plan = Campaign.open(tmp_path / "campaign").plan
    bounds = [erases_of(trial, plan.boards[0]) for trial in plan.trials]
    assert len(worst) == len(bounds)
    assert all(0 < measured < bound for measured, bound in zip(worst, bounds, strict=True)), (worst, bounds)
    if mode != "overwrite-only":  # the memory map does not tell it from a swap by move, which erases twice as often and can revert
        assert sum(bounds) < 6 * sum(worst), "a bound that forbids what a board stands is of no use"


def test_a_budget_is_kept_over_campaigns_and_counted_once_after_a_resume(tmp_path: Path) -> None:
    trial, board = one_trial(tmp_path)
    each = erases_of(trial, board)
    boards = bench(tmp_path, "swap-offset", erases=7 * each + 1)
    scenario = scenario_file(tmp_path, trials=4)
    done = rig("run", scenario, "--boards", boards, "--out", "reports/first", "--jobs", "1", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert spent_erases(tmp_path / "reports", "dk1") == 4 * each

    (tmp_path / "reports/first/trials/T-0003/judgement.json").unlink()
    done = rig("resume", "reports/first", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert spent_erases(tmp_path / "reports", "dk1") == 5 * each, "only what ran again is counted again"

    for command in (("check",), ("plan",), ("run", "--out", "reports/second")):
        refused = rig(command[0], scenario, "--boards", boards, *command[1:], folder=tmp_path)
        assert refused.returncode == 3, refused.stdout + refused.stderr
        words = refused.stderr + refused.stdout
        assert "boards.yaml:1:" in words
        assert "boards[0].wear.erases" in words
        assert f"{5 * each} are spent (campaigns under reports), and the 4 trials of this campaign may add {4 * each}" in words
        assert "2 of them fit" in words
    assert not (tmp_path / "reports/second").exists()

    done = rig("run", scenario, "--boards", boards, "--out", "reports/third", "--trials", "2", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rig("replay", "reports/third", "T-0001", folder=tmp_path)
    assert spent_erases(tmp_path / "reports", "dk1") == 8 * each, "a repetition wears the board as well"


def one_trial(folder: Path) -> tuple[Trial, Board]:
    below = folder / "sample"
    below.mkdir()
    run_campaign(below, scenario_file(below), bench(below, "swap-offset"))
    plan = Campaign.open(below / "campaign").plan
    assert not (below / ".wear").exists(), "boards without a budget are not counted"
    return plan.trials[0], plan.boards[0]
