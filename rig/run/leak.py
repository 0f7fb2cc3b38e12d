"""Finds the wire that feeds a board whose supply is off: one instrument after the other is let go, until VDD falls."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from rig import drivers
from rig.model import Board
from rig.ports import PowerSupply, SupplyCapability

_DISCHARGE_S = 0.5
_LOOK_S = 0.02
_VDD_BIT = 0x01


async def likely_leak(board: Board) -> tuple[str, str]:
    """The wire that is most likely to feed `board`, and what shows it.  The board's instruments must be closed.

    Raises:
        InstrumentError: an instrument cannot be opened.
    """
    async with drivers.load("supply", board.supply, owner=board.name) as supply:
        if SupplyCapability.SENSE_VDD not in supply.capabilities:
            return "unknown", "this supply cannot sense VDD"
        await supply.on()
        await asyncio.sleep(_DISCHARGE_S)
        if await _is_high(supply):
            return "none of the rig's", "VDD stays high with console and probe closed: VBUS at the SoC's USB socket, a jumper, or a stuck supply"
        for port, wire in (("console", "the console's wires, above all its TXD"), ("probe", "the probe's wires, SWDIO, SWDCLK or RESET")):
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(drivers.load(port, getattr(board, port), owner=board.name))
                if await _is_high(supply):
                    return wire, f"VDD stays high while the {port} alone is open, and falls when it is closed"
    return "unknown", "VDD falls with console or probe alone open: only both together, or the radio's surroundings, feed the board"


async def _is_high(supply: PowerSupply) -> bool:
    """Whether VDD is high half a second after the supply was switched off."""
    await supply.off()
    await asyncio.sleep(_DISCHARGE_S)
    await supply.record()
    await asyncio.sleep(_LOOK_S)
    trace = await supply.stop_recording()
    return bool(trace.logic) and bool(trace.logic[-1] & _VDD_BIT)
