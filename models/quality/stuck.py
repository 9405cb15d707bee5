"""Stuck: no movement beyond the sensor's resolution, for longer than this channel ever rests by itself.

The rule, per channel with `stuck_after_s`, across windows:

1. Still is what stays within half the resolution of where it came to rest. Without a `resolution`, half of the smallest
   step that the channel was ever seen to make counts.
2. It is stuck after `stuck_after_s`. A coarse, slow channel, one whose rests end with a single step, is given four times
   the longest such rest; one that has never been seen to move, ten times `stuck_after_s`.
3. While the machine stands, nothing is stuck: it stands while two or more of the judged channels, and at least half of
   them, rest at zero or at their `min`. A lone channel at zero beside others that move is stuck.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.profile import Channel
from models.quality.finding import Finding, amount

_COARSE_RESTS: Final = 4
_NEVER_MOVED: Final = 10
_SINGLE_STEP: Final = 1.5
_ROUNDING: Final = 1e-9  # a difference below this share of the value is no step


class Stillness:
    """Of one channel with `stuck_after_s`. `longest_rest_s`, `step`, `has_moved`: what was learned, for a restart."""

    def __init__(self, channel: Channel) -> None:
        assert channel.stuck_after_s is not None
        self._channel = channel
        self._after_ns = channel.stuck_after_s * NS_PER_S
        self._still: tuple[float, int] | None = None  # where it came to rest, and when
        self.longest_rest_s = 0.0
        self.step = channel.resolution
        self.has_moved = False
        self._newest = 0.0
        self._rests_ns = 0

    @property
    def resting(self) -> bool:
        """Whether it has rested for `stuck_after_s`, be that usual or not."""
        return self._rests_ns >= self._after_ns

    @property
    def at_floor(self) -> bool:
        """Whether it rests at zero or at its lowest."""
        floor = self._channel.min
        return self.resting and (abs(self._newest) <= self.step or (floor is not None and self._newest <= floor + self.step))

    @property
    def stuck(self) -> bool:
        if not self.has_moved:
            return self._rests_ns >= _NEVER_MOVED * self._after_ns
        return self._rests_ns >= max(self._after_ns, _COARSE_RESTS * self.longest_rest_s * NS_PER_S)

    def see(self, times: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Take in a window's samples, in order."""
        if not len(values):
            self._rests_ns = 0
            return
        if not self._channel.resolution:
            self._learn_step(values)
        newest, tolerance = float(values[-1]), self.step / 2
        if self._still is not None and int(times[0]) < self._still[1]:
            self._still = None  # the clock was set back: nobody knows since when
        if self._still is not None:
            self._learn_rest(self._still, times, values, tolerance)
        since_ns = self._rest_begin(times, values, newest, tolerance)
        at = self._still[0] if self._still is not None and self._still[1] == since_ns else newest
        self._still = (at, since_ns)  # the value where it came to rest: creeping away from that is moving, too
        self._newest = newest
        self._rests_ns = int(times[-1]) - since_ns

    def forget_times(self) -> None:
        """The asset's clock has jumped: since when it rests, nobody knows."""
        self._still, self._rests_ns = None, 0

    def _rest_begin(self, times: NDArray[np.int64], values: NDArray[np.float64], newest: float, tolerance: float) -> int:
        if len(values) > 1 and abs(float(values[-2]) - newest) > tolerance:  # most channels, most of the time
            self.has_moved = True
            return int(times[-2])
        moved = np.flatnonzero(np.abs(values - newest) > tolerance)
        if len(moved):
            self.has_moved = True
            return int(times[moved[-1]])
        if self._still is not None and abs(self._still[0] - newest) <= tolerance:
            return self._still[1]
        self.has_moved = self.has_moved or self._still is not None
        return int(times[0])

    def _learn_rest(self, still: tuple[float, int], times: NDArray[np.int64], values: NDArray[np.float64], tol: float) -> None:
        """A rest that ends with a single step is how a coarse sensor follows something slow."""
        at, since_ns = still
        if int(times[0]) - since_ns < self._after_ns / _COARSE_RESTS:
            return
        left = np.flatnonzero(np.abs(values - at) > tol)
        if len(left) and abs(float(values[left[0]]) - at) <= _SINGLE_STEP * self.step:
            self.longest_rest_s = max(self.longest_rest_s, (int(times[left[0]]) - since_ns) / NS_PER_S)

    def _learn_step(self, values: NDArray[np.float64]) -> None:
        steps = np.abs(values[1:] - values[:-1])
        steps = steps[steps > _ROUNDING * float(np.abs(values).max())]
        if len(steps):
            smallest = float(steps.min())
            self.step = min(self.step, smallest) if self.step else smallest

    def finding(self) -> Finding:
        """What to tell of it while it is stuck."""
        unit = self._channel.unit
        step = f"resolution {amount(self.step, unit)}" if self._channel.resolution else f"usual step {amount(self.step, unit)}"
        if not self.step:
            step = "no step ever seen"
        since_ns = self._still[1] if self._still else 0
        return Finding(
            self._channel.name, "stuck", f"{amount(self._newest, unit)} for {self._rests_ns / NS_PER_S:.0f} s, {step}", since_ns
        )


def machine_stands(channels: Sequence[Stillness]) -> bool:
    """Whether so many of an asset's judged channels rest at their floor that the machine itself must be at rest."""
    at_floor = sum(channel.at_floor for channel in channels)
    return at_floor >= 2 and 2 * at_floor >= len(channels)
