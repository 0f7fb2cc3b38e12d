"""What every radio must do, whatever adapter it uses and whatever is in the air.

To put another radio under the contract, write a bench for it (an asynchronous context manager that yields a `Bench`) whose device
serves the characteristics below, and add it to `BENCHES` with its clock; to `OWN_ADAPTER` as well when the rig drives its adapter itself.
On BlueZ the radio cannot choose connection parameters, capture, know why a link has ended, or leave a link open that BlueZ would secure.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

import pytest

from rig.drivers.radio_bleak import BleakRadio, longest_write
from rig.errors import PAIRING_GROUP, ConfigError, InstrumentError, LinkLost, NoReply, NotFound, Refused
from rig.ports import Advertisement, GattLink, RadioCapability
from rig.virtual.air import CURRENT_AIR, Air
from rig.virtual.ble_peripheral import AttRefusal, BlePeripheral, Bond, Characteristic, Security, Service
from rig.virtual.clock import loop_factory
from tests.bluez.bus import private_bus
from tests.bluez.daemon import bluetoothd

LIMIT_S = 120.0
NAME = "contract device"
SERVICE = "5a1e0000-9f3b-4a7c-8c21-0f6d2b9e7a10"
OTHER_SERVICE = "0000fe59-0000-1000-8000-00805f9b34fb"
ECHO = "5a1e0001-9f3b-4a7c-8c21-0f6d2b9e7a10"
READ_ONLY = "5a1e0002-9f3b-4a7c-8c21-0f6d2b9e7a10"
WRITE_ONLY = "5a1e0003-9f3b-4a7c-8c21-0f6d2b9e7a10"
MOODY = "5a1e0004-9f3b-4a7c-8c21-0f6d2b9e7a10"
ENCRYPTED = "5a1e0005-9f3b-4a7c-8c21-0f6d2b9e7a10"
AUTHENTICATED = "5a1e0006-9f3b-4a7c-8c21-0f6d2b9e7a10"
CONFIRMED = "5a1e0007-9f3b-4a7c-8c21-0f6d2b9e7a10"
ABSENT = "5a1e00ff-9f3b-4a7c-8c21-0f6d2b9e7a10"
EVERYTHING = frozenset({"read", "write", "write-without-response", "notify"})
INTERVAL_S, SUPERVISION_S = 0.015, 4.0


_T = TypeVar("_T")


class Heard(Generic[_T]):
    """Takes what arrives; a test waits until enough has."""

    def __init__(self) -> None:
        self.all: list[_T] = []
        self._news = asyncio.Event()

    def __call__(self, item: _T) -> None:
        self.all.append(item)
        self._news.set()

    async def until(self, count: int) -> list[_T]:
        while len(self.all) < count:
            self._news.clear()
            await self._news.wait()
        return self.all


@dataclass
class Device:
    """The device of the contract: one echo that can do everything, and characteristics that can do less."""

    air: Air
    address: str = "C0:00:00:00:00:01"
    max_mtu: int = 247
    advertising_s: float = 0.1
    options: dict[str, Any] = field(default_factory=dict)
    bonds: dict[str, Bond] = field(default_factory=dict)
    value: bytes = b""
    written: list[bytes] = field(default_factory=list)
    lost: Heard[int] = field(default_factory=Heard)
    radio: BlePeripheral = field(init=False)

    async def start(self) -> None:
        """Power on: everything but the bonds is new."""
        self.written.clear()
        self.radio = BlePeripheral(self.air, address=self.address, bonds=self.bonds, **self.options)
        self.radio.on_disconnected = self.lost
        await self.radio.start([self._service(), Service(uuid=OTHER_SERVICE, characteristics=())], name=NAME, max_mtu=self.max_mtu)
        await self.radio.advertise(name=NAME, service_uuids=[SERVICE], interval_s=self.advertising_s)

    def _service(self) -> Service:
        def characteristic(
            uuid: str, properties: frozenset[str], security: Security = Security.OPEN, **hooks: Any
        ) -> Characteristic:
            return Characteristic(
                uuid=uuid, properties=properties, security=security,
                on_write=hooks.get("on_write", self.written.append), on_read=hooks.get("on_read", lambda: self.value),
            )  # fmt: skip

        return Service(
            uuid=SERVICE,
            characteristics=(
                characteristic(ECHO, EVERYTHING),
                characteristic(READ_ONLY, frozenset({"read"}), on_read=lambda: b"constant"),
                characteristic(WRITE_ONLY, frozenset({"write"})),
                characteristic(MOODY, frozenset({"write"}), on_write=_refuse),
                characteristic(ENCRYPTED, EVERYTHING, Security.ENCRYPTED),
                characteristic(AUTHENTICATED, EVERYTHING, Security.AUTHENTICATED),
                characteristic(CONFIRMED, frozenset({"indicate"})),
            ),
        )

    def is_it(self, advertisement: Advertisement) -> bool:
        return advertisement.name == NAME and SERVICE in advertisement.service_uuids


def _refuse(_value: bytes) -> None:
    raise AttRefusal(0x80)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """An open radio, its device, and the air between them.

    `knows_reasons`: the radio is told why a link has ended, or pairing has failed.  `is_exact`: nothing but the radio takes time.
    """

    radio: BleakRadio
    device: Device
    air: Air
    capture: bytearray
    knows_reasons: bool = True
    is_exact: bool = True

    def reason(self, hci: int) -> int | None:
        """What the radio says of a link that ended for that reason."""
        return hci if self.knows_reasons else None

    def pairing_reason(self, smp: int) -> int:
        """What the radio says of a pairing that failed for that reason: 0x08, unspecified, where it is not told."""
        return smp if self.knows_reasons else 0x08

    def has_taken(self, start_s: float, duration_s: float) -> bool:
        """Whether a limit was kept since `start_s`: on the wall clock nothing ends on the dot, but nothing may end too early."""
        taken_s = now() - start_s
        return taken_s == pytest.approx(duration_s, abs=0.01) if self.is_exact else taken_s >= duration_s - 0.01

    async def connect(self, *, secured: bool = True) -> GattLink:
        found = await self.radio.find(self.device.is_it, timeout_s=10.0)
        return await self.radio.connect(found, services=[SERVICE], timeout_s=20.0, secured=secured)


@asynccontextmanager
async def virtual(*, radio: dict[str, Any] | None = None, **device: Any) -> AsyncIterator[Bench]:
    air = Air(seed=1)
    token = CURRENT_AIR.set(air)
    subject = Device(air, **device)
    await subject.start()
    capture = bytearray()
    try:
        opened = BleakRadio(owner="dk1", adapter="virtual", **(radio or {}))
        opened.capture(capture.extend)
        async with opened:
            yield Bench(radio=opened, device=subject, air=air, capture=capture)
    finally:
        subject.radio.vanish()
        CURRENT_AIR.reset(token)


@asynccontextmanager
async def bluez(*, radio: dict[str, Any] | None = None, **device: Any) -> AsyncIterator[Bench]:
    """bleak's own backend for BlueZ over a D-Bus to a bluetoothd (tests/bluez), whose adapter is on the virtual air."""
    air = Air(seed=1)
    token = CURRENT_AIR.set(air)
    subject = Device(air, **device)
    await subject.start()
    try:
        async with private_bus() as bus, bluetoothd(bus.address), BleakRadio(owner="dk1", adapter="hci0", **(radio or {})) as opened:
            yield Bench(radio=opened, device=subject, air=air, capture=bytearray(), knows_reasons=False, is_exact=False)
    finally:
        subject.radio.vanish()
        CURRENT_AIR.reset(token)


BENCHES: dict[str, tuple[str, Callable[..., AbstractAsyncContextManager[Bench]]]] = {
    "bleak on the virtual air": ("virtual", virtual),
    "bleak on BlueZ": ("wall", bluez),
}

OWN_ADAPTER = ["bleak on the virtual air"]
"""Benches whose adapter the rig drives itself."""

Test = Callable[[Bench], Awaitable[Any]]


@pytest.fixture(params=BENCHES)
def on_bench(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Runs a coroutine function on a bench made with these options, within a limit, and returns what it returns."""
    clock, bench = BENCHES[request.param]
    return partial(run, clock, bench)


def run(clock: Any, bench: Callable[..., AbstractAsyncContextManager[Bench]], test: Test, **options: Any) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(LIMIT_S), bench(**options) as opened:
            return await test(opened)

    with asyncio.Runner(loop_factory=loop_factory(clock)) as runner:
        return runner.run(limited())


def now() -> float:
    return asyncio.get_running_loop().time()


OnBench = Callable[..., Any]
own_adapter = pytest.mark.parametrize("on_bench", OWN_ADAPTER, indirect=True)


# ----------------------------------------------------------------------------------------------------------------- find
def test_find_sees_name_services_level_and_time(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        before = now()
        found = await bench.radio.find(bench.device.is_it, timeout_s=5.0)
        assert (found.address, found.name, found.service_uuids) == (bench.device.address, NAME, (SERVICE,))
        assert -100 < found.rssi_dbm < 0
        assert before <= found.seen_s <= now()

    on_bench(test)


def test_find_gives_up_at_its_limit_and_says_who_else_was_there(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        before = now()
        with pytest.raises(NotFound, match="1 other"):
            await bench.radio.find(lambda advertisement: advertisement.name == "nobody", timeout_s=3.0)
        assert bench.has_taken(before, 3.0)

    on_bench(test)


def test_an_acceptance_test_that_fails_is_not_swallowed(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        def broken(advertisement: Advertisement) -> bool:
            raise KeyError(advertisement.address)

        with pytest.raises(KeyError):
            await bench.radio.find(broken, timeout_s=3.0)

    on_bench(test)


# ----------------------------------------------------------------------------------------------------------------- GATT
async def everything_has_arrived(link: GattLink) -> None:
    """What was written before has reached the device when it answers a request."""
    assert await link.read(READ_ONLY) == b"constant"


def test_read_write_and_notify(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        bench.device.value = b"what the device says"
        assert await link.read(ECHO) == b"what the device says"
        received = Heard[bytes]()
        await link.subscribe(ECHO, received)
        assert bench.device.radio.is_subscribed(ECHO)
        await link.write(ECHO, b"with response", response=True)
        await link.write(ECHO, b"without", response=False)
        await bench.device.radio.notify(ECHO, b"first")
        await bench.device.radio.notify(ECHO, b"second")
        assert await received.until(2) == [b"first", b"second"]
        await everything_has_arrived(link)
        assert bench.device.written == [b"with response", b"without"]

    on_bench(test)


@own_adapter
def test_what_is_read_is_no_notification(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> list[bytes]:
        link, received = await bench.connect(), Heard[bytes]()
        await link.subscribe(ECHO, received)
        bench.device.value = b"read"
        await link.read(ECHO)
        await bench.device.radio.notify(ECHO, b"notified")
        return await received.until(1)

    assert on_bench(test) == [b"notified"]


def test_a_value_longer_than_the_mtu_is_read_whole(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        bench.device.value = bytes(range(256)) * 2
        assert await link.read(ECHO) == bench.device.value

    on_bench(test)


@pytest.mark.parametrize(("max_mtu", "max_write"), [(23, 20), (247, 244), (498, 495), (517, 512)])
def test_the_longest_write_follows_the_mtu_and_arrives_whole(on_bench: OnBench, max_mtu: int, max_write: int) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        assert link.max_write == max_write
        await link.write(ECHO, bytes(max_write), response=False)
        await everything_has_arrived(link)
        assert bench.device.written == [bytes(max_write)]
        with pytest.raises(ValueError, match="do not fit"):
            await link.write(ECHO, bytes(max_write + 1), response=False)

    on_bench(test, max_mtu=max_mtu)


def test_an_indication_returns_when_it_is_confirmed(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> list[bytes]:
        link = await bench.connect()
        received = Heard[bytes]()
        await link.subscribe(CONFIRMED, received)
        await bench.device.radio.indicate(CONFIRMED, b"sure?")
        return await received.until(1)

    assert on_bench(test) == [b"sure?"]


def test_att_errors_are_refusals_with_their_code(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> dict[str, tuple[int, int]]:
        link = await bench.connect()
        codes = {}
        attempts: dict[str, Awaitable[Any]] = {
            "read of a write-only value": link.read(WRITE_ONLY),
            "write to a read-only value": link.write(READ_ONLY, b"x", response=True),
            "absent characteristic": link.read(ABSENT),
            "the application's own code": link.write(MOODY, b"x", response=True),
        }
        for name, attempt in attempts.items():
            with pytest.raises(Refused) as caught:
                await attempt
            codes[name] = (caught.value.group, caught.value.code)
        assert link.is_up
        return codes

    assert on_bench(test) == {
        "read of a write-only value": (-1, 0x02),
        "write to a read-only value": (-1, 0x03),
        "absent characteristic": (-1, 0x0A),
        "the application's own code": (-1, 0x80),
    }


def test_a_cancelled_read_does_not_give_its_value_to_the_next(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> bytes:
        link = await bench.connect()
        bench.device.value = b"too late"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await link.read(ECHO)
        return await link.read(READ_ONLY)

    assert on_bench(test) == b"constant"


# ------------------------------------------------------------------------------------------------------------- security
async def codes_of(link: GattLink, characteristic: str) -> list[int]:
    """ATT error codes of a read, a write and a subscription; 0 where it is allowed."""
    codes = []
    for attempt in (
        link.read(characteristic),
        link.write(characteristic, b"w", response=True),
        link.subscribe(characteristic, print),
    ):
        try:
            await attempt
            codes.append(0)
        except Refused as refusal:
            codes.append(refusal.code)
    return codes


@pytest.mark.parametrize(
    ("radio", "device", "encrypted", "authenticated"),
    [
        ({"pair": True}, {}, 0, 0x05),
        ({"pair": True}, {"passkey": 123456}, 0, 0x05),
        ({"pair": True, "passkey": 123456}, {"passkey": 123456}, 0, 0),
    ],
    ids=["just works", "a passkey that nobody can type", "passkey"],
)
def test_security_is_asked_of_value_and_configuration_alike(
    on_bench: OnBench, radio: dict[str, Any], device: dict[str, Any], encrypted: int, authenticated: int
) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        assert await codes_of(link, ENCRYPTED) == [encrypted] * 3
        assert await codes_of(link, AUTHENTICATED) == [authenticated] * 3

    on_bench(test, radio=radio, options=device)


@own_adapter
def test_an_open_link_stays_open_and_is_refused_what_needs_more(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        assert await codes_of(link, ENCRYPTED) == [0x05] * 3
        assert await codes_of(link, AUTHENTICATED) == [0x05] * 3

    on_bench(test)


def test_a_write_command_without_the_right_vanishes(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        await link.write(ENCRYPTED, b"x", response=False)
        await link.write(ECHO, b"y", response=False)
        await everything_has_arrived(link)
        assert bench.device.written == [b"y"]

    on_bench(test)


def test_a_write_command_to_what_takes_none_vanishes_or_is_refused(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> list[int]:
        link = await bench.connect()
        codes = []
        try:
            await link.write(READ_ONLY, b"x", response=False)
        except Refused as refusal:  # BlueZ looks at the properties of the characteristic first
            codes.append(refusal.code)
        await everything_has_arrived(link)
        assert bench.device.written == []
        return codes

    assert on_bench(test) in ([], [0x03])


def test_a_wrong_passkey_and_a_device_that_does_not_pair_are_refusals(on_bench: OnBench) -> None:
    async def test(bench: Bench, reason: int) -> None:
        with pytest.raises(Refused) as caught:
            await bench.connect()
        assert (caught.value.group, caught.value.code) == (PAIRING_GROUP, bench.pairing_reason(reason))

    on_bench(partial(test, reason=0x04), radio={"pair": True, "passkey": 1}, options={"passkey": 2})
    on_bench(partial(test, reason=0x05), radio={"pair": True}, options={"pairable": False})


def test_a_bonded_device_is_encrypted_again_after_a_reconnection_and_a_forgetful_one_is_not(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        await link.disconnect()
        link = await bench.connect()
        assert (await codes_of(link, ENCRYPTED))[0] == 0
        await link.disconnect()
        bench.device.bonds.clear()
        with pytest.raises(LinkLost) as caught:
            await bench.connect()
        assert caught.value.reason == bench.reason(0x06)

    on_bench(test, radio={"pair": True})


@own_adapter
def test_a_stranger_neither_pairs_nor_uses_an_earlier_bond(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect(secured=False)
        assert await codes_of(link, ENCRYPTED) == [0x05] * 3
        assert bench.device.bonds == {}, "it has paired"
        await link.disconnect()
        await (await bench.connect()).disconnect()
        assert len(bench.device.bonds) == 1
        link = await bench.connect(secured=False)
        assert await codes_of(link, ENCRYPTED) == [0x0F] * 3, "the device has a key, and the link is not encrypted with it"
        await link.disconnect()
        link = await bench.connect()
        assert await codes_of(link, ENCRYPTED) == [0] * 3, "a stranger's visit costs no bond"

    on_bench(test, radio={"pair": True})


@own_adapter
def test_a_radio_with_another_address_is_a_stranger_to_a_bonded_device(on_bench: OnBench) -> None:
    """The device itself says whom it has met: its bonds are kept by the centrals' addresses."""
    other = "F3:11:22:33:44:55"

    async def test(bench: Bench) -> None:
        assert RadioCapability.SET_ADDRESS in bench.radio.capabilities
        link = await bench.connect()
        first = bench.radio.own_address
        assert set(bench.device.bonds) == {first}
        await bench.radio.use_address(other)
        assert (await codes_of(link, ENCRYPTED))[0] == 0, "a link that is up goes on"
        await link.disconnect()
        link = await bench.connect(secured=False)
        assert await codes_of(link, ENCRYPTED) == [0x05] * 3, "it still knows the central"
        await link.disconnect()
        await bench.connect()
        assert set(bench.device.bonds) == {first, other}
        assert bench.radio.own_address == other

    on_bench(test, radio={"pair": True})


@own_adapter
def test_an_address_does_not_change_while_the_radio_scans(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        before = bench.radio.own_address
        scan = asyncio.ensure_future(bench.radio.find(lambda _seen: False, timeout_s=2.0))
        await asyncio.sleep(1.0)
        with pytest.raises(InstrumentError, match="changing the address failed"):
            await bench.radio.use_address("F3:11:22:33:44:55")
        assert bench.radio.own_address == before
        with pytest.raises(NotFound):
            await scan

    on_bench(test)


def test_an_adapter_of_the_systems_cannot_choose_its_address() -> None:
    async def test() -> None:
        radio = BleakRadio(owner="dk1", adapter="hci0")
        assert (radio.capabilities, radio.own_address) == (frozenset(), None)
        with pytest.raises(InstrumentError, match="cannot choose its address; only an adapter that the rig drives itself can: virtual"):
            await radio.use_address("F3:11:22:33:44:55")

    asyncio.run(test())


def test_a_device_with_another_key_cannot_be_understood(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        await link.disconnect()
        for peer in bench.device.bonds:
            bench.device.bonds[peer] = Bond(key=bytes(16), authenticated=False)
        with pytest.raises(LinkLost) as caught:
            await bench.connect()
        assert caught.value.reason == bench.reason(0x3D)

    on_bench(test, radio={"pair": True})


# ----------------------------------------------------------------------------------------------------------- lost links
def silence(bench: Bench) -> None:
    """Nothing gets through any more."""
    bench.air.set_per(1.0)


def power_cut(bench: Bench) -> None:
    bench.device.radio.vanish()


@pytest.mark.parametrize("blow", [silence, power_cut])
def test_a_link_is_lost_when_nothing_has_been_heard_for_the_supervision_timeout(
    on_bench: OnBench, blow: Callable[[Bench], None]
) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        blow(bench)
        reading = asyncio.create_task(link.read(ECHO))
        assert await link.wait_lost() == bench.reason(0x08)
        assert not link.is_up
        assert link.lost_reason == bench.reason(0x08)
        for attempt in (reading, link.read(ECHO), link.write(ECHO, b"x", response=False), link.subscribe(ECHO, print)):
            with pytest.raises(LinkLost) as caught:
                await attempt
            assert caught.value.reason == bench.reason(0x08)
        await link.disconnect()

    on_bench(test)


@own_adapter
@pytest.mark.parametrize("blow", [silence, power_cut])
@pytest.mark.parametrize("supervision_s", [0.42, SUPERVISION_S, 6.0])
def test_the_supervision_timeout_can_be_chosen(on_bench: OnBench, blow: Callable[[Bench], None], supervision_s: float) -> None:
    async def test(bench: Bench) -> float:
        link = await bench.connect()
        await asyncio.sleep(1.0)
        start = now()
        blow(bench)
        await link.wait_lost()
        return now() - start

    lost_after = on_bench(test, radio={"supervision_s": supervision_s})
    # The last packet was heard at most one interval before.
    assert supervision_s - INTERVAL_S <= lost_after <= supervision_s


def test_both_sides_know_who_hung_up(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        await bench.device.radio.disconnect()
        assert await link.wait_lost() == bench.reason(0x13)
        link = await bench.connect()
        await link.disconnect()
        assert link.lost_reason == bench.reason(0x16)
        assert await bench.device.lost.until(2) == [0x16, 0x13]

    on_bench(test)


def test_after_a_power_cut_the_device_is_found_and_connected_again(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        first = await bench.connect()
        bench.device.radio.vanish()
        await bench.device.start()  # before the old link has timed out
        second = await bench.connect()
        await second.write(ECHO, b"hello again", response=True)
        assert bench.device.written == [b"hello again"]
        assert not first.is_up or await first.wait_lost() == 0x08
        assert second.is_up

    on_bench(test)


def test_a_device_that_dies_before_the_connection_does_not_block_the_radio(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        found = await bench.radio.find(bench.device.is_it, timeout_s=5.0)
        bench.device.radio.vanish()
        before = now()
        with pytest.raises(NoReply) as caught:
            await bench.radio.connect(found, services=[SERVICE], timeout_s=2.0)
        assert caught.value.timeout_s == 2.0
        assert bench.has_taken(before, 2.0)
        await bench.device.start()
        assert (await bench.connect()).is_up

    on_bench(test)


def test_leaving_the_radio_ends_its_links(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        await bench.radio.__aexit__(None, None, None)
        assert not link.is_up
        assert await bench.device.lost.until(1) == [0x13]

    on_bench(test)


# -------------------------------------------------------------------------------------------------- order and pressure
MESSAGES = 300


def test_no_write_is_lost_or_reordered_on_a_bad_link(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        bench.air.set_per(0.3)
        messages = [struct.pack("<I", number) * 50 for number in range(MESSAGES // 3)]
        for message in messages:
            await link.write(ECHO, message, response=False)
        await everything_has_arrived(link)
        assert bench.device.written == messages

    on_bench(test)


@own_adapter
def test_writes_wait_for_room_on_a_bad_link(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        bench.air.set_per(0.3)
        messages = [struct.pack("<I", number) * 50 for number in range(MESSAGES)]
        start = now()
        for message in messages:
            await link.write(ECHO, message, response=False)
        taken = now() - start
        await everything_has_arrived(link)
        assert bench.device.written == messages
        # Without back-pressure all of them would be accepted at once; with it, all but the last queue full.
        assert taken > 1.0

    on_bench(test)


@own_adapter
def test_lone_messages_on_a_bad_link_arrive_once_each(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        bench.air.set_per(0.4)
        messages = [struct.pack("<I", number) for number in range(150)]
        for message in messages:
            await link.write(ECHO, message, response=False)
            await asyncio.sleep(0.05)
        await asyncio.sleep(5.0)
        assert bench.device.written == messages

    on_bench(test)


def test_notifications_wait_for_room_and_keep_their_order(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        received = Heard[bytes]()
        await link.subscribe(ECHO, received)
        bench.air.set_per(0.3)
        messages = [struct.pack("<I", number) * 50 for number in range(MESSAGES // 3)]
        start = now()
        for message in messages:
            await bench.device.radio.notify(ECHO, message)
        taken = now() - start
        assert await received.until(len(messages)) == messages
        assert taken > 1.0

    on_bench(test)


def test_a_write_that_waits_for_room_ends_when_the_link_is_lost(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        silence(bench)

        async def write_for_ever() -> None:
            while True:
                await link.write(ECHO, bytes(200), response=False)

        with pytest.raises(LinkLost):
            await write_for_ever()

    on_bench(test)


# -------------------------------------------------------------------------------------------------------------- capture
async def some_traffic(bench: Bench) -> bytes:
    link = await bench.connect()
    bench.air.set_per(0.2)
    for number in range(20):
        await link.write(ECHO, bytes([number]) * 100, response=False)
    await link.disconnect()
    return bytes(bench.capture)


def packets(capture: bytes) -> list[tuple[int, int, bytes]]:
    """(flags, microseconds since 2000, packet) of a btsnoop file."""
    assert capture[:16] == b"btsnoop\0" + struct.pack(">II", 1, 1002)
    found, offset = [], 16
    while offset < len(capture):
        original, included, flags, drops, time = struct.unpack_from(">IIIIQ", capture, offset)
        assert (original, drops) == (included, 0)
        found.append((flags, time - 0x00E03AB44A676000, capture[offset + 24 : offset + 24 + included]))
        offset += 24 + included
    return found


@own_adapter
def test_a_capture_holds_both_directions_on_the_loops_clock(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> tuple[bytes, float]:
        return await some_traffic(bench), now()

    capture, end = on_bench(test)
    seen = packets(capture)
    assert seen[0][2] == b"\x01\x03\x0c\x00"  # HCI Reset, before all else
    times = [time for _, time, _ in seen]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= math.ceil(end * 1e6)
    assert {flags for flags, _, _ in seen} == {0, 1, 2, 3}
    written = [packet for flags, _, packet in seen if flags == 0 and packet[9:10] == b"\x52"]
    assert len(written) == 20


@own_adapter
def test_the_same_traffic_gives_the_same_capture(on_bench: OnBench) -> None:
    assert on_bench(some_traffic) == on_bench(some_traffic)


@own_adapter
def test_a_later_capture_starts_with_its_own_header_and_ends_the_earlier_one(on_bench: OnBench) -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        early, late = len(bench.capture), bytearray()
        bench.radio.capture(late.extend)
        await link.read(ECHO)
        assert len(packets(bytes(late))) >= 2
        assert len(bench.capture) == early

    on_bench(test)


# -------------------------------------------------------------------------------------------------------------- options
@pytest.mark.parametrize(
    "options",
    [{"interval_ms": 7.0}, {"interval_ms": 16.0}, {"supervision_s": 0.05}, {"supervision_s": 33}, {"adapter": "carrier:pigeon"}],
)
def test_senseless_options_are_the_operators_fault(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"dk1\.radio"):
        BleakRadio(owner="dk1", **{"adapter": "virtual", **options})


def test_values_longer_than_512_bytes_do_not_exist_whatever_the_backend_says() -> None:
    characteristic = SimpleNamespace(max_write_without_response_size=514)
    client: Any = SimpleNamespace(services=SimpleNamespace(characteristics={1: characteristic}))
    assert longest_write(client) == 512


def test_without_a_bench_the_virtual_adapter_is_an_instrument_that_is_absent() -> None:
    async def enter() -> None:
        async with BleakRadio(owner="dk1", adapter="virtual"):
            pass

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner, pytest.raises(InstrumentError, match="no virtual bench"):
        runner.run(enter())


def test_without_bluetooth_the_system_adapter_is_an_instrument_that_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")

    async def enter() -> None:
        async with BleakRadio(owner="dk1", adapter="hci0"):
            pass

    with asyncio.Runner(loop_factory=loop_factory("wall")) as runner, pytest.raises(InstrumentError, match=r"dk1\.radio"):
        runner.run(enter())


def test_the_same_radio_works_on_the_wall_clock() -> None:
    async def test(bench: Bench) -> None:
        link = await bench.connect()
        bench.device.value = b"real time"
        assert await link.read(ECHO) == b"real time"
        await link.disconnect()

    run("wall", virtual, test, advertising_s=0.02)
