"""From the application into the bootloader, and how the board is recognised afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rig.errors import ConfigError, NoReply, Refused
from rig.ota.secure_dfu import (
    BUTTONLESS_BONDED,
    BUTTONLESS_GROUP,
    BUTTONLESS_OPEN,
    MalformedReply,
    enter_bootloader,
    is_bootloader,
    next_address_one_byte,
    next_address_whole,
)
from rig.ports import Advertisement
from tests.dfu_links import run


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
