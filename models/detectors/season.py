"""What a channel usually shows at this half hour of the week: a mean for each of 336, and whether they tell anything.

Days and weeks are the only seasons: they come from people and the sun, and need no search for a period, which would find one in
anything. A half hour is known once a week has passed. Hours are those of UTC: where a summer time begins, a week is off by one.

Invariants:
1. `off` is judged against earlier weeks alone; the half hour that is running counts from when it is over.
2. What is off says nothing (`tells`) unless the half hours have, of late, brought the channel's mean deviation down to less
   than half, and unless it is itself at least half of such a deviation. A channel without a season is never judged by one.
3. Memory is bounded: a mean and a count for each half hour.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

SLOT_S: Final = 1800
SLOTS: Final = 7 * 24 * 2
_WEEKS: Final = 3  # that a half hour's mean looks back on, about
_SHARE: Final = 0.5


class SeasonMemory(msgspec.Struct, frozen=True, kw_only=True):
    """All that a `Season` remembers. `means`, `weeks`: (SLOTS,) little-endian float64, of each half hour of the week; `weeks`
    is 0 where it has not been seen. `slot`: the half hour that is running, since the epoch; `total`, `n_total`: of its values.
    `mean`, `swing`, `n`: of all values, how far they lie from their mean, how many; `error`, `n_off`: how far from their half
    hour's."""

    means: bytes
    weeks: bytes
    slot: int
    total: float
    n_total: int
    mean: float
    swing: float
    n: int
    error: float
    n_off: int


class Season:
    """Call `off` with each value and its time, `tells` of what that gave, then `learn`. `memory_readings`: how far back
    deviations look."""

    def __init__(self, memory_readings: int, memory: SeasonMemory | None = None) -> None:
        """`memory`: go on where another one stood. Raises ValueError where it is of another shape."""
        self._horizon = memory_readings
        self._means, self._weeks = np.zeros(SLOTS), np.zeros(SLOTS)
        self._slot, self._total, self._n_total = 0, 0.0, 0
        self._mean, self._swing, self._n = 0.0, 0.0, 0
        self._error, self._n_off = 0.0, 0
        if memory is not None:
            if (
                len(memory.means) != 8 * SLOTS
                or len(memory.weeks) != 8 * SLOTS
                or min(memory.n, memory.n_off, memory.n_total) < 0
            ):
                raise ValueError(f"a season's memory of {len(memory.means)}, {len(memory.weeks)} bytes")
            self._means = np.frombuffer(memory.means, "<f8").astype(np.float64)
            self._weeks = np.frombuffer(memory.weeks, "<f8").astype(np.float64)
            self._slot, self._total, self._n_total = memory.slot, memory.total, memory.n_total
            self._mean, self._swing, self._n = memory.mean, memory.swing, memory.n
            self._error, self._n_off = memory.error, memory.n_off

    @property
    def memory(self) -> SeasonMemory:
        """What to keep over a restart."""
        return SeasonMemory(
            means=self._means.astype("<f8").tobytes(), weeks=self._weeks.astype("<f8").tobytes(),
            slot=self._slot, total=self._total, n_total=self._n_total,
            mean=self._mean, swing=self._swing, n=self._n, error=self._error, n_off=self._n_off,
        )  # fmt: skip

    def tells(self, off: float) -> bool:
        """Whether being off by that much means anything, by what was known before it."""
        least = _SHARE * self._swing
        return self._n_off > 0 and self._error < least and abs(off) >= least

    def off(self, value: float, time_s: float) -> float:
        """How far a finite value lies from its half hour's mean, NaN where that is not known yet. `time_s`: since the epoch."""
        slot = math.floor(time_s / SLOT_S)
        if slot != self._slot:
            self._close(slot)
        self._total += value
        self._n_total += 1
        at = slot % SLOTS
        return value - float(self._means[at]) if self._weeks[at] else math.nan

    def learn(self, value: float, off: float) -> None:
        """Take in how far a value was from the mean of all, and from that of its half hour."""
        self._n += 1
        weight = 1 / min(self._n, self._horizon)
        if self._n > 1:
            self._swing += weight * (abs(value - self._mean) - self._swing)
        self._mean += weight * (value - self._mean)
        if math.isfinite(off):
            self._n_off += 1
            self._error += (abs(off) - self._error) / min(self._n_off, self._horizon)

    def _close(self, next_slot: int) -> None:
        """The half hour is over: its mean joins those of earlier weeks."""
        if self._n_total:
            at = self._slot % SLOTS
            self._weeks[at] = min(self._weeks[at] + 1, _WEEKS)
            self._means[at] += (self._total / self._n_total - self._means[at]) / self._weeks[at]
        self._slot, self._total, self._n_total = next_slot, 0.0, 0
