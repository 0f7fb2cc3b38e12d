"""A brown-out: the supply's voltage goes down in steps, stays low, and comes back; or goes off and rises slowly.

Proved is it by what the board took, not by what the supply was told: a supply delivers nothing while VDD sinks to its new voltage; or
the board started afterwards and said power-on.  A board that rides through a dip has not failed to be disturbed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from rig.inject.means import Means
from rig.inject.struck import struck
from rig.model import Event, Fault, Json, Voltage
from rig.ports import SupplyCapability, SupplyTrace

_BASELINE_S = 0.005
_AFTER_S = 0.01
_LOWEST_START_MV = 800
"""What a rise from nothing begins with: the least that source meters deliver."""
_FEEDS_NOTHING = 0.1
"""Share of the mean current before, below which the supply delivers nothing."""
_VDD_BIT = 0x01


@dataclass(kw_only=True)
class _Dip:
    number: int
    phase: str
    command_s: float
    back_s: float = 0.0
    fed_nothing: bool | None = None
    vdd_was_low: bool | None = None
    lines: list[tuple[float, str]] = field(default_factory=list)


class BrownOutDelivery:
    """Delivers the dips of one fault."""

    def __init__(self, fault: Fault, means: Means) -> None:
        assert fault.voltage is not None
        self._fault, self._means = fault, means
        self._voltage: Voltage = fault.voltage
        self._dips: list[_Dip] = []
        self._mean_before_ua: float | None = None

    async def prepare(self) -> Mapping[str, Json]:
        """Take the supply's baseline."""
        await self._means.supply.record()
        await asyncio.sleep(_BASELINE_S)
        baseline = await self._means.supply.stop_recording()
        if len(baseline.current_ua):
            self._mean_before_ua = float(sum(baseline.current_ua) / len(baseline.current_ua))
        return {"low_mv": self._voltage.low_mv, "mean_before_ua": self._mean_before_ua}

    async def strike(self, number: int, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        async with self._means.supply_turn:
            await self._dip(number)

    def hear(self, event: Event) -> None:
        if event.kind == "console.line":
            for dip in self._dips:
                dip.lines.append((event.t_ns / 1e9, str(event.data["text"])))

    async def _dip(self, number: int) -> None:
        means, supply, voltage = self._means, self._means.supply, self._voltage
        await supply.record()
        dip = _Dip(number=number, phase=means.phase, command_s=asyncio.get_running_loop().time())
        self._dips.append(dip)
        means.requested(number, dip.command_s, low_mv=voltage.low_mv, takes_power=True)
        try:
            await self._down()
            await asyncio.sleep(self._fault.off_s)
            await self._up()
        finally:
            await supply.set_voltage(means.nominal_mv)
            dip.back_s = await supply.on()
        await asyncio.sleep(_AFTER_S)
        trace = await supply.stop_recording()
        file = means.save_trace(f"supply-{number}", trace)
        self._measure(dip, trace)
        means.journal.emit("supply", "supply.trace", n=number, file=file, fed_nothing=dip.fed_nothing)
        means.delivered(
            number,
            dip.phase,
            fault=self._fault.kind.value,
            off_s=dip.back_s - dip.command_s,
            operation=means.counter.count() if means.counter else None,
            **struck(means, dip.command_s),
        )

    async def _down(self) -> None:
        if not self._voltage.low_mv and not self._voltage.fall_s:
            await self._means.supply.off()
            return
        low = self._voltage.low_mv or _LOWEST_START_MV
        await self._walk(self._means.nominal_mv, low, self._voltage.fall_s)
        if not self._voltage.low_mv:
            await self._means.supply.off()

    async def _up(self) -> None:
        low = self._voltage.low_mv or _LOWEST_START_MV
        if not self._voltage.low_mv:
            await self._means.supply.set_voltage(low)
            await self._means.supply.on()
        await self._walk(low, self._means.nominal_mv, self._voltage.rise_s)

    async def _walk(self, from_mv: int, to_mv: int, seconds: float) -> None:
        """From one voltage to another, in one step or in the voltage's own number of steps."""
        steps = self._voltage.steps if seconds else 1
        for step in range(1, steps + 1):
            await self._means.supply.set_voltage(round(from_mv + (to_mv - from_mv) * step / steps))
            await asyncio.sleep(seconds / steps)

    def _measure(self, dip: _Dip, trace: SupplyTrace) -> None:
        if SupplyCapability.SENSE_VDD in self._means.supply.capabilities:
            dip.vdd_was_low = any(not level & _VDD_BIT for level in trace.logic)
        if self._mean_before_ua is not None and len(trace.current_ua):
            dip.fed_nothing = min(trace.current_ua) < _FEEDS_NOTHING * self._mean_before_ua

    def conclude(self) -> None:
        for dip in self._dips:
            restarted = self._means.reason_after(dip.lines, self._means.time(dip.command_s)) or None  # later resets have other reasons
            evidence = {"supply_fed_nothing": dip.fed_nothing, "reset_reason_is_power_on": restarted}
            data = {"vdd_was_low": dip.vdd_was_low}
            self._means.concluded(dip.number, dip.phase, evidence, proved=True in evidence.values(), **data)
