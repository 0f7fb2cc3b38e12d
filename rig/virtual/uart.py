"""The device's end of a serial line as firmware drives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rig.virtual.wire import DeviceEnd


class Uart:
    """`rig.virtual.cpu.SerialPort` on a wire."""

    def __init__(self, end: DeviceEnd) -> None:
        self._end = end

    def listen(self, receiver: Callable[[bytes], None]) -> None:
        self._end.listen(lambda _when_s, data: receiver(data))

    async def send(self, data: bytes) -> None:
        sent_s = self._end.send(data)
        await asyncio.sleep(max(0.0, sent_s - asyncio.get_running_loop().time()))
