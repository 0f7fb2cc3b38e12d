"""Plans the next round of aimed cuts from what the rounds before have hit.  Pure: equal results give an equal round.

The first round has no fault: it learns which operations an update makes.  Later rounds go by the plan of the scenario: every operation,
a list of them, chance, or adaptive: the cuts that promise most new operations, a share by chance, and where neighbouring cuts ended
differently, cuts between them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from rig.coverage import Known, Shot, Site, coverage, following, recognised
from rig.model import Aim, AimedPlan, CutPlace, PointPlan, Trial, Verdict
from rig.plan.aiming import Aiming
from rig.plan.staging import takes_part

_REFERENCES = 2
"""Runs without a fault, for each board and each way to begin."""
_CALIBRATION = 8
"""Cuts of the first round with faults: what they show makes the next ones hit."""
_BOUNDARY_SHARE = 0.25
"""Share of a round at most that looks at boundaries between outcomes."""
_INSIDE = (0.5, 0.04, 0.96)
"""Where in an operation the first cuts that strike it are aimed at: its middle, then its boundaries."""
_REVISIT = 1e-3
"""What striking an operation again is worth, against striking one for the first time."""
_TRIES = 40
"""Cuts at one place of an operation after which a plan that goes through all of them gives it up."""
_TRIES_BETWEEN = 2
"""Cuts between two operations after which each of them is aimed at by itself."""
_EDGES = (0.95, 0.05)
"""Where in an operation its own boundaries lie."""
_LEAST = 1e-3
"""An operation that is struck less often than this is not worth more for it."""
_DIFFICULTY = 0.9
"""How far being hard to strike makes up for it: a little less than wholly (1), so that what is sure to be struck is not put off."""
_SURE = 0.999
"""No cut is quite sure to strike, so that each makes another one worth a little."""
_NARROW = 0.05
"""Two cuts in the same operation are not told further apart than this share of it."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is known when a round is planned: the operations, the cuts so far, and how many trials have been planned."""

    known: tuple[Known, ...]
    shots: tuple[Shot, ...]
    planned: int


def next_round(aimed: AimedPlan, progress: Progress, number: int) -> tuple[Trial, ...]:
    """The trials of round `number`, from 0, without names; empty when nothing is left to do or to spend."""
    left = aimed.budget - progress.planned
    if left <= 0:
        return ()
    if number == 0:
        return _references(aimed)[:left]
    candidates = targets(aimed, progress.known)
    if not candidates:
        return ()
    return _Round(aimed, progress, candidates, number).trials(min(left, _CALIBRATION if number == 1 else aimed.round_size))


def _references(aimed: AimedPlan) -> tuple[Trial, ...]:
    rng = random.Random(f"{aimed.seed}/references")
    ways = (False, True) if 0 < aimed.staged < 1 else (aimed.staged >= 1,)
    return tuple(
        replace(template, seed=rng.getrandbits(48), staged=staged, again=None)
        for _ in range(_REFERENCES)
        for staged in ways
        for template in aimed.templates
    )


def targets(aimed: AimedPlan, known: Sequence[Known]) -> list[Known]:
    """Those of the known operations that the plan may aim at."""
    return [one for one in known if aimed.aims_at(one.site.phase, one.kind, one.site.number)]


@dataclass(frozen=True, kw_only=True)
class _Choice:
    target: Known
    inside: float
    drawn: str
    place: CutPlace = CutPlace.INSIDE


class _Round:
    """One round while it is planned."""

    def __init__(self, aimed: AimedPlan, progress: Progress, candidates: list[Known], number: int) -> None:
        known = {operation.site: operation for operation in progress.known}
        self._aimed, self._candidates = aimed, candidates
        self._shots = [recognised(known, shot) for shot in progress.shots]
        self._rng = random.Random(f"{aimed.seed}/{number}")
        self._aiming = Aiming(progress.known, progress.shots)
        self._coverage = coverage(progress.known, progress.shots)
        self._hits = self._coverage.hits
        self._planned: Counter[Site] = Counter()
        self._turn = progress.planned
        self._board = aimed.templates[0].board

    def trials(self, count: int) -> tuple[Trial, ...]:
        """At most `count` trials."""
        choose = {
            PointPlan.EVERY: self._missing,
            PointPlan.LIST: self._missing,
            PointPlan.RANDOM: self._random,
            PointPlan.ADAPTIVE: self._adaptive,
        }[self._aimed.plan]
        return tuple(self._trial(choice) for choice in choose(count))

    # ------------------------------------------------------------------------------------------------------- the plans
    def _missing(self, count: int) -> list[_Choice]:
        """Places that no cut has struck yet, those first that have been aimed at least; a few tries in vain are enough."""
        found: list[tuple[int, _Choice]] = []
        if CutPlace.BOUNDARY in self._aimed.places:
            found += self._missing_boundaries()
        if CutPlace.INSIDE in self._aimed.places:
            tried = self._coverage.tried[CutPlace.INSIDE]
            found += [
                (tried[known.site], _Choice(target=known, inside=0.5, drawn="coverage")) for known in self._left_to_do(CutPlace.INSIDE)
            ]
        found.sort(key=lambda entry: entry[0])  # stable: boundaries first, in the order of the update
        return [choice for _, choice in found[:count]]

    def _left_to_do(self, place: CutPlace) -> list[Known]:
        done, tried = self._coverage.done[place], self._coverage.tried[place]
        return [known for known in self._candidates if not done[known.site] and tried[known.site] < _TRIES]

    def _missing_boundaries(self) -> list[tuple[int, _Choice]]:
        """Cuts at boundaries with the tries before: one between two operations where both lack one, else near the end or the beginning."""
        tried = self._coverage.tried[CutPlace.BOUNDARY]
        left = {known.site: known for known in self._left_to_do(CutPlace.BOUNDARY)}
        found, served = [], set()
        for site, known in left.items():
            if site in served:
                continue
            beside = following(left, site)
            tries = tried[site]
            if beside is not None and max(tries, tried[beside.site]) < _TRIES_BETWEEN:
                served.add(beside.site)
                inside = 1.0
            else:
                inside = _EDGES[tries % len(_EDGES)]
            found.append((tries, _Choice(target=known, inside=inside, drawn="coverage", place=CutPlace.BOUNDARY)))
        return found

    def _random(self, count: int) -> list[_Choice]:
        return [self._any() for _ in range(count)]

    def _any(self) -> _Choice:
        return _Choice(target=self._rng.choice(self._candidates), inside=round(self._rng.random(), 3), drawn="chance")

    def _adaptive(self, count: int) -> list[_Choice]:
        chance = round(count * self._aimed.random_share)
        boundaries = self._boundaries(int(count * _BOUNDARY_SHARE))
        found = [*(self._any() for _ in range(chance)), *boundaries]
        return [*found, *self._most_promising(count - len(found))]

    def _most_promising(self, count: int) -> list[_Choice]:
        """The cuts that promise most: an operation that is hard to strike counts more, and what a cut strikes beside its target too."""
        plans = [
            self._aiming.at(self._board, known, 0.5, staged=self._usually_staged(known)) for known in self._candidates
        ]
        wanted = {
            plan.target.site: (1.0 if not self._hits[plan.target.site] else _REVISIT / (1 + self._hits[plan.target.site]))
            / max(plan.probability, _LEAST) ** _DIFFICULTY
            for plan in plans
        }
        worth = [sum(probability * wanted.get(site, 0.0) for site, probability in plan.reach.items()) for plan in plans]
        sharing: dict[Site, list[int]] = {}
        for index, plan in enumerate(plans):
            for site in plan.reach:
                sharing.setdefault(site, []).append(index)
        found = []
        for _ in range(count):
            best = max(range(len(worth)), key=lambda index: (worth[index], -index))
            found.append(self._next_in(self._candidates[best]))
            for site, probability in plans[best].reach.items():
                if site in wanted:
                    less = wanted[site] * probability * _SURE
                    wanted[site] -= less
                    for index in sharing[site]:
                        worth[index] -= less * plans[index].reach[site]
        return found

    def _usually_staged(self, known: Known) -> bool:
        return takes_part(self._aimed.templates[0].protocol, known.site.phase) and self._aimed.staged >= 0.5

    def _next_in(self, known: Known) -> _Choice:
        struck = self._hits[known.site] + self._planned[known.site]
        self._planned[known.site] += self._hits[known.site] > 0
        inside = _INSIDE[struck] if struck < len(_INSIDE) else round(self._rng.random(), 3)
        return _Choice(target=known, inside=inside, drawn="coverage")

    # -------------------------------------------------------------------------------------------------------- boundaries
    def _boundaries(self, most: int) -> list[_Choice]:
        """Cuts half way between neighbours that ended differently; those between good and bad first."""
        places = [known.site for known in self._candidates]
        index = {site: number for number, site in enumerate(places)}
        fallen = sorted(
            (
                (index[shot.struck] + shot.progress, shot)
                for shot in self._shots
                if shot.struck in index and shot.verdict in (Verdict.PASS, Verdict.FAIL)
            ),
            key=lambda entry: entry[0],
        )
        found = [
            ((Verdict.FAIL in (one.verdict, other.verdict), high - low), self._between(low, high))
            for (low, one), (high, other) in pairwise(fallen)
            if (one.verdict, one.outcome) != (other.verdict, other.outcome) and one.struck is not None and other.struck is not None
            if (one.struck.phase, one.struck.occurrence) == (other.struck.phase, other.struck.occurrence) and self._is_wide(low, high)
        ]
        found.sort(key=lambda entry: (not entry[0][0], -entry[0][1]))
        return [choice for _, choice in found[:most]]

    def _is_wide(self, low: float, high: float) -> bool:
        """Whether there is room for another cut between two places, given how exactly cuts fall here."""
        target = self._candidates[int((low + high) / 2)]
        spread_s = self._aiming.lead(self._board, target, staged=self._usually_staged(target)).spread_s
        return high - low > max(_NARROW, min(1.0, spread_s / target.duration_s))

    def _between(self, low: float, high: float) -> _Choice:
        middle = (low + high) / 2
        inside = 0.5 if high - low > 2 else round(middle - int(middle), 3)
        return _Choice(target=self._candidates[int(middle)], inside=inside, drawn="boundary")

    # --------------------------------------------------------------------------------------------------------- the trial
    def _trial(self, choice: _Choice) -> Trial:
        aimed = self._aimed
        template = aimed.templates[self._turn % len(aimed.templates)]
        beside = aimed.beside[self._turn % len(aimed.beside)] if aimed.beside else ()
        self._turn += 1
        site = choice.target.site
        draws = random.Random(self._rng.getrandbits(64))
        staged = takes_part(template.protocol, site.phase) and draws.random() < aimed.staged
        plan = self._aiming.at(template.board, choice.target, choice.inside, staged=staged, place=choice.place)
        aim = Aim(
            phase=site.phase,
            occurrence=site.occurrence,
            number=site.number,
            kind=choice.target.kind,
            inside=choice.inside,
            drawn=choice.drawn,
            place=choice.place,
        )
        cut = replace(aimed.cut, trigger=plan.trigger, aim=aim)
        programme = (*beside[: aimed.position], cut, *beside[aimed.position :])
        return replace(
            template,
            seed=draws.getrandbits(48),
            staged=staged,
            again=template.again if draws.random() < aimed.again else None,
            fault=programme[0],
            further=programme[1:],
            stratum=site.phase.value,
        )


def next_aims(aimed: AimedPlan, progress: Progress, count: int) -> list[Aim]:
    """What a round would aim at next."""
    trials = next_round(replace(aimed, budget=progress.planned + count, round_size=count), progress, 2)
    return [fault.aim for trial in trials for fault in trial.faults if fault.aim is not None]

