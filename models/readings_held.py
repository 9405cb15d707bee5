"""Readings that no closed window has used up yet: by channel, and those whose time is not believed."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

CONFIRMATIONS = 5  # different times in a row that agree, until a jump is believed


class ChannelBuffer:
    """Readings of one channel that no closed window has used up yet."""

    __slots__ = ("ascending", "n_ahead", "n_behind", "n_late", "n_repeated", "times", "values")

    def __init__(self) -> None:
        self.times = array("q")
        self.values = array("d")
        self.ascending = True
        self.n_ahead = 0
        self.n_behind = 0
        self.n_late = 0
        self.n_repeated = 0

    def clear(self) -> None:
        del self.times[:], self.values[:]
        self.ascending = True

    def cut(self, start_ns: int, end_ns: int, keep_after_ns: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Readings in (start, end], ascending; those up to `keep_after_ns` are forgotten."""
        times = np.frombuffer(self.times, dtype=np.int64).copy()
        values = np.frombuffer(self.values, dtype=np.float64).copy()
        repeated = _repeated(times, values, self.ascending)
        if repeated is not None:
            self.n_repeated += int(repeated.sum())
            times, values = times[~repeated], values[~repeated]
        self.n_behind = 0
        if not self.ascending:
            behind = times < np.maximum.accumulate(times)
            self.n_behind = int((behind & (times > start_ns) & (times <= end_ns)).sum())
            order = np.argsort(times, kind="stable")
            times, values = times[order], values[order]
        low, high, keep = np.searchsorted(times, [start_ns, end_ns, keep_after_ns], side="right")
        if self.ascending and repeated is None:
            del self.times[:keep], self.values[:keep]
        else:
            self.times, self.values = array("q", times[keep:].tobytes()), array("d", values[keep:].tobytes())
            self.ascending = True
        return times[low:high], values[low:high]


def _repeated(times: NDArray[np.int64], values: NDArray[np.float64], ascending: bool) -> NDArray[np.bool_] | None:
    """Which readings are there already, earlier in the order in which they came; None where none is."""
    if ascending and not (times[1:] == times[:-1]).any():
        return None
    order = np.lexsort((values, times))
    t, v = times[order], values[order]
    again = np.zeros(len(t), dtype=bool)
    again[1:] = (t[1:] == t[:-1]) & ((v[1:] == v[:-1]) | (np.isnan(v[1:]) & np.isnan(v[:-1])))
    if not again.any():
        return None
    repeated = np.empty(len(t), dtype=bool)
    repeated[order] = again
    return repeated


class Suspects:
    """Readings in a row whose times are too far off to be believed at once."""

    __slots__ = ("distinct", "highest_ns", "lowest_ns", "readings")

    def __init__(self) -> None:
        self.readings: list[tuple[int, int, float, int]] = []  # (time, channel, value, heard)
        self.distinct: set[int] = set()  # of their times, no more than are needed
        self.lowest_ns = self.highest_ns = 0

    def add(self, t_ns: int, channel: int, value: float, now_ns: int) -> None:
        if not self.readings:
            self.lowest_ns = self.highest_ns = t_ns
        self.readings.append((t_ns, channel, value, now_ns))
        self.lowest_ns, self.highest_ns = min(self.lowest_ns, t_ns), max(self.highest_ns, t_ns)
        if len(self.distinct) < CONFIRMATIONS:
            self.distinct.add(t_ns)

    @property
    def agree(self) -> bool:
        return len(self.distinct) >= CONFIRMATIONS
