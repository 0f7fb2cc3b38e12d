"""How much behaviour has not been seen yet."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rig.report.statistics.answer import CONFIDENCE, Answer, check_open_unit


@dataclass(frozen=True, kw_only=True)
class Unseen(Answer):
    """The probability that a further trial shows a signature never seen before, and its one-sided upper bound.

    `once` of the `signatures` seen so far in `trials` trials were seen only once.
    """

    trials: int
    signatures: int
    once: int
    share: float | None
    upper: float


def unseen_share(times_seen: Iterable[int], confidence: float = CONFIDENCE) -> Unseen:
    """Good and Turing's estimate (Good, Biometrika 40, 1953), from how many trials showed each signature.

    The bound is McAllester and Ortiz' ("Concentration inequalities for the missing mass and for histogram rule error", Journal of
    Machine Learning Research 4, 2003); it needs thousands of trials to say much.

    Raises:
        ValueError: a number is not positive, or `confidence` is not strictly between 0 and 1.
    """
    check_open_unit(confidence=confidence)
    times = list(times_seen)
    if any(number < 1 for number in times):
        raise ValueError("a signature that was seen was seen at least once")
    trials, once = sum(times), times.count(1)
    if not trials:
        return Unseen(trials=0, signatures=0, once=0, share=None, upper=1.0, lacking="no trial was made")
    share = once / trials
    upper = share + (1.0 + math.sqrt(2.0)) * math.sqrt(-math.log(1.0 - confidence) / trials)
    return Unseen(trials=trials, signatures=len(times), once=once, share=share, upper=min(1.0, upper))
