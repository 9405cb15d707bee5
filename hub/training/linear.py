"""Linear trainers: closed-form, without a seed, and one matrix on the device.

`Whitening` is Hotelling's T2 (1931) in the form of a reconstruction: what it cannot rebuild of z is C^(-1/2) z, with C the
covariance of normal windows, so the squares of that sum up to Mahalanobis's distance, and each feature has its part in it. It
serves where normal running is one cloud, however slanted. Directions in which normal never moves weigh the most; a floor
keeps what int8 cannot resolve from being among them.

`CrossChannel` predicts each feature from the features of *other* channels, by ridge regression. An autoencoder may learn to
copy what it should doubt: through a narrow middle the strongest signals pass unharmed, faults with them. Here no feature sees
itself, or another of its own channel, so a channel that leaves its normal alone cannot explain itself; where channels belong
together (two accelerometers on one shaft), what they share is taken out of the noise. Its coefficients are those of the
conditional mean of a Gaussian (Lauritzen, Graphical Models, 1996, section 5.1), damped by the ridge that predicts best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hub.training.trainer import DenseLayer, DenseWeights, Floats, Progress, as_input
from models.bundle.manifest import Architecture
from models.errors import TrainingError

_RIDGES: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_LEAST: Final = 0.02  # of a normal feature's variance: the least that a direction is taken to have
_MIN_EXPLAINED: Final = 0.25  # of a feature's variance: a prediction that tells less only adds other channels' troubles


@dataclass(frozen=True, slots=True, eq=False)
class CrossChannel:
    """`related`: (n_features, n_features) mask, true where two features read a channel in common (`FeatureSpec.related`)."""

    related: NDArray[np.bool_]

    @property
    def architecture(self) -> Architecture:
        return "cross-channel"

    def describe(self) -> dict[str, Any]:
        """See `Trainer.describe`."""
        return {"trainer": "cross-channel-ridge", "ridges": list(_RIDGES)}

    def fit(self, train: Floats, validation: Floats, seed: int, progress: Progress) -> DenseWeights:
        """See `Trainer.fit`; the ridge is the one that predicts `validation` best. `seed` changes nothing."""
        x, held = as_input(train).astype(np.float64), as_input(validation).astype(np.float64)
        if not len(x) or not len(held):
            raise TrainingError(f"{len(x)} windows to learn from and {len(held)} to choose by; both are needed")
        gram = x.T @ x / len(x)
        kernels = [self._kernel(gram, ridge) for ridge in _RIDGES]
        best = min(kernels, key=lambda kernel: float(np.mean((held - held @ kernel) ** 2)))
        left = np.mean((held - held @ best) ** 2, axis=0) / np.maximum(np.mean(held**2, axis=0), 1e-9)
        pays = left <= 1 - _MIN_EXPLAINED
        progress(f"{int(pays.sum())} of {len(pays)} features are told by other channels; {left[pays].round(2)} of them is left")
        kernel = np.where(pays, best, 0.0).astype(np.float32)
        return [DenseLayer(kernel, np.zeros(len(kernel), dtype=np.float32), "linear")]

    def _kernel(self, gram: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
        kernel = np.zeros_like(gram)
        for i, related in enumerate(self.related):
            others = np.flatnonzero(~related)
            if len(others):
                damped = gram[np.ix_(others, others)] + ridge * np.eye(len(others))
                kernel[others, i] = np.linalg.solve(damped, gram[others, i])
        return kernel


@dataclass(frozen=True, slots=True)
class Whitening:
    """`least`: the floor under the variances, of a feature's."""

    least: float = _LEAST

    @property
    def architecture(self) -> Architecture:
        return "whitening"

    def describe(self) -> dict[str, Any]:
        """See `Trainer.describe`."""
        return {"trainer": "whitening", "least": self.least}

    def fit(self, train: Floats, validation: Floats, seed: int, progress: Progress) -> DenseWeights:
        """See `Trainer.fit`. `seed` changes nothing."""
        x = np.concatenate([as_input(train), as_input(validation)]).astype(np.float64)
        if len(x) < 2:
            raise TrainingError(f"{len(x)} windows to learn from; at least 2 are needed")
        variances, directions = np.linalg.eigh(np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1]))
        floor = self.least * float(variances.mean())
        root = (directions / np.sqrt(np.maximum(variances, floor))) @ directions.T
        progress(f"{int((variances < floor).sum())} of {len(variances)} directions are at the floor")
        kernel = np.eye(len(root)) - root
        bias = x.mean(axis=0) @ root
        return [DenseLayer(kernel.astype(np.float32), bias.astype(np.float32), "linear")]
