"""Failures by signature: the same trouble, met again and again, is one thing to fix.

A signature is made of the outcome, the phase in which the fault fell, what the device was in the end, and the last console lines after
the fault with their numbers masked.  It holds nothing that changes from run to run, so it is found again next night; console
texts that differ a little are one signature.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from rig.errors import StorageError
from rig.judge import judge
from rig.model import Event, Outcome, Verdict
from rig.report.stock import Stock
from rig.report.table import failed
from rig.report.words import visible
from rig.store import Campaign

READ = 1000
"""Failures whose journals are read; further ones are counted with the largest signature of their outcome and phase."""
_LINES = 3
_ALIKE = 0.75
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{6,}\b|\d+")
_DAMAGE = (
    Outcome.BRICKED,
    Outcome.WRONG_IMAGE,
    Outcome.NOT_REVERTED,
    Outcome.STUCK_IN_DFU,
    Outcome.STUCK_ON_OLD,
    Outcome.NEEDS_POWER_CYCLE,
)
"""The most damaging first; whatever is not here comes after."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One failed trial of a signature: its campaign's label, its name, its board."""

    label: str
    trial: str
    board: str


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How many of the repetitions of a signature's trials that say something ended as the trial had."""

    agreed: int
    conclusive: int


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One kind of failure.  `id` is four hexadecimal digits of what it is made of; `unread` of its members' journals were not read.

    `known`: how many trials of the baseline failed with it, None without a baseline.
    """

    id: str
    outcome: str
    phase: str
    boot: str
    lines: tuple[str, ...]
    members: tuple[Member, ...]
    unread: int
    first_seen: str
    known: int | None
    reproduction: Reproduction

    @property
    def boards(self) -> tuple[str, ...]:
        """The boards that showed it, each once."""
        return tuple(dict.fromkeys(member.board for member in self.members))

    @property
    def last_line(self) -> str:
        """The last thing on the console, numbers masked."""
        return self.lines[-1] if self.lines else ""


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """What a failed trial's journal says for the signature; `boot` empty when it could not be read."""

    member: Member
    outcome: str
    phase: str
    boot: str
    lines: tuple[str, ...]

    @property
    def kind(self) -> tuple[str, str, str]:
        return self.outcome, self.phase, self.boot

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def signatures(stock: Stock, baseline: Stock | None) -> list[Signature]:
    """The failures of the stock by signature, the most damaging first, then the most frequent."""
    ours = _clusters(stock)
    theirs = _clusters(baseline) if baseline else []
    found = [_signature(stock, cluster, baseline, theirs) for cluster in ours]
    return sorted(_unique(found), key=_rank)


def _rank(signature: Signature) -> tuple[int, int, str]:
    damage = [outcome.value for outcome in _DAMAGE]
    place = damage.index(signature.outcome) if signature.outcome in damage else len(damage)
    return place, -len(signature.members), signature.id


def _unique(found: Sequence[Signature]) -> Sequence[Signature]:
    """Two signatures with the same four digits would be a misfortune of one in 65,536; then both get six."""
    if len({signature.id[:4] for signature in found}) == len(found):
        return [_shortened(signature, 4) for signature in found]
    return [_shortened(signature, 6) for signature in found]


def _shortened(signature: Signature, digits: int) -> Signature:
    return replace(signature, id=signature.id[:digits])


# ------------------------------------------------------------------------------------------------------------- readings
@dataclass(frozen=True, kw_only=True)
class _Cluster:
    """Readings of one signature, and the failures that were not read but are counted with it."""

    readings: tuple[_Reading, ...]
    unread: tuple[Member, ...]

    @property
    def head(self) -> _Reading:
        """The commonest reading; of equally common ones the first by alphabet, so that it does not depend on the order of trials."""
        counts = Counter(reading.text for reading in self.readings)
        text = min(counts, key=lambda text: (-counts[text], text))
        return next(reading for reading in self.readings if reading.text == text)


def _clusters(stock: Stock) -> list[_Cluster]:
    bad = failed(stock.trials)
    clusters: list[_Cluster] = []
    for _, rows in bad.groupby([bad["outcome"].astype(object), _phase(bad)], sort=True):
        share = max(1, READ * len(rows) // max(len(bad), 1))
        step = -(-len(rows) // share)
        read = rows.iloc[::step]
        found = _merged([_reading(stock, row) for row in read.itertuples()])
        unread = tuple(_member(row) for row in rows.drop(read.index).itertuples())
        largest = max(range(len(found)), key=lambda index, found=found: len(found[index]))  # type: ignore[misc]
        clusters += [
            _Cluster(readings=tuple(readings), unread=unread if index == largest else ()) for index, readings in enumerate(found)
        ]
    return clusters


def _phase(table: pd.DataFrame) -> pd.Series:
    """The phase of the fault; ``control`` where none was planned."""
    phases = table["fault_phase"].astype(object)
    return phases.where(~table["fault"].eq("none"), "control").fillna("")


def _member(row: object) -> Member:
    return Member(label=str(row.campaign), trial=str(row.trial), board=str(row.board))  # type: ignore[attr-defined]


def _reading(stock: Stock, row: object) -> _Reading:
    member = _member(row)
    phase = "control" if row.fault == "none" else row.fault_phase if isinstance(row.fault_phase, str) else ""  # type: ignore[attr-defined]
    try:
        events = stock.campaign(member.label).journal(member.trial).events
    except StorageError:
        events = ()
    after = _after_the_last_fault(events)
    return _Reading(
        member=member,
        outcome=str(row.outcome),  # type: ignore[attr-defined]
        phase=phase,
        boot=_boot(after, {str(row.old_version): "old", str(row.new_version): "new"}) if events else "its journal cannot be read",  # type: ignore[attr-defined]
        lines=_last_lines(after),
    )


def _after_the_last_fault(events: Sequence[Event]) -> Sequence[Event]:
    """The events of the trial proper after the last fault, without the further update at the end."""
    start = max((index for index, event in enumerate(events) if event.kind == "fault.delivered"), default=-1)
    end = next((index for index, event in enumerate(events) if event.kind == "again.start"), len(events))
    return events[start + 1 : end] if end > start else events[start + 1 :]


def _boot(events: Sequence[Event], versions: dict[str, str]) -> str:
    """What the device was in the end, in words without numbers."""
    for event in reversed(events):
        if event.kind == "dut.silent":
            return "silent, even after a power cycle"
        if event.kind == "dut.dfu_mode":
            return "in its bootloader's DFU mode"
        if event.kind == "dut.state":
            image = versions.get(str(event.data.get("running_version")), "an unknown")
            return f"ran {'the ' if image in ('old', 'new') else ''}{image} image, {'' if event.data.get('confirmed') else 'not '}confirmed"
    return "not heard again"


def _last_lines(events: Sequence[Event]) -> tuple[str, ...]:
    """The last different console lines, numbers masked."""
    lines: list[str] = []
    for event in reversed(events):
        if event.kind != "console.line":
            continue
        line = masked(str(event.data.get("text", "")))
        if line and line not in lines:
            lines.append(line)
        if len(lines) == _LINES:
            break
    return tuple(reversed(lines))


def masked(text: str) -> str:
    """A console line without what changes from run to run: numbers, addresses and hashes become ``#``."""
    return _NUMBER.sub("#", visible(text)).strip()[:160]


# -------------------------------------------------------------------------------------------------------------- merging
def _merged(readings: Sequence[_Reading]) -> list[list[_Reading]]:
    """Readings of the same kind with like console texts together; the commonest texts attract the others."""
    counts = Counter((reading.kind, reading.text) for reading in readings)
    clusters: dict[tuple[tuple[str, str, str], str], list[_Reading]] = {}
    for kind, text in sorted(counts, key=lambda key: (-counts[key], key)):
        home = next((head for head in clusters if head[0] == kind and alike(head[1], text)), (kind, text))
        clusters.setdefault(home, []).extend(r for r in readings if (r.kind, r.text) == (kind, text))
    return list(clusters.values())


def alike(one: str, other: str) -> bool:
    """Whether two masked console texts are the same but for a little."""
    return one == other or difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() >= _ALIKE


def _signature(stock: Stock, cluster: _Cluster, baseline: Stock | None, theirs: Sequence[_Cluster]) -> Signature:
    head = cluster.head
    same = [other for other in theirs if other.head.kind == head.kind and alike(other.head.text, head.text)]
    order = {label: index for index, label in enumerate(stock.labels)}
    members = sorted((*(reading.member for reading in cluster.readings), *cluster.unread), key=lambda m: (order[m.label], m.trial))
    seen = [(stock, member.label) for member in members]
    if baseline:
        seen += [(baseline, reading.member.label) for other in same for reading in other.readings]
    return Signature(
        id=hashlib.sha256("\0".join((*head.kind, head.text)).encode()).hexdigest()[:6].upper(),
        outcome=head.outcome,
        phase=head.phase,
        boot=head.boot,
        lines=head.lines,
        members=tuple(members),
        unread=len(cluster.unread),
        first_seen=_first_seen(seen),
        known=sum(len(other.readings) + len(other.unread) for other in same) if baseline else None,
        reproduction=_reproduction(stock, members),
    )


def _first_seen(where: Sequence[tuple[Stock, str]]) -> str:
    """The earliest campaign that shows it."""
    campaigns = {(stock.campaign(label).provenance.created, label) for stock, label in where}
    created, label = min(campaigns)
    return f"{created[:10]}, {label}"


# --------------------------------------------------------------------------------------------------------- reproduction
def _reproduction(stock: Stock, members: Sequence[Member]) -> Reproduction:
    """What the stored repetitions of these trials say, each judged anew from its journal."""
    agreed = conclusive = 0
    for member in members[:READ]:
        campaign = stock.campaign(member.label)
        for verdict, same in _repetitions(campaign, member.trial):
            conclusive += verdict in (Verdict.PASS, Verdict.FAIL)
            agreed += same
    return Reproduction(agreed=agreed, conclusive=conclusive)


def _repetitions(campaign: Campaign, trial: str) -> Iterator[tuple[Verdict, bool]]:
    folders = campaign.replays(trial)
    original = campaign.judgement(trial) if folders else None
    for folder in folders:
        try:
            again = judge(campaign.trial(trial), campaign.replayed(folder).events)
        except (StorageError, KeyError):
            continue  # a repetition that was torn off in the middle says nothing
        yield again.verdict, original is not None and (again.verdict, again.outcome) == (original.verdict, original.outcome)
