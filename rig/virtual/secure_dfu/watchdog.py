"""The bootloader never starts a watchdog, but it feeds one that the application has started: in DFU mode and while it copies.

A watchdog outlives a soft reset, so the one that the application started watches over the bootloader as well.  The sample application
has none; where the boards file gives `watchdog_s`, `start_for_application` plays that part of it.

Source: nRF5 SDK 17.0.2, `bootloader/nrf_bootloader_wdt.c`; nRF52840 Product Specification, WDT.
"""

from __future__ import annotations

from rig.virtual.cpu import Cpu
from rig.virtual.secure_dfu.config import SecureDfuConfig
from rig.virtual.secure_dfu.defects import Defect

_FEED_S = 0.1
"""One flash operation and a little: the SDK reckons with that much delay."""


def watch(cpu: Cpu, config: SecureDfuConfig) -> None:
    """Feed the watchdog in the background from now on; no effect when it does not run."""
    if not config.has(Defect.WATCHDOG_NOT_FED):
        cpu.spawn(_keep_fed(cpu))


def start_for_application(cpu: Cpu, config: SecureDfuConfig) -> None:
    """Start the application's watchdog and feed it in the application's name."""
    if config.watchdog_s:
        cpu.start_watchdog(config.watchdog_s)
        cpu.spawn(_keep_fed(cpu))


async def _keep_fed(cpu: Cpu) -> None:
    while True:
        cpu.feed_watchdog()
        await cpu.sleep(_FEED_S)
