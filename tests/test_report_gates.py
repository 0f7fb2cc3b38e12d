"""Release gates: the file, what each kind asks, and the word that comes of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rig.config import load_gates
from rig.errors import ConfigError
from rig.gates import Faults, Gate, GateKind, Gates, Scope
from rig.model import Expectation, Outcome, Phase, Verdict
from rig.report import Built, build_report
from rig.report.coverage import stretches
from rig.report.statistics import trials_needed, upper_bound
from rig.report.stock import read_stock
from rig.report.words import at_most
from rig.store import Campaign, Session
from tests import synthetic
from tests.report_page import Page
from tests.synthetic import Ending

BRICKED = Ending(verdict=Verdict.FAIL, outcome=Outcome.BRICKED, reason="no boot and no advertising for 120 s")
STUCK = Ending(verdict=Verdict.FAIL, outcome=Outcome.STUCK_ON_OLD, reason="takes no new image")
WRONG = Ending(verdict=Verdict.FAIL, outcome=Outcome.WRONG_IMAGE, reason="had to be refused, but it ran")
REFUSED = Ending(outcome=Outcome.REFUSED, reason="was refused")
BROKEN = Ending(verdict=Verdict.ERROR, outcome=Outcome.UNKNOWN, reason="dk1.probe: no answer in 5 s")
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _hasty_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here asks what survives a power cut of the host."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def gate(kind: GateKind, limit: float, **options: object) -> Gate:
    return Gate(id="G1", require="something", kind=kind, limit=limit, **options)  # type: ignore[arg-type]


def built(campaign: Campaign, *gates: Gate, baseline: Sequence[Path] = ()) -> Built:
    named = tuple(replace(one, id=f"G{number}") for number, one in enumerate(gates, start=1))
    return build_report([campaign.path], gates=Gates(file="gates.yaml", sha256="0" * 64, gates=named), baseline=baseline)


def states(report: Built) -> list[str]:
    return [one["state"] for one in report.summary["gates"]["results"].values()]


def only(report: Built) -> dict[str, str]:
    (found,) = report.summary["gates"]["results"].values()
    return dict(found)


# ------------------------------------------------------------------------------------------------------------------- kinds
def test_a_probability_is_shown_refuted_or_open(tmp_path: Path) -> None:
    asked = gate(GateKind.FAILURE_PROBABILITY, 0.05, scope=Scope(faults=Faults.PROVED))
    enough = synthetic.campaign(tmp_path / "enough", trials=80, control_every=8)
    assert only(built(enough, asked)) | {"why": ""} == {"state": "pass", "limit": "< 5 %", "measured": f"≤ {at_most(upper_bound(0, 70))}", "why": ""}
    few = built(synthetic.campaign(tmp_path / "few", trials=40, control_every=8), asked)
    assert only(few)["state"] == "not decided"
    assert f"{trials_needed(0.05)} trials with so many failures would show it" in only(few)["why"]
    assert f"Run a campaign with {trials_needed(0.05) - 35} updates with a proved fault without a failure" in Page(few.written[0]).text
    bad = synthetic.campaign(tmp_path / "bad", trials=40, control_every=8, endings=dict.fromkeys((0, 1, 2, 3, 4, 5), STUCK))
    assert only(built(bad, asked))["state"] == "fail"


def test_staged_and_aimed_trials_are_never_pooled_with_random_ones(tmp_path: Path) -> None:
    """Four of eighty failed, all of them staged: they are failures, but say nothing about the probability."""
    planned = synthetic.plan(tmp_path / "images", trials=80, control_every=8)
    trials = tuple(replace(trial, staged=index % 2 == 1) for index, trial in enumerate(planned.trials))
    campaign = Campaign.create(tmp_path / "reports", replace(planned, trials=trials), synthetic.provenance(planned))
    with Session(campaign) as session:
        for index, trial in enumerate(trials):
            synthetic.run_trial(session, trial, BRICKED if index in (1, 3, 5, 9) else None)
    report = built(
        campaign,
        gate(GateKind.FAILURE_PROBABILITY, 0.1, scope=Scope(faults=Faults.PROVED)),
        gate(GateKind.FAILURES, 0, outcomes=(Outcome.BRICKED,)),
    )
    assert states(report) == ["pass", "fail"]
    page = Page(report.written[0])
    assert "random trials with a proved fault: 0 of 40 failed; exact one-sided 95 % bound; 30 trials staged, aimed or to be refused, left out" in page.text
    assert page.figures["Chance of that per interrupted update, at most"] == at_most(upper_bound(0, 40))


def test_a_bad_board_cannot_hide_among_good_ones(tmp_path: Path) -> None:
    """Together 5 of 400 would do for 5 %; but all of them are dk1's."""
    endings = dict.fromkeys((0, 4, 8, 12, 16), STUCK)
    campaign = synthetic.campaign(tmp_path, trials=400, control_every=401, endings=endings)
    report = built(campaign, gate(GateKind.FAILURE_PROBABILITY, 0.05, scope=Scope(faults=Faults.PROVED)))
    assert only(report)["state"] == "not decided"
    assert only(report)["why"].startswith("the boards differ; dk1 alone allows only ≤ ")
    assert "The boards are not alike." in Page(report.written[0]).text


def test_coverage_is_read_off_the_cuts_that_hit(tmp_path: Path) -> None:
    campaign = synthetic.campaign(tmp_path, trials=200, boards=1)
    whole = only(built(campaign, gate(GateKind.FLASH_COVERAGE, 1.0, scope=Scope(phases=(Phase.INSTALL,)))))
    assert whole["state"] == "not decided"
    hit = {
        mark.operation
        for record in campaign.records()
        for mark in (record.evidence.faults if record.evidence else ())
        if mark.phase == "install" and mark.operation
    }
    assert whole["measured"] == f"{100 * len(hit) / 300:.2f} %"
    (stretch,) = (one for one in stretches(read_stock([campaign.path])) if one.phase == "install")
    assert {int(index) + 1 for index in stretch.hits.nonzero()[0]} == hit
    first, last = stretch.gaps()[0]
    assert not hit & set(range(first, last + 1))
    assert {first - 1, last + 1} <= hit | {0, 301}
    coarse = gate(GateKind.FLASH_COVERAGE, 1.0, scope=Scope(phases=(Phase.INSTALL,)), stretch=100)
    assert only(built(campaign, coarse))["state"] == "pass"


def test_spoiled_images_count_by_themselves(tmp_path: Path) -> None:
    planned = synthetic.plan(tmp_path / "images", trials=10, control_every=1)
    trials = tuple(replace(trial, expect=Expectation.REFUSED) for trial in planned.trials)
    campaign = Campaign.create(tmp_path / "reports", replace(planned, trials=trials), synthetic.provenance(planned))
    with Session(campaign) as session:
        for index, trial in enumerate(trials):
            synthetic.run_trial(session, trial, WRONG if index == 4 else REFUSED)
    asked = gate(GateKind.SPOILED_ACCEPTED, 0)
    assert only(built(campaign, asked))["measured"] == "1 of 10"
    assert states(built(campaign, asked, gate(GateKind.FAILURE_PROBABILITY, 0.5))) == ["fail", "not decided"]


def test_durations_are_held_against_limit_and_baseline(tmp_path: Path) -> None:
    now = synthetic.campaign(tmp_path / "now", trials=160, control_every=1)
    before = synthetic.campaign(tmp_path / "before", trials=160, control_every=1, seed=5, name="before")
    slower = gate(GateKind.UPDATE_TIME, 0.10, quantile=0.95)
    away = gate(GateKind.DOWNTIME, 20.0, quantile=0.95)
    asked = (slower, away, replace(away, limit=10.0))
    assert states(built(now, *asked, baseline=[before.path])) == ["pass", "pass", "fail"]
    assert states(built(now, slower)) == ["not decided"]


@pytest.mark.parametrize("kind", list(GateKind))
def test_a_gate_that_no_data_can_answer_is_not_decided(tmp_path: Path, kind: GateKind) -> None:
    campaign = synthetic.campaign(tmp_path, trials=3, skip=range(3))
    report = built(campaign, gate(kind, 0.5, practices=(1,)))
    assert only(report)["state"] == "not decided"
    assert only(report)["why"]
    assert report.verdict.exit_code == 2


# -------------------------------------------------------------------------------------------------------------------- word
def test_ship_hold_and_not_decided(tmp_path: Path) -> None:
    asked = (gate(GateKind.FAILURES, 0), gate(GateKind.LOST_TO_RIG, 0.1))
    ship = built(synthetic.campaign(tmp_path / "ship", trials=12), *asked)
    assert (ship.verdict.word, ship.verdict.exit_code) == ("Ship", 0)
    hold = built(synthetic.campaign(tmp_path / "hold", trials=12, endings={3: BRICKED}), *asked)
    assert (hold.verdict.word, hold.verdict.exit_code) == ("Hold", 1)
    lost = built(synthetic.campaign(tmp_path / "lost", trials=12, endings=dict.fromkeys(range(6), BROKEN)), *asked)
    assert (lost.verdict.word, lost.verdict.exit_code) == ("Not decided", 2)
    unanswered = built(synthetic.campaign(tmp_path / "open", trials=12), *asked, gate(GateKind.UPDATE_TIME, 0.1))
    assert (unanswered.verdict.word, unanswered.verdict.exit_code) == ("Not decided", 2), "the plan was met; one gate is open"
    text = Page(lost.written[0]).text
    assert "6 of 12 trials say nothing about the device" in text
    assert "0" * 64 in text, "the hash of the gates file"


def test_a_plan_that_was_missed_holds_whatever_the_gates_say(tmp_path: Path) -> None:
    report = built(synthetic.campaign(tmp_path, trials=12, endings={3: STUCK}), gate(GateKind.FAILURES, 5))
    assert (states(report), report.verdict.word) == (["pass"], "Hold")


# -------------------------------------------------------------------------------------------------------------------- file
def test_the_sample_file_has_every_gate_of_its_text() -> None:
    gates = load_gates(ROOT / "gates.yaml")
    assert [one.id for one in gates.gates] == [f"G{number}" for number in range(1, 8)]
    assert len(gates.sha256) == 64


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gates:\n  - id: G1\n    require: x\n    failures: {atmost: 0}\n", ":4:16: gates[0].failures.atmost: unknown key"),
        ("gates:\n  - {id: G1, require: y}\n", ":2:5: gates[0]: exactly one kind of gate is wanted, but none is given"),
        (
            "gates:\n  - {id: G1, require: y, failures: {at_most: 0}, lost_to_rig: {at_most: 0.1}}\n",
            "exactly one kind of gate is wanted, but failures and lost_to_rig are",
        ),
        ("gates:\n" + 2 * "  - {id: G1, require: y, failures: {at_most: 0}}\n", ":3:10: gates[1].id: the name 'G1' is taken already"),
        ("gates:\n  - {id: G1, require: y, practices: {proven: [12]}}\n", "12 is above the maximum of 11"),
        ("gates:\n  - {id: G1, require: y, practices: {proven: [1]}, scope: {faults: any}}\n", "scope: means nothing for practices"),
        ("gates: []\n", "gates"),
    ],
)
def test_mistakes_in_the_file_are_shown_with_their_place(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_gates(path)
    assert complaint in str(caught.value)
