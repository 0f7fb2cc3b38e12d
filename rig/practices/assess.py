"""From a finished trial to whether it shows a requirement met.  Pure functions over the journal, in the words of docs/practices.md.

None means that this trial does not tell: what it was to show did not happen, or something else went wrong before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from rig.errors import ATT_GROUP, PAIRING_GROUP
from rig.model import Event, Outcome, Phase, Verdict
from rig.practices.requirement import Assessment, Case

EXTENDED_GROUP = 11
"""Group of `dut.error` when a Secure DFU bootloader gave an extended error code (nRF5 SDK `nrf_dfu_req_handler.h`: result 0x0B)."""
_ACCESS_CODES = (0x05, 0x08, 0x0F)
"""ATT: insufficient authentication, authorisation, encryption."""
_SUPERVISION_TIMEOUT = 0x08
_WATCHDOG = 1 << 1
"""RESETREAS.DOG."""
_UPDATED = frozenset({Outcome.UPDATED, Outcome.RESUMED, Outcome.RECOVERED_ON_RETRY})
_UPDATE_PHASES = tuple(
    phase.value
    for phase in (Phase.DISCOVER, Phase.CONNECT, Phase.UPLOAD, Phase.MARK, Phase.RESET, Phase.INSTALL, Phase.BOOT_NEW, Phase.CONFIRM)
)


def _met(reason: str, events: Iterable[Event] = ()) -> Assessment:
    return Assessment(met=True, reason=reason, because=tuple(event.seq for event in events))


def _failed(reason: str, events: Iterable[Event] = ()) -> Assessment:
    return Assessment(met=False, reason=reason, because=tuple(event.seq for event in events))


def _open(reason: str) -> Assessment:
    return Assessment(met=None, reason=reason)


def _from_judgement(case: Case, met: bool | None) -> Assessment:
    return Assessment(met=met, reason=case.judgement.reason, because=case.judgement.because)


# ------------------------------------------------------------------------------------------------ how the update ended
def genuine_image_runs(case: Case) -> Assessment:
    """A genuine image is accepted and runs; one that never arrived whole, or that ran and was not kept, says nothing against the check."""
    if case.judgement.outcome in _UPDATED:
        return _from_judgement(case, True)
    if case.judgement.verdict is not Verdict.FAIL or not _was_put_to_the_device(case) or _new_image_ran(case):
        return _open("no update got as far as the check of the image, or failed only after it")
    return _from_judgement(case, False)


def genuine_image_kept(case: Case) -> Assessment:
    """A new image that runs and does its work is kept."""
    if case.judgement.outcome in _UPDATED:
        return _from_judgement(case, True)
    if case.judgement.verdict is Verdict.FAIL and _new_image_ran(case):
        return _from_judgement(case, False)
    return _open("the new image never ran")


def _new_image_ran(case: Case) -> bool:
    """Whether the new image ran, be it for one boot."""
    version = case.trial.new.version
    return any(event.data.get("running_version") == version for event in case.of("dut.state")) or any(
        event.data["version"] == version for event in case.of("dut.started")
    )


def _was_put_to_the_device(case: Case) -> bool:
    """Whether the device had what it needs to judge an image: a request to install it, or an init packet to execute."""
    marked = any(event.data["phase"] == Phase.MARK for event in case.of("phase.start"))
    return marked or any(event.data.get("request") in ("init execute", "data execute") for event in case.of("dut.error"))


def image_refused(case: Case) -> Assessment:
    """An image that must be refused never ran."""
    if case.judgement.outcome is Outcome.WRONG_IMAGE:
        return _from_judgement(case, False)
    if case.judgement.outcome is Outcome.REFUSED:
        return _from_judgement(case, True)
    return _open(f"the attempt ended otherwise: {case.judgement.reason}")


def survives_refusal(case: Case) -> Assessment:
    """After an image that it had to refuse, the device serves, and takes a good one."""
    verdict, outcome = case.judgement.verdict, case.judgement.outcome
    if verdict is Verdict.FAIL and outcome is not Outcome.WRONG_IMAGE and case.judgement.checks.get("user_data") is not False:
        return _from_judgement(case, False)
    return _from_judgement(case, True) if outcome is Outcome.REFUSED else _open("the image was not refused")


def update_survives(case: Case) -> Assessment:
    """Old or new, whole, and updatable: what a good device is after whatever happened during the update."""
    if case.judgement.checks.get("user_data") is False:
        return _open("the user data are gone, which is another requirement")
    return _from_judgement(case, {Verdict.PASS: True, Verdict.FAIL: False}.get(case.judgement.verdict))


def resumed_without_gap(case: Case) -> Assessment:
    """The first transfer that was completed after the interruption is the one that is installed."""
    delivered = case.of("fault.delivered")
    if not delivered or case.judgement.verdict not in (Verdict.PASS, Verdict.FAIL):
        return _open("no transfer was interrupted")
    uploads = [event for event in case.of("phase.end") if event.data["phase"] == Phase.UPLOAD and event.seq > delivered[-1].seq]
    again = next((event.seq for event in case.of("again.start")), len(case.events))
    completed = [event for event in uploads if event.data["ok"] and event.seq < again]
    if not completed:
        return _open("no transfer was completed after the interruption")
    if len(completed) > 1 or case.judgement.outcome not in _UPDATED:
        return _failed("the device had acknowledged the whole image, and could not install it", completed)
    return _met("the transfer that followed the interruption was installed", completed)


def user_data_kept(case: Case) -> Assessment:
    """What the probe wrote into the user data before the update is there after it."""
    reads = [event for event in case.of("probe.read") if event.data["what"] == "user_data"]
    if not reads:
        return _open("the user data were not read back")
    if reads[-1].data["matches"]:
        return _met("the user data are unchanged", reads[-1:])
    return _failed("the user data have changed", reads[-1:])


def no_watchdog_reset(case: Case) -> Assessment:
    """No boot of the trial was caused by the watchdog."""
    lines = [(event, match) for event in case.of("console.line") if (match := _RESET_REASON.search(str(event.data["text"])))]
    bitten = [event for event, match in lines if int(match[1], 16) & _WATCHDOG]
    if bitten:
        return _failed("the watchdog reset the device in the middle of the update", bitten[:1])
    return _met(f"none of {len(lines)} boots came from the watchdog", [lines[-1][0]]) if lines else _open("no boot gave its reason")


_RESET_REASON = re.compile(r"reset reason: 0x([0-9a-fA-F]+)")


# -------------------------------------------------------------------------------------------------------------- channel
def _locked_out(case: Case) -> bool:
    """Whether the rig, paired as the owner is, was turned away for want of security."""
    return any(
        event.data.get("group") == PAIRING_GROUP or (event.data.get("group") == ATT_GROUP and event.data.get("code") in _ACCESS_CODES)
        for event in case.of("dut.error")
    )


def owner_admitted(case: Case) -> Assessment:
    """A central that pairs as the product asks can update."""
    if case.judgement.verdict is Verdict.PASS:
        return _from_judgement(case, True)
    errors = [event for event in case.of("dut.error") if event.data.get("group") in (PAIRING_GROUP, ATT_GROUP)]
    if errors and _locked_out(case):
        return _failed(f"the paired owner was turned away: {errors[0].data['text']}", errors[:1])
    return _open("the update failed for another reason")


def stranger_refused(case: Case) -> Assessment:
    """A central that has not paired gets nothing done."""
    seen = case.of("channel.stranger")
    if not seen or not seen[-1].data["attempts"]:
        return _open("no stranger's connection came about")
    admitted = [attempt["what"] for attempt in seen[-1].data["attempts"] if attempt["admitted"]]
    if admitted:
        return _failed(f"a central that is not paired may {' and '.join(admitted)}", seen[-1:])
    return _met(f"{len(seen[-1].data['attempts'])} attempts of an unpaired central were refused", seen[-1:])


def needs_subscription(case: Case) -> Assessment:
    """The control point refuses requests while nobody has subscribed to its answers."""
    seen = case.of("channel.unsubscribed")
    if not seen:
        return _open("nothing was written without a subscription")
    answer = seen[-1].data["answer"]
    if answer is None:
        return _failed("the control point took a request although nobody had subscribed to its answers", seen[-1:])
    return _met(f"a request without subscription was refused with ATT error 0x{answer:02x}", seen[-1:])


def survives_malformed(case: Case) -> Assessment:
    """Malformed requests are answered or ignored; the device neither resets nor stops serving."""
    seen = case.of("channel.malformed")
    if not seen:
        return _open("nothing malformed was sent")
    data = seen[-1].data
    if data["resets"] or not data["alive"]:
        return _failed(f"the device {'reset' if data['resets'] else 'stopped serving'} after: {data['last']}", seen[-1:])
    return _met(f"the device served on after {data['sent']} malformed requests", seen[-1:])


def leaves_dfu_mode(case: Case) -> Assessment:
    """A device that was brought into DFU mode and left alone there returns to its application."""
    seen = case.of("channel.idle")
    if not seen:
        return _open("the device was not left alone in DFU mode")
    back = seen[-1].data["returned_s"]
    if back is None:
        return _failed(f"the device stayed in DFU mode for {seen[-1].data['limit_s']:g} s without anybody connected", seen[-1:])
    return _met(f"the device left DFU mode by itself after {back:.0f} s", seen[-1:])


# ----------------------------------------------------------------------------------------------------------- encryption
def nothing_plain_in_flash(case: Case) -> Assessment:
    """Neither the old nor the new image, nor a key, lies readable outside the place that runs."""
    seen = case.of("encryption.flash")
    if not seen:
        return _open("the flash was not searched")
    plain, keys = sum(event.data["plain"] for event in seen), sum(event.data["keys"] for event in seen)
    if plain or keys:
        what = f"{plain} pieces of firmware in clear" if plain else "the key of the image"
        return _failed(f"{what} lie outside the slot that runs", seen)
    return _met(f"none of {seen[-1].data['compared']} pieces of the firmware lies outside the slot that runs", seen)


def nothing_plain_on_air(case: Case) -> Assessment:
    """No piece of the firmware was sent in clear."""
    seen = case.of("encryption.air")
    if not seen or not seen[-1].data["octets"]:
        return _open("nothing that was sent was captured")
    data = seen[-1].data
    if data["plain"]:
        return _failed(f"{data['plain']} of {data['compared']} pieces of the firmware went over the air in clear", seen[-1:])
    return _met(f"none of {data['compared']} pieces of the firmware is among {data['octets']} bytes sent", seen[-1:])


def no_key_in_logs(case: Case) -> Assessment:
    """The image key appears nowhere in the console's output."""
    seen = case.of("encryption.console")
    if not seen:
        return _open("the console was not searched for keys")
    if seen[-1].data["hits"]:
        return _failed("the console printed the key of the image", seen[-1:])
    return _met(f"no key among {seen[-1].data['octets']} bytes of console output", seen[-1:])


# --------------------------------------------------------------------------------------- tampering with what is in flash
def tampered_image_rests(case: Case) -> Assessment:
    """An image of which one bit was changed in flash is not started."""
    seen = case.of("image.tampered")
    if not seen:
        return _open("no bit of the running image was changed")
    if seen[-1].data["served"] or seen[-1].data["started"]:
        return _failed("the application was started although a bit of it had been changed in flash", seen[-1:])
    return _met("the application with a changed bit was not started", seen[-1:])


def stored_packet_checked(case: Case) -> Assessment:
    """An init packet that lies in the settings page is trusted no more than one that was just sent."""
    seen = case.of("image.planted")
    if not seen:
        return _open("no init packet was planted")
    if seen[-1].data["accepted"]:
        return _failed("firmware was accepted under a forged init packet that had been planted in the settings page", seen[-1:])
    return _met(f"the planted init packet was refused: {seen[-1].data['answer']}", seen[-1:])


def says_when_empty(case: Case) -> Assessment:
    """A bootloader without an image offers an update or says so; it does not just hang."""
    seen = case.of("image.absent")
    if not seen:
        return _open("the image was not erased")
    if not seen[-1].data["signs"]:
        return _failed("without an application the device is silent: no DFU mode, no word on the console", seen[-1:])
    return _met(f"without an application: {', '.join(seen[-1].data['signs'])}", seen[-1:])


# --------------------------------------------------------------------------------------------------- logging and status
def result_logged(case: Case) -> Assessment:
    """The device's own log tells how the update ended."""
    if case.judgement.verdict is not Verdict.PASS:
        return _open("what a log should say of an update that went wrong is another question")
    before, after = _log(case, "before"), _log(case, "after")
    if before is None or after is None:
        return _failed("the update log could not be read", case.of("log.read")) if case.of("log.read") else _open("the log was not read")
    new = _added(before.data["entries"], after.data["entries"])
    succeeded = case.judgement.outcome in _UPDATED
    pattern = case.product.signals.log_success if succeeded else case.product.signals.log_failure
    if any(re.search(pattern, entry) for entry in new):
        return _met(f"the log tells it: {new[-1]}", [after])
    return _failed(f"the log says nothing of an update that ended as {case.judgement.outcome}", [before, after])


def log_kept(case: Case) -> Assessment:
    """What the log held is still there after the power was off."""
    after, later = _log(case, "after"), _log(case, "after power off")
    if after is None or later is None:
        return _open("the log was not read before and after a power cut")
    if not after.data["entries"]:
        return _open("there was nothing in the log that could be lost")
    lost = [entry for entry in after.data["entries"] if entry not in later.data["entries"]]
    if lost:
        return _failed(f"{len(lost)} log entries were lost with the power, the first: {lost[0]}", [after, later])
    return _met(f"{len(after.data['entries'])} log entries outlived a power cut", [after, later])


def _log(case: Case, stage: str) -> Event | None:
    return next((event for event in reversed(case.of("log.read")) if event.data["stage"] == stage and event.data["entries"] is not None), None)


def _added(before: Sequence[str], after: Sequence[str]) -> list[str]:
    return [entry for entry in after if entry not in before]


def refusal_has_code(case: Case) -> Assessment:
    """The bootloader tells by an extended code why it refuses a valid package that is not for this device."""
    errors = [event for event in case.of("dut.error") if "code" in event.data and event.data["group"] not in (ATT_GROUP, PAIRING_GROUP)]
    if not errors:
        return _open("nothing was refused")
    if errors[0].data["group"] == EXTENDED_GROUP:
        return _met(f"refused with {errors[0].data['name']}", errors[:1])
    return _failed(f"the refusal says only {errors[0].data['name']}, not why", errors[:1])


def receipts_come(case: Case) -> Assessment:
    """Receipt notifications come as often as the host asked, with the right checksum; the update client checks each of them."""
    wrong = [event for event in case.of("dut.error") if str(event.data.get("request", "")).endswith(("CRC", "packet receipt"))]
    if wrong:
        return _failed(f"wrong or missing checksum: {wrong[0].data['text']}", wrong[:1])
    if case.judgement.verdict is not Verdict.PASS or not case.trial.receipts_every:
        return _open("no transfer with receipt notifications was completed")
    return _met(f"a receipt came after every {case.trial.receipts_every} packets", case.of("upload.chunk")[-1:])


# ------------------------------------------------------------------------------------------------------------- durations
def update_in_time(case: Case) -> Assessment:
    """An undisturbed update takes no longer than promised."""
    budget = case.product.budgets.update_s
    if budget is None or not case.judgement.phases:
        return _open("no update was completed")
    if case.judgement.verdict is not Verdict.PASS:
        return _open("the update did not go through")
    taken = sum(seconds for phase, seconds in case.judgement.phases.items() if phase in _UPDATE_PHASES)
    text = f"the update took {taken:.1f} s, the product promises {budget:g} s"
    ends = [event for event in case.of("phase.end") if event.data["phase"] in _UPDATE_PHASES and event.data["ok"]]
    return _met(text, ends[-1:]) if taken <= budget else _failed(text, ends[-1:])


def link_holds(case: Case) -> Assessment:
    """No link times out in an undisturbed update: the device answers its radio while it erases flash."""
    lost = [
        event for event in case.of("radio.lost", "dut.error")
        if event.data.get("reason") == _SUPERVISION_TIMEOUT and _in_phase(case, event, Phase.UPLOAD)
    ]  # fmt: skip
    if lost:
        return _failed("the link timed out in the middle of an undisturbed transfer", lost[:1])
    return _met("no link timed out during the transfer", case.of("upload.chunk")[-1:]) if case.of("upload.chunk") else _open("nothing was sent")


def _in_phase(case: Case, event: Event, phase: Phase) -> bool:
    """Whether `event` belongs to `phase`: inside it, or what ended it."""
    before = [e for e in case.of("phase.start", "phase.end") if e.seq < event.seq and e.data["phase"] == phase]
    return bool(before) and (before[-1].kind == "phase.start" or (not before[-1].data["ok"] and event.seq - before[-1].seq <= _NEAR))


_NEAR = 3
"""Events between the end of a phase that failed and the record of what made it fail."""


def short_downtime(case: Case) -> Assessment:
    """The service is away for no longer than promised, from the last heartbeat of the old image to the first of the new."""
    budget, beats = case.product.budgets.downtime_s, [event for event in case.of("service.beats") if event.data["count"]]
    if budget is None or len(beats) < 2 or case.judgement.verdict is not Verdict.PASS:
        return _open("no heartbeat was heard before and after the update")
    gaps = [(b.data["first_t_ns"] - a.data["last_t_ns"]) / 1e9 for a, b in pairwise(beats)]
    text = f"the service was away for {max(gaps):.1f} s, the product promises {budget:g} s"
    return _met(text, beats) if max(gaps) <= budget else _failed(text, beats)


def boots_fast(case: Case) -> Assessment:
    """From power to service no longer than promised."""
    budget, seen = case.product.budgets.boot_s, case.of("boot.measured")
    if budget is None or not seen or seen[-1].data["boot_s"] is None:
        return _open("no boot was timed")
    text = f"the device served {seen[-1].data['boot_s']:.2f} s after power-on, the product promises {budget:g} s"
    return _met(text, seen[-1:]) if seen[-1].data["boot_s"] <= budget else _failed(text, seen[-1:])


def verifies_fast(case: Case) -> Assessment:
    """The verification of an image takes no longer than with the accelerator."""
    budget, times = case.product.budgets.verification_s, _verifications(case)
    if budget is None or not times:
        return _open("no verification was timed")
    slowest, event = max(times, key=lambda time: time[0])
    text = f"a verification took {1000 * slowest:.0f} ms, with {case.product.crypto} it takes at most {1000 * budget:g} ms"
    return _met(text, [event]) if slowest <= budget else _failed(text, [event])


def _verifications(case: Case) -> list[tuple[float, Event]]:
    """Seconds of each verification that was seen: between two neighbouring console lines, or as the update client timed the request."""
    times = [(float(event.data["seconds"]), event) for event in case.of("dut.verified")]
    start, end = case.product.signals.verification_start, case.product.signals.verification_end
    if start is None or end is None:
        return times
    lines = case.of("console.line")
    for before, line in pairwise(lines):  # neighbours: with anything between them the bootloader has done more than verify
        if re.search(start, str(before.data["text"])) and re.search(end, str(line.data["text"])):
            times.append(((line.t_ns - before.t_ns) / 1e9, line))
    return times


def spares_flash(case: Case) -> Assessment:
    """An undisturbed update erases no more pages than promised."""
    budget, seen = case.product.budgets.erases_per_page, case.of("flash.erases")
    if budget is None or not seen or case.judgement.verdict is not Verdict.PASS:
        return _open("no undisturbed update was counted")
    per_page = seen[-1].data["erases"] / seen[-1].data["pages"]
    text = f"the update erased {per_page:.1f} pages per page of the image, the product promises {budget:g}"
    return _met(text, seen[-1:]) if per_page <= budget else _failed(text, seen[-1:])


# ------------------------------------------------------------------------------------------------------------- awareness
def tells_progress(case: Case) -> Assessment:
    """The device says that it is being updated, before it leaves its user alone."""
    signals, seen = case.product.signals, case.of("update.status")
    patterns = [pattern for pattern in (signals.announced, signals.progress) if pattern]
    if case.judgement.verdict is not Verdict.PASS:
        return _open("the update did not go through")
    missing = [pattern for pattern in patterns if not any(re.search(pattern, event.data["value"]) for event in seen)]
    if missing:
        return _failed(f"no status notification matched {', '.join(missing)} during the update", seen[-3:])
    return _met(f"{len(seen)} status notifications told about the update", seen[-3:])


def names_differ(case: Case) -> Assessment:
    """In DFU mode the device advertises under another name than its application."""
    found = case.of("radio.found")
    entered = case.of("dut.enter_dfu")
    if not entered or not found:
        return _open("the device was never met in DFU mode")
    application = [event for event in found if event.seq < entered[0].seq]
    bootloader = [event for event in found if event.seq > entered[0].seq]
    if not application or not bootloader:
        return _open("the device was not seen before and in DFU mode")
    names = f"{application[-1].data['name']!r} as application, {bootloader[0].data['name']!r} in DFU mode"
    proof = [application[-1], bootloader[0]]
    return _failed(f"the same name: {names}", proof) if application[-1].data["name"] == bootloader[0].data["name"] else _met(names, proof)


# ------------------------------------------------------------------------------------------------------------------ keys
def readback_locked(case: Case) -> Assessment:
    """A probe cannot read the unit's memory."""
    seen = case.of("keys.protection")
    if not seen:
        return _open("the protection was not read")
    if seen[-1].data["readback"]:
        return _met("access port protection is on", seen[-1:])
    return _failed("access port protection is off: firmware and keys can be read through the debug port", seen[-1:])


def pages_locked(case: Case) -> Assessment:
    """While the application runs, the pages that the product names are write-protected."""
    seen = case.of("keys.protection")
    if not seen:
        return _open("the protection was not read")
    locked = [(start, start + size) for start, size in seen[-1].data["locked"]]
    bare = [
        region.name for region in case.product.locked
        if not any(start <= region.start and region.start + region.size <= end for start, end in locked)
    ]  # fmt: skip
    if bare:
        return _failed(f"not write-protected while the application runs: {', '.join(bare)}", seen[-1:])
    return _met(f"{len(case.product.locked)} regions are write-protected", seen[-1:])
