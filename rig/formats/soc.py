"""The three SoCs that the project knows, as far as images and memory maps need them: sizes, and where RAM begins.

Source: Nordic's SVD files and product specifications (memory chapter).
"""

from __future__ import annotations

from dataclasses import dataclass

PIN = r"^(P0\.([0-2][0-9]|3[01])|P1\.(0[0-9]|1[0-5]))$"
"""Pattern of a GPIO pin's name; the nRF52832 has port 0 only."""
RAM_START = 0x2000_0000
PAGE_SIZE = 4096


@dataclass(frozen=True, kw_only=True)
class Soc:
    """One SoC type; sizes in bytes, supply limits in millivolts.

    `supply_mv` is what the SoC's supply pin takes (nRF52833 and nRF52840: VDDH; nRF52832: VDD).
    """

    name: str
    flash_size: int
    ram_size: int
    supply_mv: tuple[int, int]


SOCS = {
    soc.name: soc
    for soc in (
        Soc(name="nrf52832", flash_size=512 * 1024, ram_size=64 * 1024, supply_mv=(1700, 3600)),
        Soc(name="nrf52833", flash_size=512 * 1024, ram_size=128 * 1024, supply_mv=(1700, 5500)),
        Soc(name="nrf52840", flash_size=1024 * 1024, ram_size=256 * 1024, supply_mv=(1700, 5500)),
    )
}
