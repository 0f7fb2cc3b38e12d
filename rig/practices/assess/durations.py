"""How long things take, how long the service is away, how much flash is worn."""

from __future__ import annotations

import re
from itertools import pairwise

from rig.model import Event, Phase, Verdict
from rig.practices.assess.answer import met, undecided, violated
from rig.practices.requirement import Assessment, Case

_SUPERVISION_TIMEOUT = 0x08
_UPDATE_PHASES = tuple(
    phase.value
    for phase in (Phase.DISCOVER, Phase.CONNECT, Phase.UPLOAD, Phase.MARK, Phase.RESET, Phase.INSTALL, Phase.BOOT_NEW, Phase.CONFIRM)
)


def update_in_time(case: Case) -> Assessment:
    """An undisturbed update takes no longer than promised."""
    budget = case.product.budgets.update_s
    if budget is None or not case.judgement.phases:
        return undecided("no update was completed")
    if case.judgement.verdict is not Verdict.PASS:
        return undecided("the update did not go through")
    taken = sum(seconds for phase, seconds in case.judgement.phases.items() if phase in _UPDATE_PHASES)
    text = f"the update took {taken:.1f} s, the product promises {budget:g} s"
    ends = [event for event in case.of("phase.end") if event.data["phase"] in _UPDATE_PHASES and event.data["ok"]]
    return met(text, ends[-1:]) if taken <= budget else violated(text, ends[-1:])


def link_holds(case: Case) -> Assessment:
    """No link times out in an undisturbed update: the device answers its radio while it erases flash."""
    lost = [
        event for event in case.of("radio.lost", "dut.error")
        if event.data.get("reason") == _SUPERVISION_TIMEOUT and _in_phase(case, event, Phase.UPLOAD)
    ]  # fmt: skip
    if lost:
        return violated("the link timed out in the middle of an undisturbed transfer", lost[:1])
    return met("no link timed out during the transfer", case.of("upload.chunk")[-1:]) if case.of("upload.chunk") else undecided("nothing was sent")


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
        return undecided("no heartbeat was heard before and after the update")
    gaps = [(b.data["first_t_ns"] - a.data["last_t_ns"]) / 1e9 for a, b in pairwise(beats)]
    text = f"the service was away for {max(gaps):.1f} s, the product promises {budget:g} s"
    return met(text, beats) if max(gaps) <= budget else violated(text, beats)


def boots_fast(case: Case) -> Assessment:
    """From power to service no longer than promised."""
    budget, seen = case.product.budgets.boot_s, case.of("boot.measured")
    if budget is None or not seen or seen[-1].data["boot_s"] is None:
        return undecided("no boot was timed")
    text = f"the device served {seen[-1].data['boot_s']:.2f} s after power-on, the product promises {budget:g} s"
    return met(text, seen[-1:]) if seen[-1].data["boot_s"] <= budget else violated(text, seen[-1:])


def verifies_fast(case: Case) -> Assessment:
    """The verification of an image takes no longer than with the accelerator."""
    budget, times = case.product.budgets.verification_s, _verifications(case)
    if budget is None or not times:
        return undecided("no verification was timed")
    slowest, event = max(times, key=lambda time: time[0])
    text = f"a verification took {1000 * slowest:.0f} ms, with {case.product.crypto} it takes at most {1000 * budget:g} ms"
    return met(text, [event]) if slowest <= budget else violated(text, [event])


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
        return undecided("no undisturbed update was counted")
    per_page = seen[-1].data["erases"] / seen[-1].data["pages"]
    text = f"the update erased {per_page:.1f} pages per page of the image, the product promises {budget:g}"
    return met(text, seen[-1:]) if per_page <= budget else violated(text, seen[-1:])
