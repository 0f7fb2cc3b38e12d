"""The rig proves that it can fail: the practice suite on good boards, and on the same boards with one planted defect each.

One campaign holds them all.  A board with a defect is called like the good one with the defect's id behind it, so that its trials can
be replayed like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from rig import drivers
from rig.config import Configuration
from rig.model import Board, InstrumentSpec, Judgement, Trial, Verdict
from rig.practices import REQUIREMENTS, Practice, Shown, blamed, score
from rig.product import Product
from rig.scenario import Scenario

_SEPARATOR = "-"
_PLAIN_UPDATE = "signing.genuine"
_EVERYWHERE = 0.25
"""Share of the scenarios."""


@dataclass(frozen=True, kw_only=True)
class KnownBad:
    """A defect that the bench can plant, and the practices that may rightly be blamed for it."""

    id: str
    title: str
    practices: tuple[Practice, ...]


class Caught(StrEnum):
    """What the suite made of a defect."""

    RIGHT = "right practice"
    WRONG = "wrong practice"
    NOT = "not caught"
    UNDECIDED = "rig could not tell"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the matrix."""

    board: str
    defect: KnownBad | None
    """None: the good board."""
    trials: int
    failed: int
    lost: int
    scenarios: tuple[str, ...]
    """Those with a trial that failed."""
    blamed: tuple[Practice, ...]
    caught: Caught | None
    """None for the good board."""

    @property
    def is_as_it_should_be(self) -> bool:
        """A good board without a failure, or a defect that is blamed on the right practice."""
        return self.failed == 0 and self.lost == 0 if self.defect is None else self.caught is Caught.RIGHT


def known_bad(bench: InstrumentSpec, board: Board) -> tuple[KnownBad, ...]:
    """The defects that `bench` can plant on `board`; none on a bench that is real."""
    if bench.driver not in drivers.DEFECTS:
        return ()
    found: Iterable[Any] = drivers.resolve(drivers.DEFECTS[bench.driver])(board)
    return tuple(
        KnownBad(id=entry.id, title=entry.title, practices=tuple(Practice(number) for number in entry.practices)) for entry in found
    )


def with_defect(board: Board, defect: str) -> Board:
    """`board` under another name and with `defect` planted; it is wired like the good one."""
    name = f"{board.name}{_SEPARATOR}{defect}"

    def renamed(spec: InstrumentSpec) -> InstrumentSpec:
        options = {
            key: value.replace(f":{board.name}/", f":{name}/") if isinstance(value, str) else value
            for key, value in spec.options.items()
        }
        return replace(spec, options=options)

    return replace(
        board, name=name, supply=renamed(board.supply), console=renamed(board.console), model={**board.model, "defects": [defect]}
    )


def repeated(configuration: Configuration, times: int) -> Configuration:
    """`configuration` with every scenario's trials on each of its boards, so many `times`."""
    scenarios = [
        replace(scenario, trials=scenario.trials * times * sum(map(scenario.runs_on, configuration.boards.boards)))
        for scenario in configuration.scenarios
    ]
    return replace(configuration, scenarios=tuple(scenarios))


def plant(
    configuration: Configuration, *, short: bool, only: Collection[str] = (), done: Collection[str] = ()
) -> tuple[Configuration, Mapping[str, KnownBad]]:
    """`configuration` with bad boards in place of the good ones, and the defects by the names of their boards.

    Each defect is planted once, on the first board that can have it; the plain update comes first.
    Each scenario runs with all its trials on each of them.  `short` leaves to each board the scenarios that concern its practices, and
    those that every other builds on.  `only` takes these defects and no others; those in `done` are left out.
    """
    planted: dict[str, tuple[Board, Board, KnownBad]] = {}
    for board in configuration.boards.boards:
        for defect in known_bad(configuration.boards.bench, board):
            if (not only or defect.id in only) and defect.id not in done:
                planted.setdefault(defect.id, (board, with_defect(board, defect.id), defect))
    scenarios = []
    everywhere = _asked_everywhere(configuration.scenarios)
    for scenario in configuration.scenarios:
        particular = set(scenario.proves) - everywhere
        names = tuple(
            bad.name for good, bad, defect in planted.values() if scenario.runs_on(good) and (not short or _concerns(particular, defect))
        )
        if names:
            selection = replace(scenario.boards, names=names)
            scenarios.append(replace(scenario, boards=selection, trials=scenario.trials * len(names)))
    scenarios.sort(key=lambda scenario: _PLAIN_UPDATE not in scenario.proves)  # what no other blame stands without comes first
    boards = replace(configuration.boards, boards=tuple(bad for _, bad, _ in planted.values()))
    defects = {bad.name: defect for _, bad, defect in planted.values()}
    return replace(configuration, boards=boards, scenarios=tuple(scenarios)), defects


def _asked_everywhere(scenarios: Sequence[Scenario]) -> set[str]:
    """Requirements that so many scenarios prove along the way that they say nothing of what a scenario is about."""
    asked = {(scenario.file, name) for scenario in scenarios for name in scenario.proves}  # a file makes one for each way of spoiling
    files = {scenario.file for scenario in scenarios}
    count = Counter(name for _, name in asked)
    return {name for name, number in count.items() if number > max(1, _EVERYWHERE * len(files))}


def _concerns(particular: Collection[str], defect: KnownBad) -> bool:
    """Whether a scenario that is about these requirements tests what the defect violates, or the plain update that all blame needs."""
    practices = {REQUIREMENTS[name].practice for name in particular}
    return bool(practices & set(defect.practices)) or _PLAIN_UPDATE in particular


def convicts(judgement: Judgement) -> bool:
    """Whether a bad board has shown its defect, so that its other trials have nothing to add."""
    return judgement.verdict is Verdict.FAIL and any(finding.met is False for finding in judgement.findings)


def matrix(
    product: Product, trials: Iterable[Trial], judgements: Mapping[str, Judgement], bad: Mapping[str, KnownBad]
) -> tuple[Row, ...]:
    """One row per board, in the order of the plan; boards that `bad` does not name are good."""
    by_board: dict[str, list[tuple[Trial, Judgement]]] = {name: [] for name in bad}  # a defect that no trial met is not caught
    for trial in trials:
        if trial.id in judgements:
            by_board.setdefault(trial.board, []).append((trial, judgements[trial.id]))
    return tuple(_row(product, board, ran, bad.get(board)) for board, ran in by_board.items())


def _row(product: Product, board: str, ran: Sequence[tuple[Trial, Judgement]], defect: KnownBad | None) -> Row:
    failed = [trial for trial, judgement in ran if judgement.verdict is Verdict.FAIL]
    lost = sum(judgement.verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE) for _, judgement in ran)
    shown = [Shown(scenario=t.scenario, trial=t.id, finding=finding) for t, judgement in ran for finding in judgement.findings]
    practices = blamed(score(product, shown))
    return Row(
        board=board,
        defect=defect,
        trials=len(ran),
        failed=len(failed),
        lost=lost,
        scenarios=tuple(dict.fromkeys(trial.scenario for trial in failed)),
        blamed=practices,
        caught=_caught(defect, practices, failed=bool(failed), lost=lost) if defect else None,
    )


def _caught(defect: KnownBad, practices: tuple[Practice, ...], *, failed: bool, lost: int) -> Caught:
    """A failure that no practice explains blames the wrong one; trials that only timed out catch nothing."""
    if not failed:
        return Caught.UNDECIDED if lost else Caught.NOT
    return Caught.RIGHT if practices and set(practices) <= set(defect.practices) else Caught.WRONG

