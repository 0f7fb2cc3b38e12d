"""A device with a window of 41 µs: an MCUboot that cannot cope with one particular status entry that was half written."""

from __future__ import annotations

from typing import Any, Self

from rig.virtual.cpu import BoardFacts, Bootloader, Cpu, Entry
from rig.virtual.mcuboot import Mcuboot

WEAK_WORD = 0x81C28
"""A status entry of the swap by offset on an nRF52840: the one of the fifth page."""
_STATES = tuple(bytes([state]) + b"\xff" * 3 for state in (1, 2, 3))
_ERASED = b"\xff" * 4


class TornStatusBootloader:
    """`rig.virtual.cpu.Bootloader`: as the good one, but for that entry."""

    def __init__(self, good: Bootloader) -> None:
        self._good = good

    @classmethod
    def for_board(cls, facts: BoardFacts, **options: Any) -> Self:
        return cls(Mcuboot.for_board(facts, **options))

    async def boot(self, cpu: Cpu) -> Entry | None:
        before, entry = cpu.read(WEAK_WORD - 4, 4), cpu.read(WEAK_WORD, 4)
        if before in _STATES and entry not in (*_STATES, _ERASED):
            return None
        return await self._good.boot(cpu)
