"""Whose turn it is: what boards share, and who has to wait for it.

Some instruments serve several boards, and two processes cannot open one port; and while one board's trial interferes, nothing that
another board does in the same enclosure says anything about that board.  A trial's journal is the same whoever waited for whom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rig.bench import Around, needed
from rig.run.lane import Lane

_SERVES_SEVERAL: Mapping[str, str] = {"scpi": "resource"}
"""Supply driver → the option that names an instrument of which several boards may have an output each, and only one program a session."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What something that is done to a board has for itself (`alone`), and what it bears others to use as well (`together`)."""

    alone: frozenset[str] = frozenset()
    together: frozenset[str] = frozenset()

    def clash(self, other: Claim) -> frozenset[str]:
        """What keeps the two from being at the same time."""
        return self.alone & (other.alone | other.together) | self.together & other.alone


def claim_of(lane: Lane) -> Claim:
    """What the lane's next trial needs, or the recovery ladder that comes before it."""
    board, faults = lane.board, () if lane.distress is not None else lane.trials[0].faults
    alone, together = set[str](), set[str]()
    if (option := _SERVES_SEVERAL.get(board.supply.driver)) is not None:
        alone.add(f"the supply {board.supply.options[option]}")
    if board.interferer is not None:
        (alone if Around.INTERFERER in needed(board, faults) else together).add("the air of the enclosure")
    return Claim(alone=frozenset(alone), together=frozenset(together))


def whose_turn(lanes: Iterable[Lane], running: Iterable[Claim], *, most: int) -> tuple[list[Lane], dict[str, str]]:
    """The lanes that may do their next thing now, at most so many, and the boards that have to wait, each with what it waits for.

    The longest lane comes first, so that no board is left alone at the end.  Who waits keeps its place: nobody who comes later may
    take what it waits for, or a trial that needs the air for itself would never find a gap.
    """
    taken, turn, waiting = list(running), list[Lane](), dict[str, str]()
    for lane in sorted(lanes, key=lambda lane: -len(lane.trials)):
        if len(turn) == most:
            break
        claim = claim_of(lane)
        clashes = sorted(frozenset().union(*(claim.clash(other) for other in taken)))
        taken.append(claim)
        if clashes:
            waiting[lane.board.name] = " and ".join(clashes)
        else:
            turn.append(lane)
    return turn, waiting
