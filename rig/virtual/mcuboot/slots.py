"""Where the modes without a scratch area look for an interrupted swap."""

from __future__ import annotations

from rig.virtual.mcuboot.session import Session, Source
from rig.virtual.mcuboot.trailer import Flag, Magic


async def two_slot_source(session: Session) -> Source:
    """The primary trailer, unless a request in the secondary slot says that everything starts from there."""
    memory = session.config.memory
    primary, secondary = session.state(memory.primary), session.state(memory.secondary)
    await session.info(f"Primary image: {primary}")
    await session.info(f"Secondary image: {secondary}")
    interrupted = primary.magic is Magic.GOOD and primary.copy_done is Flag.UNSET and secondary.magic is not Magic.GOOD
    source = Source.PRIMARY if interrupted else Source.NONE
    await session.info(f"Boot source: {source.value}")
    return source
