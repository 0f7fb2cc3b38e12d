"""Signs of what a board does, in the samples of its supply: stretches of current, and edges on the logic inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

from rig.fault import CurrentStretch, Edge, PinEdge
from rig.ports import SupplyTrace

_ROUNDING = 1e-6
"""Share of a sampling step by which a time may miss a sample through floating-point rounding alone."""


class Sign(Protocol):
    """Something to look for in a stream of samples."""

    def found(self, block: SupplyTrace, since_s: float) -> Iterator[float]:
        """When it occurred in `block`, the next of the stream; samples before `since_s` do not count."""
        ...


class CurrentSign:
    """Stretches of current beyond a limit, each found at the sample that makes it long enough."""

    def __init__(self, wanted: CurrentStretch) -> None:
        self._wanted = wanted
        self._length = 0

    def found(self, block: SupplyTrace, since_s: float) -> Iterator[float]:
        needed = max(1, math.ceil(self._wanted.for_s / block.step_s - _ROUNDING))
        first = _index(block, since_s)
        if first:
            self._length = 0
        for start, length in self._stretches(block.current_ua, first):
            before, self._length = self._length, self._length + length
            if before < needed <= self._length:
                yield block.start_s + (start + needed - before - 1) * block.step_s
            if start + length < len(block.current_ua):
                self._length = 0

    def _stretches(self, current_ua: Sequence[float], first: int) -> Iterator[tuple[int, int]]:
        """Begin and length of every stretch beyond the limit from sample `first` on; one of length 0 where it begins within it."""
        limit, sign = self._wanted.limit_ua, 1 if self._wanted.above else -1
        rest = current_ua[first:]
        if not rest:
            return
        lowest_is_beyond, highest_is_beyond = (min(rest) - limit) * sign > 0, (max(rest) - limit) * sign > 0
        if lowest_is_beyond == highest_is_beyond:  # a block without a change, most of the time
            yield first, len(rest) if lowest_is_beyond else 0
            return
        start = first
        for index, value in enumerate(rest, start=first):
            if (value - limit) * sign <= 0:
                yield start, index - start
                start = index + 1
        yield start, len(current_ua) - start


class EdgeSign:
    """Edges on one logic input, each found at the first sample on the other side."""

    def __init__(self, wanted: PinEdge) -> None:
        self._levels = bytes(value >> wanted.number & 1 for value in range(256))
        self._edge = b"\0\1" if wanted.edge is Edge.RISING else b"\1\0"
        self._last = b""

    def found(self, block: SupplyTrace, since_s: float) -> Iterator[float]:
        seen = len(self._last)
        levels = self._last + block.logic.translate(self._levels)
        self._last = levels[-1:]
        first, at = _index(block, since_s), levels.find(self._edge)
        while at >= 0:
            changed = at + 1 - seen
            if changed >= first:
                yield block.start_s + changed * block.step_s
            at = levels.find(self._edge, at + 1)


def _index(block: SupplyTrace, since_s: float) -> int:
    """The first sample of `block` that was not taken before `since_s`."""
    late = (since_s - block.start_s) / block.step_s
    return min(len(block.logic), max(0, math.ceil(late - _ROUNDING))) if math.isfinite(late) else len(block.logic)
