"""How unsteadily a virtual supply switches."""

from __future__ import annotations

import random

_MARGIN = 4.0
"""Standard deviations by which a supply with jitter is late on average, since none switches before its command."""


class SwitchJitter:
    """Adds to the time from a command to the switch: normally distributed with standard deviation `spread_s` around four times that.

    What lies further out than four standard deviations is drawn in.  Without a spread nothing is added, and nothing drawn.
    """

    def __init__(self, spread_s: float, rng: random.Random) -> None:
        self._spread_s, self._rng = spread_s, rng

    def __call__(self) -> float:
        """Seconds to add this time."""
        if not self._spread_s:
            return 0.0
        deviation = min(max(self._rng.gauss(0.0, 1.0), -_MARGIN), _MARGIN)
        return self._spread_s * (_MARGIN + deviation)


def steady() -> float:
    """The jitter of a supply that has none."""
    return 0.0
