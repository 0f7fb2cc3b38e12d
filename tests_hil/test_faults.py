"""Fault programmes on the virtual bench: every kind is delivered and proved, and what a bench cannot do is refused while planning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rig.errors import ConfigError
from rig.model import Event, Judgement, Outcome, Verdict
from rig.store import Campaign
from tests_hil.campaigns import boards_file, plan_campaign, run_campaign, scenario_file

INSTALL: dict[str, Any] = {"trigger": {"phase": "install"}, "offset_ms": 500}
UPLOAD: dict[str, Any] = {"trigger": {"chunk": 3}}
LARGE = {name: {"build": {"version": version, "size": "96 KiB"}} for name, version in (("old", "1.0.0"), ("new", "1.1.0"))}


def surrounded(folder: Path) -> Path:
    """Boards with an interferer and attenuators in an enclosure."""
    path = boards_file(folder, only="nrf52840")
    document = json.loads(path.read_text())
    document["bench"] |= {"enclosure": "bytes", "interferer": {"driver": "radio-test", "port": "virtual:interferer"}}
    for board in document["boards"]:
        board["attenuator"] = {"driver": "rcdat", "host": f"virtual:{board['name']}/attenuator"}
    path.write_text(json.dumps(document))
    return path


def run_one_fault(folder: Path, fault: dict[str, Any], **scenario: Any) -> tuple[Judgement, list[Event]]:
    (judgement,) = run_campaign(folder, scenario_file(folder, faults=[fault], **scenario), surrounded(folder))
    return judgement, list(Campaign.open(folder / "campaign").journal("T-0001").events)


def evidence(events: list[Event]) -> list[dict[str, bool | None]]:
    return [dict(event.data["evidence"]) for event in events if event.kind == "fault.proved"]


@pytest.mark.parametrize(
    ("fault", "witness"),
    [
        ({"brown_out": {**INSTALL, "low_mv": 1500, "low_ms": 50}}, "reset_reason_is_power_on"),
        ({"brown_out": {**INSTALL, "low_mv": 2000, "low_ms": 50}}, "supply_fed_nothing"),
        ({"brown_out": {**INSTALL, "low_mv": 1000, "fall_ms": 100, "low_ms": 100, "rise_ms": 50}}, "reset_reason_is_power_on"),
        ({"brown_out": {**INSTALL, "low_mv": 0, "low_ms": 300, "rise_ms": 50}}, "reset_reason_is_power_on"),
        ({"bit_flips": {"trigger": {"phase": "mark"}, "place": "staged", "bits": 3}}, "read_back_differs_in_these_bits"),
        ({"bit_flips": {"trigger": {"phase": "reset"}, "place": "trailer", "bits": 3}}, "read_back_differs_in_these_bits"),
        ({"link_drop": UPLOAD}, "link_made_anew"),
        ({"client_kill": {**UPLOAD, "for_ms": 2000}}, "link_made_anew"),
        ({"adapter_reset": UPLOAD}, "link_made_anew"),
        ({"stall": {**UPLOAD, "for_ms": 5000}}, "nothing_travelled"),
        ({"repeat_requests": UPLOAD}, "device_got_parts_twice"),
        ({"reorder_requests": UPLOAD}, "device_got_parts_out_of_order"),
        ({"new_address": UPLOAD}, "address_differs"),
        ({"interference": {"trigger": {"phase": "install"}, "for_ms": 9000, "advertising": True, "power_dbm": 8}}, "board_was_found_later"),
        ({"fade": {**UPLOAD, "for_ms": 6000, "db": 60}}, "link_died_of_it"),
    ],
    ids=["dip", "ride-through", "ramp", "slow-rise", "staged", "trailer", "drop", "kill", "adapter", "stall", "repeat", "reorder", "address", "interference", "fade"],
)
def test_every_kind_of_fault_is_proved_and_the_good_device_stands_it(tmp_path: Path, fault: dict[str, Any], witness: str) -> None:
    judgement, events = run_one_fault(tmp_path, fault)
    assert judgement.verdict is Verdict.PASS, judgement.reason
    assert judgement.fault_proved
    assert [found[witness] for found in evidence(events)] == [True]


def test_the_image_travels_slower_under_interference_and_no_byte_is_missing(tmp_path: Path) -> None:
    sweep = {"kind": "sweep", "mhz": list(range(2402, 2481)), "power_dbm": 8, "dwell_ms": 1}
    fault = {"interference": {"trigger": {"chunk": 12}, "for_ms": 3000, **sweep}}
    judgement, events = run_one_fault(tmp_path, fault, images=LARGE)
    assert judgement.verdict in (Verdict.PASS, Verdict.INCONCLUSIVE), judgement.reason
    assert judgement.fault_delivered
    proved = [event for event in events if event.kind in ("fault.proved", "fault.unproved")]
    assert proved[0].data["evidence"]["instrument_confirmed"] is True


def test_an_interferer_that_nobody_notices_proves_nothing(tmp_path: Path) -> None:
    """One channel far from the others: the link goes on as before, whatever the instrument says of itself."""
    fault = {"interference": {**UPLOAD, "for_ms": 500, "kind": "carrier", "mhz": [2478], "power_dbm": -20}}
    judgement, events = run_one_fault(tmp_path, fault)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    (unproved,) = [event for event in events if event.kind == "fault.unproved"]
    assert unproved.data["evidence"]["instrument_confirmed"] is True
    assert True not in [value for name, value in unproved.data["evidence"].items() if name != "instrument_confirmed"]


def test_a_second_cut_falls_into_the_recovery_from_the_first(tmp_path: Path) -> None:
    second = {"power_cut": {"trigger": {"time": "start", "after": 1}, "offset_ms": 400, "off_ms": 300}}
    programme = {"programme": {"faults": [{"power_cut": {**INSTALL, "off_ms": 300}}, second]}}
    judgement, events = run_one_fault(tmp_path, programme)
    assert judgement.verdict is Verdict.PASS, judgement.reason
    assert len(evidence(events)) == 2
    first, last = (event for event in events if event.kind == "fault.delivered")
    assert first.data["at_phase"] == last.data["at_phase"] == "install"


def test_a_cut_under_interference(tmp_path: Path) -> None:
    noise = {"interference": {"trigger": {"phase": "reset"}, "for_ms": 9000, "advertising": True, "power_dbm": 8}}
    judgement, events = run_one_fault(tmp_path, {"programme": {"faults": [noise, {"power_cut": {**INSTALL, "off_ms": 300}}]}})
    assert judgement.verdict is Verdict.PASS, judgement.reason
    by_number = {event.data["n"]: event.data["evidence"] for event in events if event.kind == "fault.proved"}
    assert by_number[1]["link_died_of_it"] is False, "the link died because the board was reset"
    assert by_number[1]["board_was_found_later"] is True
    assert by_number[2]["vdd_was_low"] is True


def test_one_trigger_of_two_that_never_fires_is_inconclusive(tmp_path: Path) -> None:
    never = {"link_drop": {"trigger": {"console": "no such line"}}}
    judgement, _ = run_one_fault(tmp_path, {"programme": {"faults": [{"power_cut": {**INSTALL, "off_ms": 300}}, never]}})
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "number 2 never fired" in judgement.reason


def flips(trigger: dict[str, Any], offset_ms: float) -> dict[str, Any]:
    return {"bit_flips": {"trigger": trigger, "offset_ms": offset_ms, "place": "running", "bits": 2}}


@pytest.mark.parametrize("phase", ["upload", "settle"])
def test_the_running_image_is_what_stands_in_the_primary_slot_before_and_after_the_installation(tmp_path: Path, phase: str) -> None:
    _, events = run_one_fault(tmp_path, flips({"phase": phase}, 50))
    (delivered,) = [event for event in events if event.kind == "fault.delivered"]
    assert delivered.data["at_phase"] == phase
    primary = Campaign.open(tmp_path / "campaign").plan.boards[0].memory.primary
    assert all(primary.start <= bit["address"] < primary.end for bit in delivered.data["bits"])
    assert evidence(events) == [{"read_back_differs_in_these_bits": True}]


def test_no_image_runs_while_the_bootloader_installs_so_that_nothing_is_flipped(tmp_path: Path) -> None:
    """The trigger made sense, and its offset has led into the installation."""
    judgement, events = run_one_fault(tmp_path, flips({"phase": "reset"}, 3000))
    (unproved,) = [event for event in events if event.kind == "fault.unproved"]
    assert (unproved.data["phase"], unproved.data["evidence"]) == ("install", {"an_image_ran": False})
    assert [event for event in events if event.kind == "fault.delivered"] == []
    assert judgement.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("off_ms", "kept"), [(12, True), (300, False)])
def test_whether_ram_outlived_a_cut_is_recorded(tmp_path: Path, off_ms: int, kept: bool) -> None:
    _, events = run_one_fault(tmp_path, {"power_cut": {**INSTALL, "off_ms": off_ms}})
    (delivered,) = [event for event in events if event.kind == "fault.delivered"]
    assert delivered.data["ram_kept"] is kept


def test_lists_and_grids_give_their_points_in_turn(tmp_path: Path) -> None:
    cuts = [{"power_cut": {"trigger": {"phase": "install"}, "offset_ms": points, "off_ms": 300}} for points in ({"list": [5, 1]}, {"grid": [0, 20, 10]})]
    campaign = plan_campaign(tmp_path, scenario_file(tmp_path, faults=cuts, trials=8), boards_file(tmp_path))
    offsets = [round(trial.fault.trigger.offset_s * 1000, 6) for trial in campaign.plan.trials if trial.fault]
    assert sorted(offsets) == [0, 0, 1, 1, 5, 5, 10, 20]


@pytest.mark.parametrize(
    ("fault", "supply", "words"),
    [
        ({"brown_out": {**INSTALL, "low_mv": 1500, "low_ms": 50}}, "switch", ("cannot set a voltage", "ppk2, scpi")),
        ({"interference": {**UPLOAD, "for_ms": 10, "advertising": True}}, "ppk2", ("has no interferer", "radio-test", "shielded enclosure")),
        ({"fade": {**UPLOAD, "for_ms": 10, "db": 3}}, "ppk2", ("has no attenuator", "rcdat")),
        ({"power_cut": {"aim": {"plan": "every"}, "off_ms": 300}}, "no counter", ("has no counter", "virtual")),
    ],
    ids=["voltage", "interferer", "attenuator", "counter"],
)
def test_a_programme_that_the_bench_cannot_perform_is_refused_with_its_place(
    tmp_path: Path, fault: dict[str, Any], supply: str, words: tuple[str, ...]
) -> None:
    boards = boards_file(tmp_path, only="nrf52840")
    document = json.loads(boards.read_text())
    if supply == "switch":
        document["defaults"]["supply"] = {"driver": "switch"}
        document["boards"][0]["supply"] = {"port": "virtual:dk1/switch"}
    if supply == "no counter":
        del document["defaults"]["counter"]
    boards.write_text(json.dumps(document))
    scenario = scenario_file(tmp_path, faults=[fault])
    with pytest.raises(ConfigError) as caught:
        plan_campaign(tmp_path, scenario, boards)
    said = str(caught.value)
    assert f"{scenario}:1:" in said
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"power_cut": {"off_ms": 300}}, "needs a trigger, or an aim"),
        ({"power_cut": {**INSTALL, "aim": {"plan": "every"}, "off_ms": 300}}, "not both"),
        ({"power_cut": {"aim": {"plan": "every"}, "off_ms": {"uniform": [1, 2]}}}, "off_ms one number"),
        ({"power_cut": {"aim": {"plan": "list"}, "off_ms": 300}}, "numbers belong together"),
        ({"power_cut": {"aim": {"plan": "adaptive", "places": ["boundary"]}, "off_ms": 300}}, "goes with the plans every and list"),
        (
            {"programme": {"faults": [{"power_cut": {"aim": {"plan": "every"}, "off_ms": 300}}] * 2}},
            "an earlier one is already",
        ),
        ({"power_cut": {"aim": {"plan": "every", "places": ["inside", "inside"]}, "off_ms": 300}}, "names a place twice"),
        ({"power_cut": {"trigger": {"time": "start", "after": 1}, "off_ms": 300}}, "no earlier fault"),
        ({"interference": {**UPLOAD, "for_ms": 10}}, "say one of kind"),
        ({"bit_flips": {**UPLOAD, "place": "settings"}}, "no settings to flip bits in"),
        ({"bit_flips": {**INSTALL, "place": "running"}}, r"small.yaml:1:\d+: faults\[0\].bit_flips.trigger.phase: .* no image runs"),
        (
            {"bit_flips": {"trigger": {"flash_operation": 9, "phase": "install"}, "place": "running"}},
            r"small.yaml:1:\d+: faults\[0\].bit_flips.trigger.phase: .* no image runs",
        ),
        ({"programme": {"faults": [{"link_drop": UPLOAD}]}}, "2"),
        ({"power_cut": {"trigger": {"chunk": {"grid": [5, 1, 1]}}, "off_ms": 300}}, "lower end"),
    ],
)
def test_a_programme_that_makes_no_sense_is_refused(tmp_path: Path, fault: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_campaign(tmp_path, scenario_file(tmp_path, faults=[fault]), surrounded(tmp_path))


def test_a_device_with_a_stuck_bit_in_its_staging_area_keeps_the_old_image(tmp_path: Path) -> None:
    bits = [{"address": 0x83000 + 0x800 + 4 * word, "bit": bit, "value": 0} for word in range(8) for bit in range(8)]
    boards = boards_file(tmp_path, only="nrf52840", soc={"stuck_bits": bits})
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path), boards)
    assert (judgement.verdict, judgement.outcome) == (Verdict.FAIL, Outcome.STUCK_ON_OLD), judgement.reason
