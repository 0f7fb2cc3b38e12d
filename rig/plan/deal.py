"""Deals the trials of the scenarios out to the boards, and lays aside what is planned in rounds."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rig.model import AimedPlan, Board, Fault, ImageSet, Protocol, Trial, Trigger, TriggerKind
from rig.plan import draw
from rig.plan.staging import share_when_aimed, takes_part
from rig.scenario import FaultShare, FaultTemplate, Fixed, Scenario

_LARGEST_CHUNK = {Protocol.SMP: 2475, Protocol.SECURE_DFU: 4096}
"""Bytes.  No SMP server of the boards in use takes more per request, and Secure DFU confirms objects of one page, so every image
has at least size / this many chunks."""

@dataclass(frozen=True, kw_only=True)
class Dealt:
    """What is planned before anything runs: whole trials, and what later rounds are planned from."""

    trials: tuple[Trial, ...]
    aimed: tuple[AimedPlan, ...]

    @property
    def boards(self) -> frozenset[str]:
        """Names of the boards that have something to do."""
        templates = (template for aimed in self.aimed for template in aimed.templates)
        return frozenset(trial.board for trial in (*self.trials, *templates))


def plan(
    scenarios: Sequence[Scenario],
    boards: Sequence[Board],
    images: Mapping[tuple[str, str], ImageSet],
    *,
    seed: int | None = None,
    trials: int | None = None,
) -> Dealt:
    """Deal out the trials.  `images` is keyed by scenario name and board name; `seed` and `trials` override those of the scenarios.

    Boards take turns; the fault list is dealt in exact proportion and shuffled, so that no board always gets the same fault.  Trials
    with aimed cuts are counted, and left to the rounds.
    """
    decks = [
        _Deck(scenario, [board for board in boards if scenario.runs_on(board)], images, seed=seed, trials=trials) for scenario in scenarios
    ]
    dealt = [trial for deck in decks for trial in deck.trials()]
    width = max(4, len(str(len(dealt))))
    return Dealt(
        trials=tuple(replace(trial, id=f"T-{number:0{width}d}") for number, trial in enumerate(dealt, start=1)),
        aimed=tuple(aimed for deck in decks for aimed in deck.aimed()),
    )


class _Deck:
    """One scenario while it is dealt out."""

    def __init__(
        self, scenario: Scenario, boards: Sequence[Board], images: Mapping[tuple[str, str], ImageSet], *, seed: int | None, trials: int | None
    ) -> None:
        self._scenario, self._boards, self._images = scenario, boards, images
        self._seed = scenario.seed if seed is None else seed
        self._count = scenario.trials if trials is None else trials
        self._rng = random.Random(f"{self._seed}/{scenario.name}")
        self._deck = _shuffled(scenario.faults, self._count, self._rng)

    def trials(self) -> list[Trial]:
        """The trials whose faults can be drawn at once."""
        scenario, rng = self._scenario, self._rng
        stageable = [index for index, entry in enumerate(self._deck) if _can_be_staged(scenario.faults[entry], scenario.protocol)]
        staged = set(rng.sample(stageable, round((scenario.staged or 0.0) * len(stageable))))
        again = set(rng.sample(range(self._count), round(scenario.again * self._count)))
        turns: Counter[int] = Counter()
        found = []
        for index, entry in enumerate(self._deck):
            draws, share = random.Random(rng.getrandbits(64)), scenario.faults[entry]
            if share.aim is not None:
                continue
            board = self._boards[index % len(self._boards)]
            trial = self._control(board, seed=draws.getrandbits(48), staged=index in staged, again=index in again)
            found.append(self._with_programme(trial, share, draws, turns[entry]))
            turns[entry] += 1
        return found

    def _with_programme(self, trial: Trial, share: FaultShare, rng: random.Random, turn: int) -> Trial:
        chunk = _LARGEST_CHUNK[self._scenario.protocol]
        programme = [draw.fault(template, trial.new.size, chunk, rng=rng, turn=turn) for template in share.programme]
        return replace(trial, fault=programme[0] if programme else None, further=tuple(programme[1:]), stratum=share.stratum)

    def aimed(self) -> list[AimedPlan]:
        """What the rounds are planned from: one plan for each aimed entry and each SoC."""
        found = []
        for index, share in enumerate(self._scenario.faults):
            if share.aim is None:
                continue
            budget = self._deck.count(index)
            socs = list(dict.fromkeys(board.soc for board in self._boards))
            for number, soc in enumerate(socs):
                part = budget // len(socs) + (number < budget % len(socs))
                found.append(self._aimed(share, soc=soc, budget=part, index=index))
        return found

    def _aimed(self, share: FaultShare, *, soc: str, budget: int, index: int) -> AimedPlan:
        scenario = self._scenario
        position, template, aim = next((number, fault, fault.aim) for number, fault in enumerate(share.programme) if fault.aim is not None)
        others = [fault for number, fault in enumerate(share.programme) if number != position]
        boards = [board for board in self._boards if board.soc == soc]
        seed = f"{self._seed}/{scenario.name}/{index}/{soc}"
        templates = tuple(self._control(board, seed=0, staged=False, again=True) for board in boards)
        needs_upload = any(_waits_for_an_upload(other, scenario.protocol) for other in others)
        assert isinstance(template.off_s, Fixed)  # the configuration insists on it where a cut is aimed
        assert template.off_s.value != "all"
        return AimedPlan(
            scenario=scenario.name,
            soc=soc,
            templates=templates,
            cut=Fault(trigger=Trigger(kind=TriggerKind.PHASE), off_s=float(template.off_s.value)),
            plan=aim.plan,
            budget=budget,
            seed=random.Random(seed).getrandbits(48),
            phases=aim.phases,
            kinds=aim.kinds,
            numbers=aim.numbers,
            random_share=aim.random_share,
            round_size=aim.round_size,
            staged=0.0 if needs_upload else share_when_aimed(scenario),
            again=scenario.again,
            places=aim.places,
            beside=self._beside(others, templates[0].new.size, budget, random.Random(f"{seed}/beside")),
            position=position,
        )

    def _beside(self, others: Sequence[FaultTemplate], size: int, budget: int, rng: random.Random) -> tuple[tuple[Fault, ...], ...]:
        """What goes along with the aimed cuts: a programme for each trial, or only one where nothing in it is drawn."""
        chunk = _LARGEST_CHUNK[self._scenario.protocol]
        programmes = [tuple(draw.fault(template, size, chunk, rng=rng, turn=turn) for template in others) for turn in range(budget)]
        return tuple(programmes if any(programme != programmes[0] for programme in programmes) else programmes[:1]) if others else ()

    def _control(self, board: Board, *, seed: int, staged: bool, again: bool) -> Trial:
        """A trial without a name and without a fault."""
        scenario, images = self._scenario, self._images[self._scenario.name, board.name]
        return Trial(
            id="",
            scenario=scenario.name,
            board=board.name,
            protocol=scenario.protocol,
            seed=seed,
            old=images.old,
            new=images.new,
            again=images.again if again else None,
            request=scenario.request,
            confirm=scenario.confirm,
            staged=staged,
            fault=None,
            limits=scenario.limits,
            stratum="control",
            expect=scenario.expect,
            in_place=board.in_place,
            inspect=scenario.inspect,
            receipts_every=scenario.receipts_every,
            proves=scenario.proves,
            product=scenario.product,
        )


def _shuffled(shares: Sequence[FaultShare], count: int, rng: random.Random) -> list[int]:
    """`count` entries of the fault list, by number, in the proportion of their shares as exactly as whole numbers allow."""
    deck: list[int] = []
    given = [0] * len(shares)
    for _ in range(count):
        index = min(range(len(shares)), key=lambda i: ((given[i] + 1) / shares[i].share, i))
        given[index] += 1
        deck.append(index)
    rng.shuffle(deck)
    return deck


def _can_be_staged(share: FaultShare, protocol: Protocol) -> bool:
    """Whether the trial makes sense without an upload: nothing of its first trigger may wait for one."""
    if not share.programme:
        return True
    return not _waits_for_an_upload(share.programme[0], protocol)


def _waits_for_an_upload(template: FaultTemplate, protocol: Protocol) -> bool:
    """Whether the fault may belong to what a staged trial leaves out: not one that follows another fault, or waits for a later phase."""
    trigger = template.trigger
    in_time = trigger.phase is not None and takes_part(protocol, trigger.phase)
    return not trigger.after and (not in_time or trigger.kind in (TriggerKind.CHUNK, TriggerKind.BYTE))
