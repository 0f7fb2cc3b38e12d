"""The parts of bleak's interface that the radio does not use itself, on the bumble backend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from bleak import BleakClient, BleakScanner
from bleak.exc import BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError
from bumble import hci
from bumble.host import Host

from rig.drivers import bumble_central
from rig.drivers.bumble_bleak import backends
from rig.drivers.bumble_central import BumbleCentral, LinkOptions
from rig.virtual.adapter import open_adapter
from rig.virtual.air import CURRENT_AIR, Air
from rig.virtual.ble_peripheral import BlePeripheral, Characteristic, Security, Service
from rig.virtual.clock import loop_factory

ADDRESS, NAME = "C0:00:00:00:00:01", "backend test"
SERVICE = "5a1e0000-9f3b-4a7c-8c21-0f6d2b9e7a10"
ECHO = "5a1e0001-9f3b-4a7c-8c21-0f6d2b9e7a10"
SECRET = "5a1e0002-9f3b-4a7c-8c21-0f6d2b9e7a10"
EVERYTHING = frozenset({"read", "write", "notify"})


class Scene:
    """A board, and a central whose backends are in `options`."""

    def __init__(self, board: BlePeripheral, central: BumbleCentral) -> None:
        self.board, self.central = board, central
        self.scanner_backend, self.client_backend = backends(central)

    async def client(self, **options: Any) -> BleakClient:
        device = await BleakScanner.find_device_by_name(NAME, backend=self.scanner_backend)
        assert device is not None
        client = BleakClient(device, backend=self.client_backend, **options)
        await client.connect()
        return client


def run(test: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        air = Air(seed=1)
        CURRENT_AIR.set(air)
        board = BlePeripheral(air, address=ADDRESS)
        characteristics = (
            Characteristic(uuid=ECHO, properties=EVERYTHING, on_read=lambda: b"value"),
            Characteristic(uuid=SECRET, properties=EVERYTHING, security=Security.ENCRYPTED),
        )
        await board.start([Service(uuid=SERVICE, characteristics=characteristics)], name=NAME, max_mtu=517)
        await board.advertise(name=NAME, service_uuids=[SERVICE], interval_s=0.1)
        central = await BumbleCentral.open(await open_adapter(""), LinkOptions())
        try:
            async with asyncio.timeout(100):
                await test(Scene(board, central))
        finally:
            await central.close()
            board.vanish()

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        runner.run(main())


def test_all_services_are_discovered_when_none_is_named() -> None:
    async def test(scene: Scene) -> None:
        client = await scene.client()
        uuids = [service.uuid for service in client.services]
        assert uuids == ["00001800-0000-1000-8000-00805f9b34fb", "00001801-0000-1000-8000-00805f9b34fb", SERVICE]
        assert await client.read_gatt_char("00002a00-0000-1000-8000-00805f9b34fb") == NAME.encode()
        echo = client.services.get_characteristic(ECHO)
        assert echo is not None
        assert sorted(echo.properties) == ["notify", "read", "write"]
        assert echo.max_write_without_response_size == 512
        assert client.mtu_size == 517

    run(test)


def test_a_client_that_knows_only_an_address_looks_for_the_device_itself() -> None:
    async def test(scene: Scene) -> None:
        client = BleakClient(ADDRESS, backend=scene.client_backend)
        await client.connect()
        assert client.is_connected
        assert client.name == NAME
        stranger = BleakClient("C0:00:00:00:00:99", backend=scene.client_backend, timeout=2.0)
        with pytest.raises((BleakDeviceNotFoundError, TimeoutError)):
            await stranger.connect()

    run(test)


def test_descriptors_and_cached_values() -> None:
    async def test(scene: Scene) -> None:
        client = await scene.client()
        echo = client.services.get_characteristic(ECHO)
        assert echo is not None
        (cccd,) = echo.descriptors
        await client._backend.write_gatt_descriptor(cccd, b"\x01\x00")  # bleak itself refuses, because it is a CCCD
        assert scene.board.is_subscribed(ECHO)
        assert await client.read_gatt_descriptor(cccd.handle) == b"\x01\x00"
        assert await client.read_gatt_char(echo) == b"value"
        assert await client.read_gatt_char(echo, use_cached=True) == b"value"

    run(test)


def test_a_refused_subscription_leaves_no_receiver_behind() -> None:
    async def test(scene: Scene) -> None:
        client = await scene.client()
        received: list[bytes] = []
        with pytest.raises(BleakGATTProtocolError):
            await client.start_notify(SECRET, lambda _sender, data: received.append(bytes(data)))
        await client.pair()
        await client.start_notify(SECRET, lambda _sender, data: received.append(bytes(data)))
        await scene.board.notify(SECRET, b"once")
        await asyncio.sleep(1.0)
        await client.stop_notify(SECRET)
        assert not scene.board.is_subscribed(SECRET)
        assert received == [b"once"]

    run(test)


def test_unpairing_ends_the_connection_and_forgets_the_key() -> None:
    async def test(scene: Scene) -> None:
        client = await scene.client(pair=True)
        await client.unpair()
        assert not client.is_connected
        client = await scene.client()
        with pytest.raises(BleakGATTProtocolError):
            await client.read_gatt_char(SECRET)

    run(test)


def test_a_client_can_connect_again_and_only_once_at_a_time() -> None:
    async def test(scene: Scene) -> None:
        ends: list[BleakClient] = []
        client = await scene.client(disconnected_callback=ends.append)
        with pytest.raises(BleakError, match="already connected"):
            await client.connect()
        await client.disconnect()
        await client.disconnect()
        with pytest.raises(BleakError):
            await client.read_gatt_char(ECHO)
        await client.connect()
        assert await client.read_gatt_char(ECHO) == b"value"
        assert ends == [client]

    run(test)


def test_a_passive_scanner_sees_no_scan_response() -> None:
    async def test(scene: Scene) -> None:
        found = await BleakScanner.discover(timeout=2.0, return_adv=True, scanning_mode="passive", backend=scene.scanner_backend)
        assert [data.local_name for _, data in found.values()] == [None]

    run(test)


def test_two_scanners_share_the_radio() -> None:
    async def test(scene: Scene) -> None:
        every, filtered = [], []
        async with BleakScanner(lambda device, _data: every.append(device.address), backend=scene.scanner_backend):
            async with BleakScanner(
                lambda device, _data: filtered.append(device.address), service_uuids=[ECHO], backend=scene.scanner_backend
            ):
                await asyncio.sleep(1.0)
            seen = len(every)
            await asyncio.sleep(1.0)
        assert 0 < seen < len(every)
        assert set(every) == {ADDRESS}
        assert filtered == []

    run(test)


def test_a_central_that_is_switched_off_is_noticed_by_the_supervision_timeout() -> None:
    async def test(scene: Scene) -> None:
        lost: list[int] = []
        scene.board.on_disconnected = lost.append
        await scene.client()
        await scene.central.close()
        await asyncio.sleep(3.9)
        assert lost == []
        await asyncio.sleep(0.2)
        assert lost == [0x08]

    run(test)


def test_the_quiet_host_sends_and_receives_what_bumbles_own_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def capture() -> bytes:
        captured = bytearray()

        async def test(scene: Scene) -> None:
            scene.central.capture(captured.extend)
            client = await scene.client()
            await client.start_notify(ECHO, lambda _sender, _data: None)
            for number in range(5):
                await client.write_gatt_char(ECHO, bytes([number]) * 500, response=True)
                await scene.board.notify(ECHO, bytes([number]) * 500)
            await client.disconnect()

        run(test)
        return bytes(captured)

    quiet = capture()
    monkeypatch.setattr(bumble_central, "_QuietHost", Host)
    assert capture() == quiet
    assert len(quiet) > 5000


def test_link_commands_of_the_host_work() -> None:
    async def test(scene: Scene) -> None:
        await scene.client()
        (connection,) = scene.central.device.connections.values()
        assert await connection.get_rssi() == -50
        assert (await connection.get_phy()).tx_phy == 1
        await connection.set_phy(tx_phys=[2], rx_phys=[2])
        await asyncio.sleep(0.5)
        assert (await connection.get_phy()).tx_phy == 2
        await connection.set_data_length(100, 1000)
        await asyncio.sleep(0.5)
        assert connection.data_length.max_tx_octets == 100
        await connection.update_parameters(30, 30, 0, 2000)
        assert connection.parameters.connection_interval == 30
        with pytest.raises(hci.HCI_Error, match="UNKNOWN_HCI_COMMAND"):
            await scene.central.device.send_async_command(
                hci.HCI_Read_Remote_Version_Information_Command(connection_handle=connection.handle)
            )

    run(test)
