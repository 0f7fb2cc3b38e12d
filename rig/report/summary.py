"""What a report says, for tools: ``summary.json``, which also stands inside the page."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from rig.accept import decide_campaign
from rig.gates import Gates
from rig.model import Json, Verdict
from rig.report import breakdown, words
from rig.report.coverage import coverage
from rig.report.operations import Operations
from rig.report.recoveries import set_aside
from rig.report.statistics import upper_bound
from rig.report.table import LOST
from rig.report.verdict import Findings
from rig.report.verdict import Verdict as Word


def summarised(of: Findings, verdict: Word, gates: Gates | None) -> dict[str, Json]:
    """The counts, the decision, the gates and the signatures.

    `attempted` counts judged trials, so pass + fail + inconclusive + error = attempted; `interrupted` counts attempts that ended
    without judgement.
    """
    stock, trials = of.stock, of.stock.trials
    first = stock.campaigns[0]
    plans = decide_campaign(stock.decisions)
    covered = coverage(of.stretches)
    counts, _ = breakdown.interrupted_updates(trials)
    return {
        "campaign": first.plan.campaign if stock.single else list(stock.labels),
        "seed": first.plan.seed if stock.single else [campaign.plan.seed for campaign in stock.campaigns],
        "created": min(campaign.provenance.created for campaign in stock.campaigns),
        "release": sorted(set(map(str, trials["new_version"].astype(object)))),
        "baseline": list(of.baseline.labels) if of.baseline else [],
        "verdict": {"word": verdict.word.value, "reason": verdict.reason, "exit_code": verdict.exit_code},
        "decision": {**asdict(plans), "exit_code": plans.exit_code},
        "scenarios": {name: decision.word.value for name, decision in stock.decisions.items()},
        "trials": {
            "planned": len(trials),
            "attempted": int(trials["verdict"].notna().sum()),
            "interrupted": int(trials["interrupted"].fillna(0).sum()),
            **{one.value.lower(): int(trials["verdict"].eq(one.value).sum()) for one in Verdict},
        },
        "outcomes": {row.outcome: row.total for row in breakdown.outcomes(trials)},
        "faults": {"planned": int(trials["fault"].ne("none").sum()), **_faults(trials)},
        "p_fail_upper95": upper_bound(counts.failed, counts.trials),
        "flash_coverage": covered.share,
        "operations": [_operations(one) for one in of.operations],
        "gates": _gates(of, gates),
        "signatures": [
            {
                "id": one.id,
                "outcome": one.outcome,
                "phase": one.phase,
                "trials": len(one.members),
                "boards": list(one.boards),
                "known": one.known,
                "first": one.members[0].trial,
            }
            for one in of.signatures
        ],
        "quarantined": [{"campaign": one.campaign, "board": one.board, "why": one.why} for one in set_aside(of.rescues)],
        "lost": int(trials["verdict"].isin(LOST).sum()),
        "versions": dict(first.provenance.versions),
    }


def _faults(trials: pd.DataFrame) -> dict[str, int]:
    return {name: int(trials[f"fault_{name}"].fillna(value=False).sum()) for name in ("requested", "delivered", "proved")}


def _operations(of: Operations) -> Json:
    return {
        "scenario": of.scenario,
        "soc": of.soc,
        "versions": of.versions,
        "aimed": of.aimed is not None,
        "struck": of.coverage.share,
        "kinds": [
            {
                "phase": cell.phase.value,
                "occurrence": cell.occurrence,
                "kind": cell.kind.value,
                "known": cell.known,
                "aimed": cell.aimed,
                "struck": cell.hit,
                "at_boundary": cell.at_boundary,
                "never": list(cell.never),
            }
            for cell in of.coverage.cells()
        ],
    }


def _gates(of: Findings, gates: Gates | None) -> Json:
    if gates is None:
        return None
    return {
        "file": gates.file,
        "sha256": gates.sha256,
        "results": {
            result.gate.id: {"state": result.state.value, "limit": result.limit, "measured": result.measured, "why": words.encodable(result.why)}
            for result in of.gates
        },
    }
