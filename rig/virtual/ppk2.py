"""A virtual Power Profiler Kit II: the instrument's end of the protocol in `rig.formats.ppk2`, on the supply node of one board.

Stricter than the kit where the kit is undocumented: it wakes up as an ampere meter at its lowest voltage, so a driver that forgets
to set mode or voltage does not power the board, and it drops a packet in which it meets an unknown command.  Left out: noise,
range-switch transients, the current limit, user gains, triggers and RESET.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from rig.formats import ppk2
from rig.formats.ppk2 import ARGUMENTS, SAMPLE_S, Command
from rig.virtual.jitter import steady
from rig.virtual.power import PowerNode
from rig.virtual.wire import DeviceEnd

CALIBRATION = ppk2.Calibration(
    r=(1006.2, 101.4, 10.28, 0.957, 0.0538),
    gs=(0.0, 96.0, 15.5, 2.1, 0.068),
    gi=(1.0, 0.972, 0.964, 0.955, 0.961),
    o=(108.0, 78.5, 66.0, 52.0, 81.0),
    s=(5.0e-8, 6.1e-7, 5.4e-6, 6.4e-5, 2.7e-3),
    i=(-1.1e-7, -1.5e-6, 3.1e-5, -3.3e-4, -8.6e-3),
    ug=(1.0, 1.0, 1.0, 1.0, 1.0),
)
"""A made-up unit with constants of the size that real ones have."""

RANGE_LIMITS_A = (50e-6, 500e-6, 5e-3, 60e-3)
"""Currents above which the next range measures (PPK2 user guide, five ranges)."""

_CHUNK = 1000
"""Samples a packet: 10 ms."""
_COUNTS = (np.arange(_CHUNK + ppk2.COUNTER_MASK + 1, dtype=np.uint32) & ppk2.COUNTER_MASK) << ppk2.COUNTER_SHIFT


Levels = Callable[[float, float, float], npt.NDArray[np.bool_]]
"""(t0, t1, step) → whether something is high at t0, t0 + step, … before t1."""


class VirtualPpk2:
    """The kit on device end `end`, feeding `node`.

    Args:
        end: the device's end of its USB wire.
        node: the supply node of the board that the kit feeds.
        command_latency_s: from the arrival of a command to its effect, seconds; USB polls every millisecond at full speed.
        switch_delay_s: from the effect of DEVICE_RUNNING_SET to the switch itself, seconds.
        inputs: what is wired to logic inputs 1 to 7, by number: whether the board drives it high at t0, t0 + step, … before t1.  An input
            reads low while VDD does, whatever drives it.
        jitter: what is added to that each time, seconds.
    """

    def __init__(
        self,
        end: DeviceEnd,
        node: PowerNode,
        *,
        command_latency_s: float = 300e-6,
        switch_delay_s: float = 50e-6,
        inputs: Mapping[int, Levels] = MappingProxyType({}),
        jitter: Callable[[], float] = steady,
    ) -> None:
        self._end = end
        self._node = node
        self._command_latency_s = command_latency_s
        self._switch_delay_s = switch_delay_s
        self._inputs = inputs
        self._jitter = jitter
        self._packets: deque[tuple[float, bytes]] = deque()
        self._command_timer: asyncio.TimerHandle | None = None
        self._mode = ppk2.PowerMode.AMPERE_METER
        self._millivolts = ppk2.MIN_MILLIVOLTS
        self._running = False
        self._started_s = 0.0
        self._sent = 0
        self._sample_timer: asyncio.TimerHandle | None = None
        self._encoder = Encoder(CALIBRATION)
        end.listen(self._receive)

    def close(self) -> None:
        """Take the kit off its USB port: it stops, and so does the board's supply."""
        for timer in (self._command_timer, self._sample_timer):
            if timer is not None:
                timer.cancel()
        self._command_timer = self._sample_timer = None
        self._packets.clear()
        self._running = False
        self._node.record_from(None)
        self._node.switch(False)

    # ---------------------------------------------------------------------------------------------------------- commands
    def _receive(self, t: float, data: bytes) -> None:
        self._packets.append((t + self._command_latency_s, data))
        if self._command_timer is None:
            self._command_timer = asyncio.get_running_loop().call_at(self._packets[0][0], self._obey_due)

    def _obey_due(self) -> None:
        due_s = self._packets[0][0]
        while self._packets and self._packets[0][0] <= due_s:
            self._obey(self._packets.popleft()[1])
        self._command_timer = None
        if self._packets:
            self._command_timer = asyncio.get_running_loop().call_at(self._packets[0][0], self._obey_due)

    def _obey(self, packet: bytes) -> None:
        while packet:
            try:
                command = Command(packet[0])
            except ValueError:
                return
            end = 1 + ARGUMENTS[command]
            self._execute(command, packet[1:end])
            packet = packet[end:]

    def _execute(self, command: Command, arguments: bytes) -> None:
        if len(arguments) < ARGUMENTS[command]:
            return
        match command:
            case Command.AVERAGE_START:
                self._start_samples()
            case Command.AVERAGE_STOP:
                self._stop_samples()
            case Command.DEVICE_RUNNING_SET:
                self._running = bool(arguments[0])
                asyncio.get_running_loop().call_later(self._switch_delay_s + self._jitter(), self._apply)
            case Command.REGULATOR_SET:
                self._set_regulator(int.from_bytes(arguments, "big"))
            case Command.SET_POWER_MODE:
                if arguments[0] in tuple(ppk2.PowerMode):
                    self._mode = ppk2.PowerMode(arguments[0])
                    self._apply()
            case Command.GET_METADATA:
                self._end.send(ppk2.format_metadata(CALIBRATION, millivolts=self._millivolts, mode=self._mode))

    def _set_regulator(self, millivolts: int) -> None:
        if ppk2.MIN_MILLIVOLTS <= millivolts <= ppk2.MAX_MILLIVOLTS:
            self._millivolts = millivolts
            self._node.set_source_mv(millivolts)

    def _apply(self) -> None:
        self._node.switch(self._running and self._mode is ppk2.PowerMode.SOURCE_METER)

    # ----------------------------------------------------------------------------------------------------------- samples
    def _start_samples(self) -> None:
        if self._sample_timer is not None:
            return
        self._started_s = asyncio.get_running_loop().time()
        self._sent = 0
        self._node.record_from(self._started_s)
        self._schedule_samples()

    def _schedule_samples(self) -> None:
        due_s = self._started_s + (self._sent + _CHUNK) * SAMPLE_S
        self._sample_timer = asyncio.get_running_loop().call_at(due_s, self._send_chunk)

    def _send_chunk(self) -> None:
        self._send_samples(_CHUNK)
        self._schedule_samples()

    def _stop_samples(self) -> None:
        if self._sample_timer is None:
            return
        self._sample_timer.cancel()
        self._sample_timer = None
        taken = int((asyncio.get_running_loop().time() - self._started_s) / SAMPLE_S)
        while taken > self._sent:
            self._send_samples(min(_CHUNK, taken - self._sent))
        self._node.record_from(None)

    def _send_samples(self, number: int) -> None:
        start_s = self._started_s + self._sent * SAMPLE_S
        end_s = self._started_s + (self._sent + number) * SAMPLE_S
        words = self._encoder.encode(self._node.current_between(start_s, end_s, SAMPLE_S), self._millivolts / 1000)
        first = self._sent & ppk2.COUNTER_MASK
        words |= _COUNTS[first : first + number]
        words |= self._levels(start_s, end_s) << ppk2.LOGIC_SHIFT
        self._sent += number
        self._node.record_from(end_s)
        self._end.send(words.astype("<u4").tobytes())


    def _levels(self, start_s: float, end_s: float) -> npt.NDArray[np.uint32]:
        """The logic inputs as bit masks, VDD being input 0."""
        vdd_is_high = self._node.vdd_high_between(start_s, end_s, SAMPLE_S)
        levels = vdd_is_high.astype(np.uint32)
        for number, high_between in self._inputs.items():
            levels |= (high_between(start_s, end_s, SAMPLE_S) & vdd_is_high).astype(np.uint32) << np.uint32(number)
        return levels


class Encoder:
    """What the ADC of a unit with these constants reads: range and reading of the sample word for a current in amperes."""

    def __init__(self, calibration: ppk2.Calibration) -> None:
        c = calibration
        self._constants = np.array((c.r, c.gs, c.gi, c.o, c.s, c.i, c.ug))

    def encode(self, amps: npt.NDArray[np.float64], vdd_v: float) -> npt.NDArray[np.uint32]:
        """Words without counter and logic inputs.  Currents beyond the ADC's scale read as its end."""
        if len(amps) > 1 and bool((amps == amps[0]).all()):  # a board at rest, most of the time
            return np.repeat(self.encode(amps[:1], vdd_v), len(amps))
        ranges = np.searchsorted(RANGE_LIMITS_A, amps, side="left")
        r, gs, gi, o, s, i, ug = self._constants[:, ranges]
        # The kit's formula backwards: gs·x² + gi·x = rest, then the ADC reading whose volts give that x.
        rest = amps / ug - s * vdd_v - i
        x = 2 * rest / (gi + np.sqrt(gi**2 + 4 * gs * rest))
        reading = np.rint(x * r / ppk2.VOLTS_PER_COUNT + o / 4)
        words: npt.NDArray[np.uint32] = np.clip(reading, 0, ppk2.ADC_MAX).astype(np.uint32)
        words |= ranges.astype(np.uint32) << ppk2.RANGE_SHIFT
        return words
