"""Swap through a scratch area: chunks as large as the area, from the top of the images down.

Each chunk: secondary to scratch, primary to secondary, scratch to primary.  A first chunk that reaches into the page of the trailer
keeps the status in the scratch area until its primary page is rewritten.  Source: MCUboot `boot/bootutil/src/swap_scratch.c`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from rig.model import Region
from rig.virtual.mcuboot.algorithm import raw_swap_type, read_headers, recorded_swap_size, status_start, swap_pages, vouch
from rig.virtual.mcuboot.config import Defect, McubootConfig
from rig.virtual.mcuboot.session import Halt, ImagePart, Progress, Session, Slot, Source
from rig.virtual.mcuboot.swap_keys import find_keys
from rig.virtual.mcuboot.trailer import (
    CHUNK_STATES,
    IMAGE_OK_FROM_END,
    SWAP_INFO_FROM_END,
    Flag,
    Magic,
    SwapType,
    flag_word,
    write_field,
    write_magic,
)
from rig.virtual.parts import PAGE_SIZE, WORD_SIZE


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """Pages that swap together.  `copied` is less than `size` when the chunk holds the trailer, which stays where it is."""

    index: int
    offset: int
    size: int
    copied: int

    @property
    def status_in_scratch(self) -> bool:
        return self.index == 0 and self.copied != self.size


class SwapScratch:
    """`rig.virtual.mcuboot.algorithm.Algorithm` for `Mode.SWAP_SCRATCH`."""

    def max_image_size(self, config: McubootConfig) -> int:
        layout = config.layout
        in_first_page = layout.size - (layout.pages - 1) * PAGE_SIZE
        return config.memory.primary.size - layout.size - max(0, layout.scratch_size - in_first_page)

    async def read_headers(self, session: Session, progress: Progress | None) -> bool:
        return await read_headers(session, progress, _locate)

    async def read_progress(self, session: Session) -> Progress:
        source = await _source(session)
        if source is Source.NONE:
            return Progress()
        area = session.scratch if source is Source.SCRATCH else session.config.memory.primary
        done = await _entries_done(session, source)
        return Progress(done=done, swap_type=raw_swap_type(session, area, SWAP_INFO_FROM_END), source=source)

    async def install(self, session: Session, progress: Progress) -> None:
        size = session.swap_size() if progress.is_fresh else recorded_swap_size(session, _status_area(session))
        find_keys(session, progress, _status_area(session))
        await session.info("Starting swap using scratch algorithm.")
        await session.erase_user_data()
        for chunk in _chunks(session, size)[progress.done // CHUNK_STATES :]:
            under_way = chunk.index == progress.done // CHUNK_STATES
            await self._swap_chunk(session, chunk, progress.swap_type, size, progress.done % CHUNK_STATES if under_way else 0)

    async def _swap_chunk(self, session: Session, chunk: _Chunk, swap_type: int, size: int, state: int) -> None:
        entries = status_start(session) + chunk.index * CHUNK_STATES * WORD_SIZE
        kept = _scratch_status(session) if chunk.status_in_scratch else entries
        secondary = session.config.memory.secondary
        if state == 0:
            await self._prepare(session, chunk, swap_type, size)
            to_scratch = partial(session.copy, secondary.start + chunk.offset, session.scratch.start, chunk.copied)
            await vouch(session, kept, 1, to_scratch)
        if state <= 1:
            await vouch(session, kept + WORD_SIZE, 2, partial(self._to_secondary, session, chunk))
        await vouch(session, entries + 2 * WORD_SIZE, 3, partial(self._to_primary, session, chunk, size))
        if chunk.status_in_scratch:
            # Backwards, so that the trailer goes first: a half-erased area must not pass for the status of a swap.
            await session.erase(session.scratch, 0, session.scratch.size, backwards=True)

    async def _prepare(self, session: Session, chunk: _Chunk, swap_type: int, size: int) -> None:
        scratch, primary = session.scratch, session.config.memory.primary
        await session.erase(scratch, 0, scratch.size)
        if chunk.index == 0:
            await session.start_trailer(scratch, swap_type, size)
            if not chunk.status_in_scratch:
                await session.erase_trailer(primary)
                await session.start_trailer(primary, swap_type, size)
                await session.erase(scratch, 0, scratch.size)

    async def _to_secondary(self, session: Session, chunk: _Chunk) -> None:
        primary, secondary = session.config.memory.primary, session.config.memory.secondary
        if chunk.index == 0:
            await session.erase_trailer(secondary)
        await session.erase(secondary, chunk.offset, _erased_size(session, chunk))
        part = ImagePart(slot=Slot.PRIMARY, offset=chunk.offset)
        await session.copy(primary.start + chunk.offset, secondary.start + chunk.offset, chunk.copied, part)

    async def _to_primary(self, session: Session, chunk: _Chunk, size: int) -> None:
        primary = session.config.memory.primary
        if chunk.status_in_scratch:
            await session.erase_trailer(primary)
        await session.erase(primary, chunk.offset, _erased_size(session, chunk))
        part = ImagePart(slot=Slot.SECONDARY, offset=chunk.offset)
        await session.copy(session.scratch.start, primary.start + chunk.offset, chunk.copied, part)
        if chunk.status_in_scratch:
            await self._bring_trailer(session, primary.start + chunk.offset + chunk.copied, size)
        if session.config.has(Defect.SCRATCH_ERASED_EARLY):
            await session.erase(session.scratch, 0, session.scratch.size)

    async def _bring_trailer(self, session: Session, status: int, size: int) -> None:
        """Rewrite in the primary slot what the scratch area has kept meanwhile."""
        primary = session.config.memory.primary
        for done in range(0, (CHUNK_STATES - 1) * WORD_SIZE, WORD_SIZE):
            await session.copy(_scratch_status(session) + done, status + done, WORD_SIZE)
        state = session.state(session.scratch)
        if state.image_ok is Flag.SET:
            await session.set_flag(primary, IMAGE_OK_FROM_END)
        if state.swap_type is not SwapType.NONE:
            await write_field(session.cpu, primary, SWAP_INFO_FROM_END, flag_word(state.swap_type))
        await write_field(session.cpu, primary, session.config.layout.swap_size_from_end, size)
        await session.store_keys(primary)
        await write_magic(session.cpu, primary)


def _scratch_status(session: Session) -> int:
    return session.scratch.end - session.config.layout.scratch_size


def _status_area(session: Session) -> Region:
    """Where the trailer of the interrupted swap is."""
    return session.scratch if session.state(session.scratch).magic is Magic.GOOD else session.config.memory.primary


def _erased_size(session: Session, chunk: _Chunk) -> int:
    """Pages of the trailer are erased on their own when the chunk holds them."""
    trailer = session.config.memory.primary.size - session.config.layout.pages * PAGE_SIZE
    return trailer - chunk.offset if chunk.status_in_scratch else chunk.size


def _chunks(session: Session, size: int) -> list[_Chunk]:
    layout, primary, scratch = session.config.layout, session.config.memory.primary, session.scratch
    chunks: list[_Chunk] = []
    end = swap_pages(session, size) * PAGE_SIZE
    while end > 0:
        offset = max(0, end - scratch.size)
        copied = end - offset
        if end > primary.size - layout.pages * PAGE_SIZE:
            copied = min(primary.size - offset - layout.size, scratch.size - layout.scratch_size)
        chunks.append(_Chunk(index=len(chunks), offset=offset, size=end - offset, copied=copied))
        end = offset
    return chunks


async def _source(session: Session) -> Source:
    """The scratch area wins when its magic is good: it held the status last."""
    primary, scratch = session.state(session.config.memory.primary), session.state(session.scratch)
    await session.info(f"Primary image: {primary}")
    await session.info(f"Scratch: {scratch}")
    source = Source.NONE
    if scratch.magic is Magic.GOOD:
        source = Source.SCRATCH
    elif primary.copy_done is Flag.UNSET and primary.magic is not Magic.BAD:
        source = Source.PRIMARY  # magic unset: no swap ever, or the trailer is being rewritten; then there are no entries either
    await session.info(f"Boot source: {source.value}")
    return source


async def _entries_done(session: Session, source: Source) -> int:
    """Entries up to the first hole; written ones after it mean that writing the status failed once."""
    in_scratch = source is Source.SCRATCH
    start = _scratch_status(session) if in_scratch else status_start(session)
    count = CHUNK_STATES * (1 if in_scratch else session.config.layout.max_sectors)
    entries = session.cpu.read(start, count * WORD_SIZE)[::WORD_SIZE]
    first = len(entries) - len(entries.lstrip(b"\xff"))
    if first == len(entries):
        return 0
    hole = entries.find(b"\xff", first)
    if hole < 0:
        return len(entries)
    if entries[hole:].strip(b"\xff"):
        await session.error("Detected inconsistent status!")
        if not session.config.validates_slot0:
            raise Halt
    return hole


async def _locate(session: Session, slot: Slot, progress: Progress | None) -> bool:
    place = session.region(slot)
    if progress is not None and not progress.is_fresh:
        place = _under_way(session, slot, progress)
    session.read_header(slot, place)
    return True


def _under_way(session: Session, slot: Slot, progress: Progress) -> Region:
    """Where the first page of the image that started in `slot` is now; it belongs to the last chunk."""
    last = len(_chunks(session, recorded_swap_size(session, _status_area(session)))) - 1
    chunk, state = divmod(progress.done, CHUNK_STATES)
    if chunk > last:
        return session.region(Slot.SECONDARY if slot is Slot.PRIMARY else Slot.PRIMARY)
    if chunk == last and slot is Slot.SECONDARY and state >= 1:
        return session.scratch
    if chunk == last and slot is Slot.PRIMARY and state == CHUNK_STATES - 1:
        return session.config.memory.secondary
    return session.region(slot)
