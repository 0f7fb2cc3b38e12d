"""What the sample applications tell about their updates, and what they let whom do, seen over the air."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rig.errors import Refused
from rig.formats import update_service as wire
from rig.formats.update_service import Answer, Condition, Status, UpdateState
from rig.ota.secure_dfu import BUTTONLESS_BONDED, BUTTONLESS_OPEN, enter_bootloader
from rig.ota.smp import SmpSession
from tests_hil.sample_boards import Desk, at_desk

SERVED = {"update_service": True}
PAIRED: dict[str, Any] = {"security": "authenticated", "passkey": 123456}
KNOWS = {"pair": True, "passkey": 123456}
MGMT_BUSY, MGMT_ACCESS_DENIED, OPERATION_FAILED = 10, 11, 4


async def update(desk: Desk, version: str, *, permanent: bool = True, **build: Any) -> None:
    """A whole update over SMP, up to the board's next start."""
    image = desk.image(version, **build)
    link = await desk.connect()
    async with SmpSession(link) as session:
        await desk.upload(session, image)
        await session.request(bytes.fromhex(image.image_hash), permanent=permanent)
        await session.reset()
    await asyncio.sleep(10.0)


# ---------------------------------------------------------------------------------------------------------------- status
def test_the_status_follows_an_update(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        seen: list[Status] = []
        link = await desk.connect()
        await link.subscribe(wire.STATUS, lambda value: seen.append(Status.decode(value)))
        assert Status.decode(await link.read(wire.STATUS)) == Status(state=UpdateState.IDLE, percent=0)
        image = desk.image("1.1.0")
        async with SmpSession(link) as session:
            await desk.upload(session, image)
            await session.request(bytes.fromhex(image.image_hash), permanent=True)
        await asyncio.sleep(0.1)
        assert seen[0] == Status(state=UpdateState.ANNOUNCED, percent=0)
        assert seen[-1] == Status(state=UpdateState.READY, percent=100)
        receiving = [status.percent for status in seen[1:-1]]
        assert {status.state for status in seen[1:-1]} == {UpdateState.RECEIVING}
        assert receiving == sorted(receiving)
        assert receiving[-1] == 100

    at_desk(tmp_path, story, application=SERVED)


def test_the_heart_beats_four_times_a_second(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        beats: list[int] = []
        link = await desk.connect()
        await link.subscribe(wire.HEARTBEAT, lambda value: beats.append(wire.decode_heartbeat(value)))
        await asyncio.sleep(10.0)
        assert len(beats) == pytest.approx(40, abs=1)
        assert beats == list(range(beats[0], beats[0] + len(beats)))

    at_desk(tmp_path, story, application=SERVED)


def test_without_the_option_nothing_is_served_and_nothing_is_written(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await update(desk, "1.1.0")
        with pytest.raises(Refused) as caught:
            await (await desk.connect()).read(wire.LOG)
        assert caught.value.code == 0x0A
        user_data = desk.board.memory.user_data
        assert await desk.probe.read(user_data.start, user_data.size) == b"\xff" * user_data.size

    at_desk(tmp_path, story)


# ------------------------------------------------------------------------------------------------------------------- log
def test_the_log_tells_what_became_of_updates_and_survives_power_cuts(tmp_path: Path) -> None:
    async def story(desk: Desk) -> list[str]:
        assert await desk.log() == []
        await update(desk, "1.1.0")
        await desk.power_cycle()
        await update(desk, "1.2.0", permanent=False)
        await desk.power_cycle(run_s=10.0)
        await update(desk, "1.3.0", permanent=False, crash=True)
        await asyncio.sleep(10.0)
        return await desk.log()

    assert at_desk(tmp_path, story, application=SERVED) == [
        "1 requested 1.1.0",
        "2 installed 1.1.0",
        "3 requested 1.2.0",
        "4 installed 1.2.0",
        "5 reverted 1.2.0",
        "6 requested 1.3.0",
        "7 failed 1.3.0",
    ]


def test_the_request_is_in_the_log_before_the_bootloader_hears_of_it(tmp_path: Path) -> None:
    async def story(desk: Desk) -> list[str]:
        image = desk.image("1.1.0")
        async with SmpSession(await desk.connect()) as session:
            await desk.upload(session, image)
            count = desk.virtual.soc.flash.count
            desk.virtual.soc.call_at_operation(count + 12, desk.virtual.soc.power_fail)  # the log's last word was number 11
            with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the loss of the link looks like
                await session.request(bytes.fromhex(image.image_hash), permanent=True)
        await desk.power_cycle()
        return await desk.log()

    assert at_desk(tmp_path, story, application=SERVED) == ["1 requested 1.1.0", "2 failed 1.1.0"]


def test_the_products_own_data_are_left_alone(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        user_data, marker = desk.board.memory.user_data, bytes(range(256))
        await desk.probe.program(user_data.start, marker)
        await desk.probe.detach()
        await asyncio.sleep(1.0)
        await update(desk, "1.1.0")
        assert len(await desk.log()) == 2
        assert await desk.probe.read(user_data.start, 256) == marker

    at_desk(tmp_path, story, application=SERVED)


# ------------------------------------------------------------------------------------------------ conditions and consent
async def request_update(desk: Desk) -> tuple[int, Status]:
    """The code with which an update is refused (0: accepted), and the status afterwards."""
    link = await desk.connect()
    image = desk.image("1.1.0")
    code = 0
    async with SmpSession(link) as session:
        await desk.upload(session, image)
        try:
            await session.request(bytes.fromhex(image.image_hash), permanent=False)
        except Refused as refusal:
            code = refusal.code
    status = Status.decode(await link.read(wire.STATUS))
    await link.disconnect()
    return code, status


@pytest.mark.parametrize(
    ("flags", "code", "state", "condition"),
    [
        ({}, 0, UpdateState.READY, Condition(0)),
        ({"battery": 20}, 0, UpdateState.READY, Condition(0)),
        ({"busy": True}, MGMT_BUSY, UpdateState.REFUSED, Condition.BUSY),
        ({"battery": 19}, MGMT_BUSY, UpdateState.REFUSED, Condition.BATTERY_LOW),
        ({"consent": True}, MGMT_ACCESS_DENIED, UpdateState.WAITING_FOR_CONSENT, Condition(0)),
    ],
)
def test_an_update_waits_for_its_time(
    tmp_path: Path, flags: dict[str, Any], code: int, state: UpdateState, condition: Condition
) -> None:
    async def story(desk: Desk) -> None:
        assert await request_update(desk) == (code, Status(state=state, percent=100))
        assert await desk.log() == [f"1 {'refused' if code else 'requested'} 1.1.0"]
        link = await desk.connect()
        assert await link.read(wire.CONDITION) == bytes((condition,))

    at_desk(tmp_path, story, application=SERVED, image={"flags": flags})


def test_a_consent_lasts_until_it_is_withdrawn(tmp_path: Path) -> None:
    async def story(desk: Desk) -> list[int]:
        link = await desk.connect()
        codes = []
        for answer in (Answer.CONSENT, Answer.POSTPONE, Answer.CONSENT):
            await link.write(wire.CONTROL, bytes((answer,)), response=True)
            if answer is Answer.CONSENT and not codes:
                await link.write(wire.CONTROL, bytes((Answer.POSTPONE,)), response=True)
            async with SmpSession(link) as session:
                image = desk.image("1.1.0")
                await desk.upload(session, image)
                try:
                    await session.request(bytes.fromhex(image.image_hash), permanent=False)
                    codes.append(0)
                except Refused as refusal:
                    codes.append(refusal.code)
        with pytest.raises(Refused):
            await link.write(wire.CONTROL, b"\x03", response=True)
        return codes

    assert at_desk(tmp_path, story, application=SERVED, image={"flags": {"consent": True}}) == [MGMT_ACCESS_DENIED] * 2 + [0]


@pytest.mark.parametrize("flags", [{"busy": True}, {"battery": 5}, {"consent": True}])
def test_the_buttonless_request_waits_as_well(tmp_path: Path, flags: dict[str, Any]) -> None:
    async def story(desk: Desk) -> None:
        link = await desk.connect()
        with pytest.raises(Refused) as caught:
            await enter_bootloader(link, bonded=False)
        assert caught.value.code == OPERATION_FAILED
        assert wire.decode_log(await link.read(wire.LOG))[-1].event == "refused"
        if "consent" in flags:
            await link.write(wire.CONTROL, bytes((Answer.CONSENT,)), response=True)
            await enter_bootloader(link, bonded=False)

    at_desk(tmp_path, story, protocol="secure_dfu", application=SERVED, image={"flags": flags})


def test_what_the_application_cannot_know_about_a_secure_dfu_update(tmp_path: Path) -> None:
    """It never hears the version; an update that has come to nothing shows all the same."""

    async def story(desk: Desk) -> list[str]:
        await enter_bootloader(await desk.connect(), bonded=False)
        await desk.power_cycle()
        return await desk.log()

    assert at_desk(tmp_path, story, protocol="secure_dfu", application=SERVED) == ["1 requested -", "2 failed -"]


# -------------------------------------------------------------------------------------------------------------- security
UPDATE_CHARACTERISTICS = {
    "smp": ["da2e7828-fbce-4e01-ae9e-261174997c48", wire.STATUS, wire.LOG, wire.CONTROL, wire.CONDITION, wire.HEARTBEAT],
    "secure_dfu": [BUTTONLESS_OPEN, wire.STATUS, wire.LOG, wire.CONTROL, wire.CONDITION, wire.HEARTBEAT],
}
READABLE = {wire.STATUS, wire.LOG, wire.CONDITION}


async def refusals(desk: Desk, characteristics: list[str], *, secured: bool) -> list[int]:
    link = await desk.connect(secured=secured)
    codes = []
    for uuid in characteristics:
        try:
            if uuid in READABLE:
                await link.read(uuid)
            elif uuid == wire.CONTROL:
                await link.write(uuid, bytes((Answer.POSTPONE,)), response=True)
            else:
                await link.subscribe(uuid, lambda _value: None)
            codes.append(0)
        except Refused as refusal:
            codes.append(refusal.code)
    await link.disconnect()
    return codes


@pytest.mark.parametrize("protocol", ["smp", "secure_dfu"])
def test_strangers_stay_outside_and_bonds_outlive_resets(tmp_path: Path, protocol: str) -> None:
    async def story(desk: Desk) -> None:
        everything = UPDATE_CHARACTERISTICS[protocol]
        assert await refusals(desk, everything, secured=False) == [0x05] * 6
        assert await refusals(desk, everything, secured=True) == [0] * 6
        await desk.power_cycle()
        assert await refusals(desk, everything, secured=False) == [0x0F] * 6
        assert await refusals(desk, everything, secured=True) == [0] * 6

    at_desk(tmp_path, story, protocol=protocol, radio=KNOWS, application={**SERVED, **PAIRED})


def test_just_works_is_not_authenticated(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        assert await refusals(desk, UPDATE_CHARACTERISTICS["smp"], secured=True) == [0x05] * 6

    at_desk(tmp_path, story, radio={"pair": True}, application={**SERVED, **PAIRED})


def test_only_a_bonded_central_gets_into_dfu_mode_and_its_bond_goes_with_it(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        stranger = await desk.connect(secured=False)
        with pytest.raises(Refused) as caught:
            await enter_bootloader(stranger, bonded=True)
        assert caught.value.code == 0x05
        await stranger.disconnect()
        await enter_bootloader(await desk.connect(), bonded=True)
        found = await desk.radio.find(lambda seen: seen.address == desk.board.ble_address and seen.name == "DfuTarg", timeout_s=5.0)
        link = await desk.radio.connect(found, services=["0000fe59-0000-1000-8000-00805f9b34fb"], timeout_s=10.0)
        await link.subscribe("8ec90001-f315-4f60-9fb8-838830daea50", lambda _value: None)

    application = {"bonded": True}
    at_desk(
        tmp_path, story, protocol="secure_dfu", radio={"pair": True}, application=application, bootloader={"requires_bonds": True}
    )


def test_the_bonded_characteristic_replaces_the_open_one(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        assert await refusals(desk, [BUTTONLESS_OPEN, BUTTONLESS_BONDED], secured=True) == [0x0A, 0]

    at_desk(tmp_path, story, protocol="secure_dfu", radio={"pair": True}, application={"bonded": True})


# ------------------------------------------------------------------------------------------------------- the hostile image
@pytest.mark.parametrize(
    ("protocol", "defects", "survives"),
    [("smp", [], True), ("smp", ["M80"], False), ("secure_dfu", [], True), ("secure_dfu", ["M80"], False)],
)
def test_an_application_that_attacks_the_bootloader(tmp_path: Path, protocol: str, defects: list[str], survives: bool) -> None:
    async def story(desk: Desk) -> None:
        assert "advertising" in desk.text
        assert bool((await desk.probe.protection()).locked) is survives
        desk.console.clear()
        await desk.power_cycle()
        assert ("advertising" in desk.text) is survives
        assert survives or desk.text == "", "a dead board says nothing"

    at_desk(tmp_path, story, protocol=protocol, defects=defects, image={"flags": {"attack": "erase-bootloader"}})


def test_the_start_up_time_is_an_option(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        assert "1.0.0" in desk.text
        assert "advertising" not in desk.text
        await asyncio.sleep(3.0)
        assert "advertising" in desk.text

    at_desk(tmp_path, story, application={"boot_s": 3.0})


def test_the_application_feeds_the_bootloaders_watchdog(tmp_path: Path) -> None:
    async def story(desk: Desk) -> int:
        await update(desk, "1.1.0")
        await asyncio.sleep(60.0)
        return desk.text.count("*** sample 1.1.0 ***")

    assert at_desk(tmp_path, story, bootloader={"watchdog_s": 2.0}) == 1


def test_a_bootloader_with_a_security_counter_keeps_its_page(tmp_path: Path) -> None:
    async def story(desk: Desk) -> str:
        await update(desk, "1.1.0", security_counter=5)
        await update(desk, "1.2.0", security_counter=6)
        return desk.text

    options: dict[str, Any] = {"bootloader": {"security_counter": True}, "image": {"security_counter": 4}}
    assert "*** sample 1.2.0 ***" in at_desk(tmp_path, story, **options)


def test_what_a_probe_puts_into_the_bootloaders_place_is_a_bootloader(tmp_path: Path) -> None:
    async def story(desk: Desk) -> str:
        await desk.probe.program(0, b"another bootloader")
        await desk.probe.detach()
        desk.console.clear()
        await asyncio.sleep(1.0)
        return desk.text

    assert "advertising" in at_desk(tmp_path, story)
