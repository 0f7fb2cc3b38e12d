"""The rig's BLE central, on the bleak library.

`adapter` chooses the radio: a BlueZ adapter such as ``hci0`` (None for the system's first), or ``scheme`` or ``scheme:rest`` for one of
`ADAPTERS`, an HCI controller that the rig drives itself with bumble.  Only on the latter can the rig choose connection parameters and its
own address, know why a link ended, hold back a flood of writes, and capture HCI traffic.  With BlueZ run ``btmon -w FILE`` beside the rig
for a capture.  docs/drivers.md lists what else differs; never tried with a bluetoothd and an adapter that exist.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bleak import BleakAdapter, BleakClient, BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakDeviceNotFoundError, BleakError

from rig.drivers.bleak_errors import ADAPTER_HINT, BUS_ERRORS, blame, blame_for_connect, is_already_paired, words
from rig.errors import ConfigError, InstrumentError, LinkLost, NoReply, NotFound
from rig.ports import Advertisement, RadioCapability

if TYPE_CHECKING:
    from rig.drivers.bluez_agent import BluezAgent
    from rig.drivers.bumble_central import BumbleCentral

ADAPTERS = {"virtual": "rig.virtual.adapter:open_adapter"}
"""Scheme → ``module:function`` that opens an HCI transport (`bumble.transport.common.Transport`), given what follows the colon."""

_MAX_VALUE = 512
"""Longer attribute values do not exist (Core Specification Vol 3 Part F 3.2.9)."""
_TRANSACTION_S = 30.0
"""An ATT transaction that takes longer has failed (Vol 3 Part F 3.3.3)."""
_ADAPTER_S = 10.0
"""A Bluetooth service of the host that has not answered by then is broken."""
_DISCONNECT_S = 40.0
"""A device that has died keeps its connection for the supervision timeout, at most 32 s (Vol 4 Part E 7.8.12)."""


class BleakLink:
    """`rig.ports.GattLink`: one connection, used up when it ends."""

    def __init__(self, client: BleakClient, *, instrument: str, address: str = "") -> None:
        self.address = address
        self.max_write = 20
        self.lost_reason: int | None = None
        self._client = client
        self._instrument = instrument
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_up(self) -> bool:
        return not self._lost.done()

    async def read(self, characteristic: str) -> bytes:
        async with self._operation(f"read of {characteristic}"):
            return bytes(await self._client.read_gatt_char(characteristic))

    async def write(self, characteristic: str, data: bytes, *, response: bool) -> None:
        """As the port says; raises `ValueError` for a write without response longer than `max_write`."""
        if not response and len(data) > self.max_write:
            raise ValueError(f"{len(data)} bytes do not fit into a write without response of at most {self.max_write}")
        async with self._operation(f"write to {characteristic}", written=(characteristic, response)):
            await self._client.write_gatt_char(characteristic, data, response=response)

    async def subscribe(self, characteristic: str, receiver: Callable[[bytes], None]) -> None:
        """As the port says.  With BlueZ `receiver` also hears what a later `read` of the same characteristic returns."""
        async with self._operation(f"subscription to {characteristic}"):
            await self._client.start_notify(characteristic, lambda _sender, data: receiver(bytes(data)))

    async def wait_lost(self) -> int | None:
        await asyncio.shield(self._lost)
        return self.lost_reason

    async def disconnect(self) -> None:
        if self.is_up:
            try:
                with self._translated("disconnect"):
                    async with asyncio.timeout(_DISCONNECT_S):
                        await self._client.disconnect()
            except TimeoutError:
                raise InstrumentError(self._instrument, "the Bluetooth service does not end the connection") from None
            self.on_lost(None)

    def on_lost(self, reason: int | None) -> None:
        """The backend says that the connection has ended; the first to tell is believed."""
        if not self._lost.done():
            self.lost_reason = reason
            self._lost.set_result(None)

    @contextlib.asynccontextmanager
    async def _operation(self, request: str, *, written: tuple[str, bool] | None = None) -> Any:
        """Around every GATT procedure: limits it, and translates its errors.  `written`: characteristic and response of a write."""
        try:
            with self._translated(request, written=written):
                async with asyncio.timeout(_TRANSACTION_S) as limit:
                    yield
        except TimeoutError:
            if not self.is_up:
                raise LinkLost(self.lost_reason) from None
            if limit.expired():
                raise NoReply(request, _TRANSACTION_S) from None
            raise

    @contextlib.contextmanager
    def _translated(self, request: str, *, written: tuple[str, bool] | None = None) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise
        except (BleakError, *BUS_ERRORS) as error:
            if not self.is_up:
                raise LinkLost(self.lost_reason) from error
            can_write = written is None or self._can_write(*written)
            raise blame(error, request, instrument=self._instrument, can_write=can_write) from error

    def _can_write(self, characteristic: str, response: bool) -> bool:
        known = self._client.services.get_characteristic(characteristic)
        return known is None or ("write" if response else "write-without-response") in known.properties


class BleakRadio:
    """`rig.ports.Radio` on bleak.

    Args:
        owner: the board that the radio serves.
        adapter: see the module.
        interval_ms: connection interval, 7.5 to 4000 ms in steps of 1.25 ms; not on BlueZ.
        supervision_s: supervision timeout, 0.1 to 32 s in steps of 10 ms; not on BlueZ.
        pair: pair with the device, unless it is already paired, before anything else.
        passkey: what the device shows when it pairs, 0 to 999999.

    Raises:
        ConfigError: an option is out of range, or the adapter's scheme is unknown.
    """

    def __init__(
        self,
        *,
        owner: str,
        adapter: str | None = None,
        interval_ms: float = 15.0,
        supervision_s: float = 4.0,
        pair: bool = False,
        passkey: int | None = None,
    ) -> None:
        self._name = f"{owner}.radio"
        self._scheme, separator, self._rest = (adapter or "").partition(":")
        if separator and self._scheme not in ADAPTERS:
            raise ConfigError(f"{self._name}: no adapter scheme {self._scheme!r}; known: {', '.join(sorted(ADAPTERS))}")
        if not 7.5 <= interval_ms <= 4000 or interval_ms % 1.25:
            raise ConfigError(f"{self._name}: interval_ms must be 7.5 to 4000 in steps of 1.25, not {interval_ms:g}")
        if not 0.1 <= supervision_s <= 32 or supervision_s * 1000 <= 2 * interval_ms:
            raise ConfigError(f"{self._name}: supervision_s must be 0.1 to 32 and more than two intervals, not {supervision_s:g}")
        self._interval_ms, self._supervision_s = interval_ms, supervision_s
        self._pair, self._passkey = pair, passkey
        self._central: BumbleCentral | None = None
        self._agent: BluezAgent | None = None
        self._scanner_options: dict[str, Any] = {}
        self._client_options: dict[str, Any] = {}
        self._capture: Callable[[bytes], None] | None = None
        self._links: list[BleakLink] = []

    @property
    def capabilities(self) -> frozenset[RadioCapability]:
        """BlueZ keeps an adapter's address for as long as the adapter is powered."""
        return frozenset({RadioCapability.SET_ADDRESS}) if self._scheme in ADAPTERS else frozenset()

    @property
    def own_address(self) -> str | None:
        """As the port says; BlueZ is not asked."""
        return self._central.address if self._central is not None else None

    @property
    def can_capture(self) -> bool:
        """Whether `capture` does anything: not with BlueZ, which keeps HCI traffic to itself."""
        return self._scheme in ADAPTERS

    async def __aenter__(self) -> Self:
        with self._adapter_errors("opening the adapter"):
            async with asyncio.timeout(_ADAPTER_S):
                if self._scheme in ADAPTERS:
                    await self._open_central()
                else:
                    await self._open_bluez()
        return self

    async def _open_central(self) -> None:
        from rig.drivers.bumble_bleak import backends  # noqa: PLC0415  half a second, which BlueZ users need not spend
        from rig.drivers.bumble_central import BumbleCentral, LinkOptions  # noqa: PLC0415

        module, _, function = ADAPTERS[self._scheme].partition(":")
        transport = await getattr(import_module(module), function)(self._rest)
        options = LinkOptions(interval_ms=self._interval_ms, supervision_s=self._supervision_s, passkey=self._passkey)
        self._central = await BumbleCentral.open(transport, options, capture=self._capture)
        self._scanner_options["backend"], self._client_options["backend"] = backends(self._central)

    async def _open_bluez(self) -> None:
        bluez = {"adapter": self._scheme} if self._scheme else {}
        self._scanner_options["bluez"] = self._client_options["bluez"] = bluez
        await BleakAdapter.get(bluez=bluez)  # type: ignore[arg-type]
        if self._pair:
            from rig.drivers.bluez_agent import BluezAgent  # noqa: PLC0415 - where there is no BlueZ there need be no D-Bus

            self._agent = await BluezAgent(self._passkey).__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for link in self._links:
            with contextlib.suppress(InstrumentError, LinkLost):  # closing goes on, whatever happens
                await link.disconnect()
        self._links.clear()
        if self._agent is not None:
            agent, self._agent = self._agent, None
            await agent.__aexit__(kind, error, trace)
        if self._central is not None:
            central, self._central = self._central, None
            await central.close()

    def capture(self, sink: Callable[[bytes], None]) -> None:
        """Send the HCI traffic to `sink` in btsnoop format, header first; a later call replaces an earlier one.

        Times are 2000-01-01 plus the loop's time.  No effect unless `can_capture`.
        """
        self._capture = sink
        if self._central is not None:
            self._central.capture(sink)

    async def use_address(self, address: str) -> None:
        """As the port says."""
        if self._central is None:
            hint = f"only an adapter that the rig drives itself can: {', '.join(ADAPTERS)}"
            raise InstrumentError(self._name, "this radio cannot choose its address", hint=hint)
        with self._adapter_errors("changing the address"):
            async with asyncio.timeout(_ADAPTER_S):
                await self._central.use_address(address)

    async def find(self, accept: Callable[[Advertisement], bool], *, timeout_s: float) -> Advertisement:
        """As the port says."""
        loop = asyncio.get_running_loop()
        arrivals: asyncio.Queue[Advertisement] = asyncio.Queue()
        others: set[str] = set()

        def on_advertisement(device: BLEDevice, data: AdvertisementData) -> None:
            arrivals.put_nowait(_advertisement(device, data, loop.time()))

        with self._adapter_errors("scanning"):
            async with asyncio.timeout(timeout_s + 2 * _ADAPTER_S), BleakScanner(on_advertisement, **self._scanner_options):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        while not accept(advertisement := await arrivals.get()):
                            others.add(advertisement.address)
                        return advertisement
        raise NotFound(f"it did not advertise within {timeout_s:g} s ({len(others)} other devices did)")

    async def connect(
        self, target: Advertisement, *, services: Collection[str], timeout_s: float, secured: bool = True
    ) -> BleakLink:
        """As the port says; a service that the device lacks shows when its characteristics are used (`Refused`).

        BlueZ encrypts by itself with a device that it has a bond with, so there a stranger first forgets the device: the next
        secured connection has to pair anew.  And BlueZ answers a refusal (0x05, 0x0F) by pairing Just Works where the device
        agrees, which nobody can switch off per connection: with BlueZ an access that succeeds proves no more than that a stranger
        can pair.  An adapter that the rig drives itself has neither limit.
        """
        links: list[BleakLink] = []

        def on_lost(reason: int | None) -> None:
            for link in links:
                link.on_lost(reason)

        options = dict(self._client_options)
        if self._central is not None:
            options |= {"on_lost": on_lost, "encrypt": secured}
        if self._central is None:
            await self._end_earlier_links(target.address)
        client = BleakClient(
            target.token if isinstance(target.token, BLEDevice) else target.address,
            disconnected_callback=lambda _client: on_lost(None),
            services=services,
            timeout=timeout_s,
            pair=self._pair and secured,
            **options,
        )
        if self._central is None and not secured:
            await self._forget(client)
        await self._connect(client, timeout_s)
        link = BleakLink(client, instrument=self._name, address=target.address)
        links.append(link)
        self._links = [known for known in self._links if known.is_up] + [link]
        link.max_write = longest_write(client)
        return link

    async def _connect(self, client: BleakClient, timeout_s: float) -> None:
        """Connect within the client's own limit, and once more where BlueZ says that it has paired in the meantime."""
        try:
            async with asyncio.timeout(2 * timeout_s + _ADAPTER_S) as limit:
                try:
                    await client.connect()
                except BleakError as error:
                    if not is_already_paired(error):
                        raise
                    await client.connect()
        except TimeoutError:
            if limit.expired():  # bleak does not limit how long it waits for the end of an attempt
                raise InstrumentError(self._name, "the Bluetooth service does not call the connection off", hint=ADAPTER_HINT) from None
            raise NoReply("connect", timeout_s) from None
        except (BleakError, *BUS_ERRORS) as error:
            raise blame_for_connect(error, self._name) from error

    async def _end_earlier_links(self, address: str) -> None:
        """End the links to that device: BlueZ would give the connection that it has once more, though the device may be a new one.

        After a power cut that takes BlueZ its supervision timeout, as it cannot know sooner.
        """
        for link in self._links:
            if link.address == address:
                with contextlib.suppress(LinkLost):  # which is as good
                    await link.disconnect()

    async def _forget(self, client: BleakClient) -> None:
        """Remove the bond that BlueZ may have with the device; one that it does not know is forgotten already."""
        with self._adapter_errors("forgetting the device"), contextlib.suppress(BleakDeviceNotFoundError):
            async with asyncio.timeout(_ADAPTER_S):
                await client.unpair()

    @contextlib.contextmanager
    def _adapter_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (BleakError, *BUS_ERRORS) as error:  # TimeoutError is an OSError
            reason = words(error) if isinstance(error, BleakError) else str(error) or "it does not answer"
            raise InstrumentError(self._name, f"{what} failed: {reason}", hint=ADAPTER_HINT) from error


def _advertisement(device: BLEDevice, data: AdvertisementData, now: float) -> Advertisement:
    return Advertisement(
        address=device.address,
        name=data.local_name or device.name or "",
        service_uuids=tuple(data.service_uuids),
        rssi_dbm=data.rssi,
        seen_s=now,
        token=device,
    )


def longest_write(client: BleakClient) -> int:
    """Bytes that fit into a write without response: a property of the link, which bleak tells by characteristic."""
    sizes = [characteristic.max_write_without_response_size for characteristic in client.services.characteristics.values()]
    return min([_MAX_VALUE, *sizes]) if sizes else 20
