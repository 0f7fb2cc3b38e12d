"""The supply node of one virtual board: a capacitor between a source that can be switched off and whatever the SoC draws.

Between two events the voltage follows one formula, so it is computed in closed form and a threshold is crossed exactly when the
formula says so; a node at rest has no timer.  What the model leaves out: the source neither limits its current (`sag` stands for
one that does, whatever the load) nor sinks any, the load is a constant current down to 0 V, and a back-powering pin holds its voltage
whatever the load.

Figures: operation from 1.7 V (nRF52840 Product Specification, power supply).  Node capacitance and bleed resistor stand for a DK
with a discharge resistor at the current-measurement header, to be replaced by a measurement of the real bench.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from rig.virtual.voltage import NEVER, Epoch, Stretch

_ROUNDING = 1e-6
"""Share of a sampling step by which a boundary may miss a sample through floating-point rounding alone."""


class PowerNode:
    """VDD of one board.

    The node is at 0 V and without events until the first call of `switch`, `set_source_mv`, `set_load` or `record_from`; only those
    need a running loop.  All times are seconds of the loop's clock.

    Args:
        capacitance_f: everything on VDD, farads.
        bleed_ohm: discharge resistor across VDD, ohms; None for none.  The source feeds it too.
        back_power_mv: voltage that a foreign pin (UART, SWD) keeps on VDD through the SoC's ESD diodes, millivolts; None for none.
            Above the power-on threshold the SoC runs on when the supply is off, above RAM retention it keeps its RAM, and above
            `logic_low_v` a logic input on VDD never reads low.
        rise_s: time in which the source ramps from 0 V to its voltage, seconds; a step upwards takes its share of it.
        slowest_start_s: a rise from RAM retention to the power-on threshold that takes longer leaves the SoC in reset until VDD has
            been below RAM retention again, seconds; None for a SoC that starts after any rise.  The product specification guarantees
            the power-on reset up to 60 ms from 0 to 1.7 V and says nothing of what happens beyond.
        brown_out_v: falling threshold of the brown-out reset, volts.
        power_on_v: rising threshold of the power-on reset, volts.
        retention_v: below this RAM loses its content, volts.
        logic_low_v: a logic input wired to VDD reads low below this, volts (0.35 of a 3 V logic supply).

    Raises:
        ValueError: a value is not positive, or the thresholds are not in the order retention, brown-out, power-on.
    """

    def __init__(
        self,
        *,
        capacitance_f: float = 10e-6,
        bleed_ohm: float | None = 1000.0,
        back_power_mv: float | None = None,
        rise_s: float = 0.2e-3,
        slowest_start_s: float | None = None,
        brown_out_v: float = 1.7,
        power_on_v: float = 1.75,
        retention_v: float = 0.5,
        logic_low_v: float = 1.05,
    ) -> None:
        for name, value in {
            "capacitance_f": capacitance_f, "bleed_ohm": bleed_ohm, "back_power_mv": back_power_mv, "rise_s": rise_s,
            "slowest_start_s": slowest_start_s, "retention_v": retention_v, "logic_low_v": logic_low_v,
        }.items():  # fmt: skip
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, not {value}")
        if not retention_v < brown_out_v < power_on_v:
            raise ValueError(f"retention {retention_v} V, brown-out {brown_out_v} V and power-on {power_on_v} V must rise in this order")
        self.on_good: Callable[[], None] = _nothing
        """Called when VDD has risen to the power-on threshold."""
        self.on_fail: Callable[[], None] = _nothing
        """Called when VDD has fallen to the brown-out threshold."""
        self._capacitance_f = capacitance_f
        self._bleed_ohm = bleed_ohm
        self._floor_v = (back_power_mv or 0.0) / 1000
        self._rise_s = rise_s
        self._slowest_start_s = slowest_start_s
        self._low_s = 0.0
        """When VDD was last seen below RAM retention, which is seen whenever it leaves it."""
        self._stuck = False
        self._brown_out_v, self._power_on_v = brown_out_v, power_on_v
        self._retention_v, self._logic_low_v = retention_v, logic_low_v
        self._on = self._commanded = False
        self._jammed: bool | None = None
        self._source_v = 0.0
        self._ceiling_v = math.inf
        self._load_a = 0.0
        self._good = False
        self._lowest_v = 0.0
        self._ram_lost = True
        self._epochs: list[Epoch] = []
        self._recording = False
        self._crossing_s = NEVER
        self._timer: asyncio.TimerHandle | None = None

    # -------------------------------------------------------------------------------------------------------- the state
    @property
    def is_good(self) -> bool:
        """Whether the SoC is out of power-on and brown-out reset."""
        return self._good

    @property
    def is_on(self) -> bool:
        """Whether the source is switched on."""
        return self._on

    @property
    def ram_lost(self) -> bool:
        """Whether VDD was below RAM retention in the outage that is going on, or else in the one before this power-on."""
        return self._ram_lost if self._good else min(self._lowest_v, self.voltage()) < self._retention_v

    def voltage(self, t: float | None = None) -> float:
        """VDD in volts, now or at `t`: in the future if nothing more happens, in the past as far as it is recorded.

        Raises:
            ValueError: `t` lies before what is recorded.
        """
        if not self._epochs:
            return 0.0
        when = asyncio.get_running_loop().time() if t is None else t
        for epoch in reversed(self._epochs):
            if epoch.start_s <= when:
                return epoch.voltage(when)
        if t is None:  # a clock that ticks in nanoseconds may stand a rounding error before the epoch that it began
            return self._epochs[-1].voltage(self._epochs[-1].start_s)
        raise ValueError(f"the voltage at {t} s is not recorded; the record begins at {self._epochs[0].start_s} s")

    # ------------------------------------------------------------------------------------------------------- the events
    def switch(self, on: bool) -> None:
        """Switch the source on or off; a jammed switch takes the command and does nothing."""
        self._commanded = on
        self._move(on if self._jammed is None else self._jammed)

    def jam(self, position: bool | None) -> None:
        """The switch goes to `position` and stays there, whatever is commanded; None frees it."""
        self._jammed = position
        self._move(self._commanded if position is None else position)

    def sag(self, millivolts: int | None) -> None:
        """The source delivers no more than this, whatever it is set to; None ends it."""
        now = self._settle()
        self._ceiling_v = math.inf if millivolts is None else millivolts / 1000
        self._proceed(now)

    def feed(self, millivolts: int | None) -> None:
        """A foreign pin holds this voltage on VDD from now on, as `back_power_mv` does; None ends it."""
        now = self._settle()
        self._floor_v = (millivolts or 0) / 1000
        self._proceed(now)

    def _move(self, on: bool) -> None:
        if on != self._on:
            now = self._settle()
            self._on = on
            self._proceed(now)
        elif not self._epochs:
            self._proceed(self._settle())

    def set_source_mv(self, millivolts: int) -> None:
        """Set the source's voltage: upwards it ramps, downwards the node decays to the new voltage by its own load."""
        if millivolts < 0:
            raise ValueError(f"the source cannot deliver {millivolts} mV")
        now = self._settle()
        self._source_v = millivolts / 1000
        self._proceed(now)

    def set_load(self, amps: float) -> None:
        """Set what the SoC draws from now on, amperes."""
        if amps < 0:
            raise ValueError(f"the load cannot be {amps} A")
        if amps == self._load_a:
            return
        if self._rests_on_source():  # the usual case, many times a second: nothing but the number changes
            self._load_a = amps
            return
        now = self._settle()
        self._load_a = amps
        self._proceed(now)

    # ------------------------------------------------------------------------------------------------------- the record
    def record_from(self, t: float | None) -> None:
        """Keep what happens from `t` on and forget the rest; None keeps nothing.  `t` is now, or lies in what is kept already."""
        if t is None:
            self._recording = False
            del self._epochs[:-1]
            return
        if not self._recording:
            now = self._settle()
            start_s = max(t, self._epochs[-1].start_s) if self._epochs else now  # "now" is past when the wall clock ticks on
            self._proceed(min(start_s, now))  # the current of a resting node was not kept up to date
            self._recording = True
        while len(self._epochs) > 1 and self._epochs[1].start_s <= t:
            del self._epochs[0]

    def current_between(self, t0: float, t1: float, step: float) -> npt.NDArray[np.float64]:
        """What the source delivers at `t0`, `t0 + step`, … before `t1`, amperes: load, bleed and inrush; 0 while it is off.

        Raises:
            ValueError: `t0` lies before what is recorded.
        """
        out = np.zeros(self._samples(t0, t1, step))
        for stretch, start_s, end_s in self._overlaps(t0, t1):
            first, last = _index(start_s, t0, step), _index(end_s, t0, step)
            out[first:last] = stretch.amps
            if stretch.amps_per_s:
                out[first:last] += stretch.amps_per_s * (t0 - stretch.start_s + np.arange(first, last) * step)
        return out

    def vdd_high_between(self, t0: float, t1: float, step: float) -> npt.NDArray[np.bool_]:
        """Whether a logic input on VDD reads high at the same instants as `current_between`."""
        out = np.zeros(self._samples(t0, t1, step), dtype=np.bool_)
        for stretch, start_s, end_s in self._overlaps(t0, t1):
            first, last = _index(start_s, t0, step), _index(end_s, t0, step)
            change_s = stretch.crossing(self._logic_low_v)
            high = stretch.voltage(start_s) >= self._logic_low_v
            if start_s < change_s < end_s:
                change = _index(change_s, t0, step)
                out[first:change] = high
                out[change:last] = not high
            else:
                out[first:last] = high
        return out

    def _samples(self, t0: float, t1: float, step: float) -> int:
        if not self._epochs or t0 < self._epochs[0].start_s - _ROUNDING * step:
            raise ValueError(f"the node is not recorded from {t0} s")
        return max(0, round((t1 - t0) / step))

    def _overlaps(self, t0: float, t1: float) -> Iterator[tuple[Stretch, float, float]]:
        """The stretches that really happened between `t0` and `t1`, each with the part of it that did."""
        for number, epoch in enumerate(self._epochs):
            until_s = self._epochs[number + 1].start_s if number + 1 < len(self._epochs) else NEVER
            for stretch in epoch.stretches:
                start_s, end_s = max(stretch.start_s, t0), min(stretch.end_s, until_s, t1)
                if start_s < end_s:
                    yield stretch, start_s, end_s

    # ------------------------------------------------------------------------------------------------------ the physics
    @property
    def _delivered_v(self) -> float:
        """What the source has on its terminals while it is on."""
        return min(self._source_v, self._ceiling_v)

    def _rests_on_source(self) -> bool:
        if self._recording or not self._epochs or not self._on or self._delivered_v < self._floor_v:
            return False
        rest = self._epochs[-1].stretches[-1]
        return rest.start_v == self._delivered_v and rest.start_s <= asyncio.get_running_loop().time()

    def _settle(self) -> float:
        """Bring the node up to now, including thresholds whose timer is late; returns now."""
        now = asyncio.get_running_loop().time()
        while self._crossing_s <= now:
            self._cross()
        if self._epochs:
            now = max(now, self._epochs[-1].start_s)
            self._lowest_v = min(self._lowest_v, self.voltage(now))
        if self.voltage(now) <= self._retention_v:
            self._low_s = now
            self._stuck = False
        return now

    def _proceed(self, now: float) -> None:
        """Begin a new epoch at `now`, after something has changed."""
        epoch = Epoch(start_s=now, stretches=self._stretches(now, self.voltage(now)))
        if self._recording:
            self._epochs.append(epoch)
        else:
            self._epochs = [epoch]
        self._arm(now)

    def _stretches(self, now: float, volts: float) -> tuple[Stretch, ...]:
        source_v = self._delivered_v if self._on else 0.0
        level_v = max(source_v, self._floor_v)
        feeding = self._on and source_v >= self._floor_v
        if volts == level_v:
            return (self._rest(now, level_v, feeding=feeding),)
        change = self._rise(now, volts, level_v) if volts < level_v else self._decay(now, volts, level_v)
        return (change,) if change.end_s == NEVER else (change, self._rest(change.end_s, level_v, feeding=feeding))

    def _rest(self, start_s: float, level_v: float, *, feeding: bool) -> Stretch:
        return Stretch(start_s=start_s, end_s=NEVER, start_v=level_v, amps=self._drawn(level_v) if feeding else 0.0)

    def _rise(self, now: float, volts: float, level_v: float) -> Stretch:
        slope = level_v / self._rise_s
        inrush_a = self._capacitance_f * slope
        return Stretch(
            start_s=now,
            end_s=now + (level_v - volts) / slope,
            start_v=volts,
            volts_per_s=slope,
            amps=self._drawn(volts) + inrush_a if self._on else 0.0,
            amps_per_s=slope / self._bleed_ohm if self._on and self._bleed_ohm else 0.0,
        )

    def _decay(self, now: float, volts: float, level_v: float) -> Stretch:
        if self._bleed_ohm is None:
            slope = -self._load_a / self._capacitance_f
            end_s = now + (level_v - volts) / slope if slope else NEVER
            return Stretch(start_s=now, end_s=end_s, start_v=volts, volts_per_s=slope)
        tau_s, limit_v = self._bleed_ohm * self._capacitance_f, -self._load_a * self._bleed_ohm
        end_s = now + tau_s * math.log((volts - limit_v) / (level_v - limit_v)) if level_v > limit_v else NEVER
        return Stretch(start_s=now, end_s=end_s, start_v=volts, tau_s=tau_s, limit_v=limit_v)

    def _drawn(self, volts: float) -> float:
        return self._load_a + (volts / self._bleed_ohm if self._bleed_ohm else 0.0)

    # --------------------------------------------------------------------------------------------------- the thresholds
    def _arm(self, now: float) -> None:
        """Set the timer for the next threshold, if the node will reach it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._crossing_s = self._next_crossing(now)
        if self._crossing_s < NEVER:
            self._timer = asyncio.get_running_loop().call_at(self._crossing_s, self._cross)

    def _next_crossing(self, now: float) -> float:
        if self._stuck:
            return NEVER
        epoch = self._epochs[-1]
        level_v = self._brown_out_v if self._good else self._power_on_v
        volts = epoch.voltage(now)
        if volts <= level_v if self._good else volts >= level_v:
            return now
        return min(
            (stretch.crossing(level_v) for stretch in epoch.stretches if stretch.rises is not self._good), default=NEVER
        )

    def _rose_too_slowly(self) -> bool:
        """A brown-out that has left RAM alone is no start, however long the return takes."""
        if self._slowest_start_s is None or self._lowest_v > self._retention_v:
            return False
        return self._crossing_s - self._low_s > self._slowest_start_s

    def _cross(self) -> None:
        """The threshold that `_arm` waited for is reached."""
        if not self._good and self._rose_too_slowly():
            self._stuck = True
            self._arm(self._crossing_s)
            return
        self._good = not self._good
        if self._good:
            self._ram_lost = self._lowest_v < self._retention_v
        else:
            self._lowest_v = self._brown_out_v
        self._arm(self._crossing_s)
        (self.on_good if self._good else self.on_fail)()


def _index(t: float, t0: float, step: float) -> int:
    """The first sample at or after `t`."""
    return max(0, math.ceil((t - t0) / step - _ROUNDING))


def _nothing() -> None:
    pass
