"""The robust statistical detector: serves from the first day, before any model has reached the device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.contract.items import BASELINE
from models.detectors.detector import DEFAULT_CLIP, Scored, huber, mean_of_farthest


class RobustDetector:
    """Mean of Huber's loss over the quarter of features that lie farthest from this asset's normal.

    The largest alone would ring on any single glitch. Needs no training beyond the asset's own location and scale; sees no
    relation between features, which is what the model is for.
    """

    detector_id = BASELINE

    def __init__(self, clip: float = DEFAULT_CLIP) -> None:
        self._clip = clip

    def score(self, z: NDArray[np.float32]) -> Scored:
        """See `Detector.score`."""
        contributions = huber(z, self._clip)
        return Scored(mean_of_farthest(contributions, 1 / 4), contributions)
