"""What the bootloader makes of flash that somebody has changed: a flipped bit, no image at all."""

from __future__ import annotations

from rig.errors import NotFound
from rig.formats.soc import PAGE_SIZE
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
