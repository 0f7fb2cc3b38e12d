"""One run of the bootloader: the flash, the console and the headers it has read, for the modes and the loader to work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from rig.formats.mcuboot_image import TlvType
from rig.model import Region
from rig.virtual.cpu import Cpu
from rig.virtual.mcuboot.config import Defect, McubootConfig
from rig.virtual.mcuboot.encryption import ImageKey, recode
from rig.virtual.mcuboot.header import HEADER_SIZE, Header, Read, unprotected_tlv_size
from rig.virtual.mcuboot.trailer import (
    COPY_DONE_FROM_END,
    ERASED_WORD,
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
from rig.virtual.parts import PAGE_SIZE, WORD_SIZE


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


@dataclass(frozen=True, kw_only=True)
class ImagePart:
    """Which image something is a part of, by the slot that it was in before the swap, and how many bytes into it."""

    slot: Slot
    offset: int


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
    keys: dict[Slot, ImageKey | None] = field(default_factory=dict)
    """What the images of a swap are encrypted with outside the primary slot (`rig.virtual.mcuboot.encryption`)."""
    clear_payloads: set[Slot] = field(default_factory=set)
    """Slots whose image was found to be in clear although its header claims encryption: only defective builds go on with one."""

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
            for _ in range(2 if self.config.has(Defect.ERASES_TWICE) else 1):
                await self.cpu.erase_page(page)
            self._feed_watchdog()

    async def copy(self, source: int, target: int, size: int, part: ImagePart | None = None) -> None:
        """Copy `size` bytes between addresses, ascending, at most a page at a time.

        A `part` of an image that crosses the border of the primary slot is encrypted or decrypted on the way.
        """
        for done in range(0, size, PAGE_SIZE):
            length = min(PAGE_SIZE, size - done)
            data = self.cpu.read(source + done, length)
            await self.cpu.write(target + done, self._recoded(data, part, done) if part else data)
            self._feed_watchdog()

    def _feed_watchdog(self) -> None:
        if not self.config.has(Defect.WATCHDOG_NOT_FED):
            self.cpu.feed_watchdog()

    def _recoded(self, data: bytes, part: ImagePart, done: int) -> bytes:
        key = self.keys.get(part.slot)
        return recode(data, self.headers[part.slot], key.aes, offset=part.offset + done) if key else data

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
        await self.store_keys(area)
        await write_magic(self.cpu, area)

    async def set_flag(self, area: Region, from_end: int) -> None:
        """Set image_ok or copy_done."""
        await write_field(self.cpu, area, from_end, flag_word())

    def key_field(self, area: Region, slot: Slot) -> int:
        """Address in the trailer of `area` of the key that belongs to the image that was in `slot` when the swap began."""
        layout = self.config.layout
        return area.end - layout.keys_from_end + (layout.key_size if slot is Slot.PRIMARY else 0)

    async def store_keys(self, area: Region) -> None:
        """Write the keys of the swap into the trailer of `area`: as their images bring them, or unwrapped."""
        for slot, key in self.keys.items():
            if key is not None:
                content = key.wrapped if self.config.save_enctlv else key.aes
                await self.cpu.write(self.key_field(area, slot), content.ljust(self.config.layout.key_size, b"\xff"))

    async def forget_keys(self) -> None:
        """Overwrite unwrapped keys in the primary slot's trailer.  MCUboot's source leaves them there until the next swap."""
        config = self.config
        if not config.encrypts or config.save_enctlv or config.has(Defect.SWAP_KEY_LEFT):
            return
        start = self.key_field(config.memory.primary, Slot.SECONDARY)
        for address in range(start, start + 2 * config.layout.key_size, WORD_SIZE):
            if int.from_bytes(self.cpu.read(address, WORD_SIZE), "little") not in (0, ERASED_WORD):
                await self.cpu.write(address, bytes(WORD_SIZE))

    async def finish(self, swap_type: int) -> None:
        """The last words of a swap: what was reverted or wanted for good is confirmed, then the swap is complete."""
        area = self.config.memory.primary
        await self.forget_keys()
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
