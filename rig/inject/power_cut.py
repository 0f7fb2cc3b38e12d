"""A clean power cut.

It is *requested* when the command leaves the host, *delivered* when the supply's own samples show VDD falling (or, where the supply
cannot sense VDD, when the command had left), and *proved* when independent witnesses agree that the SoC was without power: VDD seen
low and a console that stayed silent while it was, and no boot afterwards that gives another reset reason than power-on.  Where nobody
watches VDD, that reset reason must have been printed.  A bootloader that resets the SoC itself before the application runs leaves
"soft reset" there, which then says nothing either way.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from rig.inject.means import Means
from rig.inject.struck import struck
from rig.model import Event, Fault, Json
from rig.ports import AimedSupply, SupplyCapability, SupplyTrace

_VDD_BIT = 0x01
_VDD_LEVELS = bytes(inputs & _VDD_BIT for inputs in range(256))
"""VDD alone of a sample's logic inputs."""
_BASELINE_S = 0.005
_AFTER_ON_S = 0.005
_CONSOLE_DELAY_S = 0.02
"""Console bytes may arrive this much after they were sent (UART FIFO, USB); silence is judged after it."""
_LONGEST_TIMED_S = 60.0
"""A supply with a clock of its own makes cuts up to this."""
_LONG_ENOUGH_S = 0.05
"""A cut that lasts this long empties any capacitor that a bleed resistor of a kilohm discharges (10 µF: 35 ms to 0.1 V)."""
_RETENTION_V, _LOGIC_LOW_V, _NOMINAL_V = 0.5, 1.05, 3.0
"""RAM is lost below the first; a logic input reads low below the second."""


@dataclass(kw_only=True)
class Cut:
    """One delivered cut and its evidence."""

    number: int
    command_s: float
    phase: str
    on_s: float = 0.0
    fell_s: float | None = None
    low_s: float = 0.0
    max_off_ua: float | None = None
    lines: list[tuple[float, str]] = field(default_factory=list)
    """Console lines from the cut on."""


class CutDelivery:
    """Delivers the power cuts of one fault."""

    def __init__(self, fault: Fault, means: Means) -> None:
        self._fault, self._means = fault, means
        self._cuts: list[Cut] = []
        self._mean_before_ua: float | None = None
        self._senses_vdd = SupplyCapability.SENSE_VDD in means.supply.capabilities
        self._is_timed = SupplyCapability.AIMED_CUT in means.supply.capabilities and fault.off_s <= _LONGEST_TIMED_S

    async def prepare(self) -> Mapping[str, Json]:
        """Take the supply's baseline."""
        supply = self._means.supply
        await supply.record()
        await asyncio.sleep(_BASELINE_S)
        baseline = await supply.stop_recording()
        if len(baseline.current_ua):
            self._mean_before_ua = float(sum(baseline.current_ua) / len(baseline.current_ua))
        return {"mean_before_ua": self._mean_before_ua}

    async def strike(self, number: int, delay_s: float) -> None:
        if not self._is_timed:
            await asyncio.sleep(delay_s)
        async with self._means.supply_turn:
            await self._cut(number, delay_s if self._is_timed else 0.0)

    def hear(self, event: Event) -> None:
        if event.kind == "console.line":
            for cut in self._cuts:
                cut.lines.append((event.t_ns / 1e9, str(event.data["text"])))

    async def _cut(self, number: int, delay_s: float) -> None:
        means, supply = self._means, self._means.supply
        await supply.record()
        cut = await self._switch_off(number, delay_s)
        await asyncio.sleep(self._fault.off_s)
        operation = means.counter.count() if means.counter else None  # while the power is off nothing is added to it
        seen = struck(means, cut.command_s)
        await self._switch_on(cut)
        trace = await supply.stop_recording()
        file = means.save_trace(f"supply-{number}", trace)
        self._measure(cut, trace)
        means.journal.emit(
            "supply",
            "supply.trace",
            n=number,
            file=file,
            mean_before_ua=self._mean_before_ua,
            max_off_ua=cut.max_off_ua,
            vdd_low_s=cut.low_s,
        )
        if cut.fell_s is not None:
            means.delivered(
                number,
                cut.phase,
                fault=self._fault.kind.value,
                vdd_fell_t_ns=means.journal.t_ns(cut.fell_s),
                latency_s=cut.fell_s - cut.command_s,
                off_s=self._fault.off_s,
                operation=operation,
                ram_kept=self._ram_kept(cut),
                **seen,
            )

    async def _switch_off(self, number: int, delay_s: float) -> Cut:
        """Off by the host's command, or by the supply's own clock, whose delay then counts as part of the command."""
        means, supply = self._means, self._means.supply
        if self._is_timed:
            left_s = await cast("AimedSupply", supply).cut(delay_s, self._fault.off_s)
            await asyncio.sleep(max(0.0, left_s + delay_s - asyncio.get_running_loop().time()))
            command_s = left_s + delay_s
        else:
            command_s = await supply.off()
        cut = Cut(number=number, command_s=command_s, phase=means.phase)
        self._cuts.append(cut)
        means.requested(number, command_s, takes_power=True)
        return cut

    async def _switch_on(self, cut: Cut) -> None:
        if self._is_timed:
            cut.on_s = cut.command_s + self._fault.off_s
            await asyncio.sleep(_AFTER_ON_S)
            await self._means.supply.on()  # the supply has done so by itself; this makes sure of it
        else:
            cut.on_s = await self._means.supply.on()
            await asyncio.sleep(_AFTER_ON_S)

    def _measure(self, cut: Cut, trace: SupplyTrace) -> None:
        """Find in the samples when VDD fell, for how long it stayed low, and what still flowed."""
        if not self._senses_vdd:
            cut.fell_s = cut.command_s
            return
        levels = trace.logic.translate(_VDD_LEVELS)
        fell = levels.find(0)
        if fell < 0:
            return
        cut.fell_s = trace.start_s + fell * trace.step_s
        cut.low_s = levels.count(0) * trace.step_s
        switched_on = int((cut.on_s - trace.start_s) / trace.step_s)
        cut.max_off_ua = float(max(trace.current_ua[fell:switched_on], default=0.0))

    def _ram_kept(self, cut: Cut) -> bool | None:
        """Whether RAM outlived the cut, as far as the fall of VDD tells: None where it cannot be told.

        Between the command and the logic input's threshold VDD has decayed by a known ratio; the rest of the way to the retention
        voltage takes a known multiple of that time if it goes on like this.
        """
        if not self._senses_vdd or cut.fell_s is None:
            return None
        so_far, ahead = math.log(_NOMINAL_V / _LOGIC_LOW_V), math.log(_LOGIC_LOW_V / _RETENTION_V)
        needed_s = (cut.fell_s - cut.command_s) * ahead / so_far
        return False if cut.low_s > 2 * needed_s else True if cut.low_s < needed_s / 2 else None

    # ------------------------------------------------------------------------------------------------------------ proof
    def conclude(self) -> None:
        for cut in self._cuts:
            evidence: dict[str, bool | None] = {
                "vdd_was_low": cut.fell_s is not None if self._senses_vdd else None,
                "console_was_silent": self._was_silent(cut),
                "reset_reason_is_power_on": self._means.reason_after(cut.lines, self._means.time(cut.on_s)),
            }
            contradicted = False in evidence.values()
            proved = not contradicted and True in (evidence["vdd_was_low"], evidence["reset_reason_is_power_on"])
            hint = self._hint(evidence)
            self._means.concluded(cut.number, cut.phase, evidence, proved=proved, **({"hint": hint} if hint else {}))

    def _was_silent(self, cut: Cut) -> bool:
        start = cut.fell_s if cut.fell_s is not None else cut.command_s
        first, last = self._means.time(start + _CONSOLE_DELAY_S), self._means.time(cut.on_s)
        return not any(first <= when <= last for when, _ in cut.lines)

    def _hint(self, evidence: Mapping[str, bool | None]) -> str:
        """Which wire to look at when the supply was off for long enough and the board did not notice."""
        if evidence["vdd_was_low"] is not False or self._fault.off_s < _LONG_ENOUGH_S:
            return ""
        if evidence["console_was_silent"]:
            wire = "the UART lines and RESET, which the interface MCU keeps high and which feed VDD through the SoC's input diodes"
        else:
            wire = "VDD itself and the debugger's VTref: the board ran on, so that it is fed with more than an input's diode passes"
        return f"the supply was off for {self._fault.off_s:g} s and VDD stayed up, so another wire feeds the board: look at {wire}"
