"""What a sample application tells and asks about its own updates: status, log, consent, heartbeat, condition.

The values on the air are those of `rig.formats.update_service`.  Without ``update_service: true`` nothing is served and nothing is
logged, but the conditions of the image's flags hold all the same:

    busy: true      the product does something that must not be interrupted
    battery: 15     percent; below `BATTERY_LOW` is too little for an update
    consent: true   the user is asked before each installation
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum, auto

from rig.formats import update_service as wire
from rig.formats.sample_app import SampleApp
from rig.formats.update_service import Answer, Condition, LogEvent, Status, UpdateState
from rig.virtual.ble_peripheral import NotSubscribed, PeerGone
from rig.virtual.cpu import BoardFacts, Cpu
from rig.virtual.gatt_server import AttError, AttRefusal, Characteristic, Service
from rig.virtual.sample_firmware import Build, Defect
from rig.virtual.update_log import LogRecord, UpdateLog

BATTERY_LOW = 20.0
"""Percent."""
_FINGERPRINT_FROM_END = 32
"""The checksum over everything stands there (`rig.formats.sample_app`)."""


class Objection(Enum):
    """Why an update must not be installed now."""

    BUSY = auto()
    BATTERY_LOW = auto()
    NO_CONSENT = auto()


class UpdateService:
    """One start of an application.  What it tells lives in RAM, except for the log."""

    def __init__(self, cpu: Cpu, image: SampleApp, board: BoardFacts, build: Build) -> None:
        self._cpu = cpu
        self._image = image
        self._build = build
        self._status = Status(state=UpdateState.IDLE, percent=0)
        self._news: asyncio.Queue[Status] = asyncio.Queue()
        self._has_consent = False
        self._log: UpdateLog | None = None
        if build.update_service and not build.has(Defect.NO_UPDATE_LOG):
            self._log = UpdateLog(cpu, board.memory.user_data, persistent=not build.has(Defect.LOG_IN_RAM))

    async def start(self) -> None:
        """Enter into the log what has become of the last update, and begin to notify.  Before the radio is started."""
        if not self._build.update_service:
            return
        happened = conclusion(self._log.records, running=self._running, version=self._image.version) if self._log else None
        if happened is not None:
            await self._enter(*happened)
        self._cpu.spawn(self._notify_status())
        self._cpu.spawn(self._beat())

    def services(self) -> list[Service]:
        """What to register with the radio."""
        if not self._build.update_service:
            return []
        return [
            Service(
                uuid=wire.SERVICE,
                characteristics=(
                    self._characteristic(wire.STATUS, "read", "notify", on_read=self._encoded_status),
                    self._characteristic(wire.CONTROL, "write", on_write=self._on_answer),
                    self._characteristic(wire.LOG, "read", on_read=self._encoded_log),
                    self._characteristic(wire.HEARTBEAT, "notify"),
                    self._characteristic(wire.CONDITION, "read", on_read=lambda: bytes((self.condition,))),
                ),
            )
        ]

    # ------------------------------------------------------------------------------------------- for the update service
    @property
    def condition(self) -> Condition:
        """What the image's flags say."""
        busy = Condition.BUSY if self._image.flags.get("busy") else Condition(0)
        low = Condition.BATTERY_LOW if float(self._image.flags.get("battery", 100)) < BATTERY_LOW else Condition(0)
        return busy | low

    def objection(self) -> Objection | None:
        """Why an update must not be installed now; None when nothing is in its way."""
        if not self._build.has(Defect.APPLIES_AT_ONCE):
            if self.condition & Condition.BUSY:
                return Objection.BUSY
            if self.condition & Condition.BATTERY_LOW:
                return Objection.BATTERY_LOW
        asks = bool(self._image.flags.get("consent")) and not self._build.has(Defect.CONSENT_IGNORED)
        return Objection.NO_CONSENT if asks and not self._has_consent else None

    async def refuse(self, objection: Objection, version: str) -> None:
        """An update was refused for this reason."""
        await self._enter(LogEvent.REFUSED, version)
        self.show(UpdateState.WAITING_FOR_CONSENT if objection is Objection.NO_CONSENT else UpdateState.REFUSED)

    async def request(self, version: str) -> None:
        """An update was accepted and is about to be handed to the bootloader."""
        await self._enter(LogEvent.REQUESTED, version)

    def show(self, state: UpdateState, *, percent: int | None = None) -> None:
        """Change the status; `percent` None keeps it."""
        status = Status(state=state, percent=self._status.percent if percent is None else percent)
        if status != self._status and not self._build.has(Defect.SILENT_STATUS):
            self._status = status
            self._news.put_nowait(status)

    # ------------------------------------------------------------------------------------------------------------ below
    def _characteristic(
        self,
        uuid: str,
        *properties: str,
        on_read: Callable[[], bytes] | None = None,
        on_write: Callable[[bytes], None] | None = None,
    ) -> Characteristic:
        return Characteristic(
            uuid=uuid, properties=frozenset(properties), security=self._build.access, on_read=on_read, on_write=on_write
        )

    def _on_answer(self, value: bytes) -> None:
        if len(value) != 1 or value[0] not in tuple(Answer):
            raise AttRefusal(AttError.VALUE_NOT_ALLOWED)
        self._has_consent = value[0] == Answer.CONSENT

    def _encoded_status(self) -> bytes:
        return self._status.encode()

    def _encoded_log(self) -> bytes:
        return wire.encode_log(record.entry for record in self._log.records) if self._log else b""

    @property
    def _running(self) -> int:
        """Tells the image that runs from any other."""
        return int.from_bytes(self._cpu.read(self._image.address + self._image.size - _FINGERPRINT_FROM_END, 4), "little")

    async def _enter(self, event: LogEvent, version: str) -> None:
        if self._log is not None:
            await self._log.append(event, version, running=self._running)

    async def _notify_status(self) -> None:
        while True:
            status = await self._news.get()
            await self._notify(wire.STATUS, status.encode())

    async def _beat(self) -> None:
        count = 0
        while True:
            await self._cpu.sleep(wire.HEARTBEAT_S)
            count += 1
            await self._notify(wire.HEARTBEAT, wire.encode_heartbeat(count))

    async def _notify(self, uuid: str, value: bytes) -> None:
        with suppress(PeerGone, NotSubscribed):
            await self._cpu.radio.notify(uuid, value)


def conclusion(records: Sequence[LogRecord], *, running: int, version: str) -> tuple[LogEvent, str] | None:
    """What must have happened since the last entry, when `running` is the fingerprint of the image that runs now.

    A request to install the very image that runs already cannot be told from a failure, and is called one.
    """
    if not records:
        return None
    last = records[-1]
    if last.entry.event is LogEvent.REQUESTED:
        return (LogEvent.FAILED, last.entry.version) if running == last.running else (LogEvent.INSTALLED, version)
    if running == last.running:
        return None
    replaced = next((record.running for record in reversed(records) if record.entry.event is LogEvent.REQUESTED), None)
    installed = next((record.entry.version for record in reversed(records) if record.entry.event is LogEvent.INSTALLED), None)
    if running == replaced and installed is not None:
        return LogEvent.REVERTED, installed
    return LogEvent.INSTALLED, version
