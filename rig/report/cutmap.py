"""The power-cut map: one tick per proved cut, a lane per board, quiet where the device recovered and loud where it did not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from rig.model import Outcome, Verdict
from rig.report.breakdown import CONCLUSIVE
from rig.report.svg import Svg, ticks
from rig.report.table import PHASES
from rig.report.words import count, phase, seconds
from rig.store import Plan, TrialRecord

_WIDTH, _LEFT, _RIGHT = 1112.0, 168.0, 1096.0
_TOP, _LANE, _LEGEND = 84.0, 25.0, 64.0
_NARROWEST = 62.0
_BIN = 4.0
_LABEL, _LEGEND_CHAR = 7.8, 7.2
"""Width of one character of a failure's label and of the legend, generous: fonts differ, and print enlarges them."""

_BACK = frozenset({Outcome.ROLLED_BACK, Outcome.REFUSED})


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One proved cut of a conclusive trial: where it fell, and how the device ended.

    `into_s` counts from the start of the phase, `operation` the flash operations that had begun since then, where known.
    """

    trial: str
    board: str
    phase: str
    into_s: float | None
    operation: int | None
    failed: bool
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class _Segment:
    """A phase on the axis: from `left` to `right` for 0 … `length` of its unit."""

    name: str
    left: float
    right: float
    length: float
    label: str

    def x(self, value: float) -> float:
        return self.left + min(value / self.length, 1.0) * (self.right - self.left)


def proved_cuts(records: Sequence[TrialRecord]) -> list[Cut]:
    """Every proved cut of the conclusive trials."""
    return [
        Cut(
            trial=record.trial.id,
            board=record.trial.board,
            phase=mark.phase,
            into_s=None if mark.into_phase_ns is None else mark.into_phase_ns / 1e9,
            operation=mark.operation,
            failed=record.judgement.verdict is Verdict.FAIL,
            outcome=record.judgement.outcome,
        )
        for record in records
        if record.judgement and record.judgement.verdict.value in CONCLUSIVE and record.evidence
        for mark in record.evidence.faults
        if mark.proved
    ]


def map_by_time(plan: Plan, cuts: Sequence[Cut], table: pd.DataFrame) -> Markup | None:
    """The map over the time since the phase began; None when no cut has such a time."""
    known = [(cut, cut.into_s) for cut in cuts if cut.into_s is not None]
    lengths: dict[str, float] = {}
    for name in _in_order(cut.phase for cut, _ in known):
        usual = table.loc[table["verdict"].isin(CONCLUSIVE), f"{name}_s"].median() if name in PHASES else 0.0
        latest = max(into_s for cut, into_s in known if cut.phase == name)
        lengths[name] = max(latest, 0.0 if pd.isna(usual) else float(usual), 1e-6)
    segments = _segments(lengths, {name: seconds(length) for name, length in lengths.items()}, power=0.5)
    return _figure(plan, [(cut, segments[cut.phase].x(into)) for cut, into in known], segments, _BY_TIME) if known else None


def map_by_operation(plan: Plan, cuts: Sequence[Cut]) -> Markup | None:
    """The map over the flash operations that had begun when power fell; None when the bench did not see operations."""
    known = [(cut, cut.operation) for cut in cuts if cut.operation is not None]
    lengths: dict[str, float] = {}
    for name in _in_order(cut.phase for cut, _ in known):
        lengths[name] = 1.0 + max(operation for cut, operation in known if cut.phase == name)
    segments = _segments(lengths, {name: count(round(length) - 1, "op") for name, length in lengths.items()}, power=1.0)
    placed = [(cut, segments[cut.phase].x(operation + 0.5)) for cut, operation in known]
    return _figure(plan, placed, segments, _BY_OPERATION) if known else None


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
    axis="flash operations that had begun in the phase, up to the latest cut",
)


def _in_order(names: Iterable[str]) -> list[str]:
    found = set(names)
    return [name for name in PHASES if name in found] + sorted(found - set(PHASES))


def _segments(lengths: dict[str, float], labels: dict[str, str], *, power: float) -> dict[str, _Segment]:
    """Share out the width: something for every phase, so that a short one stays readable, the rest by length to the `power`."""
    weights = {name: length**power for name, length in lengths.items()}
    floor = min(_NARROWEST, (_RIGHT - _LEFT) / max(len(lengths), 1))
    spare = (_RIGHT - _LEFT) - floor * len(lengths)
    left, segments = _LEFT, {}
    for name, length in lengths.items():
        right = left + floor + spare * weights[name] / sum(weights.values())
        segments[name] = _Segment(name=name, left=left, right=right, length=length, label=labels[name])
        left = right
    return segments


def _figure(plan: Plan, placed: Sequence[tuple[Cut, float]], segments: dict[str, _Segment], view: _View) -> Markup:
    bottom = _TOP + _LANE * len(plan.boards)
    failed = sum(cut.failed for cut, _ in placed)
    figure = Svg(
        _WIDTH,
        bottom + _LEGEND,
        classes="fig map",
        name=view.name,
        title=view.title,
        text=f"{count(len(placed), 'cut')} on {count(len(plan.boards), 'board')}, {failed} of them followed by a failure.",
    )
    _bands(figure, list(segments.values()))
    _density(figure, [x for _, x in placed])
    for lane in range(0, len(plan.boards), 2):
        figure.rect(_LEFT, _TOP + lane * _LANE, _RIGHT - _LEFT, _LANE, "stripe")
    for segment in segments.values():
        figure.line(segment.left, 22, segment.left, bottom + 4, "vsep")
    for lane, board in enumerate(plan.boards):
        top = _TOP + lane * _LANE
        figure.text(6, top + 16, _short(board.name, 13), "lab b")
        figure.text(_LEFT - 10, top + 16, _short(board.soc, 10), "lab s", anchor="end")
        _lane(figure, top, [(cut, x) for cut, x in placed if cut.board == board.name])
    figure.line(_LEFT, bottom, _RIGHT, bottom, "ax")
    figure.text((_LEFT + _RIGHT) / 2, bottom + 20, view.axis, "tick", anchor="middle")
    _legend(figure, bottom + 50, failed=failed, bricked=any(cut.outcome is Outcome.BRICKED for cut, _ in placed if cut.failed))
    return figure.done()


def _bands(figure: Svg, segments: Sequence[_Segment]) -> None:
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


def _density(figure: Svg, positions: Sequence[float]) -> None:
    figure.text(_LEFT - 10, 66, "all cuts", "lab s", anchor="end")
    bins: dict[int, int] = {}
    for x in positions:
        bins[int((x - _LEFT) / _BIN)] = bins.get(int((x - _LEFT) / _BIN), 0) + 1
    highest = max(bins.values(), default=1)
    bars = (f"M{_LEFT + (index + 0.5) * _BIN:.1f} 74v-{3 + 25 * number / highest:.1f}" for index, number in sorted(bins.items()))
    figure.path("".join(bars), "cov")


def _lane(figure: Svg, top: float, placed: Sequence[tuple[Cut, float]]) -> None:
    """Recoveries as ticks, long ones for the new image and short ones for the old; failures as labelled marks on top of them."""
    sound = [(cut, x) for cut, x in placed if not cut.failed]
    figure.path(ticks([x for cut, x in sound if cut.outcome not in _BACK], top + 5, 15), "ck fwd")
    figure.path(ticks([x for cut, x in sound if cut.outcome in _BACK], top + 12, 8), "ck back")
    taken: list[tuple[float, float]] = []
    for cut, x in sorted((pair for pair in placed if pair[0].failed), key=lambda pair: pair[1]):
        label = f"{cut.trial} {cut.outcome.value}"
        width = 12 + len(label) * _LABEL
        right = x + width < _RIGHT
        span = (x - 8, x + width) if right else (x - width, x + 8)
        free = all(span[1] <= left or span[0] >= end for left, end in taken)
        taken.append(span if free else (x - 8, x + 8))
        figure.open_link(f"trial-{cut.trial}", f"{label}, {phase(cut.phase)}")
        figure.rect(span[0] if free else x - 8, top + 3, width + 8 if free else 16, 19, "halo")
        _mark(figure, x, top + 12.5, bricked=cut.outcome is Outcome.BRICKED)
        if free:
            figure.text(x + 10 if right else x - 10, top + 16.5, label, "fl", anchor="start" if right else "end")
        figure.close_link()


def _mark(figure: Svg, x: float, y: float, *, bricked: bool) -> None:
    if bricked:
        figure.path(f"M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10", "xb")
    else:
        figure.path(f"M{x:.1f} {y - 6.5:.1f}l6.5 6.5l-6.5 6.5l-6.5 -6.5z", "xs")


def _legend(figure: Svg, y: float, *, failed: int, bricked: bool) -> None:
    entries = [("fwd", "recovered: new image runs"), ("back", "recovered: old image runs")]
    x = _LEFT
    for style, label in entries:
        figure.path(f"M{x:.1f} {y - 11:.1f}v15" if style == "fwd" else f"M{x:.1f} {y - 4:.1f}v8", f"ck {style} big")
        figure.text(x + 9, y, label, "tick")
        x += 32 + len(label) * _LEGEND_CHAR
    if failed:
        _mark(figure, x + 4, y - 4, bricked=False)
        figure.text(x + 16, y, "failed", "tick")
        x += 84
    if bricked:
        _mark(figure, x + 4, y - 4, bricked=True)
        figure.text(x + 16, y, "failed: no longer serves", "tick")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(most - 1, 1)] + "…"
