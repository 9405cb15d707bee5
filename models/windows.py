"""Event-time windows: readings of an asset's channels, aligned to a grid.

Invariants:
1. A window covers (end - window_s, end] in event time; ends are multiples of `hop_s` since the Unix epoch. A window
   belongs to when it was measured, so a replay gives the same windows at any speed.
2. A window closes once the asset's watermark, its newest event time less `lateness_s`, has reached the end. A reading
   that comes after that is counted as late and left out; nothing is counted twice.
3. Between readings the watermark advances with the time that passes (`tick`), so silence closes windows too.
4. A clock that jumps by `MAX_JUMP_S` (or a window, where that is longer), either way, is believed once readings of
   `CONFIRMATIONS` different times in a row agree; until then they are held, not dropped. Then the windows start afresh
   from there. A reading at a believed time in between lets go of those that are held.
5. Memory is bounded: at most `MAX_HELD` readings a channel; beyond that the oldest go, counted as overflow.
6. The first window after a start is a whole one: readings of the cut-off window before it are not judged.
7. Every reading is in a window, or counted: late, overflow, or left out (cut off at a start, or of a time never believed).
   How readings are grouped into calls changes nothing.

Alignment: readings that fall into the same grid cell are averaged, gaps are interpolated linearly, ends held. A channel
that is `missing` by the profile's rule is all NaN. See `Windowing` in models/contract/profile.py.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.profile import Profile

MAX_JUMP_S = 3600.0
CONFIRMATIONS = 5
MAX_HELD = 2_000_000
_MAX_SUSPECTS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class RawWindow:
    """A closed window before quality control. `times`, `values`: per channel, ascending.

    `n_late`: readings that came too late, since the last window; `late`: by channel. `n_behind`: by channel, those in the
    window that came with a time before an earlier one. Both are empty where there are none.
    """

    start_ns: int
    end_ns: int
    times: list[NDArray[np.int64]]
    values: list[NDArray[np.float64]]
    n_late: int
    late: list[int] = field(default_factory=list)
    n_behind: list[int] = field(default_factory=list)

    @property
    def n_readings(self) -> int:
        return sum(len(t) for t in self.times)


class _Channel:
    """Readings of one channel that no closed window has used up yet."""

    __slots__ = ("ascending", "n_behind", "n_late", "times", "values")

    def __init__(self) -> None:
        self.times = array("q")
        self.values = array("d")
        self.ascending = True
        self.n_late = 0
        self.n_behind = 0

    def clear(self) -> None:
        del self.times[:], self.values[:]
        self.ascending = True

    def cut(self, start_ns: int, end_ns: int, keep_after_ns: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Readings in (start, end], ascending; those up to `keep_after_ns` are forgotten."""
        times = np.frombuffer(self.times, dtype=np.int64).copy()
        values = np.frombuffer(self.values, dtype=np.float64).copy()
        self.n_behind = 0
        if not self.ascending:
            behind = times < np.maximum.accumulate(times)
            self.n_behind = int((behind & (times > start_ns) & (times <= end_ns)).sum())
            order = np.argsort(times, kind="stable")
            times, values = times[order], values[order]
        low, high, keep = np.searchsorted(times, [start_ns, end_ns, keep_after_ns], side="right")
        if self.ascending:
            del self.times[:keep], self.values[:keep]
        else:
            self.times, self.values = array("q", times[keep:].tobytes()), array("d", values[keep:].tobytes())
            self.ascending = True
        return times[low:high], values[low:high]


class Windower:
    """The windows of one asset. Feed readings with `add`, then take what has closed with `closed`."""

    def __init__(self, profile: Profile) -> None:
        windowing = profile.windowing
        self._window_ns = round(windowing.window_s * NS_PER_S)
        self._hop_ns = round(windowing.hop * NS_PER_S)
        self._lateness_ns = round(windowing.lateness_s * NS_PER_S)
        self._period_ns = round(NS_PER_S / windowing.rate_hz)
        self._jump_ns = max(round(MAX_JUMP_S * NS_PER_S), self._window_ns)
        self._channels = [_Channel() for _ in profile.channels]
        self._suspects: list[tuple[int, int, float]] = []  # (time, channel, value) too far off to be believed at once
        self._newest_ns: int | None = None  # event time of the newest believed reading
        self._heard_ns = 0  # when that was heard, by the device's clock
        self._next_end_ns = 0
        self._horizon_ns = 0  # start of the next window: what is not after it comes too late
        self._first_start_ns = 0
        self._n_late = 0
        self.n_overflow = 0
        self.n_left_out = 0
        self.n_restarts = 0

    def add(self, channel: int, t_ns: int, value: float, now_ns: int) -> None:
        """One reading of the profile's `channel`-th channel; `now_ns`: the device's monotonic clock, for `closed`."""
        newest = self._newest_ns
        if newest is None:
            self._begin(t_ns, now_ns)
        elif not -self._jump_ns < t_ns - newest < self._jump_ns:
            self._suspect(channel, t_ns, value, now_ns)
            return
        elif t_ns > newest:
            self._newest_ns = t_ns
            self._heard_ns = now_ns
        if self._suspects:
            self._let_suspects_go()
        if t_ns <= self._horizon_ns:
            self._leave_out(self._channels[channel], np.array([t_ns]))
            return
        buffer = self._channels[channel]
        if buffer.times and t_ns < buffer.times[-1]:
            buffer.ascending = False
        buffer.times.append(t_ns)
        buffer.values.append(value)
        if len(buffer.times) > MAX_HELD:
            self._trim(buffer)

    def add_block(self, channel: int, times: NDArray[np.int64], values: NDArray[np.float64], now_ns: int) -> None:
        """Many readings of one channel, (n,) int64 Unix ns and (n,) float64."""
        if not len(times):
            return
        newest, first, last = self._newest_ns, int(times.min()), int(times.max())
        if newest is None or self._suspects or max(newest, last) - min(newest, first) >= self._jump_ns:
            for t_ns, value in zip(times.tolist(), values.tolist(), strict=True):
                self.add(channel, t_ns, value, now_ns)
            return
        if last > newest:
            self._newest_ns = last
            self._heard_ns = now_ns
        self._store(self._channels[channel], times, values)

    def _store(self, buffer: _Channel, times: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        if times.min() <= self._horizon_ns:
            late = times <= self._horizon_ns
            self._leave_out(buffer, times[late])
            times, values = times[~late], values[~late]
        if not len(times):
            return
        if (buffer.times and times[0] < buffer.times[-1]) or (len(times) > 1 and (np.diff(times) < 0).any()):
            buffer.ascending = False
        buffer.times.frombytes(np.ascontiguousarray(times, dtype=np.int64).tobytes())
        buffer.values.frombytes(np.ascontiguousarray(values, dtype=np.float64).tobytes())
        if len(buffer.times) > MAX_HELD:
            self._trim(buffer)

    def _leave_out(self, buffer: _Channel, times: NDArray[np.int64]) -> None:
        """Count readings that no window will hold: of the cut-off window before the first, or too late."""
        n_cut_off = int((times <= self._first_start_ns).sum())
        self.n_left_out += n_cut_off
        self._n_late += len(times) - n_cut_off
        buffer.n_late += len(times) - n_cut_off

    def _trim(self, buffer: _Channel) -> None:
        """Make room in bursts, for each costs a move of all that stays."""
        surplus = len(buffer.times) - MAX_HELD * 9 // 10
        self.n_overflow += surplus
        del buffer.times[:surplus], buffer.values[:surplus]

    def _begin(self, t_ns: int, now_ns: int) -> None:
        """Let the first window be the first whole one that the reading at `t_ns` belongs to."""
        earliest_end = t_ns - self._period_ns + self._window_ns
        self._move_to(-(-earliest_end // self._hop_ns) * self._hop_ns)
        self._first_start_ns = self._horizon_ns
        self._newest_ns = t_ns
        self._heard_ns = now_ns

    def _move_to(self, end_ns: int) -> None:
        self._next_end_ns = end_ns
        self._horizon_ns = end_ns - self._window_ns

    def _suspect(self, channel: int, t_ns: int, value: float, now_ns: int) -> None:
        """Hold a reading from far off the asset's clock; once enough agree, start afresh there and take them all in."""
        held = self._suspects
        if held and (abs(t_ns - held[-1][0]) >= self._jump_ns or len(held) >= _MAX_SUSPECTS):
            self._let_suspects_go()
        held = self._suspects
        seen_last = bool(held) and t_ns == held[-1][0]
        held.append((t_ns, channel, value))
        if seen_last or len({t for t, _, _ in held}) < CONFIRMATIONS:
            return
        self._suspects = []
        self.n_restarts += 1
        for buffer in self._channels:
            self.n_left_out += len(buffer.times)
            buffer.clear()
        held.sort(key=lambda reading: reading[0])
        self._begin(held[0][0], now_ns)
        for held_ns, held_channel, held_value in held:
            self.add(held_channel, held_ns, held_value, now_ns)

    def _let_suspects_go(self) -> None:
        self.n_left_out += len(self._suspects)
        self._suspects = []

    @property
    def newest_ns(self) -> int | None:
        """Event time of the newest believed reading."""
        return self._newest_ns

    @property
    def heard_ns(self) -> int | None:
        """When the newest reading arrived, by the device's monotonic clock; None before the first."""
        return None if self._newest_ns is None else self._heard_ns

    def closed(self, now_ns: int | None = None) -> list[RawWindow]:
        """The windows that have closed, oldest first. With `now_ns`, the time since the newest reading was heard
        counts as passed.

        Windows in which no channel has a reading are passed over: silence is told by quality control, not by a row of
        empty windows.
        """
        if self._newest_ns is None:
            return []
        watermark = self._newest_ns - self._lateness_ns
        if now_ns is not None:
            watermark += max(0, now_ns - self._heard_ns)
        windows = []
        while self._next_end_ns <= watermark and self._skip_empty(watermark):
            end, start = self._next_end_ns, self._next_end_ns - self._window_ns
            self._move_to(end + self._hop_ns)
            cuts = [c.cut(start, end, self._horizon_ns) for c in self._channels]
            windows.append(self._raw(start, end, cuts))
        return windows

    def _raw(self, start_ns: int, end_ns: int, cuts: list[tuple[NDArray[np.int64], NDArray[np.float64]]]) -> RawWindow:
        late = [c.n_late for c in self._channels] if self._n_late else []
        behind = [c.n_behind for c in self._channels]
        window = RawWindow(
            start_ns, end_ns, [t for t, _ in cuts], [v for _, v in cuts], self._n_late, late, behind if any(behind) else []
        )
        if late:
            self._n_late = 0
            for buffer in self._channels:
                buffer.n_late = 0
        return window

    def _skip_empty(self, watermark_ns: int) -> bool:
        """Move on to the first closed window that holds a reading, or to the first that is still open: False then."""
        oldest = min((min(c.times) if not c.ascending else c.times[0] for c in self._channels if c.times), default=None)
        if oldest is None:
            return False
        if oldest > self._next_end_ns:
            first_open = (watermark_ns // self._hop_ns + 1) * self._hop_ns
            self._move_to(min(-(-oldest // self._hop_ns) * self._hop_ns, first_open))
        return self._next_end_ns <= watermark_ns


class Grid:
    """Aligns a raw window's channels to the profile's grid."""

    def __init__(self, profile: Profile) -> None:
        windowing = profile.windowing
        self.n_cells = max(2, round(windowing.window_s * windowing.rate_hz))
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
