"""The figure that stands in a row of a table: an interval on a common axis, the baseline's in grey beneath it."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from rig.report.breakdown import Share
from rig.report.svg import Svg

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

    def row(self, share: Share, before: Share | None = None) -> Markup:
        """One interval with its share, and that of the baseline where there is one."""
        figure = Svg(_WIDTH, 24, classes="ival")
        for mark in self._marks:
            figure.line(self._x(mark), 0, self._x(mark), 24, "grid")
        if before is not None:
            figure.line(self._x(before.low), 17, self._x(before.high), 17, "ivb")
            figure.circle(self._x(before.passed_share), 17, 2.4, "ptb")
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
