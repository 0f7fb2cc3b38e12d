"""The sample application of a Secure-DFU board: console, Device Information Service, and the buttonless way into the bootloader.

Facts: nRF5 SDK 17.0.2 `components/ble/ble_services/ble_dfu` (buttonless service without bonds), Bluetooth assigned numbers for the
Device Information Service.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from rig.formats.sample_app import SampleApp
from rig.virtual.ble_peripheral import PeerGone
from rig.virtual.cpu import BoardFacts, Cpu, ResetReason
from rig.virtual.gatt_server import Characteristic, Service
from rig.virtual.secure_dfu import GPREGRET_START_DFU, default_config, hand_over_name

DFU_SERVICE = "0000fe59-0000-1000-8000-00805f9b34fb"
BUTTONLESS = "8ec90003-f315-4f60-9fb8-838830daea50"
DEVICE_INFORMATION = "0000180a-0000-1000-8000-00805f9b34fb"
FIRMWARE_REVISION = "00002a26-0000-1000-8000-00805f9b34fb"
_ENTER, _SET_NAME, _RESPONSE = 0x01, 0x02, 0x20
_SUCCESS, _NOT_SUPPORTED, _FAILED, _BAD_NAME = 1, 2, 4, 5
_MAX_NAME = 20
_STARTUP_S = 0.05
"""SoftDevice and application start-up, from the jump to the first advertisement (estimate)."""
_RESET_DELAY_S = 0.05
"""From the confirmed indication to the reset: the connection is closed and the peers are told (estimate)."""


class DfuApplication:
    """Runs one start of the application.  Options are the `application:` keys of the boards file."""

    def __init__(self, image: SampleApp, board: BoardFacts, *, advertising_interval_s: float = 0.1) -> None:
        self._image = image
        self._board = board
        self._interval_s = advertising_interval_s
        self._requests: asyncio.Queue[bytes] = asyncio.Queue()

    async def run(self, cpu: Cpu) -> None:
        """Start up, advertise, and serve until this life of the processor ends."""
        reason = cpu.reset_reason
        cpu.clear_reset_reason(int(ResetReason.PIN | ResetReason.WATCHDOG | ResetReason.SOFT | ResetReason.LOCKUP))
        await cpu.print(f"*** {self._image.name} {self._image.version} ***")
        await cpu.print(f"reset reason: 0x{int(reason):08x}")
        if self._image.crash:
            cpu.fault("the application crashes by design")
        await cpu.sleep(_STARTUP_S)
        await cpu.radio.start(self._services(), name=self._board.ble_name)
        await cpu.radio.advertise(name=self._board.ble_name, service_uuids=[DFU_SERVICE], interval_s=self._interval_s)
        await cpu.print("advertising")
        while True:
            request = await self._requests.get()
            with suppress(PeerGone):
                await self._answer(cpu, request)

    def _services(self) -> list[Service]:
        version = self._image.version.encode()
        return [
            Service(
                uuid=DEVICE_INFORMATION,
                characteristics=(
                    Characteristic(uuid=FIRMWARE_REVISION, properties=frozenset({"read"}), on_read=lambda: version),
                ),
            ),
            Service(
                uuid=DFU_SERVICE,
                characteristics=(
                    Characteristic(
                        uuid=BUTTONLESS, properties=frozenset({"write", "indicate"}), on_write=self._requests.put_nowait
                    ),
                ),
            ),
        ]

    async def _answer(self, cpu: Cpu, request: bytes) -> None:
        opcode = request[0] if request else 0
        if opcode == _SET_NAME:
            result = await self._set_name(cpu, request)
        else:
            result = _SUCCESS if request == bytes((_ENTER,)) else _NOT_SUPPORTED
        await cpu.radio.indicate(BUTTONLESS, bytes((_RESPONSE, opcode, result)))
        if opcode == _ENTER and result == _SUCCESS:
            # Only now: a host that leaves before it has confirmed keeps its application.
            await cpu.radio.disconnect()
            await cpu.sleep(_RESET_DELAY_S)
            cpu.gpregret[0] = GPREGRET_START_DFU
            cpu.reset()

    async def _set_name(self, cpu: Cpu, request: bytes) -> int:
        name = request[2:]
        if len(request) < 2 or request[1] != len(name) or not 1 <= len(name) <= _MAX_NAME:
            return _BAD_NAME
        return _SUCCESS if await hand_over_name(cpu, default_config(cpu.part.name), name) else _FAILED
