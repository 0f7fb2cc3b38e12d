"""What the four ways of installing an image have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from rig.model import Region
from rig.virtual.mcuboot.config import Defect, McubootConfig
from rig.virtual.mcuboot.session import Halt, ImagePart, Progress, Session, Slot
from rig.virtual.mcuboot.trailer import ERASED_WORD, SwapType, flag_word, write_field
from rig.virtual.parts import PAGE_SIZE, WORD_SIZE


class Algorithm(Protocol):
    """One way of installing the image of the secondary slot."""

    def max_image_size(self, config: McubootConfig) -> int:
        """Largest image with its TLVs that may be booted or installed, bytes."""
        ...

    async def read_headers(self, session: Session, progress: Progress | None) -> bool:
        """Find both images' headers; `progress` None means that no swap is under way.  False when the boot cannot go on to install."""
        ...

    async def read_progress(self, session: Session) -> Progress:
        """Look for a swap that was interrupted."""
        ...

    async def install(self, session: Session, progress: Progress) -> None:
        """Bring the secondary slot's image into the primary slot, from where `progress` says."""
        ...


Locate = Callable[[Session, Slot, Progress | None], Awaitable[bool]]


async def read_headers(session: Session, progress: Progress | None, locate: Locate) -> bool:
    """Both slots, primary first.  A missing secondary header stops nothing unless an interrupted swap needs it."""
    for slot in Slot:
        if not await locate(session, slot, progress) and (slot is Slot.PRIMARY or (progress is not None and not progress.is_fresh)):
            return False
    return True


def status_start(session: Session) -> int:
    """Address of the first status entry in the primary slot."""
    return session.config.memory.primary.end - session.config.layout.size


def last_status_entry(session: Session) -> int:
    """Number of the last written entry in the primary slot, counted from 1; 0 when there is none.  Holes before it do not matter."""
    entries = session.cpu.read(status_start(session), session.config.layout.status_entries * WORD_SIZE)[::WORD_SIZE]
    return len(entries.rstrip(b"\xff"))


def raw_swap_type(session: Session, area: Region, from_end: int) -> int:
    """The low nibble of swap_info as it stands, NONE when erased."""
    raw = session.cpu.read(area.end - from_end, 1)[0]
    return SwapType.NONE if raw == ERASED_WORD & 0xFF else raw & 0x0F


def recorded_swap_size(session: Session, area: Region) -> int:
    """What the interrupted swap's trailer says."""
    return int.from_bytes(session.cpu.read(area.end - session.config.layout.swap_size_from_end, WORD_SIZE), "little")


def swap_pages(session: Session, size: int) -> int:
    """Pages that `size` bytes take, at least one.  MCUboot never comes back from a size beyond the slot, so this stops too."""
    if size > session.config.memory.primary.size:
        raise Halt
    return max(1, -(-size // PAGE_SIZE))


async def has_room(session: Session, last_page: int) -> bool:
    """Whether the pages up to `last_page` stay clear of the primary slot's trailer; complains otherwise."""
    first_trailer_page = session.config.memory.primary.size // PAGE_SIZE - session.config.layout.pages
    if last_page < first_trailer_page:
        return True
    await session.warn("Not enough free space to run swap upgrade")
    needed, available = (last_page + 1) * PAGE_SIZE, first_trailer_page * PAGE_SIZE
    await session.warn(f"required {needed} bytes but only {available} are available")
    return False


async def vouch(session: Session, entry_address: int, state: int, work: Callable[[], Awaitable[None]] | None) -> None:
    """Do `work`, then write the status entry which says that it is done."""
    hasty = session.config.has(Defect.STATUS_BEFORE_COPY)
    if work is not None and not hasty:
        await work()
    await write_field(session.cpu, Region(start=entry_address, size=0), 0, flag_word(state))
    if work is not None and hasty:
        await work()


async def move_page(session: Session, source: int, area: Region, offset: int, part: ImagePart | None = None) -> None:
    """Erase the page at `offset` of `area` and copy the page at address `source` there.

    It is `part` of an image when it comes into the primary slot or leaves it.
    """
    await session.erase(area, offset, PAGE_SIZE)
    await session.copy(source, area.start + offset, PAGE_SIZE, part)
