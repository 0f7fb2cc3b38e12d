"""Which flash operations a proved power cut has hit, and which never.

How many operations a phase has is read from the journals of a few trials, where the bench counts operations.  Boards of one kind
whose update makes the same number of operations in a phase share that phase, whatever scenario they ran.
"""

from __future__ import annotations

import statistics as middle
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rig.errors import StorageError
from rig.model import Event, Verdict
from rig.report.stock import Stock
from rig.report.table import PHASES

_SAMPLES = 4
_KIND = ("soc", "old_version", "new_version", "scenario")
_NONE = np.empty(0, dtype=np.int64)
_PREPARATION = frozenset({"flash", "boot"})


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The operations of one phase on one kind of board, and how often a cut hit each; index 0 is the first operation."""

    soc: str
    versions: str
    phase: str
    hits: np.ndarray

    @property
    def total(self) -> int:
        return len(self.hits)

    def units(self, size: int) -> np.ndarray:
        """Hits of each `size` operations in a row."""
        padded = np.pad(self.hits, (0, -len(self.hits) % size))
        return np.asarray(padded.reshape(-1, size).sum(axis=1))

    def gaps(self) -> list[tuple[int, int]]:
        """Runs of operations never cut, first and last counted from 1, the longest first."""
        missed = np.concatenate([[0], (self.hits == 0).astype(np.int8), [0]])
        edges = np.flatnonzero(np.diff(missed))
        runs = [(int(first) + 1, int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]
        return sorted(runs, key=lambda run: (run[0] - run[1], run[0]))


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The share of operations that a cut has hit; operations in rows of `size` count as one."""

    hit: int
    total: int
    size: int

    @property
    def share(self) -> float | None:
        """None where nothing is known about operations."""
        return self.hit / self.total if self.total else None


def stretches(stock: Stock) -> list[Stretch]:
    """Every phase with flash operations, for every kind of board, in the order of the phases."""
    trials, cuts = stock.trials, stock.tables.cuts
    known = cuts[cuts["operation"].notna()]
    if known.empty:
        return []
    hits = _hits(trials, known)
    found: dict[tuple[str, str, str, int], np.ndarray] = {}
    for (soc, versions, scenario, phase), total in _totals(stock).items():
        counted = found.setdefault((soc, versions, phase, total), np.zeros(total, dtype=np.int64))
        at = hits.get((soc, versions, scenario, phase), _NONE)
        np.add.at(counted, at[(at >= 1) & (at <= total)] - 1, 1)
    order = {name: index for index, name in enumerate(PHASES)}
    return [
        Stretch(soc=soc, versions=versions, phase=phase, hits=counted)
        for (soc, versions, phase, _), counted in sorted(found.items(), key=lambda item: (order.get(item[0][2], 99), item[0]))
    ]


def _hits(trials: pd.DataFrame, cuts: pd.DataFrame) -> dict[tuple[str, str, str, str], np.ndarray]:
    """The operations that cuts hit, by SoC, versions, scenario and phase; grouped by codes, since there may be a million."""
    rows = cuts["row"].to_numpy()
    keys = [pd.Categorical.from_codes(trials[name].cat.codes.to_numpy()[rows], dtype=trials[name].dtype) for name in _KIND]
    grouped = cuts["operation"].astype("int64").groupby([*keys, cuts["phase"]], observed=True)
    return {
        (str(soc), _pair(old, new), str(scenario), str(phase)): at.to_numpy() for (soc, old, new, scenario, phase), at in grouped
    }


def coverage(found: Sequence[Stretch], phases: Collection[str] = (), size: int = 1) -> Coverage:
    """How many of these operations were hit; `phases` restricts to some."""
    units = [stretch.units(size) for stretch in found if not phases or stretch.phase in phases]
    return Coverage(hit=int(sum((unit > 0).sum() for unit in units)), total=int(sum(len(unit) for unit in units)), size=size)


def _pair(old: object, new: object) -> str:
    return f"{old} \N{RIGHTWARDS ARROW} {new}"


def _totals(stock: Stock) -> dict[tuple[str, str, str, str], int]:
    """Operations of each phase by SoC, versions and scenario, from the journals of a few trials that passed."""
    sound = stock.trials.loc[stock.trials["verdict"].eq(Verdict.PASS.value), [*_KIND, "fault", "campaign", "trial"]]
    found: dict[tuple[str, str, str, str], int] = {}
    for (soc, old, new, scenario), rows in sound.groupby(list(_KIND), observed=True):
        calm = rows[rows["fault"].eq("none")]
        hurt = rows[~rows["fault"].eq("none")]
        chosen = pd.concat([calm.head(_SAMPLES), _spread(hurt, 2 * _SAMPLES)])
        seen: dict[str, list[int]] = {}
        for label, trial in zip(chosen["campaign"], chosen["trial"], strict=True):
            for phase, operations in _operations(stock, str(label), str(trial)):
                seen.setdefault(phase, []).append(operations)
        for phase, numbers in seen.items():
            if total := round(middle.median(numbers)):
                found[str(soc), _pair(old, new), str(scenario), phase] = total
    return found


def _spread(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    return rows.iloc[:: max(len(rows) // most, 1)].head(most)


def _operations(stock: Stock, label: str, trial: str) -> Iterator[tuple[str, int]]:
    """How many operations each phase of the first attempt made, up to the first fault."""
    try:
        events: Sequence[Event] = stock.campaign(label).journal(trial).events
    except StorageError:
        return
    phase, begun = "", 0
    for event in events:
        if event.kind in ("fault.delivered", "observe.start"):
            return
        if event.kind == "phase.start" and isinstance(event.data.get("operation"), int):
            if phase and event.data["operation"] >= begun and phase not in _PREPARATION:
                yield phase, event.data["operation"] - begun
            phase, begun = str(event.data.get("phase")), event.data["operation"]
