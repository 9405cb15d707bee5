"""Sensor faults, named before any detector sees the window: a sensor's fault is not the machine's fault.

What is looked for, per channel and window:

    out_of_range   a value outside the channel's physical range, a sentinel, or infinite: the sample is taken out
    spike          up to three isolated samples that jump far beyond the channel's own steps and straight back: taken out
    stuck          no movement beyond the sensor's resolution for `stuck_after_s`: the channel is blanked
    missing        too little is left to fill the grid: the channel is blank already

A NaN is an absent sample, by the contract of readings: it is no fault by itself, but what is absent may go missing.
Samples taken out are interpolated over where the grid's rules allow. A blanked channel is NaN: its features are left out
of the score, and windows with any fault neither train nor commission a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.items import FaultKind
from models.contract.profile import Channel, Profile
from models.windows import Grid, RawWindow

_SPIKE_STEPS = 12.0  # a spike's jump, in units of the channel's ordinary step
_MAX_SPIKES = 3  # more in one window is noise, and noise is for the detectors to judge
_MIN_FOR_SPIKES = 12


@dataclass(frozen=True, slots=True, eq=False)
class CleanWindow:
    """`matrix`: (n_cells, n_channels) float64, blanked channels NaN. `faults`: (channel, kind) of what was found."""

    start_ns: int
    end_ns: int
    matrix: NDArray[np.float64]
    faults: list[tuple[str, FaultKind]]
    n_readings: int
    n_late: int

    @property
    def faulty(self) -> list[str]:
        return sorted({channel for channel, _ in self.faults})


class QualityControl:
    """Judges the windows of one asset, in order; remembers since when each channel has not moved, and which were ever there."""

    def __init__(self, profile: Profile) -> None:
        self._channels = profile.channels
        self._grid = Grid(profile)
        self._expected = [not channel.optional for channel in profile.channels]
        self._still: list[tuple[float, int] | None] = [None] * len(profile.channels)

    def clean(self, window: RawWindow) -> CleanWindow:
        """Find faults, take out or blank what they touch, align the rest."""
        faults: list[tuple[str, FaultKind]] = []
        times, values, stuck = [], [], []
        for i, channel in enumerate(self._channels):
            t, v, found = _without_bad_samples(channel, window.times[i], window.values[i])
            if self._is_stuck(i, channel, t, v):
                found.append("stuck")
                stuck.append(i)
            times.append(t)
            values.append(v)
            faults += [(channel.name, kind) for kind in found]
        matrix, missing = self._grid.align(RawWindow(window.start_ns, window.end_ns, times, values, window.n_late))
        matrix[:, stuck] = np.nan
        faults += [(self._channels[i].name, "missing") for i in missing if self._expected[i]]
        self._expected = [expected or len(v) > 0 for expected, v in zip(self._expected, values, strict=True)]
        return CleanWindow(window.start_ns, window.end_ns, matrix, faults, window.n_readings, window.n_late)

    def forget_times(self) -> None:
        """The asset's clock has jumped: how long something has stood still cannot be told across that."""
        self._still = [None] * len(self._channels)

    def _is_stuck(self, i: int, channel: Channel, times: NDArray[np.int64], values: NDArray[np.float64]) -> bool:
        """Whether the newest samples have stayed within the resolution for `stuck_after_s`, across windows."""
        if channel.stuck_after_s is None or not len(values):
            return False
        tolerance = channel.resolution / 2
        newest = float(values[-1])
        moved = np.flatnonzero(np.abs(values - newest) > tolerance)
        still = self._still[i]
        if len(moved):
            since_ns = int(times[moved[-1]])
        elif still is not None and abs(still[0] - newest) <= tolerance:
            since_ns = still[1]
        else:
            since_ns = int(times[0])
        at = still[0] if still is not None and still[1] == since_ns else newest
        self._still[i] = (at, since_ns)  # the value where it came to rest: creeping away from that is moving, too
        return int(times[-1]) - since_ns >= channel.stuck_after_s * NS_PER_S


def _without_bad_samples(
    channel: Channel, times: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[FaultKind]]:
    found: list[FaultKind] = []
    absent = np.isnan(values)
    if absent.any():
        times, values = times[~absent], values[~absent]
    good = np.isfinite(values)
    if channel.min is not None:
        good &= values >= channel.min
    if channel.max is not None:
        good &= values <= channel.max
    for sentinel in channel.sentinels:
        good &= values != sentinel
    if not good.all():
        found.append("out_of_range")
        times, values = times[good], values[good]
    spikes = _isolated_spikes(values, channel.resolution)
    if len(spikes):
        found.append("spike")
        times, values = np.delete(times, spikes), np.delete(values, spikes)
    return times, values, found


def _isolated_spikes(values: NDArray[np.float64], resolution: float) -> NDArray[np.intp]:
    """Indices of single samples that jump away from both neighbours, in the same direction, far beyond the usual step."""
    none = np.empty(0, dtype=np.intp)
    if len(values) < _MIN_FOR_SPIKES:
        return none
    steps = values[1:] - values[:-1]
    sizes, ordered = np.sort(np.abs(steps)), np.sort(values)  # order statistics by sorting: np.percentile costs ten times that
    usual = 1.4826 * float(sizes[len(sizes) // 2])
    margin = max(len(ordered) // 10, _MAX_SPIKES)  # spikes must not widen the spread that they are measured by
    spread = float(ordered[-1 - margin] - ordered[margin])
    if resolution <= 0:  # a coarse sensor's single step is no spike: take its steps as they come
        moved = sizes[np.searchsorted(sizes, 0.0, side="right") :]
        usual = max(usual, float(moved[len(moved) // 2]) if len(moved) else np.inf)
    limit = _SPIKE_STEPS * max(usual, resolution, spread / 4)
    jump_in, jump_out = steps[:-1], -steps[1:]
    if sizes[-2] <= limit:
        return none
    spikes = np.flatnonzero((np.minimum(np.abs(jump_in), np.abs(jump_out)) > limit) & (jump_in * jump_out > 0)) + 1
    return spikes if len(spikes) <= _MAX_SPIKES else none
