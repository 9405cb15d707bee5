"""A detector for one channel at its own rate: an hourly temperature, a count every five minutes. No model, no clock, no labels.

Each reading is asked one thing: how far is it from the nearest value that this channel has ever shown? That gap is judged by
the gaps before it: how rare one of its size is, as a p-value with a power-law tail (Hill, 1975), by how long the channel has
been watched; and how large it is beside the largest of them all.

Invariants:
1. The score of a reading depends on it and on earlier ones alone, and lies in [0, 1]; high = anomalous. It is judged before it
   is learned from. Unlike a `Detector` of windows it learns while it serves.
2. A reading scores above 0 only where it is odder than each of the last `REFRACTORY` readings: an anomaly is told when it
   begins and when it gets worse, not once a row.
3. NaN and the infinite score 0 and change nothing. The first `WARM_UP` readings score 0.
4. A reading comes with the nearest values that were seen before it, below and above: what an alert is explained by, and the
   hole that it fell into.
5. Memory is bounded: `CAPACITY` values, `_BINS` counts, `REFRACTORY` oddnesses. `memory` is all of it, and no pickle.

It sees no season, no slow change and no value that is usual but comes at the wrong time.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.contract.profile import STREAMING_THRESHOLD

WARM_UP: Final = 100
REFRACTORY: Final = 100
RECORDED_FROM: Final = 20  # readings: among the first few, gaps are as large as the range
ALARM_SCORE: Final = STREAMING_THRESHOLD  # what an operator is told of, where nothing else is said
CAPACITY: Final = 4096
_BINS: Final = 640
_PER_OCTAVE: Final = 4
_FLOOR: Final = 1e-12
_TAIL_SHARE: Final = 0.02
_MIN_INDEX, _MAX_INDEX = 0.05, 0.6
_SIZE_WEIGHT: Final = 3.0
_MIDDLE: Final = -3.5  # oddness that scores a half
_LEAST_SIZE, _MOST_SIZE = 1e-3, 10.0  # beside the largest gap
_LIMIT: Final = 1e150  # what lies beyond is taken as that: differences must stay finite


class SeenValues:
    """The values that a channel has shown, at most `capacity`: once full, the two nearest one another become one."""

    def __init__(self, capacity: int, values: NDArray[np.float64] | None = None) -> None:
        self.below, self.above = -math.inf, math.inf  # the nearest ones before the newest was added
        self._sorted = np.empty(capacity + 1)
        self._n = 0
        if values is not None:
            self._n = len(values)
            self._sorted[: self._n] = values

    @property
    def values(self) -> NDArray[np.float64]:
        """(n,) ascending; a view."""
        return self._sorted[: self._n]

    def add(self, value: float) -> float:
        """Take in a value; its distance from the nearest earlier one, NaN where there is none."""
        at = int(np.searchsorted(self.values, value))
        self.below = float(self._sorted[at - 1]) if at > 0 else -math.inf
        self.above = float(self._sorted[at]) if at < self._n else math.inf
        gap = min(value - self.below, self.above - value) if self._n else math.nan
        if gap != 0.0:
            self._sorted[at + 1 : self._n + 1] = self._sorted[at : self._n].copy()
            self._sorted[at] = value
            self._n += 1
            if self._n == len(self._sorted):
                self._merge()
        return gap

    def _merge(self) -> None:
        nearest = int(np.argmin(np.diff(self._sorted)))
        keep = nearest if nearest == 0 else nearest + 1  # never an end: the range that was seen stays
        drop = nearest + 1 if keep == nearest else nearest
        self._sorted[drop:-1] = self._sorted[drop + 1 :].copy()
        self._n -= 1


class GapLaw:
    """How often a gap of at least this size has come: counts by quarter octaves, a power law beyond the 2 % largest."""

    def __init__(self, unit: float = 0.0, counts: NDArray[np.float64] | None = None) -> None:
        self.unit = unit  # the first gap that was not 0
        self.counts = np.zeros(_BINS) if counts is None else counts.copy()

    def add(self, gap: float) -> float:
        """-log10 p of a gap >= 0 by earlier ones, 0 where it says nothing; then take it in."""
        if self.unit == 0.0:
            self.unit = gap
        place = _PER_OCTAVE * math.log2(gap / self.unit) + _BINS / 2 if gap > 0 and gap / self.unit > 0 else 0.0
        position = int(min(max(place, 1.0), _BINS - 1)) if place else 0
        surprise = -math.log10(min(max(self._p(position, place), _FLOOR), 1.0)) if position else 0.0
        self.counts[position] += 1
        return surprise

    def _p(self, position: int, place: float) -> float:
        total = float(self.counts.sum())
        above = np.cumsum(self.counts[::-1])[::-1]
        first = max(int((above >= max(8.0, _TAIL_SHARE * total)).sum()) - 1, 0)
        if position <= first:
            return float((above[position] + 1) / (total + 1))
        octave_part = math.log(2) / _PER_OCTAVE
        tail = self.counts[first:]
        if first == 0:
            index = _MAX_INDEX  # most gaps are 0, and have no logarithm
        else:
            excess = float(tail @ (np.arange(len(tail)) + 0.5)) * octave_part
            index = min(max((excess + 0.25) / (float(tail.sum()) + 1), _MIN_INDEX), _MAX_INDEX)
        return float(above[first] / (total + 1) * math.exp(-(place - first) * octave_part / index))


class Heard(NamedTuple):
    """Of one reading. `score`: in [0, 1], high = anomalous. `p_value`: in (0, 1], how often a gap of at least this size has
    come among this channel's readings; 1 where that says nothing. `below`, `above`: the nearest values seen before it, infinite
    where there are none."""

    score: float
    p_value: float = 1.0
    below: float = -math.inf
    above: float = math.inf


class StreamingMemory(msgspec.Struct, frozen=True, kw_only=True):
    """All that a `StreamingDetector` remembers. `largest`: gap so far. `seen`, `counts`, `recent`: little-endian float64."""

    n: int
    unit: float
    largest: float
    seen: bytes
    counts: bytes
    recent: bytes


class StreamingDetector:
    """Call `update` with each reading, in order. About 40 kB at most."""

    def __init__(self, memory: StreamingMemory | None = None) -> None:
        """`memory`: go on where another one stood. Raises ValueError where it is of another shape."""
        self._n = 0
        self._seen, self._law = SeenValues(CAPACITY), GapLaw()
        self._largest = 0.0
        self._recent = np.full(REFRACTORY, -np.inf)
        if memory is not None:
            seen, counts, recent = _checked(memory)
            self._n, self._largest = memory.n, memory.largest
            self._seen, self._law = SeenValues(CAPACITY, seen), GapLaw(memory.unit, counts)
            self._recent = recent

    @property
    def n(self) -> int:
        """Readings so far."""
        return self._n

    @property
    def memory(self) -> StreamingMemory:
        """What to keep over a restart."""
        return StreamingMemory(
            n=self._n, unit=self._law.unit, largest=self._largest, seen=self._seen.values.astype("<f8").tobytes(),
            counts=self._law.counts.astype("<f8").tobytes(), recent=self._recent.astype("<f8").tobytes(),
        )  # fmt: skip

    def update(self, value: float) -> float:
        """The score of a reading, in [0, 1]."""
        return self.hear(value).score

    def hear(self, value: float) -> Heard:
        """Judge a reading, then learn from it.

        A score of a half is for a gap of a tenth of the largest so far whose p-value, after n readings, is 3 / sqrt(n). One
        that is twice as large may be eight times as common.
        """
        if not math.isfinite(value):
            return Heard(0.0)
        gap = self._seen.add(min(max(value, -_LIMIT), _LIMIT))
        surprise = self._law.add(gap) if math.isfinite(gap) else 0.0
        size = self._beside_largest(gap)
        self._n += 1
        if self._n <= WARM_UP:
            return Heard(0.0)
        oddness = surprise + _SIZE_WEIGHT * math.log10(size) - 0.5 * math.log10(self._n)
        is_record = surprise > 0 and oddness > float(self._recent.max())
        self._recent[self._n % REFRACTORY] = oddness
        score = 1 / (1 + 10 ** (_MIDDLE - oddness)) if is_record else 0.0
        return Heard(score, 10**-surprise, self._seen.below, self._seen.above)

    def _beside_largest(self, gap: float) -> float:
        """The gap as a multiple of the largest before it, within bounds; then remember it."""
        size = gap / self._largest if self._largest > 0 and math.isfinite(gap) else (_MOST_SIZE if gap > 0 else _LEAST_SIZE)
        if self._n >= RECORDED_FROM and math.isfinite(gap):
            self._largest = max(self._largest, gap)
        return min(max(size, _LEAST_SIZE), _MOST_SIZE)


def _checked(memory: StreamingMemory) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(seen, counts, recent). Raises ValueError where no detector can have left them so."""
    parts = (memory.seen, memory.counts, memory.recent)
    if any(len(part) % 8 for part in parts):
        raise ValueError("a streaming detector's memory is torn: no whole number of float64")
    seen, counts, recent = (np.frombuffer(part, "<f8").astype(np.float64) for part in parts)
    if len(seen) > CAPACITY or len(counts) != _BINS or len(recent) != REFRACTORY or memory.n < 0:
        raise ValueError(f"a streaming detector's memory of {len(seen)}, {len(counts)}, {len(recent)} numbers")
    ordered = np.isfinite(seen).all() and (np.diff(seen) > 0).all()
    counted = np.isfinite(counts).all() and (counts >= 0).all() and not np.isnan(recent).any()
    sizes = all(math.isfinite(size) and size >= 0 for size in (memory.unit, memory.largest))
    if not (ordered and counted and sizes):
        raise ValueError("a streaming detector's memory holds numbers that none leaves: not ascending, negative or not finite")
    return seen, counts, recent
