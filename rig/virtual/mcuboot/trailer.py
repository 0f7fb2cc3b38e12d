"""The trailer at the end of a slot: where its fields lie, what they say, and which swap they ask for.

From the end downwards: magic (16 bytes), image_ok, copy_done, swap_info, in offset mode the TLV sizes, swap_size; in a build with
encryption the keys of the primary and of the secondary slot's image; then the status area.  Fields are `MAX_ALIGN` apart, status
entries `WORD_SIZE`.  Sources: MCUboot `docs/design.md` ("Image trailer"), `bootutil_public.c`, and measurements of a build for
Cortex-M4 (`tests/golden/mcuboot`), which win where they differ.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from rig.model import Region
from rig.virtual.cpu import Cpu
from rig.virtual.parts import PAGE_SIZE, WORD_SIZE

MAX_ALIGN = 8
MAGIC_WORDS = (0xF395C277, 0x7FEFD260, 0x0F505235, 0x8079B62C)
MAGIC_BYTES = struct.pack("<4I", *MAGIC_WORDS)
MAGIC_FROM_END = len(MAGIC_BYTES)
IMAGE_OK_FROM_END = MAGIC_FROM_END + MAX_ALIGN
COPY_DONE_FROM_END = IMAGE_OK_FROM_END + MAX_ALIGN
SWAP_INFO_FROM_END = COPY_DONE_FROM_END + MAX_ALIGN
TLV_SIZES_FROM_END = SWAP_INFO_FROM_END + MAX_ALIGN
"""Offset mode only."""
CHUNK_STATES = 3
"""Status entries for one chunk of a swap by scratch."""
ERASED_WORD = 0xFFFF_FFFF
_SET = 0x01
_ERASED = 0xFF


class Magic(IntEnum):
    """Whether the magic makes a request.  The numbers are MCUboot's."""

    GOOD = 1
    BAD = 2
    UNSET = 3


class Flag(IntEnum):
    """A one-byte flag; the console prints these numbers."""

    SET = 1
    BAD = 2
    UNSET = 3


class SwapType(IntEnum):
    """What the bootloader does with the two images; values 1 to 5 as in swap_info."""

    NONE = 1
    TEST = 2
    PERMANENT = 3
    REVERT = 4
    FAIL = 5

    @property
    def word(self) -> str:
        """As the console spells it."""
        return "perm" if self is SwapType.PERMANENT else self.name.lower()


@dataclass(frozen=True, kw_only=True)
class SwapState:
    """A trailer as the decision tables see it; `swap_type` is what swap_info holds, NONE when it is erased or out of range."""

    magic: Magic
    swap_type: SwapType
    copy_done: Flag
    image_ok: Flag

    def __str__(self) -> str:
        return (
            f"magic={self.magic.name.lower()}, swap_type=0x{self.swap_type:x}, "
            f"copy_done=0x{self.copy_done:x}, image_ok=0x{self.image_ok:x}"
        )


def read_swap_state(cpu: Cpu, slot: Region) -> SwapState:
    """The fields that decide about a swap."""
    fields = cpu.read(slot.end - SWAP_INFO_FROM_END, SWAP_INFO_FROM_END)
    swap_type = fields[0] & 0x0F
    known = fields[0] != _ERASED and SwapType.NONE <= swap_type <= SwapType.REVERT
    return SwapState(
        magic=_magic(fields[-MAGIC_FROM_END:]),
        swap_type=SwapType(swap_type) if known else SwapType.NONE,
        copy_done=_flag(fields[SWAP_INFO_FROM_END - COPY_DONE_FROM_END]),
        image_ok=_flag(fields[SWAP_INFO_FROM_END - IMAGE_OK_FROM_END]),
    )


def _magic(value: bytes) -> Magic:
    if value == MAGIC_BYTES:
        return Magic.GOOD
    return Magic.UNSET if value.count(_ERASED) == len(value) else Magic.BAD


def _flag(value: int) -> Flag:
    if value == _SET:
        return Flag.SET
    return Flag.UNSET if value == _ERASED else Flag.BAD


def requested_swap(primary: SwapState, secondary: SwapState, *, by_offset: bool) -> SwapType:
    """The decision tables I to V of MCUboot's `docs/design.md`, in their order.

    Table I exists only in offset mode: there a revert is prepared by a trailer in the secondary slot that has copy_done set.
    Table IV takes any secondary magic, so that a revert whose preparation was torn is started again.
    """
    if secondary.magic is Magic.GOOD:
        if secondary.image_ok is Flag.UNSET:
            return SwapType.REVERT if by_offset and secondary.copy_done is Flag.SET else SwapType.TEST
        if secondary.image_ok is Flag.SET:
            return SwapType.PERMANENT
    if primary.magic is Magic.GOOD and primary.image_ok is Flag.UNSET and primary.copy_done is Flag.SET:
        return SwapType.REVERT
    return SwapType.NONE


async def write_field(cpu: Cpu, slot: Region, from_end: int, value: int) -> None:
    """Program one word.  Flags pass their byte with the other bytes erased, see `flag_word`."""
    await cpu.write(slot.end - from_end, struct.pack("<I", value))


async def write_magic(cpu: Cpu, slot: Region) -> None:
    """Four words, one at a time: until the last one is complete the magic is bad."""
    for index, word in enumerate(MAGIC_WORDS):
        await write_field(cpu, slot, MAGIC_FROM_END - index * WORD_SIZE, word)


def flag_word(value: int = _SET) -> int:
    """A one-byte field padded to a word."""
    return ERASED_WORD & ~0xFF | value


@dataclass(frozen=True, kw_only=True)
class TrailerLayout:
    """What depends on the build: the size of the status area, the keys and, in offset mode, one field more."""

    max_sectors: int
    by_offset: bool
    key_size: int = 0
    """Of the field for one image's key, bytes; 0 in a build without encryption."""

    @property
    def swap_size_from_end(self) -> int:
        """Distance of the swap_size field from the end of the slot, bytes."""
        return (TLV_SIZES_FROM_END if self.by_offset else SWAP_INFO_FROM_END) + MAX_ALIGN

    @property
    def keys_from_end(self) -> int:
        """Distance of the lower key field, that of the secondary slot's image, from the end of the slot, bytes."""
        return self.swap_size_from_end + 2 * self.key_size

    @property
    def size(self) -> int:
        """Of a slot's trailer with its status area, bytes."""
        return self.keys_from_end + self.status_entries * WORD_SIZE

    @property
    def status_entries(self) -> int:
        """Of a slot's status area: two for each sector in offset mode, otherwise three."""
        return self.max_sectors * (2 if self.by_offset else 3)

    @property
    def scratch_size(self) -> int:
        """Of the trailer in the scratch area: status entries for one chunk only."""
        return self.keys_from_end + CHUNK_STATES * WORD_SIZE

    @property
    def pages(self) -> int:
        """Pages at the end of a slot that hold its trailer."""
        return -(-self.size // PAGE_SIZE)
