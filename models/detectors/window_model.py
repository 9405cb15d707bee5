"""The int8 autoencoder over a whole window: what it cannot rebuild of a channel's course is anomalous."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.detectors.autoencoder import TfliteAutoencoder
from models.detectors.detector import FARTHEST_SHARE, mean_of_farthest


class WindowAutoencoder(TfliteAutoencoder):
    """As `TfliteAutoencoder`, over (n_samples * n_channels,) values of a window, row by row, oldest first.

    A channel's part is the mean of Huber's loss over its samples that are there; the score is the mean over the share of the
    channels that are rebuilt worst, at least one. So a short knock counts by how long it lasts, and one channel that leaves its
    course is not diluted by the others.
    """

    def __init__(
        self, model: bytes, clip: float, detector_id: str = "model", *, n_channels: int, share: float = FARTHEST_SHARE
    ) -> None:
        super().__init__(model, clip, detector_id, share)
        self._n_channels = n_channels

    def _reduce(self, contributions: NDArray[np.float32]) -> float:
        by_channel = contributions.reshape(-1, self._n_channels)
        means: NDArray[np.float32] = np.add.reduce(by_channel) / np.float32(len(by_channel))  # np.mean costs thrice that
        farthest = float(means.max())
        if np.isnan(farthest):
            there = ~np.isnan(by_channel)
            n = there.sum(axis=0)
            sums = np.where(there, by_channel, np.float32(0)).sum(axis=0)
            means = np.where(n > 0, sums / np.maximum(n, 1), np.float32(np.nan)).astype(np.float32)
        elif self._share * self._n_channels < 2:  # the one channel that is rebuilt worst: what the general way would give
            return farthest
        return mean_of_farthest(means, self._share)
