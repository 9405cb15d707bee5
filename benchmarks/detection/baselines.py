"""What anyone would try first, on plain rows: PCA's two statistics, and scikit-learn's isolation forest.

Each takes rows of normal running and gives back what scores rows, high = anomalous. An absent value counts as its
channel's mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
Scorer = Callable[[Rows], Rows]
PCA_SHARE: Final = 0.9  # of the variance, which the principal components kept tell together


def scaler(normal: Rows) -> Scorer:
    """(n, c) in, the same in standard deviations from the mean of `normal` out, absent values 0."""
    mean, spread = np.nanmean(normal, axis=0), np.nanstd(normal, axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    return lambda x: np.asarray(np.nan_to_num((x - mean) / spread))


def pca(normal: Rows, share: float = PCA_SHARE) -> dict[str, Scorer]:
    """Hotelling's T2 in the principal subspace, and SPE (Q), the squared distance from it (Jackson and Mudholkar, 1979)."""
    scaled = scaler(normal)
    variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(scaled(normal), rowvar=False)))
    variances, directions = variances[::-1], directions[:, ::-1]
    kept = min(int(np.searchsorted(np.cumsum(variances) / variances.sum(), share)) + 1, max(1, len(variances) - 1))
    axes, spread = directions[:, :kept], np.maximum(variances[:kept], 1e-12)
    return {
        "PCA T2": lambda x: np.asarray(((scaled(x) @ axes) ** 2 / spread).sum(axis=1)),
        "PCA SPE": lambda x: np.asarray(((scaled(x) - scaled(x) @ axes @ axes.T) ** 2).sum(axis=1)),
    }


def isolation_forest(normal: Rows, seed: int) -> Scorer:
    """Liu, Ting and Zhou (2008), a hundred trees, as scikit-learn has it."""
    from sklearn.ensemble import IsolationForest

    scaled = scaler(normal)
    forest = IsolationForest(n_estimators=100, random_state=seed, n_jobs=1).fit(scaled(normal))
    return lambda x: np.asarray(-forest.score_samples(scaled(x)))


def all_baselines(normal: Rows, seed: int, share: float = PCA_SHARE) -> dict[str, Scorer]:
    """Each by its name."""
    return {**pca(normal, share), "isolation forest": isolation_forest(normal, seed)}
