"""The power-cut map: where proved cuts fell, a lane per board, quiet where the device recovered and loud where it did not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from rig.model import Outcome, Verdict
from rig.report.coverage import Stretch
from rig.report.stock import Stock
from rig.report.svg import Svg, ticks
from rig.report.table import CONCLUSIVE, PHASES
from rig.report.words import count, encodable, phase, seconds

_WIDTH, _LEFT, _RIGHT = 1112.0, 168.0, 1096.0
_TOP, _LANE, _LEGEND = 84.0, 25.0, 64.0
_NARROWEST = 62.0
_BIN = 4.0
_LABEL, _LEGEND_CHAR = 7.8, 7.2
"""Width of one character of a failure's label and of the legend, generous: fonts differ, and print enlarges them."""
_MANY_CUTS, _MANY_BOARDS = 5000, 24
"""Above either, lanes show density instead of single cuts, so that the page stays small."""
_SHADES = 4
_LOUD = 120
"""Failures that get a mark with a link; further ones are marks only."""
_BACK = (Outcome.ROLLED_BACK.value, Outcome.REFUSED.value)

Anchor = Callable[[str, str], str]
"""From a campaign's label and a trial's name to the element of the page that tells about it."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A phase on the axis: from `left` to `right` for 0 … `length` of its unit."""

    name: str
    left: float
    right: float
    length: float
    label: str

    def x(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(self.left + np.minimum(values / self.length, 1.0) * (self.right - self.left))


@dataclass(frozen=True, kw_only=True)
class _View:
    """What differs between the two maps."""

    name: str
    title: str
    axis: str


_BY_TIME = _View(
    name="by-time",
    title="Power cuts by the time since the phase began",
    axis="time since the phase began; each phase has its own scale, its length stands beside its name",
)
_BY_OPERATION = _View(
    name="by-operation",
    title="Power cuts by flash operation",
    axis="flash operations that had begun in the phase",
)


def proved_cuts(stock: Stock) -> pd.DataFrame:
    """Every proved cut of the conclusive trials with its trial's campaign, name, board, outcome, and whether it failed."""
    cuts, trials = stock.tables.cuts, stock.trials.iloc[stock.tables.cuts["row"]]
    found = {name: trials[name].astype(object).to_numpy() for name in ("campaign", "trial", "board", "outcome")}
    found["failed"] = trials["verdict"].eq(Verdict.FAIL.value).to_numpy()
    return cuts.assign(**found)


def map_by_time(stock: Stock, cuts: pd.DataFrame, anchor: Anchor) -> Markup | None:
    """The map over the time since the phase began; None when no cut has such a time."""
    known = cuts[cuts["into_s"].notna()]
    if known.empty:
        return None
    table, lengths = stock.trials, dict[str, float]()
    latest = known.groupby(known["phase"].astype(object))["into_s"].max()
    for name in _in_order(map(str, latest.index)):
        usual = table.loc[table["verdict"].isin(CONCLUSIVE), f"{name}_s"].median() if name in PHASES else 0.0
        lengths[name] = max(float(latest[name]), 0.0 if pd.isna(usual) else float(usual), 1e-6)
    segments = share_out(lengths, {name: seconds(length) for name, length in lengths.items()}, power=0.5)
    placed = _placed(known, known["into_s"], segments)
    return _Map(stock, known, placed, segments=segments, view=_BY_TIME, anchor=anchor).figure(marks=None)


def map_by_operation(stock: Stock, cuts: pd.DataFrame, found: Sequence[Stretch], anchor: Anchor) -> Markup | None:
    """The map over the flash operations that had begun when power fell; None when the bench did not see operations."""
    known = cuts[cuts["operation"].notna()]
    if known.empty:
        return None
    lengths: dict[str, float] = {}
    latest = known.groupby(known["phase"].astype(object))["operation"].max()
    totals = {name: max(stretch.total for stretch in found if stretch.phase == name) for name in {s.phase for s in found}}
    for name in _in_order([*map(str, latest.index), *totals]):
        lengths[name] = 1.0 + max(float(latest.get(name, 0)), totals.get(name, 0))
    segments = share_out(lengths, {name: count(round(length) - 1, "op") for name, length in lengths.items()}, power=0.5)
    placed = _placed(known, known["operation"] + 0.5, segments)
    return _Map(stock, known, placed, segments=segments, view=_BY_OPERATION, anchor=anchor).figure(marks=totals)


def _placed(cuts: pd.DataFrame, values: pd.Series, segments: dict[str, Segment]) -> np.ndarray:
    x = np.zeros(len(cuts))
    phases = cuts["phase"].astype(object).to_numpy()
    for name, segment in segments.items():
        mine = phases == name
        x[mine] = segment.x(values.to_numpy(dtype=np.float64)[mine])
    return x


def _in_order(names: Iterable[str]) -> list[str]:
    found = set(names)
    return [name for name in PHASES if name in found] + sorted(found - set(PHASES))


def share_out(lengths: dict[str, float], labels: dict[str, str], *, power: float) -> dict[str, Segment]:
    """Share out the width of the axis: something for every phase, so that a short one stays readable, the rest by length to the `power`."""
    weights = {name: length**power for name, length in lengths.items()}
    floor = min(_NARROWEST, (_RIGHT - _LEFT) / max(len(lengths), 1))
    spare = (_RIGHT - _LEFT) - floor * len(lengths)
    left, segments = _LEFT, {}
    for name, length in lengths.items():
        right = left + floor + spare * weights[name] / sum(weights.values())
        segments[name] = Segment(name=name, left=left, right=right, length=length, label=labels[name])
        left = right
    return segments


class _Map:
    """One of the two views while it is drawn."""

    def __init__(
        self, stock: Stock, cuts: pd.DataFrame, x: np.ndarray, *, segments: dict[str, Segment], view: _View, anchor: Anchor
    ) -> None:
        self.boards = list({board.name: board for campaign in stock.campaigns for board in campaign.plan.boards}.values())
        self.cuts, self.x, self.segments, self.view, self.anchor = cuts, x, segments, view, anchor
        self.bottom = _TOP + _LANE * len(self.boards)
        self.dense = len(cuts) > _MANY_CUTS or len(self.boards) > _MANY_BOARDS
        self.failed = cuts["failed"].to_numpy(dtype=bool)
        self.svg = Svg(
            _WIDTH,
            self.bottom + _LEGEND,
            classes="fig map",
            name=view.name,
            title=view.title,
            links=bool(self.failed.any()),
            text=f"{count(len(cuts), 'cut')} on {count(len(self.boards), 'board')}, {int(self.failed.sum())} of them followed by a failure.",
        )

    def figure(self, *, marks: dict[str, int] | None) -> Markup:
        """The drawing; `marks` are the operations of each phase where those never cut are to be marked."""
        figure = self.svg
        bands(figure, list(self.segments.values()))
        bins = np.bincount(((self.x - _LEFT) / _BIN).astype(int), minlength=int((_RIGHT - _LEFT) / _BIN) + 1)
        _density(figure, bins)
        if marks is not None:
            self._never(bins, marks)
        for lane in range(0, len(self.boards), 2):
            figure.rect(_LEFT, _TOP + lane * _LANE, _RIGHT - _LEFT, _LANE, "stripe")
        for segment in self.segments.values():
            figure.line(segment.left, 22, segment.left, self.bottom + 4, "vsep")
        names = self.cuts["board"].to_numpy()
        self._loud = 0
        for lane, board in enumerate(self.boards):
            top = _TOP + lane * _LANE
            figure.text(6, top + 16, _short(board.name, 13), "lab b")
            figure.text(_LEFT - 10, top + 16, _short(board.soc, 10), "lab s", anchor="end")
            self._lane(top, names == encodable(board.name))
        figure.line(_LEFT, self.bottom, _RIGHT, self.bottom, "ax")
        figure.text((_LEFT + _RIGHT) / 2, self.bottom + 20, self.view.axis, "tick", anchor="middle")
        bricked = bool((self.failed & (self.cuts["outcome"].to_numpy() == Outcome.BRICKED.value)).any())
        _legend(figure, self.bottom + 50, failed=bool(self.failed.any()), bricked=bricked, never=marks is not None, dense=self.dense)
        return figure.done()

    def _never(self, bins: np.ndarray, totals: dict[str, int]) -> None:
        """A mark above every place of the axis that holds operations and no cut of any board."""
        strokes = []
        for name, segment in self.segments.items():
            if not totals.get(name):
                continue
            first, last = int((segment.left - _LEFT) / _BIN) + 1, int((segment.right - _LEFT) / _BIN) - 1
            strokes += [f"M{_LEFT + (i + 0.5) * _BIN:.1f} 77v5" for i in range(first, last + 1) if not bins[i]]
        self.svg.path("".join(strokes), "unc")

    def _lane(self, top: float, mine: np.ndarray) -> None:
        """Recoveries as ticks, long ones for the new image and short ones for the old; failures as labelled marks on top of them."""
        outcomes = self.cuts["outcome"].to_numpy()
        sound, back = mine & ~self.failed, np.isin(outcomes, _BACK)
        if self.dense:
            self._cells(top, self.x[sound])
        else:
            self.svg.path(ticks(self.x[sound & ~back].tolist(), top + 5, 15), "ck fwd")
            self.svg.path(ticks(self.x[sound & back].tolist(), top + 12, 8), "ck back")
        bad = np.flatnonzero(mine & self.failed)
        bad = bad[np.argsort(self.x[bad], kind="stable")]
        neighbours = np.concatenate([[-np.inf], self.x[bad], [np.inf]])
        for place, index in enumerate(bad):
            self._failure(top, int(index), before=float(neighbours[place]), after=float(neighbours[place + 2]))

    def _cells(self, top: float, x: np.ndarray) -> None:
        """The density of recoveries, in a few shades: one path for each."""
        bins = np.bincount(((x - _LEFT) / _BIN).astype(int)) if len(x) else np.zeros(1, dtype=int)
        shades = np.ceil(_SHADES * np.sqrt(bins / max(bins.max(), 1))).astype(int)
        for shade in range(1, _SHADES + 1):
            self.svg.path("".join(f"M{_LEFT + (i + 0.5) * _BIN:.1f} {top + 4:.0f}v17" for i in np.flatnonzero(shades == shade)), f"cell s{shade}")

    def _failure(self, top: float, index: int, *, before: float, after: float) -> None:
        """A mark, with a label where the marks `before` and `after` it leave room for one."""
        cut, x = self.cuts.iloc[index], float(self.x[index])
        label = f"{cut.trial} {cut.outcome}"
        width = 12 + len(label) * _LABEL
        right = x + width < _RIGHT
        span = (x - 8, x + width) if right else (x - width, x + 8)
        free = before + width + 8 < span[0] and span[1] < after - 8 if not right else span[1] < after - 8
        self._loud += 1
        linked = self._loud <= _LOUD
        if linked:
            self.svg.open_link(self.anchor(cut.campaign, cut.trial), f"{label}, {phase(cut.phase)}")
        self.svg.rect(span[0] if free else x - 8, top + 3, width + 8 if free else 16, 19, "halo")
        failure_mark(self.svg, x, top + 12.5, bricked=cut.outcome == Outcome.BRICKED.value)
        if free:
            self.svg.text(x + 10 if right else x - 10, top + 16.5, label, "fl", anchor="start" if right else "end")
        if linked:
            self.svg.close_link()


def bands(figure: Svg, segments: Sequence[Segment]) -> None:
    """The names of the phases along the top of a map."""
    for index, segment in enumerate(segments):
        width, name = segment.right - segment.left, phase(segment.name)
        figure.rect(segment.left, 22, width, 18, f"band b{index % 2}", hint=f"{name}: {segment.label}")
        both = f"{name} · {segment.label}"
        middle = (segment.left + segment.right) / 2
        if len(both) * 7.4 < width:
            figure.text(middle, 35, both, "bandt", anchor="middle")
        else:
            figure.text(middle, 35, _short(name, int(width / 6.2)), "bandt", anchor="middle")
            figure.text(middle, 15, _short(segment.label, int(width / 5.8)), "tick", anchor="middle")


def _density(figure: Svg, bins: np.ndarray) -> None:
    figure.text(_LEFT - 10, 66, "all cuts", "lab s", anchor="end")
    highest = max(int(bins.max()), 1)
    bars = (f"M{_LEFT + (index + 0.5) * _BIN:.1f} 74v-{3 + 25 * bins[index] / highest:.1f}" for index in np.flatnonzero(bins))
    figure.path("".join(bars), "cov")


def failure_mark(figure: Svg, x: float, y: float, *, bricked: bool) -> None:
    """What stands where a cut was followed by a failure."""
    if bricked:
        figure.path(f"M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10", "xb")
    else:
        figure.path(f"M{x:.1f} {y - 6.5:.1f}l6.5 6.5l-6.5 6.5l-6.5 -6.5z", "xs")


def _legend(figure: Svg, y: float, *, failed: bool, bricked: bool, never: bool, dense: bool) -> None:
    x = _LEFT
    entries = [("fwd", "recovered: new image runs"), ("back", "recovered: old image runs")]
    if dense:
        entries = [("cell s4", "recovered; the darker, the more")]
    for style, label in entries:
        figure.path(f"M{x:.1f} {y - 4:.1f}v8" if style == "back" else f"M{x:.1f} {y - 11:.1f}v15", f"ck {style} big")
        figure.text(x + 9, y, label, "tick")
        x += 32 + len(label) * _LEGEND_CHAR
    if failed:
        failure_mark(figure, x + 4, y - 4, bricked=False)
        figure.text(x + 16, y, "failed", "tick")
        x += 84
    if bricked:
        failure_mark(figure, x + 4, y - 4, bricked=True)
        figure.text(x + 16, y, "failed: no longer serves", "tick")
        x += 200
    if never:
        figure.path(f"M{x:.1f} {y - 6:.1f}v5", "unc")
        figure.text(x + 9, y, "never cut", "tick")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(most - 1, 1)] + "…"
