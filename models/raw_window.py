"""A closed window of one asset: what was measured in it, channel by channel, before anybody has judged it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class RawWindow:
    """A closed window before quality control. `times`, `values`: per channel, ascending.

    `n_late`: readings that came too late, since the last window; `late`: by channel. `n_behind`: by channel, those in the
    window that came with a time before an earlier one; `ahead`: by channel, those that came since the last window with a
    time ahead of all others, which nobody confirmed. All three are empty where there are none.
    `partial`: cut short by a clock that jumped.
    `end_mono_ns`: its end by the device's monotonic clock, as the readings arrived; two windows of the same times, on
    either side of a clock that was set back, differ in it.
    """

    start_ns: int
    end_ns: int
    times: list[NDArray[np.int64]]
    values: list[NDArray[np.float64]]
    n_late: int
    late: list[int] = field(default_factory=list)
    n_behind: list[int] = field(default_factory=list)
    ahead: list[int] = field(default_factory=list)
    partial: bool = False
    end_mono_ns: int = 0

    @property
    def n_readings(self) -> int:
        return sum(len(t) for t in self.times)
