"""Swap by moving: the primary image moves up one page, then each page swaps through the gap below it.

Source: MCUboot `boot/bootutil/src/swap_move.c`.
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
from rig.virtual.mcuboot.trailer import IMAGE_OK_FROM_END, SWAP_INFO_FROM_END, Magic, SwapType, write_field, write_magic
from rig.virtual.parts import PAGE_SIZE, WORD_SIZE

_STATES = 2


class SwapMove:
    """`rig.virtual.mcuboot.algorithm.Algorithm` for `Mode.SWAP_MOVE`.

    The first `max_sectors` status entries count pages moved, the entries after them the halves of pages swapped.
    """

    def max_image_size(self, config: McubootConfig) -> int:
        trailer = config.layout.pages * PAGE_SIZE
        return min(config.memory.primary.size - trailer - PAGE_SIZE, config.memory.secondary.size - trailer)

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
        await session.info("Starting swap using move algorithm.")
        pages = swap_pages(session, size)
        if progress.is_fresh and not await has_room(session, pages):
            return
        await session.erase_user_data()
        if progress.is_fresh:
            await self._start(session, progress, size)
        moves = session.config.layout.max_sectors
        for moved in range(progress.done, pages if progress.done < moves else 0):
            await self._move_page(session, moved, pages - moved)
        swapped = max(0, progress.done - moves)
        for page in range(swapped // _STATES, pages):
            await self._swap_page(session, page, half=swapped % _STATES if page == swapped // _STATES else 0)

    async def _start(self, session: Session, progress: Progress, size: int) -> None:
        memory = session.config.memory
        if progress.swap_type == SwapType.REVERT:
            # Until the new primary trailer is complete nothing would tell of the revert, so it is dressed as a permanent request.
            state = session.state(memory.secondary)
            await session.info(f"Secondary image: {state}")
            if state.magic is Magic.UNSET:
                await session.erase_trailer(memory.secondary)
                await session.set_flag(memory.secondary, IMAGE_OK_FROM_END)
                await write_field(session.cpu, memory.secondary, session.config.layout.swap_size_from_end, size)
                await write_magic(session.cpu, memory.secondary)
        if progress.source is not Source.PRIMARY:
            await session.erase_trailer(memory.primary)
            await session.start_trailer(memory.primary, progress.swap_type, size)
        await session.erase_trailer(memory.secondary)

    async def _move_page(self, session: Session, moved: int, target: int) -> None:
        primary = session.config.memory.primary
        up = partial(move_page, session, primary.start + (target - 1) * PAGE_SIZE, primary, target * PAGE_SIZE)
        await vouch(session, status_start(session) + moved * WORD_SIZE, 1, up)

    async def _swap_page(self, session: Session, page: int, *, half: int) -> None:
        primary, secondary = session.config.memory.primary, session.config.memory.secondary
        entry = status_start(session) + (session.config.layout.max_sectors + page * _STATES) * WORD_SIZE
        here = page * PAGE_SIZE
        if half == 0:
            new = ImagePart(slot=Slot.SECONDARY, offset=here)
            await vouch(session, entry, 1, partial(move_page, session, secondary.start + here, primary, here, new))
        old = ImagePart(slot=Slot.PRIMARY, offset=here)
        outward = partial(move_page, session, primary.start + here + PAGE_SIZE, secondary, here, old)
        await vouch(session, entry + WORD_SIZE, 2, outward)


async def _locate(session: Session, slot: Slot, progress: Progress | None) -> bool:
    place, offset = (slot, 0) if progress is None or progress.is_fresh else _under_way(session, slot, progress)
    session.read_header(slot, session.region(place), offset)
    return progress is None or session.headers[slot].has_magic


def _under_way(session: Session, slot: Slot, progress: Progress) -> tuple[Slot, int]:
    """Where the first page of the image that started in `slot` is now."""
    pages = swap_pages(session, recorded_swap_size(session, session.config.memory.primary))
    moves = session.config.layout.max_sectors
    if progress.done < moves:
        return slot, PAGE_SIZE if slot is Slot.PRIMARY and progress.done >= pages else 0
    page, half = divmod(progress.done - moves, _STATES)
    if page == 0:
        if slot is Slot.PRIMARY:
            return Slot.PRIMARY, PAGE_SIZE
        return (Slot.PRIMARY if half else Slot.SECONDARY), 0
    if page < pages:
        return (Slot.SECONDARY if slot is Slot.PRIMARY else Slot.PRIMARY), 0
    return slot, 0
