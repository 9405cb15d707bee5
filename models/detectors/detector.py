"""The contract of every detector.

Invariants:
1. `score` takes locally normalized features and leaves them untouched; high = anomalous; scores are >= 0 and comparable
   only within one detector. Calibration makes them comparable between detectors (`calibration.py`).
2. Missing features (NaN) are left out, never guessed: they neither raise a score nor lower it on purpose.
3. A detector learns nothing while it serves: the same vector always gets the same score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

_FARTHEST: Final = 1e12  # sigmas: beyond it float32 squares overflow, and what is infinitely far out must not count as absent
FARTHEST_SHARE: Final = 1 / 8  # of the features, which a model's score is the mean of
DEFAULT_CLIP: Final = 8.0  # sigmas: what networks see at most, and where `huber` turns from square to straight


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """`score` >= 0. `contributions`: (n_features,) float32 >= 0, each feature's part in it, NaN where it was missing."""

    score: float
    contributions: NDArray[np.float32]


class Detector(Protocol):
    """`detector_id`: `baseline`, or the id of the bundle it came from."""

    detector_id: str

    def score(self, z: NDArray[np.float32]) -> Scored:
        """Score (n_features,) locally normalized features."""
        ...


def huber(residuals: NDArray[np.floating], bound: float) -> NDArray[np.float32]:
    """Squares up to `bound`, growing in proportion beyond it (Huber, 1964), of residuals in sigmas; NaN stays NaN.

    A square without bound would let one feature drown all others; a clipped one would make a machine that is 60 sigmas
    off look like one that is 8 off.
    """
    r = np.abs(residuals)
    if r.max(initial=0.0) <= bound:  # nearly always, and a third of the time
        return np.asarray(r * r, dtype=np.float32)
    r = np.minimum(r, _FARTHEST)
    return np.asarray(np.where(r <= bound, r * r, bound * (2 * r - bound)), dtype=np.float32)


def mean_of_farthest(contributions: NDArray[np.float32], share: float) -> float:
    """The mean over the `share` of the features that lie farthest out, at least one; 0.0 where none is there.

    Most faults move a few features far, not all of them a little: the mean over everything would dilute them.
    """
    ordered = np.sort(contributions)  # what is missing comes last
    n = len(ordered) - int(np.isnan(ordered).sum())
    return float(ordered[n - max(1, int(share * n)) : n].mean()) if n else 0.0
