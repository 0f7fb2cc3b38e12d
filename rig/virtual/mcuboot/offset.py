"""Swap by offset: the new image waits one page into the secondary slot, so each page has a free page to swap through.

Forward, page i: primary i goes to secondary i, then secondary i+1 to primary i.  Backward the same from the top, mirrored.
Source: MCUboot `boot/bootutil/src/swap_offset.c`.
"""

from __future__ import annotations

from functools import partial

from rig.virtual.mcuboot.algorithm import (
    has_room,
    last_status_entry,
    move_page,
    raw_swap_type,
    read_headers,
    recorded_swap_size,
    status_start,
    swap_pages,
    vouch,
)
from rig.virtual.mcuboot.config import McubootConfig
from rig.virtual.mcuboot.session import ImagePart, Progress, Session, Slot, Source
from rig.virtual.mcuboot.slots import two_slot_source
from rig.virtual.mcuboot.swap_keys import find_keys
from rig.virtual.mcuboot.trailer import (
    COPY_DONE_FROM_END,
    SWAP_INFO_FROM_END,
    TLV_SIZES_FROM_END,
    Magic,
    SwapType,
)
from rig.virtual.parts import PAGE_SIZE, WORD_SIZE

_STATES = 2


class SwapOffset:
    """`rig.virtual.mcuboot.algorithm.Algorithm` for `Mode.SWAP_OFFSET`."""

    def max_image_size(self, config: McubootConfig) -> int:
        trailer = config.layout.pages * PAGE_SIZE
        return min(config.memory.primary.size - trailer, config.memory.secondary.size - trailer - PAGE_SIZE)

    async def read_headers(self, session: Session, progress: Progress | None) -> bool:
        return await read_headers(session, progress, _locate)

    async def read_progress(self, session: Session) -> Progress:
        source = await two_slot_source(session)
        if source is Source.NONE:
            return Progress()
        swap_type = raw_swap_type(session, session.config.memory.primary, SWAP_INFO_FROM_END)
        return Progress(done=last_status_entry(session), swap_type=swap_type, source=source)

    async def install(self, session: Session, progress: Progress) -> None:
        size = session.swap_size() if progress.is_fresh else recorded_swap_size(session, session.config.memory.primary)
        find_keys(session, progress, session.config.memory.primary)
        await session.info("Starting swap using offset algorithm.")
        pages = swap_pages(session, size)
        if progress.is_fresh and not await has_room(session, pages - 1):
            return
        await session.erase_user_data()
        if progress.done // _STATES == 0:
            await self._start(session, progress, size)
        used = _used_pages(session)
        back = progress.swap_type == SwapType.REVERT or await session.decide() is SwapType.REVERT
        for step in range(progress.done // _STATES, pages):
            half = progress.done % _STATES if step == progress.done // _STATES else 0
            page = pages - 1 - step if back else step
            await self._swap_page(session, step, page, half=half, back=back, used=used)
        if back:
            # Without this, what is left of the swap in the first page would pass for an image there.
            secondary = session.config.memory.secondary
            await session.erase(secondary, 0, PAGE_SIZE)
            await session.erase_trailer(secondary)

    async def _start(self, session: Session, progress: Progress, size: int) -> None:
        memory = session.config.memory
        if progress.swap_type == SwapType.REVERT:
            # The primary trailer is about to be erased, and with it the only sign that a revert is due: leave another one.
            state = session.state(memory.secondary)
            await session.info(f"Secondary image: {state}")
            if state.magic is Magic.UNSET:
                await session.erase_trailer(memory.secondary)
                await session.set_flag(memory.secondary, COPY_DONE_FROM_END)
                await session.start_trailer(memory.secondary, progress.swap_type, size)
        if progress.source is not Source.PRIMARY:
            await session.erase_trailer(memory.primary)
            await session.start_trailer(memory.primary, progress.swap_type, size)
        await session.erase_trailer(memory.secondary)

    async def _swap_page(self, session: Session, step: int, page: int, *, half: int, back: bool, used: dict[Slot, int]) -> None:
        """Both directions of one page.  A direction whose image ends well before `page` is skipped, its status entry is not."""
        primary, secondary = session.config.memory.primary, session.config.memory.secondary
        entry = status_start(session) + step * _STATES * WORD_SIZE
        here = page * PAGE_SIZE
        away = here + PAGE_SIZE if back else here
        home = here if back else here + PAGE_SIZE
        old, new = ImagePart(slot=Slot.PRIMARY, offset=here), ImagePart(slot=Slot.SECONDARY, offset=here)
        outward = partial(move_page, session, primary.start + here, secondary, away, old)
        inward = partial(move_page, session, secondary.start + home, primary, here, new)
        if half == 0:
            await vouch(session, entry, 1, None if page > used[Slot.PRIMARY] else outward)
        await vouch(session, entry + WORD_SIZE, 2, None if page > used[Slot.SECONDARY] else inward)


def _used_pages(session: Session) -> dict[Slot, int]:
    """Pages that each image takes, by its header and the TLV sizes recorded when the swap began."""
    primary = session.config.memory.primary
    sizes = session.cpu.read(primary.end - TLV_SIZES_FROM_END, WORD_SIZE)
    tlvs = {Slot.PRIMARY: int.from_bytes(sizes[:2], "little"), Slot.SECONDARY: int.from_bytes(sizes[2:], "little")}
    return {slot: -(-(header.hashed_size + tlvs[slot]) // PAGE_SIZE) for slot, header in session.headers.items()}


async def _locate(session: Session, slot: Slot, progress: Progress | None) -> bool:
    if progress is None:
        back = slot is Slot.SECONDARY and await session.decide() is SwapType.REVERT
        place, offset = slot, 0 if slot is Slot.PRIMARY or back else PAGE_SIZE
    else:
        back = progress.swap_type == SwapType.REVERT or await session.decide() is SwapType.REVERT
        if progress.is_fresh:
            place, offset = slot, 0 if slot is Slot.PRIMARY or back else PAGE_SIZE
        else:
            place, offset = _under_way(session, slot, progress, back=back)
    session.read_header(slot, session.region(place), offset)
    if (progress is None or progress.is_fresh) and slot is Slot.SECONDARY and not session.headers[slot].has_magic:
        # The other place where an image may lie: the first page after a forward swap, the second one before it.
        offset = PAGE_SIZE if await session.decide() is SwapType.REVERT else 0
        session.read_header(slot, session.region(place), offset)
    found = session.headers[slot].has_magic
    if found and progress is not None and place is Slot.SECONDARY:
        session.secondary_offset = offset
    return found or progress is None


def _under_way(session: Session, slot: Slot, progress: Progress, *, back: bool) -> tuple[Slot, int]:
    """Where the first page of the image that started in `slot` is now."""
    last = swap_pages(session, recorded_swap_size(session, session.config.memory.primary)) - 1
    step, half = divmod(progress.done, _STATES)
    if back:
        arrived = step > last
        if slot is Slot.PRIMARY:
            return (Slot.SECONDARY, PAGE_SIZE) if arrived or (step == last and half) else (Slot.PRIMARY, 0)
        return (Slot.PRIMARY, 0) if arrived else (Slot.SECONDARY, 0)
    if slot is Slot.PRIMARY:
        # During the last page MCUboot already looks in the primary slot, where the new image begins by then.  A build with encryption
        # must not: with the new image's sizes it would let the end of the old image out in clear.
        past = last + 1 if session.config.encrypts else last
        return (Slot.SECONDARY, 0) if progress.done and step < past else (Slot.PRIMARY, 0)
    return (Slot.PRIMARY, 0) if step else (Slot.SECONDARY, PAGE_SIZE)
