"""Counts and times as rates and medians with the uncertainty that they have. Pure; formulas in docs/value.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

CONFIDENCE: Final = 0.95
_ALPHA: Final = 1 - CONFIDENCE
MIN_FOR_MEDIAN: Final = 6  # with fewer, no two of them bracket the median with 95 % confidence


def poisson_interval(count: int, exposure: float) -> tuple[float, float]:
    """The exact two-sided 95 % interval of a rate, of `count` events over `exposure` > 0 (Garwood, 1936)."""
    from scipy.special import gammaincinv

    low = float(gammaincinv(count, _ALPHA / 2)) if count else 0.0
    high = float(gammaincinv(count + 1, 1 - _ALPHA / 2))
    return low / exposure, high / exposure


def rates_differ(before: tuple[int, float], after: tuple[int, float]) -> float:
    """Two-sided p-value that two Poisson rates are the same, each (count, exposure > 0): given their sum, the second count is
    binomial (Przyborowski and Wilenski, 1940). Twice the smaller tail, at most 1."""
    from scipy.special import bdtr

    (k1, t1), (k2, t2) = before, after
    n, share = k1 + k2, t2 / (t1 + t2)
    if not n:
        return 1.0
    below = float(bdtr(k2, n, share))
    above = 1.0 - (float(bdtr(k2 - 1, n, share)) if k2 else 0.0)
    return min(1.0, 2 * min(below, above))


def median_interval(values: Sequence[float]) -> tuple[float, float, float] | None:
    """Median with the order statistics that bracket it with at least 95 % confidence, whatever the distribution; None for fewer
    than MIN_FOR_MEDIAN."""
    if len(values) < MIN_FOR_MEDIAN:
        return None
    from scipy.special import bdtr

    ordered, n = sorted(values), len(values)
    rank = 0  # of the lower one, from 0: the largest such that fewer than rank + 1 lie below with at most 2.5 %
    while rank + 1 < n // 2 and float(bdtr(rank + 1, n, 0.5)) <= _ALPHA / 2:
        rank += 1
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return middle, ordered[rank], ordered[n - 1 - rank]
