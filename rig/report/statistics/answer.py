"""What statistics are asked with and answer with: counts, and numbers that can say why the data do not give them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Root of all answers.  `lacking` says in words what the data cannot tell; empty where they tell everything that was asked."""

    lacking: str = ""

    @property
    def enough(self) -> bool:
        """Whether the data sufficed."""
        return not self.lacking


@dataclass(frozen=True, kw_only=True)
class Counts:
    """`failed` of `trials` independent trials of one kind.

    Raises:
        ValueError: a number is negative, or more failed than were tried.
    """

    failed: int
    trials: int

    def __post_init__(self) -> None:
        if not 0 <= self.failed <= self.trials:
            raise ValueError(f"{self.failed} of {self.trials} trials cannot have failed")

    @property
    def share(self) -> float | None:
        """The share that failed; None when nothing was tried."""
        return self.failed / self.trials if self.trials else None

    def plus_failed(self, number: int) -> Counts:
        """The counts if `number` further trials had been made and had all failed: the worst reading of trials lost to the rig."""
        return Counts(failed=self.failed + number, trials=self.trials + number)


def pooled(groups: Iterable[Counts]) -> Counts:
    """The sum of all groups; see `homogeneity` for whether it means anything."""
    groups = tuple(groups)
    return Counts(failed=sum(group.failed for group in groups), trials=sum(group.trials for group in groups))


def check_open_unit(**named: float) -> None:
    """Raise `ValueError` unless every named number lies strictly between 0 and 1."""
    for name, value in named.items():
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must lie strictly between 0 and 1, not {value}")
