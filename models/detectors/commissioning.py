"""What a device learns in an asset's first windows: its location and scale, and which of those windows to trust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.calibration import MIN_SCORES
from models.detectors.detector import DEFAULT_CLIP
from models.detectors.recurrence import recurring
from models.detectors.robust import RobustDetector
from models.features.normal import LocalNormal

_ODD: Final = 5.0  # a window that scores this many times the median is not taken as normal
_MAX_DROPPED: Final = 0.2  # more than this is not a few odd windows, it is how the asset runs
_BLOCKS: Final = 20
_PULLED_IN: Final = 5.0  # sigmas
_SPAN_60_TO_SIGMA: Final = 1 / 1.6832  # from the 20th to the 80th percentile of a normal distribution


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """`normal`: the asset's own. `reference`: (n, n_features) float32, the trusted raw vectors, by which every detector
    that comes to this device is calibrated. `windows`: (n, n_samples, n_channels) float32, trusted ones that were kept whole,
    for detectors that take these; None = too few. `kept`: which of the vectors given are trusted; None = all."""

    normal: LocalNormal
    reference: NDArray[np.float32]
    windows: NDArray[np.float32] | None = None
    kept: NDArray[np.intp] | None = None


def learn(vectors: NDArray[np.float32]) -> Learned:
    """From (n, n_features) raw vectors, n >= 20.

    Windows that stand far out of the rest are dropped, at most a fifth of all, the oddest first, so that a disturbance
    during commissioning neither widens the asset's normal nor raises its thresholds. What comes back in several separate
    episodes is no disturbance, it is how the asset runs (`recurrence.py`).
    """
    scores = _oddness(vectors)
    odd = scores > _ODD * max(float(np.median(scores)), 1e-9)
    z = np.clip(LocalNormal.fit(vectors).apply(vectors), -DEFAULT_CLIP, DEFAULT_CLIP)
    asked = np.flatnonzero(odd)
    once = asked[~recurring(z, odd, asked)]
    may_drop = max(0, min(int(_MAX_DROPPED * len(vectors)), len(vectors) - MIN_SCORES))
    dropped = once[np.argsort(-scores[once], kind="stable")[:may_drop]]
    kept = np.setdiff1d(np.arange(len(vectors)), dropped)
    reference = vectors[kept]
    return Learned(LocalNormal.fit(reference), reference, kept=kept)


def learn_in_order(vectors: NDArray[np.float32]) -> Learned:
    """From (n, n_features) raw vectors, n >= 20, where normal follows drift: all of them, in the order of time.

    To drop windows would tear the order that drift is learned from, and drift itself looks odd from afar. What stands far
    out of the rest is pulled in instead, to `_PULLED_IN` of the spread of the middle three fifths, which a fifth of odd
    windows does not move.
    """
    seen = np.isfinite(vectors).any(axis=0)
    reference = vectors.copy()
    low, middle, high = np.nanpercentile(vectors[:, seen], [20, 50, 80], axis=0)
    reach = np.maximum(_PULLED_IN * (high - low) * _SPAN_60_TO_SIGMA, np.abs(middle) * 1e-3)
    reference[:, seen] = np.clip(vectors[:, seen], middle - reach, middle + reach)
    return Learned(LocalNormal.fit(reference), reference)


def _oddness(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scores of (n, n_features) vectors, each under a normal learned from those that are far from it in time.

    A disturbance lasts: as long as it is short enough to be dropped, none of its windows is judged by another of them.
    """
    detector = RobustDetector()
    n = len(vectors)
    reach = int(_MAX_DROPPED * n)
    scores = np.empty(n)
    for block in np.array_split(np.arange(n), _BLOCKS):
        far = np.delete(vectors, slice(max(0, block[0] - reach), block[-1] + 1 + reach), axis=0)
        for i, z in zip(block, LocalNormal.fit(far).apply(vectors[block]), strict=True):
            scores[i] = detector.score(z).score
    return scores
