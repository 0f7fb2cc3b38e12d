"""What went wrong, trial by trial: the failures with an excerpt of their journals, and what the rig lost."""

from __future__ import annotations

import bisect
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from rig.model import Event, Json, Verdict
from rig.report.words import offset
from rig.store import Campaign, TrialRecord

EXCERPTS = 20
"""Failures whose journals are quoted; the others are listed with links to theirs."""
_LINES = 40
_NOISE = frozenset({"upload.chunk", "phase.end"})


@dataclass(frozen=True, kw_only=True)
class Line:
    """One event of an excerpt; `key` marks those on which the judgement rests."""

    seq: int
    when: str
    source: str
    text: str
    key: bool


@dataclass(frozen=True, kw_only=True)
class Link:
    """A file of the trial, relative to the page."""

    name: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One trial that needs a reader: the facts, the evidence, and how to repeat it."""

    trial: str
    board: str
    phase: str
    verdict: str
    outcome: str
    reason: str
    stratum: str
    seed: int
    replay: str
    links: tuple[Link, ...]
    excerpt: tuple[Line, ...] = ()
    left_out: int = 0
    """Events of the journal that the excerpt does not show."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Failures with the same outcome in the same phase."""

    outcome: str
    phase: str
    trials: tuple[str, ...]
    boards: tuple[str, ...]


def failures(campaign: Campaign, records: Sequence[TrialRecord]) -> list[Failure]:
    """Every failed trial in the order of the plan, the first ones with an excerpt."""
    failed = [record for record in records if record.judgement and record.judgement.verdict is Verdict.FAIL]
    return [described(campaign, record, quoted=index < EXCERPTS) for index, record in enumerate(failed)]


def losses(campaign: Campaign, records: Sequence[TrialRecord]) -> list[Failure]:
    """Every judged trial that says nothing about the device."""
    lost = (Verdict.INCONCLUSIVE, Verdict.ERROR)
    return [described(campaign, record) for record in records if record.judgement and record.judgement.verdict in lost]


def grouped(failed: Sequence[Failure]) -> list[Group]:
    """The failures by outcome and phase, the largest group first."""
    counts = Counter((failure.outcome, failure.phase) for failure in failed)
    groups = []
    for (outcome, phase), _ in counts.most_common():
        members = [failure for failure in failed if (failure.outcome, failure.phase) == (outcome, phase)]
        boards = tuple(dict.fromkeys(failure.board for failure in members))
        groups.append(Group(outcome=outcome, phase=phase, trials=tuple(failure.trial for failure in members), boards=boards))
    return groups


def folder_argument(campaign: Campaign) -> str:
    """The campaign's folder as a command line wants it, from where the report was asked for."""
    return shlex.quote(str(campaign.path))


def described(campaign: Campaign, record: TrialRecord, *, quoted: bool = False) -> Failure:
    """One judged trial for the page."""
    trial, judgement = record.trial, record.judgement
    assert judgement is not None
    folder = campaign.trial_folder(trial.id).relative_to(campaign.path)
    names = [file.name for file in record.evidence.files] if record.evidence else []
    failure = Failure(
        trial=trial.id,
        board=trial.board,
        phase=judgement.fault_phase or ("control" if trial.fault is None else ""),
        verdict=judgement.verdict.value,
        outcome=judgement.outcome.value,
        reason=judgement.reason,
        stratum=trial.stratum,
        seed=trial.seed,
        replay=f"rig replay {folder_argument(campaign)} {trial.id}",
        links=tuple(Link(name=name, target=quote(f"{folder.as_posix()}/{name}")) for name in names),
    )
    if not quoted:
        return failure
    events = campaign.journal(trial.id).events
    shown = _chosen(events, frozenset(judgement.because))
    zero = record.evidence.faults[0].t_ns if record.evidence and record.evidence.faults else 0
    lines = tuple(_line(event, zero, key=event.seq in judgement.because) for event in shown)
    return replace(failure, excerpt=lines, left_out=len(events) - len(shown))


def _chosen(events: Sequence[Event], because: frozenset[int]) -> list[Event]:
    """The events that prove the judgement, the faults, and of the others those nearest to either."""
    landmarks = sorted(because | {event.seq for event in events if event.kind.startswith("fault.")})

    def rank(event: Event) -> tuple[int, int]:
        place = bisect.bisect(landmarks, event.seq)
        return min((abs(event.seq - landmark) for landmark in landmarks[max(place - 1, 0) : place + 1]), default=0), event.seq

    telling = (event for event in events if event.seq in because or event.kind not in _NOISE)
    return sorted(sorted(telling, key=rank)[:_LINES], key=lambda event: event.seq)


def _line(event: Event, zero_ns: int, *, key: bool) -> Line:
    return Line(seq=event.seq, when=offset(event.t_ns - zero_ns), source=event.source, text=_worded(event, zero_ns), key=key)


def _worded(event: Event, zero_ns: int) -> str:
    if event.kind == "console.line":
        return str(event.data.get("text", ""))
    details = ", ".join(_detail(name, value, zero_ns) for name, value in event.data.items() if value is not None)
    return f"{event.kind}: {details}" if details else event.kind


def _detail(name: str, value: Json, zero_ns: int) -> str:
    if name.endswith("_t_ns") and isinstance(value, int):  # an instant, as the first column shows them
        return f"{name.removesuffix('_t_ns')} at {offset(value - zero_ns)}"
    return f"{name} {_value(value)}"


def _value(value: Json) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name} {_value(inner)}" for name, inner in value.items() if inner is not None) + ")"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)  # a SHA-256 is known by its start
