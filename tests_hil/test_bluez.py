"""Whole trials through BlueZ: the rig, bleak's own backend, a D-Bus, a bluetoothd (tests/bluez), and a virtual board on the air behind it.

On the wall clock.  Needs `dbus-daemon`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rig import drivers
from rig.model import Outcome, Verdict
from tests_hil.campaigns import boards_file, run_campaign, scenario_file

IMAGES = {name: {"build": {"version": version, "size": "4 KiB"}} for name, version in (("old", "1.0.0"), ("new", "1.1.0"))}


@pytest.fixture(autouse=True)
def bench_behind_bluez(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(drivers.DRIVERS["bench"], "virtual", "tests.bluez.bench:BenchBehindBluez")


def boards_on_bluez(folder: Path, *, protocol: str = "smp") -> Path:
    path = boards_file(folder, only="nrf52840", protocol=protocol)
    document = json.loads(path.read_text())
    document["defaults"]["radio"] = {"driver": "bleak", "adapter": "hci0"}
    path.write_text(json.dumps(document))
    return path


def test_a_board_is_updated_over_bluez(tmp_path: Path) -> None:
    scenario = scenario_file(tmp_path, images=IMAGES, limits={"settle_s": 0.1})
    (judgement,) = run_campaign(tmp_path, scenario, boards_on_bluez(tmp_path), clock="wall")
    assert (judgement.verdict, judgement.outcome) == (Verdict.PASS, Outcome.UPDATED), judgement.reason


def test_a_board_that_loses_its_power_while_it_is_updated_over_bluez_is_updated_again(tmp_path: Path) -> None:
    cut = {"power_cut": {"trigger": {"chunk": 1}, "offset_ms": 0, "off_ms": 300}}
    scenario = scenario_file(tmp_path, images=IMAGES, faults=[cut], limits={"settle_s": 0.1})
    (judgement,) = run_campaign(tmp_path, scenario, boards_on_bluez(tmp_path), clock="wall")
    assert judgement.verdict is Verdict.PASS, judgement.reason
    assert judgement.fault_proved


def test_a_board_of_the_other_protocol_is_updated_over_bluez(tmp_path: Path) -> None:
    scenario = scenario_file(tmp_path, protocol="secure_dfu", images={"old": IMAGES["old"], "new": IMAGES["new"]}, update={}, limits={"settle_s": 0.1})
    (judgement,) = run_campaign(tmp_path, scenario, boards_on_bluez(tmp_path, protocol="secure_dfu"), clock="wall")
    assert (judgement.verdict, judgement.outcome) == (Verdict.PASS, Outcome.UPDATED), judgement.reason
