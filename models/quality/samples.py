"""Samples that cannot be: out of physical range, sentinels, isolated spikes. They are taken out one by one.

A default sentinel is taken for "no value" only where it is implausible as a value: outside of the physical range, or far
from where the channel has been, with no other sample on the way there. Sentinels that the profile names always are.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.contract.profile import DEFAULT_SENTINELS, Channel
from models.quality.finding import Finding, amount

_SPIKE_STEPS: Final = 12.0  # a spike's jump, in units of the channel's ordinary step
_MAX_SPIKES: Final = 3  # or a tenth of the samples; more in one window is noise
_MIN_FOR_SPIKES: Final = 12
_USUAL_JUMPS: Final = 1.5
_FAR: Final = 5.0  # a sentinel lies at least this many times the channel's own span away from it
_FAR_SHARE: Final = 0.5  # and by this share of its own size
_NEVER_A_LEVEL: Final = frozenset(DEFAULT_SENTINELS) - {85.0, 999.0}  # from these alone a channel that is new says nothing
_LARGEST: Final = float(np.finfo(np.float64).max)

Times = NDArray[np.int64]
Values = NDArray[np.float64]


class Kept(NamedTuple):
    """What is left of a channel's samples, and their extremes (NaN where there are none)."""

    times: Times
    values: Values
    low: float
    high: float


NOTHING_KEPT: Final = Kept(np.empty(0, np.int64), np.empty(0), np.nan, np.nan)


class SampleCheck:
    """Of one channel. `been`: the lowest and highest value of windows without a fault; None before the first.

    `usual_jump`: the largest step from cell to cell of such windows: what it does by itself is no spike.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._min = -_LARGEST if channel.min is None else channel.min
        self._max = _LARGEST if channel.max is None else channel.max
        self._assumed = channel.sentinels is None
        self._sentinels = sorted(DEFAULT_SENTINELS if channel.sentinels is None else channel.sentinels)
        self.been: tuple[float, float] | None = None
        self.usual_jump = 0.0

    def clean(self, times: Times, values: Values) -> tuple[Kept, list[Finding]]:
        """The samples that may be judged, and what the others were."""
        if not len(values):
            return Kept(times, values, np.nan, np.nan), []
        findings: list[Finding] = []
        low, high = float(np.minimum.reduce(values)), float(np.maximum.reduce(values))
        if not self._plausible(low, high):
            times, values = _without_absent(times, values)
            times, values, findings = self._in_range(times, values)
        spikes = isolated_spikes(values, self._channel.resolution, self.usual_jump)
        if len(spikes):
            findings.append(self._spiked(values, spikes))
            times, values = np.delete(times, spikes), np.delete(values, spikes)
        if findings or math.isnan(low):
            low, high = (float(values.min()), float(values.max())) if len(values) else (np.nan, np.nan)
        return Kept(times, values, low, high), findings

    def learn(self, low: float, high: float) -> None:
        """Take in the extremes of a window without a fault."""
        if low <= high:
            self.been = (low, high) if self.been is None else (min(low, self.been[0]), max(high, self.been[1]))

    def _plausible(self, low: float, high: float) -> bool:
        """Whether nothing between `low` and `high` needs a closer look; False for NaN."""
        inside = low >= self._min and high <= self._max
        return inside and bisect_left(self._sentinels, low) == bisect_right(self._sentinels, high)

    def _in_range(self, times: Times, values: Values) -> tuple[Times, Values, list[Finding]]:
        sentinel = self._is_sentinel(values)
        outside = ~((values >= self._min) & (values <= self._max)) & ~sentinel
        bad = sentinel | outside
        if not bad.any():
            return times, values, []
        said = []
        if sentinel.any():
            which = " and ".join(f"{v:g}" for v in np.unique(values[sentinel]))
            said.append(f'{sentinel.sum()} of {len(values)} readings were {which}, which stands for "no value"')
        if outside.any():
            said.append(f"{outside.sum()} of {len(values)} readings {self._outside(values[outside])}")
        return times[~bad], values[~bad], [Finding(self._channel.name, "out_of_range", "; ".join(said))]

    def _outside(self, values: Values) -> str:
        unit = self._channel.unit
        low, high = float(values.min()), float(values.max())
        if low < self._min:
            return f"below {amount(self._min, unit)}, down to {amount(low, unit)}"
        return f"above {amount(self._max, unit)}, up to {amount(high, unit)}"

    def _is_sentinel(self, values: Values) -> NDArray[np.bool_]:
        found = np.zeros(len(values), dtype=bool)
        for sentinel in self._sentinels:
            equal = values == sentinel
            if equal.any() and (not self._assumed or self._implausible(sentinel, values[~equal])):
                found |= equal
        return found

    def _implausible(self, sentinel: float, others: Values) -> bool:
        """Whether a default `sentinel` cannot well be a value of this channel, by where it has been and by `others`."""
        others = others[(others >= self._min) & (others <= self._max)]
        if not self._min <= sentinel <= self._max:
            return True
        others = others[~np.isin(others, self._sentinels)]
        if self.been is not None:
            low, high = self.been
        elif len(others):
            low, high = float(others.min()), float(others.max())
        else:
            return sentinel in _NEVER_A_LEVEL
        distance = max(low - sentinel, sentinel - high)
        if distance <= max(_FAR * (high - low), _FAR_SHARE * abs(sentinel)):
            return False
        on_the_way = (others > high + distance / 2) if sentinel > high else (others < low - distance / 2)
        return not on_the_way.any()

    def _spiked(self, values: Values, spikes: NDArray[np.intp]) -> Finding:
        size = float(np.abs(values[spikes] - values[spikes - 1]).max())
        readings = "reading jumps" if len(spikes) == 1 else "readings jump"
        detail = f"{len(spikes)} single {readings} away and back, by {amount(size, self._channel.unit)}"
        return Finding(self._channel.name, "spike", detail)


def _without_absent(times: Times, values: Values) -> tuple[Times, Values]:
    absent = np.isnan(values)
    return (times[~absent], values[~absent]) if absent.any() else (times, values)


def isolated_spikes(values: Values, resolution: float, usual_jump: float = 0.0) -> NDArray[np.intp]:
    """Indices of single samples that jump away from both neighbours, in the same direction, far beyond the usual step."""
    none = np.empty(0, dtype=np.intp)
    if len(values) < _MIN_FOR_SPIKES:
        return none
    steps = values[1:] - values[:-1]
    sizes = np.sort(np.abs(steps))  # order statistics by sorting: np.percentile costs ten times that
    usual = 1.4826 * float(sizes[len(sizes) // 2])
    if resolution <= 0:  # a coarse sensor's single step is no spike: take its steps as they come
        moved = sizes[np.searchsorted(sizes, 0.0, side="right") :]
        usual = max(usual, float(moved[len(moved) // 2]) if len(moved) else np.inf)
    if sizes[-2] <= _SPIKE_STEPS * max(usual, resolution):
        return none
    ordered = np.sort(values)
    margin = max(len(ordered) // 10, _MAX_SPIKES)  # spikes must not widen the spread that they are measured by
    spread = float(ordered[-1 - margin] - ordered[margin])
    limit = max(_SPIKE_STEPS * max(usual, resolution, spread / 4), _USUAL_JUMPS * usual_jump)
    jump_in, jump_out = steps[:-1], -steps[1:]
    spikes = np.flatnonzero((np.minimum(np.abs(jump_in), np.abs(jump_out)) > limit) & (jump_in * jump_out > 0)) + 1
    return spikes if len(spikes) <= margin else none
