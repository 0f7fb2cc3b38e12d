"""The device's log through RTT, read by the board's own debug probe, which must be an `nrfjprog` or a `pyocd`.

Wiring: none but the probe's.  The firmware writes into a buffer in RAM, channel 0, and the probe looks into it every 10 ms: bytes are
stamped that late at most, plus what the probe is busy with otherwise.  What the firmware writes faster than it is fetched is lost in
the firmware or makes it wait, as its RTT mode says.

Limits: to listen, the probe stays attached while the firmware runs.  The chip then never sleeps deeply, BPROT (nRF52832) does not hold,
and the probe's lines can feed a SoC whose supply was cut.  What was in the buffer when the power went is gone.  So RTT is for boards
without a UART and for work at the desk, not for power cuts and not for measuring current.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rig.drivers.probe_process import NoTargetVoltage
from rig.drivers.rtt_source import RttSource, claim, release, source_of
from rig.errors import InstrumentError

_EVERY_S = 0.01
_OUT_OF_REACH_EVERY_S = 0.1
"""Every look at a SoC without power costs the probe an attempt to attach."""
_PROBE_LIMIT_S = 60.0
"""How long a console may be open before its board's probe is; entering the other instruments takes seconds."""

Listener = Callable[[float, bytes], None]


class RttConsole:
    """`rig.ports.Console` on RTT channel 0, through the board's probe.

    Args:
        owner: the board that the console belongs to.
    """

    def __init__(self, *, owner: str) -> None:
        self._owner, self._name = owner, f"{owner}.console"
        self._listeners: list[Listener] = []
        self._failure: InstrumentError | None = None
        self._out_of_reach: InstrumentError | None = None
        self._looking: asyncio.Task[None] | None = None
        self._left = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Raises `InstrumentError` while another console listens to the board."""
        if not claim(self._owner):
            raise InstrumentError(self._name, "another console listens to this board's RTT", hint="close it first")
        self._failure = self._out_of_reach = None
        self._left.clear()
        self._looking = asyncio.get_running_loop().create_task(self._look(), name=f"read {self._name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        if self._looking is not None:
            await self._looking  # not cancelled: a call that is given up costs the probe
        release(self._owner)
        if error is None and self._failure is not None:
            raise self._failure

    def attach(self, listener: Listener) -> Callable[[], None]:
        """Add a listener; returns the function that removes it.

        Raises:
            InstrumentError: the probe no longer listens, or cannot reach the SoC.
        """
        self.check()
        self._listeners.append(listener)

        def remove() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return remove

    def check(self) -> None:
        """Raise `InstrumentError` when the probe no longer listens, or cannot reach the SoC: silence then says nothing about the device."""
        for reason in (self._failure, self._out_of_reach):
            if reason is not None:
                raise reason

    async def _look(self) -> None:
        opened_s = asyncio.get_running_loop().time()
        heard_of_probe = False
        while not self._left.is_set() and self._failure is None:
            source = source_of(self._owner)
            if source is not None:
                heard_of_probe = True
                await self._look_through(source)
            elif not heard_of_probe and asyncio.get_running_loop().time() > opened_s + _PROBE_LIMIT_S:
                reason = f"no probe that carries RTT was opened for {self._owner} within {_PROBE_LIMIT_S:g} s"
                self._failure = InstrumentError(self._name, reason, hint="use nrfjprog or pyocd as its probe")
            await self._pause(_EVERY_S if self._out_of_reach is None else _OUT_OF_REACH_EVERY_S)

    async def _look_through(self, source: RttSource) -> None:
        try:
            data = await source.read_rtt()
        except NoTargetVoltage as error:
            self._out_of_reach = InstrumentError(self._name, f"the probe cannot reach the SoC: {error.reason}", hint=error.hint)
        except InstrumentError as error:
            self._failure = InstrumentError(self._name, f"the probe no longer listens: {error.reason}", hint=error.hint)
        else:
            self._out_of_reach = None
            self._hear(data)

    def _hear(self, data: bytes) -> None:
        if data:
            now = asyncio.get_running_loop().time()
            for listener in tuple(self._listeners):
                listener(now, data)

    async def _pause(self, duration_s: float) -> None:
        try:
            async with asyncio.timeout(duration_s):
                await self._left.wait()
        except TimeoutError:
            return
