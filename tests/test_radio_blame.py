"""Whose fault a failed Bluetooth operation was, for what BlueZ and bleak say; no adapter needed."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from bleak.exc import BleakDBusError, BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError

from rig.drivers import radio_bleak
from rig.drivers.radio_bleak import BleakLink, BleakRadio
from rig.errors import PAIRING_GROUP, InstrumentError, LinkLost, NoReply, NotFound, Refused, RigError
from rig.ports import Advertisement
from rig.virtual.clock import loop_factory

SEEN = Advertisement(address="C0:00:00:00:00:01", name="dk", service_uuids=(), rssi_dbm=-50, seen_s=0.0)


def outcome(action: Any) -> RigError:
    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner, pytest.raises(RigError) as caught:
        runner.run(action())
    return caught.value


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (BleakGATTProtocolError(0x0E), Refused, 0x0E),
        (BleakDBusError("org.bluez.Error.NotPermitted", ["Not paired"]), Refused, 0x05),
        (BleakDBusError("org.bluez.Error.Failed", ["Not connected"]), LinkLost, None),
        (BleakError("Not connected"), LinkLost, None),
        (BleakDBusError("org.freedesktop.DBus.Error.NoReply", ["the daemon died"]), InstrumentError, None),
        (OSError(107, "Transport endpoint is not connected"), InstrumentError, None),
        (EOFError(), InstrumentError, None),
    ],
)
def test_a_failed_read(error: Exception, kind: type[RigError], code: int | None) -> None:
    async def read_gatt_char(_characteristic: str) -> bytes:
        raise error

    async def action() -> None:
        client: Any = SimpleNamespace(read_gatt_char=read_gatt_char)
        await BleakLink(client, instrument="dk1.radio").read("2a00")

    blamed = outcome(action)
    assert type(blamed) is kind
    assert getattr(blamed, "code", None) == code


def test_a_procedure_that_never_ends_is_no_reply() -> None:
    async def action() -> None:
        client: Any = SimpleNamespace(read_gatt_char=lambda _characteristic: asyncio.Event().wait())
        await BleakLink(client, instrument="dk1.radio").read("2a00")

    blamed = outcome(action)
    assert isinstance(blamed, NoReply)
    assert (blamed.request, blamed.timeout_s) == ("read of 2a00", 30.0)


def test_whatever_fails_after_the_link_has_ended_is_its_loss() -> None:
    async def action() -> None:
        link: BleakLink

        async def read_gatt_char(_characteristic: str) -> bytes:
            link.on_lost(0x08)
            raise BleakGATTProtocolError(0x0E)

        client: Any = SimpleNamespace(read_gatt_char=read_gatt_char)
        link = BleakLink(client, instrument="dk1.radio")
        await link.read("2a00")

    blamed = outcome(action)
    assert isinstance(blamed, LinkLost)
    assert blamed.reason == 0x08


@pytest.mark.parametrize(
    ("error", "kind", "group"),
    [
        (BleakDeviceNotFoundError("C0:00:00:00:00:01"), NotFound, None),
        (TimeoutError(), NoReply, None),
        (BleakGATTProtocolError(0x05), Refused, -1),
        (BleakDBusError("org.bluez.Error.AuthenticationFailed", ["Authentication Failed"]), Refused, PAIRING_GROUP),
        (BleakDBusError("org.bluez.Error.Failed", ["le-connection-abort-by-local"]), LinkLost, None),
        (BleakError("failed to discover services, device disconnected"), LinkLost, None),
        (BleakError("Bleak requires BlueZ >= 5.55."), InstrumentError, None),
        (ConnectionRefusedError(111, "Connection refused"), InstrumentError, None),
        (EOFError(), InstrumentError, None),
    ],
)
def test_a_failed_connection(monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[RigError], group: int | None) -> None:
    class Client:
        def __init__(self, *_arguments: Any, **_options: Any) -> None:
            pass

        async def connect(self) -> None:
            raise error

    monkeypatch.setattr(radio_bleak, "BleakClient", Client)

    async def action() -> None:
        await BleakRadio(owner="dk1", adapter="hci0").connect(SEEN, services=[], timeout_s=5.0)

    blamed = outcome(action)
    assert type(blamed) is kind
    assert getattr(blamed, "group", None) == group


@pytest.mark.parametrize("secured", [True, False])
def test_a_stranger_on_bluez_forgets_the_device_first_and_does_not_pair(monkeypatch: pytest.MonkeyPatch, secured: bool) -> None:
    steps: list[str] = []

    class Client:
        services = SimpleNamespace(characteristics={})

        def __init__(self, *_arguments: Any, pair: bool, **_options: Any) -> None:
            steps.append("pair" if pair else "leave open")

        async def unpair(self) -> None:
            steps.append("forget")
            raise BleakDeviceNotFoundError("C0:00:00:00:00:01")

        async def connect(self) -> None:
            steps.append("connect")

    monkeypatch.setattr(radio_bleak, "BleakClient", Client)

    async def action() -> None:
        radio = BleakRadio(owner="dk1", adapter="hci0", pair=True)
        await radio.connect(SEEN, services=[], timeout_s=5.0, secured=secured)

    asyncio.run(action())
    assert steps == (["pair", "connect"] if secured else ["leave open", "forget", "connect"])
