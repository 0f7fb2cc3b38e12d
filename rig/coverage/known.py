"""The operations of an undisturbed update, from the journals of runs without a fault."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rig.model import Event, MemoryMap, OperationKind, Phase

PAGE = 4096
_LARGEST_STATUS = 128
"""Words.  What is larger and goes into the last page of a scratch area is a copy of firmware, no status."""
_PREPARATION = frozenset({Phase.FLASH, Phase.BOOT})


@dataclass(frozen=True, kw_only=True, order=True)
class Site:
    """Where an operation belongs: the `number`-th, from 1, since `phase` began for the `occurrence`-th time."""

    phase: Phase
    occurrence: int
    number: int


@dataclass(frozen=True, kw_only=True)
class Known:
    """An operation that an undisturbed update makes.

    `starts` are when it began, counted from its phase, in the runs that were looked at: first those with an upload, then (True) those
    with the new image placed by the probe; `begins` are when the phase itself began in them.  `words_before` are the words and pages before it in its phase, which is what a trigger
    counts.
    """

    site: Site
    kind: OperationKind
    address: int
    words: int
    words_before: int
    starts: Mapping[bool, tuple[float, ...]]
    duration_s: float
    begins: Mapping[bool, tuple[float, ...]] = field(default_factory=dict)

    def starts_s(self, *, staged: bool) -> tuple[float, ...]:
        """When it began in the runs of that way, or of the other when there was none."""
        return self.starts.get(staged) or self.starts.get(not staged) or ()

    def start_s(self, *, staged: bool) -> float:
        """When it usually begins."""
        return statistics.fmean(self.starts_s(staged=staged))

    def spread_s(self, anchor: Known | None, *, staged: bool) -> float:
        """Standard deviation of its beginning from run to run, counted from `anchor`'s, or from the phase's when that is None."""
        starts = self.starts_s(staged=staged)
        zero = self._anchored_s(anchor, staged=staged) if anchor is not None else (0.0,) * len(starts)
        differences = [start - begin for start, begin in zip(starts, zero, strict=True)]
        return statistics.stdev(differences) if len(differences) > 1 else 0.0

    def anchor_s(self, anchor: Known, *, staged: bool) -> float:
        """When `anchor` usually begins, counted from the phase of this operation: below 0 in an earlier phase."""
        return statistics.fmean(self._anchored_s(anchor, staged=staged))

    def _anchored_s(self, anchor: Known, *, staged: bool) -> tuple[float, ...]:
        starts = anchor.starts_s(staged=staged)
        if (anchor.site.phase, anchor.site.occurrence) == (self.site.phase, self.site.occurrence):
            return starts
        pairs = zip(anchor.begins[staged], self.begins[staged], starts, strict=True)
        return tuple(theirs + start - ours for theirs, ours, start in pairs)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A run without a fault; `staged`: the probe had placed the new image."""

    staged: bool
    events: Sequence[Event]


def purpose(*, erase: bool, address: int, words: int, memory: MemoryMap) -> OperationKind:
    """What an operation is for, by where it goes: the last page of a slot or of the scratch area, or a settings page."""
    if erase:
        return OperationKind.ERASE
    trailers = [region.end - PAGE for region in (memory.primary, memory.secondary, memory.scratch) if region is not None and region.size]
    settings = [page.start for page in (memory.settings, memory.settings_backup) if page is not None]
    if memory.settings is not None:  # Secure DFU: the room for firmware has no trailer
        trailers = []
    page = address - address % PAGE
    is_status = page in settings or (page in trailers and words <= _LARGEST_STATUS)
    return OperationKind.STATUS if is_status else OperationKind.WRITE


def locate(events: Iterable[Event], index: int) -> Site | None:
    """The place of the operation number `index` (0-based, since the bench was built); None before the update."""
    found: Site | None = None
    occurrences: Counter[str] = Counter()
    for event in events:
        if event.kind != "phase.start" or not isinstance(event.data.get("begun"), int):
            continue
        if event.data["begun"] > index:
            break
        phase = Phase(event.data["phase"])
        occurrences[phase] += 1
        number = index - event.data["begun"] + 1
        found = None if phase in _PREPARATION else Site(phase=phase, occurrence=occurrences[phase], number=number)
    return found


def known_operations(references: Sequence[Reference]) -> tuple[Known, ...]:
    """The operations of the update, from runs without a fault; those count that every run with that phase has made alike."""
    seen: dict[Site, list[Known]] = {}
    phases: Counter[tuple[Phase, int]] = Counter()
    for reference in references:
        found = _operations(reference)
        phases.update({(known.site.phase, known.site.occurrence) for known in found})
        for known in found:
            seen.setdefault(known.site, []).append(known)
    return tuple(
        _joined(runs)
        for site, runs in sorted(seen.items(), key=lambda item: _order(item[0]))
        if len(runs) == phases[site.phase, site.occurrence] and len({(run.kind, run.address, run.words) for run in runs}) == 1
    )


def _order(site: Site) -> tuple[int, int, int]:
    return list(Phase).index(site.phase), site.occurrence, site.number


def _joined(runs: Sequence[Known]) -> Known:
    starts = {staged: tuple(start for run in runs for start in run.starts.get(staged, ())) for staged in (False, True)}
    begins = {staged: tuple(begin for run in runs for begin in run.begins.get(staged, ())) for staged in (False, True)}
    return replace(runs[0], starts=starts, begins=begins)


def _operations(reference: Reference) -> list[Known]:
    """What the counter told of each phase, up to the final look."""
    found: list[Known] = []
    occurrences: Counter[str] = Counter()
    begun_ns = 0
    for event in reference.events:
        if event.kind == "observe.start":
            break
        if event.kind == "phase.start":
            occurrences[event.data["phase"]] += 1
            begun_ns = event.t_ns
        elif event.kind == "flash.operations" and Phase(event.data["phase"]) not in _PREPARATION:
            phase = Phase(event.data["phase"])
            listed = enumerate(event.data["operations"], start=event.data["number"])
            for number, (kind, address, words, first, start_ns, duration_ns) in listed:
                found.append(
                    Known(
                        site=Site(phase=phase, occurrence=occurrences[phase], number=number),
                        kind=OperationKind(kind),
                        address=address,
                        words=words,
                        words_before=first - event.data["operation"],
                        starts={reference.staged: ((start_ns - begun_ns) / 1e9,)},
                        duration_s=duration_ns / 1e9,
                        begins={reference.staged: (begun_ns / 1e9,)},
                    )
                )
    return found
