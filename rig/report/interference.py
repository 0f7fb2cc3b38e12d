"""Radio interference: how updates fared at each power of the interferer, and how long they took, as two graphs with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from rig.report.statistics import interval
from rig.report.statistics.timing import Quantile, quantile
from rig.report.svg import Svg
from rig.report.table import conclusive, failed, undisturbed
from rig.report.timing import round_marks
from rig.report.words import seconds

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 556.0, 300.0, 58.0, 540.0, 20.0, 246.0
_CALM = 52.0
"""Room at the left for the trials without interference."""
_LABEL = 40.0
"""A level's label wants so much room; levels that stand closer share one."""
_STARTS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)
_ENOUGH = 10
_BESIDE = 5.0
"""How far the baseline stands beside the release."""


@dataclass(frozen=True, kw_only=True)
class LevelRow:
    """The conclusive trials at one power of the interferer, in dBm; `level` is None for updates without any fault.

    How many, how many failed, the exact interval of the share that passed, and the median of the first upload of each that was
    completed, in seconds from its own beginning.
    """

    level: float | None
    trials: int
    failed: int
    low: float
    high: float
    upload: Quantile

    @property
    def passed_share(self) -> float:
        return (self.trials - self.failed) / self.trials


def levels(trials: pd.DataFrame) -> list[LevelRow]:
    """The updates without fault, then one row per level, rising; empty where no trial had interference."""
    disturbed = [_row(float(level), group) for level, group in conclusive(trials).groupby("interference", sort=True)]
    calm = undisturbed(trials)
    return [_row(None, calm), *disturbed] if disturbed and len(calm) else disturbed


def _row(level: float | None, group: pd.DataFrame) -> LevelRow:
    bad = len(failed(group))
    low, high = interval(len(group) - bad, len(group))
    uploads = quantile(np.asarray(group["upload_s"].dropna(), dtype=np.float64), 0.5)
    return LevelRow(level=level, trials=len(group), failed=bad, low=low, high=high, upload=uploads)


def figures(found: Sequence[LevelRow], before: Sequence[LevelRow]) -> tuple[Markup, Markup]:
    """Success and duration against the level, of the release and, in grey, of the baseline where it has levels."""
    axis = _Levels([row.level for row in (*found, *before)])
    return _success(axis, found, before), _durations(axis, found, before)


class _Levels:
    """The horizontal axis: no interference at the left, then the powers to scale."""

    def __init__(self, found: Sequence[float | None]) -> None:
        self.known = sorted({level for level in found if level is not None})
        self.calm = None in found

    def x(self, level: float | None) -> float:
        left = _LEFT + (2 * _CALM if self.calm else _CALM)
        if level is None:
            return _LEFT + _CALM / 2
        low, high = self.known[0], self.known[-1]
        return left + (_RIGHT - _CALM - left) * ((level - low) / (high - low) if high > low else 0.5)

    def draw(self, figure: Svg) -> None:
        figure.line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, "ax")
        figure.text((_LEFT + _RIGHT) / 2, _HEIGHT - 12, "power of the interferer, dBm", "tick", anchor="middle")
        if self.calm:
            figure.text(self.x(None), _BOTTOM + 17, "none", "tick", anchor="middle")
            figure.line(_LEFT + _CALM, _TOP, _LEFT + _CALM, _BOTTOM, "vsep")
        labelled = float("-inf")
        for level in self.known:
            figure.line(self.x(level), _BOTTOM, self.x(level), _BOTTOM + 4, "ax")
            if self.x(level) - labelled >= _LABEL:
                labelled = self.x(level)
                figure.text(labelled, _BOTTOM + 17, f"{level:g}".replace("-", "\N{MINUS SIGN}"), "tick", anchor="middle")


def _success(axis: _Levels, found: Sequence[LevelRow], before: Sequence[LevelRow]) -> Markup:
    told = "; ".join(f"{_named(row.level)}: {row.trials - row.failed} of {row.trials}" for row in found)
    figure = Svg(_WIDTH, _HEIGHT, name="levels-success", title="Share of updates that passed, by power of the interferer", text=told)
    weighty = [row.low for row in (*found, *before) if row.trials >= _ENOUGH] or [0.0]
    start = max(start for start in _STARTS if start <= min(weighty))

    def y(share: float) -> float:
        return _BOTTOM - max(share - start, 0.0) / (1 - start) * (_BOTTOM - _TOP)

    _scale(figure, [(y(mark), f"{100 * mark:.4g} %") for mark in (start + (1 - start) * step / 4 for step in range(5))])
    axis.draw(figure)
    for row in before:
        _point(figure, axis.x(row.level) - _BESIDE, y(row.passed_share), (y(row.low), y(row.high)), "b")
    for row in found:
        _point(figure, axis.x(row.level), y(row.passed_share), (y(row.low), y(row.high)), " bad" if row.failed else "")
    return figure.done()


def _durations(axis: _Levels, found: Sequence[LevelRow], before: Sequence[LevelRow]) -> Markup:
    told = "; ".join(f"{_named(row.level)}: {seconds(row.upload.value)}" for row in found)
    figure = Svg(_WIDTH, _HEIGHT, name="levels-duration", title="Median duration of the upload, by power of the interferer", text=told)
    ends = [end for row in (*found, *before) for end in (row.upload.value, row.upload.high) if end is not None]
    highest = 1.08 * max(ends, default=1.0)

    def y(value: float) -> float:
        return _BOTTOM - value / highest * (_BOTTOM - _TOP)

    _scale(figure, [(y(mark), seconds(mark) if mark else "0") for mark in round_marks(0.0, highest, 5)])
    axis.draw(figure)
    _medians(figure, axis, before, y, offset=-_BESIDE, style="b")
    _medians(figure, axis, found, y, offset=0.0, style="")
    return figure.done()


def _medians(figure: Svg, axis: _Levels, rows: Sequence[LevelRow], y: Callable[[float], float], *, offset: float, style: str) -> None:
    for row in rows:
        one = row.upload
        if one.value is not None:
            ends = (y(one.low), y(one.high)) if one.low is not None and one.high is not None else None
            _point(figure, axis.x(row.level) + offset, y(one.value), ends, style)


def _scale(figure: Svg, marks: Sequence[tuple[float, str]]) -> None:
    for height, label in marks:
        figure.line(_LEFT, height, _RIGHT, height, "grid")
        figure.text(_LEFT - 6, height + 4, label, "tick", anchor="end")


def _point(figure: Svg, x: float, y: float, ends: tuple[float, float] | None, style: str) -> None:
    """One value with its interval; without one where the trials are too few for it."""
    if ends is not None:
        figure.line(x, ends[0], x, ends[1], f"iv{style}")
    if style == " bad":
        figure.path(f"M{x:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z", "pt bad")
    else:
        figure.circle(x, y, 2.4 if style == "b" else 4, f"pt{style}")


def _named(level: float | None) -> str:
    return "no interference" if level is None else f"{level:g} dBm"
