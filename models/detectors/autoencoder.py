"""The int8 autoencoder: a feature vector that it cannot rebuild from what normal ones have in common is anomalous."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from models.detectors.detector import FARTHEST_SHARE, Scored, huber, mean_of_farthest
from models.errors import BundleIncompatible
from models.runtime import Int8Model


class TfliteAutoencoder:
    """Mean of Huber's loss of the difference between the vector and its reconstruction, over the `share` of the features that
    are there which it rebuilds worst.

    The network sees the vector clipped to ±clip sigmas, the range that it was quantized for; the difference is taken from
    the vector as it is. A missing feature enters the network as 0, the asset's own median, and is left out of the score.
    `model`: full-integer TFLite, n_features values of 8 bits in and out. Raises BundleIncompatible where it is not that.
    """

    _rebuilds_once: ClassVar[bool] = True  # one output for each input

    def __init__(self, model: bytes, clip: float, detector_id: str = "model", share: float = FARTHEST_SHARE) -> None:
        self.detector_id = detector_id
        self._model = Int8Model(model)
        if self._rebuilds_once and self._model.n_outputs != self._model.n_inputs:
            raise BundleIncompatible(
                f"{detector_id}: {self._model.n_outputs} outputs for {self._model.n_inputs} inputs; to rebuild takes as many"
            )
        self._clip = np.float32(clip)
        self._share = share
        self.n_features = self._model.n_inputs
        self.runtime = self._model.runtime

    def reconstruct(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network makes of (n_features,) normalized features, in the same units."""
        x = np.minimum(np.maximum(z, -self._clip), self._clip)  # np.clip and np.nan_to_num cost more than the network
        return self._model.run(np.where(np.isnan(x), np.float32(0.0), x))

    def score(self, z: NDArray[np.float32]) -> Scored:
        """See `Detector.score`."""
        contributions = huber(z - self.reconstruct(z), float(self._clip))
        return Scored(self._reduce(contributions), contributions)

    def _reduce(self, contributions: NDArray[np.float32]) -> float:
        return mean_of_farthest(contributions, self._share)
