"""Whole trials on virtual boards whose supply is a power switch: nobody watches VDD, so other witnesses must prove each cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rig.config import load_boards
from rig.errors import ConfigError
from rig.journal import read_journal
from rig.model import Verdict
from tests_hil.campaigns import boards_file, run_campaign, scenario_file

CUT = {"power_cut": {"trigger": {"phase": "install"}, "offset_ms": {"uniform": [0, 1500]}, "off_ms": 300}}


def switched(folder: Path, **model: dict[str, object]) -> Path:
    """A boards file with one board, fed through a switch."""
    path = boards_file(folder, only="nrf52840", **model)
    document = json.loads(path.read_text())
    document["defaults"]["supply"] = {"driver": "switch"}
    document["boards"][0]["supply"] = {"port": "virtual:dk1/switch"}
    path.write_text(json.dumps(document))
    return path


def evidence(folder: Path) -> dict[str, bool | None]:
    """What the witnesses of the first trial's cut say."""
    events = read_journal(folder / "campaign/trials/T-0001/journal.jsonl").events
    (data,) = (event.data for event in events if event.kind in ("fault.proved", "fault.unproved"))
    return data["evidence"]


def test_cuts_are_proved_by_reset_reason_and_silence(tmp_path: Path) -> None:
    judgements = run_campaign(tmp_path, scenario_file(tmp_path, faults=[CUT], trials=6), switched(tmp_path))

    assert [(j.verdict, j.reason) for j in judgements if j.verdict is not Verdict.PASS] == []
    assert all(j.fault_delivered and j.fault_proved for j in judgements)
    assert evidence(tmp_path) == {"vdd_was_low": None, "console_was_silent": True, "reset_reason_is_power_on": True}


def test_a_cut_too_short_to_bring_vdd_down_is_not_proved(tmp_path: Path) -> None:
    cut = {"power_cut": {"trigger": {"phase": "install"}, "offset_ms": 500, "off_ms": 1}}

    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, faults=[cut]), switched(tmp_path))

    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert not judgement.fault_proved
    assert evidence(tmp_path)["reset_reason_is_power_on"] is not True


def test_back_powering_is_found_out_without_anybody_watching_vdd(tmp_path: Path) -> None:
    cut = {"power_cut": {"trigger": {"phase": "install"}, "offset_ms": 500, "off_ms": 500}}
    boards = switched(tmp_path, power={"back_power_mv": 1900})

    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, faults=[cut]), boards)

    assert judgement.verdict is Verdict.ERROR
    assert "while its power is off" in judgement.reason
    assert not judgement.fault_proved


def test_a_voltage_that_never_boots_is_booked_on_the_rig(tmp_path: Path) -> None:
    """The switch passes on what it is fed with: 1.72 V are below the power-on threshold of 1.75 V."""
    path = switched(tmp_path)
    path.write_text(path.read_text().replace('"driver": "switch"', '"driver": "switch", "voltage_mv": 1720'))

    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path), path)

    assert judgement.verdict is Verdict.ERROR


@pytest.mark.parametrize(
    "supply", [{"driver": "uhubctl", "location": "1-1", "port": 2}, {"driver": "http-plug", "kind": "tasmota", "host": "plug"}]
)
def test_a_virtual_board_has_no_hub_and_no_plug(tmp_path: Path, supply: dict[str, object]) -> None:
    path = switched(tmp_path)
    document = json.loads(path.read_text())
    document["boards"][0]["supply"] = supply
    path.write_text(json.dumps(document))

    with pytest.raises(ConfigError, match=f"no supply of the driver {supply['driver']}; it can have: ppk2, switch"):
        load_boards(path)


def test_what_the_switch_passes_on_must_suit_the_soc(tmp_path: Path) -> None:
    path = switched(tmp_path)
    path.write_text(path.read_text().replace('"driver": "switch"', '"driver": "switch", "voltage_mv": 1600'))

    with pytest.raises(ConfigError, match="1600 mV is outside what an nrf52840 stands"):
        load_boards(path)
