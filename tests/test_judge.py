"""The judge: what each kind of journal means, and above all what must not pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rig.judge import judge
from rig.model import (
    Event,
    Expectation,
    Fault,
    ImageFile,
    Limits,
    Outcome,
    Phase,
    Protocol,
    Request,
    Trial,
    Trigger,
    TriggerKind,
    Verdict,
)

OLD, NEW, AGAIN = "aa" * 32, "bb" * 32, "cc" * 32


def image(version: str, image_hash: str) -> ImageFile:
    return ImageFile(path=f"{version}.bin", sha256=image_hash, size=1000, version=version, image_hash=image_hash)


CUT = Fault(trigger=Trigger(kind=TriggerKind.PHASE, phase=Phase.INSTALL), off_s=0.5)
TRIAL = Trial(
    id="T-0001", scenario="s", board="dk1", protocol=Protocol.SMP, seed=1, old=image("1.0.0", OLD), new=image("1.1.0", NEW), again=None,
    request=Request.TEST, confirm=True, staged=False, fault=None, limits=Limits(), stratum="control",
)  # fmt: skip
FAULTY = replace(TRIAL, fault=CUT, stratum="install")
ROLLBACK = replace(TRIAL, confirm=False, expect=Expectation.ROLLED_BACK)


class Story:
    """A journal told event by event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def say(self, kind: str, **data: Any) -> Story:
        self.events.append(Event(seq=len(self.events), t_ns=len(self.events) * 1_000_000_000, source="test", kind=kind, data=data))
        return self

    def phase(self, phase: Phase, *, ok: bool = True) -> Story:
        self.say("phase.start", phase=phase.value, attempt=1)
        return self.say("phase.end", phase=phase.value, attempt=1, ok=ok)

    def prepared(self) -> Story:
        self.say("trial.start").phase(Phase.FLASH).say("phase.start", phase="boot", attempt=1).state(OLD)
        return self.say("phase.end", phase="boot", attempt=1, ok=True)

    def state(self, running: str, *, confirmed: bool = True) -> Story:
        version = {OLD: "1.0.0", NEW: "1.1.0"}.get(running, "9.9.9")
        return self.say("dut.state", running_hash=running, running_version=version, confirmed=confirmed)

    def cut(self, phase: str = "install", n: int = 1) -> Story:
        self.say("fault.requested", n=n, phase=phase)
        return self.say("fault.delivered", n=n, at_phase=phase)

    def proved(self, n: int = 1) -> Story:
        return self.say("fault.proved", n=n, evidence={"vdd_was_low": True})

    def observed(self, running: str | None, *, marker: bool = True) -> Story:
        self.say("observe.start")
        if running is not None:
            self.state(running)
        return self.say("probe.read", what="user_data", matches=marker).say("trial.end")


def test_a_plain_update_passes() -> None:
    story = Story().prepared().phase(Phase.UPLOAD).phase(Phase.MARK).state(NEW).observed(NEW)
    judgement = judge(TRIAL, story.events)
    assert (judgement.verdict, judgement.outcome) == (Verdict.PASS, Outcome.UPDATED)
    assert judgement.checks["user_data"] is True


def test_a_swap_that_goes_on_after_the_cut_is_resumed() -> None:
    story = Story().prepared().phase(Phase.UPLOAD).cut().state(NEW).proved().observed(NEW)
    judgement = judge(FAULTY, story.events)
    assert (judgement.verdict, judgement.outcome, judgement.fault_phase) == (Verdict.PASS, Outcome.RESUMED, "install")
    assert judgement.fault_requested and judgement.fault_delivered and judgement.fault_proved


def test_a_cut_after_everything_was_done_changes_nothing() -> None:
    story = Story().prepared().state(NEW).cut("settle").state(NEW).proved().observed(NEW)
    assert judge(FAULTY, story.events).outcome is Outcome.UPDATED


def test_an_image_that_never_ran_was_not_rolled_back() -> None:
    faulty = replace(ROLLBACK, fault=CUT)
    judgement = judge(faulty, Story().prepared().cut().state(OLD).proved().observed(OLD).events)
    assert (judgement.verdict, judgement.outcome) == (Verdict.FAIL, Outcome.STUCK_ON_OLD)


def test_a_second_upload_is_recovery_on_retry() -> None:
    story = Story().prepared().cut("upload").state(OLD).phase(Phase.UPLOAD).phase(Phase.MARK).state(NEW).proved().observed(NEW)
    assert judge(FAULTY, story.events).outcome is Outcome.RECOVERED_ON_RETRY


def test_what_was_seen_before_the_cut_proves_nothing_after_it() -> None:
    """A device that answered before the cut and never again is a brick, however well it looked."""
    story = Story().prepared().phase(Phase.UPLOAD).state(NEW).cut("confirm").say("dut.silent").proved().observed(None)
    judgement = judge(FAULTY, story.events)
    assert (judgement.verdict, judgement.outcome) == (Verdict.FAIL, Outcome.BRICKED)


@pytest.mark.parametrize("expect", list(Expectation))
def test_what_was_seen_before_the_final_look_proves_nothing_about_the_end(expect: Expectation) -> None:
    trial = replace(TRIAL, expect=expect, confirm=expect is not Expectation.ROLLED_BACK)
    running = OLD if expect is not Expectation.UPDATED else NEW
    judgement = judge(trial, Story().prepared().state(NEW).state(running).observed(None).events)
    assert (judgement.verdict, judgement.outcome) == (Verdict.FAIL, Outcome.BRICKED)
    stuck = Story().prepared().state(running).say("dut.enter_dfu").say("observe.start").say("dut.dfu_mode").say("trial.end")
    assert judge(trial, stuck.events).outcome is Outcome.STUCK_IN_DFU


def test_a_radio_that_hears_nothing_while_the_console_says_ready_is_no_evidence_against_the_device() -> None:
    story = Story().prepared().say("radio.found").cut().say("dut.ready").say("dut.error", type="NotFound").proved().observed(None)
    judgement = judge(FAULTY, story.events)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "never heard" in judgement.reason
    silent = Story().prepared().say("dut.ready").cut().say("dut.error", type="NotFound").proved().observed(None)
    assert judge(FAULTY, silent.events).outcome is Outcome.BRICKED, "what the console said before the cut does not count"
    mute = Story().prepared().cut().say("dut.ready").say("radio.found").say("radio.connected").say("dut.error", type="NoReply")
    assert judge(FAULTY, mute.proved().observed(None).events).outcome is Outcome.BRICKED, "it was heard, and did not answer"


def test_coming_back_only_after_a_power_cycle_fails() -> None:
    story = Story().prepared().cut().say("rig.power_cycle").state(NEW).proved().observed(NEW)
    judgement = judge(FAULTY, story.events)
    assert (judgement.verdict, judgement.outcome) == (Verdict.FAIL, Outcome.NEEDS_POWER_CYCLE)


def test_a_third_image_is_wrong() -> None:
    story = Story().prepared().cut().proved().observed("dd" * 32)
    assert judge(FAULTY, story.events).outcome is Outcome.WRONG_IMAGE


def test_staying_on_the_old_image_fails() -> None:
    story = Story().prepared().cut().state(OLD).phase(Phase.UPLOAD).proved().observed(OLD)
    judgement = judge(FAULTY, story.events)
    assert (judgement.verdict, judgement.outcome) == (Verdict.FAIL, Outcome.STUCK_ON_OLD)


def test_lost_user_data_fail_an_update_that_worked() -> None:
    story = Story().prepared().state(NEW).observed(NEW, marker=False)
    judgement = judge(TRIAL, story.events)
    assert judgement.verdict is Verdict.FAIL
    assert "user data" in judgement.reason


@pytest.mark.parametrize(
    ("story", "why"),
    [
        (Story().prepared().state(NEW).say("fault.not_fired").observed(NEW), "never fired"),
        (Story().prepared().cut().state(NEW).say("fault.unproved", n=1, evidence={"vdd_was_low": False}).observed(NEW), "vdd_was_low"),
        (Story().prepared().cut().state(NEW).observed(NEW), "not proved"),
        (Story().prepared().cut().state(NEW).proved(), "interrupted"),
        (Story().prepared().say("trial.timeout").say("trial.end"), "limit"),
    ],
)
def test_no_fault_no_credit(story: Story, why: str) -> None:
    judgement = judge(FAULTY, story.events)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert why in judgement.reason


def test_one_proof_too_few_is_inconclusive() -> None:
    twice = replace(FAULTY, fault=replace(CUT, repeat=2))
    story = Story().prepared().cut(n=1).cut(n=2).state(NEW).proved(1).observed(NEW)
    assert judge(twice, story.events).verdict is Verdict.INCONCLUSIVE


def test_a_broken_rig_neither_fails_nor_passes() -> None:
    for rest in (Story().prepared().cut().say("dut.silent"), Story().prepared().state(NEW)):
        story = rest.say("rig.error", instrument="dk1.supply", reason="the port vanished").observed(None)
        judgement = judge(FAULTY, story.events)
        assert judgement.verdict is Verdict.ERROR
        assert "dk1.supply" in judgement.reason


def test_an_unconfirmed_image_must_go() -> None:
    story = Story().prepared().state(NEW, confirmed=False).state(OLD).observed(OLD)
    assert judge(ROLLBACK, story.events).outcome is Outcome.ROLLED_BACK
    story = Story().prepared().state(NEW, confirmed=False).state(NEW).observed(NEW)
    judgement = judge(ROLLBACK, story.events)
    assert (judgement.verdict, judgement.outcome) == (Verdict.FAIL, Outcome.NOT_REVERTED)


def test_an_image_that_must_be_refused_may_not_run_once() -> None:
    refused = replace(TRIAL, expect=Expectation.REFUSED)
    assert judge(refused, Story().prepared().state(OLD).observed(OLD).events).outcome is Outcome.REFUSED
    judgement = judge(refused, Story().prepared().state(NEW).state(OLD).observed(OLD).events)
    assert (judgement.verdict, judgement.outcome) == (Verdict.FAIL, Outcome.WRONG_IMAGE)


def test_a_device_that_can_no_longer_be_updated_fails() -> None:
    trial = replace(TRIAL, again=image("1.2.0", AGAIN))
    story = Story().prepared().state(NEW).say("observe.start").state(NEW).say("again.start")
    story.say("again.end", reached=False).say("probe.read", what="user_data", matches=True).say("trial.end")
    judgement = judge(trial, story.events)
    assert judgement.verdict is Verdict.FAIL
    assert "1.2.0" in judgement.reason


def test_the_extra_update_does_not_count_as_the_trials_image() -> None:
    trial = replace(TRIAL, again=image("1.2.0", AGAIN))
    story = Story().prepared().state(NEW).say("observe.start").state(NEW).say("again.start").state(AGAIN)
    story.say("again.end", reached=True).say("probe.read", what="user_data", matches=True).say("trial.end")
    assert judge(trial, story.events).verdict is Verdict.PASS


def test_judging_is_repeatable_and_cites_its_evidence() -> None:
    story = Story().prepared().cut().state(NEW).proved().observed(NEW)
    first, second = judge(FAULTY, story.events), judge(FAULTY, story.events)
    assert first == second
    assert first.because
    assert all(story.events[seq].kind in ("fault.delivered", "dut.state") for seq in first.because)


def test_downtime_is_the_sum_of_the_outages() -> None:
    story = Story().prepared().phase(Phase.RESET).say("radio.found").cut("confirm").say("dut.ready").say("radio.found").observed(NEW)
    # one second from the end of the reset to the advertisement, one from the cut to the ready line
    assert judge(FAULTY, story.events).downtime_s == 2.0


def test_a_device_with_power_that_does_not_start_at_the_last_power_cycle_is_bricked() -> None:
    story = Story().prepared().observed(NEW).say("dut.did_not_start", says="VDD stands").say("trial.end")
    judgement = judge(TRIAL, story.events)
    assert (judgement.verdict, judgement.outcome) == (Verdict.FAIL, Outcome.BRICKED)
    assert judgement.because == (story.events[-2].seq,)


@pytest.mark.parametrize(("version", "verdict"), [("1.0.0", Verdict.PASS), ("1.1.0", Verdict.FAIL)])
def test_what_must_be_refused_must_not_even_say_on_the_console_that_it_starts(version: str, verdict: Verdict) -> None:
    refused = replace(TRIAL, expect=Expectation.REFUSED)
    story = Story().prepared().say("dut.started", version=version).observed(OLD).say("trial.end")
    assert judge(refused, story.events).verdict is verdict


@pytest.mark.parametrize(("kept", "verdict", "outcome"), [(OLD, Verdict.PASS, Outcome.REFUSED), (NEW, Verdict.FAIL, Outcome.WRONG_IMAGE)])
def test_images_of_one_version_are_told_apart_by_what_the_probe_finds(kept: str, verdict: Verdict, outcome: Outcome) -> None:
    same = replace(TRIAL, expect=Expectation.REFUSED, new=image("1.0.0", NEW))
    story = Story().prepared().say("observe.start")
    story.say("dut.state", running_hash=None, running_version="1.0.0", confirmed=True)
    story.say("probe.read", what="image", version="1.0.0", image_hash=kept).say("probe.read", what="user_data", matches=True).say("trial.end")
    judgement = judge(same, story.events)
    assert (judgement.verdict, judgement.outcome) == (verdict, outcome)
