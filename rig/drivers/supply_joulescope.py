"""A Joulescope (JS220, JS110) in the supply line of the SoC: it measures current and VDD, and its sensor switches the line.

The current path goes through the instrument, from any source that stays on; with the current range ``off`` the path is open, which
is the cut.  The voltage terminals of a JS220 belong on the SoC's VDD, behind the instrument; a JS110 measures the voltage at its own
output.  Through `pyjoulescope_driver` (Apache-2.0), of which only the documented topics are used.  A command crosses USB and the
instrument's own firmware: about a millisecond, never twice the same; where the cut really was, the recording shows.

Not sure until a real one has answered: that range ``off`` opens the path on every model and firmware (others use it that way), how
fast, and what leaks.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
from pyjoulescope_driver import Driver

from rig.errors import ConfigError, InstrumentError
from rig.ports import SupplyCapability, SupplyTrace

T = TypeVar("T")

RANGE_TOPICS = {"js220": "s/i/range/mode", "js110": "s/i/range/select"}
"""Where a model takes ``auto`` and ``off`` for its current path."""
SAMPLE_HZ = 100_000
_STREAMS = ("i", "v")
_LIMIT_S = 2.0
"""For one call of the library."""
_QUIET_S = 0.1
"""A stream that has brought nothing for this long has stopped."""
_STOP_LIMIT_S = 1.0
_LOST_SHARE = 0.005
"""Largest share of lost samples in a recording."""
_LOGIC_LOW_SHARE = 0.35
"""Share of the supply voltage below which VDD counts as low, as on a logic input."""

_REACH_HINT = "check the cable and the udev rules; `python -m pyjoulescope_driver scan` lists the instruments"
_OVERLOAD = "give the instrument a USB port of its own and the computer less to do"


@dataclass
class _Stream:
    """One signal: pieces as (time of reception, number of the first sample, samples)."""

    pieces: list[tuple[float, int, npt.NDArray[np.float32]]] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The number after the last sample."""
        return self.pieces[-1][1] + len(self.pieces[-1][2]) if self.pieces else 0


class JoulescopeSupply:
    """`rig.ports.PowerSupply` on a Joulescope between the source and the SoC.

    Entering and leaving open the path.  A sample that is lost repeats the one before it; more than 0.5 % of them raise
    `InstrumentError`.

    Args:
        owner: the board behind it.
        serial_number: the one on the instrument, when there are several.
        voltage_mv: what the source delivers, millivolts.  The rig cannot set it.

    Raises:
        ConfigError: the voltage is not positive.
    """

    capabilities = frozenset({SupplyCapability.MEASURE_CURRENT, SupplyCapability.SENSE_VDD})

    def __init__(self, *, owner: str, serial_number: str | None = None, voltage_mv: int = 3000) -> None:
        self._name = f"{owner}.supply"
        if voltage_mv <= 0:
            raise ConfigError(f"{self._name}: voltage_mv must be positive, not {voltage_mv}")
        self._serial_number, self._voltage_mv = serial_number, voltage_mv
        self._driver: Any = None
        self._path = ""
        self._turn = asyncio.Lock()
        self._streams: dict[str, _Stream] | None = None
        self._receive: Callable[[str, Mapping[str, Any]], None] = _ignore
        self._heard_s = 0.0

    # ------------------------------------------------------------------------------------------------------- life cycle
    async def __aenter__(self) -> Self:
        self._driver = await self._call("open the library", Driver)
        try:
            self._path = self._choose(await self._call("list the instruments", lambda: self._opened().device_paths()))
            await self._call("open it", lambda: self._opened().open(self._path, mode="defaults", timeout=_LIMIT_S))
            await self.off()
            await self._publish("h/fs", SAMPLE_HZ)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._streams is not None:
                await self._stop_streams()
            await self.off()
        except InstrumentError:
            if error is None:
                raise
        finally:
            await self._close()

    async def _close(self) -> None:
        driver, self._driver = self._driver, None
        self._streams = None
        if driver is not None:
            await asyncio.to_thread(driver.finalize)

    def _choose(self, paths: list[str]) -> str:
        """The device path, for instance ``u/js220/004521``, of the instrument that is meant."""
        known = [path for path in paths if _model(path) in RANGE_TOPICS]
        wanted = [path for path in known if self._serial_number in (None, _serial_number(path))]
        listing = ", ".join(map(_serial_number, known)) or "none"
        if not wanted:
            reason = f"there is no Joulescope {self._serial_number or ''}".rstrip()
            raise InstrumentError(self._name, reason, hint=f"found: {listing}; {_REACH_HINT}")
        if len(wanted) > 1:
            raise InstrumentError(self._name, "there are several Joulescopes", hint=f"name one by serial_number: {listing}")
        return wanted[0]

    # ------------------------------------------------------------------------------------------------------- the output
    async def set_voltage(self, millivolts: int) -> None:
        """Refused always.

        Raises:
            InstrumentError: the instrument measures what a source delivers.
        """
        reason = f"cannot set {millivolts} mV: a Joulescope passes on what it is fed with, here {self._voltage_mv} mV"
        raise InstrumentError(self._name, reason, hint="use a supply that can, for instance a ppk2, or leave the voltage alone")

    async def on(self) -> float:
        """Close the path; returns the loop time just before the command."""
        return await self._switch("auto")

    async def off(self) -> float:
        """Open the path; returns the loop time just before the command."""
        return await self._switch("off")

    async def _switch(self, mode: str) -> float:
        started_s = asyncio.get_running_loop().time()
        await self._publish(self._range_topic, mode)
        return started_s

    # ---------------------------------------------------------------------------------------------------- the recording
    async def record(self) -> None:
        if self._streams is not None:
            return
        loop = asyncio.get_running_loop()
        self._streams = {self._topic(f"s/{name}/!data"): _Stream() for name in _STREAMS}
        # Kept, because a subscription ends only with the same function that it began with.
        self._receive = lambda topic, value: _hand_over(loop, self._take, topic, value)
        for name in _STREAMS:
            await self._call(f"subscribe to {name}", self._subscriber(name))
            await self._publish(f"s/{name}/ctrl", 1)

    def _subscriber(self, name: str) -> Callable[[], None]:
        return lambda: self._opened().subscribe(self._topic(f"s/{name}/!data"), "pub", self._receive, timeout=_LIMIT_S)

    async def stop_recording(self) -> SupplyTrace:
        if self._streams is None:
            return SupplyTrace(start_s=0.0, step_s=1 / SAMPLE_HZ, current_ua=array("f"), logic=b"")
        current, voltage = (await self._stop_streams())[:2]
        if not current.pieces or not voltage.pieces:
            raise InstrumentError(self._name, "has sent no samples", hint=_OVERLOAD)
        first, end = max(current.pieces[0][1], voltage.pieces[0][1]), min(current.end, voltage.end)
        if end <= first:
            raise InstrumentError(self._name, "has not sent current and voltage of the same time", hint=_OVERLOAD)
        amps, volts = self._whole(current, first, end), self._whole(voltage, first, end)
        begun_s = min(received_s - (number + len(samples)) / SAMPLE_HZ for received_s, number, samples in current.pieces)
        current_ua = array("f")
        current_ua.frombytes((amps * 1e6).astype(np.float32).tobytes())
        high = volts >= _LOGIC_LOW_SHARE * self._voltage_mv / 1000
        return SupplyTrace(
            start_s=begun_s + first / SAMPLE_HZ, step_s=1 / SAMPLE_HZ, current_ua=current_ua, logic=high.astype(np.uint8).tobytes()
        )

    async def _stop_streams(self) -> list[_Stream]:
        """End the streams, wait for what is under way, and return them in the order of `_STREAMS`."""
        streams = self._streams or {}
        try:
            for name in _STREAMS:
                await self._publish(f"s/{name}/ctrl", 0)
            await self._until_quiet()
            for topic in streams:
                await self._call("unsubscribe", self._unsubscriber(topic))
        finally:
            self._streams = None
        return list(streams.values())

    async def _until_quiet(self) -> None:
        """Wait until nothing has been received for a while."""
        deadline = asyncio.get_running_loop().time() + _STOP_LIMIT_S
        heard_s = None
        while heard_s != self._heard_s:
            if asyncio.get_running_loop().time() > deadline:
                raise InstrumentError(self._name, f"still sends {_STOP_LIMIT_S:g} s after the command to stop", hint=_REACH_HINT)
            heard_s = self._heard_s
            await asyncio.sleep(_QUIET_S)

    def _unsubscriber(self, topic: str) -> Callable[[], None]:
        return lambda: self._opened().unsubscribe(topic, self._receive, timeout=_LIMIT_S)

    def _take(self, received_s: float, topic: str, value: Mapping[str, Any]) -> None:
        """A piece of a stream, on the loop."""
        self._heard_s = received_s
        if self._streams is not None and topic in self._streams:
            number = int(value["sample_id"]) // int(value["decimate_factor"])
            self._streams[topic].pieces.append((received_s, number, np.array(value["data"], dtype=np.float32)))

    def _whole(self, stream: _Stream, first: int, end: int) -> npt.NDArray[np.float32]:
        """The samples from `first` to `end`, those that are missing or no number filled with the one before."""
        samples = np.full(end - first, np.nan, dtype=np.float32)
        for _, number, data in stream.pieces:
            start, stop = max(number, first), min(number + len(data), end)
            if start < stop:
                samples[start - first : stop - first] = data[start - number : stop - number]
        bad = np.isnan(samples)
        if bad[0] or bad.sum() > _LOST_SHARE * len(samples):
            raise InstrumentError(self._name, f"{int(bad.sum())} of {len(samples)} samples were lost", hint=_OVERLOAD)
        filled: npt.NDArray[np.float32] = samples[np.maximum.accumulate(np.where(bad, 0, np.arange(len(samples))))]
        return filled

    # ------------------------------------------------------------------------------------------------------ the library
    @property
    def _range_topic(self) -> str:
        return RANGE_TOPICS[_model(self._path)]

    def _topic(self, name: str) -> str:
        return f"{self._path}/{name}"

    async def _publish(self, name: str, value: object) -> None:
        topic = self._topic(name)
        await self._call(f"set {name} to {value}", lambda: self._opened().publish(topic, value, timeout=_LIMIT_S))

    def _opened(self) -> Any:
        if self._driver is None:
            raise InstrumentError(self._name, "is not open", hint="enter the supply before using it")
        return self._driver

    async def _call(self, what: str, work: Callable[[], T]) -> T:
        """Do `work`, which waits, in a thread, one at a time; the library ends it by its own limit."""
        async with self._turn:
            try:
                return await asyncio.to_thread(work)
            except TimeoutError as error:
                raise InstrumentError(self._name, f"did not {what} within {_LIMIT_S:g} s", hint=_REACH_HINT) from error
            except (RuntimeError, OSError, ValueError) as error:
                raise InstrumentError(self._name, f"could not {what}: {error}", hint=_REACH_HINT) from error


def _model(path: str) -> str:
    """``u/js220/004521`` → ``js220``."""
    return path.split("/")[1]


def _serial_number(path: str) -> str:
    return path.split("/")[2]


def _hand_over(
    loop: asyncio.AbstractEventLoop, take: Callable[[float, str, Mapping[str, Any]], None], topic: str, value: Mapping[str, Any]
) -> None:
    """From the library's thread to the loop, with the time of reception."""
    loop.call_soon_threadsafe(take, loop.time(), topic, value)


def _ignore(_topic: str, _value: Mapping[str, Any]) -> None:
    pass
