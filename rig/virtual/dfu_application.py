"""The sample application of a Secure-DFU board: console, Device Information Service, and the buttonless way into the bootloader.

Facts: nRF5 SDK 17.0.2 `components/ble/ble_services/ble_dfu` (buttonless service without and with bonds), Bluetooth assigned numbers
for the Device Information Service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from rig.errors import ConfigError
from rig.formats.sample_app import SampleApp
from rig.formats.update_service import UNKNOWN_VERSION, UpdateState
from rig.virtual import sample_firmware
from rig.virtual.ble_peripheral import PeerGone
from rig.virtual.cpu import BoardFacts, Cpu
from rig.virtual.gatt_server import Characteristic, Security, Service
from rig.virtual.sample_firmware import Build, Defect
from rig.virtual.secure_dfu import GPREGRET_START_DFU, default_config, hand_over_bond, hand_over_name
from rig.virtual.update_service import UpdateService

DFU_SERVICE = "0000fe59-0000-1000-8000-00805f9b34fb"
BUTTONLESS = "8ec90003-f315-4f60-9fb8-838830daea50"
BUTTONLESS_BONDED = "8ec90004-f315-4f60-9fb8-838830daea50"
DEVICE_INFORMATION = "0000180a-0000-1000-8000-00805f9b34fb"
FIRMWARE_REVISION = "00002a26-0000-1000-8000-00805f9b34fb"
DEFECTS = frozenset(
    {
        Defect.OPEN_SERVICES,
        Defect.UNBONDED_ACCEPTED,
        Defect.REFUSES_TO_PAIR,
        Defect.USER_DATA_ERASED,
        Defect.NO_UPDATE_LOG,
        Defect.LOG_IN_RAM,
        Defect.APPLIES_AT_ONCE,
        Defect.SILENT_STATUS,
        Defect.CONSENT_IGNORED,
    }
)
_ENTER, _SET_NAME, _RESPONSE = 0x01, 0x02, 0x20
_SUCCESS, _NOT_SUPPORTED, _FAILED, _BAD_NAME, _NOT_BONDED = 1, 2, 4, 5, 7
_MAX_NAME = 20
_RESET_DELAY_S = 0.05
"""From the confirmed indication to the reset: the connection is closed and the peers are told (estimate)."""


class DfuApplication:
    """Runs one start of the application.  Options are the `application:` keys of the boards file; raises `ConfigError`.

    `bonded` serves the variant of the buttonless service that lets only a bonded central into DFU mode, and hands its bond to the
    bootloader, which keeps the address.  It needs an encrypted link, so `security` open means encrypted there.
    """

    def __init__(
        self,
        image: SampleApp,
        board: BoardFacts,
        *,
        advertising_interval_s: float = 0.1,
        boot_s: float = sample_firmware.STARTUP_S,
        bonded: bool = False,
        security: str = Security.OPEN,
        passkey: int | None = None,
        update_service: bool = False,
        defects: Iterable[str] = (),
    ) -> None:
        level = sample_firmware.security_level(security)
        self._build = Build(
            security=Security.ENCRYPTED if bonded and level is Security.OPEN else level,
            passkey=passkey,
            update_service=update_service,
            boot_s=boot_s,
            defects=sample_firmware.known_defects(defects, DEFECTS),
        )
        if self._build.has(Defect.UNBONDED_ACCEPTED) and not bonded:
            raise ConfigError(f"defect {Defect.UNBONDED_ACCEPTED.value!r} can show only with bonded")
        self._image = image
        self._board = board
        self._interval_s = advertising_interval_s
        self._bonded = bonded
        self._buttonless = BUTTONLESS_BONDED if bonded else BUTTONLESS
        self._requests: asyncio.Queue[bytes] = asyncio.Queue()

    async def run(self, cpu: Cpu) -> None:
        """Start up, advertise, and serve until this life of the processor ends."""
        bootloader = default_config(cpu.part.name).bootloader_address
        await sample_firmware.start(cpu, self._image, self._build, bootloader=bootloader)
        updates = UpdateService(cpu, self._image, self._board, self._build)
        await updates.start()
        await cpu.radio.start([*self._services(), *updates.services()], name=self._board.ble_name)
        await cpu.radio.advertise(name=self._board.ble_name, service_uuids=[DFU_SERVICE], interval_s=self._interval_s)
        await cpu.print("advertising")
        while True:
            request = await self._requests.get()
            with suppress(PeerGone):
                await self._answer(cpu, updates, request)

    def _services(self) -> list[Service]:
        version = self._image.version.encode()
        strangers_allowed = self._build.has(Defect.UNBONDED_ACCEPTED)
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
                        uuid=self._buttonless,
                        properties=frozenset({"write", "indicate"}),
                        security=Security.OPEN if strangers_allowed else self._build.access,
                        on_write=self._requests.put_nowait,
                    ),
                ),
            ),
        ]

    async def _answer(self, cpu: Cpu, updates: UpdateService, request: bytes) -> None:
        opcode = request[0] if request else 0
        if opcode == _SET_NAME:
            result = await self._set_name(cpu, request)
        elif request == bytes((_ENTER,)):
            result = await self._prepare(cpu, updates)
        else:
            result = _NOT_SUPPORTED
        await cpu.radio.indicate(self._buttonless, bytes((_RESPONSE, opcode, result)))
        if opcode == _ENTER and result == _SUCCESS:
            # Only now: a host that leaves before it has confirmed keeps its application.
            # A host that keeps the address would take one more advertisement of ours for the bootloader's.
            await cpu.radio.stop_advertising()
            await cpu.radio.disconnect()
            await cpu.sleep(_RESET_DELAY_S)
            cpu.gpregret[0] = GPREGRET_START_DFU
            cpu.reset()

    async def _prepare(self, cpu: Cpu, updates: UpdateService) -> int:
        """Everything that comes before the reset into the bootloader; the result for the answer."""
        objection = updates.objection()
        if objection is not None:
            await updates.refuse(objection, UNKNOWN_VERSION)
            return _FAILED
        if self._bonded:
            result = await self._hand_over_bond(cpu)
            if result != _SUCCESS:
                return result
        if self._build.has(Defect.USER_DATA_ERASED):
            await cpu.erase_page(self._board.memory.user_data.start)
        await updates.request(UNKNOWN_VERSION)
        updates.show(UpdateState.ANNOUNCED, percent=0)
        return _SUCCESS

    async def _hand_over_bond(self, cpu: Cpu) -> int:
        peer = cpu.radio.bonded_peer
        if peer is None:
            return _SUCCESS if self._build.has(Defect.UNBONDED_ACCEPTED) else _NOT_BONDED
        await hand_over_bond(cpu, default_config(cpu.part.name), cpu.bonds[peer], peer=peer)
        return _SUCCESS

    async def _set_name(self, cpu: Cpu, request: bytes) -> int:
        name = request[2:]
        if len(request) < 2 or request[1] != len(name) or not 1 <= len(name) <= _MAX_NAME:
            return _BAD_NAME
        return _SUCCESS if await hand_over_name(cpu, default_config(cpu.part.name), name) else _FAILED
