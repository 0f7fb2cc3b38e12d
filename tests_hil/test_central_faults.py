"""A central that misbehaves: it sends parts of the image twice, or in the wrong order, or comes back as somebody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rig.config import load
from rig.drivers import RADIO_ADAPTERS
from rig.drivers.radio_bleak import ADAPTERS, BleakRadio
from rig.errors import ConfigError
from rig.model import Event, Judgement, Outcome, Protocol, Verdict
from rig.run.again import own_stand, run_beside
from rig.run.prepare import create_campaign
from rig.run.selfcheck import plant
from rig.store import Campaign, Session
from tests_hil.campaigns import ROOT, boards_file, plan_campaign, run_campaign, run_trial, scenario_file

SURVIVED = {Outcome.UPDATED, Outcome.RESUMED, Outcome.RECOVERED_ON_RETRY}
EVIDENCE = {"repeat_requests": "device_got_parts_twice", "reorder_requests": "device_got_parts_out_of_order", "new_address": "address_differs"}
PROTOCOLS = tuple(Protocol)
LEAKY = "tests_hil.leaky_server:LeakyApplication"


def fault(kind: str, *, offset_ms: float = 0, for_ms: float | None = None, **trigger: Any) -> dict[str, Any]:
    lasting = {} if for_ms is None else {"for_ms": for_ms}
    return {kind: {"trigger": trigger, "offset_ms": offset_ms, **lasting}}


def run_one(
    folder: Path, what: dict[str, Any], *, protocol: str = "smp", model: dict[str, Any] | None = None, **scenario: Any
) -> tuple[Judgement, list[Event]]:
    boards = boards_file(folder, only="nrf52840", protocol=protocol, **(model or {}))
    (judgement,) = run_campaign(folder, scenario_file(folder, faults=[what], protocol=protocol, **scenario), boards)
    return judgement, list(Campaign.open(folder / "campaign").journal("T-0001").events)


def of(events: list[Event], *kinds: str) -> list[Event]:
    return [event for event in events if event.kind in kinds]


# ------------------------------------------------------------------------------------------------------- the good device
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("trigger", [{"phase": "upload"}, {"chunk": 1}, {"chunk": 3}], ids=["start", "first", "third"])
@pytest.mark.parametrize("kind", ["repeat_requests", "reorder_requests"])
def test_a_good_device_notices_the_disorder_and_takes_the_image(
    tmp_path: Path, kind: str, trigger: dict[str, Any], protocol: Protocol
) -> None:
    judgement, events = run_one(tmp_path, fault(kind, **trigger), protocol=protocol)
    assert (judgement.verdict, judgement.fault_proved) == (Verdict.PASS, True), judgement.reason
    assert judgement.outcome in SURVIVED
    assert judgement.fault_phase == "upload"
    (proved,) = of(events, "fault.proved")
    assert proved.data["evidence"] == {EVIDENCE[kind]: True}
    assert proved.data["times"] == len(of(events, "upload.disorder")) > 0


@pytest.mark.parametrize("every", [1, 8])
@pytest.mark.parametrize("kind", ["repeat_requests", "reorder_requests"])
def test_receipts_tell_of_the_disorder_too(tmp_path: Path, kind: str, every: int) -> None:
    what = fault(kind, phase="upload")
    judgement, events = run_one(tmp_path, what, protocol="secure_dfu", update={"receipts_every": every})
    assert (judgement.verdict, judgement.fault_proved) == (Verdict.PASS, True), judgement.reason
    assert not [event for event in of(events, "dut.error") if event.data["type"] == "MalformedReply"], "the client blames the device"


@pytest.mark.parametrize("kind", ["repeat_requests", "reorder_requests"])
def test_packets_over_a_serial_port_get_into_the_same_disorder(tmp_path: Path, kind: str) -> None:
    serial = {"transport": "serial", "enter_by_pin_reset": True}
    boards = boards_file(tmp_path, only="nrf52840", protocol="secure_dfu", bootloader=serial)
    boards.write_text(boards.read_text().replace('"soc": "nrf52840"', '"dfu_port": "virtual:dk1/serial", "soc": "nrf52840"'))
    scenario = scenario_file(tmp_path, faults=[fault(kind, chunk=1)], protocol="secure_dfu")
    (judgement,) = run_campaign(tmp_path, scenario, boards)
    assert (judgement.verdict, judgement.fault_proved) == (Verdict.PASS, True), judgement.reason


def test_a_disorder_that_outlasts_every_retry_ends_with_a_good_update(tmp_path: Path) -> None:
    judgement, events = run_one(tmp_path, fault("reorder_requests", chunk=1, for_ms=9000), protocol="secure_dfu")
    assert (judgement.verdict, judgement.outcome) == (Verdict.PASS, Outcome.RECOVERED_ON_RETRY), judgement.reason
    assert [event for event in of(events, "dut.error") if event.data["type"] == "ChecksumMismatch"], "it gave up at least once"


def test_an_smp_server_answers_what_it_expects(tmp_path: Path) -> None:
    """Of the part that came too early it wants nothing: it names the offset of the one that was due, which is acknowledged next."""
    _, events = run_one(tmp_path, fault("reorder_requests", chunk=2))
    told = of(events, "upload.disorder", "upload.chunk")
    early = [index for index, event in enumerate(told) if event.kind == "upload.disorder"]
    assert early
    assert [told[index].data["offset"] for index in early] == [told[index - 1].data["offset"] for index in early]


@pytest.mark.parametrize(
    ("protocol", "phase"),
    [(Protocol.SMP, phase) for phase in ("upload", "mark", "reset", "install", "confirm")]
    + [(Protocol.SECURE_DFU, phase) for phase in ("upload", "mark", "reset")],
)
def test_a_good_device_serves_a_central_with_a_new_address(tmp_path: Path, protocol: Protocol, phase: str) -> None:
    judgement, events = run_one(tmp_path, fault("new_address", phase=phase), protocol=protocol)
    assert (judgement.verdict, judgement.fault_proved) == (Verdict.PASS, True), judgement.reason
    assert judgement.outcome in SURVIVED
    delivered = of(events, "fault.delivered")[0].seq
    before, after = ({e.data["own_address"] for e in of(events, "radio.connected") if (e.seq > delivered) is later} for later in (False, True))
    assert (len(before), len(after)) == (1, 1)
    assert before.isdisjoint(after)


# ------------------------------------------------------------------------------------------------------ no proof, no credit
@pytest.mark.parametrize("kind", ["repeat_requests", "reorder_requests"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_where_no_image_travels_there_is_nothing_to_disturb(tmp_path: Path, kind: str, protocol: Protocol) -> None:
    judgement, _ = run_one(tmp_path, fault(kind, phase="mark"), protocol=protocol)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert EVIDENCE[kind] in judgement.reason


def test_a_central_without_a_link_has_none_to_come_back_from(tmp_path: Path) -> None:
    judgement, _ = run_one(tmp_path, fault("new_address", phase="discover"))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "address_differs" in judgement.reason


def test_a_device_whose_checksum_never_changes_proves_no_disorder(tmp_path: Path) -> None:
    """It holds as many bytes as it should and says a wrong checksum, as it always does."""
    what = fault("repeat_requests", phase="upload")
    judgement, _ = run_one(tmp_path, what, protocol="secure_dfu", model={"defects": ["M63"]})
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert EVIDENCE["repeat_requests"] in judgement.reason


# -------------------------------------------------------------------------------------------------------------- strangers
def bonded(folder: Path, *, defect: str | None = None) -> tuple[Judgement, list[Event]]:
    """One trial on a board of the bonded sample product, whose central becomes another in the middle of the transfer."""
    product = ROOT / "products" / "sample-dfu"
    scenario = scenario_file(folder, protocol="secure_dfu", faults=[fault("new_address", phase="upload", offset_ms=400)])
    configuration = load(product / "boards.yaml", [scenario], product=product / "product.yaml")
    if defect is not None:
        configuration, _ = plant(configuration, short=False, only=(defect,))
    campaign = create_campaign(configuration, folder / "campaign", seed=None, trials=1, clock="virtual", argv=["test"], configs={})
    (trial,) = campaign.plan.trials
    with Session(campaign) as session:
        judgement = run_trial(session, trial)
    return judgement, list(campaign.journal(trial.id).events)


def test_a_bonded_bootloader_turns_the_stranger_away_and_the_application_pairs_with_it(tmp_path: Path) -> None:
    judgement, events = bonded(tmp_path)
    assert (judgement.verdict, judgement.outcome) == (Verdict.PASS, Outcome.RECOVERED_ON_RETRY), judgement.reason
    (refused,) = of(events, "radio.refused")
    assert refused.data["reason"] == 0x05, "pairing is not supported"
    delivered = of(events, "fault.delivered")[0]
    (waited,) = [event for event in of(events, "dut.ready") if event.seq > refused.seq][:1]
    assert 110 < (waited.t_ns - delivered.t_ns) / 1e9 < 130, "the bootloader leaves DFU mode after two minutes without progress"
    assert of(events, "radio.connected")[-1].data["own_address"] == refused.data["own_address"]


def test_a_bonded_bootloader_that_stays_in_dfu_mode_for_ever_is_found_out(tmp_path: Path) -> None:
    judgement, _ = bonded(tmp_path, defect="M24")
    assert (judgement.verdict, judgement.outcome) == (Verdict.FAIL, Outcome.STUCK_IN_DFU), judgement.reason


# -------------------------------------------------------------------------------------------------------------- known bad
def leaks(folder: Path, kind: str, application: dict[str, Any]) -> Judgement:
    images = {name: {"build": {"version": version, "size": "48 KiB"}} for name, version in (("old", "1.0.0"), ("new", "1.1.0"))}
    judgement, _ = run_one(folder, fault(kind, chunk=2), model={"application": application}, images=images)
    return judgement


@pytest.mark.parametrize("kind", ["repeat_requests", "reorder_requests"])
def test_a_server_that_loses_a_buffer_with_every_unexpected_part_is_found_out(tmp_path: Path, kind: str) -> None:
    judgement = leaks(tmp_path, kind, {"class": LEAKY})
    assert judgement.fault_proved
    assert judgement.verdict is Verdict.FAIL, judgement.reason


@pytest.mark.parametrize("kind", ["repeat_requests", "reorder_requests"])
def test_the_good_server_stands_the_same(tmp_path: Path, kind: str) -> None:
    judgement = leaks(tmp_path, kind, {})
    assert (judgement.verdict, judgement.fault_proved) == (Verdict.PASS, True), judgement.reason


@pytest.mark.parametrize("what", ["none", fault("link_drop", chunk=2), fault("stall", chunk=2)], ids=["control", "drop", "stall"])
def test_nothing_else_finds_that_server_out(tmp_path: Path, what: Any) -> None:
    judgement, _ = run_one(tmp_path, what, model={"application": {"class": LEAKY}})
    assert judgement.verdict is Verdict.PASS, judgement.reason


# --------------------------------------------------------------------------------------------------- planning and replay
def test_a_radio_that_cannot_choose_its_address_is_refused_while_planning(tmp_path: Path) -> None:
    boards = boards_file(tmp_path, only="nrf52840")
    document = json.loads(boards.read_text())
    document["defaults"]["radio"] = {"driver": "bleak", "adapter": "hci0"}
    boards.write_text(json.dumps(document))
    scenario = scenario_file(tmp_path, faults=[fault("new_address", chunk=2)])
    with pytest.raises(ConfigError) as caught:
        plan_campaign(tmp_path, scenario, boards)
    said = str(caught.value)
    assert f"{scenario}:1:" in said
    assert all(words in said for words in ("board 'dk1' cannot choose its address", "set_address", "bleak with adapter virtual")), said


def test_what_planning_knows_of_radios_is_what_they_can_do() -> None:
    assert set(RADIO_ADAPTERS) == set(ADAPTERS)
    for scheme, capabilities in RADIO_ADAPTERS.items():
        assert BleakRadio(owner="dk1", adapter=scheme).capabilities == capabilities
    assert BleakRadio(owner="dk1", adapter="hci0").capabilities == frozenset()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", EVIDENCE)
def test_a_replay_gives_the_same_journal_byte_for_byte(tmp_path: Path, kind: str, protocol: Protocol) -> None:
    run_one(tmp_path, fault(kind, chunk=2), protocol=protocol)
    with Session(Campaign.open(tmp_path / "campaign")) as session:
        trial = session.campaign.trial("T-0001")
        _, again = run_beside(session, trial, own_stand(session.campaign, trial), lambda now: session.begin_shrink(trial.id, now))
    assert (again / "journal.jsonl").read_bytes() == (tmp_path / "campaign/trials/T-0001/journal.jsonl").read_bytes()


def test_another_trial_has_another_address(tmp_path: Path) -> None:
    scenario = scenario_file(tmp_path, faults=[fault("new_address", chunk=2)], trials=2)
    run_campaign(tmp_path, scenario, boards_file(tmp_path, only="nrf52840"))
    campaign = Campaign.open(tmp_path / "campaign")
    addresses = [of(list(campaign.journal(t.id).events), "radio.connected")[-1].data["own_address"] for t in campaign.plan.trials]
    assert len(set(addresses)) == 2
    assert all(int(address[:2], 16) >= 0xC0 for address in addresses), "a random static address"
