"""From scenarios, boards and repetitions to trials.  Every random draw of a campaign happens here, from one recorded seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rig.model import Board, ImageSet, Phase, Fault, Protocol, Trial, Trigger, TriggerKind
from rig.scenario import Bound, Choice, Draw, FaultShare, Fixed, PowerCutTemplate, Scenario

_LARGEST_CHUNK = {Protocol.SMP: 2475, Protocol.SECURE_DFU: 4096}
"""Bytes.  No SMP server of the boards in use takes more per request, and Secure DFU confirms objects of one page, so every image
has at least size / this many chunks."""


def plan(
    scenarios: Sequence[Scenario],
    boards: Sequence[Board],
    images: Mapping[tuple[str, str], ImageSet],
    *,
    seed: int | None = None,
    trials: int | None = None,
) -> tuple[Trial, ...]:
    """Deal out the trials.  `images` is keyed by scenario name and board name; `seed` and `trials` override those of the scenarios.

    Boards take turns; the fault list is dealt in exact proportion and shuffled, so that no board always gets the same fault.
    """
    dealt = [
        trial
        for scenario in scenarios
        for trial in _deal(scenario, [board for board in boards if scenario.runs_on(board)], images, seed, trials)
    ]
    width = max(4, len(str(len(dealt))))
    return tuple(replace(trial, id=f"T-{number:0{width}d}") for number, trial in enumerate(dealt, start=1))


def _deal(
    scenario: Scenario,
    boards: Sequence[Board],
    images: Mapping[tuple[str, str], ImageSet],
    seed: int | None,
    trials: int | None,
) -> list[Trial]:
    count = scenario.trials if trials is None else trials
    rng = random.Random(f"{scenario.seed if seed is None else seed}/{scenario.name}")
    faults = _dealt_faults(scenario.faults, count, rng)
    stageable = [index for index, fault in enumerate(faults) if _can_be_staged(fault)]
    staged = set(rng.sample(stageable, round(scenario.staged * len(stageable))))
    again = set(rng.sample(range(count), round(scenario.again * count)))
    return [
        _trial(
            scenario,
            boards[index % len(boards)],
            images[scenario.name, boards[index % len(boards)].name],
            faults[index],
            rng=random.Random(rng.getrandbits(64)),
            staged=index in staged,
            again=index in again,
        )
        for index in range(count)
    ]


def _dealt_faults(shares: Sequence[FaultShare], count: int, rng: random.Random) -> list[FaultShare]:
    """`count` faults in the proportion of their shares, as exactly as whole numbers allow, in random order."""
    deck: list[FaultShare] = []
    given = [0] * len(shares)
    for _ in range(count):
        index = min(range(len(shares)), key=lambda i: ((given[i] + 1) / shares[i].share, i))
        given[index] += 1
        deck.append(shares[index])
    rng.shuffle(deck)
    return deck


def _can_be_staged(fault: FaultShare) -> bool:
    """Whether the trial makes sense without an upload: nothing of its trigger may wait for one."""
    if fault.cut is None:
        return True
    trigger = fault.cut.trigger
    return trigger.phase not in (None, Phase.UPLOAD) and trigger.kind not in (TriggerKind.CHUNK, TriggerKind.BYTE)


def _trial(
    scenario: Scenario,
    board: Board,
    images: ImageSet,
    fault: FaultShare,
    *,
    rng: random.Random,
    staged: bool,
    again: bool,
) -> Trial:
    return Trial(
        id="",
        scenario=scenario.name,
        board=board.name,
        protocol=scenario.protocol,
        seed=rng.getrandbits(48),
        old=images.old,
        new=images.new,
        again=images.again if again else None,
        request=scenario.request,
        confirm=scenario.confirm,
        staged=staged,
        fault=_draw_cut(fault.cut, images.new.size, _LARGEST_CHUNK[scenario.protocol], rng) if fault.cut else None,
        limits=scenario.limits,
        stratum=fault.stratum,
        expect=scenario.expect,
        in_place=board.in_place,
        inspect=scenario.inspect,
        receipts_every=scenario.receipts_every,
        proves=scenario.proves,
        product=scenario.product,
    )


def _draw_cut(template: PowerCutTemplate, image_size: int, chunk: int, rng: random.Random) -> Fault:
    trigger = template.trigger
    everything = image_size if trigger.kind is TriggerKind.BYTE else max(1, image_size // chunk)
    return Fault(
        trigger=Trigger(
            kind=trigger.kind,
            phase=trigger.phase,
            count=max(1, int(_draw(trigger.count, rng, everything=everything, whole=True))),
            pattern=trigger.pattern,
            offset_s=_draw(trigger.offset_s, rng, everything=everything, whole=False),
        ),
        off_s=_draw(template.off_s, rng, everything=everything, whole=False),
        repeat=template.repeat,
        on_s=_draw(template.on_s, rng, everything=everything, whole=False),
    )


def _draw(draw: Draw, rng: random.Random, *, everything: int, whole: bool) -> float:
    """Evaluate a draw; times are rounded to a microsecond, which is finer than any supply switches."""

    def number(bound: Bound) -> float:
        return everything if bound == "all" else float(bound)

    match draw:
        case Fixed(value=value):
            return number(value)
        case Choice(values=values):
            return number(rng.choice(values))
    low, high = number(draw.low), number(draw.high)
    return rng.randint(int(low), max(int(low), int(high))) if whole else round(rng.uniform(low, high), 6)
