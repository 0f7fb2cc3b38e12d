"""Bits turned over in flash by the probe, which holds the processor meanwhile and lets go with a pin reset.

Proved is it by reading back: the page differs from what stood there in exactly these bits.  Bits of the running image are left alone
when the bootloader has begun to install by then, since no image runs; the fault then stays unproved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from rig.errors import InstrumentError
from rig.inject.means import Means
from rig.model import Event, Fault, FlashPlace, Json, MemoryMap, Phase, Region

PAGE = 4096
_ERASED = 0xFF
_PIECE = 8 * PAGE
"""Bytes read at a time."""


class FlipDelivery:
    """Delivers the flips of one fault."""

    def __init__(self, fault: Fault, means: Means) -> None:
        assert fault.flips is not None
        self._flips, self._means = fault.flips, means
        self._found: list[tuple[int, str, dict[str, bool | None]]] = []

    async def prepare(self) -> Mapping[str, Json]:
        return {"place": self._flips.place.value, "bits": len(self._flips.positions)}

    async def strike(self, number: int, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        means, probe = self._means, self._means.probe
        phase = means.phase
        means.requested(number, asyncio.get_running_loop().time(), place=self._flips.place.value)
        if self._flips.place is FlashPlace.RUNNING and phase == Phase.INSTALL:
            self._found.append((number, phase, {"an_image_ran": False}))
            return
        region = place_of(self._flips.place, means.memory)
        content = await self._used(region)
        used = len(content.rstrip(bytes([_ERASED]))) or len(content)
        bits = sorted({int(position * used * 8) for position in self._flips.positions})
        wanted = turned_over(content, bits)
        exact = True
        for start in sorted({bit // 8 // PAGE * PAGE for bit in bits}):
            page = wanted[start : start + PAGE]
            await probe.program(region.start + start, page)
            exact = exact and await probe.read(region.start + start, PAGE) == page != content[start : start + PAGE]
        await probe.detach()
        means.delivered(
            number,
            phase,
            fault="bit_flips",
            place=self._flips.place.value,
            bits=[{"address": region.start + bit // 8, "bit": bit % 8} for bit in bits],
            operation=means.counter.count() if means.counter else None,
        )
        self._found.append((number, phase, {"read_back_differs_in_these_bits": exact}))

    async def _used(self, region: Region) -> bytes:
        """The region up to its first run of blank pages: the rest of a slot is not worth the seconds that reading it takes."""
        found = b""
        while len(found) < region.size:
            piece = await self._means.probe.read(region.start + len(found), min(_PIECE, region.size - len(found)))
            found += piece
            if piece.count(_ERASED) == len(piece):
                break
        return found

    def hear(self, event: Event) -> None:
        pass

    def conclude(self) -> None:
        for number, phase, evidence in self._found:
            self._means.concluded(number, phase, evidence, proved=all(evidence.values()))


def place_of(place: FlashPlace, memory: MemoryMap) -> Region:
    """The stretch of flash that `place` stands for.

    Raises:
        InstrumentError: the board has no such place.
    """
    match place:
        case FlashPlace.RUNNING:
            return Region(start=memory.primary.start, size=memory.primary.size - PAGE)
        case FlashPlace.STAGED if memory.secondary.size:
            start = memory.secondary.start + memory.upload_offset
            return Region(start=start, size=memory.secondary.end - PAGE - start)
        case FlashPlace.TRAILER if memory.secondary.size:
            return Region(start=memory.secondary.end - PAGE, size=PAGE)
        case FlashPlace.SETTINGS if memory.settings is not None:
            return memory.settings
    raise InstrumentError("memory", f"the board has no {place} to flip bits in")


def turned_over(content: bytes, bits: list[int]) -> bytes:
    """`content` with these bits, counted from its start, turned over."""
    found = bytearray(content)
    for bit in bits:
        found[bit // 8] ^= 1 << bit % 8
    return bytes(found)
