"""Applications with a planted defect beside good ones: what a host sees of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import cbor2
import pytest

from rig.errors import DutError, InstrumentError, LinkLost, Refused
from rig.formats.update_service import Status, UpdateState
from rig.ota.secure_dfu import BUTTONLESS_BONDED, BUTTONLESS_OPEN, enter_bootloader
from rig.ota.smp import SmpSession
from tests_hil.sample_boards import Desk, at_desk, content
from tests_hil.test_update_service import KNOWS, PAIRED, SERVED, request_update, update

SMP = "da2e7828-fbce-4e01-ae9e-261174997c48"
MARKER = bytes(range(256))
GOOD_AND_BAD = pytest.mark.parametrize("bad", [False, True], ids=["good", "bad"])


def plant(identity: str, *, bad: bool) -> list[str]:
    return [identity] if bad else []


async def code_of(attempt: Any) -> int:
    try:
        await attempt
    except Refused as refusal:
        return refusal.code
    return 0


# ---------------------------------------------------------------------------------------------------------- the channel
@GOOD_AND_BAD
@pytest.mark.parametrize(("protocol", "characteristic"), [("smp", SMP), ("secure_dfu", BUTTONLESS_OPEN)])
def test_m17_services_open_to_strangers(tmp_path: Path, protocol: str, characteristic: str, bad: bool) -> None:
    async def story(desk: Desk) -> int:
        return await code_of((await desk.connect(secured=False)).subscribe(characteristic, print))

    application = {**PAIRED, **SERVED}
    code = at_desk(tmp_path, story, protocol=protocol, application=application, defects=plant("M17", bad=bad))
    assert code == (0 if bad else 0x05)


@GOOD_AND_BAD
def test_m18_strangers_in_dfu_mode(tmp_path: Path, bad: bool) -> None:
    async def story(desk: Desk) -> None:
        link = await desk.connect(secured=False)
        if not bad:
            assert await code_of(link.subscribe(BUTTONLESS_BONDED, print)) == 0x05
            return
        await enter_bootloader(link, bonded=True)
        await desk.radio.find(lambda seen: seen.name == "DfuTarg", timeout_s=5.0)

    at_desk(tmp_path, story, protocol="secure_dfu", application={"bonded": True}, defects=plant("M18", bad=bad))


@GOOD_AND_BAD
@pytest.mark.parametrize("protocol", ["smp", "secure_dfu"])
def test_m19_a_board_that_pairs_with_nobody(tmp_path: Path, protocol: str, bad: bool) -> None:
    async def story(desk: Desk) -> int:
        return await code_of(desk.connect())

    code = at_desk(tmp_path, story, protocol=protocol, radio=KNOWS, application=PAIRED, defects=plant("M19", bad=bad))
    assert code == (0x05 if bad else 0)


MALFORMED = {
    "broken CBOR": b"\x02\x00\x00\x04\x00\x01\x00\x01" + b"\xbf\x63\x6c\x65",
    "deep nesting": b"\x00\x00\x00\xc8\x00\x00\x00\x00" + b"\x81" * 200,
    "not a map": b"\x00\x00\x00\x01\x00\x00\x00\x00\x01",
    "longer than the buffer": b"\x02\x00\xff\xff\x00\x01\x00\x01",
    "no CBOR at all": b"\x02\x00\x00\x00\x00\x01\x00\x01",
}
SENSELESS = {
    "negative length": cbor2.dumps({"off": 0, "len": -1, "sha": bytes(32), "data": b"\x3d\xb8\xf3\x96" + bytes(60)}),
    "length of 4 GiB": cbor2.dumps({"off": 0, "len": 0xFFFF_FFFF, "data": b"\x3d\xb8\xf3\x96" + bytes(60)}),
    "list for a hash": cbor2.dumps({"off": 0, "len": 64, "sha": [1], "data": b"\x3d\xb8\xf3\x96" + bytes(60)}),
    "negative offset": cbor2.dumps({"off": -4, "data": b"x"}),
}


async def survives(desk: Desk, request: bytes) -> bool:
    desk.console.clear()
    link = await desk.connect()
    await link.write(SMP, request, response=False)
    await asyncio.sleep(8.0)
    return link.is_up and desk.text == ""


@GOOD_AND_BAD
@pytest.mark.parametrize("name", MALFORMED)
def test_m22_malformed_requests(tmp_path: Path, name: str, bad: bool) -> None:
    async def story(desk: Desk) -> bool:
        return await survives(desk, MALFORMED[name])

    assert at_desk(tmp_path, story, defects=plant("M22", bad=bad)) is not bad


@pytest.mark.parametrize("name", SENSELESS)
def test_the_good_application_survives_senseless_values(tmp_path: Path, name: str) -> None:
    async def story(desk: Desk) -> bool:
        body = SENSELESS[name]
        return await survives(desk, b"\x02\x00" + len(body).to_bytes(2, "big") + b"\x00\x01\x00\x01" + body)

    assert at_desk(tmp_path, story)


# ------------------------------------------------------------------------------------------------------- recoverability
@pytest.mark.parametrize(
    ("identity", "confirm", "stays"),
    [(None, "after-self-test", False), ("M42", "after-self-test", True), (None, "at-once", True), ("M42b", "at-once", False)],
)
def test_m42_when_an_image_is_kept(tmp_path: Path, identity: str | None, confirm: str, stays: bool) -> None:
    """The board is reset before the self-test is over: only what was confirmed too early, or rightly at once, stays."""

    async def story(desk: Desk) -> str:
        await update(desk, "1.1.0", permanent=False, confirm=confirm, self_test_s=3600.0)
        await desk.power_cycle(run_s=10.0)
        async with SmpSession(await desk.connect()) as session:
            return (await session.read_state())[0].version

    assert at_desk(tmp_path, story, defects=[identity] if identity else []) == ("1.1.0" if stays else "1.0.0")


@GOOD_AND_BAD
@pytest.mark.parametrize("protocol", ["smp", "secure_dfu"])
def test_m47b_user_data_lost_with_the_request(tmp_path: Path, protocol: str, bad: bool) -> None:
    async def story(desk: Desk) -> bool:
        start = desk.board.memory.user_data.start
        desk.virtual.soc.flash.poke(start, MARKER)
        if protocol == "smp":
            assert (await request_update(desk))[0] == 0
        else:
            await enter_bootloader(await desk.connect(), bonded=False)
        return desk.virtual.soc.flash.read(start, len(MARKER)) == MARKER

    assert at_desk(tmp_path, story, protocol=protocol, application=SERVED, defects=plant("M47b", bad=bad)) is not bad


@GOOD_AND_BAD
def test_m50_a_resumed_upload_has_a_hole(tmp_path: Path, bad: bool) -> None:
    async def story(desk: Desk) -> bool:
        image = desk.image("1.1.0", size=32768)
        data, offsets = content(image), []
        link = await desk.connect()
        async with SmpSession(link) as session:
            async for offset in session.upload(data):
                offsets.append(offset)
                if len(offsets) == 4:
                    break
        await link.disconnect()
        async with SmpSession(await desk.connect()) as session:
            with suppress(DutError):  # the host may notice, or not
                await desk.upload(session, image)
        slot = desk.board.memory.secondary.start + desk.board.memory.upload_offset
        return desk.virtual.soc.flash.read(slot, len(data)) == data

    assert at_desk(tmp_path, story, defects=plant("M50", bad=bad)) is not bad


# ---------------------------------------------------------------------------------------------------- logging and status
@pytest.mark.parametrize(
    ("identity", "before", "after"),
    [(None, 1, 1), ("M59", 0, 0), ("M65", 1, 0)],
    ids=["good", "nothing logged", "in RAM"],
)
@pytest.mark.parametrize("protocol", ["smp", "secure_dfu"])
def test_m59_m65_the_log_of_a_refused_update(tmp_path: Path, protocol: str, identity: str | None, before: int, after: int) -> None:
    async def story(desk: Desk) -> tuple[int, int]:
        if protocol == "smp":
            assert (await request_update(desk))[0] != 0
        else:
            link = await desk.connect()
            assert await code_of(enter_bootloader(link, bonded=False)) != 0
            await link.disconnect()
        entries = len(await desk.log())
        await desk.power_cycle()
        return entries, len(await desk.log())

    busy, defects = {"flags": {"busy": True}}, [identity] if identity else []
    found = at_desk(tmp_path, story, protocol=protocol, application=SERVED, defects=defects, image=busy)
    assert found == (before, after)


@GOOD_AND_BAD
def test_m73_no_status(tmp_path: Path, bad: bool) -> None:
    async def story(desk: Desk) -> Status:
        return (await request_update(desk))[1]

    status = at_desk(tmp_path, story, application=SERVED, defects=plant("M73", bad=bad))
    assert status.state is (UpdateState.IDLE if bad else UpdateState.READY)


@GOOD_AND_BAD
@pytest.mark.parametrize("protocol", ["smp", "secure_dfu"])
@pytest.mark.parametrize(("identity", "flags"), [("M71", {"busy": True}), ("M71", {"battery": 3}), ("M74", {"consent": True})])
def test_m71_m74_updates_at_a_bad_time(tmp_path: Path, protocol: str, identity: str, flags: dict[str, Any], bad: bool) -> None:
    async def story(desk: Desk) -> bool:
        """Whether the device refuses."""
        if protocol == "smp":
            return (await request_update(desk))[0] != 0
        return await code_of(enter_bootloader(await desk.connect(), bonded=False)) != 0

    refuses = at_desk(
        tmp_path, story, protocol=protocol, application=SERVED, defects=plant(identity, bad=bad), image={"flags": flags}
    )
    assert refuses is not bad


def test_m71_the_board_resets_into_the_update_right_away(tmp_path: Path) -> None:
    async def story(desk: Desk) -> str:
        await request_update(desk)
        await asyncio.sleep(10.0)
        return desk.text

    assert "*** sample 1.1.0 ***" in at_desk(tmp_path, story, application=SERVED, defects=["M71"], image={"flags": {"busy": True}})


# --------------------------------------------------------------------------------------------------- time, keys, debugger
@GOOD_AND_BAD
def test_m69_slow_updates(tmp_path: Path, bad: bool) -> None:
    async def story(desk: Desk) -> float:
        loop, image = asyncio.get_running_loop(), desk.image("1.1.0")
        async with SmpSession(await desk.connect()) as session:
            began = loop.time()
            await desk.upload(session, image)
            return image.size / (loop.time() - began)

    bytes_per_second = at_desk(tmp_path, story, defects=plant("M69", bad=bad))
    assert bytes_per_second < 1000 if bad else bytes_per_second > 5000


@GOOD_AND_BAD
def test_m70_the_first_chunk_ends_the_connection(tmp_path: Path, bad: bool) -> None:
    async def story(desk: Desk) -> int | None:
        link = await desk.connect()
        async with SmpSession(link) as session:
            try:
                await desk.upload(session, desk.image("1.1.0"))
            except LinkLost as lost:
                return lost.reason
        return None

    assert at_desk(tmp_path, story, defects=plant("M70", bad=bad)) == (0x08 if bad else None)


@GOOD_AND_BAD
@pytest.mark.parametrize("protocol", ["smp", "secure_dfu"])
def test_m78_the_memory_can_be_read(tmp_path: Path, protocol: str, bad: bool) -> None:
    async def story(desk: Desk) -> bool:
        readable = not (await desk.probe.protection()).readback
        try:
            await desk.probe.read(0, 4)
        except InstrumentError:
            assert not readable
        else:
            assert readable
        return readable

    assert at_desk(tmp_path, story, protocol=protocol, soc={"approtect": True}, defects=plant("M78", bad=bad)) is bad
