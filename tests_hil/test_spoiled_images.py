"""Spoiled packages on the air: the good device never runs what it must not, and a device that lets one through is caught.

Every pair is a scenario file with `spoil:`, planned and run as any other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rig.formats.spoil_kinds import KINDS, Expectation, Format
from rig.model import Judgement, Outcome, Verdict
from rig.store import Session
from tests_hil.campaigns import boards_file, plan_campaign, run_trial, scenario_file

SMALL = "8 KiB"
MCUBOOT = "rig.virtual.mcuboot:Mcuboot"
REFUSED, RAN = (Verdict.PASS, Outcome.REFUSED), (Verdict.FAIL, Outcome.WRONG_IMAGE)
PREVENTION = {"downgrade_prevention": True}


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a kind needs in order to be made, and to be refused by a device that is good."""

    build: dict[str, Any] = field(default_factory=dict)
    images: dict[str, Any] = field(default_factory=dict)
    bootloader: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=lambda: {"preset": "swap-offset"})


ENCRYPTED = Needs(images={"encrypted": True}, bootloader={"encryption": "required"})
COUNTER_PAGE = 0xFF000
WITH_COUNTER_PAGE = {
    "primary": {"start": 0xC000, "size": 0x76000},
    "secondary": {"start": 0x82000, "size": 0x76000},
    "upload_offset": 0x1000,
    "user_data": {"start": 0xF8000, "size": COUNTER_PAGE - 0xF8000},
}
COUNTED = Needs(
    build={"security_counter": 7},
    bootloader={"security_counter": True, "security_counter_page": COUNTER_PAGE},
    memory=WITH_COUNTER_PAGE,
)
NEEDS = {
    "flip-protected": Needs(build={"security_counter": 7}),
    "flip-encryption-tlv": ENCRYPTED,
    "plaintext": ENCRYPTED,
    "claims-encryption": ENCRYPTED,
    "other-encryption-key": ENCRYPTED,
    "counter-lower": COUNTED,
    "counter-missing": COUNTED,
    "dependency-missing": Needs(bootloader={"other_images": {"1": "1.0.0"}}),
}
"""By kind of MCUboot image; others need nothing beyond downgrade prevention."""


def judge_device(
    folder: Path, form: Format, kind: str, bootloader: dict[str, Any], *, expect: str = "refused", version: str = "1.1.0"
) -> tuple[Judgement, list[Any]]:
    mcuboot = form is Format.MCUBOOT
    protocol = "smp" if mcuboot else "secure_dfu"
    needs = NEEDS.get(kind, Needs()) if mcuboot else Needs()
    model = {"class": MCUBOOT, **needs.bootloader, **bootloader} if mcuboot else bootloader
    old = {"build": {"version": "1.0.0", "size": SMALL, **needs.build}}
    new = {"build": {"version": version, "size": SMALL, **needs.build}, "spoil": kind}
    scenario = scenario_file(
        folder,
        protocol=protocol,
        images={"old": old, "new": new, **needs.images},
        update={"request": "test", "confirm": True} if mcuboot else {},
        expect=expect,
    )
    boards = boards_file(folder, only="nrf52840", protocol=protocol, bootloader=model)
    if mcuboot:
        document = json.loads(boards.read_text())
        document["defaults"]["memory"] = needs.memory
        boards.write_text(json.dumps(document))
    campaign = plan_campaign(folder, scenario, boards)
    (trial,) = campaign.plan.trials
    assert trial.new.spoiled == kind
    with Session(campaign) as session:
        judgement = run_trial(session, trial)
    return judgement, list(campaign.journal(trial.id).events)


def refused_requests(events: list[Any]) -> set[str]:
    return {event.data["request"] for event in events if event.kind == "dut.error" and "request" in event.data}


MUST_NOT_RUN = [
    (form, name)
    for form, kinds in KINDS.items()
    for name, kind in kinds.items()
    if kind.expectation.must_not_run
]
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


NO_SIGNATURE_CHECK = ("unsigned", "hash-only", "wrong-key", "demo-key", "forged-key-hash", "flip-signature", "cut-in-tlvs")
LET_THROUGH = [
    *((Format.MCUBOOT, kind, "no-signature-check") for kind in NO_SIGNATURE_CHECK),
    (Format.MCUBOOT, "unsigned", "unsigned-accepted"),
    (Format.MCUBOOT, "demo-key", "demo-key-trusted"),
    (Format.MCUBOOT, "version-lower", "downgrade-accepted"),
    (Format.MCUBOOT, "plaintext", "plaintext-accepted"),
    (Format.MCUBOOT, "claims-encryption", "false-encryption-accepted"),
    (Format.MCUBOOT, "counter-lower", "security-counter-ignored"),
    (Format.MCUBOOT, "counter-missing", "security-counter-ignored"),
    (Format.MCUBOOT, "dependency-missing", "dependency-ignored"),
    (Format.SECURE_DFU, "unsigned", "unsigned-accepted"),
    (Format.SECURE_DFU, "wrong-key", "signature-not-checked"),
    (Format.SECURE_DFU, "demo-key", "signature-not-checked"),
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


@pytest.mark.parametrize("kind", ["flip-body", "flip-header", "flip-hash", "flip-protected", "body-swapped", "unknown-tlv"])
def test_without_a_signature_check_the_hash_and_the_entries_still_stand_guard(tmp_path: Path, kind: str) -> None:
    judgement, _ = judge_device(tmp_path, Format.MCUBOOT, kind, {"defects": ["no-signature-check"]})
    assert (judgement.verdict, judgement.outcome) == REFUSED, judgement.reason


@pytest.mark.parametrize("kind", MAY_RUN)
def test_what_may_run_runs_on_the_good_device(tmp_path: Path, kind: str) -> None:
    """An equal version is one of the installed image; the others are properly signed, or hold the intact new image and more."""
    version = "1.0.0" if kind == "version-equal" else "1.1.0"
    judgement, events = judge_device(tmp_path, Format.MCUBOOT, kind, PREVENTION, expect="updated", version=version)
    assert (judgement.verdict, judgement.outcome) == (Verdict.PASS, Outcome.UPDATED), judgement.reason
    states = [event.data for event in events if event.kind == "dut.state"]
    first, last = states[0], states[-1]
    assert last["confirmed"]
    assert last["running_hash"] != first["running_hash"]
    assert last["running_version"].startswith("255.255.65535" if kind == "version-wrapped" else version)


def test_without_downgrade_prevention_a_lower_version_is_installed(tmp_path: Path) -> None:
    judgement, _ = judge_device(tmp_path, Format.MCUBOOT, "version-lower", {})
    assert (judgement.verdict, judgement.outcome) == RAN, judgement.reason


def test_an_encrypted_update_is_found_in_flash_by_its_plain_twin(tmp_path: Path) -> None:
    old, new = ({"build": {"version": version, "size": SMALL}} for version in ("1.0.0", "1.1.0"))
    scenario = scenario_file(tmp_path, images={"old": old, "new": new, "again": old, "encrypted": True})
    boards = boards_file(tmp_path, only="nrf52840", bootloader={"class": MCUBOOT, "encryption": "required"})
    campaign = plan_campaign(tmp_path, scenario, boards)
    (trial,) = campaign.plan.trials
    with Session(campaign) as session:
        judgement = run_trial(session, trial)

    assert (judgement.verdict, judgement.outcome) == (Verdict.PASS, Outcome.UPDATED), judgement.reason
    reads = [event.data for event in campaign.journal(trial.id).events if event.kind == "probe.read"]
    assert reads[0]["version"] == "1.0.0", "the last update went back to the old image"
    assert campaign.image(trial.new).read_bytes() != campaign.image(trial.new.as_installed).read_bytes()
