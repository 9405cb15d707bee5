"""How often the streaming detector rings where nothing is wrong: made-up channels of several kinds, by threshold.

    python -m benchmarks.detection.streaming_noise

A reading every five minutes. For each kind: alerts that open in the first 2,000 readings, and readings to an alert after these
(the mean over seeds); and how often readings come with a p-value of at most 1/100, 1/1000 and 1/10,000, which is what these
should be.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.reading_alarm import ReadingAlarm

Array = NDArray[np.float64]
_N: Final = 10_000
_PERIOD_S: Final = 300.0
_EARLY: Final = 2_000
_SEEDS: Final = 6
_THRESHOLDS: Final = (0.9, 0.99, 0.999)
_P: Final = (1e-2, 1e-3, 1e-4)


def _lagged(noise: Array) -> Array:
    values = noise.copy()
    for n in range(1, len(values)):
        values[n] += 0.95 * values[n - 1]
    return values


KINDS: Final[dict[str, Callable[[np.random.Generator], Array]]] = {
    "white noise": lambda rng: rng.standard_normal(_N),
    "white noise in steps of a tenth of its sigma": lambda rng: np.round(rng.standard_normal(_N), 1),
    "counts, 50 on average": lambda rng: rng.poisson(50, _N).astype(np.float64),
    "heavy tails (Student's t, 3)": lambda rng: rng.standard_t(3, _N),
    "a day's swing of 10 sigmas, 288 readings a day": lambda rng: (
        10 * np.sin(2 * np.pi * np.arange(_N) / 288) + rng.standard_normal(_N)
    ),
    "slow: 0.95 of the last value, and noise": lambda rng: _lagged(rng.standard_normal(_N)),
    "a random walk": lambda rng: np.cumsum(rng.standard_normal(_N)),
}


def rings(values: Array, threshold: float) -> tuple[list[int], list[float]]:
    """(the readings with which alerts open, the p-value of each reading)."""
    alarm = ReadingAlarm(threshold)
    opened, p_values = [], []
    for n, value in enumerate(values.tolist()):
        before = alarm.alarm
        p_values.append(alarm.update(value, n * _PERIOD_S).p_value)
        if alarm.alarm and not before:
            opened.append(n)
    return opened, p_values


def main() -> int:
    print("kind; by threshold: alerts in the first 2,000 readings / readings to an alert later; share of p <= 1e-2, 1e-3, 1e-4")
    for kind, make in KINDS.items():
        told = []
        p_values: list[float] = []
        for threshold in _THRESHOLDS:
            found = [rings(make(np.random.default_rng(seed)), threshold) for seed in range(_SEEDS)]
            early = sum(n < _EARLY for opened, _ in found for n in opened)
            late = sum(n >= _EARLY for opened, _ in found for n in opened)
            apart = f"{_SEEDS * (_N - _EARLY) / late:,.0f}" if late else f"none in {_SEEDS * (_N - _EARLY):,}"
            told.append(f"{threshold:g}: {early / _SEEDS:.1f} / {apart}")
            p_values = [p for _, of_seed in found for p in of_seed[_EARLY:]]
        shares = ", ".join(f"{np.mean(np.array(p_values) <= p):.1g}" for p in _P)
        print(f"{kind}; {'; '.join(told)}; {shares}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
