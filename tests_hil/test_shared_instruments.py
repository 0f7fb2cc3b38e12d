"""What several boards share: an interferer that is broken costs the trials that use it, and one that sends has the air for itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rig.model import FaultKind, InstrumentSpec, Trial, Verdict
from rig.run import campaign as campaigns
from rig.run.campaign import CampaignRun
from rig.run.lane import Lane, lanes_of
from rig.run.silence import silence
from rig.run.turns import claim_of, whose_turn
from rig.store import Campaign, Session
from tests_hil.campaigns import plan_campaign, run_campaign, scenario_file
from tests_hil.test_recovery import changed
from tests_hil.test_rig_fault_matrix import IMAGES
from tests_hil.test_surroundings import surrounded

NOISE = {"interference": {"trigger": {"phase": "install"}, "for_ms": 9000, "advertising": True, "power_dbm": 8}}
LOUD = {"interference": {**NOISE["interference"], "share": 4}}
UNPLUGGED = {"kind": "interferer-unplugged"}


def planned(folder: Path, *faults: Any, trials: int, only: str | None = None, **model: Any) -> Campaign:
    boards = surrounded(folder, only=only)
    if model:
        boards = changed(boards, dk1={"model": model})
    return plan_campaign(folder, scenario_file(folder, images=IMAGES, faults=list(faults), trials=trials), boards)


def interferes(trial: Trial) -> bool:
    return any(fault.kind is FaultKind.INTERFERENCE for fault in trial.faults)


def verdicts(campaign: Campaign) -> dict[str, Verdict]:
    return {record.trial.id: record.judgement.verdict for record in campaign.records() if record.judgement}


def run(campaign: Campaign, *, jobs: int = 2) -> CampaignRun:
    with Session(campaign) as session, CampaignRun(session=session, jobs=jobs, progress=lambda _judgement: None) as going:
        going.run()
    return going


# ------------------------------------------------------------------------------------------------------ a broken interferer
def test_an_interferer_that_is_away_costs_the_trials_that_use_it_and_no_others(tmp_path: Path) -> None:
    """More of them in a row than `errors_in_a_row` allows: the board is not to blame, and goes on."""
    campaign = planned(tmp_path, "none", LOUD, trials=10, only="nrf52840", mishap=UNPLUGGED)
    run(campaign)
    found = verdicts(campaign)
    for trial in campaign.plan.trials:
        assert found[trial.id] is (Verdict.ERROR if interferes(trial) else Verdict.PASS)
    lost = next(campaign.judgement(trial.id) for trial in campaign.plan.trials if interferes(trial))
    assert lost is not None
    assert lost.reason.startswith("dk1.interferer: ")
    assert campaign.quarantined() == {}


def test_an_interferer_that_vanishes_while_it_sends_is_named(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    boards = surrounded(tmp_path / "good")
    (judgement,) = run_campaign(tmp_path / "good", scenario_file(tmp_path / "good", images=IMAGES, faults=[NOISE]), boards)
    assert judgement.verdict is Verdict.PASS
    events = Campaign.open(tmp_path / "good" / "campaign").journal(judgement.trial).events
    began_s = next(event.t_ns for event in events if event.kind == "fault.requested") / 1e9
    boards = changed(surrounded(tmp_path), dk1={"model": {"mishap": {**UNPLUGGED, "at_s": began_s + 0.1}}})
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, images=IMAGES, faults=[NOISE]), boards)
    assert judgement.verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE)
    assert "dk1.interferer" in judgement.reason


def test_an_attenuator_that_attenuates_at_rest_belongs_to_every_trial(tmp_path: Path) -> None:
    path = surrounded(tmp_path)
    document = json.loads(path.read_text())
    document["boards"][0]["attenuator"] |= {"rest_db": 20}
    path.write_text(json.dumps(document))
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, images=IMAGES), path)
    levels = [
        event.data["rssi_dbm"]
        for event in Campaign.open(tmp_path / "campaign").journal(judgement.trial).events
        if event.kind == "radio.found"
    ]
    assert set(levels) == {-70}


def test_nobody_goes_on_when_the_interferer_may_still_be_sending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has gone while a trial used it, and cannot be told to stop: what the boards did from then on would say nothing."""
    answers = iter([None])
    monkeypatch.setattr(campaigns, "silence", lambda *_arguments, **_options: next(answers, "interferer: the port has vanished"))
    campaign = planned(tmp_path, NOISE, trials=6, mishap={**UNPLUGGED, "at_s": 1.5})
    run(campaign, jobs=1)
    assert list(verdicts(campaign).values()).count(Verdict.ERROR) == 1
    assert Verdict.FAIL not in verdicts(campaign).values()
    assert set(campaign.quarantined()) == {"dk1", "dk3"}
    assert all("may still be sending" in (recovery.quarantine or "") for recovery in campaign.recoveries())
    assert campaign.pending_trials()


def test_a_lab_whose_interferer_cannot_be_told_to_be_silent_says_so(tmp_path: Path) -> None:
    (board, *_) = planned(tmp_path, "none", trials=2).plan.boards
    absent = replace(board, interferer=InstrumentSpec(driver="radio-test", options={"port": str(tmp_path / "absent")}))
    assert "dk1.interferer" in (silence(absent, InstrumentSpec(driver="lab"), clock="wall") or "")
    assert silence(replace(board, interferer=None), InstrumentSpec(driver="lab"), clock="wall") is None


# --------------------------------------------------------------------------------------------------------------- taking turns
class Watched(CampaignRun):
    """Notes what runs at the same time, each time that it waits for an answer."""

    def _collect(self) -> None:
        jobs = [worker.job for worker in self._workers if worker.job is not None]
        loud = [job for job in jobs if hasattr(job, "trial") and interferes(job.trial)]
        assert not loud or len(jobs) == 1, "a trial that interferes must be alone"
        SEEN.append(len(jobs))
        super()._collect()


SEEN: list[int] = []


def test_a_trial_that_interferes_is_alone_and_its_journal_is_the_same_whoever_waits(tmp_path: Path) -> None:
    SEEN.clear()
    waited: list[Mapping[str, str]] = []
    journals = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        campaign = planned(tmp_path / name, "none", NOISE, trials=8)
        with Session(campaign) as session:
            if name == "one":
                running = CampaignRun(session=session, jobs=1, progress=lambda _judgement: None)
            else:
                running = Watched(session=session, jobs=2, progress=lambda _judgement: None, waits=waited.append)
            with running:
                running.run()
        assert set(verdicts(campaign).values()) == {Verdict.PASS}
        journals.append([campaign.journal(trial.id).events for trial in campaign.plan.trials])
    assert journals[0] == journals[1]
    assert {1, 2} == set(SEEN), "quiet trials run side by side, and some trial was alone"
    assert {what for waiting in waited for what in waiting.values()} == {"the air of the enclosure"}
    assert waited[-1] == {}


def lanes(campaign: Campaign) -> list[Lane]:
    return list(lanes_of(campaign).values())


def names(found: tuple[list[Lane], dict[str, str]]) -> tuple[list[str], dict[str, str]]:
    return [lane.board.name for lane in found[0]], found[1]


def test_who_waits_keeps_its_place(tmp_path: Path) -> None:
    """dk1 wants the air for itself while dk3 is at work: nobody may begin anything before dk1 has had its turn."""
    campaign = planned(tmp_path, NOISE, trials=6)
    loud = lanes(campaign)
    (tmp_path / "quiet").mkdir()
    quiet = lanes(planned(tmp_path / "quiet", "none", trials=4))
    at_work = claim_of(quiet[1])
    assert names(whose_turn([loud[0], quiet[1]], [at_work], most=2)) == (
        [],
        {"dk1": "the air of the enclosure", "dk3": "the air of the enclosure"},
    )
    assert names(whose_turn([loud[0]], [], most=2)) == (["dk1"], {})
    assert names(whose_turn(quiet, [], most=1)) == (["dk1"], {})
    assert names(whose_turn(quiet, [], most=2)) == (["dk1", "dk3"], {})


def test_a_ladder_waits_for_the_air_as_well(tmp_path: Path) -> None:
    first, second = lanes(planned(tmp_path, NOISE, trials=4))
    second.distress = "lost"
    assert names(whose_turn([second], [claim_of(first)], most=1)) == ([], {"dk3": "the air of the enclosure"})


def test_boards_that_share_a_supply_with_several_outputs_take_turns(tmp_path: Path) -> None:
    first, second = lanes(planned(tmp_path, "none", trials=4))
    for lane, channel in ((first, 1), (second, 2)):
        lane.board = replace(lane.board, supply=InstrumentSpec(driver="scpi", options={"resource": "TCPIP::psu", "channel": channel}))
    assert names(whose_turn([first, second], [], most=2)) == (["dk1"], {"dk3": "the supply TCPIP::psu"})
    second.board = replace(second.board, supply=InstrumentSpec(driver="scpi", options={"resource": "TCPIP::psu-2", "channel": 2}))
    assert names(whose_turn([first, second], [], most=2)) == (["dk1", "dk3"], {})
