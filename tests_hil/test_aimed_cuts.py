"""Campaigns that plan in rounds: what they strike, that they can be repeated and resumed, and that they find a window of 41 µs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rig.coverage import coverage
from rig.model import Outcome, Verdict
from rig.run.rounds import Rounds
from rig.store import Campaign
from tests_hil.campaigns import boards_file, run_campaign, scenario_file
from tests_hil.test_command_line import rig

WEAK = {"class": "tests_hil.torn_status:TornStatusBootloader"}


def aimed(**aim: Any) -> list[dict[str, Any]]:
    return [{"power_cut": {"aim": {"plan": "every", **aim}, "off_ms": 300}}]


def drawn(campaign: Path) -> list[tuple[Any, ...]]:
    """Everything that was drawn while the campaign ran."""
    trials = Campaign.open(campaign).plan.trials
    return [(trial.id, trial.board, trial.seed, trial.staged, trial.fault) for trial in trials]


def test_every_operation_of_marking_and_confirming_is_struck(tmp_path: Path) -> None:
    scenario = scenario_file(tmp_path, faults=aimed(phases=["mark", "confirm"]), trials=40)
    judgements = run_campaign(tmp_path, scenario, boards_file(tmp_path, only="nrf52840"))
    assert {judgement.verdict for judgement in judgements} == {Verdict.PASS}
    campaign = Campaign.open(tmp_path / "campaign")
    progress = Rounds(campaign).progress(0)
    cells = [cell for cell in coverage(progress.known, progress.shots).cells() if cell.phase in ("mark", "confirm")]
    assert [(cell.phase, cell.kind, cell.known, cell.never) for cell in cells] == [
        ("mark", "status", 5, ()), ("confirm", "status", 1, ()),
    ]  # fmt: skip
    assert len(judgements) < 40, "it ends when everything has been struck"
    assert any(trial.staged for trial in campaign.plan.trials)


def test_every_operation_of_marking_and_confirming_is_struck_inside_and_at_a_boundary(tmp_path: Path) -> None:
    both = ["inside", "boundary"]
    scenario = scenario_file(tmp_path, faults=aimed(phases=["mark", "confirm"], places=both), trials=60)
    judgements = run_campaign(tmp_path, scenario, boards_file(tmp_path, only="nrf52840"))
    assert {judgement.verdict for judgement in judgements} == {Verdict.PASS}
    progress = Rounds(Campaign.open(tmp_path / "campaign")).progress(0)
    cells = [cell for cell in coverage(progress.known, progress.shots).cells() if cell.phase in ("mark", "confirm")]
    assert [(cell.phase, cell.inside, cell.at_boundary) for cell in cells] == [("mark", 5, 5), ("confirm", 1, 1)]
    assert len(judgements) < 60, "it ends when everything has been struck"
    shown = rig("coverage", "campaign", folder=tmp_path).stdout
    assert re.search(r"mark +status +5 +5 +5 +5 +5  -; -", shown), shown
    assert re.search(r"install +erase +\d+ +0 +0 +0 +0  \d+, .*; \d+, ", shown), "what is missing is named: the installation has not been aimed at"


def test_one_job_and_two_plan_the_same_rounds_and_an_interrupted_campaign_goes_on(tmp_path: Path) -> None:
    boards = boards_file(tmp_path)
    scenario = scenario_file(tmp_path, faults=aimed(plan="adaptive", phases=["mark"], round=6), trials=36)
    plans = {}
    for jobs in ("1", "2"):
        done = rig("run", scenario, "--boards", boards, "--out", f"c{jobs}", "--jobs", jobs, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        plans[jobs] = drawn(tmp_path / f"c{jobs}")
    assert plans["1"] == plans["2"]
    assert len(plans["1"]) == 36
    last = max((tmp_path / "c1/rounds").glob("*.json"))
    names = re.findall(r'"id": ?"(T-\d+)"', last.read_text())
    for name in names:
        (tmp_path / f"c1/trials/{name}/judgement.json").unlink()
    last.unlink()
    done = rig("resume", "c1", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert drawn(tmp_path / "c1") == plans["2"]
    shown = rig("coverage", "c1", folder=tmp_path).stdout
    assert "mark" in shown
    assert "from command to effect" in shown


def test_a_window_of_one_status_write_is_found_shrunk_and_repeated(tmp_path: Path) -> None:
    """Nobody tells the planner which of the operations matters; shrinking names the one."""
    boards = boards_file(tmp_path, only="nrf52840", bootloader=WEAK)
    scenario = scenario_file(tmp_path, faults=aimed(plan="adaptive", phases=["install"]), trials=70)
    judgements = run_campaign(tmp_path, scenario, boards)
    failed = [judgement for judgement in judgements if judgement.verdict is Verdict.FAIL]
    assert failed
    assert {judgement.outcome for judgement in failed} == {Outcome.BRICKED}
    campaign = Campaign.open(tmp_path / "campaign")
    struck = {shot.struck for shot in Rounds(campaign).progress(0).shots if shot.verdict is Verdict.FAIL}
    assert len(struck) == 1
    done = rig("shrink", "campaign", failed[0].trial, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it is this one operation: operation 24 of install, status at 0x81c28" in done.stdout
    done = rig("replay", "campaign", failed[0].trial, "--times", "3", "--fresh", folder=tmp_path)
    assert "3 of 3 ended as in the campaign: FAIL BRICKED" in done.stdout
    assert "it reproduces in 100% of the shots that tell (29.2% to 100.0% with 95 % confidence)" in done.stdout
    done = rig("replay", "campaign", failed[0].trial, "--boards", boards_file(other(tmp_path), only="nrf52840"), folder=tmp_path)
    assert done.returncode == 1, "a good board of the same kind does not fail"
    assert "on dk1: PASS" in done.stdout


def other(folder: Path) -> Path:
    (folder / "other").mkdir()
    return folder / "other"
