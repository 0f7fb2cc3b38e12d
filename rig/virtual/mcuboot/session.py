"""One run of the bootloader: the flash, the console and the headers it has read, for the modes and the loader to work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from rig.formats.mcuboot_image import TlvType
from rig.model import Region
from rig.virtual.cpu import Cpu
from rig.virtual.mcuboot.config import Defect, McubootConfig
from rig.virtual.mcuboot.header import HEADER_SIZE, Header, Read, unprotected_tlv_size
from rig.virtual.mcuboot.trailer import (
    COPY_DONE_FROM_END,
    IMAGE_OK_FROM_END,
    SWAP_INFO_FROM_END,
    TLV_SIZES_FROM_END,
    Flag,
    SwapState,
    SwapType,
    flag_word,
    read_swap_state,
    requested_swap,
    write_field,
    write_magic,
)
from rig.virtual.parts import PAGE_SIZE


class Halt(Exception):
    """The bootloader stops for good, as MCUboot does on a failed assertion or a panic."""


class Slot(Enum):
    """Where an image lives.  The text is what the console calls it."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


class Source(Enum):
    """Where the status of an interrupted swap lies.  The text is what the console calls it."""

    NONE = "none"
    SCRATCH = "scratch"
    PRIMARY = "primary slot"


@dataclass(kw_only=True)
class Progress:
    """How far an interrupted swap had come: `done` counts the status entries written; `swap_type` is the raw swap_info nibble.

    With nothing done there is no interrupted swap, but the type may already stand in the trailer that was to hold its status.
    """

    done: int = 0
    swap_type: int = SwapType.NONE
    source: Source = Source.NONE

    @property
    def is_fresh(self) -> bool:
        """Whether no step of a swap has been completed."""
        return self.done == 0


@dataclass(kw_only=True)
class Session:
    """What one boot knows.  Nothing of it survives the boot."""

    cpu: Cpu
    config: McubootConfig
    headers: dict[Slot, Header] = field(default_factory=dict)
    secondary_offset: int = 0
    """Where in the secondary slot the image starts (offset mode)."""
    tlv_sizes: dict[Slot, int] = field(default_factory=lambda: {Slot.PRIMARY: 0, Slot.SECONDARY: 0})
    """Unprotected TLV areas as found before a swap (offset mode)."""

    # -------------------------------------------------------------------------------------------------------- console
    async def info(self, text: str) -> None:
        """A line of MCUboot's log level "info"."""
        await self.cpu.print(f"I: {text}")

    async def warn(self, text: str) -> None:
        """A line of log level "warning"."""
        await self.cpu.print(f"W: {text}")

    async def error(self, text: str) -> None:
        """A line of log level "error"."""
        await self.cpu.print(f"E: {text}")

    # ---------------------------------------------------------------------------------------------------------- flash
    def region(self, slot: Slot) -> Region:
        """Where `slot` lies."""
        return self.config.memory.primary if slot is Slot.PRIMARY else self.config.memory.secondary

    @property
    def scratch(self) -> Region:
        """The scratch area of a build that has one."""
        assert self.config.memory.scratch is not None
        return self.config.memory.scratch

    async def erase(self, area: Region, offset: int, size: int, *, backwards: bool = False) -> None:
        """Erase whole pages of `area`, feeding the watchdog after each as the port for Nordic's parts does."""
        pages = range(area.start + offset, area.start + offset + size, PAGE_SIZE)
        for page in reversed(pages) if backwards else pages:
            await self.cpu.erase_page(page)
            self.cpu.feed_watchdog()

    async def copy(self, source: int, target: int, size: int) -> None:
        """Copy `size` bytes between addresses, ascending, at most a page at a time."""
        for done in range(0, size, PAGE_SIZE):
            length = min(PAGE_SIZE, size - done)
            await self.cpu.write(target + done, self.cpu.read(source + done, length))
            self.cpu.feed_watchdog()

    async def erase_trailer(self, area: Region) -> None:
        """Erase the pages that hold a slot's trailer, last one first."""
        size = self.config.layout.pages * PAGE_SIZE
        await self.erase(area, area.size - size, size, backwards=True)

    async def erase_user_data(self) -> None:
        """The defect that loses what the application stored."""
        if self.config.has(Defect.USER_DATA_ERASED):
            area = self.config.memory.user_data
            await self.erase(area, 0, area.size)

    # -------------------------------------------------------------------------------------------------------- trailer
    def state(self, area: Region) -> SwapState:
        """What the trailer of `area` says."""
        return read_swap_state(self.cpu, area)

    async def decide(self) -> SwapType:
        """Which swap the trailers ask for; says so on the console every time it is asked."""
        by_offset = self.config.layout.by_offset
        memory = self.config.memory
        swap_type = requested_swap(self.state(memory.primary), self.state(memory.secondary), by_offset=by_offset)
        if swap_type is SwapType.REVERT and self.config.has(Defect.NO_REVERT):
            swap_type = SwapType.NONE
        await self.info(f"Image index: 0, Swap type: {swap_type.word}")
        return swap_type

    async def start_trailer(self, area: Region, swap_type: int, swap_size: int) -> None:
        """Describe the swap that begins.  The magic comes last: without it the description does not count."""
        if swap_type != SwapType.NONE:
            await write_field(self.cpu, area, SWAP_INFO_FROM_END, flag_word(swap_type))
        if self.state(self.config.memory.secondary).image_ok is Flag.SET:
            await self.set_flag(area, IMAGE_OK_FROM_END)
        await write_field(self.cpu, area, self.config.layout.swap_size_from_end, swap_size)
        if self.config.layout.by_offset:
            sizes = self.tlv_sizes[Slot.SECONDARY] << 16 | self.tlv_sizes[Slot.PRIMARY]
            await write_field(self.cpu, area, TLV_SIZES_FROM_END, sizes)
        await write_magic(self.cpu, area)

    async def set_flag(self, area: Region, from_end: int) -> None:
        """Set image_ok or copy_done."""
        await write_field(self.cpu, area, from_end, flag_word())

    async def finish(self, swap_type: int) -> None:
        """The last words of a swap: what was reverted or wanted for good is confirmed, then the swap is complete."""
        area = self.config.memory.primary
        if swap_type in (SwapType.REVERT, SwapType.PERMANENT):
            await self.confirm_primary()
        if swap_type in (SwapType.TEST, SwapType.REVERT, SwapType.PERMANENT):
            await self.set_flag(area, COPY_DONE_FROM_END)

    async def confirm_primary(self) -> None:
        """Set image_ok of the primary slot unless something is already there."""
        area = self.config.memory.primary
        if self.state(area).image_ok is Flag.UNSET:
            await self.set_flag(area, IMAGE_OK_FROM_END)

    # --------------------------------------------------------------------------------------------------------- images
    def read_header(self, slot: Slot, place: Region, offset: int = 0) -> None:
        """Take the header of the image that belongs to `slot` from wherever it is now."""
        self.headers[slot] = Header.parse(self.cpu.read(place.start + offset, HEADER_SIZE))

    def image_offset(self, slot: Slot) -> int:
        """Where in its slot the image starts."""
        return self.secondary_offset if slot is Slot.SECONDARY else 0

    def image_reader(self, slot: Slot) -> Read:
        """Read access relative to the start of the image in `slot`."""
        area, start = self.region(slot), self.image_offset(slot)

        def read(offset: int, length: int) -> bytes | None:
            return self.cpu.read(area.start + start + offset, length) if start + offset + length <= area.size else None

        return read

    def swap_size(self) -> int:
        """Bytes to swap: the larger image with its TLVs.  An image without magic counts nothing; with broken TLVs, MCUboot stops."""
        sizes = [0]
        for slot, header in self.headers.items():
            if header.has_magic:
                tlvs = unprotected_tlv_size(header, self.image_reader(slot))
                if tlvs is None:
                    raise Halt
                self.tlv_sizes[slot] = tlvs
                sizes.append(header.hashed_size + tlvs)
        return max(sizes)

    @property
    def expected_signature(self) -> TlvType:
        """The one kind of signature that this build verifies."""
        return self.config.keys[0].signature_tlv
