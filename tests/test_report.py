"""The page: every number on it comes from the stored trials."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from rig.model import Acceptance, Outcome, Verdict
from rig.report import words
from rig.report.breakdown import MEANINGS
from rig.report.statistics import interval, upper_bound
from rig.store import Campaign, Session, layout
from tests import synthetic
from tests.report_page import Page, judgements, page_of
from tests.synthetic import Clock, Ending

BRICKED = Ending(verdict=Verdict.FAIL, outcome=Outcome.BRICKED, reason="no boot and no advertising for 120 s")
STUCK = Ending(verdict=Verdict.FAIL, outcome=Outcome.STUCK_ON_OLD, reason="takes no new image")
UNPROVED = Ending(verdict=Verdict.INCONCLUSIVE, outcome=Outcome.UPDATED, reason="VDD did not fall")
BROKEN = Ending(verdict=Verdict.ERROR, outcome=Outcome.UNKNOWN, reason="dk1.probe: no answer in 5 s")


@pytest.fixture(scope="module", autouse=True)
def _hasty_disk() -> Iterator[None]:
    """Nothing here asks what survives a power cut of the host, so the many small campaigns need not wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Eighty trials with every kind of ending, two of them not run."""
    endings = {7: BRICKED, 20: BRICKED, 39: STUCK, 41: UNPROVED, 42: BROKEN, 50: BROKEN}
    return synthetic.campaign(tmp_path_factory.mktemp("held"), trials=80, endings=endings, skip=[70, 71])


@pytest.fixture(scope="module")
def page(held: Campaign) -> Page:
    return page_of(held)


def table_of(campaign: Campaign) -> list[dict[str, str]]:
    """The conclusive rows of ``trials.csv`` with a proved fault."""
    rows = csv.DictReader(io.StringIO((campaign.path / layout.TABLE_CSV).read_text("utf-8")))
    return [row for row in rows if row["verdict"] in ("PASS", "FAIL") and row["fault_proved"] == "True"]


# ----------------------------------------------------------------------------------------------------------------- numbers
def test_the_word_and_the_five_figures(held: Campaign, page: Page) -> None:
    stored = judgements(held)
    failed = sum(judgement["verdict"] == "FAIL" for judgement in stored)
    proved = [judgement for judgement in stored if judgement["fault_proved"] and judgement["verdict"] in ("PASS", "FAIL")]
    bad = sum(judgement["verdict"] == "FAIL" for judgement in proved)
    hit = {(trial["soc"], trial["fault_phase"], trial["operation"]) for trial in table_of(held) if int(trial["operation"] or 0) > 0}
    assert (len(stored), failed) == (78, 3)
    assert "Hold 1.1.0" in page.text
    assert "3 of 75 trials failed (1 STUCK_ON_OLD, 2 BRICKED)." in page.text
    assert page.figures == {
        "Updates tried, with and without faults": "78",
        "Did not recover by themselves": "3",
        "Chance of that per interrupted update, at most": words.at_most(upper_bound(bad, len(proved))),
        "Flash operations cut at least once": words.percent(len(hit) / (2 * sum(synthetic.OPERATIONS.values()))),
        "Application out of service, median": words.seconds(
            pd.Series([j["downtime_s"] for j in stored if j["verdict"] in ("PASS", "FAIL")]).median()
        ),
    }


def test_the_criteria_show_limit_measure_and_result(page: Page) -> None:
    assert page.row("Trials that failed") == ["Trials that failed", "≤ 0", "3 of 75", "1 STUCK_ON_OLD, 2 BRICKED", "Missed"]
    assert page.row("Trials lost to the rig") == [
        "Trials lost to the rig",
        "≤ 5 %",
        "3.85 %",
        "1 inconclusive, 2 rig errors",
        "Met",
    ]
    assert page.row("Planned trials that have been run")[1:3] == ["80", "78"]


def test_recovery_by_phase_counts_where_the_fault_really_fell(held: Campaign, page: Page) -> None:
    stored = [judgement for judgement in judgements(held) if judgement["verdict"] in ("PASS", "FAIL")]
    by_phase = Counter(judgement["fault_phase"] or "control" for judgement in stored)
    assert sum(by_phase.values()) == 75
    for phase, number in by_phase.items():
        failed = sum(judgement["verdict"] == "FAIL" for judgement in stored if (judgement["fault_phase"] or "control") == phase)
        row = page.row(words.phase(str(phase)), f"{number}")
        share = words.percent((number - failed) / number)
        assert row[2:4] == [f"✗ {failed}" if failed else "0", f"{share} ({words.bounds(*interval(number - failed, number))})"]


def test_boards_outcomes_and_timings_add_up(held: Campaign, page: Page) -> None:
    stored = judgements(held)
    boards = {trial.id: trial.board for trial in held.plan.trials}
    sound = Counter(boards[str(judgement["trial"])] for judgement in stored if judgement["verdict"] in ("PASS", "FAIL"))
    for board in held.plan.boards:
        assert page.row(board.name, board.soc)[2] == str(sound[board.name])
    outcomes = Counter(judgement["outcome"] for judgement in stored)
    for outcome, number in outcomes.items():
        assert page.row(str(outcome), MEANINGS[Outcome(str(outcome))])[6] == str(number)
    durations = [
        judgement["phases"]["install"]  # type: ignore[index]
        for judgement in stored
        if judgement["verdict"] in ("PASS", "FAIL") and judgement["fault_phase"] != "install"
    ]
    series = pd.Series(durations)
    wanted = [
        "install",
        f"{len(durations)}",
        *(words.seconds(value) for value in (series.median(), None, series.max())),
    ]
    assert page.row("install", wanted[1])[:5] == wanted


def test_how_long_the_supply_takes_is_measured_on_proved_cuts(tmp_path: Path) -> None:
    """These supplies see VDD low 0.2 ms after the command, always; a cut that was not proved does not count."""
    campaign = synthetic.campaign(tmp_path, trials=12, endings={3: UNPROVED, 4: UNPROVED})
    found = page_of(campaign)
    for board in campaign.plan.boards:
        mine = [r for r in campaign.records() if r.trial.board == board.name and r.trial.fault and r.judgement and r.judgement.fault_proved]
        times = ["0.20 ms", "0.00 ms", "0.20 ms", "0.20 ms"]
        assert found.row(board.name, board.supply.driver) == [board.name, board.supply.driver, str(len(mine)), *times, words.DASH]


def test_the_map_has_a_mark_for_every_failure_and_leads_to_it(held: Campaign, page: Page) -> None:
    failed = {
        str(judgement["trial"]) for judgement in judgements(held) if judgement["verdict"] == "FAIL" and judgement["fault_proved"]
    }
    targets = Counter(attrs["href"] for tag, attrs in page.tags if tag == "a" and (attrs.get("href") or "").startswith("#trial-"))
    identifiers = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    for trial in failed:
        assert targets[f"#trial-{trial}"] >= 2, "one in each of the two maps"
    assert {target.removeprefix("#") for target in targets if target} <= set(identifiers)
    assert len(identifiers) == len(set(identifiers))


def test_every_failure_is_told_with_its_replay_and_its_evidence(held: Campaign, page: Page) -> None:
    for record in held.records():
        if record.judgement and record.judgement.verdict is Verdict.FAIL:
            assert f"rig replay {held.path} {record.trial.id}" in page.text
            assert record.judgement.reason in page.text
            assert any(row[3:] == ["fault.proved: evidence (vdd_was_low yes), n 1"] for row in page.rows if len(row) == 4)
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a" and not (attrs["href"] or "").startswith("#")]
    assert len(links) > 20
    missing = [link for link in links if link and not (held.path / link).is_file()]
    assert missing == []


def test_what_the_rig_lost_stands_apart(page: Page) -> None:
    assert page.row("T-0042")[2:5] == ["Inconclusive", words.phase(page.row("T-0042")[3]), "VDD did not fall"]
    assert page.row("T-0043")[2:5:2] == ["Rig error", "dk1.probe: no answer in 5 s"]
    assert "If all 3 were failures, the bound above would be " in page.text
    assert "2 planned trials have not been run." in page.text


def test_the_summary_in_the_page_is_the_file_beside_it(held: Campaign, page: Page) -> None:
    stored = json.loads((held.path / layout.SUMMARY).read_text("utf-8"))
    assert stored.pop("format") == "rig.summary/1"
    assert page.summary() == stored
    assert stored["decision"]["word"] == "HOLD"
    assert stored["decision"]["exit_code"] == 1
    assert stored["trials"] | {"interrupted": 0} == {
        "planned": 80, "attempted": 78, "interrupted": 0, "pass": 72, "fail": 3, "inconclusive": 1, "error": 2,
    }  # fmt: skip


def test_the_table_has_a_row_for_every_planned_trial(held: Campaign, page: Page) -> None:
    del page  # which writes the table
    rows = list(csv.DictReader(io.StringIO((held.path / layout.TABLE_CSV).read_text("utf-8"))))
    assert [row["trial"] for row in rows] == [trial.id for trial in held.plan.trials]
    assert Counter(row["verdict"] for row in rows) == {"PASS": 72, "FAIL": 3, "INCONCLUSIVE": 1, "ERROR": 2, "": 2}
    assert [row["seed"] for row in rows] == [str(trial.seed) for trial in held.plan.trials]


# ------------------------------------------------------------------------------------------------------- special campaigns
def test_a_clean_campaign_is_accepted_and_a_broken_rig_is_not(tmp_path: Path) -> None:
    clean = page_of(synthetic.campaign(tmp_path / "clean", trials=12))
    assert "Accepted 1.1.0" in clean.text
    assert "None. All 12 conclusive trials passed." in clean.text
    broken = page_of(synthetic.campaign(tmp_path / "broken", trials=12, endings=dict.fromkeys(range(4), BROKEN)))
    assert "Not decided 1.1.0" in broken.text
    assert "4 of 12 trials lost to the rig (33.33 %, limit ≤ 5 %)." in broken.text
    assert "The commonest reason for a lost trial (4 times): dk1.probe: no answer in 5 s." in broken.text


@pytest.mark.parametrize("trials", [0, 5])
def test_a_campaign_without_results_says_so(tmp_path: Path, trials: int) -> None:
    page = page_of(synthetic.campaign(tmp_path, trials=trials, skip=range(trials)))
    assert "Not decided" in page.text
    assert "No trial has been run." in page.text
    assert set(page.figures.values()) == {"0", words.DASH}
    assert page.summary()["trials"]["attempted"] == 0  # type: ignore[index]


def test_failures_that_the_plan_allows_are_shown_and_accepted(tmp_path: Path) -> None:
    page = page_of(synthetic.campaign(tmp_path, trials=10, endings={1: STUCK}, accept=Acceptance(failures_at_most=1)))
    assert "Accepted" in page.text
    assert page.row("Trials that failed")[1:3] == ["≤ 1", "1 of 10"]
    assert "1 failure with 1 distinct signature" in page.text


def test_damaged_evidence_is_reported_at_the_top(tmp_path: Path) -> None:
    campaign = synthetic.campaign(tmp_path, trials=5)
    torn, corrupt, gone = (campaign.trial_folder(f"T-000{number}") / "journal.jsonl" for number in (1, 2, 3))
    torn.write_bytes(torn.read_bytes()[:-30])
    data = bytearray(corrupt.read_bytes())
    data[400] ^= 1
    corrupt.write_bytes(data)
    gone.unlink()
    page = page_of(campaign)
    assert "Evidence is damaged. The records of 3 trials are not what they were" in page.text
    assert re.search(r"T-0001: journal.jsonl: \d+ bytes, was \d+; journal.jsonl: the last line is torn", page.text)
    assert "T-0002: journal.jsonl: its hash has changed; journal.jsonl: corrupt line 4; journal.jsonl: no event 2" in page.text
    assert "T-0003: journal.jsonl: No such file or directory" in page.text


def test_each_scenario_is_decided_by_its_own_criteria(tmp_path: Path) -> None:
    first = synthetic.plan(tmp_path / "images", trials=10)
    second = synthetic.plan(tmp_path / "images", trials=10, scenario="rollback", accept=Acceptance(failures_at_most=1), seed=3)
    others = tuple(replace(trial, id=f"R-{trial.id}") for trial in second.trials)
    both = replace(first, scenarios=first.scenarios + second.scenarios, trials=first.trials + others)
    campaign = Campaign.create(tmp_path / "reports", both, synthetic.provenance(both))
    with Session(campaign) as session:
        for index, trial in enumerate(both.trials):
            synthetic.run_trial(session, trial, STUCK if index in (3, 13) else None)
    page = page_of(campaign)
    assert "swap-power-cut: 1 of 10 trials failed (1 STUCK_ON_OLD)." in page.text
    assert page.row("swap-power-cut", "Trials that failed")[-1] == "Missed"
    assert page.row("rollback", "Trials that failed")[-1] == "Met"
    assert page.summary()["scenarios"] == {"swap-power-cut": "HOLD", "rollback": "ACCEPTED"}


def test_interrupted_attempts_are_mentioned(tmp_path: Path) -> None:
    campaign = synthetic.campaign(tmp_path, trials=3, skip=[1])
    with Session(campaign) as session:
        session.begin("T-0002", Clock()).close()
    with Session(campaign) as session:
        synthetic.run_trial(session, campaign.trial("T-0002"))
    page = page_of(campaign)
    assert "1 attempt ended without judgement and did not count; what was recorded is kept: trials/T-0002.attempt-1" in page.text


def test_every_outcome_of_the_model_has_words() -> None:
    assert set(MEANINGS) == set(Outcome)
