"""The voltage of a supply node between two events, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

NEVER = math.inf


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A stretch of time with one formula for the voltage, which only rises, only falls or rests.

    With `tau_s` the voltage decays exponentially towards `limit_v`, else it changes by `volts_per_s`.  The source delivers `amps` at
    `start_s` and `amps_per_s` more with every second.
    """

    start_s: float
    end_s: float
    start_v: float
    volts_per_s: float = 0.0
    tau_s: float | None = None
    limit_v: float = 0.0
    amps: float = 0.0
    amps_per_s: float = 0.0

    @property
    def rises(self) -> bool:
        """Whether the voltage goes up."""
        return self.volts_per_s > 0

    def voltage(self, t: float) -> float:
        """Volts at `t`."""
        if self.tau_s is None:
            return self.start_v + self.volts_per_s * (t - self.start_s) if self.volts_per_s else self.start_v
        return self.limit_v + (self.start_v - self.limit_v) * math.exp(-(t - self.start_s) / self.tau_s)

    def crossing(self, level_v: float) -> float:
        """When the voltage reaches `level_v`, or infinity when it does not within the stretch."""
        if self.tau_s is not None:
            if not self.limit_v < level_v <= self.start_v:
                return NEVER
            after_s = self.tau_s * math.log((self.start_v - self.limit_v) / (level_v - self.limit_v))
        elif self.volts_per_s:
            after_s = (level_v - self.start_v) / self.volts_per_s
        else:
            return NEVER
        if after_s < 0 or self.start_s + after_s > self.end_s * (1 + 1e-12):
            return NEVER
        return min(self.start_s + after_s, self.end_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What the node does from `start_s` on if nothing more happens to it: a transition, then rest."""

    start_s: float
    stretches: tuple[Stretch, ...]

    def voltage(self, t: float) -> float:
        """Volts at `t`, if nothing more happens to the node."""
        for stretch in self.stretches:
            if t < stretch.end_s:
                break
        return stretch.voltage(t)
