"""One failed trial, every channel on one clock: supply voltage, Bluetooth, flash operations and console, over its numbered log."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from rig.model import Event
from rig.report.failures import Excerpt
from rig.report.svg import Svg
from rig.report.words import offset, phase

_WIDTH, _LEFT, _RIGHT = 1112.0, 92.0, 1096.0
_LANES = {"VDD": 74.0, "Bluetooth": 110.0, "Flash": 142.0, "Console": 174.0, "Log": 204.0}
_HEIGHT = 250.0
_HIGH, _LOW = 44.0, 74.0
_BREAK = 0.12
"""A silence longer than this share of the time shown is cut short, and says how long it was."""
_BROKEN_WIDTH = 46.0
_MARKS_APART = 13.0


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A stretch of time that is drawn to scale, from `left` to `right`."""

    start_ns: int
    end_ns: int
    left: float
    right: float

    def x(self, t_ns: int) -> float:
        span = max(self.end_ns - self.start_ns, 1)
        return self.left + (t_ns - self.start_ns) / span * (self.right - self.left)


class _Clock:
    """A time axis from which long silences are cut out."""

    def __init__(self, times: Sequence[int]) -> None:
        times = sorted(set(times))
        span = max(times[-1] - times[0], 1)
        groups = [[times[0]]]
        for before, t_ns in itertools.pairwise(times):
            if t_ns - before > _BREAK * span:
                groups.append([])
            groups[-1].append(t_ns)
        inner = sum(group[-1] - group[0] for group in groups)
        room = _RIGHT - _LEFT - _BROKEN_WIDTH * (len(groups) - 1)
        floor = room * 0.35 / len(groups)
        left, self.pieces = _LEFT, list[_Piece]()
        for group in groups:
            share = (group[-1] - group[0]) / inner if inner else 1 / len(groups)
            width = floor + (room - floor * len(groups)) * share
            margin = max((group[-1] - group[0]) // 25, 1_000_000)
            self.pieces.append(_Piece(start_ns=group[0] - margin, end_ns=group[-1] + margin, left=left, right=left + width))
            left += width + _BROKEN_WIDTH

    def x(self, t_ns: int) -> float:
        """Where an instant lies; one in a silence lies in the break."""
        for piece in self.pieces:
            if t_ns <= piece.end_ns:
                return piece.x(max(t_ns, piece.start_ns)) if t_ns >= piece.start_ns else piece.left - _BROKEN_WIDTH / 2
        return self.pieces[-1].right


def timeline(excerpt: Excerpt, folder: Path, name: str) -> Markup | None:
    """The figure for the trial whose evidence lies in `folder`; None where there is too little to draw."""
    if len(excerpt.lines) < 2:
        return None
    zero = excerpt.zero_ns
    clock = _Clock([line.t_ns for line in excerpt.lines])
    figure = Svg(
        _WIDTH, _HEIGHT, classes="fig ev", name=name, title="Every channel on one clock",
        text="Supply voltage, Bluetooth, flash and console around the fault; the numbers are those of the log below.",
    )  # fmt: skip
    for index, piece in enumerate(clock.pieces):
        figure.rect(piece.left, 28, piece.right - piece.left, 192, "evbg")
        figure.text(piece.left + 2, 236, offset(piece.start_ns), "evn")
        if index:
            silence = piece.start_ns - clock.pieces[index - 1].end_ns
            figure.text(piece.left - _BROKEN_WIDTH / 2, 130, "//", "brk", anchor="middle")
            figure.text(piece.left - _BROKEN_WIDTH / 2, 146, offset(silence).lstrip("+"), "evn", anchor="middle")
    for label, y in _LANES.items():
        figure.text(_LEFT - 8, y, label, "lab b", anchor="end")
    events = [event for event in excerpt.events if clock.pieces[0].start_ns <= event.t_ns - zero <= clock.pieces[-1].end_ns]
    _voltage(figure, clock, _levels(excerpt.events, folder, zero))
    _links(figure, clock, events, zero)
    _flash(figure, clock, events, zero)
    for event in events:
        if event.kind == "console.line":
            x = clock.x(event.t_ns - zero)
            figure.line(x, _LANES["Console"] - 14, x, _LANES["Console"] + 2, "um bad" if str(event.data.get("text", "")).startswith("E:") else "um")
    _numbers(figure, clock, excerpt)
    _cuts(figure, clock, excerpt.events, zero)
    figure.text((_LEFT + _RIGHT) / 2, 248, "time from the first cut; breaks cut out long silences", "tick", anchor="middle")
    return figure.done()


def _levels(events: Sequence[Event], folder: Path, zero: int) -> list[tuple[int, bool]]:
    """When the supply voltage went high or low, as its samples show it, else as it was commanded."""
    found: list[tuple[int, bool]] = []
    for event in events:
        if event.kind == "supply.trace" and isinstance(event.data.get("file"), str):
            found += _edges(folder / Path(str(event.data["file"])).name, zero)
        elif event.kind == "fault.delivered":
            fell = event.data.get("vdd_fell_t_ns", event.t_ns)
            found.append(((fell if isinstance(fell, int) else event.t_ns) - zero, False))
        elif event.kind in ("supply.on", "supply.off"):
            at = event.data.get("command_t_ns", event.t_ns)
            found.append(((at if isinstance(at, int) else event.t_ns) - zero, event.kind == "supply.on"))
    return sorted(found)


def _edges(trace: Path, zero: int) -> list[tuple[int, bool]]:
    """The level changes in a stored stretch of supply samples; none where it does not tell the level."""
    try:
        with trace.open(encoding="ascii", newline="") as file:
            head = dict(part.split("=", 1) for part in file.readline().lstrip("# ").split())
            t_ns, step_ns = int(head["start_ns"]) - zero, int(head["step_ns"])
            found: list[tuple[int, bool]] = []
            for row in csv.DictReader(file):
                if not row["logic"]:
                    return []
                high = bool(int(row["logic"]) & 1)
                if not found or found[-1][1] != high:
                    found.append((t_ns, high))
                t_ns += int(row["samples"]) * step_ns
    except (OSError, ValueError, KeyError):
        return []
    return found


def _voltage(figure: Svg, clock: _Clock, levels: Sequence[tuple[int, bool]]) -> None:
    """The level as a stepped line within each piece of the axis."""
    for piece in clock.pieces:
        before = [high for t_ns, high in levels if t_ns < piece.start_ns]
        high = before[-1] if before else True
        path = f"M{piece.left:.1f} {_HIGH if high else _LOW:.1f}"
        for t_ns, high in levels:
            if piece.start_ns <= t_ns <= piece.end_ns:
                path += f"H{piece.x(t_ns):.1f}V{_HIGH if high else _LOW:.1f}"
        figure.path(f"{path}H{piece.right:.1f}", "vdd")


def _links(figure: Svg, clock: _Clock, events: Sequence[Event], zero: int) -> None:
    """Connections as bars, advertisements heard as strokes, silence established by the rig as a dashed bar."""
    y, since = _LANES["Bluetooth"] - 12, None
    for event in events:
        x = clock.x(event.t_ns - zero)
        if event.kind == "radio.connected":
            since = x
        elif event.kind == "radio.lost" and since is not None:
            figure.rect(since, y, max(x - since, 2), 12, "ble")
            since = None
        elif event.kind == "radio.found":
            figure.line(x, y, x, y + 12, "blef")
        elif event.kind == "dut.silent":
            figure.text(x - 4, y + 10, "not heard", "fl", anchor="end")
    if since is not None:
        figure.rect(since, y, max(clock.pieces[-1].right - since, 2), 12, "ble")


def _flash(figure: Svg, clock: _Clock, events: Sequence[Event], zero: int) -> None:
    """The phases, darker where the flash was worked on, with their operations where the bench counts them."""
    starts = [event for event in events if event.kind == "phase.start"]
    y = _LANES["Flash"] - 13
    for index, event in enumerate(starts):
        left = clock.x(event.t_ns - zero)
        ends = [end.t_ns for end in events if end.kind in ("phase.end", "fault.delivered") and end.t_ns >= event.t_ns]
        after = starts[index + 1].t_ns if index + 1 < len(starts) else events[-1].t_ns
        right = clock.x(min([*ends, after]) - zero)
        if right - left < 1:
            continue
        name = phase(str(event.data.get("phase")))
        figure.rect(left, y, right - left, 15, "fw" if event.data.get("phase") in ("upload", "mark", "install", "confirm") else "fe", hint=name)
        if right - left > 8 * len(name):
            figure.text((left + right) / 2, y + 11, name, "ftx", anchor="middle")


def _numbers(figure: Svg, clock: _Clock, excerpt: Excerpt) -> None:
    """The numbers of the log's key lines, where they do not run into each other."""
    last = -_MARKS_APART
    y = _LANES["Log"]
    for line in sorted(excerpt.lines, key=lambda line: (line.t_ns, line.seq)):
        x = clock.x(line.t_ns)
        figure.line(x, y - 12, x, y - 6, "um bad" if line.key else "um")
        if x - last >= _MARKS_APART * (1 if len(str(line.seq)) < 3 else 1.8):
            figure.text(x, y + 6, str(line.seq), "evn", anchor="middle")
            last = x


def _cuts(figure: Svg, clock: _Clock, events: Sequence[Event], zero: int) -> None:
    for event in events:
        if event.kind == "fault.delivered":
            fell = event.data.get("vdd_fell_t_ns", event.t_ns)
            x = clock.x((fell if isinstance(fell, int) else event.t_ns) - zero)
            figure.line(x, 24, x, 218, "cut")
            figure.text(x, 18, "power cut", "fl", anchor="middle")
