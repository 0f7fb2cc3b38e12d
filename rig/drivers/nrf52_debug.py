"""What every debug probe does with an nRF52, whatever tool it is driven by: `rig.ports.Probe` on top of a few simple accesses.

To look into the flash the probe resets the core and holds it; to let go it pulls the reset pin, which alone brings the core back to
where a power-up would begin without the debugger's traces (nRF52 Product Specifications, chapter Debug: debug interface mode).  So the
pin must be enabled in UICR.PSELRESET; a pin that is not does nothing at all, silently, which is why it is looked at first.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from rig.drivers.probe_process import NoTargetVoltage
from rig.errors import InstrumentError
from rig.formats.soc import PAGE_SIZE
from rig.model import Region
from rig.ports import DeviceInfo, Protection

_FICR = 0x1000_0000
_FICR_FIRST, _FICR_END = 0x060, 0x114
_DEVICEID, _DEVICEADDRTYPE, _DEVICEADDR, _PART, _RAM_KIB, _FLASH_KIB = 0x060, 0x0A0, 0x0A4, 0x100, 0x10C, 0x110
"""Offsets in FICR (Nordic's SVD files; RAM and FLASH count KiB)."""
_STATIC_ADDRESS = 0xC000_0000_0000
"""The two bits that mark a random static address, which FICR leaves to the firmware to set (Core Specification Vol 6 Part B 1.3.2.1)."""

_PSELRESET = (0x1000_1200, 0x1000_1204)
_RESET_PIN = {0x52832: 21, 0x52833: 18, 0x52840: 18}
"""Both registers must name this pin of port 0 and have bit 31 clear, or the pin does not reset (Product Specifications, PSELRESET)."""

_BPROT_CONFIG = (0x4000_0600, 0x4000_0604, 0x4000_0610, 0x4000_0614)
"""nRF52832: one bit for each page, lowest page first."""
_ACL = tuple((0x4001_E800 + 16 * index, 0x4001_E804 + 16 * index, 0x4001_E808 + 16 * index) for index in range(8))
"""nRF52833, nRF52840: start, size and permissions of the eight regions."""
_ACL_NO_WRITE = 1 << 1


class DebugAccess(Protocol):
    """What a tool must be able to do.  Addresses and lengths are bytes; flash comes in whole pages.

    Everything may raise `InstrumentError`, and `NoTargetVoltage` where the SoC does not answer.
    """

    async def open(self) -> None:
        """Find the probe.  The SoC may be without power and is not touched."""
        ...

    async def close(self) -> None: ...

    async def is_protected(self) -> bool:
        """Whether access port protection is on, as the control port says.  The core runs on."""
        ...

    async def hold(self) -> None:
        """Attach, reset the core by SYSRESETREQ and stop it before its first instruction; or stop it, where the tool can no more."""
        ...

    async def read(self, address: int, length: int) -> bytes:
        """Any memory, of a core that is held."""
        ...

    async def program(self, address: int, pages: bytes) -> None:
        """Erase and write whole pages, of a core that is held."""
        ...

    async def erase(self, address: int, length: int) -> None: ...

    async def glance(self, registers: Sequence[int]) -> Sequence[int]:
        """Words of a core that runs, and runs on."""
        ...

    async def pin_reset(self) -> None:
        """Pull the reset pin and let go of the SoC, debug port powered down.  Works on a protected SoC too."""
        ...

    async def recover(self) -> None:
        """Erase flash and UICR through the control port, which opens a protected SoC."""
        ...

    async def write_uicr(self, address: int, word: int) -> None:
        """Write a word of UICR, of a chip that is blank otherwise; it counts from the next `hold` on."""
        ...


class Nrf52Probe:
    """`rig.ports.Probe` on a tool's accesses; a driver adds the tool and its options."""

    def __init__(self, name: str, access: DebugAccess) -> None:
        self._name, self._access = name, access
        self._turn = asyncio.Lock()
        self._is_open = False
        self._held = False
        self._touched = False
        """It was attached since it last let go; whether it still holds the core is known as long as nothing has failed."""
        self._info: DeviceInfo | None = None
        self._pin_is_enabled = False

    # ------------------------------------------------------------------------------------------------------- life cycle
    async def __aenter__(self) -> Self:
        await self._access.open()
        self._held = self._touched = self._pin_is_enabled = False
        self._is_open, self._info = True, None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.detach()
        except InstrumentError:
            if error is None:
                raise
        finally:
            self._is_open = False
            await self._access.close()

    # ----------------------------------------------------------------------------------------------------------- memory
    async def info(self) -> DeviceInfo:
        async with self._turn:
            return await self._hold()

    async def read(self, address: int, length: int) -> bytes:
        async with self._turn:
            self._check_range(await self._hold(), address, length)
            return await self._read(address, length)

    async def program(self, address: int, data: bytes) -> None:
        first = address - address % PAGE_SIZE
        pages = (b"\xff" * (address - first) + data).ljust(-(-(address + len(data) - first) // PAGE_SIZE) * PAGE_SIZE, b"\xff")
        async with self._turn:
            self._check_range(await self._hold(), first, len(pages))
            with self._watching():
                await self._access.program(first, pages)
            there = await self._read(first, len(pages))
        if there != pages:
            wrong = next(index for index, (is_, should) in enumerate(zip(there, pages, strict=True)) if is_ != should)
            raise InstrumentError(self._name, f"verification failed at 0x{first + wrong:x}", hint="the pages may be locked, or worn out")

    async def erase(self, address: int, length: int) -> None:
        if address % PAGE_SIZE or length % PAGE_SIZE:
            raise InstrumentError(self._name, f"erase of {length} bytes at 0x{address:x} is not whole pages")
        async with self._turn:
            self._check_range(await self._hold(), address, length)
            with self._watching():
                await self._access.erase(address, length)
            there = await self._read(address, length)
        if there.count(0xFF) != length:
            raise InstrumentError(self._name, f"pages of {length} bytes at 0x{address:x} are not blank after their erasure")

    # ---------------------------------------------------------------------------------------------------------- the SoC
    async def reset(self) -> None:
        async with self._turn:
            self._check_open()
            if not await self._woken_is_protected():
                await self._check_reset_pin()
            await self._let_go()

    async def detach(self) -> None:
        async with self._turn:
            if self._touched:
                try:
                    await self._let_go()
                except NoTargetVoltage:  # nothing is held that has no power
                    self._held = self._touched = False

    async def protection(self) -> Protection:
        async with self._turn:
            self._check_open()
            if await self._access.is_protected():
                return Protection(readback=True, locked=())
            if self._touched:
                return Protection(readback=False, locked=())
            (part,) = await self._access.glance([_FICR + _PART])
            if part == 0x52832:
                locked = _locked_by_bprot(await self._access.glance(_BPROT_CONFIG))
            else:
                locked = _locked_by_acl(await self._access.glance([register for region in _ACL for register in region]))
            return Protection(readback=False, locked=tuple(_joined(locked)))

    async def recover(self) -> None:
        """Erase the whole SoC, flash, UICR and RAM, which also ends access port protection; then enable the reset pin again.

        The core is held afterwards.

        Raises:
            InstrumentError: the SoC stays closed (a chip with erase protection does), or does not answer.
        """
        async with self._turn:
            self._check_open()
            self._held, self._touched, self._pin_is_enabled = False, True, False
            await self._access.recover()
            if await self._access.is_protected():
                raise InstrumentError(self._name, "access port protection is still on after the erasure of the whole chip")
            await self._access.hold()
            (part,) = _words(await self._read(_FICR + _PART, 4))
            for register in _PSELRESET:
                await self._access.write_uicr(register, self._reset_pin(part))
            await self._hold()  # PSELRESET is taken over by a reset

    # --------------------------------------------------------------------------------------------------------- internal
    async def _woken_is_protected(self) -> bool:
        """Asked again after a pull at the reset pin where the debug port is silent: an earlier debugger's session may lie on it."""
        try:
            return await self._access.is_protected()
        except InstrumentError:
            await self._access.pin_reset()
            return await self._access.is_protected()

    def _check_open(self) -> None:
        if not self._is_open:
            raise InstrumentError(self._name, "the probe is not open")

    async def _hold(self) -> DeviceInfo:
        """Attach when needed; every attachment begins with a look at what is attached."""
        self._check_open()
        if self._held and self._info is not None:
            return self._info
        if await self._access.is_protected():
            hint = "only `recover` opens the chip, which erases all of it"
            raise InstrumentError(self._name, "access port protection (APPROTECT) is on", hint=hint)
        await self._check_reset_pin()
        self._touched = True
        await self._access.hold()
        self._held = True
        self._info = _device_info(await self._read(_FICR + _FICR_FIRST, _FICR_END - _FICR_FIRST))
        return self._info

    async def _read(self, address: int, length: int) -> bytes:
        with self._watching():
            return await self._access.read(address, length)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """After a failure nobody knows what the core does; the next access begins with a reset again."""
        try:
            yield
        except InstrumentError:
            self._held = False
            raise

    async def _let_go(self) -> None:
        await self._access.pin_reset()
        self._held = self._touched = False

    async def _check_reset_pin(self) -> None:
        """Before anything is held: without the pin there would be no way to let go."""
        if self._pin_is_enabled:
            return
        part, *selected = await self._access.glance((_FICR + _PART, *_PSELRESET))
        if any(word & 0x8000_003F != self._reset_pin(part) for word in selected):
            shown = " and ".join(f"0x{word:08x}" for word in selected)
            hint = "enable it once, with `nrfutil device pinreset-enable` or in the firmware (CONFIG_GPIO_AS_PINRESET)"
            raise InstrumentError(self._name, f"the reset pin is not enabled (UICR.PSELRESET: {shown})", hint=hint)
        self._pin_is_enabled = True

    def _reset_pin(self, part: int) -> int:
        if part not in _RESET_PIN:
            known = ", ".join(f"nrf{each:x}" for each in _RESET_PIN)
            hint = "correct the boards file or the cabling"
            raise InstrumentError(self._name, f"the SoC on this probe calls itself {part:x}; rig knows {known}", hint=hint)
        return _RESET_PIN[part]

    def _check_range(self, info: DeviceInfo, address: int, length: int) -> None:
        if address < 0 or address + length > info.flash_size:
            raise InstrumentError(self._name, f"0x{address:x} + {length} lies outside the flash of the nrf{info.part:x}")


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data)


def _device_info(ficr: bytes) -> DeviceInfo:
    """What FICR says, from its part between `_FICR_FIRST` and `_FICR_END`."""

    def word(offset: int) -> int:
        return _words(ficr[offset - _FICR_FIRST : offset - _FICR_FIRST + 4])[0]

    address = word(_DEVICEADDR) | (word(_DEVICEADDR + 4) & 0xFFFF) << 32
    if word(_DEVICEADDRTYPE) & 1:
        address |= _STATIC_ADDRESS
    return DeviceInfo(
        part=word(_PART),
        flash_size=word(_FLASH_KIB) * 1024,
        ram_size=word(_RAM_KIB) * 1024,
        device_id=word(_DEVICEID) | word(_DEVICEID + 4) << 32,
        ble_address=address.to_bytes(6, "big").hex(":").upper(),
    )


def _locked_by_bprot(config: Sequence[int]) -> list[Region]:
    pages = [32 * index + bit for index, word in enumerate(config) for bit in range(32) if word >> bit & 1]
    return [Region(start=page * PAGE_SIZE, size=PAGE_SIZE) for page in pages]


def _locked_by_acl(words: Sequence[int]) -> list[Region]:
    regions = [words[index : index + 3] for index in range(0, len(words), 3)]
    return [Region(start=start, size=size) for start, size, permissions in regions if size and permissions & _ACL_NO_WRITE]


def _joined(regions: Sequence[Region]) -> list[Region]:
    """In ascending order, with those that adjoin or overlap made one."""
    joined: list[Region] = []
    for region in sorted(regions, key=lambda each: each.start):
        if joined and region.start <= joined[-1].end:
            end = max(joined[-1].end, region.end)
            joined[-1] = Region(start=joined[-1].start, size=end - joined[-1].start)
        else:
            joined.append(region)
    return joined
