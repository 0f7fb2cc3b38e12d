"""A bleak backend whose radio is a bumble host: `bleak.BleakScanner` and `bleak.BleakClient` on any HCI controller.

bleak takes backends as classes, so `backends` makes a pair of classes that are bound to one central.  Beyond what bleak asks for, a
client knows why its connection ended: pass ``on_lost=`` through `bleak.BleakClient`; with ``encrypt=False`` it leaves the link open
although there is a bond.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, TypeVar

from bleak.assigned_numbers import gatt_char_props_to_strs
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, AdvertisementDataCallback, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakDeviceNotFoundError, BleakError
from bleak.uuids import normalize_uuid_str
from bumble import att, core, hci
from bumble.device import Connection
from bumble.gatt_client import CharacteristicProxy, Client, ServiceProxy

from rig.drivers.bumble_central import BumbleCentral
from rig.drivers.bumble_errors import ConnectionEnded, controller_errors, device_errors

_PREFERRED_MTU = 517
"""What BlueZ asks for."""
_MAX_VALUE = 512
"""Longer attribute values do not exist (Vol 3 Part F 3.2.9), whatever the MTU."""
_QUEUED_PACKETS = 16
"""A write without response waits while more data packets than these are on their way."""
_FAILED_TO_ESTABLISH = 0x3E
_LOCAL_HOST_TERMINATED = 0x16
_BASE_UUID_TAIL = "-0000-1000-8000-00805f9b34fb"
_CCCD = "00002902-0000-1000-8000-00805f9b34fb"
_Type = core.AdvertisingData.Type
_T = TypeVar("_T")


def backends(central: BumbleCentral) -> tuple[type[BaseBleakScanner], type[BaseBleakClient]]:
    """The ``backend=`` classes for `bleak.BleakScanner` and `bleak.BleakClient` on this central."""

    class Scanner(BumbleScanner):
        pass

    class Client(BumbleClient):
        pass

    Scanner.central = Client.central = central
    return Scanner, Client


def _address(address: hci.Address) -> str:
    return address.to_string(with_type_qualifier=False).upper()


def _uuid(uuid: core.UUID) -> str:
    return normalize_uuid_str(uuid.to_hex_str("-"))


def _bumble_uuid(uuid: str) -> core.UUID:
    is_short = uuid.startswith("0000") and uuid.endswith(_BASE_UUID_TAIL)
    return core.UUID(uuid[4:8] if is_short else uuid)


# --------------------------------------------------------------------------------------------------------------- scanner
class BumbleScanner(BaseBleakScanner):
    """Merges advertisement and scan response of a device, as operating systems do."""

    central: ClassVar[BumbleCentral]

    def __init__(
        self,
        detection_callback: AdvertisementDataCallback | None,
        service_uuids: list[str] | None,
        scanning_mode: str = "active",
        **_options: Any,
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self._active = scanning_mode != "passive"
        self._is_running = False

    async def start(self) -> None:
        self.seen_devices = {}
        self.central.device.host.on("advertising_report", self._on_report)
        self._is_running = True
        with controller_errors():
            await self.central.start_scanning(active=self._active)

    async def stop(self) -> None:
        if not self._is_running:
            return
        self._is_running = False
        self.central.device.host.remove_listener("advertising_report", self._on_report)
        with controller_errors():
            await self.central.stop_scanning()

    def _on_report(self, report: hci.HCI_LE_Extended_Advertising_Report_Event.Report) -> None:
        key = _address(report.address)
        seen = self.seen_devices.get(key)
        data = _merge(seen[1] if seen is not None else None, bytes(report.data), report.rssi)
        device = self.create_or_update_device(key, key, data.local_name, report.address, data)
        if self.is_allowed_uuid(data.service_uuids):
            self.call_detection_callbacks(device, data)


def _merge(before: AdvertisementData | None, octets: bytes, rssi: int) -> AdvertisementData:
    """What is known of a device after one more packet from it."""
    data = before or AdvertisementData(None, {}, {}, [], None, rssi, ())
    name, uuids, tx_power = data.local_name, list(data.service_uuids), data.tx_power
    services, manufacturers = dict(data.service_data), dict(data.manufacturer_data)
    for kind, value in core.AdvertisingData.from_bytes(octets).ad_structures:
        match kind:
            case _Type.COMPLETE_LOCAL_NAME | _Type.SHORTENED_LOCAL_NAME:
                name = value.decode("utf-8", "replace")
            case _Type.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS | _Type.INCOMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS:
                uuids += _uuids(value, 2)
            case _Type.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS | _Type.INCOMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS:
                uuids += _uuids(value, 16)
            case _Type.SERVICE_DATA_16_BIT_UUID:
                services[_uuids(value[:2], 2)[0]] = bytes(value[2:])
            case _Type.SERVICE_DATA_128_BIT_UUID:
                services[_uuids(value[:16], 16)[0]] = bytes(value[16:])
            case _Type.MANUFACTURER_SPECIFIC_DATA:
                manufacturers[int.from_bytes(value[:2], "little")] = bytes(value[2:])
            case _Type.TX_POWER_LEVEL:
                tx_power = int.from_bytes(value[:1], "little", signed=True)
    return AdvertisementData(name, manufacturers, services, list(dict.fromkeys(uuids)), tx_power, rssi, ())


def _uuids(octets: bytes, size: int) -> list[str]:
    return [_uuid(core.UUID.from_bytes(octets[start : start + size])) for start in range(0, len(octets) - size + 1, size)]


# ---------------------------------------------------------------------------------------------------------------- client
class BumbleClient(BaseBleakClient):
    """One GATT client.  May connect again after a connection has ended, as bleak allows."""

    central: ClassVar[BumbleCentral]

    def __init__(
        self,
        address_or_ble_device: BLEDevice | str,
        services: set[str] | None = None,
        *,
        disconnected_callback: Callable[[], None] | None,
        timeout: float,
        on_lost: Callable[[int], None] | None = None,
        encrypt: bool = True,
        **_options: Any,
    ) -> None:
        super().__init__(address_or_ble_device, disconnected_callback=disconnected_callback, timeout=timeout)
        self._device = address_or_ble_device if isinstance(address_or_ble_device, BLEDevice) else None
        self._wanted = services
        self._on_lost = on_lost
        self._encrypt = encrypt
        self._connection: Connection | None = None
        self._lost: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._flow = asyncio.Event()
        self._is_usable = False

    @property
    def name(self) -> str:
        return (self._device.name if self._device is not None else None) or self.address.replace(":", "-")

    @property
    def mtu_size(self) -> int:
        return self._connection.att_mtu if self._connection is not None else att.ATT_DEFAULT_MTU

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    # ------------------------------------------------------------------------------------------------------- connecting
    async def connect(self, pair: bool, **kwargs: Any) -> None:
        if self._connection is not None:
            raise BleakError("the client is already connected")
        async with asyncio.timeout(kwargs.get("timeout", self._timeout)):
            peer = await self._find_peer()
            while not await self._try_to_connect(peer, pair=pair):
                pass  # 0x3E: CONNECT_IND or the first six events were spoilt; BlueZ tries again as well

    async def _find_peer(self) -> hci.Address:
        if self._device is None:
            from bleak import BleakScanner  # noqa: PLC0415  only needed by callers that know nothing but an address

            scanner, _ = backends(self.central)
            self._device = await BleakScanner.find_device_by_address(self.address, timeout=self._timeout, backend=scanner)
            if self._device is None:
                raise BleakDeviceNotFoundError(self.address, f"device {self.address} was not found")
        peer: hci.Address = self._device.details
        return peer

    async def _try_to_connect(self, peer: hci.Address, *, pair: bool) -> bool:
        with controller_errors():
            connection = await self.central.connect(peer)
        self._connection = connection
        self._is_usable = False
        self._lost = asyncio.get_running_loop().create_future()
        connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)
        if (queue := connection.data_packet_queue) is not None:
            queue.on("flow", self._flow.set)
        try:
            await self._prepare(connection, pair=pair)
        except asyncio.CancelledError:
            self.central.keep(self.disconnect())  # a dead device would keep us until the supervision timeout
            raise
        except BaseException as error:
            await self.disconnect()
            if isinstance(error, ConnectionEnded) and error.hci_reason == _FAILED_TO_ESTABLISH:
                return False
            raise
        self._is_usable = True
        return True

    async def _prepare(self, connection: Connection, *, pair: bool) -> None:
        keystore = self.central.device.keystore
        if keystore is not None and await keystore.get(str(connection.peer_address)) is not None:
            if self._encrypt:
                await self._run(connection.encrypt())  # bonded: an operating system encrypts by itself
        elif pair:
            await self.pair()
        await self._run(_client(connection).request_mtu(_PREFERRED_MTU))
        self.services = await self._run(self._discover(connection))

    async def _discover(self, connection: Connection) -> BleakGATTServiceCollection:
        client = _client(connection)
        found: list[ServiceProxy] = []
        if self._wanted is None:
            found = await client.discover_services()
        else:
            for uuid in sorted(self._wanted):
                found += await client.discover_service(_bumble_uuid(uuid))
        services = BleakGATTServiceCollection()
        for proxy in found:
            service = BleakGATTService(proxy, proxy.handle, _uuid(proxy.uuid))
            services.add_service(service)
            for characteristic_proxy in await client.discover_characteristics((), proxy):
                characteristic = _characteristic(characteristic_proxy, service, connection)
                services.add_characteristic(characteristic)
                for descriptor in await client.discover_descriptors(characteristic_proxy):
                    services.add_descriptor(
                        BleakGATTDescriptor(descriptor, descriptor.handle, _uuid(descriptor.type), characteristic)
                    )
        return services

    async def disconnect(self) -> None:
        connection, lost = self._connection, self._lost
        if connection is None:
            return
        with contextlib.suppress(core.BaseBumbleError, TimeoutError):
            async with asyncio.timeout(self.central.options.supervision_s + 1.0):
                await connection.disconnect()
        if not lost.done():
            self._on_disconnection(_LOCAL_HOST_TERMINATED)

    def _on_disconnection(self, reason: int) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if (queue := connection.data_packet_queue) is not None:
            queue.remove_listener("flow", self._flow.set)
        self.services = None
        self._lost.set_result(reason)
        self._flow.set()
        if self._is_usable:
            if self._on_lost is not None:
                self._on_lost(reason)
            if self._disconnected_callback is not None:
                self._disconnected_callback()

    async def pair(self, *_args: Any, **_options: Any) -> None:
        if self._connection is None:
            await self.connect(pair=True)
        else:
            await self._run(self._connection.pair())

    async def unpair(self) -> None:
        peer = self._connection.peer_address if self._connection is not None else await self._find_peer()
        await self.disconnect()
        if self.central.device.keystore is not None:
            with contextlib.suppress(KeyError):
                await self.central.device.keystore.delete(str(peer))

    # ------------------------------------------------------------------------------------------------------------- GATT
    async def _run(self, procedure: Coroutine[Any, Any, _T] | Awaitable[_T]) -> _T:
        """Run one procedure of bumble's, and tell its failures from the loss of the connection.

        It gets a task of its own, because bumble cancels the waiter when the connection is lost; and it is never aborted half-way,
        because bumble would take the late response for the response to the next request.
        """
        task = asyncio.ensure_future(_as_coroutine(procedure))
        try:
            await asyncio.wait((task, self._lost), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.central.keep(task)
            raise
        if not task.done() or task.cancelled():
            self.central.keep(task)
            task.cancel()
            raise ConnectionEnded(self._lost.result() if self._lost.done() else _LOCAL_HOST_TERMINATED)
        with device_errors():
            return task.result()

    def _connected(self) -> Connection:
        if self._connection is None:
            raise BleakError("not connected")
        return self._connection

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **_options: Any
    ) -> bytearray:
        return await self._read(characteristic.handle, use_cached=use_cached)

    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **_options: Any
    ) -> bytearray:
        return await self._read(descriptor.handle, use_cached=use_cached)

    async def _read(self, handle: int, *, use_cached: bool) -> bytearray:
        client = _client(self._connected())
        if use_cached and handle in client.cached_values:
            return bytearray(client.cached_values[handle][1])
        return bytearray(await self._run(client.read_value(handle)))

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: Any, response: bool) -> None:
        connection = self._connected()
        value = bytes(data)
        if response:
            await self._run(_client(connection).write_value(characteristic.handle, value, with_response=True))
            return
        if len(value) > min(connection.att_mtu - 3, _MAX_VALUE):
            raise BleakError(f"{len(value)} bytes are too long for a write without response")
        connection.send_l2cap_pdu(att.ATT_CID, b"\x52" + characteristic.handle.to_bytes(2, "little") + value)
        queue = connection.data_packet_queue
        while queue is not None and queue.pending > _QUEUED_PACKETS:
            self._flow.clear()
            await self._flow.wait()
            self._connected()

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: Any) -> None:
        await self._run(_client(self._connected()).write_value(descriptor.handle, bytes(data), with_response=True))

    async def start_notify(self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **_options: Any) -> None:
        if characteristic.get_descriptor(_CCCD) is None:
            raise BleakError(f"{characteristic.uuid} has no configuration descriptor, so it cannot notify")
        proxy: CharacteristicProxy[bytes] = characteristic.obj
        client = _client(self._connected())
        try:
            await self._run(client.subscribe(proxy, lambda value: callback(bytearray(value))))
        except BaseException:
            # bumble registers the receiver before the device has accepted
            client.notification_subscribers.pop(proxy.handle, None)
            client.indication_subscribers.pop(proxy.handle, None)
            raise

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        await self._run(_client(self._connected()).unsubscribe(characteristic.obj))


def _client(connection: Connection) -> Client:
    return connection.gatt_client


def _characteristic(
    proxy: CharacteristicProxy[bytes], service: BleakGATTService, connection: Connection
) -> BleakGATTCharacteristic:
    return BleakGATTCharacteristic(
        proxy,
        proxy.handle,
        _uuid(proxy.uuid),
        sorted(gatt_char_props_to_strs(int(proxy.properties))),
        lambda: min(connection.att_mtu - 3, _MAX_VALUE),
        service,
    )


async def _as_coroutine(awaitable: Awaitable[_T]) -> _T:
    return await awaitable
