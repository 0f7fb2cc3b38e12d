"""The bleak driver on BlueZ's own language: a private D-Bus, a bluetoothd on it (tests/bluez), and devices on the air behind that.

Needs `dbus-daemon`, which comes with every D-Bus.  What every radio must do is in tests_hil/contract/test_radio_contract.py; this is
what only BlueZ does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from rig.drivers import radio_bleak
from rig.drivers.radio_bleak import BleakRadio
from rig.errors import PAIRING_GROUP, InstrumentError, LinkLost, NoReply, NotFound, Refused, RigError
from rig.ports import GattLink
from rig.virtual.air import CURRENT_AIR, Air
from rig.virtual.ble_peripheral import BlePeripheral, Characteristic, Security, Service
from tests.bluez.bus import PrivateBus, private_bus
from tests.bluez.daemon import Bluetoothd, bluetoothd
from tests.bluez.errors import BluezFault, DBusFault, in_progress, not_ready

SMP = "8d53dc1d-1db7-4cd3-868b-8a527460aa84"
VALUE = "da2e7828-fbce-4e01-ae9e-261174997c48"
SECRET = "da2e7828-fbce-4e01-ae9e-261174997c49"
BOARD, OTHER = "C0:00:00:00:00:01", "C0:00:00:00:00:02"
LIMIT_S = 60.0
CONNECT_S = 20.0


class Bench:
    """A bluetoothd, a board within its earshot, and a kettle."""

    def __init__(self, bus: PrivateBus, air: Air) -> None:
        self.bus = bus
        self.board = BlePeripheral(air, address=BOARD)
        self.other = BlePeripheral(air, address=OTHER)
        self.value = b"as read"

    async def start(self) -> None:
        anything = frozenset({"read", "write", "write-without-response", "notify"})
        hooks: dict[str, Any] = {"on_read": lambda: self.value, "on_write": lambda _value: None}
        service = Service(
            uuid=SMP,
            characteristics=(
                Characteristic(uuid=VALUE, properties=anything, security=Security.OPEN, **hooks),
                Characteristic(uuid=SECRET, properties=anything, security=Security.ENCRYPTED, **hooks),
            ),
        )
        await self.board.start([service], name="rig-dk1", max_mtu=247)
        await self.board.advertise(name="rig-dk1", service_uuids=[SMP], interval_s=0.02)
        await self.other.start([], name="kettle", max_mtu=23)
        await self.other.advertise(name="kettle", service_uuids=[], interval_s=0.02)

    async def link(self, radio: BleakRadio, **options: Any) -> GattLink:
        found = await radio.find(lambda seen: seen.address == BOARD, timeout_s=10.0)
        return await radio.connect(found, services=[SMP], timeout_s=CONNECT_S, **options)


def on_bench(story: Callable[[Bench], Awaitable[None]]) -> None:
    """Run `story` on a bench with a system bus of its own; bluetoothd is the story's."""

    async def main() -> None:
        token = CURRENT_AIR.set(Air(seed=1))
        try:
            async with asyncio.timeout(LIMIT_S), private_bus() as bus:
                bench = Bench(bus, CURRENT_AIR.get())
                await bench.start()
                await story(bench)
                bench.board.vanish()
                bench.other.vanish()
        finally:
            CURRENT_AIR.reset(token)

    asyncio.run(main())


def with_radio(story: Callable[[Bench, Bluetoothd, BleakRadio], Awaitable[None]], **options: Any) -> None:
    """Run `story` with a bluetoothd and a radio on it, made with `options`."""

    async def main(bench: Bench) -> None:
        async with bluetoothd(bench.bus.address) as daemon, BleakRadio(owner="dk1", adapter="hci0", **options) as radio:
            await story(bench, daemon, radio)

    on_bench(main)


# -------------------------------------------------------------------------------------------------------------- scanning
def test_a_board_is_found_among_others_with_name_level_and_services() -> None:
    async def story(_bench: Bench, _daemon: Bluetoothd, radio: BleakRadio) -> None:
        found = await radio.find(lambda seen: SMP in seen.service_uuids and bool(seen.name), timeout_s=10.0)
        assert (found.address, found.name, found.rssi_dbm) == (BOARD, "rig-dk1", -50)

    with_radio(story)


def test_silence_is_not_found_and_tells_how_many_others_were_heard() -> None:
    async def story(_bench: Bench, _daemon: Bluetoothd, radio: BleakRadio) -> None:
        with pytest.raises(NotFound, match="2 other"):
            await radio.find(lambda seen: seen.name == "nobody", timeout_s=2.0)

    with_radio(story)


def test_an_adapter_that_is_not_there_is_the_rigs_trouble() -> None:
    async def story(bench: Bench) -> None:
        async with bluetoothd(bench.bus.address, adapter=False):
            with pytest.raises(InstrumentError, match=r"dk1\.radio: scanning failed: adapter 'hci0' not found"):
                async with BleakRadio(owner="dk1", adapter="hci0") as radio:
                    await radio.find(lambda _seen: True, timeout_s=1.0)

    on_bench(story)


def test_without_a_name_the_first_adapter_that_is_on_is_taken() -> None:
    async def story(bench: Bench) -> None:
        async with bluetoothd(bench.bus.address), BleakRadio(owner="dk1") as radio:
            assert (await radio.find(lambda seen: seen.address == BOARD, timeout_s=10.0)).address == BOARD

    on_bench(story)


@pytest.mark.parametrize(("is_there", "says"), [(True, "No powered Bluetooth adapters"), (False, "No Bluetooth adapters found")])
def test_without_a_name_and_an_adapter_that_is_on_the_radio_does_not_open(is_there: bool, says: str) -> None:
    async def story(bench: Bench) -> None:
        async with bluetoothd(bench.bus.address, adapter=is_there) as daemon:
            if is_there:
                await daemon.power_off()
            with pytest.raises(InstrumentError, match=rf"dk1\.radio: opening the adapter failed: {says}"):
                await BleakRadio(owner="dk1").__aenter__()

    on_bench(story)


def test_a_bus_without_bluez_is_the_rigs_trouble() -> None:
    async def story(_bench: Bench) -> None:
        with pytest.raises(InstrumentError, match=r"dk1\.radio"):
            async with BleakRadio(owner="dk1", adapter="hci0") as radio:
                await radio.find(lambda _seen: True, timeout_s=1.0)

    on_bench(story)


def test_a_bluetoothd_that_dies_between_two_scans_is_the_rigs_trouble() -> None:
    async def story(bench: Bench) -> None:
        async with AsyncExitStack() as life:
            await life.enter_async_context(bluetoothd(bench.bus.address))
            radio = await BleakRadio(owner="dk1", adapter="hci0").__aenter__()
            await radio.find(lambda seen: seen.name == "rig-dk1", timeout_s=10.0)
            await life.aclose()
            with pytest.raises(InstrumentError, match=r"dk1\.radio: scanning failed"):
                await radio.find(lambda _seen: True, timeout_s=1.0)

    on_bench(story)


@pytest.mark.parametrize("fault", [not_ready(), in_progress()])
def test_an_adapter_that_is_off_or_busy_is_the_rigs_trouble(fault: DBusFault) -> None:
    async def story(_bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        daemon.fail("StartDiscovery", fault)
        with pytest.raises(InstrumentError, match=r"dk1\.radio: scanning failed") as caught:
            await radio.find(lambda _seen: True, timeout_s=1.0)
        assert "adapter" in caught.value.hint

    with_radio(story)


# ------------------------------------------------------------------------------------------------------------ connecting
@pytest.mark.parametrize(
    ("fault", "kind", "group"),
    [
        (BluezFault("Failed", "le-connection-timeout"), LinkLost, None),
        (BluezFault("Failed", "le-connection-key-missing"), LinkLost, None),
        (BluezFault("Failed", "Software caused connection abort"), LinkLost, None),
        (BluezFault("ConnectionAttemptFailed", "Page Timeout"), LinkLost, None),
        (BluezFault("Failed", "le-connection-adapter-not-powered"), InstrumentError, None),
        (BluezFault("Failed", ":le-connection-concurrent-connection-limit:Too many links"), InstrumentError, None),
        (not_ready(), InstrumentError, None),
        (in_progress(), InstrumentError, None),
        (DBusFault("org.freedesktop.DBus.Error.NoReply", "bluetoothd did not answer"), InstrumentError, None),
        (DBusFault("org.freedesktop.DBus.Error.UnknownObject", "no such device"), NotFound, None),
        (DBusFault("org.freedesktop.DBus.Error.AccessDenied", "not in the group bluetooth"), InstrumentError, None),
    ],
    ids=lambda value: value.text if isinstance(value, DBusFault) else None,
)
def test_what_bluez_says_of_a_failed_connection_and_whose_fault_that_is(fault: DBusFault, kind: type[RigError], group: int | None) -> None:
    async def story(bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        daemon.fail("Connect", fault)
        with pytest.raises(RigError) as caught:
            await bench.link(radio)
        assert type(caught.value) is kind
        assert (await bench.link(radio)).is_up, "the next attempt is a new one"

    with_radio(story)


def test_a_connect_that_is_never_answered_ends_at_its_limit_and_is_called_off() -> None:
    async def story(bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        found = await radio.find(lambda seen: seen.address == BOARD, timeout_s=10.0)
        daemon.hang("Connect")
        with pytest.raises(NoReply) as caught:
            await radio.connect(found, services=[SMP], timeout_s=0.5)
        assert caught.value.timeout_s == 0.5
        assert daemon.calls[-1] == "Disconnect"
        assert (await bench.link(radio)).is_up

    with_radio(story)


def test_a_device_that_bluez_still_holds_connected_is_let_go_before_the_next_connection() -> None:
    async def story(bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        found = await radio.find(lambda seen: seen.address == BOARD, timeout_s=10.0)
        first = await radio.connect(found, services=[SMP], timeout_s=CONNECT_S)
        second = await radio.connect(found, services=[SMP], timeout_s=CONNECT_S)
        assert not first.is_up
        assert await second.read(VALUE) == b"as read"
        assert [call for call in daemon.calls if call in ("Connect", "Disconnect")] == ["Connect", "Disconnect", "Connect"]

    with_radio(story)


# --------------------------------------------------------------------------------------------------------------- pairing
def test_without_pairing_the_rig_registers_no_agent() -> None:
    async def story(_bench: Bench, daemon: Bluetoothd, _radio: BleakRadio) -> None:
        assert daemon.default_capability is None
        assert "RegisterAgent" not in daemon.calls

    with_radio(story)


@pytest.mark.parametrize(("passkey", "capability"), [(None, "NoInputNoOutput"), (123456, "KeyboardOnly")])
def test_the_rig_answers_for_the_user_while_its_radio_is_open(passkey: int | None, capability: str) -> None:
    async def story(bench: Bench) -> None:
        async with bluetoothd(bench.bus.address) as daemon:
            radio = await BleakRadio(owner="dk1", adapter="hci0", pair=True, passkey=passkey).__aenter__()
            assert daemon.default_capability == capability
            await bench.link(radio)
            assert "Pair" in daemon.calls
            await radio.__aexit__(None, None, None)
            await daemon.agent_left.wait()
            assert daemon.default_capability is None

    on_bench(story)


def test_a_bluez_that_takes_no_agent_is_the_rigs_trouble() -> None:
    async def story(bench: Bench) -> None:
        async with bluetoothd(bench.bus.address) as daemon:
            daemon.fail("RegisterAgent", BluezFault("AlreadyExists", "Already Exists"))
            with pytest.raises(InstrumentError, match=r"dk1\.radio: .* does not take the pairing agent: org\.bluez\.Error\.AlreadyExists"):
                async with BleakRadio(owner="dk1", adapter="hci0", pair=True):
                    pass

    on_bench(story)


@pytest.mark.parametrize("name", ["AuthenticationFailed", "AuthenticationCanceled", "AuthenticationRejected", "AuthenticationTimeout"])
def test_a_pairing_that_fails_is_a_refusal_without_its_reason(name: str) -> None:
    async def story(bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        daemon.fail("Pair", BluezFault(name, "of old"))
        with pytest.raises(Refused, match=name) as caught:
            await bench.link(radio)
        assert (caught.value.group, caught.value.code) == (PAIRING_GROUP, 0x08)

    with_radio(story, pair=True)


def test_a_device_that_has_paired_in_the_meantime_is_connected_all_the_same() -> None:
    async def story(bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        daemon.fail("Pair", BluezFault("AlreadyExists", "Already Exists"))
        assert await (await bench.link(radio)).read(SECRET) == b"as read"

    with_radio(story, pair=True)


def test_a_bonded_device_is_not_paired_again() -> None:
    async def story(bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        await (await bench.link(radio)).disconnect()
        assert await (await bench.link(radio)).read(SECRET) == b"as read"
        assert daemon.calls.count("Pair") == 1

    with_radio(story, pair=True)


def test_bluez_pairs_by_itself_where_the_device_asks_for_it() -> None:
    async def story(bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        link = await bench.link(radio)
        assert await link.read(SECRET) == b"as read"
        assert "Pair" not in daemon.calls

    with_radio(story)


def test_a_stranger_forgets_the_device_first_and_does_not_pair() -> None:
    async def story(bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        await (await bench.link(radio)).disconnect()
        before = len(daemon.calls)
        assert (await bench.link(radio, secured=False)).is_up
        assert [call for call in daemon.calls[before:] if call in ("RemoveDevice", "Pair", "Connect")] == ["RemoveDevice", "Connect"]

    with_radio(story, pair=True)


# ------------------------------------------------------------------------------------------------------------------ GATT
@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (BluezFault("NotPermitted", "Read not permitted"), Refused, 0x02),
        (BluezFault("NotPermitted", "Not paired"), Refused, 0x05),
        (BluezFault("NotSupported", "Operation is not supported"), Refused, 0x06),
        (BluezFault("NotAuthorized", "Operation Not Authorized"), Refused, 0x08),
        (BluezFault("InvalidArguments", "Invalid offset"), Refused, 0x07),
        (BluezFault("InvalidArguments", "Invalid Length"), Refused, 0x0D),
        (BluezFault("Failed", "Operation failed with ATT error: 0x0e"), Refused, 0x0E),
        (BluezFault("Failed", "Operation failed with ATT error: 0xfc"), Refused, 0xFC),
        (BluezFault("Failed", "Not connected"), LinkLost, None),
        (BluezFault("Failed", "Failed to send read request"), InstrumentError, None),
        (DBusFault("org.freedesktop.DBus.Error.NoReply", "bluetoothd did not answer"), InstrumentError, None),
    ],
    ids=lambda value: value.text if isinstance(value, DBusFault) else None,
)
def test_what_bluez_says_of_a_failed_read_and_whose_fault_that_is(fault: DBusFault, kind: type[RigError], code: int | None) -> None:
    async def story(bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        link = await bench.link(radio)
        daemon.fail("ReadValue", fault)
        with pytest.raises(RigError) as caught:
            await link.read(VALUE)
        assert type(caught.value) is kind
        assert getattr(caught.value, "code", None) == code

    with_radio(story)


def test_a_procedure_that_finds_another_one_under_way_waits_for_it() -> None:
    async def story(bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        link = await bench.link(radio)
        daemon.fail("WriteValue", in_progress())
        await link.write(VALUE, b"x", response=True)
        assert daemon.calls.count("WriteValue") == 2

    with_radio(story)


def test_a_subscriber_hears_what_is_read_as_well() -> None:
    """A trap of BlueZ that the port's users must know: who reads what he is subscribed to gets it twice."""

    async def story(bench: Bench, _daemon: Bluetoothd, radio: BleakRadio) -> None:
        link, heard = await bench.link(radio), asyncio.Queue[bytes]()
        await link.subscribe(VALUE, heard.put_nowait)
        assert await link.read(VALUE) == b"as read"
        assert await heard.get() == b"as read"

    with_radio(story)


# ---------------------------------------------------------------------------------------------------------- lost adapters
def test_an_adapter_that_is_switched_off_ends_the_link_and_is_the_rigs_trouble_from_then_on() -> None:
    async def story(bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        found = await radio.find(lambda seen: seen.address == BOARD, timeout_s=10.0)
        link = await radio.connect(found, services=[SMP], timeout_s=CONNECT_S)
        await daemon.power_off()
        assert await link.wait_lost() is None
        with pytest.raises(InstrumentError, match="NotReady"):
            await radio.connect(found, services=[SMP], timeout_s=CONNECT_S)
        with pytest.raises(InstrumentError, match="NotReady"):
            await radio.find(lambda _seen: True, timeout_s=1.0)

    with_radio(story)


def test_an_adapter_that_is_pulled_out_is_the_rigs_trouble() -> None:
    async def story(bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        link = await bench.link(radio)
        daemon.unplug()
        with pytest.raises(InstrumentError, match=r"dk1\.radio: read of .* failed"):
            await link.read(VALUE)
        with pytest.raises(InstrumentError, match=r"dk1\.radio: scanning failed: adapter 'hci0' not found"):
            await radio.find(lambda _seen: True, timeout_s=1.0)

    with_radio(story)


# ------------------------------------------------------------------------------------------- a bluetoothd that hangs, or dies
@pytest.mark.parametrize("member", ["StartDiscovery", "StopDiscovery"])
def test_a_bluetoothd_that_hangs_ends_a_scan_at_a_limit(monkeypatch: pytest.MonkeyPatch, member: str) -> None:
    monkeypatch.setattr(radio_bleak, "_ADAPTER_S", 0.3)

    async def story(_bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        daemon.hang(member)
        with pytest.raises(InstrumentError, match=r"dk1\.radio: scanning failed: it does not answer"):
            await radio.find(lambda seen: seen.address == BOARD, timeout_s=2.0)

    with_radio(story)


def test_a_bluetoothd_that_hangs_ends_a_connection_attempt_at_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(_bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        found = await radio.find(lambda seen: seen.address == BOARD, timeout_s=10.0)
        monkeypatch.setattr(radio_bleak, "_ADAPTER_S", 0.3)
        for member in ("Connect", "Disconnect"):
            daemon.hang(member)
        with pytest.raises(InstrumentError, match=r"dk1\.radio: the Bluetooth service does not call the connection off"):
            await radio.connect(found, services=[SMP], timeout_s=0.3)

    with_radio(story)


def test_a_bluetoothd_that_hangs_ends_a_disconnection_at_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(radio_bleak, "_DISCONNECT_S", 0.3)

    async def story(bench: Bench, daemon: Bluetoothd, radio: BleakRadio) -> None:
        link = await bench.link(radio)
        daemon.hang("Disconnect")
        with pytest.raises(InstrumentError, match=r"dk1\.radio: the Bluetooth service does not end the connection"):
            await link.disconnect()

    with_radio(story)


def test_a_bluetoothd_that_dies_under_a_link_is_the_rigs_trouble() -> None:
    async def story(bench: Bench) -> None:
        async with bluetoothd(bench.bus.address) as daemon:
            radio = await BleakRadio(owner="dk1", adapter="hci0").__aenter__()
            link = await bench.link(radio)
            daemon.die()
            with pytest.raises(InstrumentError, match=r"read of .* failed"):
                await link.read(VALUE)
            await radio.__aexit__(None, None, None)

    on_bench(story)


@pytest.mark.parametrize("pair", [False, True])
def test_a_bus_that_dies_is_the_rigs_trouble_and_leaving_goes_on(pair: bool) -> None:
    async def story(bench: Bench) -> None:
        async with bluetoothd(bench.bus.address):
            radio = await BleakRadio(owner="dk1", adapter="hci0", pair=pair).__aenter__()
            found = await radio.find(lambda seen: seen.address == BOARD, timeout_s=10.0)
            link = await radio.connect(found, services=[SMP], timeout_s=CONNECT_S)
            bench.bus.kill()
            assert await link.wait_lost() is None
            with pytest.raises(LinkLost):
                await link.read(VALUE)
            with pytest.raises(InstrumentError):
                await radio.connect(found, services=[SMP], timeout_s=CONNECT_S)
            with pytest.raises(InstrumentError):
                await radio.find(lambda _seen: True, timeout_s=1.0)
            await radio.__aexit__(None, None, None)

    on_bench(story)
