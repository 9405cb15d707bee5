"""The seam of learning: any framework that can hand over plain dense weights can train for Tocsin.

What leaves a trainer is numpy and a word per layer, so the export to the device's format, the evaluation and the
reproduction of a result need no knowledge of the framework that found the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.bundle.manifest import Architecture
from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.detector import DEFAULT_CLIP, FARTHEST_SHARE, Scored, huber, mean_of_farthest
from models.detectors.regimes import TfliteRegimes, nearest_regime

Floats = NDArray[np.float32]
Progress = Callable[[str], None]  # takes one line for people


@dataclass(frozen=True, slots=True, eq=False)
class DenseLayer:
    """`kernel`: (n_in, n_out) float32. `bias`: (n_out,) float32."""

    kernel: Floats
    bias: Floats
    activation: Literal["relu", "linear"]


DenseWeights = Sequence[DenseLayer]


class RegimeWeights(tuple[DenseLayer, ...]):
    """A network that tells what each of several regimes can rebuild of a window: n_regimes * n_features outputs.

    `centres`: (n_regimes, n_features), where each regime lies.
    """

    centres: list[list[float]]

    def __new__(cls, layers: Sequence[DenseLayer], centres: list[list[float]]) -> RegimeWeights:
        weights = super().__new__(cls, layers)
        weights.centres = centres
        return weights


class Trainer(Protocol):
    """Fits what rebuilds a normal window from what normal windows have in common. `architecture`: its word in a manifest."""

    @property
    def architecture(self) -> Architecture: ...

    def fit(self, train: Floats, validation: Floats, seed: int, progress: Progress) -> DenseWeights:
        """From (n, n_features) locally normalized windows, NaN = absent; the same seed and data give the same weights.

        Raises TrainingError where the loss is not a number in the end.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Name, version and hyperparameters, JSON-able: with seed and data, what it takes to do it again."""
        ...


def as_input(z: NDArray[np.floating]) -> Floats:
    """What the network sees of normalized features: clipped, and 0, the asset's own median, where absent."""
    return np.asarray(np.nan_to_num(np.clip(z, -DEFAULT_CLIP, DEFAULT_CLIP), nan=0.0), dtype=np.float32)


def forward(weights: DenseWeights, x: Floats) -> Floats:
    """The network in plain numpy, float32: (n, n_features) in, the same out."""
    for layer in weights:
        x = x @ layer.kernel + layer.bias
        if layer.activation == "relu":
            x = np.maximum(x, 0)
    return x


def float_scores(weights: DenseWeights, z: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n,) scores as the int8 detector defines them, from the float network."""
    return np.array([float_scored(weights, row).score for row in z])


def float_scored(weights: DenseWeights, z: NDArray[np.floating]) -> Scored:
    """What the int8 detector would say of (n_features,) normalized features if its network were not quantized."""
    if not isinstance(weights, RegimeWeights):
        contributions = huber(z - forward(weights, as_input(z)), DEFAULT_CLIP)
        return Scored(mean_of_farthest(contributions, FARTHEST_SHARE), contributions)
    missing = np.isnan(z)
    filled = np.where(missing, weights.centres, z)
    rebuilt = forward(weights, as_input(filled)).reshape(len(filled), *filled.shape)
    own = rebuilt[np.arange(len(filled)), np.arange(len(filled))]
    return nearest_regime(np.where(missing, np.nan, filled - own), DEFAULT_CLIP)


def detector_of(model: bytes, weights: DenseWeights) -> TfliteAutoencoder:
    """The detector that a device will make of `model`, the int8 export of `weights`."""
    if isinstance(weights, RegimeWeights):
        return TfliteRegimes(model, DEFAULT_CLIP, weights.centres)
    return TfliteAutoencoder(model, DEFAULT_CLIP)
