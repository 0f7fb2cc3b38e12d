"""The update client's flow over Nordic's Secure DFU: from the application into the bootloader, transfer, and back.

The phases have the same names as over SMP.  `connect` covers the way into DFU mode (connect to the application, buttonless request,
reset, connect to the bootloader), `mark` is the last execute, which makes the device install, `install` is the activation.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass

from rig import drivers
from rig.errors import PAIRING_GROUP, DutError, LinkLost, NoReply, Refused
from rig.images import dfu
from rig.model import ImageFile, Phase, Request
from rig.ota.secure_dfu import (
    DFU_SERVICE,
    EXTENDED_GROUP,
    DfuTransport,
    ExtendedError,
    GattTransport,
    Options,
    Progress,
    SecureDfuSession,
    SerialTransport,
    Stage,
    Step,
    advertises_dfu,
    enter_bootloader,
    next_address_one_byte,
    next_address_whole,
)
from rig.ports import Advertisement, GattLink
from rig.product import ChannelSecurity
from rig.run.flow import Flow, Running

DEVICE_INFORMATION = "0000180a-0000-1000-8000-00805f9b34fb"
_SERIAL_BAUDRATE = 115_200
_GIVES_UP_S = 130.0
"""Longer than the two minutes after which the nRF5 SDK's bootloader leaves DFU mode (`NRF_BL_DFU_INACTIVITY_TIMEOUT_MS`)."""
FIRMWARE_REVISION = "00002a26-0000-1000-8000-00805f9b34fb"


@dataclass(frozen=True, kw_only=True)
class _Sighting:
    """The board as it advertises: its application, or its bootloader in DFU mode."""

    advertisement: Advertisement
    in_dfu_mode: bool


class DfuFlow(Flow):
    """Drives one board with the nRF5 SDK's Secure DFU bootloader and a Device Information Service in its application."""

    _packet_sent_s: float | None = None
    """When the device had confirmed the whole init packet, on the loop's clock."""

    # ------------------------------------------------------------------------------------------------------ connecting
    async def _sight(self) -> _Sighting:
        """Find the board, whichever of the two it is running; raises `NotFound`."""
        found = await self._find(self._is_telling)
        return _Sighting(advertisement=found, in_dfu_mode=self.is_bootloader(found))

    def _is_telling(self, seen: Advertisement) -> bool:
        """Whether `seen` is the board and says which of the two it is; where only the name does, a report without one says nothing."""
        return (self._is_named_or_addressed(seen) or self.is_bootloader(seen)) and (bool(seen.name) or not self._needs_name)

    def _is_board(self, seen: Advertisement) -> bool:
        return self._is_telling(seen)

    def is_bootloader(self, seen: Advertisement) -> bool:
        """Whether `seen` is the board in DFU mode: at its address plus one, in either way of counting.

        A bootloader that uses the application's bond keeps its address; it is told from the application by its name.
        """
        return self._is_after_entry(seen) and not (self._is_bonded and seen.name == self._dut.board.ble_name)

    def _is_after_entry(self, seen: Advertisement) -> bool:
        """Whether `seen` is where the bootloader is to be found once the application has agreed to leave."""
        address = self._dut.board.ble_address
        assert address is not None  # the configuration insists on it for this protocol
        moved = (next_address_one_byte(address), next_address_whole(address))
        if self._is_bonded:
            # Without a bond the bootloader moves its address; with one, only its name tells it from the application.
            return seen.address.upper() in (address.upper(), *moved) and advertises_dfu(seen) and bool(seen.name)
        return seen.address.upper() in moved and (bool(seen.name) or not self._needs_name)

    @property
    def _needs_name(self) -> bool:
        """Whether a report without a name is not enough: to tell bootloader from application, or as evidence."""
        return self._is_bonded or "awareness.name" in self._trial.proves

    async def _read_version(self, link: GattLink) -> Running:
        version = (await link.read(FIRMWARE_REVISION)).decode("utf-8", "backslashreplace")
        self._emit("dut", "dut.state", running_version=version, running_hash=None, confirmed=True)
        return Running(version=version, image_hash=None, confirmed=True)

    async def _ask_for_dfu_mode(self, link: GattLink) -> None:
        await enter_bootloader(link, bonded=self._is_bonded, answer_s=self._limits.request_s)
        self._emit("run", "dut.enter_dfu")

    async def enter_dfu_mode(self) -> Advertisement:
        """Bring the board from its application into DFU mode and return how it advertises there."""
        async with self.visit(DFU_SERVICE) as link:
            await self._ask_for_dfu_mode(link)
        return await self._find(self._is_after_entry)

    @property
    def _is_bonded(self) -> bool:
        """Whether the product hands its bond over to the bootloader."""
        product = self._trial.product
        return product is not None and product.channel is not ChannelSecurity.OPEN

    # ------------------------------------------------------------------------------------------------------ one attempt
    async def advance(self, image: ImageFile, request: Request, *, confirm: bool, after_install: bool) -> bool:
        del request, confirm  # a Secure DFU bootloader installs for good
        with self._recorder.phase(Phase.BOOT_NEW if after_install else Phase.DISCOVER):
            sighting = await self._sight()
        if self._dut.board.dfu_port is not None:
            return await self._advance_by_wire(self._dut.board.dfu_port, sighting.advertisement, image, after_install=after_install)
        with self._recorder.phase(Phase.CONNECT):
            if sighting.in_dfu_mode:
                self._emit("dut", "dut.dfu_mode", address=sighting.advertisement.address)
                target = sighting.advertisement
            else:
                async with (
                    self.linked(sighting.advertisement, DEVICE_INFORMATION, DFU_SERVICE) as link,
                    self._watched(link),
                ):
                    if (await self._read_version(link)).runs(image) and (after_install or self._tells_apart):
                        return True
                    await self._ask_for_dfu_mode(link)
                target = await self._find(self._is_after_entry)
        try:
            async with self.linked(target, DFU_SERVICE) as link, GattTransport(link) as transport:
                self._emit("radio", "radio.subscribed")
                await self._transfer(transport, image)
        except Refused as refusal:
            if refusal.group == PAIRING_GROUP:
                await self._let_bootloader_give_up()
            raise
        return False

    async def _let_bootloader_give_up(self) -> None:
        """A bootloader that works with the application's bond pairs with nobody: a central that it does not know comes too late.

        It leaves DFU mode when nothing has happened for long enough, and the application may pair.  Raises `NoReply` when it does not.
        """
        try:
            async with asyncio.timeout(_GIVES_UP_S):
                await self._console.wait_ready()
        except TimeoutError:
            raise NoReply("application: the bootloader, which pairs with nobody, stays in DFU mode", _GIVES_UP_S) from None

    @property
    def _tells_apart(self) -> bool:
        """Whether the version that the device tells says which image runs."""
        return self._trial.old.version != self._trial.new.version or self._trial.old == self._trial.new

    async def _advance_by_wire(self, port: str, application: Advertisement, image: ImageFile, *, after_install: bool) -> bool:
        """The version still comes over the air; the update goes over the serial port, after a pin reset into DFU mode."""
        with self._recorder.phase(Phase.CONNECT):
            async with self.linked(application, DEVICE_INFORMATION) as link:
                if (await self._read_version(link)).runs(image) and (after_install or self._tells_apart):
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
        session = SecureDfuSession(transport, options=Options(receipts_every=self._trial.receipts_every), sending=self.sending)
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
                with self._recorder.phase(Phase.UPLOAD), self._uploading():
                    async for progress in steps:
                        if progress.stage is Stage.EXECUTE:
                            break
                        self._record_progress(progress)
                        await self._pace()
                with self._recorder.phase(Phase.MARK):
                    async for _ in steps:
                        pass
            with self._recorder.phase(Phase.RESET):
                await session.wait_reset()
            await self._installed(ready)
        finally:
            ready.cancel()

    async def _installed(self, ready: asyncio.Future[None]) -> None:
        """The activation, until the application says that it serves."""
        with self._recorder.phase(Phase.INSTALL):
            await asyncio.wait((ready,), timeout=self._limits.install_s)
            if not ready.done():
                raise NoReply("install: the application did not come back", self._limits.install_s)

    async def install_staged(self) -> None:
        """Switch a board on whose next start installs, and wait until its application serves."""
        ready = asyncio.ensure_future(self._console.wait_ready())
        try:
            with self._recorder.phase(Phase.RESET):
                command_s = await self._dut.supply.on()
                self._emit("supply", "supply.on", command_t_ns=self._recorder.journal.t_ns(command_s))
            await self._installed(ready)
        finally:
            ready.cancel()

    def _record_progress(self, progress: Progress) -> None:
        """One event per object that the device has confirmed, and one for whatever did not go straight on."""
        if progress.stage is Stage.INIT and progress.step in (Step.CHECKED, Step.EXECUTED):
            self._time_verification(progress.step)
        elif progress.step is Step.CHECKED and progress.stage is Stage.DATA:
            self._emit("dut", "upload.chunk", offset=progress.offset, total=progress.total)
        elif progress.step in (Step.RETRY, Step.RESTART) or (progress.step is Step.RESUME and progress.offset):
            reason = {"stage": progress.stage.value, "offset": progress.offset, "reason": progress.reason}
            self._emit("dut", f"upload.{progress.step}", **reason)

    def _time_verification(self, step: Step) -> None:
        """The device verifies the signature when the init packet is executed, and answers when it is done."""
        now = asyncio.get_running_loop().time()
        if step is Step.EXECUTED and self._packet_sent_s is not None:
            self._emit("dut", "dut.verified", seconds=now - self._packet_sent_s)
        self._packet_sent_s = now if step is Step.CHECKED else None

    async def reboot(self) -> Running:
        """A Secure DFU application has no reset request of its own; what runs is what stays."""
        return await self.look()

    async def look(self) -> Running:
        sighting = await self._sight()
        if sighting.in_dfu_mode:
            self._emit("dut", "dut.dfu_mode", address=sighting.advertisement.address)
            raise NoReply("application: the device is in DFU mode", 0)
        async with self.linked(sighting.advertisement, DEVICE_INFORMATION) as link:
            return await self._read_version(link)


def _ends_the_session(error: DutError) -> bool:
    """Whether the device has refused the firmware as a whole, after which it resets (nRF5 SDK 17.0.2: 0B/0C)."""
    return isinstance(error, Refused) and error.group == EXTENDED_GROUP and error.code == ExtendedError.VERIFICATION_FAILED
