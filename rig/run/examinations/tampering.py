"""What the bootloader makes of flash that somebody has changed: a flipped bit, a planted init packet, no image at all."""

from __future__ import annotations

import zlib
from contextlib import suppress

from rig.errors import DutError, NotFound, Refused
from rig.formats.dfu_settings import SIZE, DfuSettings
from rig.formats.soc import PAGE_SIZE
from rig.images import dfu
from rig.ota.secure_dfu import DFU_SERVICE, GattTransport, ObjectType, SecureDfuSession
from rig.run.dfu_flow import DfuFlow
from rig.run.examinations.examination import Examination

_RUNS_FROM = 0x200
"""Offset into an image behind header and vector table: code."""


class TamperedImage(Examination):
    """Flips one bit of the running image and looks whether it is started all the same."""

    async def finish(self) -> None:
        scene = self.scene
        page = scene.dut.board.memory.primary.start
        content = bytearray(await scene.dut.probe.read(page, PAGE_SIZE))
        at = _RUNS_FROM + scene.trial.seed % (PAGE_SIZE - _RUNS_FROM)
        content[at] ^= 1 << (scene.trial.seed % 8)
        await scene.dut.probe.program(page, bytes(content))
        await scene.dut.probe.detach()
        before, starts = len(scene.journal.events), scene.product.signals.verification_end
        served = await scene.power_cycle_until_ready(scene.trial.limits.boot_s)
        # Code with a changed bit need not get as far as serving; that the bootloader went on to start it is enough.
        started = scene.console.said(starts, since_seq=before) if starts else 0
        scene.emit("image.tampered", address=page + at, served=served is not None, started=started)


class PlantedPacket(Examination):
    """Puts a forged init packet into the settings pages, as if it had been received and accepted, and tries to go on from there."""

    async def before(self) -> None:
        scene, memory = self.scene, self.scene.dut.board.memory
        assert isinstance(scene.flow, DfuFlow)  # the requirement applies to this protocol alone
        assert memory.settings is not None  # every memory map of this protocol names them
        assert memory.settings_backup is not None
        page = await self._forged(memory.settings.start)
        for start in (memory.settings.start, memory.settings_backup.start):
            await scene.dut.probe.program(start, page)
        await scene.dut.probe.detach()
        await scene.power_cycle_until_ready(scene.trial.limits.boot_s)
        found = await scene.flow.enter_dfu_mode()
        async with scene.flow.linked(found, DFU_SERVICE) as link, GattTransport(link) as transport:
            session = SecureDfuSession(transport)
            answer = ""
            try:
                await session.select(ObjectType.DATA)
                await session.create(ObjectType.DATA, PAGE_SIZE)
            except Refused as refusal:
                answer = str(refusal)
            scene.emit("image.planted", accepted=not answer, answer=answer)
            with suppress(DutError):
                await session.abort()
        await scene.settle()

    async def _forged(self, settings: int) -> bytes:
        """The settings page as it is, with the new image's init packet in it, its signature off by one bit."""
        (application,) = dfu.read_unchecked(self.scene.image_path(self.scene.trial.new))
        packet = application.init_packet[:-1] + bytes([application.init_packet[-1] ^ 1])
        page = DfuSettings(await self.scene.dut.probe.read(settings, SIZE))
        page.store_init_command(0, packet)
        page.command_size = page.command_offset = len(packet)
        page.command_crc = zlib.crc32(packet)
        page.seal()
        return bytes(page.data)


class NoImage(Examination):
    """Erases every image and looks whether the bootloader offers an update, or at least says that it has nothing to start."""

    async def finish(self) -> None:
        scene, memory = self.scene, self.scene.dut.board.memory
        await scene.dut.probe.erase(memory.primary.start, memory.primary.size)
        if memory.secondary.size:
            await scene.dut.probe.erase(memory.secondary.start, memory.secondary.size)
        await scene.dut.probe.detach()
        seen_before = len(scene.journal.events)
        await scene.power_cycle_until_ready(scene.trial.limits.boot_s)
        signs = []
        pattern = scene.product.signals.no_image
        if pattern is not None and scene.console.said(pattern, since_seq=seen_before):
            signs.append("the console says so")
        if isinstance(scene.flow, DfuFlow) and await self._is_in_dfu_mode(scene.flow):
            signs.append("it waits in DFU mode")
        scene.emit("image.absent", signs=signs)

    async def _is_in_dfu_mode(self, flow: DfuFlow) -> bool:
        try:
            await self.scene.dut.radio.find(flow.is_bootloader, timeout_s=self.scene.trial.limits.discover_s)
        except NotFound:
            return False
        return True
