"""Event-time windows: which readings of an asset's channels belong together, and when nothing more is waited for.

Invariants:
1. A window covers (end - window_s, end] in event time; ends are multiples of `hop_s` since the Unix epoch. A window
   belongs to when it was measured, so a replay gives the same windows at any speed.
2. A window closes once the asset's watermark, its newest believed time less `lateness_s`, has reached the end. A reading
   that comes after that is late and left out; nothing is counted twice.
3. Between readings the watermark advances with the time that passes (`tick`), so silence closes windows too.
4. No single wrong time moves the watermark. A time ahead by more than `lateness_s` (or two periods) is believed
   once a reading of another time is that far ahead, too; of two, the lower is. Its reading waits in its window meanwhile.
5. A clock that jumps by `MAX_JUMP_S` (or a window, or five periods, if that is longer), either way, is believed once readings
   of `CONFIRMATIONS` different times in a row agree; one that falls back by less, once they span a window. Until then they are
   held; a reading at a believed time in between lets go of them. When it is believed, a new *segment* begins there.
6. A segment loses nothing: what the old one still holds closes as a window that is cut short, and the new one's first
   window begins with its first reading. Both are marked `partial`. `step` begins a segment at once where the clock that
   dates the readings is the device's own, for of that the device knows when it is set.
7. Memory is bounded: at most `MAX_HELD` readings a channel; beyond that the oldest go, counted as overflow.
8. The first window after a start is a whole one: readings of the cut-off window before it are not judged. After `resume`
   the windows go on where they were, if the readings do, too.
9. Every reading is in a window, or counted: late, overflow, repeated, or left out (cut off at a start, or of a time never
   believed). How readings are grouped into calls changes nothing.
10. Readings of one channel with the same time and the same value are one reading that came more than once: sources deliver
   at least once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.profile import Profile
from models.raw_window import RawWindow
from models.readings_held import CONFIRMATIONS, ChannelBuffer, Suspects

MAX_JUMP_S = 3600.0
MAX_HELD = 2_000_000
_MAX_SUSPECTS = 1000  # of too few different times to tell a jump
_MAX_FALLEN = 10_000  # a clock that fell back is believed at that many readings, though they span no window yet
_SAME_CLOCK_NS = 5 * NS_PER_S  # readings that are dated by the device's clock are handled within that time
_LONG_AGO_NS = -(2**62)


class Position(NamedTuple):
    """Up to where readings have come: the segment, its newest time (also one that is not believed yet), and how many have
    been set apart so far because of their times."""

    segment: int
    newest_ns: int
    n_apart: int

    def joined(self, other: Position) -> Position:
        """What both have come to."""
        return max(self, other)._replace(n_apart=max(self.n_apart, other.n_apart))


class Windower:
    """The windows of one asset. Feed readings with `add`, then take what has closed with `closed`."""

    def __init__(self, profile: Profile) -> None:
        windowing = profile.windowing
        self._window_ns = round(windowing.window_s * NS_PER_S)
        self._hop_ns = round(windowing.hop * NS_PER_S)
        self._lateness_ns = round(windowing.lateness_s * NS_PER_S)
        self._period_ns = round(NS_PER_S * max(1 / windowing.rate_hz, profile.period_s))
        self._leap_ns = max(self._lateness_ns, 2 * self._period_ns)
        self._jump_ns = max(round(MAX_JUMP_S * NS_PER_S), self._window_ns, CONFIRMATIONS * self._period_ns)
        self._channels = [ChannelBuffer() for _ in profile.channels]
        self._suspects = Suspects()
        self._n_apart = 0  # suspects ever
        self._followed = Position(0, _LONG_AGO_NS, 0)  # of those that the latest segment began with; `n_apart`: before them
        self._newest_ns: int | None = None  # event time of the newest believed reading
        self._heard_ns = 0  # when that was heard, by the device's monotonic clock
        self._start_is_sure = False  # once a second time has been heard
        self._ahead: tuple[int, int] | None = None  # (time, heard) that awaits a second opinion
        self._leapt_from = (_LONG_AGO_NS, 0)  # (time, heard) of the newest reading before the latest leap ahead
        self._step: tuple[int, int] | None = None  # (before, after): see `step`
        self._resuming = False
        slowest_s = max(1 / (channel.rate_hz or windowing.rate_hz) for channel in profile.channels)
        self._seamless_ns = round(max(slowest_s, windowing.max_gap_s) * NS_PER_S) + self._period_ns
        self._next_end_ns = 0
        self._last_end_ns = _LONG_AGO_NS  # what is not after it has been in a window
        self._horizon_ns = 0  # start of the next window: what is not after it comes too late
        self._segment_start_ns = _LONG_AGO_NS  # nothing before it belongs to this segment
        self._first_start_ns = 0
        self._cut_short: list[RawWindow] = []  # closed by the beginning of a segment
        self._n_late = 0
        self._n_repeated = 0
        self.n_overflow = 0
        self.n_left_out = 0
        self.n_restarts = 0

    def add(self, channel: int, t_ns: int, value: float, now_ns: int) -> None:
        """One reading of the profile's `channel`-th channel; `now_ns`: the device's monotonic clock, for `closed`."""
        if self._step is not None:
            self._watch_for_step(t_ns, t_ns, now_ns)
        if self._newest_ns is None:
            self._begin(t_ns, now_ns)
        elif not self._start_is_sure and t_ns != self._newest_ns:
            self._make_start_sure(t_ns, now_ns)
        if self._resuming:
            self._go_on(t_ns, now_ns)
        ahead_ns = t_ns - self._newest_ns  # type: ignore[operator]  # there is one by now
        if t_ns <= self._horizon_ns or not -self._jump_ns < ahead_ns < self._jump_ns:
            self._set_apart(channel, t_ns, value, now_ns)
            return
        if self._suspects.readings:
            self._let_suspects_go()
        buffer = self._channels[channel]
        if ahead_ns > 0:
            self._advance(t_ns, now_ns)
            buffer.n_ahead += t_ns - self._newest_ns > self._leap_ns  # type: ignore[operator]
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
        if self._step is not None:
            self._watch_for_step(int(times.min()), int(times.max()), now_ns)
        if not self._is_ordinary(times):
            for t_ns, value in zip(times.tolist(), values.tolist(), strict=True):
                self.add(channel, t_ns, value, now_ns)
            return
        newest = int(times.max())
        if newest > self._newest_ns:  # type: ignore[operator]  # ordinary: there is one
            self._newest_ns, self._heard_ns, self._ahead = newest, now_ns, None
        buffer = self._channels[channel]
        if (buffer.times and times[0] < buffer.times[-1]) or (len(times) > 1 and (np.diff(times) < 0).any()):
            buffer.ascending = False
        buffer.times.frombytes(np.ascontiguousarray(times, dtype=np.int64).tobytes())
        buffer.values.frombytes(np.ascontiguousarray(values, dtype=np.float64).tobytes())
        if len(buffer.times) > MAX_HELD:
            self._trim(buffer)

    def _is_ordinary(self, times: NDArray[np.int64]) -> bool:
        """Whether every one of these would be taken in at once, and none is ahead of its time."""
        newest, first, last = self._newest_ns, int(times.min()), int(times.max())
        if newest is None or not self._start_is_sure or self._resuming or self._suspects.readings or first <= self._horizon_ns:
            return False
        if max(newest, last) - min(newest, first) >= self._jump_ns:
            return False
        if last - newest <= self._leap_ns:
            return True
        return int(times[0]) - newest <= self._leap_ns and int(np.diff(times).max(initial=0)) <= self._leap_ns

    def step(self, before_ns: int, after_ns: int) -> bool:
        """The device's clock has been set: it was `before_ns` ahead of the monotonic clock, and is `after_ns` now.

        If this asset's readings are dated by that clock, the first that is dated by the new time begins a segment. Those
        that were dated before, and come only now, still belong to the old one. A step no larger than what counts as ahead
        of its time is taken like any other unevenness. Returns whether the readings are dated by that clock.
        """
        if self._step is not None:  # and none of the readings since were dated by the new time
            before_ns = self._step[0]
        elif self._newest_ns is None or abs(self._newest_ns - self._heard_ns - before_ns) > _SAME_CLOCK_NS:
            return False  # nothing to cut, or a clock of its own
        self._step = (before_ns, after_ns) if abs(after_ns - before_ns) > self._leap_ns else None
        return True

    def _watch_for_step(self, first_ns: int, last_ns: int, now_ns: int) -> None:
        """Begin a segment at `first_ns` if readings up to `last_ns` that arrive now are dated by the new time."""
        before_ns, after_ns = self._step or (0, 0)
        ahead_ns = last_ns - now_ns
        if abs(ahead_ns - after_ns) < abs(ahead_ns - before_ns):
            self._let_suspects_go()
            self._begin_segment(first_ns, now_ns)

    def _advance(self, t_ns: int, now_ns: int) -> None:
        """Believe a time after the newest, or, where it is ahead of its time, keep it for a second opinion."""
        newest: int = self._newest_ns  # type: ignore[assignment]
        if t_ns - newest <= self._leap_ns:
            self._newest_ns, self._heard_ns, self._ahead = t_ns, now_ns, None
        elif self._ahead is None:
            self._ahead = (t_ns, now_ns)
        elif t_ns != self._ahead[0]:
            lower, higher = sorted((self._ahead, (t_ns, now_ns)))
            self._leapt_from = (newest, self._heard_ns)
            self._newest_ns, self._heard_ns = lower
            self._ahead = None
            self._advance(*higher)

    def _set_apart(self, channel: int, t_ns: int, value: float, now_ns: int) -> None:
        """A reading that is late, cut off at the start, or of a clock that jumped: what it is, the next ones tell."""
        if self._first_start_ns - self._hop_ns - self._leap_ns < t_ns <= self._first_start_ns:
            self.n_left_out += 1
            return
        if self._suspects.readings and self._is_another_clock(t_ns):
            if self._suspects.agree:
                self._follow(self._suspects)
                self.add(channel, t_ns, value, now_ns)
                return
            self._let_suspects_go()
        held = self._suspects
        held.add(t_ns, channel, value, now_ns)
        self._n_apart += 1
        if held.agree and (self._is_far(t_ns) or self._has_fallen_back(held)):
            self._follow(held)

    def _is_another_clock(self, t_ns: int) -> bool:
        """Whether a suspect does not go on from where the others are, or they have been held for too long."""
        held, last_ns = self._suspects, self._suspects.readings[-1][0]
        too_many = len(held.readings) >= _MAX_SUSPECTS and not held.agree
        return too_many or abs(t_ns - last_ns) >= self._jump_ns or t_ns < last_ns - self._window_ns

    def _is_far(self, t_ns: int) -> bool:
        return abs(t_ns - self._newest_ns) >= self._jump_ns  # type: ignore[operator]

    def _has_fallen_back(self, held: Suspects) -> bool:
        """Readings of a window's length, one after the other and none of them believable, are no stragglers."""
        return held.highest_ns - held.lowest_ns >= self._window_ns or len(held.readings) >= _MAX_FALLEN

    def _follow(self, held: Suspects) -> None:
        """The clock has jumped: take in what was held."""
        self._suspects = Suspects()
        held.readings.sort(key=lambda reading: reading[0])
        self._begin_segment(held.readings[0][0], held.readings[0][3])
        self._followed = Position(self.n_restarts, held.highest_ns, self._n_apart - len(held.readings))
        for t_ns, channel, value, now_ns in held.readings:
            self.add(channel, t_ns, value, now_ns)

    def _let_suspects_go(self) -> None:
        for t_ns, channel, *_ in self._suspects.readings:
            if self._is_far(t_ns):
                self.n_left_out += 1
            else:
                self._n_late += 1
                self._channels[channel].n_late += 1
        self._suspects = Suspects()

    def _trim(self, buffer: ChannelBuffer) -> None:
        """Make room in bursts, for each costs a move of all that stays."""
        surplus = len(buffer.times) - MAX_HELD * 9 // 10
        self.n_overflow += surplus
        del buffer.times[:surplus], buffer.values[:surplus]

    def _begin(self, t_ns: int, now_ns: int) -> None:
        """Let the first window be the first whole one that the reading at `t_ns` belongs to."""
        earliest_end = max(t_ns, t_ns - self._period_ns + self._window_ns)
        self._move_to(-(-earliest_end // self._hop_ns) * self._hop_ns)
        self._first_start_ns = self._horizon_ns
        self._newest_ns, self._heard_ns = t_ns, now_ns

    def _make_start_sure(self, t_ns: int, now_ns: int) -> None:
        """The second time that is heard: if the first was far ahead of it, the first was wrong, or early."""
        first = (self._newest_ns or 0, self._heard_ns)
        self._start_is_sure = True
        if self._leap_ns < first[0] - t_ns < self._jump_ns and self._horizon_ns == self._first_start_ns:
            self._begin(t_ns, now_ns)
            self._ahead = first

    def _begin_segment(self, t_ns: int, now_ns: int) -> None:
        """Close what is open, cut short, and begin at `t_ns`."""
        self._close_segment()
        self.n_restarts += 1
        self._step = self._ahead = None
        self._start_is_sure = True
        self._segment_start_ns = t_ns - self._period_ns  # a reading stands for the period before it
        self._first_start_ns = self._last_end_ns = _LONG_AGO_NS
        self._leapt_from = (_LONG_AGO_NS, 0)
        self._newest_ns, self._heard_ns = t_ns, now_ns
        self._move_to(-(-t_ns // self._hop_ns) * self._hop_ns)

    def _close_segment(self) -> None:
        """Put everything up to the newest believed time into windows; readings beyond it were never believed."""
        newest: int = self._newest_ns  # type: ignore[assignment]
        self._cut_short += self._close_until(newest)
        rest = max(self._horizon_ns, self._last_end_ns)
        if any(rest < t <= newest for channel in self._channels for t in channel.times):
            self._cut_short.append(self._cut(newest, newest, partial=True))
        for channel in self._channels:
            self.n_left_out += sum(t > newest for t in channel.times)
            channel.clear()

    def resume(self, horizon_ns: int, now_ns: int) -> None:
        """Go on after `horizon_ns`, up to which every window was closed in an earlier life; call it before any reading."""
        self._move_to(horizon_ns + self._window_ns)
        self._newest_ns, self._heard_ns = horizon_ns, now_ns
        self._start_is_sure = self._resuming = True

    def _go_on(self, t_ns: int, now_ns: int) -> None:
        """The first reading of this life that lies behind the horizon: does it go on there, or was there a gap?"""
        gap_ns = t_ns - self._horizon_ns
        if 0 < gap_ns < self._jump_ns:
            self._resuming = False
            if gap_ns > self._seamless_ns:
                self._begin(t_ns, now_ns)
                self._start_is_sure = False

    def _move_to(self, end_ns: int) -> None:
        self._next_end_ns = end_ns
        self._horizon_ns = max(end_ns - self._window_ns, self._segment_start_ns)

    def leave_known(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of readings that a source delivers again, by their times, are not in a closed window yet; counts the others."""
        unknown = times > self._horizon_ns if self._newest_ns is not None else np.ones(len(times), dtype=bool)
        self._n_repeated += len(times) - int(unknown.sum())
        return unknown

    @property
    def position(self) -> Position:
        """Up to where readings have come."""
        newest_ns = self._newest_ns or 0
        return Position(self.n_restarts, max(newest_ns, self._ahead[0]) if self._ahead else newest_ns, self._n_apart)

    def has_used_up(self, position: Position) -> bool:
        """Whether every reading that came up to `position` is in a closed window, or counted as in none."""
        if position.n_apart > self._n_apart - len(self._suspects.readings):
            return False  # what one of them is, is still open
        if position.segment == self.n_restarts:
            return position.newest_ns <= self._horizon_ns
        segment, newest_ns, n_before = self._followed
        went_along = segment == self.n_restarts and position.n_apart > n_before
        return not went_along or newest_ns <= self._horizon_ns

    @property
    def horizon_ns(self) -> int | None:
        """Readings up to here have been judged or counted for good; None before the first reading."""
        return None if self._newest_ns is None else self._horizon_ns

    @property
    def n_repeated(self) -> int:
        """Readings that came more than once."""
        return self._n_repeated + sum(channel.n_repeated for channel in self._channels)

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
        windows, self._cut_short = self._cut_short, []
        windows += self._close_until(watermark)
        return windows

    def _close_until(self, watermark_ns: int) -> list[RawWindow]:
        windows = []
        while self._next_end_ns <= watermark_ns and self._skip_empty(watermark_ns):
            end = self._next_end_ns
            partial = self._segment_start_ns > end - self._window_ns
            windows.append(self._cut(end, end + self._hop_ns - self._window_ns, partial))
            self._last_end_ns = end
            self._move_to(end + self._hop_ns)
        return windows

    def _cut(self, end_ns: int, keep_after_ns: int, partial: bool) -> RawWindow:
        start = self._horizon_ns
        cuts = [channel.cut(start, end_ns, keep_after_ns) for channel in self._channels]
        newest_ns, heard_ns = self._leapt_from if start < self._leapt_from[0] else (self._newest_ns or 0, self._heard_ns)
        end_mono_ns = max(0, end_ns - newest_ns + heard_ns)
        late = [channel.n_late for channel in self._channels] if self._n_late else []
        behind = [channel.n_behind for channel in self._channels]
        ahead = [channel.n_ahead for channel in self._channels]
        n_late, self._n_late = self._n_late, 0
        for channel in self._channels:
            channel.n_late = channel.n_ahead = 0
        return RawWindow(
            start, end_ns, [t for t, _ in cuts], [v for _, v in cuts], n_late, late, behind if any(behind) else [],
            ahead if any(ahead) else [], partial=partial, end_mono_ns=end_mono_ns,
        )  # fmt: skip

    def _skip_empty(self, watermark_ns: int) -> bool:
        """Move on to the first closed window that holds a reading, or to the first that is still open: False then."""
        oldest = min((min(c.times) if not c.ascending else c.times[0] for c in self._channels if c.times), default=None)
        if oldest is None:
            return False
        if oldest > self._next_end_ns:
            first_open = (watermark_ns // self._hop_ns + 1) * self._hop_ns
            self._move_to(min(-(-oldest // self._hop_ns) * self._hop_ns, first_open))
        return self._next_end_ns <= watermark_ns
