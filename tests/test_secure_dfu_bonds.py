"""The bonded variant: the application pairs and hands its bond over, the bootloader serves that central and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from rig.drivers.radio_bleak import BleakRadio
from rig.errors import PAIRING_GROUP, Refused
from rig.ports import GattLink
from rig.virtual.air import CURRENT_AIR, Air
from rig.virtual.ble_peripheral import BlePeripheral, Bond, Characteristic, Security, Service
from rig.virtual.secure_dfu import default_config, hand_over_bond
from rig.virtual.secure_dfu.ble import CONTROL_POINT, SERVICE
from rig.virtual.secure_dfu.peer_data import PeerData
from tests.instant_dfu_cpu import Board, Life, image, on_virtual_time
from tests.instant_dfu_host import enter_dfu

ADDRESS = "C0:11:22:33:44:FF"
BUTTONLESS = "8ec90004-f315-4f60-9fb8-838830daea50"
DFU = "0000fe59-0000-1000-8000-00805f9b34fb"
_INSUFFICIENT_AUTHENTICATION, _INSUFFICIENT_ENCRYPTION = 0x05, 0x0F
CONFIG = replace(default_config("nrf52840"), requires_bonds=True)


@pytest.mark.parametrize("peer", ["C1:02:03:04:05:06", "00:60:37:00:00:01/P"])
@pytest.mark.parametrize("authenticated", [False, True])
def test_bonding_data_are_read_as_they_are_written(peer, authenticated):
    data = PeerData(peer=peer, bond=Bond(key=bytes(range(1, 17)), authenticated=authenticated))
    encoded = data.encode()
    assert len(encoded) == 60
    assert PeerData.decode(encoded) == data
    assert encoded[0x11:0x17] == bytes.fromhex(peer.removesuffix("/P").replace(":", ""))[::-1]
    assert encoded[0x18:0x28] == bytes(range(1, 17))
    assert encoded[0x28] == (0x43 if authenticated else 0x41)  # 16 octets, authenticated or not, LE Secure Connections


class RadioLife(Life):
    """A life with a radio that is on the air."""

    def __init__(self, board: Board, air: Air) -> None:
        super().__init__(board)
        self.radio = BlePeripheral(air, address=ADDRESS, bonds=board.bonds)


async def pair_with_application(air: Air, board: Board, radio: BleakRadio) -> None:
    """The application has an encrypted characteristic; pairing gives both sides a bond."""
    peripheral = BlePeripheral(air, address=ADDRESS, bonds=board.bonds)
    value = Characteristic(uuid=BUTTONLESS, properties=frozenset({"write", "indicate"}), security=Security.ENCRYPTED)
    await peripheral.start([Service(uuid=SERVICE, characteristics=(value,))], name="app")
    await peripheral.advertise(name="app", service_uuids=[SERVICE], interval_s=0.1)
    found = await radio.find(lambda seen: seen.address == ADDRESS, timeout_s=10)
    link = await radio.connect(found, services=[DFU], timeout_s=10)
    await link.subscribe(BUTTONLESS, lambda _data: None)
    peripheral.vanish()
    await link.wait_lost()


@asynccontextmanager
async def bonded_dfu_mode(air: Air, radio: BleakRadio, *, bonded_with: str | None = None) -> AsyncIterator[None]:
    """The bootloader on the air, with the bond of `radio`, or as if that were the bond with the central `bonded_with`."""
    board = enter_dfu(Board(application=image(6_000, 1), config=CONFIG))
    await pair_with_application(air, board, radio)
    ((peer, bond),) = board.bonds.items()
    assert await hand_over_bond(Life(board), CONFIG, bond, peer=bonded_with or peer)
    board.bonds.clear()  # what the application keeps in its own pages is out of the bootloader's reach
    life = RadioLife(board, air)
    life.spawn(life.execute())
    try:
        yield
    finally:
        life.radio.vanish()
        life.end("over")
        await asyncio.sleep(0)


async def connect(radio: BleakRadio, *, secured: bool = True) -> GattLink:
    found = await radio.find(lambda seen: seen.name == "DfuTarg", timeout_s=10)
    assert found.address == ADDRESS
    return await radio.connect(found, services=[DFU], timeout_s=10, secured=secured)


def on_air(story: Callable[[Air, BleakRadio], Awaitable[None]]) -> None:
    async def main() -> None:
        air = Air(seed=1)
        CURRENT_AIR.set(air)
        async with asyncio.timeout(300), BleakRadio(owner="dk", adapter="virtual", pair=True) as radio:
            await story(air, radio)

    on_virtual_time(main())


def test_the_bonded_central_is_served():
    async def story(air, radio):
        async with bonded_dfu_mode(air, radio):
            link = await connect(radio)
            replies: asyncio.Queue[bytes] = asyncio.Queue()
            await link.subscribe(CONTROL_POINT, replies.put_nowait)
            await link.write(CONTROL_POINT, b"\x06\x01", response=True)
            assert (await replies.get()).hex() == "60060100020000" + "00" * 8

    on_air(story)


async def refusal(work: Awaitable[object]) -> tuple[int, int]:
    with pytest.raises(Refused) as refused:
        await work
    return refused.value.group, refused.value.code


def test_the_bonded_central_is_refused_on_an_open_link():
    """Value and CCCD alike; there is a key, so encryption is what is missing."""

    async def story(air, radio):
        async with bonded_dfu_mode(air, radio):
            link = await connect(radio, secured=False)
            assert await refusal(link.subscribe(CONTROL_POINT, lambda _data: None)) == (-1, _INSUFFICIENT_ENCRYPTION)
            assert await refusal(link.write(CONTROL_POINT, b"\x06\x01", response=True)) == (-1, _INSUFFICIENT_ENCRYPTION)

    on_air(story)


def test_a_stranger_is_refused_and_cannot_pair():
    async def story(air, radio):
        mode = bonded_dfu_mode(air, radio, bonded_with="C1:02:03:04:05:06")
        async with mode, BleakRadio(owner="stranger", adapter="virtual", pair=True) as stranger:
            link = await connect(stranger, secured=False)
            assert await refusal(link.subscribe(CONTROL_POINT, lambda _data: None)) == (-1, _INSUFFICIENT_AUTHENTICATION)
            await link.disconnect()
            assert (await refusal(connect(stranger)))[0] == PAIRING_GROUP

    on_air(story)
