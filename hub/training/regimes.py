"""A trainer for machines that run in several ways: a few regimes, each a slanted cloud of normal windows of its own.

One cloud over all speeds of a fan is as wide as from the lowest to the highest, and hides what happens at each of them.
Regimes are found without a label: a Gaussian mixture with hard assignment (classification EM: Celeux and Govaert, 1992), from
k-means with k-means++ seeds (Arthur and Vassilvitskii, 2007); as few of them as tell held-out windows about as well as any
number. On the device each is Hotelling's T2 in the form of `Whitening`, and the nearest counts (models/detectors/regimes.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hub.training.trainer import DenseLayer, Floats, Progress, RegimeWeights, as_input
from models.bundle.manifest import Architecture
from models.errors import TrainingError

_LEAST: Final = 0.0025  # of a normalized feature's variance: what int8 can resolve of ±8 sigmas, nearly
_PER_FEATURE: Final = 2  # windows that a regime needs for each feature
_FEWEST: Final = 30  # and at least
_RESTARTS: Final = 8
_ROUNDS: Final = 50
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Regime:
    """`root`: C^(-1/2). `constant`: what a window's cost has in it besides its distance."""

    centre: Matrix
    root: Matrix
    constant: float

    def costs(self, x: Matrix) -> Matrix:
        """(n,): minus twice the logarithm of the density, without what is common to all."""
        return np.asarray((((x - self.centre) @ self.root) ** 2).sum(axis=1) + self.constant)


@dataclass(frozen=True, slots=True)
class Regimes:
    """`most`: regimes at most. `least`: the floor under the variances."""

    most: int = 6
    least: float = _LEAST

    @property
    def architecture(self) -> Architecture:
        return "regimes"

    def describe(self) -> dict[str, Any]:
        """See `Trainer.describe`."""
        return {"trainer": "regimes", "most": self.most, "least": self.least}

    def fit(self, train: Floats, validation: Floats, seed: int, progress: Progress) -> RegimeWeights:
        """See `Trainer.fit`; the number of regimes is the least that tells `validation` about as well as the best."""
        x, held = as_input(train).astype(np.float64), as_input(validation).astype(np.float64)
        if len(x) < 2 or not len(held):
            raise TrainingError(f"{len(x)} windows to learn from and {len(held)} to choose by; 2 and 1 are needed")
        rng = np.random.default_rng(seed)
        found = [[self._regime(x, len(x))]]
        for k in range(2, self.most + 1):
            regimes = self._separate(x, _clusters(x, k, rng))
            if regimes is not None:
                found.append(regimes)
        costs = np.array([_least_cost(regimes, held)[0] for regimes in found])
        best = found[_fewest_as_good(costs)]
        told = ", ".join(f"{cost:.1f}" for cost in costs.mean(axis=1))
        progress(f"{len(best)} regimes; cost of held-out windows {told}")
        return _as_weights(best)

    def _separate(self, x: Matrix, member: NDArray[np.intp]) -> list[_Regime] | None:
        """Assign and fit in turn until nothing moves. None: a regime has too few windows to be one."""
        needed = max(_FEWEST, _PER_FEATURE * x.shape[1])
        for _ in range(_ROUNDS):
            parts = [x[member == j] for j in range(int(member.max()) + 1)]
            if min(map(len, parts)) < needed:
                return None
            regimes = [self._regime(part, len(x)) for part in parts]
            _, now = _least_cost(regimes, x)
            if (now == member).all():
                break
            member = now
        return regimes

    def _regime(self, part: Matrix, n_all: int) -> _Regime:
        size = part.shape[1]
        variances, directions = np.linalg.eigh(np.cov(part, rowvar=False).reshape(size, size))
        variances = np.maximum(variances, self.least)
        root = (directions / np.sqrt(variances)) @ directions.T
        return _Regime(part.mean(axis=0), root, float(np.log(variances).sum() - 2 * np.log(len(part) / n_all)))


def _fewest_as_good(costs: Matrix) -> int:
    """Of (n_candidates, n_held): the first that is within one standard error of the best (Breiman et al., 1984)."""
    worse = costs - costs[int(np.argmin(costs.mean(axis=1)))]
    error = worse.std(axis=1) / np.sqrt(worse.shape[1])
    return int(np.argmax(worse.mean(axis=1) <= error))


def _least_cost(regimes: list[_Regime], x: Matrix) -> tuple[Matrix, NDArray[np.intp]]:
    costs = np.array([regime.costs(x) for regime in regimes])
    return costs.min(axis=0), costs.argmin(axis=0)


def _clusters(x: Matrix, k: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """(n,) the cluster of each window: the tightest of several runs of k-means."""
    best, least = np.zeros(len(x), dtype=np.intp), np.inf
    for _ in range(_RESTARTS):
        centres = _seeds(x, k, rng)
        for _ in range(_ROUNDS):
            distances = _squared_distances(x, centres)
            member = distances.argmin(axis=1)
            moved = np.array([x[member == j].mean(axis=0) if (member == j).any() else centres[j] for j in range(k)])
            if np.allclose(moved, centres):
                break
            centres = moved
        inertia = float(distances.min(axis=1).sum())
        if inertia < least:
            best, least = member, inertia
    return best


def _seeds(x: Matrix, k: int, rng: np.random.Generator) -> Matrix:
    chosen = [x[rng.integers(len(x))]]
    while len(chosen) < k:
        distances = np.maximum(_squared_distances(x, np.array(chosen)).min(axis=1), 0.0)
        total = distances.sum()
        chosen.append(x[rng.choice(len(x), p=distances / total) if total > 0 else rng.integers(len(x))])
    return np.array(chosen)


def _squared_distances(x: Matrix, centres: Matrix) -> Matrix:
    """(n, k)."""
    return np.asarray((x**2).sum(axis=1)[:, np.newaxis] + (centres**2).sum(axis=1) - 2 * x @ centres.T)


def _as_weights(regimes: list[_Regime]) -> RegimeWeights:
    identity = np.eye(len(regimes[0].centre))
    kernel = np.concatenate([identity - regime.root for regime in regimes], axis=1)
    bias = np.concatenate([regime.centre @ regime.root for regime in regimes])
    layer = DenseLayer(kernel.astype(np.float32), bias.astype(np.float32), "linear")
    return RegimeWeights((layer,), [regime.centre.tolist() for regime in regimes])
