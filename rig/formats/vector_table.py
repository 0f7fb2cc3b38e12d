"""The first two words of a Cortex-M vector table, and what they say about the SoC that an image was linked for.

Source: Armv7-M Architecture Reference Manual, B1.5.3 "The vector table".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rig.formats.soc import RAM_START, SOCS

_WORDS = struct.Struct("<II")
SIZE = _WORDS.size
_THUMB = 1


@dataclass(frozen=True, kw_only=True)
class VectorTable:
    """Initial stack pointer and reset vector; `reset` still carries the Thumb bit."""

    initial_sp: int
    reset: int


def parse(data: bytes) -> VectorTable | None:
    """The table at the start of `data`, or None when `data` is shorter than its first two words."""
    if len(data) < SIZE:
        return None
    initial_sp, reset = _WORDS.unpack_from(data)
    return VectorTable(initial_sp=initial_sp, reset=reset)


def mismatch(table: VectorTable, *, soc: str, code_start: int, code_end: int) -> str | None:
    """Why an image with `table` cannot run on `soc` from the half-open range of addresses, or None when nothing speaks against it.

    An image for a smaller SoC of the family passes: nothing in its first two words betrays it.
    """
    ram = SOCS[soc].ram_size
    if not RAM_START < table.initial_sp <= RAM_START + ram:
        return (
            f"image is for another SoC (initial stack pointer 0x{table.initial_sp:08x} lies beyond the {ram // 1024} KiB RAM of {soc})"
            if table.initial_sp > RAM_START + ram
            else f"no vector table: the initial stack pointer 0x{table.initial_sp:08x} is not in RAM"
        )
    if table.initial_sp % 4:
        return f"no vector table: the initial stack pointer 0x{table.initial_sp:08x} is not aligned to a word"
    if not table.reset & _THUMB:
        return f"no vector table: the reset vector 0x{table.reset:08x} has no Thumb bit"
    if not code_start <= table.reset & ~_THUMB < code_end:
        return f"the reset vector 0x{table.reset:08x} lies outside the primary slot (0x{code_start:x} to 0x{code_end:x})"
    return None
