"""bluetoothd: the service ``org.bluez`` with one adapter, in front of a controller on the current virtual air.

What its clients send goes over that air to whatever board is there; the D-Bus and the clients are the real ones.  The wall clock only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bumble.device import Connection
from bumble.pairing import PairingConfig
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from rig.drivers.bumble_bleak import backends
from rig.drivers.bumble_central import BumbleCentral, LinkOptions
from rig.virtual.adapter import open_adapter
from tests.bluez import agents
from tests.bluez.device import CHARACTERISTIC, DESCRIPTOR, DEVICE, Device
from tests.bluez.errors import BluezFault, DBusFault, in_progress, not_ready, unknown_object
from tests.bluez.objects import ObjectTree

ADAPTER = "/org/bluez/hci0"
ADAPTER_INTERFACE = "org.bluez.Adapter1"
LINUX_INTERVAL_MS = 30.0
"""What Linux asks for when nobody says otherwise; its supervision timeout of 0.42 s is for machines with nothing else to do."""
QUICK_INTERVAL_MS = 7.5
"""The shortest that there is, for tests that are not about time."""

_SUPERVISION_S = 4.0

Answer = tuple[str, list[Any]]
Method = Callable[[Message], Awaitable[Answer | None]]


class Bluetoothd:
    """The service.  `calls` lists the members that were called, in order."""

    def __init__(self, bus: MessageBus, central: BumbleCentral) -> None:
        self._bus, self._central = bus, central
        self._tree = ObjectTree(bus)
        self._agents = agents.Agents(bus)
        self._scanner_class, self._client_class = backends(central)
        self._scanners: dict[str, BleakScanner] = {}
        self._devices: dict[str, Device] = {}
        self._failures: dict[str, list[DBusFault | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.calls: list[str] = []
        self.agent_left = asyncio.Event()
        central.device.pairing_config_factory = self._pairing
        self._methods: dict[tuple[str, str], Method] = {
            ("org.freedesktop.DBus.ObjectManager", "GetManagedObjects"): self._managed_objects,
            ("org.freedesktop.DBus.Properties", "Set"): self._set,
            (ADAPTER_INTERFACE, "SetDiscoveryFilter"): self._nothing,
            (ADAPTER_INTERFACE, "StartDiscovery"): self._start_discovery,
            (ADAPTER_INTERFACE, "StopDiscovery"): self._stop_discovery,
            (ADAPTER_INTERFACE, "RemoveDevice"): self._remove_device,
            (agents.INTERFACE, "RegisterAgent"): self._agents.register,
            (agents.INTERFACE, "RequestDefaultAgent"): self._agents.request_default,
            (DEVICE, "Connect"): self._connect,
            (DEVICE, "Disconnect"): self._disconnect,
            (DEVICE, "Pair"): self._pair,
            (CHARACTERISTIC, "ReadValue"): self._read,
            (CHARACTERISTIC, "WriteValue"): self._write,
            (CHARACTERISTIC, "StartNotify"): self._start_notify,
            (CHARACTERISTIC, "StopNotify"): self._stop_notify,
            (DESCRIPTOR, "ReadValue"): self._read,
            (DESCRIPTOR, "WriteValue"): self._write,
        }

    # ------------------------------------------------------------------------------------------------- what tests do to it
    def add_adapter(self) -> None:
        properties = {
            "Address": Variant("s", "00:00:00:00:00:01"),
            "Powered": Variant("b", True),
            "Discovering": Variant("b", False),
            "Roles": Variant("as", ["central"]),
        }
        self._tree.add(ADAPTER, ADAPTER_INTERFACE, properties)
        self._tree.add(agents.PATH, agents.INTERFACE, {})

    def fail(self, member: str, fault: DBusFault) -> None:
        """The next call of `member` fails so; further ones queue up."""
        self._failures.setdefault(member, []).append(fault)

    def hang(self, member: str) -> None:
        """The next call of `member` is never answered."""
        self._failures.setdefault(member, []).append(None)

    async def power_off(self) -> None:
        """The adapter is switched off, as rfkill and desktops do it."""
        for device in self._devices.values():
            await device.disconnect()
        self._tree.change(ADAPTER, ADAPTER_INTERFACE, Powered=Variant("b", False), Discovering=Variant("b", False))

    def unplug(self) -> None:
        """The adapter is pulled out: its objects and all below go, without a word about connections."""
        self._tree.remove(ADAPTER)

    def die(self) -> None:
        """bluetoothd crashes: it leaves the bus without a word."""
        self._bus.disconnect()

    @property
    def default_capability(self) -> str | None:
        """What the user of the default agent can do, None without an agent."""
        return self._agents.default.capability if self._agents.default is not None else None

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        for scanner in self._scanners.values():
            await scanner.stop()
        for device in self._devices.values():
            await device.disconnect()

    # ----------------------------------------------------------------------------------------------------------- dispatch
    def on_message(self, message: Message) -> bool | None:
        """A message for this service; True when it will be answered here."""
        if message.member == "NameOwnerChanged" and not message.body[2] and self._agents.left(message.body[0]):
            self.agent_left.set()
        if message.message_type is not MessageType.METHOD_CALL or message.interface == "org.freedesktop.DBus.Peer":
            return None
        task = asyncio.ensure_future(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _answer(self, message: Message) -> None:
        try:
            signature, body = await self._call(message) or ("", [])
            reply = Message.new_method_return(message, signature, body)
        except DBusFault as fault:
            reply = Message.new_error(message, fault.name, fault.text)
        if self._bus.connected:
            self._bus.send(reply)

    async def _call(self, message: Message) -> Answer | None:
        member = message.member or ""
        self.calls.append(member)
        if failures := self._failures.get(member):
            failure = failures.pop(0)
            if failure is None:
                await asyncio.Event().wait()
            else:
                raise failure
        if message.path != "/" and message.path not in self._tree.objects:
            raise unknown_object(str(message.path))
        try:
            method = self._methods[str(message.interface), member]
        except KeyError:
            raise DBusFault("org.freedesktop.DBus.Error.UnknownMethod", f"no method {message.interface}.{member}") from None
        return await method(message)

    async def _nothing(self, message: Message) -> None:
        del message

    async def _managed_objects(self, _message: Message) -> Answer:
        return "a{oa{sa{sv}}}", [self._tree.objects]

    async def _set(self, message: Message) -> None:
        interface, name, value = message.body
        self._tree.change(str(message.path), interface, **{name: value})

    # ------------------------------------------------------------------------------------------------------------ adapter
    def _needs_power(self) -> None:
        if not self._tree.value(ADAPTER, ADAPTER_INTERFACE, "Powered"):
            raise not_ready()

    async def _start_discovery(self, message: Message) -> None:
        self._needs_power()
        if message.sender in self._scanners:
            raise in_progress()
        scanner = self._scanners[str(message.sender)] = BleakScanner(self._heard, backend=self._scanner_class)
        await scanner.start()
        self._tree.change(ADAPTER, ADAPTER_INTERFACE, Discovering=Variant("b", True))

    async def _stop_discovery(self, message: Message) -> None:
        self._needs_power()
        if message.sender not in self._scanners:
            raise BluezFault("Failed", "No discovery started")
        await self._scanners.pop(message.sender).stop()
        for device in self._devices.values():
            device.forget_level()
        self._tree.change(ADAPTER, ADAPTER_INTERFACE, Discovering=Variant("b", False))

    def _heard(self, found: BLEDevice, data: AdvertisementData) -> None:
        if ADAPTER not in self._tree.objects:
            return
        if known := self._devices.get(found.address):
            known.heard(data)
        else:
            self._devices[found.address] = Device(
                self._tree, adapter=ADAPTER, found=found, data=data, make_client=self._client_class
            )

    async def _remove_device(self, message: Message) -> None:
        (path,) = message.body
        for address, device in self._devices.items():
            if device.path == path:
                del self._devices[address]
                await device.forget()
                return
        raise BluezFault("DoesNotExist", "Does Not Exist")

    # ------------------------------------------------------------------------------------------------------------- device
    def _device(self, message: Message) -> Device:
        path = str(message.path)
        return next(device for device in self._devices.values() if path == device.path or path.startswith(f"{device.path}/"))

    def _pairing(self, connection: Connection) -> PairingConfig:
        return self._agents.pairing(self._devices[agents.address_of(connection)].path)

    async def _connect(self, message: Message) -> None:
        self._needs_power()
        await self._device(message).connect()

    async def _disconnect(self, message: Message) -> None:
        await self._device(message).disconnect()

    async def _pair(self, message: Message) -> None:
        self._needs_power()
        await self._device(message).pair()

    async def _read(self, message: Message) -> Answer:
        return "ay", [await self._device(message).read(str(message.path))]

    async def _write(self, message: Message) -> None:
        value, options = message.body
        await self._device(message).write(str(message.path), bytes(value), options["type"].value)

    async def _start_notify(self, message: Message) -> None:
        await self._device(message).start_notify(str(message.path))

    async def _stop_notify(self, message: Message) -> None:
        await self._device(message).stop_notify(str(message.path))


async def _listen_for_leavers(bus: MessageBus) -> None:
    rule = "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'"
    destination = "org.freedesktop.DBus"
    request = Message(destination=destination, path="/org/freedesktop/DBus", interface=destination, member="AddMatch", signature="s", body=[rule])
    assert (await bus.call(request)).message_type is MessageType.METHOD_RETURN


@contextlib.asynccontextmanager
async def bluetoothd(address: str, *, adapter: bool = True, interval_ms: float = QUICK_INTERVAL_MS) -> AsyncIterator[Bluetoothd]:
    """A bluetoothd on the bus at `address`, with or without an adapter, over the air of this context."""
    central = await BumbleCentral.open(await open_adapter(""), LinkOptions(interval_ms=interval_ms, supervision_s=_SUPERVISION_S))
    bus = await MessageBus(bus_address=address).connect()
    daemon = Bluetoothd(bus, central)
    try:
        if adapter:
            daemon.add_adapter()
        bus.add_message_handler(daemon.on_message)
        await _listen_for_leavers(bus)
        await bus.request_name("org.bluez")
        yield daemon
    finally:
        await daemon.close()
        bus.disconnect()
        with contextlib.suppress(EOFError):  # a bus that was killed
            await bus.wait_for_disconnect()
        await central.close()
