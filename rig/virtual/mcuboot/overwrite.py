"""Overwrite only: the whole secondary slot is copied over the primary one; there is no way back.

Source: MCUboot `boot/bootutil/src/loader.c` (the plain variant, which copies the slot with its trailer).
"""

from __future__ import annotations

from rig.virtual.mcuboot.config import Defect, McubootConfig
from rig.virtual.mcuboot.session import ImagePart, Progress, Session, Slot
from rig.virtual.mcuboot.swap_keys import key_in_image
from rig.virtual.mcuboot.trailer import SWAP_INFO_FROM_END
from rig.virtual.parts import PAGE_SIZE


class Overwrite:
    """`rig.virtual.mcuboot.algorithm.Algorithm` for `Mode.OVERWRITE_ONLY`.  The request itself is all that a boot resumes from."""

    def max_image_size(self, config: McubootConfig) -> int:
        return config.memory.primary.size - SWAP_INFO_FROM_END

    async def read_headers(self, session: Session, progress: Progress | None) -> bool:
        del progress
        for slot in Slot:
            session.read_header(slot, session.region(slot))
        return True

    async def read_progress(self, session: Session) -> Progress:
        del session
        return Progress()

    async def install(self, session: Session, progress: Progress) -> None:
        del progress
        primary, secondary = session.config.memory.primary, session.config.memory.secondary
        request_first = session.config.has(Defect.OVERWRITE_REQUEST_FIRST)
        last_page = secondary.size - PAGE_SIZE
        if session.config.encrypts:
            session.keys[Slot.SECONDARY] = key_in_image(session, Slot.SECONDARY)
        await session.info("Image 0 upgrade secondary slot -> primary slot")
        await session.info("Erasing the primary slot")
        await session.erase_user_data()
        if request_first:
            await session.erase(secondary, last_page, PAGE_SIZE)
        await session.erase(primary, 0, primary.size)
        await session.info(f"Image 0 copying the secondary slot to the primary slot: 0x{primary.size:x} bytes")
        await session.copy(secondary.start, primary.start, primary.size, ImagePart(slot=Slot.SECONDARY, offset=0))
        await session.erase(secondary, 0, PAGE_SIZE)
        if not request_first:
            await session.erase(secondary, last_page, PAGE_SIZE)
