"""How the running firmware guards its memory, read by the probe without disturbing it."""

from __future__ import annotations

from rig.run.examinations.examination import Examination


class Protection(Examination):
    """Reads access port protection and locked pages while the application runs."""

    async def after(self) -> None:
        found = await self.scene.dut.probe.protection()
        self.scene.emit("keys.protection", readback=found.readback, locked=[[region.start, region.size] for region in found.locked])
        await self.scene.dut.probe.detach()
