"""org.bluez.Device1 and the GATT objects below it: one device that bluetoothd has heard of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError
from dbus_fast import Variant

from rig.drivers.bumble_errors import PairingFailed
from tests.bluez.errors import BluezFault, in_progress, of_connect, of_gatt, unknown_object, wants_security
from tests.bluez.objects import ObjectTree

DEVICE = "org.bluez.Device1"
SERVICE = "org.bluez.GattService1"
CHARACTERISTIC = "org.bluez.GattCharacteristic1"
DESCRIPTOR = "org.bluez.GattDescriptor1"
_CONNECT_S = 20.0
_RSSI_STEP_DB = 8
"""Smaller changes of level are not told while duplicates are filtered (src/device.c)."""
_NOTIFYING = frozenset({"notify", "indicate"})

Client = Callable[..., BaseBleakClient]
_T = TypeVar("_T")


class Device:
    """`make_client` makes what connects to it; `path` is its object."""

    def __init__(self, tree: ObjectTree, *, adapter: str, found: BLEDevice, data: AdvertisementData, make_client: Client) -> None:
        self.path = f"{adapter}/dev_{found.address.replace(':', '_')}"
        self._tree, self._found, self._make_client = tree, found, make_client
        self._client: BaseBleakClient | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._attributes: dict[str, BleakGATTCharacteristic | BleakGATTDescriptor] = {}
        self._writing: set[str] = set()
        self._commands: asyncio.Queue[tuple[BleakGATTCharacteristic, bytes]] = asyncio.Queue()
        self._sending: asyncio.Task[None] | None = None
        tree.add(self.path, DEVICE, self._first_properties(adapter, data))

    def _first_properties(self, adapter: str, data: AdvertisementData) -> dict[str, Variant]:
        address = self._found.address
        return {
            "Address": Variant("s", address),
            "AddressType": Variant("s", "random"),
            "Adapter": Variant("o", adapter),
            "Alias": Variant("s", data.local_name or address.replace(":", "-")),
            "RSSI": Variant("n", data.rssi),
            "UUIDs": Variant("as", data.service_uuids),
            **({"Name": Variant("s", data.local_name)} if data.local_name else {}),
            **{name: Variant("b", False) for name in ("Paired", "Bonded", "Trusted", "Blocked", "Connected", "ServicesResolved")},
        }

    def heard(self, data: AdvertisementData) -> None:
        """Another advertisement: what it changes is told."""
        there = self._tree.objects[self.path][DEVICE]
        wanted = {"UUIDs": Variant("as", data.service_uuids)}
        if data.local_name:
            wanted |= {"Name": Variant("s", data.local_name), "Alias": Variant("s", data.local_name)}
        if "RSSI" not in there or abs(there["RSSI"].value - data.rssi) >= _RSSI_STEP_DB:
            wanted["RSSI"] = Variant("n", data.rssi)
        if news := {name: value for name, value in wanted.items() if there.get(name) != value}:
            self._tree.change(self.path, DEVICE, **news)

    def forget_level(self) -> None:
        """Discovery has stopped."""
        self._tree.take(self.path, DEVICE, "RSSI")

    @property
    def is_paired(self) -> bool:
        return bool(self._tree.value(self.path, DEVICE, "Paired"))

    # -------------------------------------------------------------------------------------------------------- connection
    async def connect(self, *, pair: bool = False) -> None:
        if self._attempt is not None:
            raise in_progress()
        if self._client is not None:
            return
        client = self._make_client(self._found, None, disconnected_callback=self._on_lost, timeout=_CONNECT_S)
        self._attempt = asyncio.ensure_future(client.connect(pair))
        try:
            await asyncio.wait([self._attempt])
            if self._attempt.cancelled():
                raise BluezFault("Failed", "le-connection-abort-by-local")
            self._attempt.result()
        except PairingFailed:
            raise BluezFault("AuthenticationFailed", "Authentication Failed") from None
        except (BleakError, TimeoutError) as error:
            raise of_connect(error) from error
        finally:
            self._attempt = None
        self._up(client)

    def _up(self, client: BaseBleakClient) -> None:
        self._client = client
        self._sending = asyncio.ensure_future(self._send_commands(client))
        self._tree.change(self.path, DEVICE, Connected=Variant("b", True))
        self._export(client)
        self._tree.change(self.path, DEVICE, ServicesResolved=Variant("b", True))

    def _export(self, client: BaseBleakClient) -> None:
        assert client.services is not None
        for service in client.services:
            service_path = f"{self.path}/service{service.handle:04x}"
            primary = {"UUID": Variant("s", service.uuid), "Device": Variant("o", self.path), "Primary": Variant("b", True)}
            self._tree.add(service_path, SERVICE, primary)
            for characteristic in service.characteristics:
                path = f"{service_path}/char{characteristic.handle - 1:04x}"  # the handle of its declaration
                self._attributes[path] = characteristic
                properties = {
                    "UUID": Variant("s", characteristic.uuid),
                    "Service": Variant("o", service_path),
                    "Flags": Variant("as", list(characteristic.properties)),
                    "MTU": Variant("q", client.mtu_size),
                }
                self._tree.add(path, CHARACTERISTIC, properties)
                for descriptor in characteristic.descriptors:
                    self._attributes[f"{path}/desc{descriptor.handle:04x}"] = descriptor
                    below = {"UUID": Variant("s", descriptor.uuid), "Characteristic": Variant("o", path)}
                    self._tree.add(f"{path}/desc{descriptor.handle:04x}", DESCRIPTOR, below)

    def _on_lost(self) -> None:
        self._client = None
        if self._sending is not None:
            self._sending.cancel()
        self._commands = asyncio.Queue()
        self._attributes.clear()
        self._writing.clear()
        if self.path not in self._tree.objects:
            return
        for path in self._tree.below(self.path):
            self._tree.remove(path)
        self._tree.change(self.path, DEVICE, ServicesResolved=Variant("b", False))
        self._tree.change(self.path, DEVICE, Connected=Variant("b", False))

    async def disconnect(self) -> None:
        """End the connection, or the attempt; without either nothing happens."""
        if self._attempt is not None:
            self._attempt.cancel()
        if self._client is not None:
            await self._client.disconnect()

    # ----------------------------------------------------------------------------------------------------------- pairing
    async def pair(self) -> None:
        if self.is_paired:
            raise BluezFault("AlreadyExists", "Already Exists")
        if self._client is None:
            await self.connect(pair=True)
        else:
            await self._pair_on(self._client)
        self._tree.change(self.path, DEVICE, Paired=Variant("b", True), Bonded=Variant("b", True))

    async def _pair_on(self, client: BaseBleakClient) -> None:
        try:
            await client.pair()
        except BleakError:
            raise BluezFault("AuthenticationFailed", "Authentication Failed") from None

    async def forget(self) -> None:
        """Disconnect, remove the bond, and the objects."""
        client = self._client or self._make_client(self._found, None, disconnected_callback=None, timeout=_CONNECT_S)
        await client.unpair()
        self._tree.remove(self.path)

    # -------------------------------------------------------------------------------------------------------------- GATT
    async def read(self, path: str) -> bytes:
        client, attribute = self._at(path)
        if isinstance(attribute, BleakGATTDescriptor):
            return bytes(await self._secured(lambda: client.read_gatt_descriptor(attribute)))
        await self._commands.join()  # commands go first
        value = bytes(await self._secured(lambda: client.read_gatt_char(attribute)))
        self._tree.change(path, CHARACTERISTIC, Value=Variant("ay", value))  # which a subscriber takes for a notification
        return value

    async def write(self, path: str, value: bytes, kind: str) -> None:
        """`kind` is request or command.  A command is queued and answered at once, however long the queue is."""
        client, attribute = self._at(path)
        if isinstance(attribute, BleakGATTDescriptor):
            await self._secured(lambda: client.write_gatt_descriptor(attribute, value))
            return
        if path in self._writing:
            raise in_progress()
        if {"request": "write", "command": "write-without-response"}[kind] not in attribute.properties:
            raise BluezFault("NotSupported", "Operation is not supported")
        if kind == "command":
            self._commands.put_nowait((attribute, value))
            return
        self._writing.add(path)
        try:
            await self._commands.join()  # commands go first
            await self._secured(lambda: client.write_gatt_char(attribute, value, response=True))
        finally:
            self._writing.discard(path)

    async def _send_commands(self, client: BaseBleakClient) -> None:
        commands = self._commands
        while True:
            characteristic, value = await commands.get()
            with contextlib.suppress(BleakError):
                await client.write_gatt_char(characteristic, value, response=False)
            commands.task_done()

    async def start_notify(self, path: str) -> None:
        client, attribute = self._at(path)
        if not isinstance(attribute, BleakGATTCharacteristic) or not _NOTIFYING & set(attribute.properties):
            raise BluezFault("NotSupported", "Operation is not supported")

        def tell(value: bytearray) -> None:
            self._tree.change(path, CHARACTERISTIC, Value=Variant("ay", bytes(value)))

        await self._secured(lambda: client.start_notify(attribute, tell))

    async def stop_notify(self, path: str) -> None:
        client, attribute = self._at(path)
        assert isinstance(attribute, BleakGATTCharacteristic)
        await client.stop_notify(attribute)

    def _at(self, path: str) -> tuple[BaseBleakClient, Any]:
        if self._client is None or path not in self._attributes:
            raise unknown_object(path)
        return self._client, self._attributes[path]

    async def _secured(self, procedure: Callable[[], Awaitable[_T]]) -> _T:
        """Once more on a paired link, where the device asks for one and bluetoothd is not paired with it (src/shared/att.c)."""
        try:
            return await procedure()
        except BleakError as error:
            if self.is_paired or not wants_security(error) or self._client is None:
                raise of_gatt(error) from error
            refusal = of_gatt(error)
        try:
            await self._client.pair()
        except BleakError:
            raise refusal from None
        self._tree.change(self.path, DEVICE, Paired=Variant("b", True), Bonded=Variant("b", True))
        try:
            return await procedure()
        except BleakError as error:
            raise of_gatt(error) from error
