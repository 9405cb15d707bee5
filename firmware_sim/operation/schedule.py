"""When a machine runs, and how much is asked of it, by the weekday and hour of its place.

    constant                always, as usual
    two-shift               Monday to Friday, 06:00 to 22:00, half an hour's break in each shift; the late shift asks for less
    office                  Monday to Friday, 07:00 to 18:30: what is asked rises as people come, and dips at noon
    continuous-with-pauses  every day round the clock, with two pauses of 20 minutes at other times each day

No two days are alike: beginnings and ends are off by some minutes, each day asks for a little more or less; by seed and day, so
any day can be told without those before it. Hours are those of a fixed offset from UTC: there is no summer time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Pattern = Literal["constant", "two-shift", "office", "continuous-with-pauses"]

DAY_S: Final = 86_400.0
RAMP_S: Final = 30.0  # from standstill to full speed, and back
_JITTER_S: Final = 240.0
_THURSDAY: Final = 3  # 1970-01-01
_SATURDAY: Final = 5
_OFFICE_H: Final = (0.0, 7.0, 9.0, 12.0, 12.5, 13.0, 13.5, 16.5, 18.5, 24.0)
_OFFICE_SHARE: Final = (0.0, 0.0, 1.0, 1.0, 0.5, 0.5, 1.0, 0.9, 0.0, 0.0)
_BREAKS_H: Final = ((10.0, 10.5), (18.0, 18.5))
_PAUSE_S: Final = 1200.0
Span = tuple[float, float]
Floats = NDArray[np.float64]


class Day(NamedTuple):
    """One day as straight lines between corners. `at_s`: (n,) since its midnight, from 0 to 86,400. `running`: 0 at rest to 1.
    `demand`: of what is usual, 0..1.2."""

    at_s: Floats
    running: Floats
    demand: Floats


@dataclass(frozen=True)
class Schedule:
    """`off`: spans of local time, in seconds since the epoch, in which the machine stands still whatever the pattern says."""

    pattern: Pattern
    seed: int
    off: tuple[Span, ...] = ()

    def running(self, local_s: Floats) -> Floats:
        """(n,) 0..1 at ascending local times, seconds since the epoch."""
        return self._by_day(local_s, lambda at_s, day: np.interp(at_s, day.at_s, day.running))

    def demand(self, local_s: Floats) -> Floats:
        """(n,) the share of what is usual, 0..1.2."""
        return self._by_day(local_s, lambda at_s, day: np.interp(at_s, day.at_s, day.demand))

    def lagged(self, local_s: Floats, tau_s: float, what: Literal["running", "demand"]) -> Floats:
        """(n,) `running` or `demand` after a first-order lag that is far shorter than a day."""
        return np.concatenate(
            [self._lagged_in_day(day, local_s[rows], tau_s, what) for day, rows in _days(local_s)] or [np.empty(0)]
        )

    def _by_day(self, local_s: Floats, tell: Callable[[Floats, Day], Floats]) -> Floats:
        parts = [tell(local_s[rows] - day * DAY_S, self.day(day)) for day, rows in _days(local_s)]
        return np.concatenate(parts or [np.empty(0)])

    def _lagged_in_day(self, day: int, local_s: Floats, tau_s: float, what: Literal["running", "demand"]) -> Floats:
        """Exact from corner to corner; begun in balance at the midnight before the last one, which is forgotten long since."""
        at_s, value, lagged = _lagged_corners(self, day, tau_s, what)
        place = np.clip(np.searchsorted(at_s, local_s - day * DAY_S, side="right") - 1, 0, len(at_s) - 2)
        since_s = local_s - day * DAY_S - at_s[place]
        slope = (np.diff(value) / np.diff(at_s))[place]
        return np.asarray(
            value[place] + slope * (since_s - tau_s) + (lagged[place] - value[place] + slope * tau_s) * np.exp(-since_s / tau_s)
        )

    def day(self, day: int) -> Day:
        """`day`: local days since the epoch."""
        return _day(self, day)


@lru_cache(maxsize=4096)  # a few days of each machine of a large fleet
def _day(schedule: Schedule, day: int) -> Day:
    at_s, running, demand = _planned(schedule, day)
    off = [(start - day * DAY_S, end - day * DAY_S) for start, end in schedule.off]
    off = [(start, end) for start, end in off if end > 0 and start < DAY_S]
    corners = np.array([corner for start, end in off for corner in (start, start + RAMP_S, end - RAMP_S, end)])
    every = np.unique(np.concatenate([at_s, corners[(corners > 0) & (corners < DAY_S)] if off else corners]))
    present = np.interp(every, at_s, running)
    for start, end in off:
        present = present * np.clip(np.maximum(start - every, every - end) / RAMP_S + 1, 0, 1)
    return Day(every, present, np.interp(every, at_s, demand))


def _planned(schedule: Schedule, day: int) -> tuple[Floats, Floats, Floats]:
    """A day's corners by the pattern alone."""
    rng = np.random.default_rng([schedule.seed, 17, day % 2**32])
    level = float(np.clip(rng.normal(1, 0.05), 0.85, 1.15))
    late_s = rng.uniform(-_JITTER_S, _JITTER_S, 8)
    whole = np.array([0.0, DAY_S])
    resting = (day + _THURSDAY) % 7 >= _SATURDAY
    if schedule.pattern == "constant":
        return whole, np.ones(2), np.ones(2)
    if schedule.pattern == "continuous-with-pauses":
        pauses = [half * DAY_S / 2 + rng.uniform(3600, DAY_S / 2 - 2 * 3600) for half in (0, 1)]
        at_s, running = _stops([(start, start + _PAUSE_S) for start in pauses], on=True)
        # Each day's level is reached and left by midnight, so that no two days meet in a step.
        return at_s, running, _level(at_s, level)
    if resting:
        return whole, np.zeros(2), np.zeros(2)
    if schedule.pattern == "office":
        hours = np.array(_OFFICE_H) * 3600
        hours[1:-1] += late_s
        share = np.array(_OFFICE_SHARE) * level
        at_s, running = _stops([(hours[1], hours[-2])], on=False)
        every = np.unique(np.concatenate([at_s, hours]))
        return every, np.interp(every, at_s, running), np.interp(every, hours, share)
    (first, then), (later, last) = _BREAKS_H
    edges = [6.0, first, then, later, last, 22.0]
    worked = np.array(edges) * 3600 + late_s[:6]
    at_s, running = _stops(worked.reshape(-1, 2).tolist(), on=False)
    demand = np.where(at_s < 14 * 3600, level, 0.8 * level)
    return at_s, running, demand


def _stops(spans: Sequence[Sequence[float]], *, on: bool) -> tuple[Floats, Floats]:
    """Corners of a day in which a machine rests (`on`) or works (else) in the given spans; each edge is a ramp."""
    at_s, running = [0.0], [float(on)]
    for start, end in spans:
        at_s += [start, start + RAMP_S, end, end + RAMP_S]
        running += [float(on), float(not on), float(not on), float(on)]
    return np.array([*at_s, DAY_S]), np.array([*running, float(on)])


def _level(at_s: Floats, level: float) -> Floats:
    return np.asarray(1 + (level - 1) * np.clip(np.minimum(at_s, DAY_S - at_s) / 3600, 0, 1))


@lru_cache(maxsize=4096)  # a few days of each machine of a large fleet
def _lagged_corners(schedule: Schedule, day: int, tau_s: float, what: str) -> tuple[Floats, Floats, Floats]:
    """Corners of yesterday and today, what is there, and the lag's answer there."""
    yesterday, today = schedule.day(day - 1), schedule.day(day)
    at_s = np.concatenate([yesterday.at_s[:-1] - DAY_S, today.at_s])
    value = np.concatenate([getattr(yesterday, what)[:-1], getattr(today, what)])
    lagged = np.empty(len(at_s))
    lagged[0] = value[0]
    for i, (span_s, slope) in enumerate(zip(np.diff(at_s), np.diff(value) / np.diff(at_s), strict=True)):
        fades = np.exp(-span_s / tau_s)
        lagged[i + 1] = value[i + 1] - slope * tau_s + (lagged[i] - value[i] + slope * tau_s) * fades
    return at_s, value, lagged


def _days(local_s: Floats) -> list[tuple[int, slice]]:
    """Which days ascending times lie in, and where in the array."""
    if not len(local_s):
        return []
    first, last = int(local_s[0] // DAY_S), int(local_s[-1] // DAY_S)
    edges = np.searchsorted(local_s, np.arange(first + 1, last + 1) * DAY_S)
    starts, ends = [0, *edges.tolist()], [*edges.tolist(), len(local_s)]
    return [(first + i, slice(a, b)) for i, (a, b) in enumerate(zip(starts, ends, strict=True)) if b > a]
