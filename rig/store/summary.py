"""The counts of a campaign, for people and for tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rig.model import Json, Outcome, Verdict
from rig.store.records import Plan, Provenance, TrialRecord


def summarise(plan: Plan, provenance: Provenance, records: Iterable[TrialRecord]) -> dict[str, Json]:
    """The contents of ``summary.json``: what was planned, attempted and found, counted trial by trial.

    `attempted` counts judged trials, so pass + fail + inconclusive + error = attempted; `interrupted` counts attempts that ended
    without judgement.
    """
    records = tuple(records)
    judged = [record.judgement for record in records if record.judgement is not None]
    verdicts = Counter(judgement.verdict for judgement in judged)
    outcomes = Counter(judgement.outcome for judgement in judged)
    return {
        "campaign": plan.campaign,
        "seed": plan.seed,
        "created": provenance.created,
        "trials": {
            "planned": len(plan.trials),
            "attempted": len(judged),
            "interrupted": sum(record.interrupted for record in records),
            **{verdict.value.lower(): verdicts[verdict] for verdict in Verdict},
        },
        "outcomes": {outcome.value: outcomes[outcome] for outcome in Outcome if outcomes[outcome]},
        "faults": {
            "planned": sum(trial.fault is not None for trial in plan.trials),
            "requested": sum(judgement.fault_requested for judgement in judged),
            "delivered": sum(judgement.fault_delivered for judgement in judged),
            "proved": sum(judgement.fault_proved for judgement in judged),
        },
        "versions": dict(provenance.versions),
    }
