"""The shipped scenarios on the good device, and what makes their figures believable."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from rig.model import Outcome, Verdict
from rig.store import Session
from tests_hil.campaigns import SCENARIOS, boards_file, plan_campaign, run_campaign, run_trial, scenario_file

CUT_ANYWHERE_IN_INSTALL = {"power_cut": {"trigger": {"phase": "install"}, "offset_ms": {"uniform": [0, 1500]}, "off_ms": 300}}


@pytest.mark.parametrize("mode", ["swap-offset", "swap-move", "swap-scratch", "overwrite-only"])
def test_every_mode_survives_cuts_while_installing(tmp_path: Path, mode: str) -> None:
    boards = boards_file(tmp_path, bootloader={"class": "rig.virtual.mcuboot:Mcuboot", "mode": mode})
    preset = "swap-scratch" if mode == "swap-scratch" else "swap-offset" if mode == "swap-offset" else "swap-move"
    boards.write_text(boards.read_text().replace('"preset": "swap-offset"', f'"preset": "{preset}"'))
    scenario = scenario_file(tmp_path, faults=[CUT_ANYWHERE_IN_INSTALL], trials=12)
    judgements = run_campaign(tmp_path, scenario, boards)
    assert Counter(j.verdict for j in judgements) == {Verdict.PASS: 12}
    assert all(j.fault_proved for j in judgements)
    assert any(j.fault_phase == "install" for j in judgements)


@pytest.mark.parametrize("name", ["smp-swap-offset-200", "smp-rollback", "smp-staged-install"])
def test_a_share_of_each_shipped_scenario_passes(tmp_path: Path, name: str) -> None:
    judgements = run_campaign(tmp_path, SCENARIOS / f"{name}.yaml", boards_file(tmp_path), trials=20)
    assert [j.reason for j in judgements if j.verdict is not Verdict.PASS] == []
    assert all(j.fault_proved for j in judgements if j.fault_requested)


def test_a_trial_gives_the_same_journal_alone_and_among_others(tmp_path: Path) -> None:
    scenario = scenario_file(tmp_path, faults=[CUT_ANYWHERE_IN_INSTALL], trials=3)
    boards = boards_file(tmp_path)
    journals = []
    for name, order in (("one", slice(None)), ("other", slice(None, None, -1))):
        (tmp_path / name).mkdir()
        campaign = plan_campaign(tmp_path / name, scenario, boards)
        with Session(campaign) as session:
            for trial in campaign.plan.trials[order]:
                run_trial(session, trial)
        journals.append([(campaign.trial_folder(t.id) / "journal.jsonl").read_bytes() for t in campaign.plan.trials])
    assert journals[0] == journals[1]
    assert len(set(journals[0])) == 3


def test_a_cut_too_short_to_bring_vdd_down_is_inconclusive(tmp_path: Path) -> None:
    """One millisecond off does not empty the capacitor: no brown-out, so no credit."""
    cut = {"power_cut": {"trigger": {"phase": "install"}, "offset_ms": 500, "off_ms": 1}}
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, faults=[cut]), boards_file(tmp_path, only="nrf52840"))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert not judgement.fault_delivered
    assert "not proved" in judgement.reason


def test_back_powering_is_found_out(tmp_path: Path) -> None:
    """VDD kept at 1.9 V through a pin: the SoC never loses power, whatever the supply says."""
    cut = {"power_cut": {"trigger": {"phase": "install"}, "offset_ms": 500, "off_ms": 500}}
    boards = boards_file(tmp_path, only="nrf52840", power={"back_power_mv": 1900})
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, faults=[cut]), boards)
    assert judgement.verdict is Verdict.ERROR
    assert "dk1.supply: was switched off" in judgement.reason
    assert judgement.fault_requested
    assert not judgement.fault_proved


def test_a_trigger_that_never_fires_is_inconclusive(tmp_path: Path) -> None:
    cut = {"power_cut": {"trigger": {"console": "no such line"}, "off_ms": 500}}
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, faults=[cut]), boards_file(tmp_path, only="nrf52832"))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "never fired" in judgement.reason


@pytest.mark.parametrize(
    "trigger",
    [
        {"chunk": 3},
        {"byte": 9000},
        {"console": "Starting swap"},
        {"flash_operation": 2000, "phase": "install"},
        {"time": "start"},
        {"phase": "mark"},
    ],
    ids=lambda trigger: next(iter(trigger)),
)
def test_every_kind_of_trigger_cuts(tmp_path: Path, trigger: dict[str, object]) -> None:
    cut = {"power_cut": {"trigger": trigger, "offset_ms": 2500 if "time" in trigger else 0, "off_ms": 300}}
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, faults=[cut]), boards_file(tmp_path, only="nrf52840"))
    assert judgement.verdict is Verdict.PASS
    assert judgement.fault_proved


def test_repeated_cuts_are_each_proved(tmp_path: Path) -> None:
    cut = {"power_cut": {"trigger": {"console": "Starting swap"}, "offset_ms": 300, "off_ms": 300, "repeat": 3, "on_ms": 900}}
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, faults=[cut]), boards_file(tmp_path, only="nrf52840"))
    assert judgement.verdict is Verdict.PASS
    assert judgement.fault_proved, "all three, or none counts"


def test_an_upload_that_takes_too_long_is_the_devices_doing(tmp_path: Path) -> None:
    large = {name: {"build": {"version": version, "size": "256 KiB"}} for name, version in (("old", "1.0.0"), ("new", "1.1.0"))}
    scenario = scenario_file(tmp_path, images=large, limits={"upload_s": 0.2})
    (judgement,) = run_campaign(tmp_path, scenario, boards_file(tmp_path, only="nrf52840"))
    assert judgement.verdict is Verdict.FAIL
    assert judgement.outcome is Outcome.STUCK_ON_OLD
    journal = (tmp_path / "campaign/trials/T-0001/journal.jsonl").read_text()
    assert "no reply to upload: the whole image within 0.2 s" in journal


def test_an_upload_goes_on_over_a_new_connection_where_the_old_one_was_given_up(tmp_path: Path) -> None:
    """The link ends in the middle of a request; the device forgets the fragments, and remembers the session."""
    images = {name: {"build": {"version": version, "size": "16 KiB"}} for name, version in (("old", "1.0.0"), ("new", "1.1.0"))}
    scenario = scenario_file(tmp_path, images=images, limits={"upload_s": 0.2})
    (judgement,) = run_campaign(tmp_path, scenario, boards_file(tmp_path, only="nrf52840"))
    assert (judgement.verdict, judgement.outcome) == (Verdict.PASS, Outcome.UPDATED)
    assert judgement.attempts > 2
    journal = (tmp_path / "campaign/trials/T-0001/journal.jsonl").read_text()
    assert journal.count('"kind":"upload.chunk"') < 12, "what had been acknowledged was not sent again"
