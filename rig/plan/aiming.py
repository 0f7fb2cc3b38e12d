"""How a cut is made to fall into a given flash operation: from where it is timed, how early it is commanded, how likely it hits."""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rig.coverage import Known, Shot, Site, following, recognised
from rig.model import CutPlace, OperationKind, Phase, Trigger, TriggerKind

_PRIOR_S, _PRIOR_SPREAD_S = 4e-3, 2e-3
"""From the command to a processor without power, before anything has been learnt: 10 µF at some milliamperes."""
_LEAST_SPREAD_S = 2e-6
_RECENT = 8
"""Cuts at the same operation that its lead is learnt from: the latest."""
_UNLIKELY = 1e-4
_FEW = 2
"""Cuts that are too few for a spread of their own."""
_MARGIN = 4.0
"""Standard deviations by which an anchor must come before the command."""


@dataclass(frozen=True, kw_only=True)
class Lead:
    """How long before its effect a cut has to be commanded, and how much that varies (standard deviation), seconds."""

    mean_s: float
    spread_s: float
    count: int = 0
    """Cuts that it has been learnt from."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to aim at `target`: the trigger, and with which probability the cut strikes which operation."""

    target: Known
    inside: float
    trigger: Trigger
    reach: Mapping[Site, float]

    @property
    def probability(self) -> float:
        """That the cut strikes its target."""
        return self.reach[self.target.site]


@dataclass(frozen=True, kw_only=True)
class _Fall:
    """When a cut takes effect, counted from the beginning of its phase, and how much that varies."""

    at_s: float
    spread_s: float


class Aiming:
    """Aims at the operations of an undisturbed update, by what the cuts so far have shown of the way from command to effect.

    The lead is learnt for each board; for an operation that has been aimed at before from these cuts, else from those at operations
    of its kind in its phase, else from all of the board.
    """

    def __init__(self, known: Sequence[Known], shots: Iterable[Shot]) -> None:
        self._known = known
        self._by_site = {operation.site: operation for operation in known}
        self._by_phase: dict[tuple[Phase, int], list[Known]] = {}
        for operation in known:
            self._by_phase.setdefault((operation.site.phase, operation.site.occurrence), []).append(operation)
        self._places = {known.site: place for operations in self._by_phase.values() for place, known in enumerate(operations)}
        self._leads: dict[tuple[object, ...], list[float]] = {}
        self._timelines: dict[tuple[Phase, int, bool], list[float]] = {}
        self._summaries: dict[tuple[object, ...], Lead | None] = {}
        for shot in shots:
            self._learn(recognised(self._by_site, shot))

    def _learn(self, shot: Shot) -> None:
        """Take in how long after its trigger's offset the cut has fallen, on the time line of an undisturbed update."""
        if shot.aim is None:
            return
        aim = Site(phase=shot.aim.phase, occurrence=shot.aim.occurrence, number=shot.aim.number)
        fell_s = self._fell_s(shot, aim)
        target = self._by_site.get(aim)
        anchor_s = self._anchor_s(shot.trigger, target, staged=shot.staged) if target is not None else None
        if fell_s is None or anchor_s is None:
            return
        lead_s = fell_s - anchor_s - shot.trigger.offset_s
        for key in _keys(shot.board, aim, shot.aim.kind, staged=shot.staged):
            self._leads.setdefault(key, []).append(lead_s)

    def _fell_s(self, shot: Shot, aim: Site) -> float | None:
        """When the cut fell, counted from the phase that was aimed at, as if the update had been an undisturbed one until then."""
        met = shot.struck or shot.after
        operation = self._by_site.get(met) if met is not None and (met.phase, met.occurrence) == (aim.phase, aim.occurrence) else None
        if operation is not None and shot.struck is not None:
            return operation.start_s(staged=shot.staged) + operation.duration_s * shot.progress
        if operation is not None and shot.behind_s is not None:
            return operation.start_s(staged=shot.staged) + operation.duration_s + shot.behind_s
        return shot.into_phase_s

    def _anchor_s(self, trigger: Trigger, target: Known, *, staged: bool) -> float | None:
        """When what `trigger` waits for usually happens, counted from the phase of `target`; None for other triggers than a plan's."""
        if trigger.kind is TriggerKind.PHASE:
            same = (trigger.phase, trigger.occurrence) == (target.site.phase, target.site.occurrence)
            return 0.0 if same else None
        if trigger.kind is not TriggerKind.FLASH_OPERATION or trigger.phase is None:
            return None
        operations = self._by_phase.get((trigger.phase, trigger.occurrence), [])
        anchor = next((known for known in operations if known.words_before == trigger.count - 1), None)
        return target.anchor_s(anchor, staged=staged) if anchor is not None else None

    def lead(self, board: str, target: Known, *, staged: bool) -> Lead:
        """The lead for `target` on `board`: its own where its cuts differ from those at its kind by more than chance, else its kind's."""
        exact, kind, everything = (self._learnt(key) for key in _keys(board, target.site, target.kind, staged=staged))
        wider = kind or everything
        if exact is None or wider is None:
            return exact or wider or Lead(mean_s=_PRIOR_S, spread_s=_PRIOR_SPREAD_S)
        spread_s = exact.spread_s if exact.count > _FEW else wider.spread_s
        differs = abs(exact.mean_s - wider.mean_s) > _MARGIN * max(spread_s, _LEAST_SPREAD_S) / math.sqrt(exact.count)
        return Lead(mean_s=exact.mean_s if differs else wider.mean_s, spread_s=spread_s, count=exact.count)

    def _learnt(self, key: tuple[object, ...]) -> Lead | None:
        """What the cuts under this key show; worked out once."""
        if key not in self._summaries:
            values = self._leads.get(key)
            own = values[-_RECENT:] if values and isinstance(key[-1], Site) else values
            self._summaries[key] = Lead(mean_s=statistics.median(own), spread_s=_spread(own), count=len(own)) if own else None
        return self._summaries[key]

    def leads(self) -> Mapping[str, Lead]:
        """What has been learnt of each board."""
        boards = sorted(str(key[0]) for key in self._leads if len(key) == 1)
        return {board: lead for board in boards if (lead := self._learnt((board,))) is not None}

    def at(self, board: str, target: Known, inside: float, *, staged: bool, place: CutPlace = CutPlace.INSIDE) -> Plan:
        """How to strike `target` on `board` when the share `inside` of it has been done; 1 at a BOUNDARY: half way to the next one."""
        lead = self.lead(board, target, staged=staged)
        falls_s = target.start_s(staged=staged) + inside * target.duration_s
        if place is CutPlace.BOUNDARY and inside >= 1:
            falls_s += self._pause_behind_s(target, staged=staged) / 2
        wanted_s = falls_s - lead.mean_s
        anchor = self._anchor(target, wanted_s - _MARGIN * lead.spread_s, staged=staged)
        site = target.site
        begin_s = target.anchor_s(anchor, staged=staged) if anchor is not None else 0.0
        trigger = Trigger(
            kind=TriggerKind.PHASE if anchor is None else TriggerKind.FLASH_OPERATION,
            phase=site.phase if anchor is None else anchor.site.phase,
            occurrence=site.occurrence if anchor is None else anchor.site.occurrence,
            count=1 if anchor is None else anchor.words_before + 1,
            offset_s=round(max(0.0, wanted_s - begin_s), 6),
        )
        fall = _Fall(
            at_s=falls_s + max(0.0, begin_s - wanted_s),
            spread_s=math.hypot(lead.spread_s, target.spread_s(anchor, staged=staged)),
        )
        return Plan(target=target, inside=inside, trigger=trigger, reach=self._reach(target, fall, staged=staged))

    def _pause_behind_s(self, target: Known, *, staged: bool) -> float:
        """How long after the end of `target` the next operation of its phase usually begins; 0 where there is none."""
        beside = following(self._by_site, target.site)
        if beside is None:
            return 0.0
        return max(0.0, beside.start_s(staged=staged) - target.start_s(staged=staged) - target.duration_s)

    def _reach(self, target: Known, fall: _Fall, *, staged: bool) -> Mapping[Site, float]:
        """The operations that a cut may strike, each with its probability: outwards from its target until nothing is likely any more."""
        operations = self._by_phase[target.site.phase, target.site.occurrence]
        index, starts = self._places[target.site], self._starts(target.site, staged=staged)
        found: dict[Site, float] = {}
        for step, begin in ((1, index), (-1, index - 1)):
            at = begin
            while 0 <= at < len(operations):
                start_s = starts[at]
                probability = window(fall.at_s - start_s, start_s + operations[at].duration_s - fall.at_s, fall.spread_s)
                if at != index and probability < _UNLIKELY:
                    break
                found[operations[at].site] = probability
                at += step
        return found

    def _anchor(self, target: Known, before_s: float, *, staged: bool) -> Known | None:
        """What to time from: the beginning of the phase, or the last operation before the command if that is steadier."""
        if before_s < 0:
            return self._in_an_earlier_phase(target, before_s, staged=staged)
        early = bisect.bisect_right(self._starts(target.site, staged=staged), before_s)
        if not early:
            return None
        last = self._by_phase[target.site.phase, target.site.occurrence][early - 1]
        steadier = target.spread_s(last, staged=staged) <= target.spread_s(None, staged=staged)
        return last if steadier else None

    def _in_an_earlier_phase(self, target: Known, before_s: float, *, staged: bool) -> Known | None:
        """The last operation that begins `before_s` (below 0) from the phase of `target`, in runs of the same way."""
        if not target.begins.get(staged):
            return None
        count = len(target.begins[staged])
        found = [
            (begin_s, known)
            for known in self._known
            if len(known.begins.get(staged, ())) == count and (begin_s := target.anchor_s(known, staged=staged)) <= before_s
        ]
        return max(found, key=lambda entry: entry[0])[1] if found else None

    def _starts(self, site: Site, *, staged: bool) -> list[float]:
        """When the operations of the phase of `site` usually begin, in order."""
        key = (site.phase, site.occurrence, staged)
        if key not in self._timelines:
            self._timelines[key] = [known.start_s(staged=staged) for known in self._by_phase[site.phase, site.occurrence]]
        return self._timelines[key]


def window(before_s: float, after_s: float, spread_s: float) -> float:
    """Probability that a normal error of standard deviation `spread_s` stays between -`before_s` and `after_s`."""
    scale = max(spread_s, _LEAST_SPREAD_S) * math.sqrt(2)
    return max(0.0, 0.5 * (math.erf(after_s / scale) + math.erf(before_s / scale)))


def _keys(board: str, site: Site, kind: OperationKind, *, staged: bool) -> tuple[tuple[object, ...], ...]:
    return (board, staged, site), (board, staged, site.phase, site.occurrence, kind), (board,)


def _spread(values: Sequence[float]) -> float:
    """Standard deviation, from the middle half, so that single cuts gone astray do not count."""
    if len(values) < 2:
        return _PRIOR_SPREAD_S
    middle = statistics.median(values)
    deviation = statistics.median(abs(value - middle) for value in values)
    return max(1.4826 * deviation, _LEAST_SPREAD_S)
