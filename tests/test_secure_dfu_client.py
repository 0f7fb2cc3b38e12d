"""The Secure DFU client against a device that speaks the real bytes, on the virtual clock."""

from __future__ import annotations

import zlib

import pytest

from rig.errors import Refused
from rig.ota.secure_dfu import (
    EXTENDED_GROUP,
    NOTHING,
    Checksum,
    ChecksumMismatch,
    GattTransport,
    ObjectType,
    Options,
    Pace,
    SecureDfuSession,
    Stage,
    Step,
    checksum_of,
    wire,
)
from tests.dfu_device import CAPTURED_INIT_PACKET, Device, Quirks, package
from tests.dfu_links import Link, retries, run, update


# -------------------------------------------------------------------------------------------------------- plain updates
@pytest.mark.parametrize("every", [0, 1, 5, 12, 17, 100])
@pytest.mark.parametrize("max_write", [20, 64, 244, 247])
def test_the_image_is_installed(every: int, max_write: int) -> None:
    device, image = Device(queue=0), package(9_000)

    steps = run(update(device, image, Options(receipts_every=every), max_write=max_write))

    assert device.installed == image.firmware
    assert retries(steps) == []
    data = device.packets[-(-len(image.init_packet) // (max_write // 4 * 4)) :]
    assert max(map(len, data)) == max_write // 4 * 4
    assert [len(packet) for packet in data if len(packet) % 4] == []


def test_progress_tells_stages_offsets_and_objects() -> None:
    image = package(5_000)

    steps = run(update(Device(queue=0), image))

    told = [(s.stage, s.step, s.offset, s.object_index) for s in steps if s.step is not Step.PACKET]
    size = len(image.init_packet)
    assert told == [
        (Stage.INIT, Step.RESUME, 0, 0),
        (Stage.INIT, Step.CHECKED, size, 0),
        (Stage.INIT, Step.EXECUTED, size, 0),
        (Stage.DATA, Step.RESUME, 0, 0),
        (Stage.DATA, Step.CHECKED, 4096, 0),
        (Stage.DATA, Step.EXECUTED, 4096, 0),
        (Stage.DATA, Step.CHECKED, 5000, 1),
        (Stage.EXECUTE, Step.BEGIN, 5000, 1),
        (Stage.EXECUTE, Step.EXECUTED, 5000, 1),
    ]
    packets = [s.offset for s in steps if s.step is Step.PACKET and s.stage is Stage.DATA]
    assert packets == [*range(244, 4096, 244), 4096, *range(4096 + 244, 5000, 244), 5000]
    assert {s.total for s in steps if s.stage is not Stage.INIT} == {5000}


@pytest.mark.parametrize("size", [*range(10_221, 10_241), 1, 3, 4097, 4099, 8191])
@pytest.mark.parametrize("max_write", [20, 60, 244])
def test_every_image_length_can_be_written_whole(size: int, max_write: int) -> None:
    """The bootloader loses the odd bytes of a packet unless it is at most 3 bytes past a multiple of 20."""
    device, image = Device(queue=0), package(size)

    run(update(device, image, max_write=max_write))

    assert device.installed == image.firmware


def test_the_tail_rule_is_needed() -> None:
    """10 229 bytes in plain 244-byte packets end with 85 bytes, of which the device loses one: the hash at the end shows it."""
    device, image = Device(queue=0), package(10_229)

    async def plainly() -> None:
        async with GattTransport(Link(device)) as transport:
            session = SecureDfuSession(transport)
            await session.create(ObjectType.COMMAND, len(image.init_packet))
            await session.write(image.init_packet)
            await session.execute()
            for start in range(0, 10_229, 4096):
                data = image.firmware[start : start + 4096]
                await session.create(ObjectType.DATA, len(data))
                await session.write(data)
                assert await session.crc() == checksum_of(image.firmware[: start + len(data)])
                await session.execute()

    with pytest.raises(Refused) as refusal:
        run(plainly())
    assert (refusal.value.group, refusal.value.code) == (EXTENDED_GROUP, 0x0C)


# ----------------------------------------------------------------------------------------------------------- bytes lost
def test_lost_bytes_are_sent_again_and_the_reason_is_told() -> None:
    device, image = Device(queue=0, quirks=Quirks(lose_packets={5})), package(5_000)

    steps = run(update(device, image))

    assert device.installed == image.firmware
    (retry,) = retries(steps)
    assert (retry.stage, retry.object_index, retry.attempt, retry.pace) == (Stage.DATA, 0, 2, Pace.AFTER_ERASE)
    assert retry.reason.startswith("the device holds offset 3852, CRC ")


def test_a_lost_init_packet_is_sent_again() -> None:
    device, image = Device(queue=0, quirks=Quirks(lose_packets={0})), package(5_000)

    (retry,) = retries(run(update(device, image)))

    assert (retry.stage, retry.attempt) == (Stage.INIT, 2)
    assert device.installed == image.firmware


@pytest.mark.parametrize("every", [1, 5, 12])
@pytest.mark.parametrize("lost", [{2}, {7}, {16}, {12, 13, 14}, {13, 14, 15, 16, 17}, set(range(2, 15))])
def test_lost_bytes_are_noticed_by_receipts(every: int, lost: set[int]) -> None:
    device, image = Device(queue=0, quirks=Quirks(lose_packets=lost, lose_once=True)), package(5_000)

    steps = run(update(device, image, Options(receipts_every=every)))

    assert len(retries(steps)) == 1
    assert device.installed == image.firmware


def test_after_all_retries_the_mismatch_is_an_error_with_all_reasons() -> None:
    device = Device(queue=0, quirks=Quirks(lose_packets=set(range(1, 1000, 3))))

    with pytest.raises(ChecksumMismatch) as error:
        run(update(device, package(5_000), Options(retries=1)))

    assert [reason.startswith("the device holds offset ") for reason in error.value.reasons] == [True, True]
    assert error.value.data[:3] == b"\x60\x03\x01"
    assert device.installed == b""


def test_the_last_of_three_retries_is_in_lockstep() -> None:
    device = Device(queue=0, quirks=Quirks(lose_packets=set(range(1, 1000, 3))))

    with pytest.raises(ChecksumMismatch) as error:
        run(update(device, package(5_000)))

    assert len(error.value.reasons) == 4
    assert error.value.reasons[3] == "no reply to packet receipt within 8 s"
    assert device.requests[-1] == b"\x01\x02" + (4096).to_bytes(4, "little")
    assert b"\x02\x01\x00" in device.requests


def test_lockstep_ends_with_the_object() -> None:
    device, image = Device(queue=0, quirks=Quirks(lose_packets={3, 20, 37})), package(9_000)

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert [step.pace for step in retries(steps)] == [Pace.AFTER_ERASE, Pace.AFTER_ERASE, Pace.LOCKSTEP]
    assert [request for request in device.requests if request[0] == 2] == [b"\x02\0\0", b"\x02\1\0", b"\x02\0\0"]
    assert steps[-1].pace is Pace.AFTER_ERASE


def test_a_device_whose_queue_fills_behind_an_erase_costs_one_attempt_and_no_more() -> None:
    device, image = Device(queue=16), package(60_000)

    steps = run(update(device, image))

    assert device.installed == image.firmware
    (retry,) = retries(steps)
    assert (retry.object_index, retry.pace) == (0, Pace.AFTER_ERASE)


def test_a_careful_session_waits_for_the_settings_to_be_written() -> None:
    device, image = Device(queue=16, settings_s=0.19), package(20_000)

    steps = run(update(device, image, Options(pace=Pace.AFTER_ERASE)))

    assert (device.installed, retries(steps)) == (image.firmware, [])


def test_a_device_with_a_slower_erase_is_given_more_time() -> None:
    device, image = Device(queue=16, erase_s=0.09), package(60_000)

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert [(step.object_index, step.pace) for step in retries(steps)] == [(0, Pace.AFTER_ERASE)] * 2


def test_a_create_into_a_full_queue_is_repeated() -> None:
    device, image = Device(queue=0, quirks=Quirks(refuse={b"\x01\x02": [0x05]})), package(5_000)

    (retry,) = retries(run(update(device, image)))

    assert "data create was refused: invalid object" in retry.reason
    assert device.installed == image.firmware


def test_a_device_that_counts_receipts_differently_is_understood() -> None:
    device, image = Device(queue=0, quirks=Quirks(counts_receipts_from_select=True)), package(9_000)

    steps = run(update(device, image, Options(receipts_every=7)))

    assert (device.installed, retries(steps)) == (image.firmware, [])


# --------------------------------------------------------------------------------------------------------- single steps
def test_single_steps_reach_what_an_update_never_asks() -> None:
    """Data execute without an init packet: 0B/0C and a reset (not 08)."""
    device = Device()

    async def steps() -> Refused:
        async with GattTransport(Link(device)) as transport:
            session = SecureDfuSession(transport)
            assert (await session.select(ObjectType.DATA)).received == NOTHING
            with pytest.raises(Refused) as refusal:
                await session.execute()
            await session.wait_reset()
            return refusal.value

    refusal = run(steps())
    assert (refusal.request, refusal.group, refusal.code) == ("data execute", EXTENDED_GROUP, 0x0C)


def test_writes_beyond_the_object_show_in_a_receipt() -> None:
    async def steps() -> Refused:
        async with GattTransport(Link(Device(queue=0))) as transport:
            session = SecureDfuSession(transport)
            image = package()
            await session.create(1, len(image.init_packet))
            await session.write(image.init_packet)
            await session.execute()
            await session.set_receipts(1)
            await session.create(2, 4096)
            with pytest.raises(Refused) as refusal:
                await session.write(bytes(5000))
            return refusal.value

    refusal = run(steps())
    assert (refusal.request, refusal.code) == ("packet receipt", 0x03)


def test_unknown_types_are_sent_as_they_are() -> None:
    device = Device()

    async def steps() -> None:
        async with GattTransport(Link(device)) as transport:
            await SecureDfuSession(transport).select(9)

    with pytest.raises(Refused, match="type 9 select was refused: invalid object"):
        run(steps())
    assert device.requests == [b"\x06\x09"]


def test_abort_waits_for_the_reset() -> None:
    device = Device()

    async def steps() -> None:
        async with GattTransport(Link(device)) as transport:
            await SecureDfuSession(transport).abort()

    run(steps())
    assert device.reset


def test_write_returns_what_the_device_should_hold() -> None:
    async def steps() -> tuple[Checksum, Checksum]:
        async with GattTransport(Link(Device())) as transport:
            session = SecureDfuSession(transport)
            await session.create(1, 100)
            expected = await session.write(bytes(range(100)), packet=7)
            return expected, await session.crc()

    expected, held = run(steps())
    assert expected == held == Checksum(offset=100, crc=zlib.crc32(bytes(range(100))))


# -------------------------------------------------------------------------------------------------------------- capture
def test_a_real_device_counts_as_this_client_does() -> None:
    reply = bytes.fromhex("6003018d000000c56c4d24")

    assert wire.checksum("init CRC", reply) == checksum_of(CAPTURED_INIT_PACKET)


def test_real_replies_are_understood() -> None:
    assert wire.object_state("x", bytes.fromhex("600601000100000000000000000000")).max_size == 256
    assert wire.object_state("x", bytes.fromhex("600601001000000000000000000000")).max_size == 4096
    assert wire.create(1, 141) == bytes.fromhex("01018d000000")
    assert wire.create(2, 4096) == bytes.fromhex("010200100000")
    assert wire.set_receipts(10) == bytes.fromhex("020a00")
    assert wire.checksum("x", bytes.fromhex("600301c800000082899e87")) == Checksum(offset=200, crc=0x879E8982)
