"""A detector for one channel at its own rate: an hourly temperature, a count every five minutes. No model, no labels.

Each reading is asked one thing: how far is it from the nearest value that this channel has ever shown? That gap is judged by
the gaps before it: how rare one of its size is, as a p-value with a power-law tail (Hill, 1975), by how long the channel has
been watched; and how large it is beside the largest of them, which is half forgotten in `MEMORY` readings. Where readings come
with their times, the same is asked of how far each is from what its half hour of the week usually shows, if that tells
anything (`season.py`). The odder of the two answers counts.

A witness that rings often is believed less: each alarm doubles the odds that it must bring next time, and `MEMORY` quiet
readings take one such doubling back. In the long run a witness rings about once in `MEMORY` readings, whatever the channel
is like (adaptive conformal inference: Gibbs and Candès, 2021).

Invariants:
1. The score of a reading depends on it and on earlier ones alone, and lies in [0, 1]; high = anomalous. It is judged before it
   is learned from. Unlike a `Detector` of windows it learns while it serves.
2. A reading scores above 0 only where it is odder than each of the last `REFRACTORY` readings: an anomaly is told when it
   begins and when it gets worse, not once a row.
3. NaN and the infinite score 0 and change nothing. The first `WARM_UP` readings score 0.
4. A reading comes with the nearest values that were seen before it, below and above: what an alert is explained by, and the
   hole that it fell into.
5. Memory is bounded: `CAPACITY` values, 512 that were off, twice `_BINS` counts, a week of half hours, `REFRACTORY`
   oddnesses. `memory` is all of it, and no pickle.

It sees no slow change, no season but days and weeks, and without times none at all.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.contract.profile import STREAMING_THRESHOLD
from models.detectors.season import Season, SeasonMemory

WARM_UP: Final = 100
REFRACTORY: Final = 100
RECORDED_FROM: Final = 20  # readings: among the first few, gaps are as large as the range
ALARM_SCORE: Final = STREAMING_THRESHOLD  # what an operator is told of, where nothing else is said
CAPACITY: Final = 4096
MEMORY: Final = 2000  # readings
_OFF_CAPACITY: Final = 512
_BINS: Final = 640
_PER_OCTAVE: Final = 4
_FLOOR: Final = 1e-12
_MOST_LOG: Final = 700.0  # a float ends at e to the 709
_TAIL_SHARE: Final = 0.01
_MIN_INDEX, _MAX_INDEX = 0.05, 0.6
_SIZE_WEIGHT: Final = 3.0
_MIDDLE: Final = -3.5  # oddness that scores a half, and above which a witness has rung
_LEAST_SIZE, _MOST_SIZE = 1e-3, 10.0  # beside the largest gap
_DOUBLED: Final = math.log10(2)
_KEPT: Final = 0.5 ** (1 / MEMORY)
_LATEST_S: Final = 1e15
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
    """How often a gap of at least this size has come: counts by quarter octaves, a power law beyond the 1 % largest."""

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
        beyond = min(-(place - first) * octave_part / index, _MOST_LOG)  # of a gap far below the first bin: no rarity at all
        return float(above[first] / (total + 1) * math.exp(beyond))


class Heard(NamedTuple):
    """Of one reading. `score`: in [0, 1], high = anomalous. `p_value`: in (0, 1], how often a gap of at least this size has
    come among this channel's readings, or among those that were off their half hour, whichever was the odder; 1 where that says
    nothing. `below`, `above`: the nearest values seen before it, infinite where there are none. `usual`: what its half hour of
    the week shows else, where it is for its time that it scored; `apart`: whether it lies apart from that, scored or not."""

    score: float
    p_value: float = 1.0
    below: float = -math.inf
    above: float = math.inf
    usual: float | None = None
    apart: bool = False


class WitnessMemory(msgspec.Struct, frozen=True, kw_only=True):
    """All that a `Witness` remembers. `largest`: gap, as it is now. `seen`, `counts`: little-endian float64."""

    n: int
    unit: float
    largest: float
    bar: float = 0.0
    seen: bytes
    counts: bytes


class Witness:
    """How odd a quantity is, as the log10 of odds, by its gaps; less the bar that its own alarms have raised."""

    def __init__(self, capacity: int, memory: WitnessMemory | None = None) -> None:
        """`memory`: go on where another one stood. Raises ValueError where it is of another shape."""
        self.n = 0
        self.p_value = 1.0  # of the newest
        self._seen, self._law = SeenValues(capacity), GapLaw()
        self._largest = self._bar = 0.0
        if memory is not None:
            seen, counts = _floats(memory.seen), _floats(memory.counts)
            if len(seen) > capacity or len(counts) != _BINS or memory.n < 0:
                raise ValueError(f"a streaming detector's memory of {len(seen)}, {len(counts)} numbers")
            ordered = np.isfinite(seen).all() and (np.diff(seen) > 0).all()
            counted = np.isfinite(counts).all() and (counts >= 0).all()
            sizes = all(math.isfinite(size) and size >= 0 for size in (memory.unit, memory.largest, memory.bar))
            if not (ordered and counted and sizes):
                raise ValueError(
                    "a streaming detector's memory holds numbers that none leaves: not ascending, negative or not finite"
                )
            self.n, self._largest, self._bar = memory.n, memory.largest, memory.bar
            self._seen, self._law = SeenValues(capacity, seen), GapLaw(memory.unit, counts)

    @property
    def nearest(self) -> tuple[float, float]:
        """(below, above): the values seen before the newest that lie nearest to it, infinite where there are none."""
        return self._seen.below, self._seen.above

    @property
    def memory(self) -> WitnessMemory:
        return WitnessMemory(
            n=self.n, unit=self._law.unit, largest=self._largest, bar=self._bar,
            seen=_bytes(self._seen.values), counts=_bytes(self._law.counts),
        )  # fmt: skip

    def update(self, value: float) -> float:
        """The oddness of a finite value, -inf where there is nothing odd about it; then learn it."""
        gap = self._seen.add(min(max(value, -_LIMIT), _LIMIT))
        surprise = self._law.add(gap) if math.isfinite(gap) else 0.0
        size = self._beside_largest(gap)
        self.p_value = 10**-surprise
        self.n += 1
        self._bar = max(0.0, self._bar - _DOUBLED / MEMORY)
        if self.n <= WARM_UP or surprise <= 0:
            return -math.inf
        return surprise + _SIZE_WEIGHT * math.log10(size) - 0.5 * math.log10(self.n) - self._bar

    def rang(self) -> None:
        """What it said was told as an alarm."""
        self._bar += _DOUBLED

    def _beside_largest(self, gap: float) -> float:
        """The gap as a multiple of the largest before it, within bounds; then remember it."""
        size = gap / self._largest if self._largest > 0 and math.isfinite(gap) else (_MOST_SIZE if gap > 0 else _LEAST_SIZE)
        self._largest *= _KEPT
        if self.n >= RECORDED_FROM and math.isfinite(gap):
            self._largest = max(self._largest, gap)
        return min(max(size, _LEAST_SIZE), _MOST_SIZE)


class StreamingMemory(WitnessMemory, frozen=True, kw_only=True):
    """All that a `StreamingDetector` remembers: what its witness of values does, and beside it: `recent`, little-endian
    float64; `season` and `off`, the witness of how far readings are off it: None where no reading came with a time."""

    recent: bytes
    season: SeasonMemory | None = None
    off: WitnessMemory | None = None


class StreamingDetector:
    """Call `update` with each reading, in order. About 40 kB at most, 60 where readings come with their times."""

    def __init__(self, memory: StreamingMemory | None = None) -> None:
        """`memory`: go on where another one stood. Raises ValueError where it is of another shape."""
        self._values = Witness(CAPACITY, memory)
        self._recent = np.full(REFRACTORY, -np.inf)
        self._season: Season | None = None
        self._off = Witness(_OFF_CAPACITY)
        if memory is not None:
            self._recent = _floats(memory.recent)
            if len(self._recent) != REFRACTORY or np.isnan(self._recent).any():
                raise ValueError(f"a streaming detector's memory of {len(self._recent)} oddnesses")
            if memory.season is not None:
                self._season, self._off = Season(MEMORY, memory.season), Witness(_OFF_CAPACITY, memory.off)

    @property
    def n(self) -> int:
        """Readings so far."""
        return self._values.n

    @property
    def memory(self) -> StreamingMemory:
        """What to keep over a restart."""
        kept = self._values.memory
        return StreamingMemory(
            n=kept.n, unit=kept.unit, largest=kept.largest, bar=kept.bar, seen=kept.seen, counts=kept.counts,
            recent=_bytes(self._recent), season=self._season.memory if self._season else None,
            off=self._off.memory if self._season else None,
        )  # fmt: skip

    def update(self, value: float, time_s: float | None = None) -> float:
        """The score of a reading, in [0, 1]. `time_s`: since the epoch; None: it is judged by its value alone."""
        return self.hear(value, time_s).score

    def hear(self, value: float, time_s: float | None = None) -> Heard:
        """Judge a reading, then learn from it.

        A score of a half is for a gap of a tenth of the largest so far whose p-value, after n readings, is 3 / sqrt(n), where
        nothing has rung lately. One that is twice as large may be eight times as common.
        """
        if not math.isfinite(value):
            return Heard(0.0)
        witness, oddness, usual, untimely = self._values, self._values.update(value), None, None
        if time_s is not None and abs(time_s) < _LATEST_S:
            untimely = self._untimely(min(max(value, -_LIMIT), _LIMIT), time_s)
            if untimely is not None and untimely.oddness > oddness:
                witness, oddness, usual = self._off, untimely.oddness, untimely.usual
        if self.n <= WARM_UP:
            return Heard(0.0)
        is_record = oddness > float(self._recent.max())
        self._recent[self.n % REFRACTORY] = oddness
        if is_record and oddness >= _MIDDLE:
            witness.rang()
        score = 1 / (1 + 10 ** (_MIDDLE - oddness)) if is_record else 0.0
        return Heard(score, witness.p_value, *self._values.nearest, usual if score > 0 else None, untimely is not None)

    def forget_times(self) -> None:
        """The clock that gave the times was wrong: what half hours show is learned anew, values are known as before."""
        self._season, self._off = None, Witness(_OFF_CAPACITY)

    def _untimely(self, value: float, time_s: float) -> _Untimely | None:
        """How odd a value is at its time; None where that is not known or tells nothing."""
        self._season = self._season or Season(MEMORY)
        off = self._season.off(value, time_s)
        told = self._season.tells(off)
        self._season.learn(value, off)
        oddness = self._off.update(off) if math.isfinite(off) else -math.inf
        return _Untimely(oddness, value - off) if told else None


class _Untimely(NamedTuple):
    oddness: float
    usual: float


def _floats(packed: bytes) -> NDArray[np.float64]:
    if len(packed) % 8:
        raise ValueError("a streaming detector's memory is torn: no whole number of float64")
    return np.frombuffer(packed, "<f8").astype(np.float64)


def _bytes(values: NDArray[np.float64]) -> bytes:
    return values.astype("<f8").tobytes()
