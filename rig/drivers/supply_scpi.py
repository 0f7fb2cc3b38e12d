"""A laboratory supply that speaks SCPI, through PyVISA: Ethernet, USB or serial.

The commands are those that nearly every such supply shares (SCPI-99 `INSTrument`, `OUTPut`, `[SOURce:]VOLTage` and `CURRent`,
`MEASure`, `SYSTem:ERRor?`).  Between a command and the voltage lie its parser, its regulator and its output capacitors: tens of
milliseconds, and more on the way down, where a small load leaves the capacitors charged.  Steps of a brown-out are well within reach;
a cut aimed at a flash write is not.  Wiring as with any source: output on the SoC's side of the current-measurement header, a
discharge resistor across it, nothing else of the board behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import pyvisa
from pyvisa.resources import MessageBasedResource

from rig.errors import ConfigError, InstrumentError
from rig.ports import SupplyCapability, SupplyTrace

T = TypeVar("T")

_LIMIT_S = 2.0
"""For one command or query."""
_RISE_LIMIT_S = 1.0
_RISE_EVERY_S = 0.02
_REACHED_SHARE = 0.9
_TOLERANCE_MV = 10.0

_REACH_HINT = "check the cable, the resource name (`pyvisa-shell -b py`, then `list`) and that nobody else has the supply open"
_WORDS_HINT = "this supply may want other commands, or a channel"


class ScpiSupply:
    """`rig.ports.PowerSupply` on one output of a SCPI supply.

    `on` returns the moment before the command and `off` the moment after its confirmation, as long as nothing better is known.  `on`
    waits until the output has its voltage.  Entering and leaving switch the output off.

    Args:
        owner: the board that the output feeds.
        resource: VISA resource name, for instance ``TCPIP::192.168.1.5::5025::SOCKET``.
        channel: number of the output, for supplies with several; None selects nothing.
        voltage_mv: voltage of the output, 0 to `max_voltage_mv`.
        max_voltage_mv: highest voltage that the board bears.
        current_limit_ma: where the supply begins to limit the current.
        library: VISA library for PyVISA: ``@py`` is PyVISA-py.

    Raises:
        ConfigError: a voltage is out of range, or the current limit is not positive.
    """

    capabilities = frozenset({SupplyCapability.SET_VOLTAGE})

    def __init__(
        self,
        *,
        owner: str,
        resource: str,
        channel: int | None = None,
        voltage_mv: int = 3000,
        max_voltage_mv: int = 3600,
        current_limit_ma: int = 100,
        library: str = "@py",
    ) -> None:
        self._name = f"{owner}.supply"
        if not 0 <= voltage_mv <= max_voltage_mv:
            raise ConfigError(f"{self._name}: voltage_mv must be 0 to {max_voltage_mv}, not {voltage_mv}")
        if current_limit_ma <= 0:
            raise ConfigError(f"{self._name}: current_limit_ma must be positive, not {current_limit_ma}")
        self._address, self._library, self._channel = resource, library, channel
        self._voltage_mv, self._max_voltage_mv, self._current_limit_ma = voltage_mv, max_voltage_mv, current_limit_ma
        self._resource: MessageBasedResource | None = None
        self._turn = asyncio.Lock()

    # ------------------------------------------------------------------------------------------------------- life cycle
    async def __aenter__(self) -> Self:
        self._resource = await self._in_thread("open it", self._open)
        try:
            await self._query("*IDN?")
            if self._channel is not None:
                await self._command(f"INST:NSEL {self._channel}")
            await self.off()
            await self._command(f"CURR {self._current_limit_ma / 1000:.3f}")
            await self.set_voltage(self._voltage_mv)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.off()
        except InstrumentError:
            if error is None:
                raise
        finally:
            await self._close()

    def _open(self) -> MessageBasedResource:
        """Body of a thread."""
        manager = pyvisa.ResourceManager(self._library)
        resource = manager.open_resource(
            self._address, open_timeout=int(_LIMIT_S * 1000), read_termination="\n", write_termination="\n"
        )
        if not isinstance(resource, MessageBasedResource):
            resource.close()
            raise InstrumentError(self._name, f"{self._address} is no instrument that takes text", hint=_REACH_HINT)
        resource.timeout = _LIMIT_S * 1000
        return resource

    async def _close(self) -> None:
        resource, self._resource = self._resource, None
        if resource is not None:
            await asyncio.to_thread(resource.close)

    # ------------------------------------------------------------------------------------------------------- the output
    async def set_voltage(self, millivolts: int) -> None:
        """Set the voltage and read the setting back.

        Raises:
            InstrumentError: the voltage is out of range, and nothing has been sent; or the supply does not take it.
        """
        if not 0 <= millivolts <= self._max_voltage_mv:
            raise InstrumentError(self._name, f"refuses {millivolts} mV; allowed are 0 to {self._max_voltage_mv} mV")
        await self._command(f"VOLT {millivolts / 1000:.3f}")
        set_mv = 1000 * await self._number("VOLT?")
        if abs(set_mv - millivolts) > _TOLERANCE_MV:
            raise InstrumentError(self._name, f"shows {set_mv:.0f} mV after {millivolts} mV was set", hint=_WORDS_HINT)
        self._voltage_mv = millivolts

    async def on(self) -> float:
        """Switch on and wait for the voltage.

        Raises:
            InstrumentError: the output does not reach its voltage: most likely the supply limits the current.
        """
        started_s = asyncio.get_running_loop().time()
        await self._switch(on=True)
        await self._until_risen()
        return started_s

    async def off(self) -> float:
        await self._switch(on=False)
        return asyncio.get_running_loop().time()

    async def record(self) -> None:
        """Without effect: what a supply measures a few times a second shows neither a cut nor a boot."""

    async def stop_recording(self) -> SupplyTrace:
        return SupplyTrace(start_s=asyncio.get_running_loop().time(), step_s=1e-6, current_ua=(), logic=b"")

    async def _switch(self, *, on: bool) -> None:
        word = "ON" if on else "OFF"
        await self._command(f"OUTP {word}")
        state = await self._query("OUTP?")
        if state not in (("1", "ON") if on else ("0", "OFF")):
            reason = f"answers {state[:32]!r} to OUTP? after OUTP {word}"
            raise InstrumentError(self._name, reason, hint="look for a lock, a protection that has tripped, or another master")

    async def _until_risen(self) -> None:
        deadline = asyncio.get_running_loop().time() + _RISE_LIMIT_S
        while 1000 * (volts := await self._number("MEAS:VOLT?")) < _REACHED_SHARE * self._voltage_mv:
            if asyncio.get_running_loop().time() > deadline:
                amps = await self._number("MEAS:CURR?")
                reason = f"delivers {1000 * volts:.0f} of {self._voltage_mv} mV at {1000 * amps:.1f} mA"
                raise InstrumentError(self._name, reason, hint="a short circuit, or current_limit_ma is too low")
            await asyncio.sleep(_RISE_EVERY_S)

    # --------------------------------------------------------------------------------------------------------- commands
    async def _command(self, text: str) -> None:
        """Send a command and ask whether it was understood."""
        await self._in_thread(text, lambda: self._opened().write(text))
        error = await self._query("SYST:ERR?")
        if error.partition(",")[0].strip() not in ("0", "+0"):
            raise InstrumentError(self._name, f"answers {error[:80]!r} to {text}", hint=_WORDS_HINT)

    async def _query(self, text: str) -> str:
        return (await self._in_thread(text, lambda: self._opened().query(text))).strip()

    async def _number(self, text: str) -> float:
        answer = await self._query(text)
        try:
            return float(answer)
        except ValueError:
            raise InstrumentError(self._name, f"answers {answer[:32]!r} to {text}, which is no number", hint=_WORDS_HINT) from None

    def _opened(self) -> MessageBasedResource:
        if self._resource is None:
            raise InstrumentError(self._name, "is not open", hint="enter the supply before using it")
        return self._resource

    async def _in_thread(self, what: str, work: Callable[[], T]) -> T:
        """Do `work`, which waits, in a thread, one at a time; PyVISA ends it by its own limit."""
        async with self._turn:
            try:
                return await asyncio.to_thread(work)
            except pyvisa.VisaIOError as error:
                timed_out = error.error_code == pyvisa.constants.StatusCode.error_timeout
                reason = f"has not answered {what} within {_LIMIT_S:g} s" if timed_out else f"{what} failed: {error.description}"
                raise InstrumentError(self._name, reason, hint=_REACH_HINT) from error
            except (pyvisa.Error, OSError, ValueError) as error:
                raise InstrumentError(self._name, f"{what} failed: {error}", hint=_REACH_HINT) from error
