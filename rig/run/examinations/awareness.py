"""What the product tells of an update: its log, its status, and whether it asks its user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rig.errors import DutError
from rig.ports import GattLink
from rig.run.examinations.examination import Examination


class Log(Examination):
    """Reads the update log before and after the update."""

    async def before(self) -> None:
        await self.read("before")

    async def after(self) -> None:
        await self.read("after")

    async def read(self, stage: str) -> None:
        """Record the entries, None when they cannot be read; nothing where the product keeps no log."""
        characteristic = self.scene.product.signals.log
        if characteristic is None:
            return
        entries: list[str] | None = None
        reason = ""
        try:
            async with self.scene.flow.visit() as link:
                entries = (await link.read(characteristic)).decode("utf-8", "backslashreplace").splitlines()
        except DutError as error:
            reason = str(error)
        self.scene.emit("log.read", stage=stage, entries=entries, reason=reason)


class LogAfterPowerOff(Log):
    """Reads the log once more after a loss of power."""

    async def before(self) -> None:
        """Nothing to read yet: `Log` does."""

    async def after(self) -> None:
        await self.scene.power_cycle_until_ready(self.scene.trial.limits.boot_s)
        await self.read("after power off")


class Status(Examination):
    """Records the status notifications on the links of the update."""

    @asynccontextmanager
    async def on_link(self, link: GattLink) -> AsyncIterator[None]:
        characteristic = self.scene.product.signals.status
        assert characteristic is not None  # the requirement applies only to a product with one
        last = ""

        def receive(value: bytes) -> None:
            nonlocal last
            if value.hex() != last:
                last = value.hex()
                self.scene.emit("update.status", value=last)

        await link.subscribe(characteristic, receive)
        yield


class Consent(Examination):
    """Agrees to the update, as the user would, on every link before its next step."""

    @asynccontextmanager
    async def on_link(self, link: GattLink) -> AsyncIterator[None]:
        signals = self.scene.product.signals
        assert signals.control is not None  # a product that asks names it
        await link.write(signals.control, bytes.fromhex(signals.consent), response=True)
        self.scene.emit("user.consent")
        yield
