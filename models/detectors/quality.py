"""Sensor faults, named before any detector sees the window: a sensor's fault is not the machine's fault.

What is looked for, per channel and window, and what is done about it:

    out_of_range   a value outside the channel's physical range, a sentinel, or infinite: the sample is taken out
    spike          up to three isolated samples that jump far beyond the channel's own steps and straight back: taken out
    stuck          no movement beyond the sensor's resolution for longer than it ever rests: the channel is blanked
    time           readings that come with times before earlier ones, or with one another's: blanked
    rate           evenly too few or too many readings: blanked
    missing        too little is left to fill the grid: the channel is blank already
    disagreement   redundant channels that do not say the same: blanked
    step, noise    a change in this channel alone: blanked where the channels that it usually follows contradict it

Invariants:
1. A NaN is an absent sample, by the contract of readings: it is no fault by itself, but what is absent may go missing.
2. A blanked channel is NaN: its features, and those that read it with others, are left out of the score.
3. A window with any finding, suspicions included, neither trains nor commissions a model nor teaches what is usual;
   `since_ns` tells from when on earlier windows were touched, too. While the machine is in alarm nothing is learned.
4. All that is remembered is bounded, and `memory` is what of it survives a restart.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.items import FaultKind
from models.contract.profile import Profile
from models.grid import Grid
from models.quality.changes import ChangeCheck
from models.quality.finding import Finding
from models.quality.redundancy import Group, GroupState
from models.quality.running import Phase, RunningCheck
from models.quality.samples import NOTHING_KEPT, Kept, SampleCheck
from models.quality.stuck import Stillness, machine_stands
from models.quality.timing import RareCheck, RateCheck, TimeCheck
from models.quality.usual import Shape, Usual, UsualState
from models.raw_window import RawWindow

_LESSONS_HELD: Final = 6  # a minute or more at the built-in profiles' windows: what develops is recognized meanwhile
_SKIPPED: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class CleanWindow:
    """`matrix`: (n_cells, n_channels) float64, blanked channels NaN. `judged`: the same without channels that are too rare for
    windows. `findings`: what was found, suspicions included. `samples`: by channel, what is left of its readings; none of a
    blanked one. `phase`: whether the machine ran during all of it. `rest_since_ns`: since when it is at rest; None = it runs
    at its end."""

    start_ns: int
    end_ns: int
    matrix: NDArray[np.float64]
    judged: NDArray[np.float64]
    findings: list[Finding]
    n_readings: int
    n_late: int
    channels: tuple[str, ...] = ()
    samples: Sequence[Kept] = ()
    phase: Phase = "running"
    rest_since_ns: int | None = None

    @property
    def ran(self) -> bool:
        """Whether it may be judged, as far as the machine's running goes."""
        return self.phase in ("running", "stopping")

    @property
    def faults(self) -> list[tuple[str, FaultKind]]:
        """(channel, kind) of what is to be told."""
        return [(finding.channel, finding.kind) for finding in self.findings if finding.told]

    @property
    def faulty(self) -> list[str]:
        """Channels that are at fault or under suspicion."""
        return sorted({name for f in self.findings for name in ((f.channel,) if f.channel else self.channels)})

    @property
    def since_ns(self) -> int:
        """Event time from which windows are touched by what was found."""
        return min((f.since_ns or self.start_ns for f in self.findings), default=self.start_ns)


class QualityMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What quality control has learned of an asset, by channel in the profile's order."""

    usual: UsualState
    expected: list[float]
    been: list[tuple[float, float] | None]
    rests: list[tuple[float, float, bool] | None]
    groups: list[GroupState] = []


class QualityControl:
    """Judges the windows of one asset, in order; remembers what is usual, what has not moved, and which were ever there."""

    def __init__(self, profile: Profile) -> None:
        self._channels = profile.channels
        self._names = tuple(profile.channel_names)
        self._grid = Grid(profile)
        self._rare = [RareCheck(profile.rate_of(c)) if profile.is_rare(c) else None for c in profile.channels]
        self._any_rare = any(check is not None for check in self._rare)
        self._expected = [not channel.optional for channel in profile.channels]
        self._samples = [SampleCheck(channel) for channel in profile.channels]
        self._stillness = [Stillness(channel) if channel.stuck_after_s else None for channel in profile.channels]
        self._judged_still = [still for still in self._stillness if still is not None]
        self._rate, self._time = RateCheck(profile), TimeCheck(profile)
        self._groups = [Group(plan, profile) for plan in profile.redundant]
        self._running = RunningCheck(profile.running)
        self._runs_by = self._names.index(profile.running.channel) if profile.running else 0
        self._usual = Usual(profile)
        self._changes = ChangeCheck(profile, self._usual)
        self._lessons: deque[tuple[RawWindow, NDArray[np.float64], Shape, list[Kept]]] = deque()
        self._studied_to_ns = 0
        self._window_ns = round(profile.windowing.window_s * NS_PER_S)

    def clean(self, window: RawWindow, healthy: bool = True) -> CleanWindow:
        """Find faults, take out or blank what they touch, align the rest. `healthy`: whether the machine is not in alarm."""
        findings, blank = self._time.check(window)
        for i, finding in self._rate.check(window).items():
            findings.append(finding)
            blank.append(i)
        kept = self._kept(window, findings)
        tells = kept[self._runs_by]
        self._running.see(tells.times, tells.values)
        blank += self._stuck(kept, findings)
        times, values = [k.times for k in kept], [k.values for k in kept]
        matrix, missing = self._grid.align(RawWindow(window.start_ns, window.end_ns, times, values, window.n_late))
        if blank:
            matrix[:, blank] = np.nan
        findings += [self._missing(i, len(values[i])) for i in missing if self._expected[i] and self._rare[i] is None]
        if self._any_rare:
            findings += self._overdue(window)
        self._expected = [expected or len(v) > 0 for expected, v in zip(self._expected, values, strict=True)]
        judged = self._without_rare(matrix) if self._any_rare else matrix
        shape = self._compare(judged, window.end_ns, healthy, findings, blank)
        if blank:
            matrix[:, blank] = np.nan
        usual_low = float(self._usual.low[self._runs_by]) if self._usual.known else math.nan
        phase = self._running.phase(window.start_ns, tells.values, findings, usual_low)
        if healthy and not findings and phase in ("running", "stopping"):  # a stop is forgotten before it is learned
            self._study(window, judged, shape, kept)
        else:
            self._lessons.clear()  # what has begun now may have begun before
        samples = [NOTHING_KEPT if i in blank else left for i, left in enumerate(kept)] if blank else kept
        return CleanWindow(
            window.start_ns, window.end_ns, matrix, judged, findings, window.n_readings, window.n_late, self._names, samples,
            phase, self._running.rest_since_ns,
        )  # fmt: skip

    def forget_times(self) -> None:
        """The asset's clock has jumped: what has begun, and since when, cannot be told across that."""
        for still in self._judged_still:
            still.forget_times()
        self._running.forget_times()
        self._rate.forget_times()
        self._changes.forget_times()
        for group in self._groups:
            group.forget_times()
        for rare in self._rare:
            if rare is not None:
                rare.forget_times()
        self._lessons.clear()
        self._studied_to_ns = 0

    def _kept(self, window: RawWindow, findings: list[Finding]) -> list[Kept]:
        """What is left of each channel's samples."""
        kept = []
        for i, check in enumerate(self._samples):
            left, found = check.clean(window.times[i], window.values[i])
            kept.append(left)
            findings += found
        return kept

    def _stuck(self, kept: list[Kept], findings: list[Finding]) -> list[int]:
        if self._running.at_rest:  # what does not move then tells nothing, and since when is counted from the start
            for judged in self._judged_still:
                judged.forget_times()
            return []
        for still, left, rare in zip(self._stillness, kept, self._rare, strict=True):
            if still is not None and (len(left.values) or rare is None):
                still.see(left.times, left.values)
        stuck = [i for i, still in enumerate(self._stillness) if still is not None and still.stuck]
        if not stuck or machine_stands(self._judged_still):
            return []
        findings += [still.finding() for i in stuck if (still := self._stillness[i]) is not None]
        return stuck

    def _missing(self, i: int, n: int) -> Finding:
        detail = "no reading that counts" if not n else f"{n} readings, too few or with too long a gap to fill the window"
        return Finding(self._channels[i].name, "missing", detail)

    def _without_rare(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """What windows can tell from: one reading says nothing of noise, jumps or how channels follow one another."""
        judged = matrix.copy()
        judged[:, [check is not None for check in self._rare]] = np.nan
        return judged

    def _overdue(self, window: RawWindow) -> list[Finding]:
        """Rare channels whose readings no longer come."""
        checks = zip(self._rare, self._channels, window.times, strict=True)
        found = [rare.check(channel, times, window) for rare, channel, times in checks if rare is not None]
        return [finding for finding in found if finding is not None]

    def _compare(
        self, matrix: NDArray[np.float64], end_ns: int, healthy: bool, findings: list[Finding], blank: list[int]
    ) -> Shape:  # fmt: skip
        """Compare the channels with one another and with what is usual; blanks in `matrix` what is contradicted."""
        if self._groups:
            mean = matrix.mean(axis=0)
            for group in self._groups:
                found, off = group.check(mean, end_ns)
                findings += found
                matrix[:, off] = np.nan
                blank += off
        shape, found, contradicted = self._changes.check(matrix, end_ns, healthy)
        findings += found
        if contradicted:
            matrix[:, contradicted] = np.nan
            blank += contradicted
        return shape

    def _study(self, window: RawWindow, matrix: NDArray[np.float64], shape: Shape, kept: list[Kept]) -> None:
        """Keep a good window as a lesson, and learn the one that a minute or more of good ones have followed.

        Windows that overlap teach once; when the first dozen have been learned, every fourth will do.
        """
        if window.start_ns < self._studied_to_ns <= window.end_ns + self._window_ns * _SKIPPED:
            return
        self._studied_to_ns = window.end_ns + (self._window_ns * _SKIPPED if self._usual.known else 0)
        self._lessons.append((window, matrix, shape, kept))
        if len(self._lessons) > _LESSONS_HELD:
            self._learn(*self._lessons.popleft())

    def _learn(self, window: RawWindow, matrix: NDArray[np.float64], shape: Shape, kept: list[Kept]) -> None:
        self._rate.learn(window)
        self._usual.learn(matrix, shape)
        for check, left, jump in zip(self._samples, kept, self._usual.jump.tolist(), strict=True):
            check.learn(left.low, left.high)
            check.usual_jump = jump
        for group in self._groups:
            group.learn(shape.mean)

    def memory(self) -> QualityMemory:
        """To keep over a restart."""
        return QualityMemory(
            usual=self._usual.state(),
            expected=[-1.0 if math.isnan(e) else e for e in self._rate.expected],
            been=[check.been for check in self._samples],
            rests=[(s.longest_rest_s, s.step, s.has_moved) if s else None for s in self._stillness],
            groups=[group.state() for group in self._groups],
        )

    def resume(self, memory: QualityMemory) -> None:
        """Go on from `memory`, where it is of as many channels; else begin anew."""
        if len(memory.been) != len(self._channels):
            return
        self._usual.resume(memory.usual)
        for i, expected in enumerate(memory.expected):
            if expected >= 0 and not self._channels[i].rate_hz:
                self._rate.expected[i] = expected
        for check, been, jump in zip(self._samples, memory.been, memory.usual.jump, strict=True):
            check.been, check.usual_jump = been, jump
        for still, rest in zip(self._stillness, memory.rests, strict=True):
            if still is not None and rest is not None:
                still.longest_rest_s, step, still.has_moved = rest
                still.step = still.step or step
        for group, state in zip(self._groups, memory.groups, strict=False):
            group.resume(state)
