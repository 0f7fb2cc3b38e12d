"""The bootloader never starts a watchdog, but it feeds one that the application has started: in DFU mode and while it copies.

Source: nRF5 SDK 17.0.2, `bootloader/nrf_bootloader_wdt.c`.
"""

from __future__ import annotations

from rig.virtual.cpu import Cpu

_FEED_S = 0.1
"""One flash operation and a little: the SDK reckons with that much delay."""


async def keep_fed(cpu: Cpu) -> None:
    """Feed the watchdog until this life of the processor ends; no effect when it does not run."""
    while True:
        cpu.feed_watchdog()
        await cpu.sleep(_FEED_S)
