"""The Secure DFU client against a device that speaks the real bytes, on the virtual clock."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import ConfigError, DutError, LinkLost, NoReply, Refused
from rig.ota.secure_dfu import (
    BUTTONLESS_BONDED,
    BUTTONLESS_GROUP,
    BUTTONLESS_OPEN,
    CONTROL_POINT,
    EXTENDED_GROUP,
    NOTHING,
    PACKET,
    RESULT_GROUP,
    Checksum,
    ChecksumMismatch,
    GattTransport,
    MalformedReply,
    ObjectType,
    Options,
    Pace,
    Progress,
    SecureDfuSession,
    SerialTransport,
    Stage,
    Step,
    checksum_of,
    enter_bootloader,
    is_bootloader,
    next_address_one_byte,
    next_address_whole,
    wire,
)
from rig.ports import Advertisement
from rig.virtual.clock import loop_factory
from tests.dfu_device import CAPTURED_INIT_PACKET, Device, Image, Link, Quirks, SerialLine, package

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        return runner.run(work)


async def update(device: Device, image: Image, options: Options | None = None, **link: Any) -> list[Progress]:
    async with GattTransport(Link(device, **link)) as transport:
        return [progress async for progress in SecureDfuSession(transport, options=options).update(image)]


async def steps_until(device: Device, image: Image, stop: Callable[[Progress], bool]) -> None:
    """Update until `stop`, then lose the link."""
    link = Link(device)
    async with GattTransport(link) as transport:
        with suppress(LinkLost):
            async for progress in SecureDfuSession(transport).update(image):
                if stop(progress):
                    link.drop(0x08)
        assert not link.is_up


def retries(steps: list[Progress]) -> list[Progress]:
    return [step for step in steps if step.step in (Step.RETRY, Step.RESTART)]


# ----------------------------------------------------------------------------------------------------------- plain updates
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


# ------------------------------------------------------------------------------------------------------------ bytes lost
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


def test_after_all_attempts_the_mismatch_is_an_error_with_all_reasons() -> None:
    device = Device(queue=0, quirks=Quirks(lose_packets=set(range(1, 1000, 3))))

    with pytest.raises(ChecksumMismatch) as error:
        run(update(device, package(5_000), Options(attempts=2)))

    assert [reason.startswith("the device holds offset ") for reason in error.value.reasons] == [True, True]
    assert error.value.data[:3] == b"\x60\x03\x01"
    assert device.installed == b""


def test_the_last_of_three_attempts_is_in_lockstep() -> None:
    device = Device(queue=0, quirks=Quirks(lose_packets=set(range(1, 1000, 3))))

    with pytest.raises(ChecksumMismatch) as error:
        run(update(device, package(5_000)))

    assert error.value.reasons[2] == "no reply to packet receipt within 8 s"
    assert device.requests[-1] == b"\x01\x02" + (4096).to_bytes(4, "little")
    assert b"\x02\x01\x00" in device.requests


def test_a_device_whose_queue_fills_behind_an_erase_costs_one_attempt_and_no_more() -> None:
    device, image = Device(queue=16), package(60_000)

    steps = run(update(device, image))

    assert device.installed == image.firmware
    (retry,) = retries(steps)
    assert (retry.object_index, retry.pace) == (0, Pace.AFTER_ERASE)


def test_a_device_with_a_slower_erase_is_given_more_time() -> None:
    device, image = Device(queue=16, erase_s=0.1), package(60_000)

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert [(step.object_index, step.pace) for step in retries(steps)] == [(0, Pace.AFTER_ERASE), (0, Pace.LOCKSTEP)]


def test_a_create_into_a_full_queue_is_repeated() -> None:
    device, image = Device(queue=0, quirks=Quirks(refuse={b"\x01\x02": [0x05]})), package(5_000)

    (retry,) = retries(run(update(device, image)))

    assert "data create was refused: invalid object" in retry.reason
    assert device.installed == image.firmware


def test_a_device_that_counts_receipts_differently_is_understood() -> None:
    device, image = Device(queue=0, quirks=Quirks(counts_receipts_from_select=True)), package(9_000)

    steps = run(update(device, image, Options(receipts_every=7)))

    assert (device.installed, retries(steps)) == (image.firmware, [])


# ---------------------------------------------------------------------------------------------------------------- resume
def test_after_a_lost_link_the_init_packet_is_only_executed_again() -> None:
    device, image = Device(queue=0), package()
    run(steps_until(device, image, lambda step: step.stage is Stage.DATA and step.step is Step.CHECKED))
    device.requests.clear()

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert device.requests[:4] == [b"\x02\0\0", b"\x06\x01", b"\x04", b"\x06\x02"]
    assert steps[0].reason == f"the device holds {len(image.init_packet)} of {len(image.init_packet)} bytes of this init packet"


def test_another_init_packet_is_replaced() -> None:
    device, image = Device(queue=0), package(version=2)
    run(steps_until(device, package(version=1), lambda step: step.stage is Stage.DATA))

    steps = run(update(device, image))

    assert steps[0].reason.startswith("the device holds another init packet")
    assert device.installed == image.firmware


def data_resume(steps: list[Progress]) -> Progress:
    (resume,) = [step for step in steps if step.step is Step.RESUME and step.stage is Stage.DATA]
    return resume


@pytest.mark.parametrize("offset", [244, 4096 + 488, 8192 + 244, 8192 + 4])
def test_within_an_object_the_rest_is_sent(offset: int) -> None:
    device, image = Device(queue=0), package()
    device.hold(image, offset)

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert (data_resume(steps).offset, data_resume(steps).reason) == (offset, f"the device holds {offset} of 10000 bytes")
    assert sum(map(len, device.packets)) == 10_000 - offset


@pytest.mark.parametrize("offset", [4096, 8192])
@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize("again", [0x01, 0x08])
def test_at_the_end_of_an_object_it_is_executed_and_not_sent_again(offset: int, executed: bool, again: int) -> None:
    device, image = Device(queue=0, quirks=Quirks(executed_again=again)), package()
    device.hold(image, offset, executed=offset if executed else offset - 4096)

    run(update(device, image))

    assert device.installed == image.firmware
    assert sum(map(len, device.packets)) == 10_000 - offset


def test_a_whole_image_is_only_executed() -> None:
    device, image = Device(queue=0), package()
    device.hold(image, 10_000)

    steps = run(update(device, image))

    assert (device.installed, device.packets) == (image.firmware, [])
    assert steps[-1].stage is Stage.EXECUTE


@pytest.mark.parametrize("offset", [244, 4000])
def test_other_bytes_in_the_first_object_are_replaced(offset: int) -> None:
    device, image = Device(queue=0), package()
    device.hold(image, offset)
    device.data[3] ^= 1

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert "other bytes" in data_resume(steps).reason
    assert retries(steps) == []


@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize(("where", "offset"), [(4100, 4584), (100, 8436), (4095, 4096), (8191, 8192), (8000, 10_000), (9000, 10_000)])
def test_other_bytes_anywhere_are_replaced(where: int, offset: int, executed: bool) -> None:
    """Only the device knows which objects have been executed: where guessing does not help, a new init packet does."""
    device, image = Device(queue=0), package()
    device.hold(image, offset, executed=offset // 4096 * 4096 if executed else (offset - 1) // 4096 * 4096)
    device.data[where] ^= 1

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert "other bytes" in next(step for step in steps if step.stage is Stage.DATA).reason
    assert [step.step for step in retries(steps)] in ([], [Step.RESTART])


def test_more_bytes_than_the_image_start_the_transfer_again() -> None:
    device, image = Device(queue=0), package(5_000)
    device.hold(image, 5_000)
    device.data += bytes(4096)
    device.executed = len(device.data)

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert [step.step for step in retries(steps)] == [Step.RESTART]


def test_an_odd_offset_within_an_object_is_not_continued() -> None:
    """A packet that does not start at a word is not written to flash, though offset and CRC would look right."""
    device, image = Device(queue=0), package()
    device.hold(image, 4097 + 200)

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert (data_resume(steps).offset, data_resume(steps).reason) == (4096, "offset 4297 is within a word; object created anew")


def test_the_crc_at_offset_0_is_ignored() -> None:
    """After an update the word holds the start address of the update until the next command create."""
    device, image = Device(queue=0), package()
    run(steps_until(device, image, lambda p: p.stage is Stage.DATA))
    device.stale_crc = 0x2A000

    steps = run(update(device, image))

    assert (device.installed, retries(steps)) == (image.firmware, [])


def test_a_resumed_object_that_cannot_be_executed_is_created_anew() -> None:
    device, image = Device(queue=0), package()
    device.create(1, 512)  # somebody else's object, larger than ours
    device.command += image.init_packet

    steps = run(update(device, image))

    assert [(p.stage, "operation not permitted" in p.reason) for p in retries(steps)] == [(Stage.INIT, True)]
    assert device.installed == image.firmware


# ---------------------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize("code", [0x00, 0x02, 0x03, 0x04, 0x05, 0x07, 0x08, 0x0A, 0x77])
def test_result_codes_are_refusals(code: int) -> None:
    with pytest.raises(Refused) as refusal:
        run(update(Device(quirks=Quirks(refuse={b"\x04": [code]})), package()))

    assert (refusal.value.request, refusal.value.group, refusal.value.code) == ("init execute", RESULT_GROUP, code)


@pytest.mark.parametrize("code", range(0x10))
def test_extended_errors_are_refusals(code: int) -> None:
    with pytest.raises(Refused) as refusal:
        run(update(Device(quirks=Quirks(refuse={b"\x04": [0x100 + code]})), package()))

    assert (refusal.value.group, refusal.value.code) == (EXTENDED_GROUP, code)


def test_names_of_codes() -> None:
    def text(code: int) -> str:
        with pytest.raises(Refused) as refusal:
            run(update(Device(quirks=Quirks(refuse={b"\x04": [code]})), package()))
        return str(refusal.value)

    assert text(0x108) == "init execute was refused: signature missing (group 11, code 8)"
    assert text(0x04) == "init execute was refused: insufficient resources (group 96, code 4)"
    assert text(0x77) == "init execute was refused: unknown code 0x77 (group 96, code 119)"


@pytest.mark.parametrize(
    ("request_prefix", "name", "limit_s"),
    [
        (b"\x02", "set receipts", 10),
        (b"\x06\x01", "init select", 10),
        (b"\x01\x01", "init create", 10),
        (b"\x03", "init CRC", 10),
        (b"\x04", "init execute", 20),
        (b"\x06\x02", "data select", 10),
        (b"\x01\x02", "data create", 10),
    ],
)
def test_every_silence_has_a_name_and_a_limit(request_prefix: bytes, name: str, limit_s: float) -> None:
    with pytest.raises(NoReply) as silence:
        run(update(Device(quirks=Quirks(ignore=[request_prefix])), package()))

    assert (silence.value.request, silence.value.timeout_s) == (name, limit_s)


def test_a_lost_link_is_told_with_its_reason() -> None:
    async def lose() -> None:
        link = Link(Device(queue=0))
        async with GattTransport(link) as transport:
            async for progress in SecureDfuSession(transport).update(package()):
                if progress.offset == 4096:
                    link.drop(0x3E)

    with pytest.raises(LinkLost) as loss:
        run(lose())
    assert loss.value.reason == 0x3E


def test_a_device_that_stops_reading_ends_in_no_reply() -> None:
    async def stuck() -> None:
        link = Link(Device(queue=0))
        async with GattTransport(link) as transport:
            async for progress in SecureDfuSession(transport).update(package()):
                if progress.offset == 488:
                    link._task.cancel()

    with pytest.raises(NoReply, match="room for a packet within 20 s"):
        run(stuck())


@pytest.mark.parametrize("reply", [b"", b"\x60", b"\x60\x02", b"\x61\x02\x01", b"\x60\x04\x01", b"\x60\x02\x01\x00", b"\x60\x02\x0b"])
def test_a_malformed_reply_carries_its_bytes(reply: bytes) -> None:
    with pytest.raises(MalformedReply) as error:
        run(update(Device(), package(), tamper=lambda _reply: [reply]))

    assert error.value.data == reply
    assert error.value.request == "set receipts"


def test_a_storm_of_notifications_is_an_error() -> None:
    with pytest.raises(MalformedReply, match="came without being asked for"):
        run(update(Device(), package(), tamper=lambda reply: [reply] * 1000))


# ----------------------------------------------------------------------------------------------------------- single steps
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


# ----------------------------------------------------------------------------------------------------------------- speed
async def reference(device: Device, image: Image, **link: Any) -> float:
    """Seconds that the link and the device need for the same packets and requests, from a driver that only waits for replies."""
    replies: asyncio.Queue[bytes] = asyncio.Queue()
    raw = Link(device, **link)
    await raw.subscribe(CONTROL_POINT, replies.put_nowait)

    async def ask(request: bytes) -> None:
        await raw.write(CONTROL_POINT, request, response=True)
        await replies.get()

    handed = 0
    await ask(b"\x02\0\0")
    for kind, whole in ((1, image.init_packet), (2, image.firmware)):
        await ask(bytes((6, kind)))
        for start in range(0, len(whole), 4096):
            part = whole[start : start + 4096]
            await ask(bytes((1, kind)) + len(part).to_bytes(4, "little"))
            for at in range(0, len(part), raw.max_write):
                while not device.has_room(handed - len(device.packets)):  # noqa: ASYNC110 - there is nothing to wait for
                    await asyncio.sleep(0.001)
                handed += 1
                await raw.write(PACKET, part[at : at + raw.max_write], response=False)
            await ask(b"\x03")
            await ask(b"\x04")
    assert device.installed == image.firmware
    return asyncio.get_running_loop().time()


async def timed(device: Device, image: Image, options: Options, **link: Any) -> float:
    await update(device, image, options, **link)
    assert device.installed == image.firmware
    return asyncio.get_running_loop().time()


LINKS = [
    {"per_event": 6, "max_write": 244},  # LE 1M
    {"per_event": 10, "max_write": 244},  # LE 2M
    {"per_event": 22, "max_write": 20, "buffers": 24},  # short packets
    {"per_event": 3, "max_write": 244, "interval_s": 0.0075},
]


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize(("every", "share"), [(0, 0.95), (12, 0.85)])
@pytest.mark.parametrize("erase_s", [0.0, 0.085])
def test_the_link_and_the_device_set_the_speed(link: dict[str, Any], every: int, share: float, erase_s: float) -> None:
    image = package(100_000)

    possible = run(reference(Device(queue=0, erase_s=erase_s), image, **link))
    needed = run(timed(Device(queue=0, erase_s=erase_s), image, Options(receipts_every=every), **link))

    assert possible / needed >= share


@pytest.mark.parametrize("link", LINKS)
def test_a_device_that_drops_packets_is_not_given_more_time_than_it_needs(link: dict[str, Any]) -> None:
    """The reference sees when the flash queue has room for what is on its way; the client only knows how long an erase takes."""
    image = package(100_000)

    possible = run(reference(Device(queue=16), image, **link))
    needed = run(timed(Device(queue=16), image, Options(pace=Pace.AFTER_ERASE), **link))

    assert possible / needed >= 0.8


# --------------------------------------------------------------------------------------------------------- hostile devices
def cut(reply: bytes, size: int) -> list[bytes]:
    return [reply[:size]]


ACTIONS = st.one_of(
    st.just(lambda reply: [reply]),
    st.just(lambda reply: []),
    st.integers(0, 14).map(lambda size: partial(cut, size=size)),
    st.binary(max_size=20).map(lambda noise: lambda _reply: [noise]),
    st.binary(max_size=20).map(lambda noise: lambda reply: [noise, reply]),
    st.binary(max_size=20).map(lambda noise: lambda reply: [reply, noise]),
    st.tuples(st.integers(0, 14), st.integers(1, 255)).map(
        lambda flip: lambda reply: [bytes(b ^ (flip[1] if n == flip[0] else 0) for n, b in enumerate(reply))]
    ),
    st.sampled_from([2, 20, 200, 2000]).map(lambda times: lambda reply: [reply] * times),
    st.integers(0, 0xFF).map(lambda op: lambda reply: [b"\x60" + bytes((op,)) + reply[2:]]),
    st.binary(min_size=8, max_size=12).map(lambda tail: lambda reply: [reply[:3] + tail[: len(reply) - 3]]),
)


@dataclass
class Hostile(Device):
    """Replies, by number, go through an action; packets, by number, are answered by something nobody asked for."""

    actions: dict[int, Callable[[bytes], list[bytes]]] = field(default_factory=dict)
    unasked: dict[int, bytes] = field(default_factory=dict)

    def request(self, data: bytes) -> list[bytes]:
        action = self.actions.get(len(self.requests), lambda reply: [reply])
        return [sent for reply in super().request(data) for sent in action(reply)]

    def packet(self, data: bytes) -> list[bytes]:
        number = len(self.packets)
        replies = super().packet(data)
        return replies + ([self.unasked[number]] if number in self.unasked else [])


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    actions=st.dictionaries(st.integers(0, 25), ACTIONS, max_size=4),
    unasked=st.dictionaries(st.integers(0, 25), st.binary(max_size=20), max_size=3),
    lost=st.sets(st.integers(0, 60), max_size=4),
    every=st.sampled_from([0, 1, 3, 12]),
    queue=st.sampled_from([0, 16]),
    drop_at=st.one_of(st.none(), st.integers(0, 120)),
)
def test_a_hostile_device_always_ends_in_a_typed_error_or_success(
    *,
    actions: dict[int, Callable[[bytes], list[bytes]]],
    unasked: dict[int, bytes],
    lost: set[int],
    every: int,
    queue: int,
    drop_at: int | None,
) -> None:
    device = Hostile(quirks=Quirks(lose_packets=lost), queue=queue, actions=actions, unasked=unasked)
    image = package(5_001)

    async def attempt() -> bool:
        link = Link(device)
        async with GattTransport(link) as transport:
            number = 0
            async for _ in SecureDfuSession(transport, options=Options(receipts_every=every)).update(image):
                if number == drop_at:
                    link.drop(0x08)
                number += 1
        return asyncio.get_running_loop().time() < 600

    with suppress(DutError):
        assert run(attempt())
        assert device.installed in (image.firmware, b"")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(chunks=st.lists(st.binary(max_size=40), max_size=20), max_write=st.sampled_from([20, 244]))
def test_random_bytes_always_end_in_a_typed_error(chunks: list[bytes], max_write: int) -> None:
    replies = iter(chunks)

    with pytest.raises(DutError):
        run(update(Device(), package(300), max_write=max_write, tamper=lambda _reply: [next(replies, b"")]))


# ---------------------------------------------------------------------------------------------------------------- serial
async def serial_update(line: SerialLine, image: Image, options: Options | None = None) -> list[Progress]:
    async with SerialTransport(line) as transport:
        return [progress async for progress in SecureDfuSession(transport, options=options).update(image)]


@pytest.mark.parametrize("every", [0, 1, 12])
@pytest.mark.parametrize(("mtu", "packet"), [(131, 64), (130, 60), (19, 8)])
def test_the_image_is_installed_over_a_serial_line(every: int, mtu: int, packet: int) -> None:
    device, image = Device(queue=0), package(9_001)

    run(serial_update(SerialLine(device, mtu=mtu), image, Options(receipts_every=every)))

    assert device.installed == image.firmware
    assert max(map(len, device.packets)) == packet


@pytest.mark.parametrize("noise", [b"Booting...\r\n", b"\xc0\xc0", b"\xdb\x00\xc0", bytes(range(256))])
def test_boot_messages_before_the_first_pong_are_skipped(noise: bytes) -> None:
    device, image = Device(queue=0), package(300)

    run(serial_update(SerialLine(device, noise=noise), image))

    assert device.installed == image.firmware


def test_a_silent_serial_line_ends_in_no_reply() -> None:
    with pytest.raises(NoReply, match="no reply to ping within 15 s"):
        run(serial_update(SerialLine(Device(), tamper=lambda _data: b""), package(300)))


@pytest.mark.parametrize("mtu", [0, 1, 3, 10])
def test_an_absurd_mtu_is_malformed(mtu: int) -> None:
    with pytest.raises(MalformedReply, match="leaves no room"):
        run(serial_update(SerialLine(Device(), mtu=mtu), package(300)))


def test_a_damaged_frame_carries_its_bytes() -> None:
    with pytest.raises(MalformedReply) as error:
        run(serial_update(SerialLine(Device(), tamper=lambda data: data if data[1] == 9 else b"\x60\xdb\x01\xc0"), package(300)))

    assert error.value.data == b"\x60\xdb\x01"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(noise=st.dictionaries(st.integers(0, 40), st.binary(max_size=30), min_size=1, max_size=3))
def test_noise_on_a_serial_line_ends_in_a_typed_error_or_success(noise: dict[int, bytes]) -> None:
    device, image, number = Device(queue=0), package(5_001), -1

    def tamper(data: bytes) -> bytes:
        nonlocal number
        number += 1
        return noise.get(number, data)

    with suppress(DutError):
        run(serial_update(SerialLine(device, tamper=tamper), image, Options(receipts_every=12)))
        assert device.installed == image.firmware


# ------------------------------------------------------------------------------------------------------------- buttonless
class Application:
    """The buttonless service of an application, as a link: answers by indication, then resets."""

    def __init__(self, *, answers: dict[int, bytes], resets: bool = True) -> None:
        self.max_write = 20
        self.lost_reason: int | None = None
        self.requests: list[tuple[str, bytes]] = []
        self._answers = answers
        self._resets = resets
        self._lost = asyncio.get_running_loop().create_future()
        self._receiver: dict[str, Callable[[bytes], None]] = {}

    @property
    def is_up(self) -> bool:
        return not self._lost.done()

    async def read(self, characteristic: str) -> bytes:
        raise NotImplementedError

    async def write(self, characteristic: str, data: bytes, *, response: bool) -> None:
        assert response
        self.requests.append((characteristic, data))
        loop = asyncio.get_running_loop()
        if data[0] in self._answers:
            loop.call_later(0.03, self._receiver[characteristic], self._answers[data[0]])
        if data[0] == 1 and self._resets:
            loop.call_later(0.5, self._lost.set_result, 0x13)

    async def subscribe(self, characteristic: str, receiver: Callable[[bytes], None]) -> None:
        self._receiver[characteristic] = receiver

    async def wait_lost(self) -> int | None:
        return int(await asyncio.shield(self._lost))

    async def disconnect(self) -> None:
        raise AssertionError("the device must end the link")


AGREES = {1: b"\x20\x01\x01", 2: b"\x20\x02\x01"}


def enter(*, answers: dict[int, bytes] = AGREES, resets: bool = True, **arguments: Any) -> list[tuple[str, bytes]]:
    async def work() -> list[tuple[str, bytes]]:
        application = Application(answers=answers, resets=resets)
        await enter_bootloader(application, **arguments)
        assert not application.is_up
        return application.requests

    return run(work())


def test_buttonless_entry_waits_for_the_device_to_drop_the_link() -> None:
    assert enter(bonded=False) == [(BUTTONLESS_OPEN, b"\x01")]
    assert enter(bonded=True) == [(BUTTONLESS_BONDED, b"\x01")]


def test_the_advertising_name_is_set_first() -> None:
    assert enter(bonded=False, name="Rig é") == [(BUTTONLESS_OPEN, b"\x02\x06Rig \xc3\xa9"), (BUTTONLESS_OPEN, b"\x01")]


@pytest.mark.parametrize(("code", "name"), [(2, "operation not supported"), (4, "operation failed"), (7, "not bonded"), (9, "unknown")])
def test_buttonless_refusals(code: int, name: str) -> None:
    with pytest.raises(Refused, match=f"enter bootloader was refused: {name}") as refusal:
        enter(answers={1: bytes((0x20, 1, code))}, bonded=False)
    assert (refusal.value.group, refusal.value.code) == (BUTTONLESS_GROUP, code)


@pytest.mark.parametrize("answer", [b"", b"\x20", b"\x20\x02\x01", b"\x60\x01\x01", b"\x20\x01\x01\x00"])
def test_buttonless_nonsense(answer: bytes) -> None:
    with pytest.raises(MalformedReply) as error:
        enter(answers={1: answer}, bonded=False)
    assert error.value.data == answer


def test_buttonless_silences() -> None:
    with pytest.raises(NoReply, match="set advertising name within 10 s"):
        enter(answers={}, bonded=False, name="x")
    with pytest.raises(NoReply, match="enter bootloader within 10 s"):
        enter(answers={}, bonded=False, resets=False)
    with pytest.raises(NoReply, match="reset into the bootloader within 15 s"):
        enter(bonded=False, resets=False)


@pytest.mark.parametrize("length", [0, 21])
def test_a_name_that_no_device_takes_is_the_operators_mistake(length: int) -> None:
    with pytest.raises(ConfigError, match="advertising name"):
        enter(bonded=False, name="x" * length)


@pytest.mark.parametrize(
    ("address", "one_byte", "whole"),
    [
        ("C0:11:22:33:44:55", "C0:11:22:33:44:56", "C0:11:22:33:44:56"),
        ("c0:11:22:33:44:ff", "C0:11:22:33:44:00", "C0:11:22:33:45:00"),
        ("FF:FF:FF:FF:FF:FF", "FF:FF:FF:FF:FF:00", "00:00:00:00:00:00"),
    ],
)
def test_address_plus_one_wraps_in_two_ways(address: str, one_byte: str, whole: str) -> None:
    assert next_address_one_byte(address) == one_byte
    assert next_address_whole(address) == whole


def test_what_counts_as_the_bootloader() -> None:
    def seen(address: str, name: str = "DfuTarg", *services: str) -> Advertisement:
        return Advertisement(address=address, name=name, service_uuids=services, rssi_dbm=-50, seen_s=0.0)

    app = "C0:11:22:33:44:FF"
    assert is_bootloader(address=app)(seen("C0:11:22:33:44:00"))
    assert is_bootloader(address=app)(seen("c0:11:22:33:45:00"))
    assert not is_bootloader(address=app)(seen(app))
    assert not is_bootloader(address=app)(seen("C0:11:22:33:44:01", "DfuTarg", "fe59"))
    assert is_bootloader(address=app, bonded=True)(seen(app))
    assert not is_bootloader(address=app, bonded=True)(seen("C0:11:22:33:44:00"))
    assert is_bootloader(address=app, name="Rig1")(seen("D0:00:00:00:00:00", "Rig1"))
    assert is_bootloader()(seen("D0:00:00:00:00:00", "", "0000FE59-0000-1000-8000-00805F9B34FB"))
    assert not is_bootloader()(seen("D0:00:00:00:00:00", "DfuTarg"))


# ---------------------------------------------------------------------------------------------------------------- capture
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
