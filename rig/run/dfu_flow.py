"""The update client's flow over Nordic's Secure DFU: from the application into the bootloader, transfer, and back.

The phases have the same names as over SMP.  `connect` covers the way into DFU mode (connect to the application, buttonless request,
reset, connect to the bootloader), `mark` is the last execute, which makes the device install, `install` is the activation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

from rig import drivers
from rig.errors import DutError, LinkLost, NoReply, Refused
from rig.images import dfu
from rig.model import ImageFile, Phase, Request
from rig.ota.secure_dfu import (
    DFU_SERVICE,
    EXTENDED_GROUP,
    DfuTransport,
    ExtendedError,
    GattTransport,
    Progress,
    SecureDfuSession,
    SerialTransport,
    Stage,
    Step,
    enter_bootloader,
    next_address_one_byte,
    next_address_whole,
)
from rig.ports import Advertisement, GattLink
from rig.run.flow import Flow, Running

DEVICE_INFORMATION = "0000180a-0000-1000-8000-00805f9b34fb"
_SERIAL_BAUDRATE = 115_200
FIRMWARE_REVISION = "00002a26-0000-1000-8000-00805f9b34fb"


@dataclass(frozen=True, kw_only=True)
class _Sighting:
    """The board as it advertises: its application, or its bootloader in DFU mode."""

    advertisement: Advertisement
    in_dfu_mode: bool


class DfuFlow(Flow):
    """Drives one board with the nRF5 SDK's Secure DFU bootloader and a Device Information Service in its application."""

    # ------------------------------------------------------------------------------------------------------ connecting
    async def _sight(self) -> _Sighting:
        """Find the board, whichever of the two it is running; raises `NotFound`."""
        found = await self._find(lambda seen: self._is_named_or_addressed(seen) or self._is_bootloader(seen))
        return _Sighting(advertisement=found, in_dfu_mode=not self._is_named_or_addressed(found))

    def _is_bootloader(self, seen: Advertisement) -> bool:
        """Whether `seen` is the board in DFU mode: its address plus one, in either way of counting."""
        address = self._dut.board.ble_address
        assert address is not None  # the configuration insists on it for this protocol
        return seen.address.upper() in (next_address_one_byte(address), next_address_whole(address))

    @asynccontextmanager
    async def _linked(self, advertisement: Advertisement, *services: str) -> AsyncIterator[GattLink]:
        link = await self._dut.radio.connect(advertisement, services=services, timeout_s=self._limits.connect_s)
        self._emit("radio", "radio.connected", address=advertisement.address, mtu=link.max_write + 3)
        try:
            yield link
        finally:
            await self._close(link)

    async def _read_version(self, link: GattLink) -> Running:
        version = (await link.read(FIRMWARE_REVISION)).decode("utf-8", "backslashreplace")
        self._emit("dut", "dut.state", running_version=version, running_hash=None, confirmed=True)
        return Running(version=version, image_hash=None, confirmed=True)

    # ------------------------------------------------------------------------------------------------------ one attempt
    async def advance(self, image: ImageFile, request: Request, *, confirm: bool, after_install: bool) -> bool:
        del request, confirm  # a Secure DFU bootloader installs for good
        with self._recorder.phase(Phase.BOOT_NEW if after_install else Phase.DISCOVER):
            sighting = await self._sight()
        if self._dut.board.dfu_port is not None:
            return await self._advance_by_wire(self._dut.board.dfu_port, sighting.advertisement, image)
        with self._recorder.phase(Phase.CONNECT):
            if sighting.in_dfu_mode:
                self._emit("dut", "dut.dfu_mode", address=sighting.advertisement.address)
                target = sighting.advertisement
            else:
                async with self._linked(sighting.advertisement, DEVICE_INFORMATION, DFU_SERVICE) as link:
                    running = await self._read_version(link)
                    if running.runs(image):
                        return True
                    await enter_bootloader(link, bonded=False, answer_s=self._limits.request_s)
                self._emit("run", "dut.enter_dfu")
                target = await self._find(self._is_bootloader)
        async with self._linked(target, DFU_SERVICE) as link, GattTransport(link) as transport:
            await self._transfer(transport, image)
        return False

    async def _advance_by_wire(self, port: str, application: Advertisement, image: ImageFile) -> bool:
        """The version still comes over the air; the update goes over the serial port, after a pin reset into DFU mode."""
        with self._recorder.phase(Phase.CONNECT):
            async with self._linked(application, DEVICE_INFORMATION) as link:
                if (await self._read_version(link)).runs(image):
                    return True
            await self._dut.probe.reset()
            self._emit("run", "dut.enter_dfu")
        await self.transfer_over_serial(port, image)
        return False

    async def transfer_over_serial(self, port: str, image: ImageFile) -> None:
        """Update a bootloader that is in DFU mode over its serial `port` (115200 baud, SLIP), without the radio."""
        stream = await drivers.open_port(port, baudrate=_SERIAL_BAUDRATE, owner=f"{self._dut.board.name}.serial")
        try:
            async with SerialTransport(stream) as transport:
                await self._transfer(transport, image)
        finally:
            await stream.close()

    async def _transfer(self, transport: DfuTransport, image: ImageFile) -> None:
        session = SecureDfuSession(transport)
        try:
            await self._send(session, image)
        except LinkLost:
            raise
        except DutError as error:
            # Otherwise the device stays in DFU mode for two minutes; after a failed last execute it resets by itself.
            leave = session.wait_reset if _ends_the_session(error) else session.abort
            with suppress(DutError):
                await leave()
            raise

    async def _send(self, session: SecureDfuSession, image: ImageFile) -> None:
        """Init packet and firmware, the last execute, and the wait until the application serves again."""
        (application,) = dfu.read_unchecked(self._image_path(image))  # what may be in it was decided when the trial was planned
        ready = asyncio.ensure_future(self._console.wait_ready())
        try:
            async with aclosing(session.update(application)) as steps:
                with self._recorder.phase(Phase.UPLOAD):
                    async for progress in steps:
                        if progress.stage is Stage.EXECUTE:
                            break
                        self._record_progress(progress)
                with self._recorder.phase(Phase.MARK):
                    async for _ in steps:
                        pass
            with self._recorder.phase(Phase.RESET):
                await session.wait_reset()
            with self._recorder.phase(Phase.INSTALL):
                await asyncio.wait((ready,), timeout=self._limits.install_s)
                if not ready.done():
                    raise NoReply("install: the application did not come back", self._limits.install_s)
        finally:
            ready.cancel()

    def _record_progress(self, progress: Progress) -> None:
        """One event per object that the device has confirmed, and one for whatever did not go straight on."""
        if progress.step is Step.CHECKED and progress.stage is Stage.DATA:
            self._emit("dut", "upload.chunk", offset=progress.offset, total=progress.total)
        elif progress.step in (Step.RETRY, Step.RESTART) or (progress.step is Step.RESUME and progress.offset):
            reason = {"stage": progress.stage.value, "offset": progress.offset, "reason": progress.reason}
            self._emit("dut", f"upload.{progress.step}", **reason)

    async def reboot(self) -> Running:
        """A Secure DFU application has no reset request of its own; what runs is what stays."""
        return await self.look()

    async def look(self) -> Running:
        sighting = await self._sight()
        if sighting.in_dfu_mode:
            self._emit("dut", "dut.dfu_mode", address=sighting.advertisement.address)
            raise NoReply("application: the device is in DFU mode", 0)
        async with self._linked(sighting.advertisement, DEVICE_INFORMATION) as link:
            return await self._read_version(link)


def _ends_the_session(error: DutError) -> bool:
    """Whether the device has refused the firmware as a whole, after which it resets (nRF5 SDK 17.0.2: 0B/0C)."""
    return isinstance(error, Refused) and error.group == EXTENDED_GROUP and error.code == ExtendedError.VERIFICATION_FAILED
