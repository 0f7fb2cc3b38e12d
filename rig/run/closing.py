"""The rig proves itself at the end of a trial: the instruments on whose word the judgement rests must be sound.

A supply that no longer switches, a console that no longer hears, a probe that hangs on another board, a second board with the same
address: each can make a good device look bad, or a bad one good.  So after everything else the board's power is cycled once more and
every instrument has to see that.  What it finds is booked on the rig, whatever the device did.
"""

from __future__ import annotations

import asyncio

from rig.bench import Dut
from rig.errors import InstrumentError
from rig.journal import Journal
from rig.model import Limits
from rig.ports import DeviceInfo, SupplyCapability, SupplyTrace
from rig.run.flow import UpdateFlow
from rig.run.record import ConsoleLines

DISCHARGE_S = 0.5
"""From the supply's command to a board without power, seconds."""
_ABSENCE_S = 0.5
"""How long a board without power must not be heard, seconds: several advertising intervals."""
_AFTER_ON_S = 0.05
"""Until a supply has brought VDD up; the SoC itself is guaranteed to start up to 60 ms (nRF52 Product Specification, POWER)."""
_VDD_BIT = 0x01


class ClosingCheck:
    """Cycles the power of `dut` and asks each instrument whether it has seen that."""

    def __init__(self, dut: Dut, journal: Journal, console: ConsoleLines, flow: UpdateFlow, limits: Limits) -> None:
        self._dut, self._journal, self._console, self._flow, self._limits = dut, journal, console, flow, limits
        self._owner = dut.board.name

    async def run(self, *, identity: DeviceInfo, serves: bool) -> None:
        """`identity` is what the probe read at the beginning; `serves` tells whether the board answered at the final look.

        Raises:
            InstrumentError: an instrument is not sound.
        """
        await self._same_board(identity)
        await self._dut.probe.detach()
        since_seq = len(self._journal.events)
        await self._power_is_switched()
        self._dut.console.check()
        if serves:
            await self._start_is_heard(since_seq)

    async def _same_board(self, identity: DeviceInfo) -> None:
        found = await self._dut.probe.info()
        if found.device_id != identity.device_id:
            reason = f"is on another board now: device id {found.device_id:016x} instead of {identity.device_id:016x}"
            raise InstrumentError(f"{self._owner}.probe", reason, hint="look where its cable ends")
        self._passed("probe", "the board is the one of the beginning")

    async def _power_is_switched(self) -> None:
        """Off is off, on the wire and on the air, and on is on."""
        supply = self._dut.supply
        await supply.record()
        off_s = await supply.off()
        await asyncio.sleep(DISCHARGE_S)
        gone = await self._flow.is_absent(_ABSENCE_S)
        on_s = await supply.on()
        await asyncio.sleep(_AFTER_ON_S)
        trace = await supply.stop_recording()
        self._journal.emit("supply", "supply.off", command_t_ns=self._journal.t_ns(off_s))
        self._journal.emit("supply", "supply.on", command_t_ns=self._journal.t_ns(on_s))
        if SupplyCapability.SENSE_VDD in supply.capabilities:
            self._vdd_followed(trace, on_s)
        if not gone:
            reason = "hears the board while its power is off: a second board has its address, or it is fed by another wire"
            raise InstrumentError(f"{self._owner}.radio", reason, hint="switch other boards off, and see `rig selftest`")
        self._passed("radio", "nobody advertises in the board's name while its power is off")

    def _vdd_followed(self, trace: SupplyTrace, on_s: float) -> None:
        before = max(1, round((on_s - trace.start_s) / trace.step_s))
        if trace.logic[before - 1] & _VDD_BIT:
            reason = f"was switched off for {DISCHARGE_S + _ABSENCE_S:g} s, but VDD is high at the end of it"
            raise InstrumentError(f"{self._owner}.supply", reason, hint="it is stuck, or another wire feeds the board: see `rig selftest`")
        if not trace.logic[-1] & _VDD_BIT:
            reason = "was switched on, but VDD stayed low"
            raise InstrumentError(f"{self._owner}.supply", reason, hint="look at its output and at the wire to the board")
        self._passed("supply", "VDD followed the switch, down and up")

    async def _start_is_heard(self, since_seq: int) -> None:
        """A board that served a moment ago starts again: its console says so, and it is on the air."""
        printed = await self._console.ready_within(self._limits.boot_s, since_seq=since_seq)
        on_air = not await self._flow.is_absent(self._limits.discover_s)
        if not printed and not on_air:
            reason = "the board that served before this power cycle is neither seen nor heard after it"
            raise InstrumentError(f"{self._owner}.supply", reason, hint="look at its voltage under load")
        if not printed:
            raise InstrumentError(f"{self._owner}.console", "is silent although the board serves", hint="look at its wires and its baud rate")
        if not on_air:
            reason = "does not hear a board that it heard before and whose console says that it serves"
            raise InstrumentError(f"{self._owner}.radio", reason, hint="look at antenna and adapter")
        self._passed("console", "the board's start was heard")
        self._passed("radio", "the board is back on the air")

    def _passed(self, instrument: str, says: str) -> None:
        self._journal.emit("run", "rig.sound", instrument=f"{self._owner}.{instrument}", says=says)
