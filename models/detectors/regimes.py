"""The int8 detector of a machine that runs in several ways: how far a window lies from the nearest of its operating regimes.

One network tells what each regime can rebuild of a window, so the device need not be told at which speed or load the machine
runs, and changes of regime are no anomaly. Trained by `hub/training/regimes.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.detector import Scored, huber
from models.errors import BundleIncompatible


class TfliteRegimes(TfliteAutoencoder):
    """The least, over regimes, of the mean of Huber's loss of what the regime cannot rebuild; Mahalanobis's distance, robustly.

    Contributions are those to the nearest regime. A missing feature enters the network as each regime's own centre, which
    costs one run a regime, and is left out of the mean.
    `model`: full-integer TFLite, (1, n_features) int8 in and (1, n_regimes * n_features) int8 out, regime by regime.
    `centres`: (n_regimes, n_features), locally normalized. Raises BundleIncompatible where the two do not fit each other.
    """

    _rebuilds_once = False

    def __init__(self, model: bytes, clip: float, centres: Sequence[Sequence[float]], detector_id: str = "model") -> None:
        super().__init__(model, clip, detector_id)
        self._centres = np.array(centres, dtype=np.float32)
        if self._centres.ndim != 2 or self._centres.shape[1] != self.n_features or self._model.n_outputs != self._centres.size:
            raise BundleIncompatible(
                f"{detector_id}: {self._model.n_outputs} outputs; {len(centres)} regimes of {self.n_features} features have "
                f"{len(centres) * self.n_features}, and a centre of as many features each"
            )

    def score(self, z: NDArray[np.float32]) -> Scored:
        """See `Detector.score`."""
        missing = np.isnan(z)
        shape = self._centres.shape
        if not missing.any():
            residuals = z - self.reconstruct(z).reshape(shape)
        else:
            filled = np.where(missing, self._centres, z)
            rebuilt = [self.reconstruct(row).reshape(shape)[i] for i, row in enumerate(filled)]
            residuals = np.where(missing, np.float32(np.nan), z - np.array(rebuilt))
        return nearest_regime(residuals, float(self._clip))


def nearest_regime(residuals: NDArray[np.floating], clip: float) -> Scored:
    """From (n_regimes, n_features), what each regime cannot rebuild, NaN = missing."""
    contributions = huber(residuals, clip)
    missing = np.isnan(contributions[0])
    n = len(missing) - int(missing.sum())
    if not n:
        return Scored(0.0, contributions[0])
    distances = np.where(missing, np.float32(0), contributions).sum(axis=1) / n
    nearest = int(np.argmin(distances))
    return Scored(float(distances[nearest]), contributions[nearest])
