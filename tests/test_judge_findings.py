"""What the judge makes of the requirements that a trial was to prove: findings, and what they change about the verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rig.judge import judge
from rig.model import Expectation, Finding, Judgement, Outcome, Phase, Trial, Verdict
from tests.test_assessments import LAMP
from tests.test_judge import FAULTY, NEW, OLD, TRIAL, Story

PROVING = replace(TRIAL, product=LAMP, proves=("signing.genuine", "recovery.user-data"))
REFUSING = replace(TRIAL, product=LAMP, proves=("signing.unsigned",), expect=Expectation.REFUSED)


def good() -> Story:
    return Story().prepared().phase(Phase.UPLOAD).phase(Phase.MARK).state(NEW)


def findings(judgement: Judgement) -> dict[str, bool | None]:
    return {finding.requirement: finding.met for finding in judgement.findings}


def test_findings_come_in_the_order_of_what_was_to_be_proved() -> None:
    judgement = judge(PROVING, good().observed(NEW).events)

    assert judgement.verdict is Verdict.PASS
    assert [finding.requirement for finding in judgement.findings] == ["signing.genuine", "recovery.user-data"]
    assert judgement.findings[1] == Finding(
        requirement="recovery.user-data", met=True, reason="the user data are unchanged", because=(len(good().events) + 2,)
    )


@pytest.mark.parametrize("trial", [replace(PROVING, product=None), replace(PROVING, proves=())], ids=["no product", "nothing to prove"])
def test_a_trial_that_proves_nothing_in_particular_has_no_findings(trial: Trial) -> None:
    judgement = judge(trial, good().observed(NEW).events)

    assert judgement.verdict is Verdict.PASS
    assert judgement.findings == ()


def test_a_violated_requirement_fails_a_trial_that_went_well_otherwise() -> None:
    trial = replace(PROVING, proves=("signing.genuine", "channel.malformed"))
    story = Story().prepared().say("channel.malformed", sent=3, last="an empty packet", alive=False, resets=0)
    story.phase(Phase.UPLOAD).phase(Phase.MARK).state(NEW).observed(NEW)

    judgement = judge(trial, story.events)

    assert (judgement.verdict, judgement.outcome) == (Verdict.FAIL, Outcome.UPDATED)
    assert judgement.reason == "channel.malformed: the device stopped serving after: an empty packet"
    (seq,) = judgement.because
    assert story.events[seq].kind == "channel.malformed"


def test_a_verdict_against_the_device_keeps_its_own_reason() -> None:
    judgement = judge(PROVING, good().observed(NEW, marker=False).events)

    assert judgement.verdict is Verdict.FAIL
    assert "user data are gone" in judgement.reason
    assert findings(judgement) == {"signing.genuine": True, "recovery.user-data": False}


def test_a_trial_that_shows_nothing_of_what_it_was_to_prove_is_inconclusive() -> None:
    trial = replace(PROVING, proves=("channel.malformed", "keys.readback"))

    judgement = judge(trial, good().observed(NEW).events)

    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reason == "channel.malformed: nothing malformed was sent"
    assert findings(judgement) == {"channel.malformed": None, "keys.readback": None}


def test_one_finding_that_tells_is_enough() -> None:
    judgement = judge(replace(PROVING, proves=("channel.malformed", "signing.genuine")), good().observed(NEW).events)

    assert judgement.verdict is Verdict.PASS
    assert findings(judgement) == {"channel.malformed": None, "signing.genuine": True}


def test_what_the_rig_broke_finds_nothing() -> None:
    story = good().say("rig.error", instrument="probe", reason="gone").observed(NEW)

    judgement = judge(PROVING, story.events)

    assert judgement.verdict is Verdict.ERROR
    assert judgement.findings == ()


def test_an_unproved_cut_keeps_its_verdict_and_meets_nothing() -> None:
    trial = replace(FAULTY, product=LAMP, proves=("recovery.power-cut",))

    judgement = judge(trial, Story().prepared().cut().say("fault.unproved", evidence={"vdd_was_low": False}).state(NEW).observed(NEW).events)

    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "not proved" in judgement.reason
    assert findings(judgement) == {"recovery.power-cut": None}


def test_a_refusal_meets_and_one_boot_violates() -> None:
    refused = judge(REFUSING, Story().prepared().phase(Phase.UPLOAD).say("dut.error", text="no").observed(OLD).events)
    ran = judge(REFUSING, good().observed(OLD).events)

    assert (refused.verdict, refused.outcome, findings(refused)) == (Verdict.PASS, Outcome.REFUSED, {"signing.unsigned": True})
    assert (ran.verdict, ran.outcome, findings(ran)) == (Verdict.FAIL, Outcome.WRONG_IMAGE, {"signing.unsigned": False})


def test_one_boot_shows_on_the_console_even_if_nobody_asked_the_device() -> None:
    story = Story().prepared().phase(Phase.MARK).say("dut.started", version="1.1.0").observed(OLD)

    judgement = judge(REFUSING, story.events)

    assert (judgement.verdict, judgement.outcome) == (Verdict.FAIL, Outcome.WRONG_IMAGE)
    assert [story.events[seq].kind for seq in judgement.because] == ["dut.started", "dut.state"]


def test_a_start_before_the_update_or_after_it_is_none_of_the_new_image() -> None:
    story = Story().say("dut.started", version="1.1.0").prepared().phase(Phase.MARK).observed(OLD)
    story.say("again.start").say("dut.started", version="1.1.0").say("again.end", reached=True)

    assert judge(REFUSING, story.events).outcome is Outcome.REFUSED


def test_two_images_of_one_version_are_told_apart_by_what_the_device_reports() -> None:
    """Over Secure DFU a device tells no hash: then the probe's look into the flash decides."""
    same = replace(REFUSING, new=replace(TRIAL.new, version="1.0.0"))
    for in_flash, outcome in ((OLD, Outcome.REFUSED), (NEW, Outcome.WRONG_IMAGE)):
        story = Story().prepared().phase(Phase.MARK).say("dut.started", version="1.0.0").say("observe.start")
        story.say("dut.state", running_hash=None, running_version="1.0.0", confirmed=True)
        story.say("probe.read", what="user_data", matches=True)
        story.say("probe.read", what="image", version="1.0.0", image_hash=in_flash).say("trial.end")
        assert judge(same, story.events).outcome is outcome, in_flash


def test_a_unit_that_was_only_looked_at_is_judged_by_its_findings_alone() -> None:
    trial = replace(TRIAL, product=LAMP, proves=("keys.readback",), inspect=True)
    verdicts = {}
    for readback in (True, False):
        story = Story().say("trial.start").say("observe.start").say("keys.protection", readback=readback, locked=[]).say("trial.end")
        verdicts[readback] = judge(trial, story.events)

    assert {readback: one.outcome for readback, one in verdicts.items()} == {True: Outcome.INSPECTED, False: Outcome.INSPECTED}
    assert {readback: one.verdict for readback, one in verdicts.items()} == {True: Verdict.PASS, False: Verdict.FAIL}
    assert verdicts[False].reason.startswith("keys.readback: ")


def test_the_same_journal_always_gives_the_same_findings() -> None:
    events = good().observed(NEW).events

    assert judge(PROVING, events) == judge(PROVING, events)
