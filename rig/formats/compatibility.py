"""Can this MCUboot image run on that SoC from that slot?  What can be told without running it."""

from __future__ import annotations

from rig.formats import sample_app, vector_table
from rig.formats.mcuboot_image import McubootImage


def unfit(data: bytes, image: McubootImage, *, soc: str, slot_start: int, slot_end: int) -> str | None:
    """Why `image`, parsed from `data`, cannot run on `soc` from the slot; None when nothing speaks against it.

    Encrypted and compressed images cannot be looked into.  Foreign firmware for a smaller SoC of the family passes: nothing in it
    says so.  Our own sample application names its SoC.
    """
    if not image.is_plain:
        return None
    code_at = slot_start + image.header_size
    app = sample_app.parse(lambda address, length: data[address : address + length], image.header_size)
    table = vector_table.parse(image.start)
    if table is None:
        return "no vector table: the payload is too short"
    if reason := vector_table.mismatch(table, soc=soc, code_start=slot_start, code_end=slot_end):
        return reason
    if app is not None and app.soc != soc:
        return f"image is for another SoC (its descriptor says {app.soc}, not {soc})"
    if app is not None and app.address != code_at:
        return f"image is linked to 0x{app.address:x}, but in the primary slot it stands at 0x{code_at:x}"
    return None
