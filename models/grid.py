"""The grid on which the channels of a window are aligned.

Readings that fall into the same grid cell are averaged, gaps are interpolated linearly, ends held. A channel that is
`missing` by the profile's rule is all NaN. See `Windowing` in models/contract/profile.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.profile import Profile
from models.raw_window import RawWindow


class Grid:
    """Aligns a raw window's channels to the profile's grid."""

    def __init__(self, profile: Profile) -> None:
        windowing = profile.windowing
        self.n_cells = windowing.n_samples
        self.rate_hz = windowing.rate_hz
        self._cell_ns = NS_PER_S / windowing.rate_hz
        slow = [max(1.0, windowing.rate_hz / (c.rate_hz or windowing.rate_hz)) for c in profile.channels]
        self._min_filled = [max(1, int(windowing.min_coverage * self.n_cells / s)) for s in slow]
        self._max_gap = [max(windowing.max_gap_s * windowing.rate_hz, 1.5 * s) + 1 for s in slow]

    def align(self, window: RawWindow) -> tuple[NDArray[np.float64], list[int]]:
        """((n_cells, n_channels) float64 with missing channels all NaN, indices of the missing channels)."""
        matrix = np.full((self.n_cells, len(window.times)), np.nan)
        missing = []
        for i, (times, values) in enumerate(zip(window.times, window.values, strict=True)):
            column = self._column(times - window.start_ns, values, i)
            if column is None:
                missing.append(i)
            else:
                matrix[:, i] = column
        return matrix, missing

    def _column(self, offsets_ns: NDArray[np.int64], values: NDArray[np.float64], channel: int) -> NDArray[np.float64] | None:
        if len(offsets_ns) < self._min_filled[channel]:
            return None
        cells = np.minimum(((offsets_ns - 1) / self._cell_ns).astype(np.intp), self.n_cells - 1)
        counts = np.bincount(cells, minlength=self.n_cells)
        filled = np.flatnonzero(counts)
        means = np.bincount(cells, weights=values, minlength=self.n_cells)[filled] / counts[filled]
        if len(filled) == self.n_cells:
            return means
        gaps = np.diff(filled, prepend=-1, append=self.n_cells)
        if len(filled) < self._min_filled[channel] or gaps.max() > self._max_gap[channel]:
            return None
        return np.interp(np.arange(self.n_cells), filled, means)
