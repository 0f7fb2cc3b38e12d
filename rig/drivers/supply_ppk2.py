"""Nordic's Power Profiler Kit II as the supply of the SoC (source-meter mode).

USB 1915:C00A; the command port is interface 1.  Wiring on a DK: the kit's VOUT on the SoC's side of the current-measurement header
(P22, solder bridge cut), its logic port's supply on the DK's VDD, logic input 0 on the SoC's VDD.
"""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from rig.drivers.byte_stream import open_stream
from rig.drivers.ppk2_live import LiveSamples, trace_of
from rig.errors import ConfigError, InstrumentError
from rig.formats import ppk2
from rig.formats.ppk2 import Command
from rig.ports import ByteStream, SupplyCapability, SupplyTrace

_BAUDRATE = 115200
_COMMAND_LIMIT_S = 1.0
_METADATA_LIMIT_S = 2.0
_STOP_LIMIT_S = 1.0
_QUIET_S = 0.02
"""A stream that has been silent for this long has stopped: the instrument sends at least every millisecond."""
_SILENCE_LIMIT_S = 0.25
"""Longest silence at the beginning or the end of a recording."""
_LOST_SHARE = 0.005
"""Largest share of lost samples in a recording."""
_SHIFT_LIMIT_S = 5e-3
_DRIFT = 100e-6
"""Tolerances of the sample count against the clock, beyond which whole blocks have been lost: fixed, and per second of recording."""

_REPLUG = "unplug and re-plug the kit"
_OVERLOAD = "give the kit a USB port of its own and the computer less to do"
_HINT = "is it the kit's command port (USB 1915:C00A, interface 1)? unplug and re-plug the kit if it is"


@dataclass(kw_only=True)
class _Recording:
    """The whole words that have been received since it began: `ends` holds (time of reception, bytes so far) after each piece."""

    started_s: float
    data: bytearray
    ends: list[tuple[float, int]]
    voltages: list[tuple[int, float]]
    """Bytes received when each source voltage was set, and the voltage."""
    begun_s: float = math.inf
    """When the first sample was taken, at the latest, as far as the pieces tell."""

    def add(self, received_s: float, words: bytes) -> None:
        """Take a piece of the stream."""
        self.data += words
        self.ends.append((received_s, len(self.data)))
        if self.data:
            self.begun_s = min(self.begun_s, received_s - self._length_s)

    def reaches(self, time_s: float) -> bool:
        """Whether it holds what was sampled up to then."""
        return self.begun_s + self._length_s >= time_s

    @property
    def _length_s(self) -> float:
        return len(self.data) // ppk2.WORD_SIZE * ppk2.SAMPLE_S


class Ppk2Supply:
    """`rig.ports.PowerSupply` on a Power Profiler Kit II.

    Entering leaves the output off, in source-meter mode and at `voltage_mv`; leaving switches the output off, because a supply that
    nobody watches must not feed a board.  A lost sample repeats the one before it; more than 0.5 % of them raise `InstrumentError`.
    The kit's range-switch transients (some samples long) are not filtered.  Samples can be watched while they arrive, recorded or not; a
    recording that ends while others watch waits until the samples up to then have come.

    Args:
        owner: the board that the kit feeds.
        port: path, COM name or ``virtual:<wire>`` of the command port.
        voltage_mv: source voltage, 800 to `max_voltage_mv`.
        max_voltage_mv: highest voltage that the board bears, at most 5000.  An nRF52 bears 3600.

    Raises:
        ConfigError: a voltage is out of range.
    """

    capabilities = frozenset(
        {
            SupplyCapability.MEASURE_CURRENT,
            SupplyCapability.SENSE_VDD,
            SupplyCapability.SET_VOLTAGE,
            SupplyCapability.WATCH,
            SupplyCapability.LOGIC_INPUTS,
        }
    )

    def __init__(self, *, owner: str, port: str, voltage_mv: int = 3000, max_voltage_mv: int = 3600) -> None:
        self._name = f"{owner}.supply"
        if not ppk2.MIN_MILLIVOLTS <= max_voltage_mv <= ppk2.MAX_MILLIVOLTS:
            limits = f"{ppk2.MIN_MILLIVOLTS} to {ppk2.MAX_MILLIVOLTS}"
            raise ConfigError(f"{self._name}: max_voltage_mv must be {limits}, not {max_voltage_mv}")
        if not ppk2.MIN_MILLIVOLTS <= voltage_mv <= max_voltage_mv:
            raise ConfigError(f"{self._name}: voltage_mv must be {ppk2.MIN_MILLIVOLTS} to {max_voltage_mv}, not {voltage_mv}")
        self._port = port
        self._voltage_mv, self._max_voltage_mv = voltage_mv, max_voltage_mv
        self._stream: ByteStream | None = None
        self._calibration: ppk2.Calibration | None = None
        self._answer: bytearray | None = None
        self._recording: _Recording | None = None
        self._listeners: list[Callable[[SupplyTrace], None]] = []
        self._live: LiveSamples | None = None
        self._is_streaming = False
        self._streaming_turn = asyncio.Lock()
        self._part_of_word = b""
        self._heard = asyncio.Event()
        self._heard_s = 0.0
        self._vanished = False

    # ------------------------------------------------------------------------------------------------------- life cycle
    async def __aenter__(self) -> Self:
        self._stream = await open_stream(self._port, baudrate=_BAUDRATE, owner=self._name)
        self._vanished = False
        self._stream.listen(self._receive)
        try:
            await self._command(Command.AVERAGE_STOP)  # a rig that died has left it streaming
            await self._until_quiet()
            self._calibration = await self._read_calibration()
            await self._command(Command.DEVICE_RUNNING_SET, 0)
            await self._command(Command.SET_POWER_MODE, ppk2.PowerMode.SOURCE_METER)
            await self.set_voltage(self._voltage_mv)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._recording = None
            self._listeners.clear()
            await self._stop_stream()
            await self._command(Command.DEVICE_RUNNING_SET, 0)
        except InstrumentError:
            if error is None:
                raise
        finally:
            await self._close()

    async def _close(self) -> None:
        self._recording = None
        self._listeners.clear()
        self._is_streaming = False
        if self._stream is not None:
            await self._stream.close()
            self._stream = None

    # ------------------------------------------------------------------------------------------------------- the output
    async def set_voltage(self, millivolts: int) -> None:
        """Set the source voltage.

        Raises:
            InstrumentError: the voltage is out of range, and nothing has been sent; or the kit does not take the command.
        """
        if not ppk2.MIN_MILLIVOLTS <= millivolts <= self._max_voltage_mv:
            raise InstrumentError(self._name, f"refuses {millivolts} mV; allowed are {ppk2.MIN_MILLIVOLTS} to {self._max_voltage_mv} mV")
        await self._write(ppk2.regulator_set(millivolts))
        self._voltage_mv = millivolts
        if self._recording is not None:
            self._recording.voltages.append((len(self._recording.data), millivolts / 1000))

    async def on(self) -> float:
        return await self._command(Command.DEVICE_RUNNING_SET, 1)

    async def off(self) -> float:
        return await self._command(Command.DEVICE_RUNNING_SET, 0)

    # ---------------------------------------------------------------------------------------------------- the recording
    async def record(self) -> None:
        if self._recording is not None:
            return
        now = asyncio.get_running_loop().time()
        self._recording = _Recording(started_s=now, data=bytearray(), ends=[], voltages=[(0, self._voltage_mv / 1000)])
        await self._start_stream()

    async def stop_recording(self) -> SupplyTrace:
        recording = self._recording
        if recording is None:
            return SupplyTrace(start_s=0.0, step_s=ppk2.SAMPLE_S, current_ua=array("f"), logic=b"")
        try:
            stopped_s = await self._stop_stream() if not self._listeners else await self._catch_up(recording)
        finally:
            self._recording = None
        if not self._listeners:  # the last of them may have gone meanwhile
            await self._stop_stream()
        assert self._calibration is not None
        return self._decode(recording, stopped_s, self._calibration)

    async def _catch_up(self, recording: _Recording) -> float:
        """Wait until `recording` holds what was sampled up to now, and return now; where it never does, decoding will tell."""
        now = asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            await self._until(lambda: recording.reaches(now), _STOP_LIMIT_S)
        return now

    async def watch(self, listener: Callable[[SupplyTrace], None]) -> Callable[[], Awaitable[None]]:
        """As `rig.ports.WatchedSupply.watch`: a block is what arrived in one piece, at the earliest when its last sample is known."""
        if self._stream is None or self._calibration is None:
            raise InstrumentError(self._name, "is not open")
        if not self._listeners:
            self._live = LiveSamples(self._calibration)
        self._listeners.append(listener)
        await self._start_stream()

        async def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)
            if not self._listeners and self._recording is None:
                await self._stop_stream()

        return stop

    async def _start_stream(self) -> None:
        async with self._streaming_turn:
            if not self._is_streaming:
                self._is_streaming, self._part_of_word = True, b""
                self._live = LiveSamples(self._calibration) if self._calibration else None
                await self._command(Command.AVERAGE_START)

    async def _stop_stream(self) -> float:
        """Stop it, where it runs, and wait for what is under way; returns when the command had left."""
        async with self._streaming_turn:
            if not self._is_streaming:
                return asyncio.get_running_loop().time()
            try:
                stopped_s = await self._command(Command.AVERAGE_STOP)
                await self._until_quiet()
            finally:
                self._is_streaming = False
            return stopped_s

    def _decode(self, recording: _Recording, stopped_s: float, calibration: ppk2.Calibration) -> SupplyTrace:
        if not recording.ends:
            raise InstrumentError(self._name, "has sent no samples", hint=_REPLUG)
        words = np.frombuffer(recording.data, dtype="<u4", count=len(recording.data) // ppk2.WORD_SIZE)
        samples = ppk2.fill_gaps(words)
        if samples.lost > _LOST_SHARE * len(samples.words):
            reason = f"{samples.lost} of {len(samples.words)} samples were lost"
            raise InstrumentError(self._name, reason, hint=_OVERLOAD)
        start_s = self._start(recording, stopped_s, samples.ends)
        amps = np.empty(len(samples.words))
        for first, last, volts in _spans(recording.voltages, samples):
            amps[first:last] = ppk2.current_amps(samples.words[first:last], calibration, volts)
        return trace_of(start_s, samples.words, amps)

    def _start(self, recording: _Recording, stopped_s: float, ends: npt.NDArray[np.int64] | None) -> float:
        """When the first sample was taken: no later than any piece's reception less the samples up to its end, so the least of these.

        Samples that are missing without a trace in the counter make that difference rise for good, and the count too small for the
        time between the commands.  Either alone may be the computer's fault.
        """
        pieces = np.array([(t, size // ppk2.WORD_SIZE) for t, size in recording.ends if size >= ppk2.WORD_SIZE])
        if not len(pieces):
            raise InstrumentError(self._name, "has sent no whole sample", hint=_REPLUG)
        received_s, counts = pieces[:, 0], pieces[:, 1].astype(np.int64)
        taken_s = (counts if ends is None else ends[counts - 1]) * ppk2.SAMPLE_S
        begin_s = received_s - taken_s
        start_s = float(begin_s.min())
        recorded_s = stopped_s - recording.started_s
        if start_s - recording.started_s > _SILENCE_LIMIT_S or stopped_s - float(received_s[-1]) > _SILENCE_LIMIT_S:
            raise InstrumentError(self._name, "did not send samples all the time", hint=_REPLUG)
        third = max(1, len(begin_s) // 3)
        rise_s = float(begin_s[-third:].min() - begin_s[:third].min())
        missing_s = min(rise_s, recorded_s - float(taken_s[-1]))
        if missing_s > _SHIFT_LIMIT_S + _DRIFT * recorded_s:
            reason = f"about {missing_s / ppk2.SAMPLE_S:.0f} samples were lost in whole blocks"
            raise InstrumentError(self._name, reason, hint=_OVERLOAD)
        return start_s

    # -------------------------------------------------------------------------------------------------------- the wire
    async def _read_calibration(self) -> ppk2.Calibration:
        self._answer = answer = bytearray()
        try:
            await self._command(Command.GET_METADATA)
            await self._until(lambda: ppk2.metadata_is_complete(answer), _METADATA_LIMIT_S)
            return ppk2.parse_calibration(bytes(answer))
        except TimeoutError:
            said = f"answered {len(answer)} bytes that hold no complete calibration" if answer else "does not answer"
            raise InstrumentError(self._name, f"{said} within {_METADATA_LIMIT_S:g} s", hint=_HINT) from None
        except ValueError as error:
            raise InstrumentError(self._name, f"answered a calibration that cannot be used: {error}", hint=_HINT) from error
        finally:
            self._answer = None

    async def _command(self, command: Command, *arguments: int) -> float:
        return await self._write(bytes((command, *arguments)))

    async def _write(self, data: bytes) -> float:
        """Send; returns the time at which the bytes had left the host."""
        if self._stream is None:
            raise InstrumentError(self._name, "is not open")
        try:
            async with asyncio.timeout(_COMMAND_LIMIT_S):
                self._stream.write(data)
                await self._stream.drain()
        except TimeoutError:
            raise InstrumentError(self._name, f"has not taken a command within {_COMMAND_LIMIT_S:g} s", hint=_HINT) from None
        return asyncio.get_running_loop().time()

    def _receive(self, t: float, data: bytes) -> None:
        self._heard_s = t
        self._heard.set()
        if not data:
            self._vanished = True
        elif self._answer is not None:
            self._answer += data
        elif self._is_streaming:
            self._take(t, self._part_of_word + data)

    def _take(self, received_s: float, data: bytes) -> None:
        """Samples; a word that is not complete waits for the next piece."""
        whole = len(data) - len(data) % ppk2.WORD_SIZE
        words, self._part_of_word = data[:whole], data[whole:]
        if self._recording is not None:
            self._recording.add(received_s, words)
        if self._listeners and self._live is not None:
            block = self._live.feed(received_s, words, self._voltage_mv / 1000)
            for listener in tuple(self._listeners):
                listener(block)

    async def _until(self, done: Callable[[], bool], limit_s: float) -> None:
        """Wait for `done`, looked at whenever something was received.  Raises TimeoutError after `limit_s`."""
        async with asyncio.timeout(limit_s):
            while not done():
                if self._vanished:
                    raise InstrumentError(self._name, "the port has vanished", hint="check the cable and the hub")
                self._heard.clear()
                await self._heard.wait()

    async def _until_quiet(self) -> None:
        """Wait until nothing has been received for a while."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _STOP_LIMIT_S
        heard_s = None
        while heard_s != self._heard_s:
            if loop.time() > deadline:
                raise InstrumentError(self._name, f"still sends {_STOP_LIMIT_S:g} s after the command to stop", hint=_HINT)
            heard_s = self._heard_s
            await asyncio.sleep(_QUIET_S)


def _spans(voltages: list[tuple[int, float]], samples: ppk2.Continuous) -> list[tuple[int, int, float]]:
    """Which samples (first, one past the last) were taken at which source voltage, to within what was in flight."""
    starts: list[int] = []
    for size, _ in voltages:
        word = size // ppk2.WORD_SIZE
        starts.append(word if samples.ends is None or word == 0 else int(samples.ends[word - 1]))
    return [
        (start, end, volts)
        for start, end, (_, volts) in zip(starts, [*starts[1:], len(samples.words)], voltages, strict=True)
    ]
