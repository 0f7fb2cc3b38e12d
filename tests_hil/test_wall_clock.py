"""The same trial in real time, with the console and the PPK2 behind ptys that pyserial opens."""

from __future__ import annotations

from pathlib import Path

from rig.model import Verdict
from tests_hil.campaigns import boards_file, run_campaign, scenario_file


def test_a_cut_while_installing_on_the_wall_clock(tmp_path: Path) -> None:
    scenario = scenario_file(
        tmp_path,
        images={
            "old": {"build": {"version": "1.0.0", "size": "4 KiB"}},
            "new": {"build": {"version": "1.1.0", "size": "4 KiB"}},
        },
        faults=[{"power_cut": {"trigger": {"console": "Starting swap"}, "offset_ms": 100, "off_ms": 300}}],
        limits={"settle_s": 0.1},
    )
    (judgement,) = run_campaign(tmp_path, scenario, boards_file(tmp_path, only="nrf52840"), clock="wall")
    assert judgement.verdict is Verdict.PASS, judgement.reason
    assert judgement.fault_proved


def test_a_programme_of_two_faults_on_the_wall_clock(tmp_path: Path) -> None:
    images = {name: {"build": {"version": version, "size": "8 KiB"}} for name, version in (("old", "1.0.0"), ("new", "1.1.0"))}
    drop = {"link_drop": {"trigger": {"chunk": 1}}}
    dip = {"brown_out": {"trigger": {"console": "Starting swap", "after": 1}, "offset_ms": 100, "low_mv": 1500, "low_ms": 50}}
    scenario = scenario_file(tmp_path, images=images, faults=[{"programme": {"faults": [drop, dip]}}], limits={"settle_s": 0.1})
    (judgement,) = run_campaign(tmp_path, scenario, boards_file(tmp_path, only="nrf52840"), clock="wall")
    assert judgement.verdict is Verdict.PASS, judgement.reason
    assert judgement.fault_proved
