"""The rig proves itself at the end of a trial: the instruments on whose word the judgement rests must be sound.

A supply that no longer switches, a console that no longer hears, a probe that hangs on another board, a second board with the same
address: each can make a good device look bad, or a bad one good.  So after everything else the board's power is cycled once more and
every instrument has to see that.  What it finds is booked on the rig, whatever the device did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

from rig.bench import Dut
from rig.drivers import RECOVERY_ONLY
from rig.errors import InstrumentError
from rig.model import Limits
from rig.ports import DeviceInfo, SupplyCapability, SupplyTrace

_DISCHARGE_S = 0.5
"""From the supply's command to a board without power, seconds."""
_ABSENCE_S = 0.5
"""How long a board without power must not be heard, seconds: several advertising intervals."""
_AFTER_ON_S = 0.05
"""Until a supply has brought VDD up; the SoC itself is guaranteed to start up to 60 ms (nRF52 Product Specification, POWER)."""
_VDD_BIT = 0x01

Listening = Callable[[float], Awaitable[bool]]
"""Given a limit in seconds: whether the board says on its console that it serves, before the limit."""


class ClosingCheck:
    """Cycles the power of `dut` and asks each instrument whether it has seen that.

    `is_absent` tells whether nobody advertises as the board for so many seconds.  `emit` is told of each instrument that is sound, and
    of the supply's commands with their times on the loop's clock.
    """

    def __init__(
        self,
        dut: Dut,
        *,
        is_absent: Callable[[float], Awaitable[bool]],
        limits: Limits,
        emit: Callable[[str, dict[str, Any]], None] = lambda _kind, _data: None,
    ) -> None:
        self._dut, self._is_absent, self._limits, self._emit = dut, is_absent, limits, emit
        self._owner = dut.board.name

    async def run(self, *, identity: DeviceInfo, starts: Listening | None = None) -> None:
        """`identity` is what the probe read at the beginning; `starts` listens for the start of a board that served a moment ago.

        Raises:
            InstrumentError: an instrument is not sound.
        """
        await self._same_board(identity)
        await self._dut.probe.detach()
        if self._dut.board.supply.driver in RECOVERY_ONLY:  # it takes probe and console off the bus as well
            self._dut.console.check()
            return
        await self._power_is_switched()
        self._dut.console.check()
        if starts is not None:
            await self._start_is_heard(starts)

    async def _same_board(self, identity: DeviceInfo) -> None:
        found = await self._dut.probe.info()
        if found.device_id != identity.device_id:
            reason = f"is on another board now: device id {found.device_id:016x} instead of {identity.device_id:016x}"
            raise self._unsound("probe", reason, hint="look where its cable ends")
        self._passed("probe", "the board is the one of the beginning")

    async def _power_is_switched(self) -> None:
        """Off is off, on the wire and on the air, and on is on."""
        supply = self._dut.supply
        await supply.record()
        off_s = await supply.off()
        await asyncio.sleep(_DISCHARGE_S)
        heard = bytearray()
        with ExitStack() as listening:
            listening.callback(self._dut.console.attach(lambda _when_s, data: heard.extend(data)))
            gone = await self._is_absent(_ABSENCE_S)
        on_s = await supply.on()
        await asyncio.sleep(_AFTER_ON_S)
        trace = await supply.stop_recording()
        self._emit("supply.off", {"command_s": off_s})
        self._emit("supply.on", {"command_s": on_s})
        if SupplyCapability.SENSE_VDD in supply.capabilities:
            self._vdd_followed(trace, on_s)
        if not gone:
            reason = "hears the board while its power is off: a second board has its address, or another wire feeds it"
            raise self._unsound("radio", reason, hint="switch other boards off, and see `rig selftest`")
        self._passed("radio", "nobody advertises in the board's name while its power is off")
        if heard:
            raise self._unsound("console", "prints while the board's power is off: it is another board's", hint="look where its plug is")

    def _vdd_followed(self, trace: SupplyTrace, on_s: float) -> None:
        if not trace.logic:
            raise self._unsound("supply", "has recorded nothing", hint="unplug and re-plug it")
        before = max(1, round((on_s - trace.start_s) / trace.step_s))
        if trace.logic[before - 1] & _VDD_BIT:
            reason = f"was switched off for {_DISCHARGE_S + _ABSENCE_S:g} s, but VDD is high at the end of it"
            raise self._unsound("supply", reason, hint="it is stuck, or another wire feeds the board: see `rig selftest`")
        if not trace.logic[-1] & _VDD_BIT:
            raise self._unsound("supply", "was switched on, but VDD stayed low", hint="look at its output and at the wire to the board")
        self._passed("supply", "VDD followed the switch, down and up")

    async def _start_is_heard(self, starts: Listening) -> None:
        """A board that served a moment ago starts again: its console says so, and it is on the air."""
        printed = await starts(self._limits.boot_s)
        on_air = not await self._is_absent(self._limits.discover_s)
        if not printed and not on_air:
            await self._is_the_boards_own_silence()
            return
        if not printed:
            raise self._unsound("console", "is silent although the board serves", hint="look at its wires and its baud rate")
        if not on_air:
            reason = "does not hear a board that it heard before and whose console says that it serves"
            raise self._unsound("radio", reason, hint="look at antenna and adapter")
        self._passed("console", "the board's start was heard")
        self._passed("radio", "the board is back on the air")

    async def _is_the_boards_own_silence(self) -> None:
        """Two witnesses hear nothing.  Where VDD was seen to stand and the probe still finds its chip, it is the board that is dead."""
        if SupplyCapability.SENSE_VDD not in self._dut.supply.capabilities:
            reason = "the board that served before this power cycle is neither seen nor heard after it"
            raise self._unsound("supply", reason, hint="look at its voltage under load")
        await self._dut.probe.info()  # raises when the chip has no power
        await self._dut.probe.detach()
        self._emit("dut.did_not_start", {"says": "the board served before this power cycle; VDD stands, and it neither prints nor advertises"})

    def _unsound(self, instrument: str, reason: str, *, hint: str) -> InstrumentError:
        return InstrumentError(f"{self._owner}.{instrument}", reason, hint=hint)

    def _passed(self, instrument: str, says: str) -> None:
        self._emit("rig.sound", {"instrument": f"{self._owner}.{instrument}", "says": says})
