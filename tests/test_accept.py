"""From counts to one word: HOLD needs evidence against the device, and lacking evidence is never acceptance."""

from pathlib import Path

import pytest

from rig.accept import Decision, Tally, Word, decide, decide_campaign, tally
from rig.model import Acceptance, Judgement, Outcome, Verdict
from tests import synthetic

SOUND = {
    "planned": 100,
    "passed": 100,
    "failed": 0,
    "inconclusive": 0,
    "errors": 0,
    "faults_due": 90,
    "faults_proved": 90,
    "failures": {},
}


def count(**changes: object) -> Tally:
    return Tally(**{**SOUND, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "word", "reason"),
    [
        ({}, Word.ACCEPTED, "100 of 100 trials were conclusive, and none failed; 90 of 90 faults proved."),
        ({"faults_due": 0, "faults_proved": 0}, Word.ACCEPTED, "no trial judged so far was to have a fault"),
        ({"passed": 99, "failed": 1, "failures": {Outcome.BRICKED: 1}}, Word.HOLD, "1 of 100 trials failed (1 BRICKED)."),
        ({"passed": 95, "inconclusive": 2, "errors": 3}, Word.ACCEPTED, "95 of 100"),
        ({"passed": 94, "inconclusive": 2, "errors": 4}, Word.INCONCLUSIVE, "6 of 100 trials lost to the rig (6 %, limit ≤ 5 %)"),
        ({"faults_proved": 89}, Word.INCONCLUSIVE, "Only 89 of 90 faults proved (98.89 %, limit ≥ 99 %)."),
        ({"planned": 120}, Word.INCONCLUSIVE, "20 of 120 planned trials have not been run."),
        ({"passed": 0}, Word.INCONCLUSIVE, "No trial has been run."),
        ({"planned": 0, "passed": 0}, Word.INCONCLUSIVE, "No trial has been run."),
        ({"passed": 0, "errors": 100}, Word.INCONCLUSIVE, "No trial says anything about the device; 100 of 100 trials lost"),
        ({"planned": 120, "passed": 50, "failed": 50, "failures": {Outcome.BRICKED: 50}}, Word.HOLD, "50 of 100 trials failed"),
        ({"passed": 50, "failed": 1, "errors": 49, "failures": {Outcome.UNKNOWN: 1}}, Word.HOLD, "1 of 51 trials failed"),
    ],
)
def test_one_scenario(changes: dict[str, object], word: Word, reason: str) -> None:
    decision = decide(count(**changes), Acceptance())
    assert (decision.word, decision.exit_code) == (word, {"ACCEPTED": 0, "HOLD": 1, "INCONCLUSIVE": 2}[word])
    assert reason in decision.reason


def test_failures_that_the_plan_allows_do_not_hold_but_are_told() -> None:
    failed = count(passed=98, failed=2, failures={Outcome.STUCK_ON_OLD: 2})
    accepted = decide(failed, Acceptance(failures_at_most=2))
    assert accepted.word is Word.ACCEPTED
    assert "2 failed, which the plan allows" in accepted.reason
    held = decide(failed, Acceptance(failures_at_most=1))
    assert held.reason == "2 of 100 trials failed (2 STUCK_ON_OLD); at most 1 may."


def test_a_share_just_below_its_limit_does_not_look_like_the_limit() -> None:
    decision = decide(
        count(planned=100_000, passed=100_000, faults_due=100_000, faults_proved=99_999), Acceptance(faults_proved_at_least=1.0)
    )
    assert decision.word is Word.INCONCLUSIVE
    assert "99.99 %, limit ≥ 100 %" in decision.reason


def test_a_campaign_is_as_good_as_its_worst_scenario() -> None:
    def one(word: Word) -> Decision:
        return Decision(word=word, reason=f"{word} it is.", checks=())

    held = decide_campaign({"a": one(Word.ACCEPTED), "b": one(Word.INCONCLUSIVE), "c": one(Word.HOLD), "d": one(Word.HOLD)})
    assert (held.word, held.reason) == (Word.HOLD, "c: HOLD it is. (1 more of 4 scenarios likewise)")
    assert decide_campaign({"a": one(Word.ACCEPTED), "b": one(Word.INCONCLUSIVE)}).word is Word.INCONCLUSIVE
    assert decide_campaign({"a": one(Word.ACCEPTED), "b": one(Word.ACCEPTED)}).reason == "All 2 scenarios met their criteria."
    assert decide_campaign({}).word is Word.INCONCLUSIVE


def test_a_fault_counts_as_due_unless_the_rig_broke_the_trial(tmp_path: Path) -> None:
    trials = synthetic.plan(tmp_path, trials=10).trials  # the tenth is the control

    def judged(index: int, verdict: Verdict, *, proved: bool) -> Judgement:
        return Judgement(trial=trials[index].id, verdict=verdict, outcome=Outcome.UPDATED, reason="", fault_proved=proved)

    judgements = [
        judged(0, Verdict.PASS, proved=True),
        judged(1, Verdict.INCONCLUSIVE, proved=False),
        judged(2, Verdict.ERROR, proved=False),
        judged(9, Verdict.PASS, proved=False),
    ]
    counted = tally(trials, {judgement.trial: judgement for judgement in judgements})
    assert (counted.planned, counted.attempted, counted.conclusive, counted.lost) == (10, 4, 2, 2)
    assert (counted.faults_due, counted.faults_proved) == (2, 1)
