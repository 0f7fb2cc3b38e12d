"""The page: one self-contained HTML file, computed here and laid out by ``report.html.j2``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from rig.accept import Decision, Tally, Word, tally
from rig.model import Json, Protocol
from rig.report import breakdown, cutmap, failures, statistics, words
from rig.report.figures import DurationAxis, ShareAxis
from rig.report.table import PARQUET_HINT
from rig.store import Campaign, TrialRecord, layout

_LISTED = 100
"""Rows of trials lost to the rig that the page shows; all are in the table beside it."""
_PROTOCOLS = {Protocol.SMP: "SMP over BLE, MCUboot", Protocol.SECURE_DFU: "Nordic Secure DFU over BLE"}
_CLAIMS = (0.01, 0.001)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the page is made of."""

    campaign: Campaign
    records: tuple[TrialRecord, ...]
    table: pd.DataFrame
    decisions: Mapping[str, Decision]
    decision: Decision
    summary: Mapping[str, Json]
    has_parquet: bool


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One of the five numbers at the top; `tone` is ok, bad, warn or nothing."""

    label: str
    value: str
    note: str
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something to do next, and the command for it."""

    text: str
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """A trial whose stored evidence is not what it was."""

    trial: str
    complaints: tuple[str, ...]


def render(contents: Contents) -> str:
    """The page as text."""
    records, table, plan = contents.records, contents.table, contents.campaign.plan
    judgements = {record.trial.id: record.judgement for record in records if record.judgement}
    count = tally((record.trial for record in records), judgements)
    failed = failures.failures(contents.campaign, records)
    lost = failures.losses(contents.campaign, records)
    shares, durations = breakdown.recovery(table), breakdown.timings(table)
    cuts = cutmap.proved_cuts(records)
    share_axis, duration_axis = ShareAxis(shares), DurationAxis(durations)
    return _template().render(
        word=contents.decision.word.value.capitalize(),
        reason=contents.decision.reason,
        versions=_versions(records),
        target=_target(records),
        identity=_identity(contents),
        figures=_figures(contents, count),
        decisions=contents.decisions,
        steps=_steps(contents, count, failed, lost),
        shares=[(share, share_axis.row(share)) for share in shares],
        share_scale=share_axis.scale(),
        maps=[figure for figure in (cutmap.map_by_time(plan, cuts, table), cutmap.map_by_operation(plan, cuts)) if figure],
        cuts=len(cuts),
        failures=failed,
        groups=failures.grouped(failed),
        lost=lost[:_LISTED],
        lost_total=len(lost),
        pending=len(contents.campaign.pending_trials()),
        interrupted=_interrupted(contents),
        bound_if_lost=breakdown.bound_if_lost_had_failed(table, count) if count.lost and count.conclusive else None,
        boards=breakdown.boards(plan, table),
        timings=[(row, duration_axis.row(row)) for row in durations],
        duration_scale=duration_axis.scale(),
        p95_needs=breakdown.P95_NEEDS,
        outcomes=breakdown.outcomes(table),
        count=count,
        alterations=_alterations(contents),
        plan=plan,
        provenance=contents.campaign.provenance,
        images=_images(records),
        staged=sum(record.trial.staged for record in records),
        parquet_hint="" if contents.has_parquet else PARQUET_HINT,
        files=layout,
        folder=failures.folder_argument(contents.campaign),
        summary=_script_json(contents.summary),
    )


@cache
def _template() -> Template:
    """The template with its style sheet; everything that it shows is escaped unless it is markup already."""
    here = resources.files("rig.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "visible": words.visible,
        "percent": words.percent,
        "at_most": words.at_most,
        "seconds": words.seconds,
        "phase": words.phase,
        "thousands": lambda number: f"{number:,}",
    }
    environment.globals |= {"counted": words.count, "bounds": words.bounds, "DASH": words.DASH}
    environment.globals["style"] = Markup(here.joinpath("report.css").read_text("utf-8"))  # noqa: S704 - our own file
    # Whatever a template forgets to filter still cannot smuggle in direction marks or control characters.
    environment.finalize = _finalized
    return environment.from_string(here.joinpath("report.html.j2").read_text("utf-8"))


def _finalized(value: Any) -> Any:
    return words.visible(value) if type(value) is str else value


def _script_json(value: Mapping[str, Json]) -> Markup:
    """JSON that cannot end the script element or open a comment in it."""
    text = json.dumps(value, indent=1, sort_keys=True)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704 - escaped above


def _versions(records: Sequence[TrialRecord]) -> str:
    """What was updated to what, when the whole campaign agrees on it."""
    pairs = {(record.trial.old.version, record.trial.new.version) for record in records}
    return " \N{RIGHTWARDS ARROW} ".join(pairs.pop()) if len(pairs) == 1 else ""


def _target(records: Sequence[TrialRecord]) -> str:
    """The version under test, when there is only one."""
    versions = {record.trial.new.version for record in records}
    return versions.pop() if len(versions) == 1 else ""


def _identity(contents: Contents) -> list[str]:
    plan, provenance = contents.campaign.plan, contents.campaign.provenance
    spent = sum(record.evidence.duration_ns for record in contents.records if record.evidence) / 1e9
    protocols = dict.fromkeys(_PROTOCOLS[trial.protocol] for trial in plan.trials)
    return [
        *protocols,
        words.count(len(plan.boards), "board"),
        provenance.created.replace("T", " ").replace("+00:00", " UTC"),
        f"{words.seconds(spent)} on the bench" + (" (simulated time)" if plan.clock == "virtual" else ""),
        plan.campaign,
    ]


def _figures(contents: Contents, count: Tally) -> list[Figure]:
    table = contents.table
    return [_tried(table, count), _failed(count), _bound(table), _proved(count), _downtime(table)]


def _tried(table: pd.DataFrame, count: Tally) -> Figure:
    cut = len(breakdown.faulted(table))
    note = f"{cut:,} with a proved power cut; {count.lost:,} lost to the rig"
    if count.attempted < count.planned:
        note += f"; {count.planned - count.attempted:,} still to be run"
    return Figure(label="Updates tried, with and without faults", value=f"{count.attempted:,}", note=note)


def _failed(count: Tally) -> Figure:
    note = ", ".join(f"{number:,} {outcome}" for outcome, number in count.failures.items())
    if not count.conclusive:
        return Figure(label="Did not recover by themselves", value=words.DASH, note="no conclusive trial")
    tone = "bad" if count.failed else "ok"
    note = note or f"none of {count.conclusive:,} conclusive trials"
    return Figure(label="Did not recover by themselves", value=f"{count.failed:,}", note=note, tone=tone)


def _bound(table: pd.DataFrame) -> Figure:
    failed, trials, bound = breakdown.failure_bound(table)
    label = "Chance of that per interrupted update, at most"
    if not trials:
        return Figure(label=label, value=words.DASH, note="no conclusive trial")
    kind = "with a proved fault" if len(breakdown.faulted(table)) else "without fault; no fault was proved"
    return Figure(label=label, value=words.at_most(bound), note=f"95 % confidence; {failed:,} failed of {trials:,} {kind}")


def _proved(count: Tally) -> Figure:
    label = "Faults proved by independent evidence"
    if not count.faults_due:
        return Figure(label=label, value=words.DASH, note="no fault was due")
    share = count.faults_proved / count.faults_due
    return Figure(label=label, value=words.percent(share), note=f"{count.faults_proved:,} of {count.faults_due:,}")


def _downtime(table: pd.DataFrame) -> Figure:
    row = next((row for row in breakdown.timings(table) if row.name == "out of service"), None)
    label = "Application out of service, median"
    if row is None:
        return Figure(label=label, value=words.DASH, note="not measured")
    tail = f"95 % within {words.seconds(row.p95)}" if row.p95 is not None else f"longest {words.seconds(row.most)}"
    return Figure(label=label, value=words.seconds(row.median), note=f"{tail}; {words.count(row.n, 'trial')}")


def _steps(contents: Contents, count: Tally, failed: Sequence[failures.Failure], lost: Sequence[failures.Failure]) -> list[Step]:
    """What to do next, the most urgent first."""
    folder, steps = failures.folder_argument(contents.campaign), list[Step]()
    for group in failures.grouped(failed)[:5]:
        where = "with no fault at all" if group.phase == "control" else f"after a cut in {words.phase(group.phase)}"
        text = f"Find out why {words.count(len(group.trials), 'update')} ended {group.outcome} {where} on {_some(group.boards)}."
        steps.append(Step(text=text, command=f"rig replay {folder} {group.trials[0]}"))
    if count.attempted < count.planned:
        text = f"Run the remaining {words.count(count.planned - count.attempted, 'trial')}."
        steps.append(Step(text=text, command=f"rig resume {folder}"))
    if contents.decision.word is Word.INCONCLUSIVE and lost:
        (reason, times), *_ = Counter(loss.reason for loss in lost).most_common(1)
        steps.append(Step(text=f"Repair the rig. The commonest reason for a lost trial ({words.count(times, 'time')}): {reason}."))
    text = "To show a failure probability below 1 % takes"
    first, second = (f"{statistics.trials_needed(p):,}" for p in _CLAIMS)
    steps.append(Step(text=f"{text} {first} interrupted updates without a failure, below 0.1 % {second} (95 % confidence)."))
    return steps


def _some(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _interrupted(contents: Contents) -> list[str]:
    """The folders of interrupted attempts, relative to the campaign."""
    campaign = contents.campaign
    folders = (folder for record in contents.records if record.interrupted for folder in campaign.aside(record.trial.id))
    return [folder.relative_to(campaign.path).as_posix() for folder in folders]


def _alterations(contents: Contents) -> list[Alteration]:
    """Trials whose journal was damaged when it was closed, or whose files have changed since."""
    found = []
    for record in contents.records:
        complaints = (*(record.evidence.complaints if record.evidence else ()), *contents.campaign.altered(record))
        if complaints:
            found.append(Alteration(trial=record.trial.id, complaints=complaints))
    return found


def _images(records: Sequence[TrialRecord]) -> list[tuple[str, str, int, str]]:
    """Role, version, size and SHA-256 of every package used."""
    found = {}
    for record in records:
        trial = record.trial
        for role, image in (("updated from", trial.old), ("updated to", trial.new), ("updated once more to", trial.again)):
            if image is not None:
                found[image.sha256, role] = (role, image.version, image.size, image.sha256)
    return list(found.values())
