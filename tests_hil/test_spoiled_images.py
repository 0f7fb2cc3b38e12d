"""Spoiled packages on the air: the good device never runs what it must not, and a device that lets one through is caught.

A campaign is planned with a good new image; the trial then gets the spoiled one in its place, pinned by its own SHA-256, and goes
the way of every trial.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rig.errors import ConfigError
from rig.formats import mcuboot_image
from rig.images.spoil import KINDS, Expectation, Format, spoil
from rig.model import Expectation as Expected
from rig.model import ImageFile, Judgement, Outcome, Trial, Verdict
from rig.store import Campaign, Session
from tests_hil.campaigns import boards_file, plan_campaign, run_trial, scenario_file

SMALL = "8 KiB"
MCUBOOT = "rig.virtual.mcuboot:Mcuboot"
REFUSED, RAN = (Verdict.PASS, Outcome.REFUSED), (Verdict.FAIL, Outcome.WRONG_IMAGE)
PREVENTION = {"downgrade_prevention": True}


def plan(folder: Path, form: Format, bootloader: dict[str, Any], **changes: Any) -> Campaign:
    protocol = "smp" if form is Format.MCUBOOT else "secure_dfu"
    model = {"class": MCUBOOT, **bootloader} if form is Format.MCUBOOT else bootloader
    boards = boards_file(folder, only="nrf52840", protocol=protocol, bootloader=model)
    images = {"old": {"build": {"version": "1.0.0", "size": SMALL}}, "new": {"build": {"version": "1.1.0", "size": SMALL}}}
    update = {"request": "test", "confirm": True} if form is Format.MCUBOOT else {}
    changes = {"protocol": protocol, "images": images, "update": update, "expect": "refused"} | changes
    return plan_campaign(folder, scenario_file(folder, **changes), boards)


def spoiled_trial(campaign: Campaign, form: Format, kind: str, *, source: str = "new") -> Trial:
    """The only trial, with the spoiled `source` as its new image; its file lies among the campaign's images."""
    (trial,) = campaign.plan.trials
    good: ImageFile = getattr(trial, source)
    data = spoil(campaign.image(good), kind)
    image = replace(good, path=f"{kind}{Path(good.path).suffix}", sha256=hashlib.sha256(data).hexdigest())
    if form is Format.MCUBOOT:
        image = replace(image, size=len(data), image_hash=hash_as_reported(data, good), version=version_of(data, good))
    campaign.image(image).write_bytes(data)
    return replace(trial, new=image)


def hash_as_reported(data: bytes, good: ImageFile) -> str:
    """What a device finds in the hash entry: where the file has one its own, else that of the good image."""
    end = data[32:].find(b"\x10\x00\x20\x00")
    return data[36 + end : 68 + end].hex() if end >= 0 else good.image_hash


def version_of(data: bytes, good: ImageFile) -> str:
    try:
        return mcuboot_image.parse(data).version
    except ConfigError:
        return good.version


def judge_device(
    folder: Path, form: Format, kind: str, bootloader: dict[str, Any], *, source: str = "new", expect: Expected = Expected.REFUSED
) -> tuple[Judgement, list[Any]]:
    campaign = plan(folder, form, bootloader)
    trial = replace(spoiled_trial(campaign, form, kind, source=source), expect=expect)
    with Session(campaign) as session:
        judgement = run_trial(session, trial)
    return judgement, list(campaign.journal(trial.id).events)


def refused_requests(events: list[Any]) -> set[str]:
    return {event.data["request"] for event in events if event.kind == "dut.error" and "request" in event.data}


MUST_NOT_RUN = [(form, name) for form, kinds in KINDS.items() for name, kind in kinds.items() if kind.expectation.must_not_run]
MAY_RUN = [name for name, kind in KINDS[Format.MCUBOOT].items() if kind.expectation is Expectation.MAY_RUN]
REFUSED_REQUESTS = {
    (Format.MCUBOOT, Expectation.REFUSE_TRANSFER): {"image upload"},
    (Format.MCUBOOT, Expectation.REFUSE_REQUEST): {"image test"},
    (Format.MCUBOOT, Expectation.REFUSE_BOOT): set(),
    (Format.SECURE_DFU, Expectation.REFUSE_TRANSFER): {"init execute"},
    (Format.SECURE_DFU, Expectation.REFUSE_REQUEST): {"data execute"},
}
"""Which request a good device answers with an error; at the next boot nobody is there to be told."""


@pytest.mark.parametrize(("form", "kind"), MUST_NOT_RUN, ids=lambda value: str(value).replace(" ", "-"))
def test_the_good_device_never_runs_it_and_refuses_it_where_the_table_says(tmp_path: Path, form: Format, kind: str) -> None:
    judgement, events = judge_device(tmp_path, form, kind, PREVENTION)
    assert (judgement.verdict, judgement.outcome) == REFUSED, judgement.reason
    (in_flash,) = [event.data["version"] for event in events if event.kind == "probe.read" and event.data["what"] == "image"]
    assert in_flash == "1.0.0"
    expectation = KINDS[form][kind].expectation
    if expectation is not Expectation.NEVER_RUN:
        assert refused_requests(events) == REFUSED_REQUESTS[form, expectation]
    if form is Format.MCUBOOT and expectation is Expectation.REFUSE_BOOT:
        installs = [event.data["ok"] for event in events if event.kind == "phase.end" and event.data["phase"] == "install"]
        assert installs == [True], "it was never put to the bootloader"


NO_SIGNATURE_CHECK = ("unsigned", "hash-only", "wrong-key", "forged-key-hash", "flip-signature", "cut-in-tlvs")
LET_THROUGH = [
    *((Format.MCUBOOT, kind, "no-signature-check") for kind in NO_SIGNATURE_CHECK),
    (Format.MCUBOOT, "version-lower", "downgrade-accepted"),
    (Format.SECURE_DFU, "unsigned", "unsigned-accepted"),
    (Format.SECURE_DFU, "wrong-key", "signature-not-checked"),
    (Format.SECURE_DFU, "flip-signature", "signature-not-checked"),
    (Format.SECURE_DFU, "flip-init", "signature-not-checked"),
    (Format.SECURE_DFU, "version-lower", "lower-version-accepted"),
    (Format.SECURE_DFU, "debug-flag", "lower-version-accepted"),
    (Format.SECURE_DFU, "hardware-version", "wrong-hardware-version-accepted"),
]


@pytest.mark.parametrize(("form", "kind", "defect"), LET_THROUGH, ids=lambda value: str(value).replace(" ", "-"))
def test_a_device_that_lets_it_through_fails(tmp_path: Path, form: Format, kind: str, defect: str) -> None:
    judgement, _ = judge_device(tmp_path, form, kind, {**PREVENTION, "defects": [defect]})
    assert (judgement.verdict, judgement.outcome) == RAN, judgement.reason


@pytest.mark.parametrize("kind", ["flip-body", "flip-header", "flip-hash", "unknown-tlv"])
def test_without_a_signature_check_the_hash_and_the_entries_still_stand_guard(tmp_path: Path, kind: str) -> None:
    judgement, _ = judge_device(tmp_path, Format.MCUBOOT, kind, {"defects": ["no-signature-check"]})
    assert (judgement.verdict, judgement.outcome) == REFUSED, judgement.reason


@pytest.mark.parametrize("kind", MAY_RUN)
def test_what_may_run_runs_on_the_good_device(tmp_path: Path, kind: str) -> None:
    """An equal version is one of the installed image; the others hold the intact new image, and more, so that their hash is its."""
    source = "old" if kind == "version-equal" else "new"
    _, events = judge_device(tmp_path, Format.MCUBOOT, kind, PREVENTION, source=source, expect=Expected.UPDATED)
    states = [event.data for event in events if event.kind == "dut.state"]
    first, last = states[0], states[-1]
    assert last["confirmed"]
    assert last["running_hash"] != first["running_hash"]
    assert last["running_version"] == ("1.0.0" if kind == "version-equal" else "1.1.0")


def test_without_downgrade_prevention_a_lower_version_is_installed(tmp_path: Path) -> None:
    judgement, _ = judge_device(tmp_path, Format.MCUBOOT, "version-lower", {})
    assert (judgement.verdict, judgement.outcome) == RAN, judgement.reason
