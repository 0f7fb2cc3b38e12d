"""How an update ended: what an image that must run, or must not, shows."""

from __future__ import annotations

from rig.model import Event, Outcome, Phase, Verdict
from rig.practices.assess.answer import UPDATED, as_judged, met, undecided, violated
from rig.practices.requirement import Assessment, Case

_RIGHT_BEHIND = 3
"""Events between the end of a phase that failed and the record of what made it fail."""
_WATCHDOG = 1 << 1
"""RESETREAS.DOG."""


def genuine_image_runs(case: Case) -> Assessment:
    """A genuine image is accepted and runs; one that never arrived whole, or that ran and was not kept, says nothing against the check."""
    if case.judgement.outcome in UPDATED:
        return as_judged(case, True)
    if case.judgement.verdict is not Verdict.FAIL or not _was_turned_down(case) or _new_image_ran(case):
        return undecided("no update got as far as the check of the image, or failed only after it")
    return as_judged(case, False)


def genuine_image_kept(case: Case) -> Assessment:
    """A new image that runs and does its work is kept."""
    if case.judgement.outcome in UPDATED:
        return as_judged(case, True)
    if case.judgement.verdict is Verdict.FAIL and _new_image_ran(case):
        return as_judged(case, False)
    return undecided("the new image never ran")


def _new_image_ran(case: Case) -> bool:
    """Whether the new image ran, be it for one boot."""
    version = case.trial.new.version
    return any(event.data.get("running_version") == version for event in case.of("dut.state")) or any(
        event.data["version"] == version for event in case.of("dut.started")
    )


def _was_turned_down(case: Case) -> bool:
    """Whether it was the device's check that said no: of the init packet, or, where nobody is told, after a request to install."""
    if case.product.protocol == "secure_dfu":
        return any(event.data.get("request") == "init execute" for event in case.of("dut.error"))
    return any(event.data["phase"] == Phase.MARK for event in case.of("phase.start"))


def image_refused(case: Case) -> Assessment:
    """An image that must be refused never ran."""
    if case.judgement.outcome is Outcome.WRONG_IMAGE:
        return as_judged(case, False)
    if case.judgement.outcome is Outcome.REFUSED:
        return as_judged(case, True)
    return undecided(f"the attempt ended otherwise: {case.judgement.reason}")


def survives_refusal(case: Case) -> Assessment:
    """After an image that it had to refuse, the device serves, and takes a good one."""
    verdict, outcome = case.judgement.verdict, case.judgement.outcome
    if verdict is Verdict.FAIL and outcome is not Outcome.WRONG_IMAGE and case.judgement.checks.get("user_data") is not False:
        return as_judged(case, False)
    return as_judged(case, True) if outcome is Outcome.REFUSED else undecided("the image was not refused")


def update_survives(case: Case) -> Assessment:
    """Old or new, whole, and updatable: what a good device is after whatever happened during the update."""
    if case.judgement.checks.get("user_data") is False:
        return undecided("the user data are gone, which is another requirement")
    return as_judged(case, {Verdict.PASS: True, Verdict.FAIL: False}.get(case.judgement.verdict))


def resumed_without_gap(case: Case) -> Assessment:
    """The first transfer after the interruption is the one that is installed; that the device then takes a second does not mend it."""
    delivered = case.of("fault.delivered")
    until = next((event.seq for event in case.of("again.start")), len(case.events))
    begun = [event for event in _uploads(case, "phase.start", until) if delivered and event.seq > delivered[-1].seq]
    if not begun or case.judgement.verdict not in (Verdict.PASS, Verdict.FAIL):
        return undecided("no transfer went on after an interruption")
    ended = next((event for event in _uploads(case, "phase.end", until) if event.seq > begun[0].seq), None)
    if ended is None or (not ended.data["ok"] and _link_was_lost(case, ended)):
        return undecided("the transfer was interrupted once more")
    if not ended.data["ok"] or len(begun) > 1 or case.judgement.outcome not in UPDATED:
        return violated("the image that was resumed could not be installed", [begun[0], ended])
    return met("the transfer that followed the interruption was installed", [begun[0], ended])


def _uploads(case: Case, kind: str, until: int) -> list[Event]:
    return [event for event in case.of(kind) if event.data["phase"] == Phase.UPLOAD and event.seq < until]


def _link_was_lost(case: Case, ended: Event) -> bool:
    """Whether a phase ended because the link did: the error right behind it says so."""
    errors = (event for event in case.of("dut.error") if ended.seq < event.seq <= ended.seq + _RIGHT_BEHIND)
    return any(error.data["type"] == "LinkLost" for error in errors)


def user_data_kept(case: Case) -> Assessment:
    """What the probe wrote into the user data before the update is there after it."""
    reads = [event for event in case.of("probe.read") if event.data["what"] == "user_data"]
    if not reads:
        return undecided("the user data were not read back")
    if reads[-1].data["matches"]:
        return met("the user data are unchanged", reads[-1:])
    return violated("the user data have changed", reads[-1:])


def no_watchdog_reset(case: Case) -> Assessment:
    """No boot of the trial was caused by the watchdog."""
    boots = case.of("dut.reset_reason")
    bitten = [event for event in boots if event.data["value"] & _WATCHDOG]
    if bitten:
        return violated("the watchdog reset the device in the middle of the update", bitten[:1])
    return met(f"none of {len(boots)} boots came from the watchdog", boots[-1:]) if boots else undecided("no boot gave its reason")
