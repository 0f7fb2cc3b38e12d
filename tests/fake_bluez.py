"""BlueZ as bleak meets it: a private D-Bus with a service that has the name, the objects and the methods of bluetoothd.

One adapter, and devices that appear when discovery starts.  Only what a scan needs; it cannot connect.  Interfaces: BlueZ
`doc/org.bluez.Adapter.rst` and `doc/org.bluez.Device.rst`.
"""

# No `from __future__ import annotations` here: dbus-fast reads D-Bus signatures out of the annotations.

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from dbus_fast import PropertyAccess, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.service import ServiceInterface, dbus_property, method

ADAPTER = "/org/bluez/hci0"
_LIMIT_S = 5.0
_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
"""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device within earshot."""

    address: str
    name: str
    rssi_dbm: int
    service_uuids: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"{ADAPTER}/dev_{self.address.replace(':', '_')}"


class _Device1(ServiceInterface):
    def __init__(self, device: Device) -> None:
        super().__init__("org.bluez.Device1")
        self._device = device

    @dbus_property(access=PropertyAccess.READ)
    def Address(self) -> "s":  # noqa: F821, N802 - a D-Bus signature and a D-Bus name, here and below
        return self._device.address

    @dbus_property(access=PropertyAccess.READ)
    def AddressType(self) -> "s":  # noqa: F821, N802
        return "random"

    @dbus_property(access=PropertyAccess.READ)
    def Name(self) -> "s":  # noqa: F821, N802
        return self._device.name

    @dbus_property(access=PropertyAccess.READ)
    def Alias(self) -> "s":  # noqa: F821, N802
        return self._device.name

    @dbus_property(access=PropertyAccess.READ)
    def RSSI(self) -> "n":  # noqa: F821, N802
        return self._device.rssi_dbm

    @dbus_property(access=PropertyAccess.READ)
    def UUIDs(self) -> "as":  # noqa: F722, N802
        return self._device.service_uuids

    @dbus_property(access=PropertyAccess.READ)
    def Adapter(self) -> "o":  # noqa: F821, N802
        return ADAPTER

    @dbus_property(access=PropertyAccess.READ)
    def Connected(self) -> "b":  # noqa: F821, N802
        return False


class _Adapter1(ServiceInterface):
    def __init__(self, bus: MessageBus, devices: list[Device]) -> None:
        super().__init__("org.bluez.Adapter1")
        self._bus, self._devices = bus, devices
        self.discovering = False

    @dbus_property(access=PropertyAccess.READ)
    def Address(self) -> "s":  # noqa: F821, N802
        return "00:00:00:00:00:01"

    @dbus_property(access=PropertyAccess.READ)
    def Powered(self) -> "b":  # noqa: F821, N802
        return True

    @dbus_property(access=PropertyAccess.READ)
    def Discovering(self) -> "b":  # noqa: F821, N802
        return self.discovering

    @method()
    def SetDiscoveryFilter(self, properties: "a{sv}") -> None:  # noqa: F722, N802
        self.filter: dict[str, Variant] = properties

    @method()
    def StartDiscovery(self) -> None:  # noqa: N802
        self.discovering = True
        self.emit_properties_changed({"Discovering": True})
        for device in self._devices:
            self._bus.export(device.path, _Device1(device))

    @method()
    def StopDiscovery(self) -> None:  # noqa: N802
        self.discovering = False
        for device in self._devices:
            self._bus.unexport(device.path)
        self.emit_properties_changed({"Discovering": False})


@contextlib.asynccontextmanager
async def private_bus() -> AsyncIterator[str]:
    """The address of a system bus of its own, which bleak is made to use through the environment."""
    with tempfile.TemporaryDirectory(prefix="rig-") as name:
        socket, config = Path(name) / "bus", Path(name) / "bus.conf"
        config.write_text(_CONFIG.format(socket=socket))
        arguments = ("--nofork", "--nopidfile", "--print-address", f"--config-file={config}")
        daemon = await asyncio.create_subprocess_exec(
            "dbus-daemon", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert daemon.stdout is not None
        before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
        try:
            async with asyncio.timeout(_LIMIT_S):
                address = (await daemon.stdout.readline()).decode().strip()  # printed once it takes connections
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = address
            yield address
        finally:
            if before is None:
                os.environ.pop("DBUS_SYSTEM_BUS_ADDRESS", None)
            else:
                os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before
            daemon.terminate()
            await daemon.wait()


@contextlib.asynccontextmanager
async def bluez(address: str, *, devices: list[Device], adapter: bool = True) -> AsyncIterator[None]:
    """A bluetoothd on the bus at `address`, with or without an adapter."""
    bus = await MessageBus(bus_address=address).connect()
    try:
        if adapter:
            bus.export(ADAPTER, _Adapter1(bus, devices))
        await bus.request_name("org.bluez")
        yield
    finally:
        bus.disconnect()
        await bus.wait_for_disconnect()
