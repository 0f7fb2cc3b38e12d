"""The GPIO pins of a virtual SoC, as far as somebody outside sees them: what firmware drives high, and when it began and ended."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import numpy.typing as npt

_ROUNDING = 1e-6
"""Share of a sampling step by which a change may miss a sample through floating-point rounding alone."""


class Pins:
    """Every pin is an input, and pulled low outside, until firmware drives it; a reset makes it one again (nRF52 PS, reset behaviour).

    What a pin has done is kept: firmware drives few of them, and seldom.
    """

    def __init__(self) -> None:
        self._changes: dict[str, list[tuple[float, bool]]] = {}
        """By pin: when it changed, and whether it was high from then on; it began low."""

    def drive(self, pin: str, *, high: bool) -> None:
        """Firmware sets the level of `pin`, for instance ``P0.13``."""
        changes = self._changes.setdefault(pin, [])
        if high != (bool(changes) and changes[-1][1]):
            changes.append((asyncio.get_running_loop().time(), high))

    def release(self) -> None:
        """A reset, or the loss of power."""
        for pin in self._changes:
            self.drive(pin, high=False)

    def high_between(self, pin: str, t0: float, t1: float, step: float) -> npt.NDArray[np.bool_]:
        """Whether `pin` was driven high at `t0`, `t0 + step`, … before `t1`, none of them later than now."""
        high = np.zeros(max(0, round((t1 - t0) / step)), dtype=np.bool_)
        for when_s, level in self._changes.get(pin, ()):
            high[max(0, math.ceil((when_s - t0) / step - _ROUNDING)) :] = level
        return high
