"""What goes wrong on the way to a Secure DFU device has a type, a name and the bytes in it; nothing hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import DutError, LinkLost, NoReply, Refused
from rig.ota.secure_dfu import EXTENDED_GROUP, RESULT_GROUP, GattTransport, MalformedReply, Options, SecureDfuSession
from rig.ota.secure_dfu.transport import Inbox
from tests.dfu_device import Device, Quirks, package
from tests.dfu_links import Link, run, update


# --------------------------------------------------------------------------------------------------------------- errors
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


def test_nobody_collects_a_storm() -> None:
    inbox = Inbox()
    for _ in range(1000):
        inbox.put(b"\x60\x03")

    with pytest.raises(MalformedReply, match="a storm: 256"):
        run(inbox.get())


def test_what_comes_between_packets_without_being_asked_for_is_noticed_at_once() -> None:
    with pytest.raises(MalformedReply) as error:
        run(update(Hostile(unasked={6: b"\x60\x03\x01"}), package(), max_write=20))

    assert (error.value.request, error.value.data) == ("packet", b"\x60\x03\x01")


def test_more_receipts_than_packets_are_an_error() -> None:
    class Repeating(Device):
        def packet(self, data: bytes) -> list[bytes]:
            return super().packet(data) * (3 if self.current == 2 else 1)

    with pytest.raises(MalformedReply, match="packet receipt: there are more receipts than packets"):
        run(update(Repeating(queue=0), package(), Options(receipts_every=1)))


def test_receipts_in_front_of_another_reply_are_skipped_but_not_for_ever() -> None:
    class Chatty(Device):
        def request(self, data: bytes) -> list[bytes]:
            extra = [self.crc_reply()] * 100 if data == b"\x04" else []
            return extra + super().request(data)

    with pytest.raises(MalformedReply, match="init execute: the reply is to opcode 03"):
        run(update(Chatty(), package(), Options(receipts_every=1)))


@pytest.mark.parametrize("largest", [0, 3])
def test_a_device_without_room_for_objects_is_an_error(largest: int) -> None:
    with pytest.raises(MalformedReply, match=f"data select: the largest object has {largest} bytes"):
        run(update(Device(max_data=largest), package()))


def test_a_link_lost_while_an_answer_is_awaited_is_not_called_a_silence() -> None:
    async def lose() -> None:
        link = Link(Device(quirks=Quirks(ignore=[b"\x04"])))
        async with GattTransport(link) as transport:
            asyncio.get_running_loop().call_later(5, link.drop, 0x08)
            async for _ in SecureDfuSession(transport).update(package()):
                pass

    with pytest.raises(LinkLost):
        run(lose())


# ------------------------------------------------------------------------------------------------------ hostile devices
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


@settings(max_examples=250, deadline=None, derandomize=True)
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


@settings(max_examples=100, deadline=None, derandomize=True)
@given(chunks=st.lists(st.binary(max_size=40), max_size=20), max_write=st.sampled_from([20, 244]))
def test_random_bytes_always_end_in_a_typed_error(chunks: list[bytes], max_write: int) -> None:
    replies = iter(chunks)

    with pytest.raises(DutError):
        run(update(Device(), package(300), max_write=max_write, tamper=lambda _reply: [next(replies, b"")]))
