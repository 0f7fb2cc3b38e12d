"""Campaign by campaign: failures, update time, and what was lost to the rig, so that rig trouble is seen as rig trouble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from rig.report import breakdown
from rig.report.statistics import Counts, interval
from rig.report.stock import Stock
from rig.report.svg import Svg
from rig.report.table import LOST
from rig.report.words import count, percent, seconds

_WIDTH, _LEFT, _RIGHT = 1112.0, 64.0, 1096.0
_PANELS = ((44.0, 166.0), (196.0, 244.0), (268.0, 308.0))
"""Top and bottom of failures, update time and losses."""
_HEIGHT = 344.0
_LABEL_WIDTH = 92.0


@dataclass(frozen=True, kw_only=True)
class Night:
    """One campaign of a series."""

    label: str
    created: str
    release: str
    baseline: bool
    counts: Counts
    low: float
    high: float
    update_s: float | None
    """Median of the undisturbed updates."""
    attempted: int
    lost: int

    @property
    def lost_share(self) -> float:
        return self.lost / self.attempted if self.attempted else 0.0


def nights(stock: Stock, baseline: Stock | None = None) -> list[Night]:
    """Every campaign, the oldest first; those of the baseline are marked."""
    found = [_night(part, label, baseline=part is baseline) for part in (baseline, stock) if part for label in part.labels]
    return sorted(found, key=lambda night: (night.created, night.label))


def _night(stock: Stock, label: str, *, baseline: bool) -> Night:
    trials = stock.trials[stock.trials["campaign"].eq(label)]
    counts = breakdown.counts_of(breakdown.independent(trials))
    low, high = interval(counts.failed, counts.trials)
    times = breakdown.update_times(trials)
    releases = list(dict.fromkeys(map(str, trials["new_version"].astype(object))))
    return Night(
        label=label,
        created=stock.campaign(label).provenance.created,
        release=", ".join(releases[:2]),
        baseline=baseline,
        counts=counts,
        low=low,
        high=high,
        update_s=float(np.median(times)) if len(times) else None,
        attempted=int(trials["verdict"].notna().sum()),
        lost=int(trials["verdict"].isin(LOST).sum()),
    )


def figure(found: Sequence[Night]) -> Markup | None:
    """The series as three panels on one axis; None for a single campaign, which is no series."""
    if len(found) < 2:
        return None
    figure = Svg(
        _WIDTH, _HEIGHT, name="trend", title="Campaign by campaign",
        text="Failures per thousand with 95 percent intervals, median update time and trials lost to the rig, per campaign.",
    )  # fmt: skip
    step = (_RIGHT - _LEFT) / len(found)
    places = [_LEFT + (index + 0.5) * step for index in range(len(found))]
    _failures(figure, found, places)
    _durations(figure, found, places)
    _losses(figure, found, places, width=min(step * 0.5, 14))
    every = max(1, round(_LABEL_WIDTH / step + 0.49))
    for index, (night, x) in enumerate(zip(found, places, strict=True)):
        if index % every == 0:
            figure.text(x, _HEIGHT - 20, night.created[:10], "tick", anchor="middle")
            figure.text(x, _HEIGHT - 6, f"{night.release[:12]}{' (base)' if night.baseline else ''}", "tick", anchor="middle")
    return figure.done()


def _failures(figure: Svg, found: Sequence[Night], places: Sequence[float]) -> None:
    top, bottom = _PANELS[0]
    highest = 1000 * max(min(night.high, 4 * night.counts.failed / night.counts.trials + 0.02 if night.counts.trials else 0.02) for night in found)
    scale = _Scale(0.0, highest, top, bottom)
    scale.draw(figure, "Updates that did not recover, per 1,000 (95 % interval)", "{:g}")
    for night, x in zip(found, places, strict=True):
        if not night.counts.trials:
            continue
        bad = " bad" if night.counts.failed else ""
        style = "b" if night.baseline and not bad else f" h{bad}"
        figure.line(x, scale.y(1000 * night.low), x, scale.y(1000 * night.high), f"iv{style}")
        share = 1000 * night.counts.failed / night.counts.trials
        figure.circle(x, scale.y(share), 4, f"pt{style}" if bad else f"pt{style} zero0")


def _durations(figure: Svg, found: Sequence[Night], places: Sequence[float]) -> None:
    known = [night.update_s for night in found if night.update_s is not None]
    if not known:
        return
    spread = max(max(known) - min(known), 0.02 * max(known))
    scale = _Scale(min(known) - 0.2 * spread, max(known) + 0.2 * spread, *_PANELS[1])
    scale.draw(figure, "Median update time, s", "{:.4g}")
    for night, x in zip(found, places, strict=True):
        if night.update_s is not None:
            figure.circle(x, scale.y(night.update_s), 2.6, "pt sm")


def _losses(figure: Svg, found: Sequence[Night], places: Sequence[float], *, width: float) -> None:
    scale = _Scale(0.0, max(100 * max(night.lost_share for night in found), 1.0), *_PANELS[2])
    scale.draw(figure, "Trials lost to the rig, %", "{:g}")
    for night, x in zip(found, places, strict=True):
        height = scale.bottom - scale.y(100 * night.lost_share)
        figure.rect(x - width / 2, scale.bottom - max(height, 0.8), width, max(height, 0.8), "rig bad" if night.lost_share > 0.05 else "rig")


class _Scale:
    """A vertical axis with three marks."""

    def __init__(self, low: float, high: float, top: float, bottom: float) -> None:
        self.low, self.high, self.top, self.bottom = low, max(high, low + 1e-9), top, bottom

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.bottom - share * (self.bottom - self.top)

    def draw(self, figure: Svg, title: str, form: str) -> None:
        figure.text(_LEFT, self.top - 8, title, "lab b")
        for share in (0.0, 0.5, 1.0):
            value = self.low + share * (self.high - self.low)
            figure.line(_LEFT, self.y(value), _RIGHT, self.y(value), "grid")
            figure.text(_LEFT - 6, self.y(value) + 4, form.format(float(f"{value:.3g}")), "tick", anchor="end")


def as_text(found: Sequence[Night]) -> str:
    """The series for a terminal, one line per campaign."""
    head = f"{'campaign':28} {'date':10}  {'release':12} {'failed':>16}  {'95 % interval':>20}  {'update':>9}  {'lost to the rig':>20}"
    lines = [head]
    for night in found:
        share = f"{night.counts.failed:,} of {night.counts.trials:,}"
        between = f"{percent(night.low)} to {percent(night.high)}"
        gone = f"{percent(night.lost_share)} of {count(night.attempted, 'trial')}"
        lines.append(f"{night.label[-28:]:28} {night.created[:10]:10}  {night.release[:12]:12} {share:>16}  {between:>20}  {seconds(night.update_s):>9}  {gone:>20}")
    return "\n".join(lines)
