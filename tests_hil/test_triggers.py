"""Triggers on what the bench sees of the board itself: flash operations by kind, the supply current, and a pin."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rig.errors import ConfigError
from rig.model import Event, Judgement, Verdict
from rig.run.shrink import describe
from rig.store import Campaign
from tests_hil.campaigns import ROOT, SCENARIOS, boards_file, plan_campaign, run_campaign, scenario_file
from tests_hil.test_command_line import rig

PIN = "P0.13"
BLOCK_S = 0.010
"""How long the virtual kit collects samples before it sends them."""


def wired(folder: Path) -> Path:
    """A board whose bootloader tells of an installation on a pin that is wired to logic input 3."""
    path = boards_file(folder, only="nrf52840", bootloader={"upgrading_pin": PIN})
    document = json.loads(path.read_text())
    document["boards"][0]["logic_inputs"] = {"D3": PIN}
    path.write_text(json.dumps(document))
    return path


@dataclass(frozen=True, kw_only=True)
class Run:
    judgement: Judgement
    events: list[Event]

    def only(self, kind: str) -> Event:
        (event,) = (event for event in self.events if event.kind == kind)
        return event

    def first(self, kind: str, **data: Any) -> Event:
        return next(event for event in self.events if event.kind == kind and data.items() <= event.data.items())


def run(folder: Path, trigger: dict[str, Any], *, clock: str = "virtual", **scenario: Any) -> Run:
    """One trial with a power cut at `trigger`."""
    fault = {"power_cut": {"trigger": trigger, "off_ms": 300}}
    (judgement,) = run_campaign(folder, scenario_file(folder, faults=[fault], **scenario), wired(folder), clock=clock)
    return Run(judgement=judgement, events=list(Campaign.open(folder / "campaign").journal("T-0001").events))


def undisturbed(folder: Path) -> list[Event]:
    folder.mkdir()
    run_campaign(folder, scenario_file(folder), wired(folder))
    return list(Campaign.open(folder / "campaign").journal("T-0001").events)


def operations_of(events: list[Event], phase: str) -> list[list[Any]]:
    """Kind, address, words, the counter's reading, begin and duration in ns from the first beginning of the phase."""
    begun_ns = next(event.t_ns for event in events if event.kind == "phase.start" and event.data["phase"] == phase)
    listed = [row for event in events if event.kind == "flash.operations" and event.data["phase"] == phase for row in event.data["operations"]]
    return [[*row[:4], row[4] - begun_ns, row[5]] for row in listed]


def installing(events: list[Event]) -> list[list[Any]]:
    return operations_of(events, "install")


def into_phase_ns(done: Run, t_ns: int) -> int:
    return t_ns - done.first("phase.start", phase="install").t_ns


# ------------------------------------------------------------------------------------------------- flash operations by kind
def test_the_third_status_write_of_an_installation(tmp_path: Path) -> None:
    operations = installing(undisturbed(tmp_path / "control"))
    third = [row for row in operations if row[0] == "status"][2]
    done = run(tmp_path, {"flash_operation": 3, "kind": "status", "phase": "install"})
    assert done.judgement.verdict is Verdict.PASS, done.judgement.reason
    assert into_phase_ns(done, done.only("fault.triggered").t_ns) == third[4]
    assert done.only("fault.requested").data["operation"] == third[3]


@pytest.mark.parametrize("kind", ["erase", "write"])
def test_erases_and_writes_are_counted_apart(tmp_path: Path, kind: str) -> None:
    operations = installing(undisturbed(tmp_path / "control"))
    second = [row for row in operations if row[0] == kind][1]
    done = run(tmp_path, {"flash_operation": 2, "kind": kind, "phase": "install"})
    assert into_phase_ns(done, done.only("fault.triggered").t_ns) == second[4]
    assert done.only("fault.delivered").data["struck"]["kind"] == kind, "the cut comes some milliseconds later"


def test_without_a_kind_words_and_pages_are_counted_as_before(tmp_path: Path) -> None:
    operations = installing(undisturbed(tmp_path / "control"))
    write = next(row for row in operations if row[0] == "write")
    into_it = write[3] - operations[0][3] + 500
    done = run(tmp_path, {"flash_operation": into_it, "phase": "install"})
    fired_ns = into_phase_ns(done, done.only("fault.triggered").t_ns)
    assert write[4] < fired_ns < write[4] + write[5]


def test_the_settings_page_of_secure_dfu(tmp_path: Path) -> None:
    boards = boards_file(tmp_path, only="nrf52840", protocol="secure_dfu")
    cut = {"power_cut": {"trigger": {"flash_operation": 2, "kind": "status"}, "off_ms": 300}}
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, protocol="secure_dfu", update={}, faults=[cut]), boards)
    assert judgement.verdict is Verdict.PASS, judgement.reason
    events = Campaign.open(tmp_path / "campaign").journal("T-0001").events
    (delivered,) = (event for event in events if event.kind == "fault.delivered")
    assert delivered.data["struck"]["kind"] == "status", "a whole page is written, which takes as long as the cut"


# ------------------------------------------------------------------------------------------------------------------ current
def test_the_current_of_an_erase_is_recognised_and_the_cut_strikes_it(tmp_path: Path) -> None:
    """A bootloader that computes draws 8 mA here, one whose flash is busy 3.6 mA; the first thing that it does is an erase."""
    first = installing(undisturbed(tmp_path / "control"))[0]
    done = run(tmp_path, {"current": {"below_ma": 6.5, "for_ms": 2}, "phase": "install"})
    assert done.judgement.verdict is Verdict.PASS, done.judgement.reason
    triggered = done.only("fault.triggered")
    assert first[0] == "erase"
    seen_ns = into_phase_ns(done, triggered.data["sample_t_ns"])
    assert seen_ns == pytest.approx(first[4] + 2e6, abs=20e3), "two samples at most"
    assert into_phase_ns(done, triggered.t_ns) == pytest.approx(seen_ns + triggered.data["latency_s"] * 1e9, abs=1e3)
    assert 0 <= triggered.data["latency_s"] <= BLOCK_S
    struck = done.only("fault.delivered").data["struck"]
    assert (struck["kind"], struck["number"]) == ("erase", 1)


def test_the_current_of_a_starting_bootloader(tmp_path: Path) -> None:
    """Above a limit: the application draws 3.8 mA, the bootloader that starts to install 8 mA."""
    done = run(tmp_path, {"current": {"above_ma": 6.5, "for_ms": 1}})
    assert done.judgement.verdict is Verdict.PASS, done.judgement.reason
    assert done.only("fault.triggered").data["phase"] == "install"


def test_later_stretches_are_counted(tmp_path: Path) -> None:
    """Every upload request is written at once, and between two of them the application is idle."""
    uploading = operations_of(undisturbed(tmp_path / "control"), "upload")
    bursts = [row for before, row in pairwise(uploading) if row[4] - before[4] > before[5] + 20e6]
    done = run(tmp_path, {"current": {"below_ma": 3.7, "for_ms": 10}, "phase": "upload", "count": 3})
    seen_ns = done.only("fault.triggered").data["sample_t_ns"] - done.first("phase.start", phase="upload").t_ns
    assert seen_ns == pytest.approx(bursts[1][4] + 10e6, abs=20e3), "the first of them is no pair"


# -------------------------------------------------------------------------------------------------------------------- a pin
def test_a_pin_that_the_bootloader_drives_while_it_installs(tmp_path: Path) -> None:
    done = run(tmp_path, {"gpio": {"input": 3, "edge": "rising"}})
    assert done.judgement.verdict is Verdict.PASS, done.judgement.reason
    triggered = done.only("fault.triggered")
    assert triggered.data["phase"] == "install"
    first = installing(undisturbed(tmp_path / "control"))[0]
    assert 0 < first[4] - into_phase_ns(done, triggered.data["sample_t_ns"]) < 10e6, "the pin rises when everything has been checked"
    assert 0 <= triggered.data["latency_s"] <= BLOCK_S


def test_the_pin_falls_when_the_installation_is_over(tmp_path: Path) -> None:
    done = run(tmp_path, {"gpio": {"input": 3, "edge": "falling"}})
    last = next(row for row in reversed(installing(undisturbed(tmp_path / "control"))) if row[4] < 3e9)
    assert into_phase_ns(done, done.only("fault.triggered").data["sample_t_ns"]) > last[4] + last[5]


def test_the_second_rising_edge_is_the_one_of_the_revert(tmp_path: Path) -> None:
    done = run(tmp_path, {"gpio": {"input": 3, "edge": "rising"}, "count": 2}, update={"request": "test", "confirm": False}, expect="rolled_back")
    assert done.judgement.verdict is Verdict.PASS, done.judgement.reason
    assert len([event for event in done.events if event.kind == "phase.start" and event.data["phase"] == "install"]) >= 2


# -------------------------------------------------------------------------------------------------------------- never fired
@pytest.mark.parametrize(
    "trigger",
    [
        {"flash_operation": 10_000, "kind": "status", "phase": "install"},
        {"current": {"above_ma": 100, "for_ms": 1}},
        {"gpio": {"input": 3, "edge": "rising"}, "phase": "upload"},
    ],
    ids=["operation", "current", "pin"],
)
def test_a_trigger_that_never_comes_is_inconclusive(tmp_path: Path, trigger: dict[str, Any]) -> None:
    done = run(tmp_path, trigger)
    assert done.judgement.verdict is Verdict.INCONCLUSIVE
    assert "the trigger never fired" in done.judgement.reason
    (kind,) = trigger.keys() & {"flash_operation", "current", "gpio"}
    assert done.only("fault.not_fired").data["trigger"] == kind


def test_a_supply_that_vanishes_while_it_is_watched_costs_the_trial(tmp_path: Path) -> None:
    boards = boards_file(tmp_path, only="nrf52840", mishap={"kind": "supply-unplugged", "at_s": 9.0})
    drop = {"link_drop": {"trigger": {"current": {"above_ma": 100, "for_ms": 1}}}}
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, faults=[drop]), boards)
    assert judgement.verdict is Verdict.ERROR
    assert "dk1.supply: the port has vanished" in judgement.reason


# ---------------------------------------------------------------------------------------------------------- several at once
def test_a_pin_is_watched_while_another_fault_has_the_supply(tmp_path: Path) -> None:
    """The samples go on through the first cut and its recording, to the second trigger."""
    first = {"power_cut": {"trigger": {"chunk": 2}, "off_ms": 50}}
    second = {"power_cut": {"trigger": {"gpio": {"input": 3, "edge": "rising"}}, "off_ms": 300}}
    scenario = scenario_file(tmp_path, faults=[{"programme": {"faults": [first, second]}}])
    (judgement,) = run_campaign(tmp_path, scenario, wired(tmp_path))
    assert judgement.verdict is Verdict.PASS, judgement.reason
    done = Run(judgement=judgement, events=list(Campaign.open(tmp_path / "campaign").journal("T-0001").events))
    assert [event.data["phase"] for event in done.events if event.kind == "fault.triggered"] == ["upload", "install"]
    assert len([event for event in done.events if event.kind == "fault.proved"]) == 2


def test_the_same_trial_gives_the_same_journal(tmp_path: Path) -> None:
    trigger = {"current": {"below_ma": 6.5, "for_ms": 2}, "phase": "install"}
    journals = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        journals.append(run(tmp_path / name, trigger).events)
    assert journals[0] == journals[1]


def test_the_shipped_scenario_passes_on_the_shipped_board(tmp_path: Path) -> None:
    judgements = run_campaign(tmp_path, SCENARIOS / "smp-signs.yaml", ROOT / "boards.yaml", trials=20)
    assert [judgement.reason for judgement in judgements if judgement.verdict is not Verdict.PASS] == []
    assert [judgement.fault_phase for judgement in judgements if judgement.fault_proved] == ["install"] * 16


@pytest.mark.parametrize(
    "trigger", [{"current": {"below_ma": 6.5, "for_ms": 2}, "phase": "install"}, {"gpio": {"input": 3, "edge": "rising"}}], ids=["current", "pin"]
)
def test_on_the_wall_clock(tmp_path: Path, trigger: dict[str, Any]) -> None:
    images = {name: {"build": {"version": version, "size": "4 KiB"}} for name, version in (("old", "1.0.0"), ("new", "1.1.0"))}
    done = run(tmp_path, trigger, clock="wall", images=images, limits={"settle_s": 0.1})
    assert done.judgement.verdict is Verdict.PASS, done.judgement.reason
    assert done.only("fault.triggered").data["phase"] == "install"
    assert done.judgement.fault_proved


# ------------------------------------------------------------------------------------------------------------------- shrunk
def test_shrinking_needs_no_samples_where_the_beginning_of_the_phase_will_do(tmp_path: Path) -> None:
    boards = boards_file(tmp_path, only="nrf52840", bootloader={"upgrading_pin": PIN, "defects": ["hang-without-image"]})
    document = json.loads(boards.read_text())
    document["boards"][0]["logic_inputs"] = {"D3": PIN}
    boards.write_text(json.dumps(document))
    cut = {"power_cut": {"trigger": {"gpio": {"input": 3, "edge": "rising"}}, "offset_ms": 500, "off_ms": 300}}
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, faults=[cut]), boards)
    assert judgement.verdict is Verdict.FAIL, judgement.reason
    done = rig("shrink", "campaign", "T-0001", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "still fails from the beginning of its phase: power cut" in done.stdout
    assert "with: power cut for" in done.stdout
    assert "after the beginning of install" in done.stdout


# ------------------------------------------------------------------------------------------------------------------ refused
@pytest.mark.parametrize(
    ("trigger", "supply", "words"),
    [
        ({"current": {"above_ma": 5, "for_ms": 1}}, "switch", ("cannot be watched", "offer watch: ppk2", "trigger.current")),
        ({"gpio": {"input": 3, "edge": "rising"}}, "switch", ("cannot be watched", "offer watch: ppk2", "trigger.gpio")),
        ({"gpio": {"input": 2, "edge": "rising"}}, "ppk2", ("nothing is wired to logic input 2", "logic_inputs: {D2: P0.13}")),
        ({"flash_operation": 3, "kind": "status"}, "no counter", ("has no counter", "virtual")),
    ],
    ids=["current", "pin", "wire", "counter"],
)
def test_a_trigger_that_the_bench_does_not_offer_is_refused_with_its_place(
    tmp_path: Path, trigger: dict[str, Any], supply: str, words: tuple[str, ...]
) -> None:
    boards = wired(tmp_path)
    document = json.loads(boards.read_text())
    if supply == "switch":
        document["defaults"]["supply"] = {"driver": "switch"}
        document["boards"][0]["supply"] = {"port": "virtual:dk1/switch"}
    if supply == "no counter":
        del document["defaults"]["counter"]
    boards.write_text(json.dumps(document))
    scenario = scenario_file(tmp_path, faults=[{"power_cut": {"trigger": trigger, "off_ms": 300}}])
    with pytest.raises(ConfigError) as caught:
        plan_campaign(tmp_path, scenario, boards)
    said = str(caught.value)
    assert f"{scenario}:1:" in said
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ({"kind": "status", "phase": "install"}, "give flash_operation as well"),
        ({"current": {"for_ms": 1}}, "one of above_ma and below_ma"),
        ({"current": {"above_ma": 5, "below_ma": 6, "for_ms": 1}}, "one of above_ma and below_ma"),
        ({"gpio": {"input": 0, "edge": "rising"}}, "input"),
        ({"gpio": {"input": 3, "edge": "up"}}, "rising"),
        ({"gpio": {"input": 3, "edge": "rising"}, "chunk": 2}, "one event"),
        ({"gpio": {"input": 3, "edge": "rising"}, "count": "all"}, "nobody knows beforehand"),
        ({"current": {"above_ma": 5, "for_ms": 1}, "count": {"choice": [1, "all"]}}, "nobody knows beforehand"),
    ],
)
def test_a_trigger_that_makes_no_sense_is_refused(tmp_path: Path, trigger: dict[str, Any], words: str) -> None:
    scenario = scenario_file(tmp_path, faults=[{"power_cut": {"trigger": trigger, "off_ms": 300}}])
    with pytest.raises(ConfigError, match=words):
        plan_campaign(tmp_path, scenario, wired(tmp_path))


def test_triggers_are_described_in_words(tmp_path: Path) -> None:
    triggers = {
        "after the status operation number 3 of install": {"flash_operation": 3, "kind": "status", "phase": "install"},
        "after the current above 6.5 mA for 2 ms": {"current": {"above_ma": 6.5, "for_ms": 2}},
        "after the falling edge on input 3 number 2": {"gpio": {"input": 3, "edge": "falling"}, "count": 2},
    }
    faults = [{"power_cut": {"trigger": trigger, "off_ms": 300}} for trigger in triggers.values()]
    campaign = plan_campaign(tmp_path, scenario_file(tmp_path, faults=faults, trials=3), wired(tmp_path))
    assert {describe(trial).split(" ms, 0 ms ")[1] for trial in campaign.plan.trials} == set(triggers)
