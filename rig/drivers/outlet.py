"""What supplies have in common that can be switched and nothing else: a hub's port, a plug.  For recovery only, not for aimed cuts."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import ClassVar, Self

from rig.errors import InstrumentError
from rig.ports import SupplyCapability, SupplyTrace


class Outlet:
    """`rig.ports.PowerSupply` on something that `_switch` turns on or off and reads back.

    `on` returns the moment before the command and `off` the moment after its answer, so that a boot never seems to come before its
    power nor a sign of life after its cut.  Entering and leaving switch the output off.
    """

    capabilities: frozenset[SupplyCapability] = frozenset()
    passes_on: ClassVar[str]
    """Why it has no voltage to set, in words."""

    def __init__(self, *, owner: str) -> None:
        self._name = f"{owner}.supply"
        self._is_open = False

    async def __aenter__(self) -> Self:
        self._is_open = True
        try:
            await self.off()
        except BaseException:
            self._is_open = False
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
            self._is_open = False

    async def set_voltage(self, millivolts: int) -> None:
        """Refused always, with `InstrumentError`."""
        reason = f"cannot set {millivolts} mV: {self.passes_on}"
        raise InstrumentError(self._name, reason, hint="use a supply that can, for instance a ppk2, or leave the voltage alone")

    async def on(self) -> float:
        started_s = asyncio.get_running_loop().time()
        await self._switch_opened(on=True)
        return started_s

    async def off(self) -> float:
        await self._switch_opened(on=False)
        return asyncio.get_running_loop().time()

    async def record(self) -> None:
        """Without effect: there is nothing that it could measure."""

    async def stop_recording(self) -> SupplyTrace:
        return SupplyTrace(start_s=asyncio.get_running_loop().time(), step_s=1e-6, current_ua=(), logic=b"")

    async def _switch_opened(self, *, on: bool) -> None:
        if not self._is_open:
            raise InstrumentError(self._name, "is not open", hint="enter the supply before using it")
        await self._switch(on=on)

    async def _switch(self, *, on: bool) -> None:
        """Switch, and raise `InstrumentError` unless the output is then seen to be so."""
        raise NotImplementedError
