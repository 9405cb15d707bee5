"""From a window's matrix to its feature vector.

Invariants:
1. Order: channel by channel its per-channel features, then the cross-channel ones; `names` says what each position is.
2. A channel that is NaN anywhere in the matrix gives NaN for each feature that reads it, and harms no other.
3. A constant channel has spread, slope, shape and correlation 0, never NaN: "does not move" is information.
   Correlations are told by Fisher's z, atanh(r), which spreads alike near 0 and near 1 (Fisher, 1915).
4. The same matrix gives the same vector on every device: float64 inside, float32 out.

The spec's hash (`Profile.spec_hash`) covers what shapes the vector, `FEATURE_IMPLEMENTATION` among it, which changes whenever
the arithmetic here does.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from models.contract.profile import Profile

_MAX_R = 0.9999  # beyond it Fisher's z only measures rounding
Matrix = NDArray[np.float64]
Vector = NDArray[np.float32]


def _slope(x: Matrix, _d: Matrix, _std: Matrix, rate_hz: float) -> Matrix:
    """Least-squares slope, unit per second."""
    t = (np.arange(len(x)) - (len(x) - 1) / 2) / rate_hz
    return np.asarray(t @ x / (t @ t)) if len(x) > 1 else np.zeros(x.shape[1])


def _roughness(x: Matrix, _d: Matrix, _std: Matrix, _rate_hz: float) -> Matrix:
    """Root mean square of successive differences: high-frequency content without a spectrum (von Neumann, 1941)."""
    steps = x[1:] - x[:-1]
    return np.sqrt(np.mean(steps * steps, axis=0)) if len(x) > 1 else np.zeros(x.shape[1])


def _standard_moment(d: Matrix, std: Matrix, power: int) -> Matrix:
    return np.asarray(np.mean(d**power, axis=0) / np.where(std > 0, std, 1.0) ** power)


# name: (matrix, deviation from the mean, standard deviation, rate_hz) -> one value a channel
_PER_CHANNEL: dict[str, Callable[[Matrix, Matrix, Matrix, float], Matrix]] = {
    "mean": lambda x, _d, _std, _r: np.asarray(x.mean(axis=0)),
    "std": lambda _x, _d, std, _r: std,
    "range": lambda x, _d, _std, _r: np.asarray(np.ptp(x, axis=0)),
    "slope": _slope,
    "roughness": _roughness,
    "skew": lambda _x, d, std, _r: _standard_moment(d, std, 3),
    "kurtosis": lambda _x, d, std, _r: _standard_moment(d, std, 4),
    "crest": lambda _x, d, std, _r: np.asarray(np.abs(d).max(axis=0)) / np.where(std > 0, std, 1.0),
}


class FeatureSpec:
    """A profile's features, compiled. `n_features`, `names`; `compute`; `channel_shares` for explanations."""

    def __init__(self, profile: Profile) -> None:
        channels = profile.channel_names
        self._functions = [_PER_CHANNEL[name] for name in profile.features.per_channel]
        self._rate_hz = profile.windowing.rate_hz
        self.channels = channels
        self.hash = profile.spec_hash
        self.names = [f"{channel}.{name}" for channel in channels for name in profile.features.per_channel]
        pairs = list(combinations(range(len(channels)), 2)) if "correlation" in profile.features.cross else []
        self.names += [f"{channels[a]}~{channels[b]}.correlation" for a, b in pairs]
        self.n_features = len(self.names)
        self._pairs = np.array(pairs, dtype=np.intp).reshape(-1, 2)
        self._membership = self._build_membership(len(channels), len(profile.features.per_channel))

    def _build_membership(self, n_channels: int, n_per_channel: int) -> Matrix:
        """(n_features, n_channels): how much of a feature's contribution belongs to each channel; rows sum to 1."""
        membership = np.zeros((self.n_features, n_channels))
        for channel in range(n_channels):
            membership[channel * n_per_channel : (channel + 1) * n_per_channel, channel] = 1.0
        for row, pair in enumerate(self._pairs, start=n_channels * n_per_channel):
            membership[row, pair] = 0.5
        return membership

    @property
    def related(self) -> NDArray[np.bool_]:
        """(n_features, n_features): whether two features read a channel in common."""
        return np.asarray(self._membership @ self._membership.T > 0)

    def compute(self, matrix: Matrix) -> Vector:
        """The vector, (n_features,) float32, of `matrix`, (n_samples, n_channels), a row each 1/rate_hz, oldest first."""
        x = np.asarray(matrix, dtype=np.float64)
        d = x - x.mean(axis=0)
        std = np.sqrt(np.mean(d * d, axis=0))
        tiny = 1e-12 * np.maximum(np.abs(x).max(axis=0), 1.0)
        std = np.where(std <= tiny, 0.0 * std, std)  # rounding noise of a constant; 0 * NaN stays NaN
        per_channel = np.stack([function(x, d, std, self._rate_hz) for function in self._functions], axis=1)
        return np.concatenate([per_channel.ravel(), self._correlations(d, std)]).astype(np.float32)

    def _correlations(self, d: Matrix, std: Matrix) -> Matrix:
        if not len(self._pairs):
            return np.empty(0)
        z = d / np.where(std == 0, 1.0, std)
        a, b = self._pairs.T
        r = np.einsum("ij,ij->j", z[:, a], z[:, b]) / len(d) * ((std[a] != 0) & (std[b] != 0))
        return np.asarray(np.arctanh(np.clip(r, -_MAX_R, _MAX_R)))

    def channel_shares(self, contributions: Vector) -> list[tuple[str, float]]:
        """Which channels a score comes from: (channel, share in 0..1), largest first.

        `contributions`: (n_features,), NaN = none.
        """
        by_channel = np.nan_to_num(contributions) @ self._membership
        total = by_channel.sum()
        if total <= 0:
            return []
        order = np.argsort(-by_channel, kind="stable")
        return [(self.channels[i], round(float(by_channel[i] / total), 4)) for i in order]
