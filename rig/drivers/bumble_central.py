"""A BLE central on an HCI transport: bumble's host, with its stumbling blocks removed.

It serves any HCI controller that bumble can open, real or virtual; it cannot tell which.  What the original does otherwise: a cancelled
connection attempt leaves the controller initiating, and every packet is formatted into coloured text even when nobody logs it, which
costs about a third of the processor time.  The second is mended in `_QuietHost`, whose methods differ from the original's in nothing
else.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from bumble import core, hci
from bumble.device import Connection, ConnectionParametersPreferences, Device
from bumble.host import Host
from bumble.keys import MemoryKeyStore
from bumble.pairing import PairingConfig, PairingDelegate
from bumble.snoop import Snooper
from bumble.transport.common import Transport, TransportLostError

from rig.drivers.bumble_errors import controller_errors

_FALLBACK_ADDRESS = hci.Address("F0:72:69:67:00:01")
"""For controllers without a public address of their own."""
_CLOSE_S = 5.0
_COMMAND_S = 5.0
"""A controller answers every command within a second (Core Specification Vol 4 Part E 4.4)."""
_SET_RANDOM_ADDRESS = hci.HCI_LE_Set_Random_Address_Command.op_code
_BTSNOOP_HEADER = b"btsnoop\0" + struct.pack(">II", 1, 1002)
_BTSNOOP_2000 = 0x00E03AB44A676000
"""Microseconds from the year 0, where btsnoop counts from, to 2000-01-01."""


@dataclass(frozen=True, kw_only=True)
class LinkOptions:
    """What the central asks for when it connects.  `passkey` is what a user would type in when the device shows one."""

    interval_ms: float = 15.0
    supervision_s: float = 4.0
    passkey: int | None = None


class LoopTimeSnooper(Snooper):
    """Writes btsnoop (RFC 1761 derived, datalink 1002) whose times are 2000-01-01 plus the loop's time.

    So a capture is on the clock of the journal, and on a virtual clock the same traffic gives the same file.
    """

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        sink(_BTSNOOP_HEADER)

    def snoop(self, hci_packet: bytes, direction: Snooper.Direction) -> None:
        flags = int(direction) | (0x02 if hci_packet[0] in (hci.HCI_COMMAND_PACKET, hci.HCI_EVENT_PACKET) else 0)
        length = len(hci_packet)
        time_us = _BTSNOOP_2000 + round(self._loop.time() * 1e6)
        self._sink(struct.pack(">IIIIQ", length, length, flags, 0, time_us) + hci_packet)


class _QuietHost(Host):
    """bumble's host without the debug text.  Overrides what formats a packet; does what the original does.

    A command to an adapter that has gone fails at once; the original would wait for its answer for ever.
    """

    _is_lost = False
    _offered_address: hci.Address | None = None
    confirmed_address: hci.Address | None = None
    """The random address that the controller has taken last, by its own word."""

    def on_transport_lost(self) -> None:
        self._is_lost = True
        super().on_transport_lost()  # type: ignore[no-untyped-call]

    async def _send_command(
        self, command: hci.HCI_SyncCommand[Any] | hci.HCI_AsyncCommand, response_timeout: float | None = None
    ) -> hci.HCI_Command_Complete_Event[Any] | hci.HCI_Command_Status_Event:
        if self._is_lost:
            raise TransportLostError("the Bluetooth adapter has vanished")
        return await super()._send_command(command, _COMMAND_S if response_timeout is None else response_timeout)

    def send_hci_packet(self, packet: hci.HCI_Packet) -> None:
        octets = bytes(packet)
        if isinstance(packet, hci.HCI_LE_Set_Random_Address_Command):
            self._offered_address = packet.random_address
        if self.snooper is not None:
            self.snooper.snoop(octets, Snooper.Direction.HOST_TO_CONTROLLER)
        if self.hci_sink is not None:
            self.hci_sink.on_packet(octets)

    def on_packet(self, packet: bytes) -> None:
        if packet[:2] == b"\x04\x13" and self.ready:  # Number Of Completed Packets: one for every packet sent
            if self.snooper is not None:
                self.snooper.snoop(packet, Snooper.Direction.CONTROLLER_TO_HOST)
            for offset in range(4, 4 + 4 * packet[3], 4):
                handle, count = struct.unpack_from("<HH", packet, offset)
                if connection := self.connections.get(handle):
                    connection.acl_packet_queue.on_packets_completed(count, handle)
        else:
            super().on_packet(packet)

    def on_hci_packet(self, packet: hci.HCI_Packet) -> None:
        if self.snooper is not None:
            self.snooper.snoop(bytes(packet), Snooper.Direction.CONTROLLER_TO_HOST)
        if isinstance(packet, hci.HCI_Event):
            if isinstance(packet, hci.HCI_Command_Complete_Event) and packet.command_opcode == _SET_RANDOM_ADDRESS:
                self._on_address_answer(packet)
            self.on_hci_event_packet(packet)
        elif isinstance(packet, hci.HCI_AclDataPacket):
            self.on_hci_acl_data_packet(packet)

    def _on_address_answer(self, answer: hci.HCI_Command_Complete_Event[Any]) -> None:
        if answer.return_parameters.status == hci.HCI_ErrorCode.SUCCESS:
            self.confirmed_address = self._offered_address

    def send_acl_sdu(self, connection_handle: int, sdu: bytes) -> None:
        if not (connection := self.connections.get(connection_handle)):
            return
        queue = connection.acl_packet_queue
        step = queue.max_packet_size
        for offset in range(0, len(sdu), step):
            part = sdu[offset : offset + step]
            queue.enqueue(hci.HCI_AclDataPacket(connection_handle, int(offset > 0), 0, len(part), part), connection_handle)


class _PairingUser(PairingDelegate):
    """Answers the questions that a user would be asked when pairing."""

    def __init__(self, passkey: int | None) -> None:
        super().__init__(self.NO_OUTPUT_NO_INPUT if passkey is None else self.KEYBOARD_INPUT_ONLY)
        self._passkey = passkey

    async def get_number(self) -> int | None:
        return self._passkey


class BumbleCentral:
    """One central: a bumble device on an HCI transport, shared by scanners and clients.  Make it with `open`."""

    def __init__(self, transport: Transport, host: _QuietHost, device: Device, options: LinkOptions) -> None:
        self.device = device
        self._host = host
        self.options = options
        self._transport = transport
        self._is_another = False
        self._scanners = 0
        self._scan_lock = asyncio.Lock()
        self._connect_lock = asyncio.Lock()  # HCI allows one pending LE connection
        self._background: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(
        cls, transport: Transport, options: LinkOptions, *, capture: Callable[[bytes], None] | None = None
    ) -> BumbleCentral:
        """Start the host on `transport` and reset its controller.  `capture` gets all HCI traffic from here on.

        Raises bleak's `BleakError` when the controller fails a command; the transport is closed then.
        """
        host = _QuietHost(transport.source, transport.sink)
        device = Device(name="rig", address=_FALLBACK_ADDRESS, host=host)
        device.keystore = MemoryKeyStore()
        central = cls(transport, host, device, options)
        if capture is not None:
            central.capture(capture)
        user = _PairingUser(options.passkey)
        mitm = options.passkey is not None
        device.pairing_config_factory = lambda _connection: PairingConfig(sc=True, mitm=mitm, bonding=True, delegate=user)
        try:
            with controller_errors():
                await device.power_on()
        except BaseException:
            await transport.close()
            raise
        return central

    async def close(self) -> None:
        """Stop the host and let go of the transport.  Open connections end with the controller's power."""
        for task in tuple(self._background):
            task.cancel()
        with contextlib.suppress(core.BaseBumbleError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self.device.power_off()
        await self._transport.close()

    def capture(self, sink: Callable[[bytes], None]) -> None:
        """Send the HCI traffic to `sink` from now on, as a new btsnoop stream."""
        self.device.host.snooper = LoopTimeSnooper(sink)

    # --------------------------------------------------------------------------------------------------------- scanning
    async def start_scanning(self, *, active: bool) -> None:
        async with self._scan_lock:
            if self._scanners == 0:
                await self.device.start_scanning(active=active, own_address_type=self._own_address_type)
            self._scanners += 1

    async def stop_scanning(self) -> None:
        async with self._scan_lock:
            self._scanners -= 1
            if self._scanners == 0:
                await self.device.stop_scanning()

    # ------------------------------------------------------------------------------------------------------- connecting
    @property
    def _own_address_type(self) -> hci.OwnAddressType:
        has_public = self.device.public_address not in (hci.Address.ANY, hci.Address.ANY_RANDOM)
        return hci.OwnAddressType.PUBLIC if has_public and not self._is_another else hci.OwnAddressType.RANDOM

    @property
    def address(self) -> str | None:
        """The address that new connections are made from, by the controller's own word."""
        is_public = self._own_address_type is hci.OwnAddressType.PUBLIC
        own = self.device.public_address if is_public else self._host.confirmed_address
        return own.to_string(with_type_qualifier=False).upper() if own is not None else None

    async def use_address(self, address: str) -> None:
        """Be another central from the next connection on: with this random static address and without bonds.

        Raises bleak's `BleakError` when the controller does not take it, as while it scans or connects (Core Specification Vol 4
        Part E 7.8.4).
        """
        taken = hci.Address(address, hci.Address.RANDOM_DEVICE_ADDRESS)
        with controller_errors():
            await self.device.send_sync_command(hci.HCI_LE_Set_Random_Address_Command(random_address=taken))
        self.device.random_address = self.device.static_address = taken
        self.device.keystore = MemoryKeyStore()
        self._is_another = True

    async def connect(self, peer: hci.Address) -> Connection:
        """Connect, without a limit of its own; a cancelled attempt leaves the controller idle again."""
        async with self._connect_lock:
            attempt = asyncio.ensure_future(self._connect(peer))
            try:
                return await asyncio.shield(attempt)
            except asyncio.CancelledError:
                await self._call_off(attempt)
                raise

    async def _connect(self, peer: hci.Address) -> Connection:
        preferences = ConnectionParametersPreferences(
            connection_interval_min=self.options.interval_ms,
            connection_interval_max=self.options.interval_ms,
            max_latency=0,
            supervision_timeout=round(self.options.supervision_s * 1000),
            min_ce_length=0,
            max_ce_length=0,
        )
        return await self.device.connect_le(
            peer,
            connection_parameters_preferences={hci.Phy.LE_1M: preferences},
            own_address_type=self._own_address_type,
            timeout=None,
        )

    async def _call_off(self, attempt: asyncio.Future[Connection]) -> None:
        """LE Create Connection Cancel; a connection that came up in the same moment is ended again."""
        with contextlib.suppress(core.BaseBumbleError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                with contextlib.suppress(hci.HCI_Error):  # too late: the attempt has ended by itself
                    await self.device.send_sync_command(hci.HCI_LE_Create_Connection_Cancel_Command())
                connection = await attempt
                await connection.disconnect()

    def keep(self, work: Coroutine[Any, Any, Any] | asyncio.Task[Any]) -> None:
        """Let `work` finish behind everybody's back, at most until `close`; its failure interests nobody."""
        task = work if isinstance(work, asyncio.Task) else asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()
