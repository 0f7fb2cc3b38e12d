"""The bleak driver on BlueZ's own language: a private D-Bus with a stand-in for bluetoothd.

Needs `dbus-daemon`, which comes with every D-Bus.  Scanning only; see `tests.fake_bluez`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rig.drivers.radio_bleak import BleakRadio
from rig.errors import InstrumentError, NotFound
from tests.fake_bluez import Device, bluez, private_bus

SMP = "8d53dc1d-1db7-4cd3-868b-8a527460aa84"
BOARD = Device(address="C0:00:00:00:00:01", name="rig-dk1", rssi_dbm=-48, service_uuids=[SMP])
OTHER = Device(address="C0:00:00:00:00:02", name="kettle", rssi_dbm=-70)
LIMIT_S = 20.0


def on_bus(story: Callable[[str], Awaitable[None]]) -> None:
    """Run `story` with the address of a private system bus."""

    async def main() -> None:
        async with asyncio.timeout(LIMIT_S), private_bus() as address:
            await story(address)

    asyncio.run(main())


def test_a_board_is_found_among_others_with_name_level_and_services() -> None:
    async def story(address: str) -> None:
        async with bluez(address, devices=[OTHER, BOARD]), BleakRadio(owner="dk1", adapter="hci0") as radio:
            found = await radio.find(lambda seen: SMP in seen.service_uuids, timeout_s=5.0)
            assert (found.address, found.name, found.rssi_dbm) == (BOARD.address, BOARD.name, BOARD.rssi_dbm)

    on_bus(story)


def test_silence_is_not_found_and_tells_how_many_others_were_heard() -> None:
    async def story(address: str) -> None:
        async with bluez(address, devices=[OTHER]), BleakRadio(owner="dk1", adapter="hci0") as radio:
            with pytest.raises(NotFound, match="1 other"):
                await radio.find(lambda seen: SMP in seen.service_uuids, timeout_s=0.5)

    on_bus(story)


def test_an_adapter_that_is_not_there_is_the_rigs_trouble() -> None:
    async def story(address: str) -> None:
        async with bluez(address, devices=[], adapter=False):
            with pytest.raises(InstrumentError, match=r"dk1\.radio"):
                async with BleakRadio(owner="dk1", adapter="hci0") as radio:
                    await radio.find(lambda _seen: True, timeout_s=1.0)

    on_bus(story)


def test_a_bus_without_bluez_is_the_rigs_trouble() -> None:
    async def story(_address: str) -> None:
        with pytest.raises(InstrumentError, match=r"dk1\.radio"):
            async with BleakRadio(owner="dk1", adapter="hci0") as radio:
                await radio.find(lambda _seen: True, timeout_s=1.0)

    on_bus(story)


def test_a_bluetoothd_that_dies_between_two_scans_is_the_rigs_trouble() -> None:
    async def story(address: str) -> None:
        service = bluez(address, devices=[BOARD])
        await service.__aenter__()
        async with BleakRadio(owner="dk1", adapter="hci0") as radio:
            await radio.find(lambda seen: seen.name == BOARD.name, timeout_s=5.0)
            await service.__aexit__(None, None, None)
            with pytest.raises(InstrumentError, match=r"dk1\.radio: scanning failed"):
                await radio.find(lambda _seen: True, timeout_s=1.0)

    on_bus(story)
