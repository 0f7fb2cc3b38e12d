"""Which flash operations of an update cuts have struck, by what the operations are for: page erases, page writes, status writes.

An operation is one erase or one write as the bench's counter lists it, however many words it has.  All of it comes from the journals: the
list from undisturbed updates, the strikes from what the counter saw when power fell.  Journals are read of campaigns that are small enough
to be read from their files, and of the aimed cuts of large ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rig.coverage import Coverage, Reference, Shot, Site, coverage, known_operations, shot_of
from rig.errors import StorageError
from rig.model import AimedPlan, OperationKind, Trial, Verdict
from rig.report.stock import Stock
from rig.store import Campaign

_REFERENCES = 8
"""Undisturbed updates of either way to begin whose operations are compared; more show nothing new."""


@dataclass(frozen=True, kw_only=True)
class Missed:
    """An operation that no cut has struck, and how many cuts were aimed at it in vain."""

    site: Site
    kind: OperationKind
    tries: int


@dataclass(frozen=True, kw_only=True)
class Operations:
    """One scenario's update on one SoC: its operations and what became of them.

    `aimed` is the plan of the aimed cuts, None where all were drawn at random; `planned` are the trials of the plan so far, `unread`
    those whose journal could not be read.  `failed` are the operations after a cut in which a trial failed.
    """

    scenario: str
    soc: str
    versions: str
    aimed: AimedPlan | None
    planned: int
    unread: int
    coverage: Coverage
    failed: frozenset[Site]

    @property
    def missed(self) -> tuple[Missed, ...]:
        """The operations that are still to be struck, those first that were aimed at least, then in the order of the update.

        Operations that the aimed plan leaves out do not count.  Without such a plan status writes come first: random cuts miss them.
        """
        found = [
            Missed(site=known.site, kind=known.kind, tries=self.coverage.aimed[known.site])
            for known in self.coverage.known
            if not self.coverage.hits[known.site] and self._wanted(known.site, known.kind)
        ]
        return tuple(sorted(found, key=lambda one: (one.tries, self.aimed is None and one.kind is not OperationKind.STATUS)))

    def _wanted(self, site: Site, kind: OperationKind) -> bool:
        return self.aimed is None or self.aimed.aims_at(site.phase, kind, site.number)


_Key = tuple[str, str, str, str]
"""Scenario, SoC, and the SHA-256 of the old and of the new image: what decides about the operations of an update."""


@dataclass(kw_only=True)
class _Seen:
    """What the journals of one kind of update have shown so far."""

    trial: Trial
    aimed: AimedPlan | None
    references: list[Reference] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)
    planned: int = 0
    unread: int = 0


def operations(stock: Stock) -> list[Operations]:
    """Every kind of update whose operations the bench has counted and cuts have struck, or were aimed at."""
    seen: dict[_Key, _Seen] = {}
    for campaign in stock.campaigns:
        socs = {board.name: board.soc for board in campaign.plan.boards}
        for trial, aimed in _trials(campaign):
            key = (trial.scenario, socs[trial.board], trial.old.sha256, trial.new.sha256)
            _look(campaign, trial, seen.setdefault(key, _Seen(trial=trial, aimed=aimed)))
    found = (_counted(scenario, soc, one) for (scenario, soc, *_), one in seen.items() if one.shots or one.aimed)
    return [one for one in found if one.coverage.known]


def _trials(campaign: Campaign) -> Iterator[tuple[Trial, AimedPlan | None]]:
    """The trials of the rounds with their plan; in a campaign without aimed cuts, all trials that are in memory."""
    if not campaign.plan.aimed:
        yield from ((trial, None) for trial in campaign.plan.trials)
        return
    whole = campaign if campaign.plan.trials else Campaign.open(campaign.path)
    for part in (part for round_ in whole.rounds for part in round_.parts):
        yield from ((trial, campaign.plan.aimed[part.aimed]) for trial in part.trials)


def _look(campaign: Campaign, trial: Trial, seen: _Seen) -> None:
    """Take in what the journal of one trial shows."""
    seen.planned += 1
    judgement = campaign.judgement(trial.id)
    if judgement is None or trial.inspect:
        return
    is_reference = trial.fault is None and judgement.verdict is Verdict.PASS
    alike = sum(reference.staged == trial.staged for reference in seen.references)
    if not (alike < _REFERENCES if is_reference else judgement.fault_proved):
        return
    try:
        events = campaign.journal(trial.id).events
    except StorageError:
        seen.unread += 1
        return
    if is_reference:
        seen.references.append(Reference(staged=trial.staged, events=events))
    elif (shot := shot_of(trial, judgement, events)) is not None:
        seen.shots.append(shot)


def _counted(scenario: str, soc: str, seen: _Seen) -> Operations:
    return Operations(
        scenario=scenario,
        soc=soc,
        versions=f"{seen.trial.old.version} \N{RIGHTWARDS ARROW} {seen.trial.new.version}",
        aimed=seen.aimed,
        planned=seen.planned,
        unread=seen.unread,
        coverage=coverage(known_operations(seen.references), seen.shots),
        failed=frozenset(shot.struck for shot in seen.shots if shot.struck is not None and shot.verdict is Verdict.FAIL),
    )


def still_to_strike(found: Sequence[Operations], most: int) -> list[tuple[Missed, Operations]]:
    """Some operations that no cut has struck, from every kind of update in turn, as they should be aimed at next."""
    queues = [[(missed, one) for missed in one.missed] for one in found]
    longest = max(map(len, queues), default=0)
    return [queue[place] for place in range(longest) for queue in queues if place < len(queue)][:most]
