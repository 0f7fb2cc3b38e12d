"""What an examination is: something that the rig does in a trial, beyond the update, so that the journal tells about a practice.

It records what it saw and judges nothing; `rig.practices` reads its events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rig.bench import Dut
from rig.errors import DutError
from rig.journal import Journal
from rig.model import Event, ImageFile, Trial
from rig.ports import GattLink
from rig.product import Product
from rig.run.dfu_flow import DfuFlow
from rig.run.record import ConsoleLines
from rig.run.smp_flow import SmpFlow


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A trial as its examinations find it.

    `power_cycle` takes the power away and gives it back; `sent` holds what went over the air and `printed` what came from the console,
    so far.
    """

    trial: Trial
    product: Product
    dut: Dut
    journal: Journal
    flow: SmpFlow | DfuFlow
    console: ConsoleLines
    power_cycle: Callable[[], Awaitable[None]]
    image_path: Callable[[ImageFile], Path]
    sent: bytearray
    printed: bytearray

    def emit(self, kind: str, **data: object) -> None:
        """Record what was seen."""
        self.journal.emit("examination", kind, **data)

    async def power_cycle_until_ready(self, limit_s: float) -> float | None:
        """Cycle the power and wait for the application: seconds from power-on to its ready line, None when it does not come."""
        await self.power_cycle()
        on = self._last("supply.on")
        if not await self.console.ready_within(limit_s, since_seq=on.seq):
            return None
        return (self._last("dut.ready").t_ns - int(on.data["command_t_ns"])) / 1e9

    def _last(self, kind: str) -> Event:
        return next(event for event in reversed(self.journal.events) if event.kind == kind)

    async def settle(self) -> None:
        """Wait until the application serves again after something that may have disturbed it."""
        try:
            await self.flow.look()
        except DutError as error:
            self.emit("examination.disturbed", text=str(error))


class Examination:
    """Does nothing at any time; each examination overrides what it needs.  A `DutError` that escapes ends it without a result."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    async def before(self) -> None:
        """The old image runs, and nothing has been asked of it yet."""

    @asynccontextmanager
    async def on_link(self, link: GattLink) -> AsyncIterator[None]:
        """A link over which the update makes its next step."""
        del link
        yield

    async def after(self) -> None:
        """The update is over and the application runs; no probe is attached."""

    async def inspect(self) -> None:
        """The probe may be attached."""

    async def finish(self) -> None:
        """The very last: may leave the device without an application."""
