"""A rig that breaks down on one board: its ladder is climbed and recorded, the board is quarantined, the others go on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rig.config import load_boards
from rig.errors import ConfigError
from rig.journal import read_journal
from rig.model import RecoveryPolicy, Rung, Verdict
from rig.run.campaign import CampaignRun
from rig.run.ladder import climb
from rig.store import Campaign, Climb, Recovery, Session
from tests_hil.campaigns import ROOT, boards_file, plan_campaign, run_trial, scenario_file
from tests_hil.test_rig_fault_matrix import IMAGES, PHASES, Course, run

MURDER = '''
import asyncio, contextlib, os, signal
from rig.virtual.mcuboot import Mcuboot

class Bootloader:
    """Kills the process that builds it, at `at_s` on its loop's clock."""

    @classmethod
    def for_board(cls, facts, *, at_s):
        with contextlib.suppress(RuntimeError):  # no loop: somebody only checks the file
            asyncio.get_running_loop().call_at(at_s, os.kill, os.getpid(), signal.SIGKILL)
        return Mcuboot.for_board(facts)
'''


def changed(boards: Path, **changes: dict[str, Any]) -> Path:
    """The boards file with keys of single boards replaced."""
    document = json.loads(boards.read_text())
    for board in document["boards"]:
        board.update(changes.get(board["name"], {}))
    boards.write_text(json.dumps(document))
    return boards


def many_boards(boards: Path, names: list[str]) -> Path:
    """The boards file with copies of its first board, each with ports and an address of its own."""
    document = json.loads(boards.read_text())
    first = document["boards"][0]
    document["boards"] = [
        {
            **first,
            "name": name,
            "ble": {"name": f"rig-{name}", "address": f"C0:00:00:00:01:{2 * number:02X}"},
            "supply": {"port": f"virtual:{name}/ppk2"},
            "console": {"port": f"virtual:{name}/console"},
        }
        for number, name in enumerate(names)
    ]
    boards.write_text(json.dumps(document))
    return boards


LATE = {"kind": "console-late"}
UNPROVED = {"power_cut": {"trigger": {"phase": "install"}, "offset_ms": 150, "off_ms": 200}}


def after_inconclusive(boards: Path, number: int) -> Path:
    return changed(boards, dk1={"recovery": {"after_inconclusive": number}})


def run_all(campaign: Campaign) -> list[Recovery]:
    recoveries: list[Recovery] = []
    with (
        Session(campaign) as session,
        CampaignRun(session=session, jobs=2, progress=lambda _judgement: None, rescued=recoveries.append) as running,
    ):
        running.run()
    return recoveries


def climbed(boards: Path) -> Climb:
    """The ladder of the file's only board."""
    file = load_boards(boards)
    (board,) = file.boards
    return climb(board, file.bench, seed=0, clock="virtual")


def tried(result: Climb) -> list[tuple[Rung, bool]]:
    return [(rung.rung, rung.trouble is None) for rung in result.rungs]


# -------------------------------------------------------------------------------------------------------------- the ladder
def test_a_sound_board_needs_the_first_rung_only(tmp_path: Path) -> None:
    assert tried(climbed(boards_file(tmp_path, only="nrf52840"))) == [(Rung.REOPEN, True)]


def test_a_port_that_comes_back_is_waited_for(tmp_path: Path) -> None:
    mishap = {"kind": "console-unplugged", "lasts_s": 8.0}
    result = climbed(boards_file(tmp_path, only="nrf52840", mishap=mishap))
    assert tried(result) == [(Rung.REOPEN, False), (Rung.RE_ENUMERATE, True)]
    assert "dk1.console" in (result.rungs[0].trouble or "")


def test_a_port_that_stays_away_longer_than_the_policys_patience_is_not(tmp_path: Path) -> None:
    boards = boards_file(tmp_path, only="nrf52840", mishap={"kind": "console-unplugged", "lasts_s": 30.0})
    result = climbed(changed(boards, dk1={"recovery": {"rungs": ["re-enumerate"], "patience_s": 5}}))
    assert tried(result) == [(Rung.RE_ENUMERATE, False)]


@pytest.mark.parametrize("kind", ["supply-stuck-on", "supply-unplugged", "probe-lost", "console-renamed", "adapter-gone", "other-soc-on-probe"])
def test_what_nothing_helps_against_takes_every_rung(tmp_path: Path, kind: str) -> None:
    result = climbed(boards_file(tmp_path, only="nrf52840", mishap={"kind": kind, "at_s": 0.01}))
    assert tried(result) == [(rung, False) for rung in (Rung.REOPEN, Rung.RE_ENUMERATE, Rung.PIN_RESET, Rung.POWER_CYCLE)]
    assert not result.helped


@pytest.mark.parametrize(
    ("kind", "healed_by"), [("debug-port-stuck", Rung.PIN_RESET), ("latched-up", Rung.POWER_CYCLE)]
)
def test_a_mishap_takes_exactly_the_rung_that_heals_it(tmp_path: Path, kind: str, healed_by: Rung) -> None:
    result = climbed(boards_file(tmp_path, only="nrf52840", mishap={"kind": kind}))
    rungs = list(RecoveryPolicy.rungs)
    assert tried(result) == [(rung, rung is healed_by) for rung in rungs[: rungs.index(healed_by) + 1]]
    assert all("dk1.probe: the debug port does not answer" in (rung.trouble or "") for rung in result.rungs[:-1])


@pytest.mark.parametrize(("kind", "left_out"), [("debug-port-stuck", "pin-reset"), ("latched-up", "power-cycle")])
def test_without_that_rung_the_board_is_not_helped(tmp_path: Path, kind: str, left_out: str) -> None:
    boards = boards_file(tmp_path, only="nrf52840", mishap={"kind": kind})
    rungs = [rung.value for rung in RecoveryPolicy.rungs if rung != left_out]
    assert not climbed(changed(boards, dk1={"recovery": {"rungs": rungs}})).helped


def test_only_recover_opens_a_protected_chip_and_only_where_the_policy_says_so(tmp_path: Path) -> None:
    boards = boards_file(tmp_path, only="nrf52840", soc={"approtect": True})
    assert not climbed(boards).helped
    result = climbed(changed(boards, dk1={"sacrificial": True, "recovery": {"rungs": ["reopen", "recover"]}}))
    assert tried(result) == [(Rung.REOPEN, False), (Rung.RECOVER, True)]


def test_a_production_unit_is_neither_cut_nor_touched(tmp_path: Path) -> None:
    """With the probe lost the ladder of any other board fails; this one only waits for ports."""
    boards = boards_file(tmp_path, only="nrf52840", mishap={"kind": "probe-lost"})
    assert tried(climbed(changed(boards, dk1={"production": True}))) == [(Rung.RE_ENUMERATE, True)]


def test_recover_is_refused_for_a_board_that_is_not_sacrificial(tmp_path: Path) -> None:
    boards = changed(boards_file(tmp_path, only="nrf52840"), dk1={"recovery": {"rungs": ["recover"]}})
    with pytest.raises(ConfigError, match="sacrificial"):
        load_boards(boards)


# ------------------------------------------------------------------------------------------------------------ the campaign
def test_a_board_that_fails_its_ladder_is_quarantined_and_the_others_go_on(tmp_path: Path) -> None:
    boards = changed(boards_file(tmp_path), dk1={"model": {"mishap": {"kind": "console-unplugged", "at_s": 0.5}}})
    campaign = plan_campaign(tmp_path, scenario_file(tmp_path, images=IMAGES, trials=6), boards)
    (recovery,) = run_all(campaign)
    mine = [trial.id for trial in campaign.plan.trials if trial.board == "dk1"]
    assert (recovery.board, recovery.after, list(recovery.not_run)) == ("dk1", mine[0], mine[1:])
    assert "dk1.console" in recovery.cause
    assert "dk1.console" in (recovery.quarantine or "")
    assert [trial.id for trial in campaign.pending_trials()] == mine[1:]
    others = [record.judgement for record in campaign.records() if record.trial.board == "dk3"]
    assert [judgement.verdict for judgement in others if judgement] == [Verdict.PASS] * 3
    assert campaign.recoveries() == [recovery]
    assert campaign.quarantined() == {"dk1": recovery}


@pytest.mark.parametrize(
    ("kind", "healed_by"), [("debug-port-stuck", Rung.PIN_RESET), ("latched-up", Rung.POWER_CYCLE)]
)
def test_a_board_that_its_ladder_heals_goes_on_and_so_do_the_others(tmp_path: Path, kind: str, healed_by: Rung) -> None:
    """Some of dk1's trials meet the mishap, by their seeds; the ladder after each stands on the bench that the trial met."""
    boards = changed(boards_file(tmp_path), dk1={"model": {"mishap": {"kind": kind, "share": 0.4}}})
    campaign = plan_campaign(tmp_path, scenario_file(tmp_path, images=IMAGES, trials=12), boards)
    recoveries = run_all(campaign)
    verdicts = {record.trial.id: record.judgement.verdict for record in campaign.records() if record.judgement}
    mine = [trial.id for trial in campaign.plan.trials if trial.board == "dk1"]
    lost = [id_ for id_ in mine if verdicts[id_] is Verdict.ERROR]
    assert 0 < len(lost) < len(mine)
    assert [verdicts[id_] for id_ in mine if id_ not in lost] == [Verdict.PASS] * (len(mine) - len(lost))
    assert [verdicts[trial.id] for trial in campaign.plan.trials if trial.board == "dk3"] == [Verdict.PASS] * 6
    assert campaign.pending_trials() == []
    assert campaign.recoveries() == recoveries
    assert [recovery.after for recovery in recoveries] == [id_ for id_ in lost if id_ != mine[-1]]
    assert {(recovery.board, recovery.climb.rungs[-1].rung, recovery.quarantine) for recovery in recoveries} == {("dk1", healed_by, None)}


def test_a_run_of_inconclusive_trials_starts_the_ladder_where_the_policy_says_so(tmp_path: Path) -> None:
    """A console that is late contradicts the cut: no proof, time and again, although every instrument is sound for itself."""
    boards = boards_file(tmp_path, only="nrf52840", mishap=LATE)
    campaign = plan_campaign(tmp_path, scenario_file(tmp_path, images=IMAGES, faults=[UNPROVED], trials=5), after_inconclusive(boards, 2))
    recoveries = run_all(campaign)
    ids = [trial.id for trial in campaign.plan.trials]
    assert {record.judgement.verdict for record in campaign.records() if record.judgement} == {Verdict.INCONCLUSIVE}
    assert [recovery.after for recovery in recoveries] == [ids[1], ids[3]]
    assert "2 trials in a row were inconclusive" in recoveries[0].cause
    assert all(recovery.climb.helped and recovery.quarantine is None for recovery in recoveries)


def test_without_that_policy_inconclusive_trials_start_nothing(tmp_path: Path) -> None:
    boards = boards_file(tmp_path, only="nrf52840", mishap=LATE)
    campaign = plan_campaign(tmp_path, scenario_file(tmp_path, images=IMAGES, faults=[UNPROVED], trials=3), boards)
    assert run_all(campaign) == []


def test_a_run_that_an_interruption_divides_is_one_run(tmp_path: Path) -> None:
    boards = after_inconclusive(boards_file(tmp_path, only="nrf52840", mishap=LATE), 3)
    campaign = plan_campaign(tmp_path, scenario_file(tmp_path, images=IMAGES, faults=[UNPROVED], trials=5), boards)
    with Session(campaign) as session:
        for trial in campaign.plan.trials[:2]:
            run_trial(session, trial)
    (recovery,) = run_all(campaign)
    assert recovery.after == campaign.plan.trials[2].id


def test_a_ladder_that_an_interruption_came_before_is_climbed_first(tmp_path: Path) -> None:
    """The trial was lost and judged, and then the campaign was stopped."""
    boards = boards_file(tmp_path, only="nrf52840", mishap={"kind": "debug-port-stuck", "share": 0.4})
    campaign = plan_campaign(tmp_path, scenario_file(tmp_path, images=IMAGES, trials=12), boards)
    with Session(campaign) as session:
        stopped_after = next(t for t in campaign.plan.trials if run_trial(session, t).verdict is Verdict.ERROR)
    recoveries = run_all(campaign)
    assert recoveries[0].after == stopped_after.id
    assert recoveries[0].climb.rungs[-1].rung is Rung.PIN_RESET


def test_resume_tries_a_quarantined_board_again(tmp_path: Path) -> None:
    boards = changed(boards_file(tmp_path), dk1={"model": {"mishap": {"kind": "probe-lost"}}})
    campaign = plan_campaign(tmp_path, scenario_file(tmp_path, images=IMAGES, trials=4), boards)
    run_all(campaign)
    (again,) = run_all(campaign)
    assert (again.number, again.after, again.quarantine) == (2, "", campaign.quarantined()["dk1"].quarantine)
    assert len(campaign.pending_trials()) == 1


def test_a_board_that_keeps_losing_trials_is_quarantined_though_its_ladder_helps(tmp_path: Path) -> None:
    """The mishap comes later than the ladder's check ends, in every trial."""
    boards = boards_file(tmp_path, only="nrf52840", mishap={"kind": "probe-lost", "at_s": 6.0})
    campaign = plan_campaign(tmp_path, scenario_file(tmp_path, images=IMAGES, trials=5), changed(boards, dk1={"recovery": {"errors_in_a_row": 2}}))
    first, second = run_all(campaign)
    assert (first.quarantine, first.climb.helped) == (None, True)
    assert second.climb.helped
    assert "2 trials in a row" in (second.quarantine or "")
    assert len(campaign.pending_trials()) == 3


def test_the_command_says_who_is_quarantined_and_what_to_do(tmp_path: Path) -> None:
    boards = changed(boards_file(tmp_path), dk1={"model": {"mishap": {"kind": "probe-lost"}}})
    scenario = scenario_file(tmp_path, images=IMAGES, trials=4)
    command = [sys.executable, "-c", "from rig.cli import main; main()", "run", str(scenario), "--boards", str(boards), "--out", str(tmp_path / "night")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "dk1 is quarantined, 1 of its trials were not run: dk1.probe: has vanished from USB" in done.stdout
    assert f"rig resume {tmp_path / 'night'}" in done.stdout


def test_a_worker_that_is_killed_in_any_phase_costs_its_trial_alone(tmp_path: Path) -> None:
    (tmp_path / "undisturbed").mkdir()
    scenario = scenario_file(tmp_path, images=IMAGES)
    windows = Course.of(*_undisturbed(tmp_path / "undisturbed")).windows
    (tmp_path / "murder.py").write_text(MURDER)
    instants = {f"b-{phase}": sum(windows[phase]) / 2 for phase in PHASES}
    boards = many_boards(boards_file(tmp_path, only="nrf52840"), ["first", *instants, "last"])
    models = {
        name: {"model": {"bootloader": {"class": "murder:Bootloader", "at_s": at_s}}} for name, at_s in instants.items()
    }
    campaign = plan_campaign(tmp_path, scenario, changed(boards, **models), trials=len(instants) + 2)
    assert run_all(campaign) == []
    fell_in = set()
    for record in campaign.records():
        assert record.judgement is not None
        if record.trial.board in ("first", "last"):
            assert record.judgement.verdict is Verdict.PASS
            continue
        assert (record.judgement.verdict, record.judgement.reason.partition(":")[0]) == (Verdict.ERROR, "worker")
        (aside,) = campaign.aside(record.trial.id)
        fell_in.add(_last_phase(aside))
    assert len(fell_in) >= 8, fell_in


def _undisturbed(folder: Path) -> tuple[list[Any], Any]:
    course = run(plan_campaign(folder, scenario_file(folder, images=IMAGES), boards_file(folder, only="nrf52840")))
    return course.events, course.judgement


def _last_phase(attempt: Path) -> str:
    """Where the journal of a killed attempt breaks off."""
    events = read_journal(attempt / "journal.jsonl").events
    if any(event.kind == "observe.start" for event in events):
        return "observe"
    return str([event.data["phase"] for event in events if event.kind == "phase.start"][-1])
