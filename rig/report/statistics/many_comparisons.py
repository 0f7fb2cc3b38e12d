"""Corrections for many comparisons: of twenty tests of nothing, one is significant."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Correction(StrEnum):
    """Which error is kept small."""

    HOLM = "holm"
    """The probability of one false alarm or more (Holm, Scandinavian Journal of Statistics 6, 1979): for claims and gates."""
    BENJAMINI_HOCHBERG = "benjamini-hochberg"
    """The expected share of false alarms among all alarms (Benjamini and Hochberg, JRSS B 57, 1995): for hints where to look."""


def adjusted(p_values: Sequence[float | None], correction: Correction = Correction.HOLM) -> tuple[float | None, ...]:
    """The p values, corrected for their number, in the order given.  None, where the data did not suffice, stays None.

    Tests that were not made do not count; those that were made and looked at must all be given.  Benjamini and Hochberg's correction
    wants tests that are independent or positively dependent, Holm's wants nothing.

    Raises:
        ValueError: a p value lies outside 0 … 1.
    """
    tested = [p for p in p_values if p is not None]
    if not all(0.0 <= p <= 1.0 for p in tested):
        raise ValueError(f"these are no p values: {tested}")
    if correction is Correction.HOLM:
        corrected = iter(_holm(tested))
    else:
        from scipy import stats  # noqa: PLC0415 - half a second, which Holm's correction need not cost

        corrected = iter(stats.false_discovery_control(tested).tolist() if tested else ())
    return tuple(None if p is None else float(next(corrected)) for p in p_values)


def _holm(p_values: Sequence[float]) -> list[float]:
    """Step down.  Written out, since statsmodels' `multipletests` collects all garbage of the process at each call, 0.1 s."""
    result, reached = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[index]))
        result[index] = reached
    return result
