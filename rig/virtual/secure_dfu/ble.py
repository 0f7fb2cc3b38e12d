"""The DFU service over BLE: a control point for requests and replies, a packet characteristic for the bytes.

It never pairs.  A bootloader that requires bonds knows one central, by the keys that the application has handed over, and serves it
over an encrypted link only.

Source: nRF5 SDK 17.0.2, `bootloader/ble_dfu/nrf_dfu_ble.c`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from rig.virtual.ble_peripheral import AttRefusal, Characteristic, NotSubscribed, PeerGone, Security, Service
from rig.virtual.cpu import Cpu
from rig.virtual.secure_dfu.config import SecureDfuConfig
from rig.virtual.secure_dfu.defects import Defect
from rig.virtual.secure_dfu.peer_data import PeerData
from rig.virtual.secure_dfu.request_handler import RequestHandler
from rig.virtual.secure_dfu.settings import SettingsStore

SERVICE = "fe59"
CONTROL_POINT = "8ec90001-f315-4f60-9fb8-838830daea50"
PACKET = "8ec90002-f315-4f60-9fb8-838830daea50"
CCCD_IMPROPERLY_CONFIGURED = 0xFD
INVALID_LENGTH = 0x0D
_CONTROL_POINT_MAX = 23
_ATT_HEADER = 3
_CONNECTION_INTERVAL_S, _SUPERVISION_TIMEOUT_S = 0.015, 6.0
_DISCONNECT_S = 0.2
"""How long the disconnect gets to reach the air before the radio is switched off."""


def dfu_address(address: str) -> str:
    """The address in DFU mode: one more in the last byte as written (the least significant), without a carry."""
    head, last = address[:-2], int(address[-2:], 16)
    return f"{head}{last + 1 & 0xFF:02X}"


def mtu_reply(requested: int, *, maximum: int = 247) -> int:
    """The ATT_MTU that the bootloader answers: never more than asked for, and a payload of whole words."""
    if requested >= maximum:
        return maximum
    payload = requested - _ATT_HEADER
    return payload - payload % 4 + _ATT_HEADER


class BleLink:
    """The service on the radio of one DFU mode."""

    def __init__(self, cpu: Cpu, config: SecureDfuConfig, store: SettingsStore, handler: RequestHandler) -> None:
        self._cpu = cpu
        self._config = config
        self._handler = handler
        self._name = config.name
        self._peer: PeerData | None = None
        page = store.page
        if config.requires_bonds:
            if page.peer_data is None:
                cpu.reset()  # the error handler: a bootloader that requires bonds cannot work without one
            self._peer = PeerData.decode(page.peer_data)
        elif page.advertising_name is not None:
            self._name = page.advertising_name.decode("utf-8", "replace")
        if config.has(Defect.APPLICATION_NAME_ADVERTISED):
            self._name = config.application_name
        self._requests: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def start(self) -> None:
        """Register the service, advertise, and serve in the background."""
        security = Security.OPEN if self._peer is None else Security.ENCRYPTED
        packet = Characteristic(
            uuid=PACKET, properties=frozenset({"write-without-response"}), security=security, on_write=self._on_packet
        )
        control_point = Characteristic(
            uuid=CONTROL_POINT, properties=frozenset({"write", "notify"}), security=security, on_write=self._on_request
        )
        radio = self._cpu.radio
        radio.use_bonds({} if self._peer is None else {self._peer.peer: self._peer.bond}, pairable=False)
        if self._peer is None:
            radio.use_address(dfu_address(radio.address))
        radio.on_connected = self._on_connected
        radio.on_disconnected = lambda _reason: self._handler.disconnected()
        self._cpu.spawn(self._serve())
        maximum = self._config.mtu
        await radio.start(
            [Service(uuid=SERVICE, characteristics=(packet, control_point))],
            name=self._name,
            max_mtu=maximum,
            mtu_rule=lambda offered: mtu_reply(offered, maximum=maximum),
        )
        await radio.advertise(name=self._name, service_uuids=[SERVICE], interval_s=self._config.advertising_interval_s)

    async def close(self) -> None:
        """Stop advertising and end the connection."""
        radio = self._cpu.radio
        await radio.stop_advertising()
        if radio.is_connected:
            self._cpu.spawn(radio.disconnect())
            await self._cpu.sleep(_DISCONNECT_S)

    # ------------------------------------------------------------------------------------------------- from the radio
    def _on_connected(self) -> None:
        self._cpu.spawn(self._ask_for_parameters())

    def _on_request(self, data: bytes) -> None:
        if len(data) > _CONTROL_POINT_MAX:
            raise AttRefusal(INVALID_LENGTH)
        if not self._cpu.radio.is_subscribed(CONTROL_POINT) and not self._config.has(Defect.CONTROL_POINT_WITHOUT_CCCD):
            raise AttRefusal(CCCD_IMPROPERLY_CONFIGURED)
        self._requests.put_nowait((CONTROL_POINT, data))

    def _on_packet(self, data: bytes) -> None:
        self._requests.put_nowait((PACKET, data))

    # --------------------------------------------------------------------------------------------------- to the radio
    async def _serve(self) -> None:
        """Requests and packets in the order of their arrival, none waiting for the answer to another unless the core is computing it."""
        while True:
            characteristic, data = await self._requests.get()
            await self._handler.idle_core()
            if characteristic == CONTROL_POINT:
                self._cpu.spawn(self._answer(data))
                await asyncio.sleep(0)
            elif (receipt := self._handler.packet(data)) is not None:
                self._cpu.spawn(self._send(receipt))

    async def _answer(self, request: bytes) -> None:
        reply = await self._handler.control(request)
        if reply is not None:
            await self._send(reply)

    async def _send(self, reply: bytes) -> None:
        with suppress(PeerGone, NotSubscribed):
            await self._cpu.radio.notify(CONTROL_POINT, reply)

    async def _ask_for_parameters(self) -> None:
        with suppress(PeerGone):
            await self._cpu.radio.request_parameters(
                interval_s=_CONNECTION_INTERVAL_S, latency=0, timeout_s=_SUPERVISION_TIMEOUT_S
            )
