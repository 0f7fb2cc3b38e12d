"""What went wrong, trial by trial: failed and lost trials with links to their evidence, and excerpts of the journals of some."""

from __future__ import annotations

import bisect
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from rig.errors import StorageError
from rig.model import Event, Json, Verdict
from rig.report.stock import Stock
from rig.report.table import LOST
from rig.report.words import offset
from rig.store import Campaign

EXCERPTS = 20
"""Failures whose journals are quoted; the others are listed with links to theirs."""
_LINES = 40
_NOISE = frozenset({"upload.chunk", "phase.end"})


@dataclass(frozen=True, kw_only=True)
class Line:
    """One event of an excerpt; `key` marks those on which the judgement rests."""

    seq: int
    t_ns: int
    """Since the first cut, or the first event where nothing was cut."""
    when: str
    source: str
    text: str
    key: bool


@dataclass(frozen=True, kw_only=True)
class Link:
    """A file of the trial, relative to the page."""

    name: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One trial that needs a reader: the facts, the evidence, and how to repeat it.  `key` is unique within the page."""

    key: str
    trial: str
    campaign: str
    board: str
    phase: str
    verdict: str
    outcome: str
    reason: str
    stratum: str
    seed: str
    operation: int | None
    replay: str
    links: tuple[Link, ...]


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """What the journal of a trial says around the judgement; `left_out` counts the events that are not shown."""

    lines: tuple[Line, ...]
    left_out: int
    events: tuple[Event, ...]
    zero_ns: int
    """The instant of the first cut; without one, of the first event."""
    cut: bool


class Teller:
    """Describes trials for a page that lies in `folder`, or for one beside its only campaign when None."""

    def __init__(self, stock: Stock, folder: Path | None = None) -> None:
        self._stock, self._folder = stock, folder
        telling = stock.trials[stock.trials["verdict"].notna() & ~stock.trials["verdict"].eq(Verdict.PASS.value)]
        self._rows: dict[tuple[str, str], Any] = {(row.campaign, row.trial): row for row in telling.itertuples()}

    def lost(self, most: int) -> list[Failure]:
        """The first judged trials that say nothing about the device."""
        return [self._described(row) for row in self._rows.values() if row.verdict in LOST][:most]

    def told(self, label: str, trial: str) -> Failure:
        """One trial that did not pass."""
        return self._described(self._rows[label, trial])

    def _described(self, row: Any) -> Failure:
        values = row._asdict()
        campaign = self._stock.campaign(values["campaign"])
        phase = "control" if values["fault"] == "none" else values["fault_phase"]
        return Failure(
            key=self._stock.key(values["campaign"], values["trial"]),
            trial=values["trial"],
            campaign=values["campaign"],
            board=values["board"],
            phase=phase if isinstance(phase, str) else "",
            verdict=values["verdict"],
            outcome=values["outcome"],
            reason=values["reason"],
            stratum=values["stratum"],
            seed=values["seed"],
            operation=None if pd.isna(values["operation"]) else int(values["operation"]),
            replay=f"rig replay {folder_argument(campaign)} {values['trial']}",
            links=self._links(campaign, values["trial"]),
        )

    def _links(self, campaign: Campaign, trial: str) -> tuple[Link, ...]:
        evidence = campaign.evidence(trial)
        folder = campaign.trial_folder(trial)
        shown = folder.relative_to(campaign.path) if self._folder is None else Path(os.path.relpath(folder, self._folder))
        names = [file.name for file in evidence.files] if evidence else []
        return tuple(Link(name=name, target=quote(f"{shown.as_posix()}/{name}")) for name in names)

    def excerpt(self, label: str, trial: str) -> Excerpt | None:
        """What the trial's journal says around its judgement; None where it cannot be read."""
        campaign = self._stock.campaign(label)
        try:
            events = campaign.journal(trial).events
        except StorageError:
            return None
        judgement = campaign.judgement(trial)
        because = frozenset(judgement.because if judgement else ())
        evidence = campaign.evidence(trial)
        zero = evidence.faults[0].t_ns if evidence and evidence.faults else events[0].t_ns if events else 0
        shown = _chosen(events, because)
        lines = tuple(_line(event, zero, key=event.seq in because) for event in shown)
        return Excerpt(lines=lines, left_out=len(events) - len(shown), events=events, zero_ns=zero, cut=bool(evidence and evidence.faults))


def folder_argument(campaign: Campaign) -> str:
    """The campaign's folder as a command line wants it, from where the report was asked for."""
    return shlex.quote(str(campaign.path))


def _chosen(events: Sequence[Event], because: frozenset[int]) -> list[Event]:
    """The events that prove the judgement, the faults, and of the others those nearest to either."""
    landmarks = sorted(because | {event.seq for event in events if event.kind.startswith("fault.")})

    def rank(event: Event) -> tuple[int, int]:
        place = bisect.bisect(landmarks, event.seq)
        return min((abs(event.seq - landmark) for landmark in landmarks[max(place - 1, 0) : place + 1]), default=0), event.seq

    telling = (event for event in events if event.seq in because or event.kind not in _NOISE)
    return sorted(sorted(telling, key=rank)[:_LINES], key=lambda event: event.seq)


def _line(event: Event, zero_ns: int, *, key: bool) -> Line:
    return Line(seq=event.seq, t_ns=event.t_ns - zero_ns, when=offset(event.t_ns - zero_ns), source=event.source, text=_worded(event, zero_ns), key=key)


def _worded(event: Event, zero_ns: int) -> str:
    if event.kind == "console.line":
        return str(event.data.get("text", ""))
    details = ", ".join(_detail(name, value, zero_ns) for name, value in event.data.items() if value is not None)
    return f"{event.kind}: {details}" if details else event.kind


def _detail(name: str, value: Json, zero_ns: int) -> str:
    if name.endswith("_t_ns") and isinstance(value, int):  # an instant, as the first column shows them
        return f"{name.removesuffix('_t_ns')} at {offset(value - zero_ns)}"
    return f"{name} {_value(value)}"


def _value(value: Json) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name} {_value(inner)}" for name, inner in value.items() if inner is not None) + ")"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)  # a SHA-256 is known by its start
