"""Whether boards, or nights, fail alike, and what the release figure would be without each of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from rig.report.statistics.answer import CONFIDENCE, Answer, Counts, Floats, Ints, check_open_unit, pooled
from rig.report.statistics.many_comparisons import adjusted
from rig.report.statistics.proportions import upper_bound

_MOST_TABLES = 20_000
_DRAWS = 9_999
_SAME = 1e-9
"""Two tables whose statistics differ by less, relatively, are equally extreme."""


@dataclass(frozen=True, kw_only=True)
class Homogeneity(Answer):
    """Whether groups differ in their failure probability by more than chance.

    `p_value` is exact, or from seeded draws where `exact` is false; None where nothing can be compared.  `standouts` are the groups
    that fail oftener than the others together, after Holm's correction for the number of groups; none is named unless the groups differ.
    """

    what: str
    groups: Mapping[str, Counts]
    confidence: float
    p_value: float | None = None
    exact: bool = True
    standouts: tuple[str, ...] = ()

    @property
    def differ(self) -> bool:
        """Whether the groups differ significantly, so that the pooled figure speaks only of this mixture of them."""
        return self.p_value is not None and self.p_value <= 1.0 - self.confidence

    @property
    def note(self) -> str:
        """The result in one sentence without a full stop."""
        if self.p_value is None or self.lacking:
            return f"whether the {self.what}s differ cannot be told: {self.lacking}"
        number = f"p = {self.p_value:.2g}"
        if not self.differ:
            return f"no sign that the {self.what}s differ ({number}), which does not prove that they are alike"
        who = f"; {', '.join(self.standouts)} stand{'s' if len(self.standouts) == 1 else ''} out" if self.standouts else ""
        return f"the {self.what}s differ by more than chance ({number}){who}"


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(Answer):
    """The one-sided bound on the failure probability: of all groups together, and without each in turn.

    `worst` is the group with the highest bound of its own; `worst_bound` holds for all groups at once (the confidence is divided by
    their number after Bonferroni), and is what remains to be said when the groups may not be pooled.
    """

    what: str
    confidence: float
    bound: float
    without: Mapping[str, float]
    worst: str = ""
    worst_bound: float = 1.0

    def carried_by(self, limit: float) -> tuple[str, ...]:
        """The groups that alone keep the bound from being below `limit`."""
        return tuple(name for name, bound in self.without.items() if bound < limit <= self.bound)

    def rests_on(self, limit: float) -> tuple[str, ...]:
        """The groups without whose trials the bound would not be below `limit`."""
        return tuple(name for name, bound in self.without.items() if self.bound < limit <= bound)


def homogeneity(groups: Mapping[str, Counts], confidence: float = CONFIDENCE, *, what: str = "board", seed: int = 1) -> Homogeneity:
    """Compare the groups' failures by Pearson's statistic, under all ways to deal the same failures out to the same trials.

    Failures are rare, so the chi-square approximation (five expected in every group) is not used.  The p value is the sum over all
    tables where they are few, and else from draws, counted after Phipson and Smyth (Stat. Appl. Genet. Mol. Biol. 9, 2010).

    Raises:
        ValueError: `confidence` is not strictly between 0 and 1.
    """
    check_open_unit(confidence=confidence)
    tried = {name: counts for name, counts in groups.items() if counts.trials}
    total = pooled(tried.values())
    if len(tried) < 2:
        return Homogeneity(what=what, groups=groups, confidence=confidence, lacking=_too_few(tried, what))
    if total.failed in (0, total.trials):
        lacking = "nothing failed" if not total.failed else "everything failed"
        return Homogeneity(what=what, groups=groups, confidence=confidence, lacking=lacking)
    trials = np.array([counts.trials for counts in tried.values()])
    failed = np.array([counts.failed for counts in tried.values()])
    if math.comb(len(tried) + total.failed - 1, total.failed) <= _MOST_TABLES:
        p_value, least, exact = *_enumerated(failed, trials), True
    else:
        p_value, least, exact = _drawn(failed, trials, seed), 0.0, False
    return Homogeneity(
        what=what,
        groups=groups,
        confidence=confidence,
        p_value=p_value,
        exact=exact,
        standouts=_standouts(tried, total, 1.0 - confidence) if p_value <= 1.0 - confidence else (),
        lacking=f"{total.failed} failures are too few to tell, however they fall" if least > 1.0 - confidence else "",
    )


def _too_few(tried: Mapping[str, Counts], what: str) -> str:
    return f"only one {what} was tried" if tried else f"no {what} was tried"


def _statistic(failed: Ints, trials: Ints) -> Floats:
    """Pearson's chi-square up to constants that the margins fix, so that it orders the tables alike."""
    return np.asarray((failed**2 / trials).sum(axis=-1))


def _enumerated(failed: Ints, trials: Ints) -> tuple[float, float]:
    """The p value, and the smallest that any table with these margins could have given."""
    total = int(failed.sum())
    dealt = np.array(list(itertools.combinations_with_replacement(range(len(trials)), total)))
    tables = (dealt[:, :, None] == np.arange(len(trials))).sum(axis=1)
    tables = tables[(tables <= trials).all(axis=1)]
    logs = (special.gammaln(trials + 1) - special.gammaln(tables + 1) - special.gammaln(trials - tables + 1)).sum(axis=1)
    chances = np.exp(logs - logs.max())
    chances /= chances.sum()
    statistics = _statistic(tables, trials)
    extreme = statistics >= _statistic(failed, trials) * (1.0 - _SAME)
    most = statistics >= statistics.max() * (1.0 - _SAME)
    return min(1.0, float(chances[extreme].sum())), float(chances[most].sum())


def _drawn(failed: Ints, trials: Ints, seed: int) -> float:
    """The p value from random tables with the same margins."""
    tables = np.random.default_rng(seed).multivariate_hypergeometric(trials, int(failed.sum()), size=_DRAWS)
    extreme = int((_statistic(tables, trials) >= _statistic(failed, trials) * (1.0 - _SAME)).sum())
    return (1 + extreme) / (1 + _DRAWS)


def _standouts(groups: Mapping[str, Counts], total: Counts, error: float) -> tuple[str, ...]:
    from scipy import stats  # noqa: PLC0415 - half a second, which groups that do not differ need not cost

    tails = [stats.hypergeom.sf(counts.failed - 1, total.trials, total.failed, counts.trials) for counts in groups.values()]
    corrected = adjusted([min(1.0, float(tail)) for tail in tails])
    return tuple(name for name, p in zip(groups, corrected, strict=True) if p is not None and p <= error)


def leave_one_out(groups: Mapping[str, Counts], confidence: float = CONFIDENCE, *, what: str = "board") -> LeaveOneOut:
    """The release figure with all groups and without each, so that a single bad or too kind one cannot move it unseen.

    Raises:
        ValueError: `confidence` is not strictly between 0 and 1.
    """
    check_open_unit(confidence=confidence)
    tried = {name: counts for name, counts in groups.items() if counts.trials}
    total = pooled(tried.values())
    bound = upper_bound(total.failed, total.trials, confidence)
    if len(tried) < 2:
        return LeaveOneOut(what=what, confidence=confidence, bound=bound, without={}, lacking=_too_few(tried, what))
    own = {name: upper_bound(part.failed, part.trials, 1.0 - (1.0 - confidence) / len(tried)) for name, part in tried.items()}
    worst = max(own, key=own.__getitem__)
    return LeaveOneOut(
        what=what,
        confidence=confidence,
        bound=bound,
        without={
            name: upper_bound(total.failed - part.failed, total.trials - part.trials, confidence) for name, part in tried.items()
        },
        worst=worst,
        worst_bound=own[worst],
    )
