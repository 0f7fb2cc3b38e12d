"""Which operations were aimed at, hit and never hit, inside and at their boundaries, by phase and by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rig.coverage.known import Known, Site
from rig.coverage.places import bordered, following, is_inside, recognised
from rig.coverage.shots import Shot
from rig.model import CutPlace, OperationKind, Phase


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A row of the table: one phase, one kind of operation.  `hit` counts those that were struck anywhere."""

    phase: Phase
    occurrence: int
    kind: OperationKind
    known: int
    aimed: int
    hit: int
    inside: int
    at_boundary: int
    never: tuple[int, ...]
    """Numbers of the operations that no cut has struck."""
    never_inside: tuple[int, ...]
    never_at_boundary: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """`hits` counts the cuts that struck an operation anywhere, `done` those inside it and those at its boundary.

    `aimed` counts the cuts that were to strike it, `tried` tells them apart by where; an aim between two operations counts for both.
    """

    known: tuple[Known, ...]
    aimed: Counter[Site] = field(default_factory=Counter)
    hits: Counter[Site] = field(default_factory=Counter)
    tried: Mapping[CutPlace, Counter[Site]] = field(default_factory=lambda: {place: Counter() for place in CutPlace})
    done: Mapping[CutPlace, Counter[Site]] = field(default_factory=lambda: {place: Counter() for place in CutPlace})

    @property
    def share(self) -> float | None:
        """Share of the known operations that were hit; None while none is known."""
        return self._share_of(self.hits)

    def share_at(self, place: CutPlace) -> float | None:
        """Share of the known operations that were cut there; None while none is known."""
        return self._share_of(self.done[place])

    def _share_of(self, counted: Counter[Site]) -> float | None:
        return sum(counted[known.site] > 0 for known in self.known) / len(self.known) if self.known else None

    def cells(self) -> tuple[Cell, ...]:
        """The table, in the order of the phases."""
        rows = dict.fromkeys((known.site.phase, known.site.occurrence, known.kind) for known in self.known)
        return tuple(self._cell(*row) for row in rows)

    def _cell(self, phase: Phase, occurrence: int, kind: OperationKind) -> Cell:
        sites = [known.site for known in self.known if (known.site.phase, known.site.occurrence, known.kind) == (phase, occurrence, kind)]
        inside, at_boundary = self.done[CutPlace.INSIDE], self.done[CutPlace.BOUNDARY]
        return Cell(
            phase=phase,
            occurrence=occurrence,
            kind=kind,
            known=len(sites),
            aimed=sum(self.aimed[site] > 0 for site in sites),
            hit=sum(self.hits[site] > 0 for site in sites),
            inside=sum(inside[site] > 0 for site in sites),
            at_boundary=sum(at_boundary[site] > 0 for site in sites),
            never=_without(self.hits, sites),
            never_inside=_without(inside, sites),
            never_at_boundary=_without(at_boundary, sites),
        )


def _without(counted: Counter[Site], sites: Sequence[Site]) -> tuple[int, ...]:
    return tuple(site.number for site in sites if not counted[site])


def cuts_until(share: float, known: Sequence[Known], shots: Iterable[Shot]) -> int | None:
    """How many of `shots`, in their order, it took to strike this share of the operations; None when they have not."""
    by_site = {operation.site: operation for operation in known}
    struck: set[Site] = set()
    for number, shot in enumerate(shots, start=1):
        met = recognised(by_site, shot).struck
        if met in by_site:
            struck.add(met)
        if len(struck) >= share * len(by_site):
            return number
    return None


def coverage(known: Sequence[Known], shots: Iterable[Shot]) -> Coverage:
    """Count `shots` against the operations of an undisturbed update."""
    found = Coverage(known=tuple(known))
    by_site = {operation.site: operation for operation in known}
    for shot in (recognised(by_site, one) for one in shots):
        if shot.aim is not None:
            site = Site(phase=shot.aim.phase, occurrence=shot.aim.occurrence, number=shot.aim.number)
            found.aimed[site] += 1
            found.tried[shot.aim.place][site] += 1
            between = shot.aim.place is CutPlace.BOUNDARY and shot.aim.inside >= 1
            if between and (beside := following(by_site, site)) is not None:
                found.tried[CutPlace.BOUNDARY][beside.site] += 1
        if shot.struck is not None:
            found.hits[shot.struck] += 1
            found.done[CutPlace.INSIDE][shot.struck] += is_inside(shot)
        found.done[CutPlace.BOUNDARY].update(bordered(by_site, shot))
    return found
