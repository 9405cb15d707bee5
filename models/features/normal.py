"""An asset's own normal: where each feature lies and how far it spreads, learned robustly while commissioning.

Each machine is measured by its own yardstick, so one model can serve a fleet whose members differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MAD_TO_SIGMA = 1.4826  # for a normal distribution
_SPAN_90_TO_SIGMA = 1 / 3.2897  # from the 5th to the 95th percentile


@dataclass(frozen=True, slots=True, eq=False)
class LocalNormal:
    """`location`, `scale`: (n_features,) float32; scale > 0.

    NaN location: that feature was never seen, so it is never judged.
    """

    location: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: NDArray[np.floating]) -> LocalNormal:
        """From (n_windows, n_features) vectors of normal running, NaN = absent.

        Location is the median. Scale is the larger of the median absolute deviation and the 5-95 % span, both as
        sigmas: the first withstands half the windows being odd, the second does not take a channel that mostly
        rests and now and then moves for one that never moves. A feature that never moved gets a small floor.
        """
        x = np.asarray(vectors, dtype=np.float64)
        seen = np.isfinite(x).any(axis=0)
        location = np.full(x.shape[1], np.nan)
        scale = np.ones(x.shape[1])
        if seen.any():
            y = x[:, seen]
            location[seen] = np.nanmedian(y, axis=0)
            mad = np.nanmedian(np.abs(y - location[seen]), axis=0) * _MAD_TO_SIGMA
            low, high = np.nanpercentile(y, [5, 95], axis=0)
            floor = np.maximum(np.abs(location[seen]) * 1e-4, 1e-6)
            scale[seen] = np.maximum.reduce([mad, (high - low) * _SPAN_90_TO_SIGMA, floor])
        return cls(location.astype(np.float32), scale.astype(np.float32))

    def apply(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """(…, n_features) in units of this asset's own spread; NaN where the feature is absent or was never seen."""
        return np.asarray((np.asarray(vectors, dtype=np.float32) - self.location) / self.scale, dtype=np.float32)
