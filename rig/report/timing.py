"""Durations: the whole update as a curve against the baseline's, its quantiles, and the shift of every phase."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from rig.report import breakdown
from rig.report.statistics.shift import Shift, shift
from rig.report.statistics.timing import Ecdf, Quantile, ecdf, quantiles
from rig.report.stock import Stock
from rig.report.svg import Svg
from rig.report.table import PHASES
from rig.report.words import DASH, seconds, signed_percent

QUANTILES = (0.5, 0.95, 0.99)
_NAMES = {0.5: "median", 0.95: "95th percentile", 0.99: "99th percentile"}
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 556.0, 330.0, 58.0, 540.0, 16.0, 290.0
_CHANGE, _CHANGE_PAD = 132.0, 20.0
_ROUND = (1, 2, 5, 10)


@dataclass(frozen=True, kw_only=True)
class QuantileRow:
    """One quantile of the whole update; `baseline` None without one."""

    name: str
    new: Quantile
    baseline: Quantile | None


@dataclass(frozen=True, kw_only=True)
class PhaseRow:
    """One phase: median, 95th percentile and the longest of `n`, and the shift against the baseline where there is one.

    `relative`, `low` and `high` are the shift and its interval as shares of the baseline's median.
    """

    name: str
    n: int
    median: float
    p95: float | None
    most: float
    before: float | None = None
    shift: Shift | None = None
    relative: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def changed(self) -> bool:
        """Whether the interval excludes "no change"."""
        return self.shift is not None and self.shift.changed

    @property
    def change(self) -> str:
        """The shift in words."""
        return DASH if self.relative is None else signed_percent(self.relative)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Everything about durations."""

    phases: tuple[PhaseRow, ...]
    quantiles: tuple[QuantileRow, ...]
    whole: Shift | None
    curve: Markup | None


def timing(stock: Stock, baseline: Stock | None) -> Timing:
    """Durations of the stock, against the baseline where there is one."""
    ours = breakdown.update_times(stock.trials)
    theirs = breakdown.update_times(baseline.trials) if baseline else np.empty(0)
    rows = (_row(phase, stock, baseline) for phase in (*PHASES, _AWAY))
    return Timing(
        phases=tuple(row for row in rows if row is not None),
        quantiles=tuple(
            QuantileRow(name=_NAMES[new.q], new=new, baseline=old if baseline else None)
            for new, old in zip(quantiles(ours, QUANTILES), quantiles(theirs, QUANTILES), strict=True)
        )
        if len(ours)
        else (),
        whole=shift(ours, theirs) if baseline else None,
        curve=_curve(ecdf(ours), ecdf(theirs) if len(theirs) else None) if len(ours) > 1 else None,
    )


_AWAY = "out of service"


def _row(name: str, stock: Stock, baseline: Stock | None) -> PhaseRow | None:
    def times(of: Stock) -> np.ndarray:
        return breakdown.downtimes(of.trials) if name == _AWAY else breakdown.phase_times(of.trials, name)

    ours = times(stock)
    if not len(ours):
        return None
    tail = quantiles(ours, (0.95,))[0]
    row = PhaseRow(
        name=name,
        n=len(ours),
        median=float(np.median(ours)),
        p95=tail.value if tail.low is not None and tail.high is not None else None,
        most=float(ours.max()),
    )
    theirs = times(baseline) if baseline else np.empty(0)
    before = float(np.median(theirs)) if len(theirs) else 0.0
    if before <= 0:
        return row
    found = shift(ours, theirs)
    share = [None if value is None else value / before for value in (found.estimate, found.low, found.high)]
    return PhaseRow(
        name=name, n=row.n, median=row.median, p95=row.p95, most=row.most,
        before=before, shift=found, relative=share[0], low=share[1], high=share[2],
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- figures
def _curve(ours: Ecdf, theirs: Ecdf | None) -> Markup:
    """The share of updates that were done after so many seconds, with the bands in which the true curves lie."""
    values = [*ours.values, *(theirs.values if theirs else ())]
    low, high = min(values), max(values)
    tail = float(np.quantile(values, 0.995))
    high = min(high, tail + 0.5 * (tail - low)) if tail > low else high  # a few stragglers must not flatten the curve
    margin = max((high - low) * 0.04, 0.001)
    low, high = low - margin, high + margin
    figure = Svg(
        _WIDTH, _HEIGHT, name="ecdf", title="Share of updates done after so many seconds",
        text=f"{ours.n} updates{f' against {theirs.n} of the baseline' if theirs else ''}, with 95 percent bands.",
    )  # fmt: skip

    def x(value: float) -> float:
        return _LEFT + (min(value, high) - low) / (high - low) * (_RIGHT - _LEFT)

    def y(share: float) -> float:
        return _BOTTOM - min(max(share, 0.0), 1.0) * (_BOTTOM - _TOP)

    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        figure.line(_LEFT, y(share), _RIGHT, y(share), "grid")
        figure.text(_LEFT - 6, y(share) + 4, f"{100 * share:.0f} %", "tick", anchor="end")
    for mark in round_marks(low, high):
        figure.line(x(mark), _BOTTOM, x(mark), _BOTTOM + 4, "ax")
        figure.text(x(mark), _BOTTOM + 17, seconds(mark) if mark else "0", "tick", anchor="middle")
    figure.line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, "ax")
    figure.text((_LEFT + _RIGHT) / 2, _HEIGHT - 6, "duration of the whole update", "tick", anchor="middle")
    for curve, style in ((theirs, "eb"), (ours, "ec")):
        if curve is not None:
            steps = [(x(value), share) for value, share in zip(curve.values, curve.shares, strict=True)]
            upper, lower = (_steps([(at, y(share + sign * curve.band)) for at, share in steps]) for sign in (1, -1))
            figure.path(f"{_path(upper)}L{_path(list(reversed(lower)))[1:]}z", f"bandf {style}")
            figure.path(_path(_steps([(steps[0][0], y(0.0)), *((at, y(share)) for at, share in steps)])), style)
    figure.line(_LEFT + 14, 30, _LEFT + 38, 30, "ec")
    figure.text(_LEFT + 44, 34, "this release", "elc")
    if theirs is not None:
        figure.line(_LEFT + 14, 48, _LEFT + 38, 48, "eb")
        figure.text(_LEFT + 44, 52, "baseline", "elb")
    return figure.done()


def _steps(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A staircase through the points: across first, then up."""
    found = points[:1]
    for (_, before), (at, after) in itertools.pairwise(points):
        found += [(at, before), (at, after)]
    return found


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{at:.1f} {height:.1f}" for at, height in points)


def round_marks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers from `low` to below `high`, some `about` of them: the marks of an axis."""
    raw = (high - low) / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(float(power * factor) for factor in _ROUND if power * factor >= raw)
    return [float(mark) for mark in np.arange(np.ceil(low / step) * step, high, step)]


class ChangeAxis:
    """A common axis for changes in percent, wide enough for every interval up to ±50 %; longer ones end at its edge."""

    def __init__(self, rows: tuple[PhaseRow, ...]) -> None:
        ends = [abs(end) for row in rows for end in (row.low, row.high, row.relative) if end is not None]
        self.reach = next(reach for reach in (0.02, 0.05, 0.1, 0.2, 0.5) if reach >= min(max(ends, default=0.02), 0.5))

    def _x(self, change: float) -> float:
        return _CHANGE / 2 + max(-1.0, min(change / self.reach, 1.0)) * (_CHANGE / 2 - _CHANGE_PAD)

    def scale(self) -> Markup:
        """The axis itself, for the head of the column."""
        figure = Svg(_CHANGE, 16, classes="ival")
        for change in (-self.reach, 0.0, self.reach):
            figure.text(self._x(change), 12, signed_percent(change).replace(".0", ""), "tick", anchor="middle")
        return figure.done()

    def row(self, row: PhaseRow) -> Markup:
        """One shift with its interval; amber where it excludes no change."""
        figure = Svg(_CHANGE, 20, classes="ival")
        for share in (-1, -0.5, 0.5, 1):
            figure.line(self._x(share * self.reach), 0, self._x(share * self.reach), 20, "grid")
        figure.line(self._x(0), 0, self._x(0), 20, "zero")
        style = " chg" if row.changed else ""
        if row.low is not None and row.high is not None:
            figure.line(self._x(row.low), 10, self._x(row.high), 10, f"iv{style}")
        if row.relative is not None:
            figure.circle(self._x(row.relative), 10, 3.6, f"pt{style}")
        return figure.done()
