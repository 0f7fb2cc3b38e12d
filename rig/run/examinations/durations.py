"""Heartbeat, boot time, and how much flash an update wears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rig.formats.soc import PAGE_SIZE
from rig.ports import GattLink
from rig.run.examinations.examination import Examination

_FIRST_BEAT_S = 5.0


class Heartbeat(Examination):
    """Listens for the product's heartbeat on every link of the update, from the first beat to the last."""

    @asynccontextmanager
    async def on_link(self, link: GattLink) -> AsyncIterator[None]:
        characteristic = self.scene.product.signals.heartbeat
        assert characteristic is not None  # a product with a limit for the downtime names it
        beats: list[int] = []
        first = asyncio.Event()

        def receive(_value: bytes) -> None:
            beats.append(self.scene.journal.t_ns(asyncio.get_running_loop().time()))
            first.set()

        await link.subscribe(characteristic, receive)
        try:
            async with asyncio.timeout(_FIRST_BEAT_S):
                await first.wait()
        except TimeoutError:
            pass  # no beat is what the record then says
        try:
            yield
        finally:
            times = {"first_t_ns": beats[0], "last_t_ns": beats[-1]} if beats else {}
            self.scene.emit("service.beats", count=len(beats), **times)


class Boot(Examination):
    """Times one boot from power-on to service."""

    async def after(self) -> None:
        boot_s = await self.scene.power_cycle_until_ready(self.scene.trial.limits.boot_s)
        self.scene.emit("boot.measured", boot_s=boot_s)


class Erases(Examination):
    """Counts the pages that the update erases, where the bench can see flash operations."""

    async def before(self) -> None:
        self._before = self._erases()

    async def after(self) -> None:
        now = self._erases()
        if now is not None and self._before is not None:
            self.scene.emit("flash.erases", erases=now - self._before, pages=-(-self.scene.trial.new.size // PAGE_SIZE))

    def _erases(self) -> int | None:
        counter = self.scene.dut.counter
        return counter.erases() if counter is not None else None
