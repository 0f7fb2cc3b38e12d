"""The virtual bench whose host has BlueZ: its boards are reached through bluetoothd, and the adapter's name is ``hci0``."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from rig.virtual.world import VirtualBench
from tests.bluez.bus import private_bus
from tests.bluez.daemon import LINUX_INTERVAL_MS, bluetoothd


class BenchBehindBluez(VirtualBench):
    """For the wall clock: a system bus and a bluetoothd come up with the bench, and go with it."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        async with AsyncExitStack() as opening:
            bus = await opening.enter_async_context(private_bus())
            await opening.enter_async_context(bluetoothd(bus.address, interval_ms=LINUX_INTERVAL_MS))
            self._host = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._host.aclose()
        await super().__aexit__(kind, error, trace)
