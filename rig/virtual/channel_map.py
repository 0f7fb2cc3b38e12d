"""Which data channels a connection uses, and how a central finds out which ones to avoid (Core Specification Vol 6 Part B 4.5.8).

How a controller assesses channels is its maker's own business.  Here the central looks every second at what each channel would lose,
drops a channel that was bad twice in a row, and takes it back when it was good five times in a row.  It knows only steady losses, and
starts with every channel on each connection, so that a reconnection under interference meets the bad channels again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rig.virtual.air import DATA_CHANNELS

LOOK_EVERY_S = 1.0
MIN_CHANNELS = 2
"""A channel map has at least two channels (4.5.8.1)."""
_BAD_LOSS = 0.5
"""Share of exchanges lost on a channel that is not worth using."""
_BAD_LOOKS, _GOOD_LOOKS = 2, 5


@dataclass(frozen=True)
class ChannelMap:
    """The data channels in use, in ascending order."""

    used: tuple[int, ...]

    def remapped(self, channel: int) -> int:
        """The channel that is really used when it is the turn of `channel` (channel selection algorithm #1, 4.5.8.2)."""
        return channel if channel in self.used else self.used[channel % len(self.used)]


ALL_CHANNELS = ChannelMap(tuple(range(DATA_CHANNELS)))


class ChannelAssessment:
    """A central's opinion of the channels of one connection.

    Args:
        start_s: when the connection began, seconds of the loop's clock.
        loss: the share of exchanges that a channel would lose now.
    """

    def __init__(self, *, start_s: float, loss: Callable[[int], float]) -> None:
        self._next_s = start_s + LOOK_EVERY_S
        self._loss = loss
        self._streaks = [0] * DATA_CHANNELS
        """How often in a row a channel was good (positive) or bad (negative)."""

    def look(self, now: float, current: ChannelMap) -> ChannelMap | None:
        """The map to change to, or None: it is not time to look, all is well, or no channel is better than the others."""
        if now < self._next_s:
            return None
        self._next_s = now + LOOK_EVERY_S
        losses = [self._loss(channel) for channel in ALL_CHANNELS.used]
        self._streaks = [_longer(streak, loss >= _BAD_LOSS) for streak, loss in zip(self._streaks, losses, strict=True)]
        wanted = {channel for channel, streak in enumerate(self._streaks) if self._wants(channel in current.used, streak)}
        if not any(losses[channel] < _BAD_LOSS for channel in wanted):
            return None
        for channel in sorted(ALL_CHANNELS.used, key=lambda channel: losses[channel]):
            if len(wanted) < MIN_CHANNELS:
                wanted.add(channel)
        found = ChannelMap(tuple(sorted(wanted)))
        return found if found != current else None

    @staticmethod
    def _wants(in_use: bool, streak: int) -> bool:
        return streak > -_BAD_LOOKS if in_use else streak >= _GOOD_LOOKS


def _longer(streak: int, is_bad: bool) -> int:
    if is_bad:
        return min(streak, 0) - 1
    return max(streak, 0) + 1
