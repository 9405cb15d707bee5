"""From the scores of single readings to an alarm of one channel: when it begins, and when it is over.

    quiet --(a score of at least `threshold`)--> alarm --(back, or grown used to)--> quiet

The reading that opens an alarm fell into a hole between values that had been seen, or beyond them all. The alarm is over

- after `BACK` readings in a row outside of that hole: the channel is back where it had been before;
- or after `REFRACTORY` readings without another one that reaches the threshold: then what was new has become usual. It has been
  told once; a level that stays is not told again.

A reading that reaches the threshold while the alarm is on prolongs it; where it fell outside of the hole, its own hole counts
from then on. Where a value is a usual one and came at the wrong time, no hole tells anything: then the alarm is over after
`BACK` readings in a row that are what their half hours usually show.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from models.detectors.streaming import REFRACTORY, Heard, StreamingDetector, StreamingMemory

BACK: Final = 3


class AlarmMemory(msgspec.Struct, frozen=True, kw_only=True):
    """All that a `ReadingAlarm` remembers. `hole`: (below, above) while the alarm is on, with None for what has no end.
    `untimely`: it is on for the time at which a value came."""

    detector: StreamingMemory
    hole: tuple[float | None, float | None] | None = None
    untimely: bool = False
    n_back: int = 0
    n_quiet: int = 0


class ReadingAlarm:
    """Of one channel. Call `update` with each of its readings, in order; `alarm` says how it stands after that."""

    def __init__(self, threshold: float, memory: AlarmMemory | None = None) -> None:
        """`memory`: go on where another one stood. Raises ValueError where none can have left it so."""
        self._threshold = threshold
        self._detector = StreamingDetector(memory.detector if memory else None)
        self._hole: tuple[float, float] | None = None
        self._untimely = False
        self._n_back = self._n_quiet = 0
        if memory is not None and memory.hole is not None:
            below, above = memory.hole
            self._hole = (-math.inf if below is None else below, math.inf if above is None else above)
            self._untimely = memory.untimely
            self._n_back, self._n_quiet = memory.n_back, memory.n_quiet

    @property
    def alarm(self) -> bool:
        return self._hole is not None

    @property
    def n(self) -> int:
        """Readings so far."""
        return self._detector.n

    @property
    def memory(self) -> AlarmMemory:
        """What to keep over a restart."""
        hole = None
        if self._hole is not None:
            below, above = self._hole
            hole = (None if math.isinf(below) else below, None if math.isinf(above) else above)
        return AlarmMemory(
            detector=self._detector.memory, hole=hole, untimely=self._untimely, n_back=self._n_back, n_quiet=self._n_quiet
        )

    def end(self) -> None:
        """The alarm is over, or nobody is told of it any more."""
        self._hole, self._untimely = None, False

    def is_odd(self, heard: Heard) -> bool:
        """Whether a reading reaches the threshold."""
        return heard.score >= self._threshold

    def forget_times(self) -> None:
        """The clock that gave the times was wrong; an alarm for the time of a value is over."""
        self._detector.forget_times()
        if self._untimely:
            self.end()

    def update(self, value: float, time_s: float | None = None) -> Heard:
        """Judge a reading, then learn from it. What is not finite changes nothing. `time_s`: since the epoch, or None."""
        heard = self._detector.hear(value, time_s)
        if self.is_odd(heard):
            if self._hole is None or self._untimely or not self._hole[0] < value < self._hole[1]:
                self._hole, self._untimely = (heard.below, heard.above), heard.usual is not None
            self._n_back = self._n_quiet = 0
        elif self._hole is not None and math.isfinite(value):
            self._n_quiet += 1
            inside = heard.apart if self._untimely else self._hole[0] < value < self._hole[1]
            self._n_back = 0 if inside else self._n_back + 1
            if self._n_back >= BACK or self._n_quiet >= REFRACTORY:
                self.end()
        return heard
