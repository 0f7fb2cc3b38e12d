"""How a cut is made to fall into a given flash operation: from where it is timed, how early it is commanded, how likely it hits."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rig.coverage import Known, Shot, Site
from rig.model import OperationKind, Phase, Trigger, TriggerKind

_PRIOR_S, _PRIOR_SPREAD_S = 4e-3, 2e-3
"""From the command to a processor without power, before anything has been learnt: 10 µF at some milliamperes."""
_LEAST_SPREAD_S = 2e-6
_RECENT = 8
"""Cuts at the same operation that its lead is learnt from: the latest."""
_MARGIN = 4.0
"""Standard deviations by which an anchor must come before the command."""


@dataclass(frozen=True, kw_only=True)
class Lead:
    """How long before its effect a cut has to be commanded, and how much that varies (standard deviation), seconds."""

    mean_s: float
    spread_s: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to aim at `target`: the trigger, and the probability that the cut strikes it."""

    target: Known
    inside: float
    trigger: Trigger
    probability: float


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
        self._leads: dict[tuple[object, ...], list[float]] = {}
        for shot in shots:
            self._learn(shot)

    def _learn(self, shot: Shot) -> None:
        """Take in how long after its trigger's offset the cut has fallen, on the time line of an undisturbed update."""
        if shot.aim is None or (shot.trigger.phase, shot.trigger.occurrence) != (shot.aim.phase, shot.aim.occurrence):
            return
        aim = Site(phase=shot.aim.phase, occurrence=shot.aim.occurrence, number=shot.aim.number)
        struck = self._by_site.get(shot.struck) if shot.struck else None
        if struck is not None and (struck.site.phase, struck.site.occurrence) == (aim.phase, aim.occurrence):
            fell_s: float | None = struck.start_s(staged=shot.staged) + struck.duration_s * shot.progress
        else:
            fell_s = shot.into_phase_s
        if fell_s is None or aim not in self._by_site:
            return
        lead_s = fell_s - self._anchor_s(shot.trigger, aim, staged=shot.staged) - shot.trigger.offset_s
        for key in _keys(shot.board, aim, shot.aim.kind, staged=shot.staged):
            self._leads.setdefault(key, []).append(lead_s)

    def _anchor_s(self, trigger: Trigger, site: Site, *, staged: bool) -> float:
        if trigger.kind is not TriggerKind.FLASH_OPERATION:
            return 0.0
        operations = self._by_phase[site.phase, site.occurrence]
        return next((known.start_s(staged=staged) for known in operations if known.words_before == trigger.count - 1), 0.0)

    def lead(self, board: str, target: Known, *, staged: bool) -> Lead:
        """The lead for `target` on `board`."""
        exact, kind, everything = (self._leads.get(key, []) for key in _keys(board, target.site, target.kind, staged=staged))
        spread_s = next((_spread(found) for found in (exact[-_RECENT:], kind, everything) if len(found) > 2), _PRIOR_SPREAD_S)
        for found in (exact[-_RECENT:], kind, everything):
            if found:
                return Lead(mean_s=statistics.median(found), spread_s=spread_s)
        return Lead(mean_s=_PRIOR_S, spread_s=_PRIOR_SPREAD_S)

    def leads(self) -> Mapping[str, Lead]:
        """What has been learnt of each board."""
        found = {str(key[0]): values for key, values in self._leads.items() if len(key) == 1}
        return {board: Lead(mean_s=statistics.median(values), spread_s=_spread(values)) for board, values in sorted(found.items())}

    def at(self, board: str, target: Known, inside: float, *, staged: bool) -> Plan:
        """How to strike `target` on `board` when the share `inside` of it has been done."""
        lead = self.lead(board, target, staged=staged)
        wanted_s = target.start_s(staged=staged) + inside * target.duration_s - lead.mean_s
        anchor = self._anchor(target, wanted_s - _MARGIN * lead.spread_s, staged=staged)
        site = target.site
        begin_s = anchor.start_s(staged=staged) if anchor is not None else 0.0
        trigger = Trigger(
            kind=TriggerKind.PHASE if anchor is None else TriggerKind.FLASH_OPERATION,
            phase=site.phase,
            occurrence=site.occurrence,
            count=1 if anchor is None else anchor.words_before + 1,
            offset_s=round(max(0.0, wanted_s - begin_s), 6),
        )
        late_s = max(0.0, begin_s - wanted_s)
        spread_s = math.hypot(lead.spread_s, target.spread_s(anchor, staged=staged))
        probability = window(inside * target.duration_s + late_s, (1 - inside) * target.duration_s - late_s, spread_s)
        return Plan(target=target, inside=inside, trigger=trigger, probability=probability)

    def _anchor(self, target: Known, before_s: float, *, staged: bool) -> Known | None:
        """What to time from: the beginning of the phase, or the last operation before the command if that is steadier."""
        operations = self._by_phase[target.site.phase, target.site.occurrence]
        early = [known for known in operations if known.start_s(staged=staged) <= before_s]
        if not early:
            return None
        steadier = target.spread_s(early[-1], staged=staged) <= target.spread_s(None, staged=staged)
        return early[-1] if steadier else None


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
