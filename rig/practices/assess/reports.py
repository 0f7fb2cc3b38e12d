"""What the device tells: its log, its codes, its status."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rig.errors import ATT_GROUP, PAIRING_GROUP
from rig.model import Event, Outcome, Verdict
from rig.practices.assess.answer import UPDATED, met, undecided, violated
from rig.practices.requirement import Assessment, Case

EXTENDED_GROUP = 11
"""Group of `dut.error` when a Secure DFU bootloader gave an extended error code (nRF5 SDK `nrf_dfu_req_handler.h`: result 0x0B)."""


def result_logged(case: Case) -> Assessment:
    """The device's own log tells how the update ended."""
    if case.judgement.verdict is not Verdict.PASS:
        return undecided("what a log should say of an update that went wrong is another question")
    before, after = _log(case, "before"), _log(case, "after")
    if before is None or after is None:
        return violated("the update log could not be read", case.of("log.read")) if case.of("log.read") else undecided("the log was not read")
    new = _added(before.data["entries"], after.data["entries"])
    succeeded = case.judgement.outcome in UPDATED
    pattern = case.product.signals.log_success if succeeded else case.product.signals.log_failure
    if any(re.search(pattern, entry) for entry in new):
        return met(f"the log tells it: {new[-1]}", [after])
    return violated(f"the log says nothing of an update that ended as {case.judgement.outcome}", [before, after])


def refusal_reported(case: Case) -> Assessment:
    """Whoever offered the image learns that it was refused: by an error code, or from the device's log."""
    if case.judgement.outcome is not Outcome.REFUSED:
        return undecided("nothing was refused")
    codes = [event for event in case.of("dut.error") if "code" in event.data and event.data["group"] not in (ATT_GROUP, PAIRING_GROUP)]
    if codes:
        return met(f"the device said: {codes[0].data['name']}", codes[:1])
    before, after = _log(case, "before"), _log(case, "after")
    new = _added(before.data["entries"], after.data["entries"]) if before and after else []
    if after is not None and any(re.search(case.product.signals.log_failure, entry) for entry in new):
        return met(f"the log tells it: {new[-1]}", [after])
    reason = "the image was refused without a word to whoever had offered it"
    return Assessment(met=False, reason=reason, because=tuple(event.seq for event in case.of("log.read")) or case.judgement.because)


def log_kept(case: Case) -> Assessment:
    """What the log held is still there after the power was off."""
    after, later = _log(case, "after"), _log(case, "after power off")
    if after is None or later is None:
        return undecided("the log was not read before and after a power cut")
    if not after.data["entries"]:
        return undecided("there was nothing in the log that could be lost")
    lost = [entry for entry in after.data["entries"] if entry not in later.data["entries"]]
    if lost:
        return violated(f"{len(lost)} log entries were lost with the power, the first: {lost[0]}", [after, later])
    return met(f"{len(after.data['entries'])} log entries outlived a power cut", [after, later])


def _log(case: Case, stage: str) -> Event | None:
    return next((event for event in reversed(case.of("log.read")) if event.data["stage"] == stage and event.data["entries"] is not None), None)


def _added(before: Sequence[str], after: Sequence[str]) -> list[str]:
    return [entry for entry in after if entry not in before]


def refusal_has_code(case: Case) -> Assessment:
    """The bootloader tells by an extended code why it refuses a valid package that is not for this device."""
    errors = [event for event in case.of("dut.error") if "code" in event.data and event.data["group"] not in (ATT_GROUP, PAIRING_GROUP)]
    if not errors:
        return undecided("nothing was refused")
    if errors[0].data["group"] == EXTENDED_GROUP:
        return met(f"refused with {errors[0].data['name']}", errors[:1])
    return violated(f"the refusal says only {errors[0].data['name']}, not why", errors[:1])


def receipts_come(case: Case) -> Assessment:
    """Receipt notifications come as often as the host asked, with the right checksum; the update client checks each of them."""
    wrong = [event for event in case.of("dut.error") if str(event.data.get("request", "")).endswith(("CRC", "packet receipt"))]
    if wrong:
        return violated(f"wrong or missing checksum: {wrong[0].data['text']}", wrong[:1])
    if case.judgement.verdict is not Verdict.PASS or not case.trial.receipts_every:
        return undecided("no transfer with receipt notifications was completed")
    return met(f"a receipt came after every {case.trial.receipts_every} packets", case.of("upload.chunk")[-1:])


def tells_progress(case: Case) -> Assessment:
    """The device says that it is being updated, before it leaves its user alone."""
    signals, seen = case.product.signals, case.of("update.status")
    patterns = [pattern for pattern in (signals.announced, signals.progress) if pattern]
    if case.judgement.verdict is not Verdict.PASS:
        return undecided("the update did not go through")
    missing = [pattern for pattern in patterns if not any(re.search(pattern, event.data["value"]) for event in seen)]
    if missing:
        return violated(f"no status notification matched {', '.join(missing)} during the update", seen[-3:])
    return met(f"{len(seen)} status notifications told about the update", seen[-3:])


def names_differ(case: Case) -> Assessment:
    """In DFU mode the device advertises under another name than its application."""
    found = case.of("radio.found")
    entered = case.of("dut.enter_dfu")
    if not entered or not found:
        return undecided("the device was never met in DFU mode")
    application = [event for event in found if event.seq < entered[0].seq]
    bootloader = [event for event in found if event.seq > entered[0].seq]
    if not application or not bootloader:
        return undecided("the device was not seen before and in DFU mode")
    names = f"{application[-1].data['name']!r} as application, {bootloader[0].data['name']!r} in DFU mode"
    proof = [application[-1], bootloader[0]]
    return violated(f"the same name: {names}", proof) if application[-1].data["name"] == bootloader[0].data["name"] else met(names, proof)
