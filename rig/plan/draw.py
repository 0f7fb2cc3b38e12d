"""From templates to faults: every number of a programme drawn."""

from __future__ import annotations

import random

from rig.model import BitFlips, Fault, Trigger, TriggerKind
from rig.scenario import Bound, Choice, Draw, FaultTemplate, Fixed, FlipsTemplate, Sweep


def fault(template: FaultTemplate, image_size: int, chunk: int, *, rng: random.Random, turn: int) -> Fault:
    """One fault of a programme.

    Args:
        template: what the scenario says.
        image_size: bytes of the image, which ``all`` bytes stand for.
        chunk: bytes of the largest chunk, so that every image has at least size / chunk of them.
        rng: where the draws come from.
        turn: how many trials have had this template before; a list or a grid gives its next value.
    """
    trigger = template.trigger
    everything = image_size if trigger.kind is TriggerKind.BYTE else max(1, image_size // chunk)

    def number(draw: Draw, *, whole: bool) -> float:
        return _draw(draw, rng, everything=everything, whole=whole, turn=turn)

    return Fault(
        trigger=Trigger(
            kind=trigger.kind,
            phase=trigger.phase,
            count=max(1, int(number(trigger.count, whole=True))),
            pattern=trigger.pattern,
            offset_s=number(trigger.offset_s, whole=False),
            occurrence=trigger.occurrence,
            after=trigger.after,
            operation=trigger.operation,
            current=trigger.current,
            pin=trigger.pin,
        ),
        off_s=number(template.off_s, whole=False),
        repeat=template.repeat,
        on_s=number(template.on_s, whole=False),
        kind=template.kind,
        voltage=template.voltage,
        flips=_flips(template.flips, rng) if template.flips else None,
        interference=template.interference,
        fade=template.fade,
    )


def _flips(template: FlipsTemplate, rng: random.Random) -> BitFlips:
    return BitFlips(place=template.place, positions=tuple(round(rng.random(), 9) for _ in range(template.bits)))


def _draw(draw: Draw, rng: random.Random, *, everything: int, whole: bool, turn: int) -> float:
    """Evaluate a draw; times are rounded to a microsecond, which is finer than any supply switches."""

    def number(bound: Bound) -> float:
        return everything if bound == "all" else float(bound)

    match draw:
        case Fixed(value=value):
            return number(value)
        case Choice(values=values):
            return number(rng.choice(values))
        case Sweep(values=values):
            return number(values[turn % len(values)])
    low, high = number(draw.low), number(draw.high)
    return rng.randint(int(low), max(int(low), int(high))) if whole else round(rng.uniform(low, high), 6)
