"""Who may do what over the air."""

from __future__ import annotations

from rig.errors import ATT_GROUP, PAIRING_GROUP
from rig.model import Verdict
from rig.practices.assess.answer import as_judged, met, undecided, violated
from rig.practices.requirement import Assessment, Case

_ACCESS_CODES = (0x05, 0x08, 0x0F)
"""ATT: insufficient authentication, authorisation, encryption."""


def _locked_out(case: Case) -> bool:
    """Whether the rig, paired as the owner is, was turned away for want of security."""
    return any(
        event.data.get("group") == PAIRING_GROUP or (event.data.get("group") == ATT_GROUP and event.data.get("code") in _ACCESS_CODES)
        for event in case.of("dut.error")
    )


def owner_admitted(case: Case) -> Assessment:
    """A central that pairs as the product asks can update."""
    if case.judgement.verdict is Verdict.PASS:
        return as_judged(case, True)
    errors = [event for event in case.of("dut.error") if event.data.get("group") in (PAIRING_GROUP, ATT_GROUP)]
    if errors and _locked_out(case):
        return violated(f"the paired owner was turned away: {errors[0].data['text']}", errors[:1])
    return undecided("the update failed for another reason")


def stranger_refused(case: Case) -> Assessment:
    """A central that has not paired gets nothing done."""
    seen = case.of("channel.stranger")
    if not seen or not seen[-1].data["attempts"]:
        return undecided("no stranger's connection came about")
    admitted = [attempt["what"] for attempt in seen[-1].data["attempts"] if attempt["admitted"]]
    if admitted:
        return violated(f"a central that is not paired may {' and '.join(admitted)}", seen[-1:])
    return met(f"{len(seen[-1].data['attempts'])} attempts of an unpaired central were refused", seen[-1:])


def needs_subscription(case: Case) -> Assessment:
    """The control point refuses requests while nobody has subscribed to its answers."""
    seen = case.of("channel.unsubscribed")
    if not seen:
        return undecided("nothing was written without a subscription")
    answer = seen[-1].data["answer"]
    if answer is None:
        return violated("the control point took a request although nobody had subscribed to its answers", seen[-1:])
    return met(f"a request without subscription was refused with ATT error 0x{answer:02x}", seen[-1:])


def survives_malformed(case: Case) -> Assessment:
    """Malformed requests are answered or ignored; the device neither resets nor stops serving."""
    seen = case.of("channel.malformed")
    if not seen or not seen[-1].data["sent"]:
        return undecided("nothing malformed was sent")
    data = seen[-1].data
    if data["resets"] or not data["alive"]:
        return violated(f"the device {'reset' if data['resets'] else 'stopped serving'} after: {data['last']}", seen[-1:])
    return met(f"the device served on after {data['sent']} malformed requests", seen[-1:])


def leaves_dfu_mode(case: Case) -> Assessment:
    """A device that was brought into DFU mode and left alone there returns to its application."""
    seen = case.of("channel.idle")
    if not seen:
        return undecided("the device was not left alone in DFU mode")
    back = seen[-1].data["returned_s"]
    if back is None:
        return violated(f"the device stayed in DFU mode for {seen[-1].data['limit_s']:g} s without anybody connected", seen[-1:])
    return met(f"the device left DFU mode by itself after {back:.0f} s", seen[-1:])
