"""Exact statements about rare failures, from counts.

Only the binomial distribution is needed, so there is no statistics library: the tail is summed term by term and solved by bisection.
The claim is always Clopper and Pearson's ("The use of confidence or fiducial limits illustrated in the case of the binomial",
Biometrika 26, 1934): its coverage is never below the nominal one, which neither Wilson's, Jeffreys' nor Wald's interval can say.
"""

from __future__ import annotations

import math

CONFIDENCE = 0.95
_NEGLIGIBLE = 1e-17
_STEPS = 200


def binomial_cdf(k: int, n: int, p: float) -> float:
    """Probability of at most `k` successes in `n` trials of probability `p`.

    Raises:
        ValueError: `k` or `n` is negative, `k` exceeds `n`, or `p` lies outside 0 … 1.
    """
    if not (0 <= k <= n and 0.0 <= p <= 1.0):
        raise ValueError(f"no binomial distribution has k={k}, n={n}, p={p}")
    if k == n or p == 0.0:
        return 1.0
    if p == 1.0:
        return 0.0
    if k > n * p:  # sum the shorter tail, away from the mode, where the terms shrink
        return 1.0 - _tail(n - k - 1, n, 1.0 - p)
    return _tail(k, n, p)


def _tail(k: int, n: int, p: float) -> float:
    """The sum of the terms 0 … k, largest first, as long as they matter; wants k at or below about n·p."""
    if k < 0:
        return 0.0
    log_term = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
    term = total = math.exp(log_term)
    odds = (1.0 - p) / p
    for i in range(k, 0, -1):
        term *= i / (n - i + 1) * odds
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return min(total, 1.0)


def upper_bound(failures: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """The exact one-sided upper bound on a failure probability; 1 when nothing was tried.

    The largest p at which so few failures would still happen with probability 1 - `confidence`.

    Raises:
        ValueError: the counts are impossible, or `confidence` is not strictly between 0 and 1.
    """
    if not (0 <= failures <= trials and 0.0 < confidence < 1.0):
        raise ValueError(f"no bound for {failures} failures in {trials} trials at confidence {confidence}")
    if failures == trials:
        return 1.0
    low, high = failures / trials, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if binomial_cdf(failures, trials, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact two-sided interval of a share; (0, 1) when nothing was tried.

    Raises:
        ValueError: as `upper_bound`.
    """
    one_sided = (1.0 + confidence) / 2
    return 1.0 - upper_bound(trials - successes, trials, one_sided), upper_bound(successes, trials, one_sided)


def trials_needed(limit: float, failures: int = 0, confidence: float = CONFIDENCE) -> int:
    """The fewest trials with so many failures that show a failure probability below `limit`.

    Raises:
        ValueError: `limit` is not strictly between 0 and 1, `failures` is negative, or `confidence` is out of range.
    """
    if not (0.0 < limit < 1.0 and failures >= 0):
        raise ValueError(f"no number of trials shows a probability below {limit} with {failures} failures")
    low, high = failures, failures + 1
    while upper_bound(failures, high, confidence) >= limit:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if upper_bound(failures, middle, confidence) < limit:
            high = middle
        else:
            low = middle
    return high
