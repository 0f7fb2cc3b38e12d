"""Bluetooth on a virtual board: advertising, one connection, and the GATT server on it.

What runs on the board (an application, a bootloader) talks to a `BlePeripheral`; what is on the air is made by `link_layer`.  Host and
controller share a chip, so there is no HCI between them.

Limits, all as on a small device: one connection at a time, legacy advertising, four packets in the transmit queue.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, MutableMapping, Sequence

from rig.virtual.advertising import Advertiser
from rig.virtual.air import Air, DeviceAddress, Phy
from rig.virtual.gatt_server import (
    DEFAULT_MTU,
    AttRefusal,
    AttributeTable,
    Characteristic,
    GattServer,
    LinkSecurity,
    Security,
    Service,
    uuid_octets,
)
from rig.virtual.link_end import LinkEnd
from rig.virtual.link_pdus import MAX_OCTETS, ConnectionParameters
from rig.virtual.pairing import Bond, PairingResponder

__all__ = [
    "AttRefusal",
    "BlePeripheral",
    "Bond",
    "Characteristic",
    "NotSubscribed",
    "PeerGone",
    "Security",
    "Service",
]

_CID_ATT, _CID_SIGNALLING, _CID_SMP = 4, 5, 6
_TX_PACKETS = 4
_MAX_MTU = 517
_TRANSACTION_S = 30.0
"""An ATT transaction that takes longer has failed (Vol 3 Part F 3.3.3)."""
_MAX_ADVERTISING_OCTETS = 31
_NO_SERVICES = AttributeTable((), name="")
_COMMAND_REJECT = 0x01


class PeerGone(Exception):
    """There is no connection, or no longer."""


class NotSubscribed(Exception):
    """The central has not asked for this notification or indication."""


class BlePeripheral:
    """The radio of a board, from one start of the firmware to the next.

    `address` is written ``C0:…``, with ``/P`` behind a public one.  `bonds` outlives the object when the board keeps bonds in flash;
    its keys are the centrals' addresses.  `pairable` False refuses pairing, as the Secure DFU bootloader does.  `passkey` (0 to
    999999) is what the board shows when a central pairs; None for a board without a display.  `max_octets` is the longest link layer
    payload, 27 (no data length extension) to 251.

    `on_connected` and `on_disconnected` (with the HCI reason) are called on the loop and must not wait.
    """

    def __init__(
        self,
        air: Air,
        *,
        address: str,
        bonds: MutableMapping[str, Bond] | None = None,
        pairable: bool = True,
        passkey: int | None = None,
        max_octets: int = MAX_OCTETS,
    ) -> None:
        self.on_connected: Callable[[], None] | None = None
        self.on_disconnected: Callable[[int], None] | None = None
        self._air = air
        self._address = DeviceAddress.parse(address)
        self._bonds = {} if bonds is None else bonds
        self._pairable = pairable
        self._passkey = passkey
        self._max_octets = max_octets
        self._loop = asyncio.get_running_loop()
        self._is_alive = True
        self._table = _NO_SERVICES
        self._max_mtu = DEFAULT_MTU
        self._mtu_rule: Callable[[int], int] | None = None
        self._advertisement: tuple[bytes, bytes, float] | None = None
        self._advertiser: Advertiser | None = None
        self._deaf_until = 0.0
        self._end: LinkEnd | None = None
        self._server = GattServer(self._table, self._max_mtu)
        self._pairing: PairingResponder | None = None
        self._received = bytearray()
        self._outstanding = 0
        self._waiters: dict[asyncio.Future[None], None] = {}
        self._indicating = asyncio.Lock()

    # ------------------------------------------------------------------------------------------------------ for firmware
    async def start(
        self,
        services: Sequence[Service],
        *,
        name: str,
        max_mtu: int = 247,
        mtu_rule: Callable[[int], int] | None = None,
    ) -> None:
        """Register `services` beside GAP and GATT.  `max_mtu` is the largest ATT_MTU that the server agrees to, 23 to 517.

        `mtu_rule` gives the server's answer to what a client offers where that is not always `max_mtu`.

        Raises `ValueError` outside that range.
        """
        if not DEFAULT_MTU <= max_mtu <= _MAX_MTU:
            raise ValueError(f"an ATT_MTU of {max_mtu} is not between {DEFAULT_MTU} and {_MAX_MTU}")
        self._table = AttributeTable(services, name=name)
        self._max_mtu = max_mtu
        self._mtu_rule = mtu_rule

    async def advertise(self, *, name: str, service_uuids: Sequence[str], interval_s: float) -> None:
        """Advertise, connectable and scannable, whenever there is no connection, until `stop_advertising`.

        The UUIDs go into the advertisement, the name into the scan response.  Raises `ValueError` when they do not fit.
        """
        data = b"\x02\x01\x06" + _uuid_structures(service_uuids)
        response = _structure(0x09, name.encode())
        for what, octets in (("service UUIDs", data), ("name", response)):
            if len(octets) > _MAX_ADVERTISING_OCTETS:
                raise ValueError(f"the {what} do not fit into an advertisement of {_MAX_ADVERTISING_OCTETS} octets")
        await self.stop_advertising()
        self._advertisement = (data, response, interval_s)
        self._resume_advertising()

    @property
    def address(self) -> str:
        """The address that it advertises."""
        return str(self._address)

    def use_address(self, address: str) -> None:
        """Advertise another address from the next advertisement on, as a bootloader does to be told from its application."""
        self._address = DeviceAddress.parse(address)

    @property
    def bonded_peer(self) -> str | None:
        """The connected central's address, when the link is encrypted with the key of a bond."""
        return str(self._end.peer.address) if self._end is not None and self._server.security.encrypted else None

    def use_bonds(self, bonds: MutableMapping[str, Bond], *, pairable: bool, passkey: int | None = None) -> None:
        """From the next connection on, know these bonds and no others, and pair in this way; the arguments are those of the class."""
        self._bonds, self._pairable, self._passkey = bonds, pairable, passkey

    async def stop_advertising(self) -> None:
        self._advertisement = None
        if self._advertiser is not None:
            self._advertiser.stop()
            self._advertiser = None

    @property
    def is_connected(self) -> bool:
        return self._end is not None

    @property
    def mtu(self) -> int:
        """ATT_MTU of the connection, 23 without one."""
        return self._server.mtu

    def is_subscribed(self, uuid: str) -> bool:
        """Whether the connected central wants notifications or indications of this characteristic."""
        return self._end is not None and self._server.is_subscribed(uuid)

    async def notify(self, uuid: str, data: bytes) -> None:
        """Hand over one notification, at most `mtu` - 3 bytes, once there is room in the transmit queue.

        Raises `PeerGone`, `NotSubscribed`, and `ValueError` when `data` is too long.
        """
        await self._room()
        self._send_value(uuid, data, indication=False)

    async def indicate(self, uuid: str, data: bytes) -> None:
        """Send one indication and wait for its confirmation.  Raises as `notify` does."""
        async with self._indicating:
            await self._room()
            server, is_confirmed = self._server, False

            def confirm() -> None:
                nonlocal is_confirmed
                is_confirmed = True
                self._wake_waiters()

            server.on_confirmation = confirm
            self._send_value(uuid, data, indication=True)
            try:
                async with asyncio.timeout(_TRANSACTION_S):
                    while not is_confirmed and self._server is server:
                        await self._progress()
            except TimeoutError:
                raise PeerGone("the central does not confirm") from None
            if not is_confirmed:
                raise PeerGone("the connection ended before the confirmation")

    async def disconnect(self) -> None:
        """End the connection (0x13 at the central) and wait until it has ended; no effect without one."""
        end = self._end
        if end is not None:
            end.disconnect()
        while self._end is end and end is not None:
            await self._progress()

    async def request_parameters(self, *, interval_s: float, latency: int, timeout_s: float) -> None:
        """Ask the central for other connection parameters (LL_CONNECTION_PARAM_REQ); it grants them within some events.

        Raises `PeerGone`.
        """
        if self._end is None:
            raise PeerGone("not connected")
        self._end.change_parameters(ConnectionParameters(interval_s=interval_s, latency=latency, timeout_s=timeout_s))

    # ------------------------------------------------------------------------------------------------------- for the SoC
    def stall(self, until: float) -> None:
        """Be deaf and dumb before loop time `until`: the core stands still, as during a page erase."""
        self._deaf_until = max(self._deaf_until, until)
        if self._advertiser is not None:
            self._advertiser.deaf_until = self._deaf_until
        if self._end is not None:
            self._end.stall(until)

    def vanish(self) -> None:
        """Lose power or reset: silence, no goodbye.  The object is dead afterwards."""
        self._is_alive = False
        self._advertisement = None
        if self._advertiser is not None:
            self._advertiser.stop()
        if self._end is not None:
            self._end.vanish()
            self._forget_connection()

    # ---------------------------------------------------------------------------------------------------- for the link layer
    def on_opened(self, end: LinkEnd) -> None:
        self._advertiser = None
        self._end = end
        peer = str(end.peer.address)
        self._server = GattServer(
            self._table, self._max_mtu, LinkSecurity(has_key=peer in self._bonds), mtu_rule=self._mtu_rule
        )
        self._pairing = PairingResponder(
            own=end.address,
            peer=end.peer.address,
            luck=self._air.stream(f"pairing/{self._address}"),
            passkey=self._passkey,
            allowed=self._pairable,
            send=lambda pdu: self._send(_CID_SMP, pdu),
            on_bond=lambda bond: self._keep_bond(peer, bond),
        )
        self._received.clear()
        self._outstanding = 0
        end.deaf_until = self._deaf_until
        if self.on_connected is not None:
            self._loop.call_soon(self._if_alive, self.on_connected)

    def on_data(self, end: LinkEnd, data: bytes, *, first: bool) -> None:
        self._loop.call_soon(self._take, end, data, first)

    def on_sent(self, end: LinkEnd) -> None:
        if end is self._end:
            self._outstanding -= 1
            self._wake_waiters()

    def on_closed(self, end: LinkEnd, reason: int) -> None:
        if end is not self._end:
            return
        self._forget_connection()
        self._resume_advertising()
        if self.on_disconnected is not None:
            hook = self.on_disconnected
            self._loop.call_soon(self._if_alive, lambda: hook(reason))

    def on_parameters(self, end: LinkEnd, parameters: ConnectionParameters) -> None:
        pass  # firmware here does not look at them

    def on_phy(self, end: LinkEnd, phy: Phy) -> None:
        pass

    def on_data_length(self, end: LinkEnd, octets: int) -> None:
        pass

    def on_encryption(self, end: LinkEnd, status: int) -> None:
        bond = self._bonds.get(str(end.peer.address))
        self._server.security.encrypted = status == 0
        self._server.security.authenticated = status == 0 and bond is not None and bond.authenticated

    def long_term_key(self, end: LinkEnd, rand: bytes, ediv: int) -> bytes | None:
        """The key of this central's bond; LE Secure Connections keys have EDIV and Rand zero (Vol 3 Part H 2.4.4)."""
        bond = self._bonds.get(str(end.peer.address))
        return bond.key if bond is not None and ediv == 0 and not any(rand) else None

    # -------------------------------------------------------------------------------------------------------------- below
    def _if_alive(self, action: Callable[[], None]) -> None:
        if self._is_alive:
            action()

    def _resume_advertising(self) -> None:
        if not self._is_alive or self._end is not None or self._advertisement is None:
            return
        data, response, interval_s = self._advertisement
        self._advertiser = Advertiser(
            self._air,
            self,
            address=self._address,
            data=data,
            scan_response=response,
            interval_s=interval_s,
            max_octets=self._max_octets,
        )
        self._advertiser.deaf_until = self._deaf_until

    def _keep_bond(self, peer: str, bond: Bond) -> None:
        self._bonds[peer] = bond
        self._server.security.has_key = True

    def _forget_connection(self) -> None:
        self._end = None
        self._server = GattServer(self._table, self._max_mtu)
        self._wake_waiters()

    def _take(self, end: LinkEnd, data: bytes, first: bool) -> None:
        """Reassemble one L2CAP frame (Vol 3 Part A 3.1) and serve it."""
        if end is not self._end:
            return
        if first:
            self._received.clear()
        self._received += data
        if len(self._received) < 4:
            return
        length, cid = struct.unpack_from("<HH", self._received)
        if len(self._received) < 4 + length:
            return
        payload = bytes(self._received[4 : 4 + length])
        self._received.clear()
        if cid == _CID_ATT:
            answer = self._server.answer(payload)
            if answer is not None and end is self._end:  # the request may have been to reset
                self._send(_CID_ATT, answer)
        elif cid == _CID_SMP and self._pairing is not None:
            self._pairing.on_pdu(payload)
        elif cid == _CID_SIGNALLING and len(payload) >= 2 and payload[0] % 2 == 0:
            self._send(_CID_SIGNALLING, struct.pack("<BBHH", _COMMAND_REJECT, payload[1], 2, 0))

    def _send_value(self, uuid: str, data: bytes, *, indication: bool) -> None:
        pdu = self._server.value_pdu(uuid, data, indication=indication)
        if pdu is None:
            raise NotSubscribed(uuid)
        self._send(_CID_ATT, pdu)

    def _send(self, cid: int, payload: bytes) -> None:
        if self._end is None:
            raise PeerGone("not connected")
        self._outstanding += 1
        self._end.send(struct.pack("<HH", len(payload), cid) + payload, first=True)

    async def _room(self) -> None:
        while self._end is not None and self._outstanding >= _TX_PACKETS:
            await self._progress()
        if self._end is None:
            raise PeerGone("not connected")

    async def _progress(self) -> None:
        """Wait until a packet has been acknowledged, an indication confirmed, or the connection has ended."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters[waiter] = None
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)

    def _wake_waiters(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def _structure(kind: int, data: bytes) -> bytes:
    """One AD structure (Supplement to the Core Specification, Part A)."""
    return bytes([len(data) + 1, kind]) + data if data else b""


def _uuid_structures(uuids: Sequence[str]) -> bytes:
    octets = [uuid_octets(uuid) for uuid in uuids]
    short = b"".join(uuid for uuid in octets if len(uuid) == 2)
    long = b"".join(uuid for uuid in octets if len(uuid) == 16)
    return _structure(0x03, short) + _structure(0x07, long)
