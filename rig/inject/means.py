"""What an injector works with: the instruments of one trial, and the journal that everything goes into."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rig.journal import Journal
from rig.model import Event, Json, MemoryMap
from rig.ports import Attenuator, Interferer, OperationCounter, PowerSupply, Probe, SupplyTrace

_SOFT_RESET = 1 << 2
"""RESETREAS.SREQ (nRF52 Product Specification, POWER)."""
_STUMBLED = 1 << 1 | 1 << 3
"""RESETREAS.DOG and RESETREAS.LOCKUP."""


class HostSide(Protocol):
    """The rig's own update client, as far as a fault may disturb it.  Each answers whether there was something to disturb."""

    async def drop_link(self) -> bool:
        """End the connection to the board."""
        ...

    async def kill_client(self, pause_s: float) -> bool:
        """End the client in the middle of what it does; it starts anew after `pause_s`, knowing nothing."""
        ...

    async def reset_adapter(self) -> bool:
        """Close the Bluetooth adapter and open it again; the client dies with it."""
        ...

    async def stall(self, seconds: float) -> bool:
        """Send no further part of the image for so long."""
        ...

    async def repeat_requests(self, seconds: float) -> bool:
        """Send each part of the image twice for so long."""
        ...

    async def reorder_requests(self, seconds: float) -> bool:
        """Send of two neighbouring parts of the image the later one first for so long."""
        ...

    async def take_new_address(self) -> bool:
        """End the connection to the board and come back with another address, and without the bonds of the old one."""
        ...


class Delivery(Protocol):
    """One kind of fault at work."""

    async def prepare(self) -> Mapping[str, Json]:
        """Take what must be known of before the fault; returns what the journal says about it when the fault is armed."""
        ...

    async def strike(self, number: int, delay_s: float) -> None:
        """Do it once, `delay_s` from now; `number` counts what is done to the device in this trial."""
        ...

    def hear(self, event: Event) -> None:
        """Something happened in the trial."""
        ...

    def conclude(self) -> None:
        """Say of everything that was done whether it is proved."""
        ...


@dataclass(kw_only=True)
class Means:
    """The instruments that a programme may use, and the board's own words.

    `save_trace` stores a supply trace as evidence and returns its file name; `bootloader_resets` says that the bootloader resets the
    SoC itself before the application runs, so that "soft reset" there says nothing.  `nominal_mv` is the voltage the board works at,
    `rest_db` what the attenuator rests at.
    """

    journal: Journal
    supply: PowerSupply
    probe: Probe
    counter: OperationCounter | None
    interferer: Interferer | None
    attenuator: Attenuator | None
    host: HostSide
    memory: MemoryMap
    reset_reason: re.Pattern[str]
    bootloader_resets: bool
    save_trace: Callable[[str, SupplyTrace], str]
    nominal_mv: int
    rest_db: float
    phase: str = ""
    """The phase that the trial is in; the injector keeps it."""
    supply_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One fault at a time has the supply."""

    def requested(self, number: int, command_s: float, **data: Json) -> None:
        """Say that a command has left the host."""
        operation = self.counter.count() if self.counter else None
        self.journal.emit(
            "inject", "fault.requested", n=number, phase=self.phase, command_t_ns=self.journal.t_ns(command_s), operation=operation, **data
        )

    def delivered(self, number: int, phase: str, **data: Json) -> None:
        """Say that the first evidence of it is there; `phase` is the one in which it fell."""
        self.journal.emit("inject", "fault.delivered", n=number, at_phase=phase, **data)

    def concluded(self, number: int, phase: str, evidence: Mapping[str, bool | None], *, proved: bool, **data: Json) -> None:
        """Give judgement on the proof."""
        kind = "fault.proved" if proved else "fault.unproved"
        self.journal.emit("inject", kind, n=number, phase=phase, evidence=dict(evidence), **data)

    def reason_after(self, lines: list[tuple[float, str]], since_s: float) -> bool | None:
        """Whether the first reset reason printed after `since_s` (journal time) was power-on; None when nothing can be told.

        A start after which the watchdog bit, or the core locked up, before anything was printed leaves only that reason: RESETREAS is
        cleared by power-on and collects from there (nRF52 Product Specification, POWER).
        """
        for when, text in lines:
            found = self.reset_reason.search(text)
            if when > since_s and found:
                reason = int(found.group(1), 16)
                is_silent_about_power = reason & _STUMBLED or (self.bootloader_resets and reason == _SOFT_RESET)
                return None if is_silent_about_power else reason == 0
        return None

    def time(self, loop_s: float) -> float:
        """A time of the loop's clock in seconds of the journal."""
        return self.journal.t_ns(loop_s) / 1e9
