"""Makes the examinations of one trial, each at its time.  One that the device cuts short leaves no result, and says so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from rig.errors import DutError
from rig.ports import GattLink
from rig.practices import REQUIREMENTS
from rig.run.examinations.awareness import Consent, Log, LogAfterPowerOff, Status
from rig.run.examinations.channel import LeftAlone, Malformed, Stranger, Unsubscribed
from rig.run.examinations.confidentiality import KeysInLogs, PlainInFlash, PlainOnAir
from rig.run.examinations.durations import Boot, Erases, Heartbeat
from rig.run.examinations.examination import Examination, Scene
from rig.run.examinations.protection import Protection
from rig.run.examinations.tampering import NoImage, PlantedPacket, TamperedImage

EXAMINATIONS: Mapping[str, type[Examination]] = {
    "stranger": Stranger,
    "unsubscribed": Unsubscribed,
    "malformed": Malformed,
    "left-alone": LeftAlone,
    "planted-packet": PlantedPacket,
    "erases": Erases,
    "heartbeat": Heartbeat,
    "status": Status,
    "consent": Consent,
    "protection": Protection,
    "log": Log,
    "log-after-power-off": LogAfterPowerOff,
    "boot": Boot,
    "plain-on-air": PlainOnAir,
    "plain-in-flash": PlainInFlash,
    "keys-in-logs": KeysInLogs,
    "tampered-image": TamperedImage,
    "no-image": NoImage,
}
"""By the names that `rig.practices` asks for, in the order in which they are made: whatever cycles the power comes late."""


class Examiner:
    """The examinations that the requirements `proves` want."""

    def __init__(self, scene: Scene, proves: tuple[str, ...]) -> None:
        self._scene = scene
        wanted = {name for requirement in proves for name in REQUIREMENTS[requirement].examinations}
        self._examinations = [EXAMINATIONS[name](scene) for name in EXAMINATIONS if name in wanted]

    @asynccontextmanager
    async def watch(self, link: GattLink) -> AsyncIterator[None]:
        """Bracket a link over which the update makes its next step."""
        async with AsyncExitStack() as stack:
            for examination in self._examinations:
                await stack.enter_async_context(examination.on_link(link))
            yield

    async def before(self) -> None:
        """The old image runs, and nothing has been asked of it yet."""
        await self._each(lambda examination: examination.before())

    async def after(self) -> None:
        """The update is over and the application runs; no probe is attached."""
        await self._each(lambda examination: examination.after())

    async def inspect(self) -> None:
        """The probe may be attached."""
        await self._each(lambda examination: examination.inspect())

    async def finish(self) -> None:
        """The very last: may leave the device without an application."""
        await self._each(lambda examination: examination.finish())

    async def _each(self, step: Callable[[Examination], Awaitable[None]]) -> None:
        for examination in self._examinations:
            try:
                await step(examination)
            except DutError as error:
                self._scene.emit("examination.failed", name=type(examination).__name__, reason=str(error))
