"""Programmes in which one cut is aimed and other faults go along: the aimed cut is credited, whatever its place in the programme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rig.coverage import Shot
from rig.model import FaultKind, Trial, Verdict
from rig.run.rounds import Rounds
from rig.store import Campaign
from tests_hil.campaigns import boards_file, run_campaign, scenario_file
from tests_hil.test_aimed_cuts import WEAK
from tests_hil.test_command_line import rig
from tests_hil.test_faults import surrounded

NOISE = {"interference": {"trigger": {"phase": "upload"}, "for_ms": 9000, "advertising": True, "power_dbm": 8}}


def aimed(plan: str = "list", **aim: Any) -> dict[str, Any]:
    return {"power_cut": {"aim": {"plan": plan, **aim}, "off_ms": 300}}


def programme(*faults: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"programme": {"faults": list(faults)}}]


def shots(campaign: Campaign) -> dict[str, Shot]:
    return {shot.trial: shot for shot in Rounds(campaign).progress(0).shots}


def with_faults(campaign: Campaign) -> list[Trial]:
    return [trial for trial in campaign.plan.trials if trial.faults]


def test_a_second_cut_during_the_recovery_from_the_aimed_one(tmp_path: Path) -> None:
    second = {"power_cut": {"trigger": {"time": "start", "after": 1}, "offset_ms": {"uniform": [100, 600]}, "off_ms": 200}}
    faults = programme(aimed(phases=["install"], numbers=[12, 13, 14]), second)
    judgements = run_campaign(tmp_path, scenario_file(tmp_path, faults=faults, trials=16), boards_file(tmp_path, only="nrf52840"))
    assert {judgement.verdict for judgement in judgements} == {Verdict.PASS}
    campaign = Campaign.open(tmp_path / "campaign")
    trials = with_faults(campaign)
    assert {(trial.faults[0].aim is not None, trial.faults[1].trigger.after) for trial in trials} == {(True, 1)}
    assert len({trial.faults[1].trigger.offset_s for trial in trials}) == len(trials), "what goes along is drawn for each trial"
    found = shots(campaign)
    assert {shot.struck.number for shot in found.values() if shot.struck} >= {12, 13, 14}
    for trial in trials:
        delivered = [event for event in campaign.journal(trial.id).events if event.kind == "fault.delivered"]
        assert [event.data["n"] for event in delivered] == [1, 2]
        assert found[trial.id].latency_s == delivered[0].data["failed_after_s"]
    shown = rig("coverage", "campaign", folder=tmp_path)
    assert shown.returncode == 0, shown.stderr


def test_an_aimed_cut_under_interference_from_the_upload_on(tmp_path: Path) -> None:
    images = {name: {"build": {"version": version, "size": "48 KiB"}} for name, version in (("old", "1.0.0"), ("new", "1.1.0"))}
    faults = programme(NOISE, aimed(phases=["upload"], numbers=[70]))
    scenario = scenario_file(tmp_path, faults=faults, images=images, trials=8)
    judgements = run_campaign(tmp_path, scenario, surrounded(tmp_path))
    campaign = Campaign.open(tmp_path / "campaign")
    trials = with_faults(campaign)
    assert trials
    assert {tuple(fault.kind for fault in trial.faults) for trial in trials} == {(FaultKind.INTERFERENCE, FaultKind.POWER_CUT)}
    assert not any(trial.staged for trial in campaign.plan.trials), "the interference belongs to the upload"
    assert [judgement.verdict for judgement in judgements if judgement.trial in {trial.id for trial in trials}].count(Verdict.PASS)
    found = shots(campaign)
    for trial in trials:
        proved = {event.data["n"] for event in campaign.journal(trial.id).events if event.kind == "fault.proved"}
        assert (trial.id in found) == (2 in proved), "credited is the aimed cut, by its own number"
    assert any(shot.struck and shot.struck.number == 70 for shot in found.values())
    shown = rig("replay", "campaign", trials[0].id, folder=tmp_path)
    assert "journal identical" in shown.stdout


def test_shrinking_leaves_the_aimed_cut_alone_and_names_its_operation(tmp_path: Path) -> None:
    second = {"power_cut": {"trigger": {"time": "start", "after": 1}, "offset_ms": 400, "off_ms": 200}}
    faults = programme(aimed(phases=["install"], numbers=[24]), second)
    boards = boards_file(tmp_path, only="nrf52840", bootloader=WEAK)
    judgements = run_campaign(tmp_path, scenario_file(tmp_path, faults=faults, trials=12), boards)
    failed = [judgement for judgement in judgements if judgement.verdict is Verdict.FAIL]
    assert failed
    done = rig("shrink", "campaign", failed[0].trial, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "still fails without: power cut for 300 ms" in done.stdout
    assert "it is this one operation: operation 24 of install" in done.stdout
