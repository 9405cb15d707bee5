"""What scores and alarms are worth: rates, delays, thresholds at a stated false alarm rate, change points.

Nothing is adjusted: a row that was not called is missed, however long the anomaly that it is part of was called elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]
_CHANGE_WINDOW_S: Final = 60.0
_EARLY, _FALSE, _MISSED = 1.0, -0.11, -1.0  # NAB's standard profile


def threshold_at(normal: Scores, far: float) -> float:
    """The lowest threshold above which at most that share of `normal` lies: alarms are scores > threshold."""
    ordered = np.sort(normal)
    return float(ordered[len(ordered) - 1 - int(far * len(ordered))])


def percent(flags: Flags) -> float:
    """Of the flags, how many are true."""
    return 100 * float(np.mean(flags)) if len(flags) else float("nan")


def f1(called: Flags, truth: Flags) -> float:
    """0 where nothing is called and nothing is true."""
    return float(2 * (called & truth).sum() / max(1, called.sum() + truth.sum()))


def spans(flags: Flags) -> list[tuple[int, int]]:
    """[first, end) of each run of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def delays(called: Flags, truth: Flags) -> list[int | None]:
    """Rows from the beginning of each anomaly to the first alarm in it; None: missed."""
    found: list[int | None] = []
    for first, end in spans(truth):
        hits = np.flatnonzero(called[first:end])
        found.append(int(hits[0]) if len(hits) else None)
    return found


def changepoint_score(runs: Sequence[tuple[Scores, Flags, Flags]]) -> float:
    """SKAB's change-point score, NAB's standard profile with windows of 60 s that begin at the change (Lavin and Ahmad, 2015).

    `runs`: for each, (times in s, change points, alarms). Every turn of the alarm, on or off, tells a change. 100 = perfect,
    0 = silence.
    """
    total, n_windows = 0.0, 0
    ramp = np.tanh(np.linspace(-np.pi / 2, np.pi / 2, 1000)) / np.tanh(np.pi / 2)
    for times, changes, alarm in runs:
        told = times[np.diff(np.concatenate([[False], alarm]).astype(np.int8)) != 0]
        inside = np.zeros(len(told), dtype=bool)
        for start, end in _windows(times[changes]):
            here = (told >= start) & (told <= end)
            inside |= here
            n_windows += 1
            if not here.any():
                total += _MISSED
                continue
            at = min(int((told[here][0] - start) / (end - start) * 1000), 999)
            half = (_EARLY - _FALSE) / 2
            total += half + _FALSE - half * float(ramp[at])
        total += _FALSE * int((~inside).sum())
    return 100 * (total - n_windows * _MISSED) / (n_windows - n_windows * _MISSED)


def _windows(changes: Scores) -> list[list[float]]:
    """Where two would overlap, the later one begins with the end of the earlier."""
    found = [[float(c), float(c) + _CHANGE_WINDOW_S] for c in changes]
    for earlier, later in pairwise(found):
        if later[0] <= earlier[1]:
            later[0] = max(later[0], earlier[1])
    return found


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean and standard deviation over seeds, as tables tell them."""
    if np.std(values) < 0.5 * 10**-digits:
        return f"{np.mean(values):.{digits}f}"
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"
