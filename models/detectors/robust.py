"""The robust statistical detector: serves from the first day, before any model has reached the device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.contract.items import BASELINE
from models.detectors.detector import DEFAULT_CLIP, Scored, huber


class RobustDetector:
    """Mean of Huber's loss over the quarter of features that lie farthest from this asset's normal.

    Most faults move a few features far, not all of them a little: the mean over everything would dilute them, the
    largest alone would ring on any single glitch. Needs no training beyond the asset's own location and scale; sees no
    relation between features, which is what the model is for.
    """

    detector_id = BASELINE

    def __init__(self, clip: float = DEFAULT_CLIP) -> None:
        self._clip = clip

    def score(self, z: NDArray[np.float32]) -> Scored:
        """See `Detector.score`."""
        contributions = huber(z, self._clip)
        present = np.sort(contributions[np.isfinite(contributions)])
        if not len(present):
            return Scored(0.0, contributions)
        return Scored(float(present[-max(1, len(present) // 4) :].mean()), contributions)
