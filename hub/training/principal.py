"""Principal components by scikit-learn: what the main directions of normal running cannot rebuild (Jackson, 1979).

The reconstruction error is the Q statistic, spread over the features. A drift along the main directions, where normal moves
anyway, does not show in it; `Whitening` weighs those too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn import __version__ as sklearn_version
from sklearn.decomposition import PCA

from hub.training.trainer import DenseLayer, DenseWeights, Floats, Progress, as_input
from models.bundle.manifest import Architecture
from models.errors import TrainingError


@dataclass(frozen=True, slots=True)
class PrincipalComponents:
    """`explained`: the share of normal windows' variance that the kept directions carry; the rest is called noise."""

    explained: float = 0.9

    @property
    def architecture(self) -> Architecture:
        return "pca"

    def describe(self) -> dict[str, Any]:
        """See `Trainer.describe`."""
        return {"trainer": "sklearn-pca", "scikit-learn": sklearn_version, **asdict(self)}

    def fit(self, train: Floats, validation: Floats, seed: int, progress: Progress) -> DenseWeights:
        """See `Trainer.fit`. Two dense layers, into the components and back. `seed` changes nothing: the solver is exact."""
        x = np.concatenate([as_input(train), as_input(validation)]).astype(np.float64)
        if len(x) < 2:
            raise TrainingError(f"{len(x)} windows to learn from; at least 2 are needed")
        kept = PCA(n_components=self.explained, svd_solver="full").fit(x)
        progress(
            f"{kept.n_components_} of {x.shape[1]} directions carry {kept.explained_variance_ratio_.sum():.1%} of the variance"
        )
        down, mean = kept.components_.T, kept.mean_
        return [
            DenseLayer(down.astype(np.float32), (-mean @ down).astype(np.float32), "linear"),
            DenseLayer(down.T.astype(np.float32), mean.astype(np.float32), "linear"),
        ]
