"""From the findings of many trials to how each requirement, and each practice, stands.  Pure, like the judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rig.model import Finding
from rig.practices.catalogue import REQUIREMENTS
from rig.practices.requirement import Applies, Practice, Requirement
from rig.product import Product


class Standing(StrEnum):
    """How a requirement or a practice stands.  Only trials that could have failed make anything PROVEN."""

    PROVEN = "proven"
    PARTLY = "partly"
    FAILED = "failed"
    ACCEPTED_RISK = "accepted risk"
    NOT_COVERED = "not covered"
    NOT_APPLICABLE = "not applicable"
    INSPECTION_NEEDED = "inspection needed"


@dataclass(frozen=True, kw_only=True)
class RequirementScore:
    """One requirement over all trials that were to prove it; `trials` and `failed` name them by scenario and trial."""

    requirement: Requirement
    standing: Standing
    reason: str
    met: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    """(scenario, trial) of every trial that shows it violated."""
    proved_by: tuple[tuple[str, str], ...] = ()
    """(scenario, trial) of trials that show it met."""
    undecided: int = 0


@dataclass(frozen=True, kw_only=True)
class PracticeScore:
    """One practice and its requirements."""

    practice: Practice
    standing: Standing
    reason: str
    requirements: tuple[RequirementScore, ...]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What one trial says about one requirement."""

    scenario: str
    trial: str
    finding: Finding


def score(product: Product, shown: Iterable[Shown]) -> tuple[PracticeScore, ...]:
    """Every practice of `product`, in order, judged by what the trials have `shown`."""
    by_requirement: dict[str, list[Shown]] = {}
    for one in shown:
        by_requirement.setdefault(one.finding.requirement, []).append(one)
    failing = {name for name, all_of_it in by_requirement.items() if any(one.finding.met is False for one in all_of_it)}
    scores = [_requirement(requirement, product, by_requirement.get(name, []), failing) for name, requirement in REQUIREMENTS.items()]
    return tuple(_practice(practice, [one for one in scores if one.requirement.practice is practice]) for practice in Practice)


def blamed(scores: Sequence[PracticeScore]) -> tuple[Practice, ...]:
    """The practices with a requirement that trials show violated."""
    return tuple(one.practice for one in scores if any(requirement.failed for requirement in one.requirements))


def causes(requirement: Requirement, failing: set[str]) -> tuple[str, ...]:
    """The requirements in `failing` that explain a failure of this one, however far back."""
    found: list[str] = []
    for name in requirement.after:
        found += [name] if name in failing else causes(REQUIREMENTS[name], failing)
    return tuple(dict.fromkeys(found))


_STANDING_IF: Mapping[Applies, Standing] = {
    Applies.NO: Standing.NOT_APPLICABLE,
    Applies.NOT_PROMISED: Standing.NOT_COVERED,
    Applies.WEAK: Standing.FAILED,
    Applies.INSPECTION: Standing.INSPECTION_NEEDED,
}


def _requirement(requirement: Requirement, product: Product, shown: Sequence[Shown], failing: set[str]) -> RequirementScore:
    found = requirement.applies(product)
    if found.applies is not Applies.YES:
        accepted = product.accepted_risks.get(requirement.practice.slug)
        if found.applies is Applies.WEAK and accepted:
            return RequirementScore(requirement=requirement, standing=Standing.ACCEPTED_RISK, reason=f"{found.reason}; accepted: {accepted}")
        return RequirementScore(requirement=requirement, standing=_STANDING_IF[found.applies], reason=found.reason)
    violated = [one for one in shown if one.finding.met is False]
    met = [one for one in shown if one.finding.met]
    if violated and (earlier := causes(requirement, failing)):
        reason = f"cannot be told while {' and '.join(earlier)} {'fails' if len(earlier) == 1 else 'fail'}"
        return RequirementScore(requirement=requirement, standing=Standing.NOT_COVERED, reason=reason, undecided=len(shown))
    standing = Standing.FAILED if violated else Standing.PROVEN if met else Standing.NOT_COVERED
    telling = [*violated, *met, *shown]
    return RequirementScore(
        requirement=requirement,
        standing=standing,
        reason=telling[0].finding.reason if telling else "no trial was to prove it",
        met=len(met),
        failed=tuple((one.scenario, one.trial) for one in violated),
        proved_by=tuple((one.scenario, one.trial) for one in met),
        undecided=len(shown) - len(violated) - len(met),
    )


def _practice(practice: Practice, requirements: Sequence[RequirementScore]) -> PracticeScore:
    standing = _combined([one.standing for one in requirements])
    telling = next((one for one in requirements if one.standing is standing), None)
    if standing in (Standing.PROVEN, Standing.PARTLY):
        proven = sum(one.standing is Standing.PROVEN for one in requirements)
        trials = sum(one.met for one in requirements)
        reason = f"{proven} of {sum(one.standing is not Standing.NOT_APPLICABLE for one in requirements)} requirements proven by {trials} findings"
    else:
        reason = telling.reason if telling else ""
    return PracticeScore(practice=practice, standing=standing, reason=reason, requirements=tuple(requirements))


def _combined(standings: Sequence[Standing]) -> Standing:
    """Failed if anything failed; proven only if all that applies is proven."""
    for worst in (Standing.FAILED, Standing.ACCEPTED_RISK):
        if worst in standings:
            return worst
    applying = {standing for standing in standings if standing is not Standing.NOT_APPLICABLE}
    if not applying:
        return Standing.NOT_APPLICABLE
    if applying == {Standing.PROVEN}:
        return Standing.PROVEN
    if Standing.PROVEN in applying:
        return Standing.PARTLY
    return Standing.INSPECTION_NEEDED if applying == {Standing.INSPECTION_NEEDED} else Standing.NOT_COVERED
