"""A window measured by the asset's own yardstick, channel by channel: what models over raw windows take.

The rule for gaps is the grid's (models/grid.py): short ones are interpolated, and a channel with a longer one, or with a fault,
is absent from the window as a whole: NaN in each of its samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.features.normal import LocalNormal

Windows = NDArray[np.float32]  # (n_windows, n_samples, n_channels)


@dataclass(frozen=True, slots=True, eq=False)
class WindowNormal:
    """`normal`: of the channels' samples. `centered`: each window is taken less its own mean, so that levels say nothing."""

    normal: LocalNormal
    centered: bool

    @classmethod
    def fit(cls, windows: Windows, centered: bool) -> WindowNormal:
        """From (n, n_samples, n_channels) windows of normal running, NaN = absent. Robust as `LocalNormal.fit` is."""
        x = _less_mean(windows) if centered else windows
        return cls(LocalNormal.fit(x.reshape(-1, windows.shape[-1])), centered)

    @classmethod
    def none(cls, n_channels: int, centered: bool) -> WindowNormal:
        """For a model that takes values as they were measured."""
        return cls(as_measured(n_channels), centered)

    def apply(self, windows: NDArray[np.floating]) -> NDArray[np.float32]:
        """(..., n_samples * n_channels), row by row, in units of each channel's own spread."""
        x = _less_mean(windows) if self.centered else windows
        return self.normal.apply(x).reshape(*windows.shape[:-2], -1)


def as_measured(n: int) -> LocalNormal:
    """The yardstick that changes nothing."""
    return LocalNormal(np.zeros(n, dtype=np.float32), np.ones(n, dtype=np.float32))


def channel_shares(contributions: NDArray[np.float32], channels: Sequence[str]) -> list[tuple[str, float]]:
    """Which channels a window's score comes from: (channel, share in 0..1), largest first. `contributions`: (n_values,)."""
    by_channel = np.nan_to_num(contributions).reshape(-1, len(channels)).sum(axis=0, dtype=np.float64)
    total = by_channel.sum()
    if not total > 0:
        return []
    order = np.argsort(-by_channel, kind="stable")
    return [(channels[i], round(float(by_channel[i] / total), 4)) for i in order]


def _less_mean(windows: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(windows - windows.mean(axis=-2, keepdims=True))
