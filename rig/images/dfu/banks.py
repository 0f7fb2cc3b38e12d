"""Whether an update keeps the old application until the new one is complete, or destroys it first.

The bootloader decides when the init packet is executed (nRF5 SDK 17.0.2, `nrf_dfu_utils.c`, `nrf_dfu_cache_prepare`): the new image
goes behind the application in bank 0, on the next page; when it does not fit there, bank 0 is invalidated and overwritten, unless
the bootloader is built with NRF_DFU_FORCE_DUAL_BANK_APP_UPDATES.  Nothing tells the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PAGE_SIZE = 4096
APP_DATA_SIZE = 3 * PAGE_SIZE
"""NRF_DFU_APP_DATA_AREA_SIZE: what the bootloader leaves alone below itself."""


class BankMode(StrEnum):
    """DUAL: a cut before activation leaves the old application.  SINGLE: it is gone before the first byte of firmware is sent."""

    DUAL = "dual"
    SINGLE = "single"
    DOES_NOT_FIT = "does-not-fit"


@dataclass(frozen=True, kw_only=True)
class BankLayout:
    """Flash of a product: bank 0 begins at the page behind the SoftDevice; addresses and sizes in bytes."""

    soc: str
    softdevice: str
    bank0_start: int
    bootloader_start: int
    app_data_size: int = APP_DATA_SIZE

    @property
    def room(self) -> int:
        """Bytes for both banks together."""
        return self.bootloader_start - self.app_data_size - self.bank0_start


LAYOUTS = {
    layout.soc: layout
    for layout in (
        BankLayout(soc="nrf52832", softdevice="S132 v7.2", bank0_start=0x26000, bootloader_start=0x78000),
        BankLayout(soc="nrf52833", softdevice="S140 v7.2", bank0_start=0x27000, bootloader_start=0x78000),
        BankLayout(soc="nrf52840", softdevice="S140 v7.2", bank0_start=0x27000, bootloader_start=0xF8000),
    )
}
"""Nordic's secure BLE bootloader example (nRF5 SDK 17.0.2, linker files) with the usual SoftDevice; a product may differ."""


@dataclass(frozen=True, kw_only=True)
class BankFit:
    """What a bootloader with `layout` does with an image of `size` bytes when `installed` bytes of application are there.

    `installed_is_assumed`: nobody said how large the installed application is, so it was taken to be as large as the new image.
    `largest_installed`: up to this size of the installed application the mode is DUAL (-1: never).
    """

    layout: BankLayout
    size: int
    installed: int
    installed_is_assumed: bool
    mode: BankMode
    largest_installed: int


def fit(size: int, layout: BankLayout, *, installed: int | None = None) -> BankFit:
    """Decide as the bootloader does.  `installed` is the size of the application on the device, bytes (0: there is none)."""
    old = size if installed is None else installed
    if size > layout.room:
        mode = BankMode.DOES_NOT_FIT
    elif _pages(old) + size <= layout.room:
        mode = BankMode.DUAL
    else:
        mode = BankMode.SINGLE
    return BankFit(
        layout=layout,
        size=size,
        installed=old,
        installed_is_assumed=installed is None,
        mode=mode,
        largest_installed=max(-1, layout.room - _pages(size)),
    )


def _pages(size: int) -> int:
    """`size` rounded up to whole pages, in bytes."""
    return -(-size // PAGE_SIZE) * PAGE_SIZE
