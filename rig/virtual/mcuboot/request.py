"""What the application does with the trailers: ask for an installation, confirm itself, and tell the host what is where.

Source: MCUboot `boot/bootutil/src/bootutil_public.c` (`boot_set_next`), Zephyr `subsys/mgmt/mcumgr/grp/img_mgmt` and
`subsys/dfu/boot/mcuboot.c`.
"""

from __future__ import annotations

from dataclasses import dataclass

from rig.formats.mcuboot_image import TlvType
from rig.model import MemoryMap, Region
from rig.virtual.cpu import Cpu
from rig.virtual.mcuboot.header import HEADER_SIZE, Header, read_tlvs
from rig.virtual.mcuboot.trailer import (
    IMAGE_OK_FROM_END,
    SWAP_INFO_FROM_END,
    Flag,
    Magic,
    SwapState,
    SwapType,
    flag_word,
    read_swap_state,
    requested_swap,
    write_field,
    write_magic,
)
from rig.virtual.parts import PAGE_SIZE


@dataclass(frozen=True, kw_only=True)
class SlotImage:
    """One image as the image group's state lists it.  `slot` is 0 (primary, active) or 1; `image_hash` is the SHA-256 TLV."""

    slot: int
    version: str
    image_hash: bytes
    bootable: bool
    pending: bool
    confirmed: bool
    active: bool
    permanent: bool


@dataclass(frozen=True, kw_only=True)
class ImageState:
    """Both slots.  `slots` lists only those with a readable image, the active one first."""

    slots: tuple[SlotImage, ...]
    primary: SwapState
    secondary: SwapState
    next_swap: SwapType
    """What the next boot will do, going by the trailers alone."""

    @property
    def secondary_free(self) -> bool:
        """Whether the secondary slot may be written: nothing is requested, and no revert needs what is in it."""
        return self.next_swap is SwapType.NONE

    @property
    def active_confirmed(self) -> bool:
        """Whether the running image will stay."""
        return self.next_swap is not SwapType.REVERT


async def set_pending(cpu: Cpu, memory: MemoryMap, *, permanent: bool) -> bool:
    """Ask for the secondary slot's image at the next boot, for one try or for good.

    A slot that is already requested is left alone, whatever was asked for then: a test request does not become permanent.
    A slot with a torn magic is erased and False returned (MCUboot: BOOT_EBADIMAGE); after a new upload it can be requested.
    """
    slot = memory.secondary
    magic = read_swap_state(cpu, slot).magic
    if magic is Magic.BAD:
        for page in range(slot.start, slot.end, PAGE_SIZE):
            await cpu.erase_page(page)
        return False
    if magic is Magic.UNSET:
        await write_magic(cpu, slot)
        if permanent:
            await write_field(cpu, slot, IMAGE_OK_FROM_END, flag_word())
        swap_type = SwapType.PERMANENT if permanent else SwapType.TEST
        await write_field(cpu, slot, SWAP_INFO_FROM_END, flag_word(swap_type))
    return True


async def confirm(cpu: Cpu, memory: MemoryMap) -> bool:
    """Keep the running image.  True when that took a write; False when it is kept anyway or its trailer is broken.

    An image that never came by a swap has no magic and needs no confirmation; a torn magic makes it impossible
    (MCUboot: BOOT_EBADVECT).
    """
    state = read_swap_state(cpu, memory.primary)
    if state.magic is not Magic.GOOD or state.image_ok is not Flag.UNSET:
        return False
    await write_field(cpu, memory.primary, IMAGE_OK_FROM_END, flag_word())
    return True


def read_state(cpu: Cpu, memory: MemoryMap) -> ImageState:
    """What the trailers and headers say now."""
    primary, secondary = read_swap_state(cpu, memory.primary), read_swap_state(cpu, memory.secondary)
    next_swap = requested_swap(primary, secondary, by_offset=memory.upload_offset != 0)
    # An image swapped out lies at the start of the slot; Zephyr looks there only as long as it may have to come back.
    offset = 0 if next_swap is SwapType.REVERT else memory.upload_offset
    requested = next_swap in (SwapType.TEST, SwapType.PERMANENT)
    slots = (
        _slot_image(cpu, memory.primary, 0, slot=0, confirmed=next_swap is not SwapType.REVERT),
        _slot_image(
            cpu,
            memory.secondary,
            offset,
            slot=1,
            pending=requested,
            permanent=next_swap is SwapType.PERMANENT,
            confirmed=next_swap is SwapType.REVERT,
        ),
    )
    return ImageState(
        slots=tuple(slot for slot in slots if slot is not None), primary=primary, secondary=secondary, next_swap=next_swap
    )


def _slot_image(
    cpu: Cpu, area: Region, offset: int, *, slot: int, confirmed: bool, pending: bool = False, permanent: bool = False
) -> SlotImage | None:
    """The image at `offset` of `area`, or None when there is none that could be told apart by its hash."""

    def read(at: int, length: int) -> bytes | None:
        return cpu.read(area.start + offset + at, length) if offset + at + length <= area.size else None

    header = Header.parse(cpu.read(area.start + offset, HEADER_SIZE))
    tlvs = read_tlvs(header, read) if header.has_magic else None
    image_hash = next((tlv.value for tlv in tlvs or () if tlv.type == TlvType.SHA256), None)
    if image_hash is None:
        return None
    return SlotImage(
        slot=slot,
        version=_version(header),
        image_hash=image_hash,
        bootable=not header.is_absent,
        pending=pending,
        confirmed=confirmed,
        active=slot == 0,
        permanent=permanent,
    )


def _version(header: Header) -> str:
    """As the image group writes it: the build number only when there is one."""
    major, minor, revision, build = header.version
    return f"{major}.{minor}.{revision}" + (f".{build}" if build else "")
