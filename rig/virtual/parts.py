"""The nRF52 parts that the virtual bench knows: sizes, identity and flash timing.

Sizes and FICR values: Nordic's SVD files.  Flash timing: nRF52840 Product Specification v1.11 (41 µs, 85 ms); the nRF52832 and
nRF52833 figures are less sure, see docs/virtual-bench.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from rig.formats.soc import PAGE_SIZE, SOCS

__all__ = ["PAGE_SIZE", "PARTS", "WORD_SIZE", "Part"]

WORD_SIZE = 4


@dataclass(frozen=True, kw_only=True)
class Part:
    """One SoC type.  Durations in seconds; sizes in bytes."""

    name: str
    code: int
    """FICR INFO.PART."""
    flash_size: int
    ram_size: int
    word_write_s: float
    page_erase_s: float
    writes_per_word: int
    """nWRITE: how often one word may be written between erases."""
    endurance: int
    """Erase cycles per page."""


PARTS = {
    part.name: part
    for part in (
        Part(
            name="nrf52832", code=0x52832, flash_size=SOCS["nrf52832"].flash_size, ram_size=SOCS["nrf52832"].ram_size,
            word_write_s=67.5e-6, page_erase_s=89.7e-3, writes_per_word=2, endurance=10_000,
        ),
        Part(
            name="nrf52833", code=0x52833, flash_size=SOCS["nrf52833"].flash_size, ram_size=SOCS["nrf52833"].ram_size,
            word_write_s=42.5e-6, page_erase_s=87.5e-3, writes_per_word=2, endurance=10_000,
        ),
        Part(
            name="nrf52840", code=0x52840, flash_size=SOCS["nrf52840"].flash_size, ram_size=SOCS["nrf52840"].ram_size,
            word_write_s=41e-6, page_erase_s=85e-3, writes_per_word=2, endurance=10_000,
        ),
    )
}
