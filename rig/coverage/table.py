"""Which operations were aimed at, hit and never hit, by phase and by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rig.coverage.known import Known, Site
from rig.coverage.shots import Shot
from rig.model import OperationKind, Phase

_EDGE = 0.1
"""A hit in the first or last tenth of an operation is one at its boundary."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A row of the table: one phase, one kind of operation."""

    phase: Phase
    occurrence: int
    kind: OperationKind
    known: int
    aimed: int
    hit: int
    at_boundary: int
    never: tuple[int, ...]
    """Numbers of the operations that no cut has struck."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """`hits` counts the cuts that struck an operation, `boundaries` those in its first or last tenth or just beside it."""

    known: tuple[Known, ...]
    aimed: Counter[Site] = field(default_factory=Counter)
    hits: Counter[Site] = field(default_factory=Counter)
    boundaries: Counter[Site] = field(default_factory=Counter)

    @property
    def share(self) -> float | None:
        """Share of the known operations that were hit; None while none is known."""
        return sum(self.hits[known.site] > 0 for known in self.known) / len(self.known) if self.known else None

    def cells(self) -> tuple[Cell, ...]:
        """The table, in the order of the phases."""
        rows = dict.fromkeys((known.site.phase, known.site.occurrence, known.kind) for known in self.known)
        return tuple(self._cell(*row) for row in rows)

    def _cell(self, phase: Phase, occurrence: int, kind: OperationKind) -> Cell:
        sites = [known.site for known in self.known if (known.site.phase, known.site.occurrence, known.kind) == (phase, occurrence, kind)]
        return Cell(
            phase=phase,
            occurrence=occurrence,
            kind=kind,
            known=len(sites),
            aimed=sum(self.aimed[site] > 0 for site in sites),
            hit=sum(self.hits[site] > 0 for site in sites),
            at_boundary=sum(self.boundaries[site] > 0 for site in sites),
            never=tuple(site.number for site in sites if not self.hits[site]),
        )


def coverage(known: Sequence[Known], shots: Iterable[Shot]) -> Coverage:
    """Count `shots` against the operations of an undisturbed update."""
    found = Coverage(known=tuple(known))
    for shot in shots:
        if shot.aim is not None:
            found.aimed[Site(phase=shot.aim.phase, occurrence=shot.aim.occurrence, number=shot.aim.number)] += 1
        if shot.struck is not None:
            found.hits[shot.struck] += 1
            if not _EDGE <= shot.progress <= 1 - _EDGE:
                found.boundaries[shot.struck] += 1
        elif shot.after is not None:
            found.boundaries[shot.after] += 1
    return found
