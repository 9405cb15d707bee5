"""From a window's matrix to its feature vector.

Invariants:
1. Order: channel by channel its per-channel features, then the cross-channel ones; `names` says what each position is.
2. A channel that is NaN anywhere in the matrix gives NaN for each feature that reads it, and harms no other.
3. A constant channel has spread, slope, shape and correlation 0, and octaves of -12, never NaN: "does not move" is
   information.
   Correlations are told by Fisher's z, atanh(r), which spreads alike near 0 and near 1 (Fisher, 1915).
4. The same matrix gives the same vector on every device: float64 inside, float32 out.

The spec's hash (`Profile.spec_hash`) covers what shapes the vector, `FEATURE_IMPLEMENTATION` among it, which changes whenever
the arithmetic here does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from models.contract.profile import Profile
from models.errors import ConfigError
from models.features.window import N_OCTAVES, Matrix, Window, octave, roughness, samples_for, slope, standard_moment

_MAX_R = 0.9999  # beyond it Fisher's z only measures rounding
Vector = NDArray[np.float32]


# name: window -> one value a channel
_PER_CHANNEL: dict[str, Callable[[Window], Matrix]] = {
    "mean": lambda w: np.asarray(w.x.mean(axis=0)),
    "last": lambda w: np.asarray(w.x[-1] + 0.0 * w.x.sum(axis=0)),  # NaN anywhere is NaN
    "std": lambda w: w.std,
    "range": lambda w: np.asarray(np.ptp(w.x, axis=0)),
    "slope": slope,
    "roughness": roughness,
    "skew": lambda w: standard_moment(w, 3),
    "kurtosis": lambda w: standard_moment(w, 4),
    "crest": lambda w: np.asarray(np.abs(w.d).max(axis=0)) / np.where(w.std > 0, w.std, 1.0),
    **{f"octave{k}": partial(octave, k=k) for k in range(1, N_OCTAVES + 1)},
    "envelope": lambda w: w.envelope_line[0],
    "envelope_hz": lambda w: w.envelope_line[1],
}


class FeatureSpec:
    """A profile's features, compiled. `n_features`, `names`; `compute`; `channel_shares` for explanations.

    Raises ConfigError where the profile's windows are too short for one of its features.
    """

    def __init__(self, profile: Profile) -> None:
        channels = profile.channel_names
        n_cells = profile.windowing.n_samples
        for name in profile.features.per_channel:
            if n_cells < samples_for(name):
                raise ConfigError(
                    f"profile {profile.name}: features.per_channel {name!r}",
                    f"windows of at least {samples_for(name)} samples; they have {n_cells}: a longer window_s, or without it",
                )
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
        window = Window(np.asarray(matrix, dtype=np.float64), self._rate_hz)
        per_channel = np.stack([function(window) for function in self._functions], axis=1)
        return np.concatenate([per_channel.ravel(), self._correlations(window.d, window.std)]).astype(np.float32)

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
