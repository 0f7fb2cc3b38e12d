"""DFU mode: the request handler on a link, with the inactivity timer, until a reset ends it.

Source: nRF5 SDK 17.0.2, `bootloader/nrf_bootloader.c`, `dfu/nrf_dfu.c`, `nrf_bootloader_dfu_timers.c`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn, Protocol

from rig.virtual.cpu import Cpu, SerialPort
from rig.virtual.secure_dfu import serial
from rig.virtual.secure_dfu.ble import BleLink
from rig.virtual.secure_dfu.config import SecureDfuConfig, Transport
from rig.virtual.secure_dfu.defects import Defect
from rig.virtual.secure_dfu.flash_queue import FlashQueue
from rig.virtual.secure_dfu.request_handler import Events, RequestHandler
from rig.virtual.secure_dfu.settings import SettingsStore
from rig.virtual.secure_dfu.watchdog import watch

_ATT_HEADER = 3

PortOf = Callable[[Cpu], SerialPort]


class Link(Protocol):
    """What carries requests and replies."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class DfuMode:
    """One stay in DFU mode."""

    def __init__(self, cpu: Cpu, config: SecureDfuConfig, store: SettingsStore, port_of: PortOf | None) -> None:
        self._cpu = cpu
        self._config = config
        self._store = store
        self._queue = FlashQueue(cpu)
        self._deadline: float | None = None
        self._ending = False
        events = Events(active=lambda: self._restart_timer(config.inactivity_s), complete=self._end, aborted=self._end)
        if config.transport is Transport.SERIAL:
            assert port_of is not None
            size, mtu = serial.PACKET_SIZE, serial.MTU
        else:
            size, mtu = config.mtu - _ATT_HEADER, 0
        self._handler = RequestHandler(cpu, config, store, self._queue, events, packet_size=size, mtu=mtu)
        self._link: Link
        if port_of is not None and config.transport is Transport.SERIAL:
            self._link = serial.SerialLink(cpu, port_of(cpu), self._handler, self._queue)
        else:
            self._link = BleLink(cpu, config, store, self._handler)

    async def run(self, timeout_s: float) -> NoReturn:
        """Serve until reset.  The timer starts with `timeout_s` (0: never); activity sets it to the configured inactivity time."""
        self._restart_timer(timeout_s)
        self._cpu.spawn(self._queue.run())
        watch(self._cpu, self._config)
        await self._handler.resume()
        await self._link.start()
        while self._deadline is not None:
            left = self._deadline - asyncio.get_running_loop().time()
            if left <= 0:
                await self._time_out()
            await self._cpu.sleep(left)
        await asyncio.Event().wait()
        raise AssertionError("nobody sets this event")

    def _restart_timer(self, seconds: float) -> None:
        fires = seconds > 0 and not self._config.has(Defect.INACTIVITY_TIMER_NEVER_FIRES)
        self._deadline = asyncio.get_running_loop().time() + seconds if fires else None

    async def _time_out(self) -> NoReturn:
        if self._config.log:
            await self._cpu.print("<info> app: Inactivity timeout.")
        self._store.queue_back_up_page(self._queue, self._cpu.reset)
        await asyncio.Event().wait()
        raise AssertionError("nobody sets this event")

    def _end(self) -> None:
        if not self._ending:
            self._ending = True
            self._cpu.spawn(self._close_and_reset())

    async def _close_and_reset(self) -> None:
        """End the link, then reset behind all that the flash queue still holds.

        Switching the SoftDevice off halts the queue and, once it is off, the queue goes on by itself (`nrf_fstorage_sd.c`), so a
        settings page in mid-write is finished.  The backup is made from the page as it stands now: when that is torn the backup is not
        valid, and the finished page is used.
        """
        await self._link.close()
        self._store.queue_back_up_page(self._queue, self._cpu.reset)
