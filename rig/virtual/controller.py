"""A central's controller on the virtual air: HCI above, `link_layer` below (Core Specification Vol 4 Part E).

It builds on bumble's virtual controller, which answers the start-up commands, and replaces everything that touches the air.  What
the original does otherwise: it never loses or delays a packet, knows no supervision timeout, ignores LE Create Connection Cancel,
has no scan responses, no RSSI, no data length and no PHY, hangs a host that sends an asynchronous command it does not know, keeps
its state over HCI Reset, and reports invented connection parameters.

For speed, data packets are parsed and built here by hand, and no packet is turned into text for a log that nobody reads; what passes
between host and controller, and so a capture of it, stays the same bytes.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from bumble import hci
from bumble.controller import Controller
from bumble.host import Host

from rig.virtual.advertising import ignore, listen
from rig.virtual.air import ADVERTISING_CHANNELS, Air, DeviceAddress, Phy
from rig.virtual.link_end import LinkEnd, Upper
from rig.virtual.link_pdus import MAX_OCTETS, ConnectionParameters, LengthRequest

_ACL = 0x02
_FIRST_FROM_HOST, _CONTINUED, _FIRST_TO_HOST = 0, 1, 2
_MAX_TIME_US = 17040
_UNIT_S, _INTERVAL_UNIT_S, _TIMEOUT_UNIT_S = 0.625e-3, 1.25e-3, 10e-3
_ADV_IND, _SCAN_RESPONSE = 0x13, 0x1B
_EXTENDED_REPORT = struct.Struct("<BBBBBHB6sBBBbbHB6sB")

_Status = hci.HCI_StatusReturnParameters
_StatusAndHandle = hci.HCI_StatusAndConnectionHandleReturnParameters
_Code = hci.HCI_ErrorCode


def _device_address(address: hci.Address) -> DeviceAddress:
    return DeviceAddress(bytes(address)[::-1], address.is_public)


def _hci_address(address: DeviceAddress) -> hci.Address:
    kind = hci.Address.PUBLIC_DEVICE_ADDRESS if address.public else hci.Address.RANDOM_DEVICE_ADDRESS
    return hci.Address(address.octets[::-1], kind)


class _Window:
    """When a scanner or initiator listens, and to which channel: one window per interval, on channels 37, 38, 39 in turn."""

    def __init__(self, interval: int, window: int) -> None:
        self._interval_s, self._window_s = interval * _UNIT_S, window * _UNIT_S

    def channel(self, time_s: float) -> int | None:
        number, phase = divmod(time_s, self._interval_s)
        return ADVERTISING_CHANNELS[int(number) % len(ADVERTISING_CHANNELS)] if phase < self._window_s else None


class VirtualController(Controller):
    """An HCI controller in the central role.  Set a packet sink (the host), then hand it packets with `on_packet`."""

    le_acl_data_packet_length = MAX_OCTETS
    total_num_le_acl_data_packets = 8
    supported_max_tx_octets = supported_max_rx_octets = MAX_OCTETS
    supported_max_tx_time = supported_max_rx_time = _MAX_TIME_US

    def __init__(self, air: Air) -> None:
        super().__init__("central")
        self._air = air
        self._loop = asyncio.get_running_loop()
        self._luck = air.stream("controller")
        self._ends: dict[int, LinkEnd] = {}
        self._gone = False
        self._scan_window: _Window | None = None
        self._initiate_window: _Window | None = None
        self._scan_parameters = _Window(0x10, 0x10)

    def close(self) -> None:
        """Switch the controller off; peers find out by themselves."""
        self.set_packet_sink(None)
        self._drop_everything()

    def vanish(self) -> None:
        """The adapter is pulled out of its USB port: the host learns that, and nothing else ever again."""
        host = self.hci_sink
        self._gone = True
        self.close()
        if isinstance(host, Host):
            host.on_transport_lost()  # type: ignore[no-untyped-call]

    # -------------------------------------------------------------------------------------------------------- transport
    def on_packet(self, packet: bytes) -> None:
        if self._gone:
            return
        if packet[0] != _ACL:
            command = hci.HCI_Packet.from_bytes(packet)
            assert isinstance(command, hci.HCI_Command)
            self.on_hci_command_packet(command)
            return
        handle_and_flags, _length = struct.unpack_from("<xHH", packet)
        end = self._ends.get(handle_and_flags & 0x0FFF)
        if end is not None:
            end.send(packet[5:], first=handle_and_flags >> 12 & 0b11 != _CONTINUED)

    def send_hci_packet(self, packet: hci.HCI_Packet) -> None:
        self._emit(bytes(packet))

    def _emit(self, packet: bytes) -> None:
        if self.hci_sink is not None:
            self._loop.call_soon(self._to_host, packet)

    def _to_host(self, packet: bytes) -> None:
        if self.hci_sink is not None:  # it may have gone meanwhile
            self.hci_sink.on_packet(packet)

    def on_hci_command(self, command: hci.HCI_Command) -> Any:
        if isinstance(command, hci.HCI_SyncCommand):
            return _Status(_Code.UNKNOWN_HCI_COMMAND_ERROR)
        self._send_hci_command_status(_Code.UNKNOWN_HCI_COMMAND_ERROR, command.op_code)
        return None

    def on_hci_reset_command(self, _command: hci.HCI_Reset_Command) -> _Status:
        self._drop_everything()
        return _Status(_Code.SUCCESS)

    def _drop_everything(self) -> None:
        self._scan_window = self._initiate_window = None
        self.le_scan_enable = False
        self.pending_le_connection = None
        ignore(self._air, self)
        for end in self._ends.values():
            end.vanish()
        self._ends.clear()

    # ---------------------------------------------------------------------------------------------- scanning (Listener)
    @property
    def address(self) -> DeviceAddress:
        return _device_address(self.random_address)

    @property
    def max_octets(self) -> int:
        """What the host suggested for new connections (7.8.35)."""
        return self.suggested_max_tx_octets

    def tuned_to(self, time_s: float) -> int | None:
        window = self._initiate_window or self._scan_window
        return window.channel(time_s) if window is not None else None

    def asks_for_scan_response(self) -> bool:
        return self.le_scan_enable and self.le_scan_type != 0

    def on_advertisement(self, advertiser: DeviceAddress, data: bytes, scan_response: bytes | None, rssi_dbm: int) -> None:
        if not self.le_scan_enable:
            return
        self._report(advertiser, _ADV_IND, data, rssi_dbm)
        if scan_response is not None:
            self._report(advertiser, _SCAN_RESPONSE, scan_response, rssi_dbm)

    def _report(self, advertiser: DeviceAddress, kind: int, data: bytes, rssi_dbm: int) -> None:
        """LE Extended Advertising Report (7.7.65.13) with one legacy PDU."""
        head = _EXTENDED_REPORT.pack(
            0x04, 0x3E, 26 + len(data), 0x0D, 1,
            kind, not advertiser.public, advertiser.octets[::-1],
            1, 0, 0xFF, 0x7F, rssi_dbm, 0, 0, bytes(6), len(data),
        )  # fmt: skip
        self._emit(head + data)

    def on_hci_le_set_random_address_command(self, command: hci.HCI_LE_Set_Random_Address_Command) -> _Status:
        if self.le_scan_enable or self.pending_le_connection is not None:
            return _Status(_Code.COMMAND_DISALLOWED_ERROR)
        self.random_address = command.random_address
        return _Status(_Code.SUCCESS)

    def on_hci_le_set_extended_scan_parameters_command(self, command: hci.HCI_LE_Set_Extended_Scan_Parameters_Command) -> _Status:
        if self.le_scan_enable:
            return _Status(_Code.COMMAND_DISALLOWED_ERROR)
        self.le_scan_type = command.scan_types[0]
        self._scan_parameters = _Window(command.scan_intervals[0], command.scan_windows[0])
        return _Status(_Code.SUCCESS)

    def on_hci_le_set_extended_scan_enable_command(self, command: hci.HCI_LE_Set_Extended_Scan_Enable_Command) -> _Status:
        self.le_scan_enable = bool(command.enable)
        self._scan_window = self._scan_parameters if command.enable else None
        self._update_listening()
        return _Status(_Code.SUCCESS)

    def _update_listening(self) -> None:
        if self._scan_window is not None or self._initiate_window is not None:
            listen(self._air, self)
        else:
            ignore(self._air, self)

    # ------------------------------------------------------------------------------------------------------- connecting
    def as_upper(self) -> Upper:
        return self

    def wants_connection(self, advertiser: DeviceAddress) -> ConnectionParameters | None:
        pending = self.pending_le_connection
        if not isinstance(pending, hci.HCI_LE_Create_Connection_Command):
            return None
        if _device_address(pending.peer_address) != advertiser or self._end_to(advertiser) is not None:
            return None
        return ConnectionParameters(
            interval_s=pending.connection_interval_min * _INTERVAL_UNIT_S,
            latency=pending.max_latency,
            timeout_s=pending.supervision_timeout * _TIMEOUT_UNIT_S,
        )

    def _end_to(self, peer: DeviceAddress) -> LinkEnd | None:
        return next((end for end in self._ends.values() if end.peer.address == peer), None)

    def on_hci_le_create_connection_command(self, command: hci.HCI_LE_Create_Connection_Command) -> None:
        if self.pending_le_connection is not None:
            self._send_hci_command_status(_Code.COMMAND_DISALLOWED_ERROR, command.op_code)
            return
        self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
        self.pending_le_connection = command
        self._initiate_window = _Window(command.le_scan_interval, command.le_scan_window)
        self._update_listening()

    def on_hci_le_create_connection_cancel_command(self, _command: hci.HCI_LE_Create_Connection_Cancel_Command) -> _Status:
        pending = self.pending_le_connection
        if pending is None:
            return _Status(_Code.COMMAND_DISALLOWED_ERROR)
        self._stop_initiating()
        # The event follows the Command Complete (7.8.13).
        self._loop.call_soon(
            self._connection_complete, _Code.UNKNOWN_CONNECTION_IDENTIFIER_ERROR, 0, _device_address(pending.peer_address), None
        )
        return _Status(_Code.SUCCESS)

    def _stop_initiating(self) -> None:
        self.pending_le_connection = None
        self._initiate_window = None
        self._update_listening()

    def on_opened(self, end: LinkEnd) -> None:
        handle = next(number for number in range(1, 0xEFF) if number not in self._ends)
        self._ends[handle] = end
        self._stop_initiating()
        self._connection_complete(_Code.SUCCESS, handle, end.peer.address, end.connection.parameters)

    def _connection_complete(self, status: int, handle: int, peer: DeviceAddress, parameters: ConnectionParameters | None) -> None:
        units = _in_units(parameters) if parameters is not None else (0, 0, 0)
        self.send_hci_packet(
            hci.HCI_LE_Connection_Complete_Event(
                status=status,
                connection_handle=handle,
                role=hci.Role.CENTRAL,
                peer_address_type=0 if peer.public else 1,
                peer_address=_hci_address(peer),
                connection_interval=units[0],
                peripheral_latency=units[1],
                supervision_timeout=units[2],
                central_clock_accuracy=0,
            )
        )

    def on_hci_disconnect_command(self, command: hci.HCI_Disconnect_Command) -> None:
        end = self._ends.get(command.connection_handle)
        self._answer_about(end, command)
        if end is not None:
            end.disconnect(command.reason)

    def _answer_about(self, end: LinkEnd | None, command: hci.HCI_Command, *, granted: bool = True) -> None:
        """Command Status for a command about a connection that may not exist."""
        status: int = hci.HCI_COMMAND_STATUS_PENDING if granted else _Code.COMMAND_DISALLOWED_ERROR
        if end is None:
            status = _Code.UNKNOWN_CONNECTION_IDENTIFIER_ERROR
        self._send_hci_command_status(status, command.op_code)

    # ------------------------------------------------------------------------------------------- link layer to host (Upper)
    def _handle_of(self, end: LinkEnd) -> int | None:
        return next((handle for handle, candidate in self._ends.items() if candidate is end), None)

    def on_data(self, end: LinkEnd, data: bytes, *, first: bool) -> None:
        handle = self._handle_of(end)
        if handle is not None:
            flags = _FIRST_TO_HOST if first else _CONTINUED
            self._emit(struct.pack("<BHH", _ACL, handle | flags << 12, len(data)) + data)

    def on_sent(self, end: LinkEnd) -> None:
        handle = self._handle_of(end)
        if handle is not None:
            self._emit(struct.pack("<BBBBHH", 0x04, 0x13, 5, 1, handle, 1))

    def on_closed(self, end: LinkEnd, reason: int) -> None:
        handle = self._handle_of(end)
        if handle is not None:
            del self._ends[handle]
            self._emit(struct.pack("<BBBBHB", 0x04, 0x05, 4, 0, handle, reason))

    def on_parameters(self, end: LinkEnd, parameters: ConnectionParameters) -> None:
        interval, latency, timeout = _in_units(parameters)
        self._about(
            end,
            hci.HCI_LE_Connection_Update_Complete_Event(
                status=_Code.SUCCESS,
                connection_handle=self._handle_of(end) or 0,
                connection_interval=interval,
                peripheral_latency=latency,
                supervision_timeout=timeout,
            ),
        )

    def on_phy(self, end: LinkEnd, phy: Phy) -> None:
        handle = self._handle_of(end) or 0
        self._about(
            end,
            hci.HCI_LE_PHY_Update_Complete_Event(status=_Code.SUCCESS, connection_handle=handle, tx_phy=phy, rx_phy=phy),
        )

    def on_data_length(self, end: LinkEnd, octets: int) -> None:
        time = (octets + 14) * 8
        self._about(
            end,
            hci.HCI_LE_Data_Length_Change_Event(
                connection_handle=self._handle_of(end) or 0,
                max_tx_octets=octets,
                max_tx_time=time,
                max_rx_octets=octets,
                max_rx_time=time,
            ),
        )

    def on_encryption(self, end: LinkEnd, status: int) -> None:
        self._about(
            end,
            hci.HCI_Encryption_Change_Event(
                status=status, connection_handle=self._handle_of(end) or 0, encryption_enabled=int(status == 0)
            ),
        )

    def _about(self, end: LinkEnd, event: hci.HCI_Event) -> None:
        if self._handle_of(end) is not None:
            self.send_hci_packet(event)

    def long_term_key(self, _end: LinkEnd, _rand: bytes, _ediv: int) -> bytes | None:
        return None  # only a peripheral is asked

    # --------------------------------------------------------------------------------------- commands about a connection
    def on_hci_le_connection_update_command(self, command: hci.HCI_LE_Connection_Update_Command) -> None:
        end = self._ends.get(command.connection_handle)
        parameters = ConnectionParameters(
            interval_s=command.connection_interval_max * _INTERVAL_UNIT_S,
            latency=command.max_latency,
            timeout_s=command.supervision_timeout * _TIMEOUT_UNIT_S,
        )
        self._answer_about(end, command, granted=end is not None and end.change_parameters(parameters))

    def on_hci_le_set_phy_command(self, command: hci.HCI_LE_Set_PHY_Command) -> None:
        end = self._ends.get(command.connection_handle)
        wanted = int(command.tx_phys)
        phy = Phy.LE_2M if wanted & 0b010 else Phy.LE_CODED if wanted == 0b100 else Phy.LE_1M
        self._answer_about(end, command, granted=end is not None and end.change_phy(phy))

    def on_hci_le_read_phy_command(self, command: hci.HCI_LE_Read_PHY_Command) -> hci.HCI_LE_Read_PHY_ReturnParameters:
        end = self._ends.get(command.connection_handle)
        phy = hci.Phy(end.connection.phy if end is not None else Phy.LE_1M)
        return hci.HCI_LE_Read_PHY_ReturnParameters(
            status=_status_about(end), connection_handle=command.connection_handle, tx_phy=phy, rx_phy=phy
        )

    def on_hci_le_set_data_length_command(self, command: hci.HCI_LE_Set_Data_Length_Command) -> _StatusAndHandle:
        end = self._ends.get(command.connection_handle)
        if end is not None:
            end.max_octets = command.tx_octets
            end.send_control(LengthRequest(command.tx_octets))
        return _StatusAndHandle(status=_status_about(end), connection_handle=command.connection_handle)

    def on_hci_read_rssi_command(self, command: hci.HCI_Read_RSSI_Command) -> hci.HCI_Read_RSSI_ReturnParameters:
        end = self._ends.get(command.handle)
        return hci.HCI_Read_RSSI_ReturnParameters(
            status=_status_about(end), handle=command.handle, rssi=self._air.rssi_dbm if end is not None else 0
        )

    def on_hci_le_enable_encryption_command(self, command: hci.HCI_LE_Enable_Encryption_Command) -> None:
        end = self._ends.get(command.connection_handle)
        self._answer_about(end, command)
        if end is not None:
            end.encrypt(command.random_number, command.encrypted_diversifier, command.long_term_key)

    def on_hci_le_rand_command(self, _command: hci.HCI_LE_Rand_Command) -> hci.HCI_LE_Rand_ReturnParameters:
        return hci.HCI_LE_Rand_ReturnParameters(status=_Code.SUCCESS, random_number=self._luck.randbytes(8))


def _status_about(end: LinkEnd | None) -> hci.HCI_ErrorCode:
    return _Code.SUCCESS if end is not None else _Code.UNKNOWN_CONNECTION_IDENTIFIER_ERROR


def _in_units(parameters: ConnectionParameters) -> tuple[int, int, int]:
    return (
        round(parameters.interval_s / _INTERVAL_UNIT_S),
        parameters.latency,
        round(parameters.timeout_s / _TIMEOUT_UNIT_S),
    )
