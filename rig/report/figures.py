"""Figures that stand in a row of a table: an interval on a common axis, a range of durations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from rig.report.breakdown import Share, TimingRow
from rig.report.svg import Svg
from rig.report.words import seconds

_WIDTH, _PAD = 430.0, 16.0
_STARTS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.88, 0.92, 0.96, 0.98, 0.99, 0.996, 0.998)
_ENOUGH = 10


class ShareAxis:
    """A common axis from some round share to 100 %, wide enough for every share with at least ten trials behind it.

    Intervals that begin further left are cut off with an arrow, so that one poor row cannot flatten the others.
    """

    def __init__(self, shares: Sequence[Share]) -> None:
        weighty = [share.low for share in shares if share.trials >= _ENOUGH] or [share.low for share in shares] or [0.0]
        self.start = max(start for start in _STARTS if start <= min(weighty))
        self._marks = [self.start + (1 - self.start) * step / 4 for step in range(5)]

    def _x(self, share: float) -> float:
        return _PAD + (max(share, self.start) - self.start) / (1 - self.start) * (_WIDTH - 2 * _PAD)

    def scale(self) -> Markup:
        """The axis itself, for the head of the column."""
        figure = Svg(_WIDTH, 16, classes="ival")
        for mark in self._marks:
            label = f"{100 * mark:.2f}".rstrip("0").rstrip(".")
            figure.text(self._x(mark), 12, f"{label} %", "tick", anchor="middle")
        return figure.done()

    def row(self, share: Share) -> Markup:
        """One interval with its share."""
        figure = Svg(_WIDTH, 22, classes="ival")
        for mark in self._marks:
            figure.line(self._x(mark), 0, self._x(mark), 22, "grid")
        bad = " bad" if share.failed else ""
        left, right = self._x(share.low), self._x(share.high)
        figure.line(left, 11, right, 11, f"iv{bad}")
        if share.low < self.start:
            figure.path(f"M{left:.1f} 6.5l-7 4.5l7 4.5z", f"pt{bad}")
        if share.passed_share >= self.start:
            x = self._x(share.passed_share)
            if share.failed:
                figure.path(f"M{x:.1f} 5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z", "pt bad")
            else:
                figure.circle(x, 11, 4, "pt")
        return figure.done()


class DurationAxis:
    """A common logarithmic axis for durations."""

    def __init__(self, rows: Sequence[TimingRow]) -> None:
        shortest = min((row.p5 for row in rows if row.p5 > 0), default=0.01)
        longest = max((row.most for row in rows if row.most > 0), default=10.0)
        self._low = math.floor(math.log10(max(shortest, 1e-3)))
        self._high = max(math.ceil(math.log10(max(longest, 1e-3))), self._low + 1)

    def _x(self, duration: float) -> float:
        place = (math.log10(max(duration, 10.0**self._low)) - self._low) / (self._high - self._low)
        return _PAD + place * (_WIDTH - 2 * _PAD)

    def scale(self) -> Markup:
        """The axis itself, for the head of the column."""
        figure = Svg(_WIDTH, 16, classes="ival")
        for exponent in range(self._low, self._high + 1):
            figure.text(self._x(10.0**exponent), 12, _decade(exponent), "tick", anchor="middle")
        return figure.done()

    def row(self, row: TimingRow) -> Markup:
        """From the 5th to the 95th percentile, the median, and the longest as a stroke."""
        figure = Svg(_WIDTH, 22, classes="ival")
        for exponent in range(self._low, self._high + 1):
            figure.line(self._x(10.0**exponent), 0, self._x(10.0**exponent), 22, "grid")
        figure.line(self._x(row.p5), 11, self._x(row.p95 if row.p95 is not None else row.most), 11, "iv dur")
        figure.line(self._x(row.most), 6, self._x(row.most), 16, "most")
        figure.circle(self._x(row.median), 11, 4, "pt dur")
        return figure.done()


def _decade(exponent: int) -> str:
    return f"{10**exponent} s" if exponent >= 0 else seconds(10.0**exponent)
