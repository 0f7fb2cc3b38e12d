"""The faults of a scenario: from its schema to `rig.scenario`, and what can be wrong with them before any board is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rig.config import schema_faults as schema
from rig.config.schema_draws import (
    ChoiceCount,
    ChoiceDelay,
    ChoiceDuration,
    GridCount,
    GridDelay,
    GridDuration,
    ListCount,
    ListDelay,
    ListDuration,
    UniformCount,
    UniformDelay,
    UniformDuration,
)
from rig.fault import CurrentStretch, PinEdge
from rig.model import Fade, FaultKind, FlashPlace, Interference, Limits, Phase, Protocol, TriggerKind, Voltage
from rig.scenario import (
    AimTemplate,
    Bound,
    Choice,
    Draw,
    FaultShare,
    FaultTemplate,
    Fixed,
    FlipsTemplate,
    Sweep,
    TriggerTemplate,
    Uniform,
)

_MS = 1000
_UA_PER_MA = 1000
_LINK_EVENTS = (TriggerKind.CONNECTED, TriggerKind.SUBSCRIBED, TriggerKind.LOST)
_COUNTED_WITHOUT_END = (TriggerKind.CONSOLE, TriggerKind.CURRENT, TriggerKind.GPIO, *_LINK_EVENTS)
_PLACES = {FlashPlace.TRAILER: Protocol.SMP, FlashPlace.STAGED: Protocol.SMP, FlashPlace.SETTINGS: Protocol.SECURE_DFU}
"""Places in flash that only one protocol has."""


# ----------------------------------------------------------------------------------------------------------- conversion
def share(entry: Any) -> FaultShare:
    """One entry of the fault list."""
    if isinstance(entry, schema.ControlEntry):
        return FaultShare(share=entry.none.share)
    if isinstance(entry, schema.ProgrammeEntry):
        return FaultShare(programme=tuple(_template(single) for single in entry.programme.faults), share=entry.programme.share)
    if entry == "none":
        return FaultShare()
    kind = _kind_of(entry)
    return FaultShare(programme=(_template(entry),), share=getattr(entry, kind.value).share)


def _kind_of(entry: Any) -> FaultKind:
    return next(kind for kind in FaultKind if kind.value in type(entry).model_fields)


def _template(entry: Any) -> FaultTemplate:
    kind = _kind_of(entry)
    fault = getattr(entry, kind.value)
    trigger = _trigger(fault.trigger, fault.offset_ms) if fault.trigger is not None else TriggerTemplate(kind=TriggerKind.FLASH_OPERATION)
    plain = FaultTemplate(trigger=trigger, off_s=_duration(fault), kind=kind)
    return _DETAILS[kind](fault, plain) if kind in _DETAILS else plain


def _duration(fault: Any) -> Draw:
    """How long the fault lasts; what happens at once lasts no time."""
    named = next((name for name in ("off_ms", "low_ms", "for_ms") if name in type(fault).model_fields), None)
    return draw(getattr(fault, named), per=_MS) if named else Fixed(value=0.0)


def _power_cut(fault: schema.PowerCut, plain: FaultTemplate) -> FaultTemplate:
    repeated, aim = _repeated(fault, plain), fault.aim
    if aim is None:
        return repeated
    aimed = AimTemplate(
        plan=aim.plan,
        phases=aim.phases,
        kinds=aim.kinds,
        numbers=aim.numbers,
        random_share=aim.random_share,
        round_size=aim.round,
        places=aim.places,
    )
    return replace(repeated, aim=aimed)


def _repeated(fault: Any, plain: FaultTemplate) -> FaultTemplate:
    return replace(plain, repeat=fault.repeat, on_s=draw(fault.on_ms, per=_MS) if fault.on_ms is not None else Fixed(value=0.0))


def _brown_out(fault: schema.BrownOut, plain: FaultTemplate) -> FaultTemplate:
    voltage = Voltage(low_mv=fault.low_mv, fall_s=fault.fall_ms / _MS, rise_s=fault.rise_ms / _MS, steps=fault.steps)
    return replace(_repeated(fault, plain), voltage=voltage)


def _bit_flips(fault: schema.BitFlips, plain: FaultTemplate) -> FaultTemplate:
    return replace(plain, flips=FlipsTemplate(place=fault.place, bits=fault.bits))


def _interference(fault: schema.Interference, plain: FaultTemplate) -> FaultTemplate:
    if fault.advertising:
        interference = Interference.on_advertising_channels(fault.power_dbm)
    elif fault.wifi is not None:
        interference = Interference.over_wifi(fault.wifi, fault.power_dbm)
    else:
        assert fault.kind is not None
        assert fault.mhz is not None
        interference = Interference(
            kind=fault.kind, frequencies_mhz=fault.mhz, power_dbm=fault.power_dbm, duty=fault.duty, dwell_s=fault.dwell_ms / _MS
        )
    return replace(plain, interference=interference)


def _fade(fault: schema.Fade, plain: FaultTemplate) -> FaultTemplate:
    return replace(plain, fade=Fade(db=fault.db, steps=fault.steps, step_s=fault.step_ms / _MS))


_DETAILS: Mapping[FaultKind, Callable[[Any, FaultTemplate], FaultTemplate]] = {
    FaultKind.POWER_CUT: _power_cut,
    FaultKind.BROWN_OUT: _brown_out,
    FaultKind.BIT_FLIPS: _bit_flips,
    FaultKind.INTERFERENCE: _interference,
    FaultKind.FADE: _fade,
}
"""What a kind has beyond trigger and duration."""


def _trigger(entry: schema.Trigger, offset_ms: Any) -> TriggerTemplate:
    plain = TriggerTemplate(
        kind=TriggerKind.TIME if entry.time else TriggerKind.PHASE,
        phase=entry.phase,
        offset_s=draw(offset_ms, per=_MS),
        occurrence=entry.occurrence,
        after=entry.after,
        operation=entry.kind,
    )
    count = draw(entry.count if entry.count is not None else 1)
    if entry.console is not None:
        return replace(plain, kind=TriggerKind.CONSOLE, count=count, pattern=entry.console)
    if entry.current is not None:
        return replace(plain, kind=TriggerKind.CURRENT, count=count, current=_stretch(entry.current))
    if entry.gpio is not None:
        return replace(plain, kind=TriggerKind.GPIO, count=count, pin=PinEdge(number=entry.gpio.input, edge=entry.gpio.edge))
    for kind in _LINK_EVENTS:
        if getattr(entry, kind.value):
            return replace(plain, kind=kind, count=count)
    for kind in (TriggerKind.CHUNK, TriggerKind.BYTE, TriggerKind.FLASH_OPERATION):
        count_entry = getattr(entry, kind.value)
        if count_entry is not None:
            phase = entry.phase if kind is TriggerKind.FLASH_OPERATION else Phase.UPLOAD
            return replace(plain, kind=kind, phase=phase, count=draw(count_entry))
    return plain


def _stretch(entry: schema.Current) -> CurrentStretch:
    limit_ma = entry.above_ma if entry.above_ma is not None else entry.below_ma
    assert limit_ma is not None
    return CurrentStretch(above=entry.above_ma is not None, limit_ua=limit_ma * _UA_PER_MA, for_s=entry.for_ms / _MS)


def draw(entry: Any, *, per: int | None = None) -> Draw:
    """`entry` as a draw; with `per` its numbers are times, so many to the second."""

    def value(given: Any) -> Bound:
        bound: Bound = given if per is None else given / per
        return bound

    if isinstance(entry, UniformCount | UniformDelay | UniformDuration):
        low, high = entry.uniform
        return Uniform(low=value(low), high=value(high))
    if isinstance(entry, ChoiceCount | ChoiceDelay | ChoiceDuration):
        return Choice(values=tuple(value(given) for given in entry.choice))
    if isinstance(entry, ListCount | ListDelay | ListDuration):
        return Sweep(values=tuple(value(given) for given in entry.list))
    if isinstance(entry, GridCount | GridDelay | GridDuration):
        low, high, step = entry.grid
        points = int((high - low) / step + 1e-9) + 1
        return Sweep(values=tuple(value(low + index * step) for index in range(points)))
    return Fixed(value=value(entry))


# --------------------------------------------------------------------------------------------------------------- checks
@dataclass(frozen=True, kw_only=True)
class Found:
    """What is wrong, and the path to it below ``faults``."""

    place: tuple[str | int, ...]
    reason: str
    hint: str = ""


def contradictions(entries: tuple[Any, ...], *, limits: Limits | None, protocol: Protocol | None) -> Iterator[Found]:
    """What is wrong with the faults by themselves; `limits` and `protocol` are None where the file does not say them soundly."""
    for index, entry in enumerate(entries):
        singles = entry.programme.faults if isinstance(entry, schema.ProgrammeEntry) else () if entry == "none" else (entry,)
        for number, single in enumerate(singles):
            if isinstance(single, schema.ControlEntry):
                continue
            above = (index, "programme", "faults", number) if isinstance(entry, schema.ProgrammeEntry) else (index,)
            place = (*above, _kind_of(single).value)
            yield from _single(place, _template(single), limits, protocol)
            if isinstance(entry, schema.ProgrammeEntry):
                yield from _in_programme(place, singles, number)
            elif _template(single).trigger.after:
                yield Found(place=(*place, "trigger", "after"), reason="there is no earlier fault: this one stands alone")


def _single(place: tuple[str | int, ...], fault: FaultTemplate, limits: Limits | None, protocol: Protocol | None) -> Iterator[Found]:
    trigger = fault.trigger
    longest = _longest(trigger.offset_s)
    if limits is not None and longest >= limits.trial_s:
        reason = f"waits up to {longest:g} s, but a trial ends after {limits.trial_s:g} s"
        yield Found(place=(*place, "offset_ms"), reason=reason)
    if trigger.kind is TriggerKind.FLASH_OPERATION and "all" in _values(trigger.count):
        reason = "nobody knows beforehand how many flash operations an update takes"
        yield Found(place=(*place, "trigger", "flash_operation"), reason=reason, hint="give a number")
    if trigger.kind in _COUNTED_WITHOUT_END and "all" in _values(trigger.count):
        yield Found(place=(*place, "trigger", "count"), reason="nobody knows beforehand how often this happens", hint="give a number")
    if fault.flips is not None and protocol not in (None, _PLACES.get(fault.flips.place, protocol)):
        yield Found(place=(*place, "place"), reason=f"a board with {protocol} has no {fault.flips.place} to flip bits in")
    if fault.flips is not None and fault.flips.place is FlashPlace.RUNNING and trigger.phase is Phase.INSTALL:
        reason = "while the bootloader installs, no image runs: what stands in the primary slot is neither the old one nor the new"
        hint = "wait for another phase (reset, boot_new), or flip bits in what is installed: place: staged"
        yield Found(place=(*place, "trigger", "phase"), reason=reason, hint=hint)


def _in_programme(place: tuple[str | int, ...], singles: Sequence[Any], number: int) -> Iterator[Found]:
    fault, *earlier = (_template(single) for single in (singles[number], *singles[:number]))
    if fault.aim is not None and any(other.aim is not None for other in earlier):
        reason = "one cut of a programme is aimed, so that its hits can be counted, and an earlier one is already"
        yield Found(place=(*place, "aim"), reason=reason, hint="give it a trigger; `after` lets it follow the aimed one")
    if fault.trigger.after > number:
        reason = f"fault {fault.trigger.after} does not come before this one, which is number {number + 1}"
        yield Found(place=(*place, "trigger", "after"), reason=reason)


def _values(given: Draw) -> tuple[Bound, ...]:
    match given:
        case Uniform(low=low, high=high):
            return (low, high)
        case Choice(values=values) | Sweep(values=values):
            return values
    return (given.value,)


def _longest(given: Draw) -> float:
    return max(value for value in _values(given) if value != "all")
