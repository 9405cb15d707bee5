"""From p-values to an alarm, with hysteresis. The one dial is the operator's: false alarms per asset and month.

Two roads lead to an alarm, and each is given half of the dial:

- Many windows. Evidence is collected by an e-detector of Shiryaev-Roberts type (Shin, Ramdas and Rinaldo, "E-detectors",
  2024): each window's p-value becomes a bet that pays off where the machine is not normal, and loses in the long run where
  it is.

      e(p) = 1/2 for p > P_SUSPICIOUS, else c / sqrt(p), with c such that e has mean 1 under a uniform p
      M    = (M + r) e(p)^r            r = hop / window, because windows that overlap do not bear witness twice

  While p-values are honest, the mean time until M passes B is at least B windows; so B is the windows in a month, divided
  by half the tolerated false alarms. A longer row of merely very unlikely windows gets there, while a row of slightly unlikely
  ones, which is what load changes look like, never does.
- One window, so unlikely that at this rate of windows it would come by chance less than half as often as false alarms are
  tolerated (the union bound, which overlapping windows cannot break). Where windows overlap much, this is the faster road.

Where the profile tells when the machine runs, an alarm that comes due while it may be stopping waits, and a rest ends what has
been collected: no row of windows goes on across it. An alarm that is on stays on until the machine runs again.

An alarm ends by p-values, or, where an asset's normal follows drift, by what it rests on (`Recovery`): other features may have
drifted meanwhile, and must not hold it open.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.contract.profile import Profile
from models.features.drift import HELD

P_SUSPICIOUS: Final = 1e-3
P_CALM: Final = 1e-2
_MONTH_S: Final = 30 * 24 * 3600.0
_HEDGE: Final = 0.5  # what a window that is not suspicious leaves of the evidence
_PAYOFF: Final = (1 - _HEDGE * (1 - P_SUSPICIOUS)) / (2 * math.sqrt(P_SUSPICIOUS))
_RECOVERED: Final = 0.1  # of the contributions that an alarm rests on
_ORDINARY: Final = 0.25  # a contribution of half a sigma: back at where it was
_UP, _DOWN = 0.1, 1 / 30  # how fast the size of an alarm is learned, a window


def windows_per_false_alarm(profile: Profile) -> float:
    """How many windows the operator wants between two false alarms of an asset."""
    return _MONTH_S / profile.windowing.window_s / profile.decision.false_alarms_per_month


class Recovery:
    """The features that an alarm rests on, and whether they have come back. `features`: (n_features,) mask."""

    def __init__(self, contributions: NDArray[np.float32]) -> None:
        present = np.nan_to_num(contributions)
        self.features = present >= HELD**2
        if not self.features.any():
            self.features[int(np.argmax(present))] = True
        self._size = float(present[self.features].sum())

    def update(self, contributions: NDArray[np.float32]) -> bool:
        """Take in the next window; whether what the alarm rests on is no more than a tenth of its usual size during it."""
        present = np.nan_to_num(contributions)
        self.features |= present >= HELD**2
        now = float(present[self.features].sum())
        self._size += (_UP if now > self._size else _DOWN) * (now - self._size)
        return now < max(_RECOVERED * self._size, _ORDINARY * int(self.features.sum()))


class Hysteresis:
    """Opens on either road once the last `open_windows` windows were all suspicious; closes after `close_windows` calm ones
    in a row: p > `P_CALM`, or recovered where normal follows drift. Windows without a verdict are not shown to it."""

    def __init__(self, profile: Profile) -> None:
        self.bound = windows_per_false_alarm(profile)
        self._p_alone = profile.decision.false_alarms_per_month / 2 * profile.windowing.hop / _MONTH_S
        self._overlap = min(1.0, profile.windowing.hop / profile.windowing.window_s)
        self._open_windows = profile.decision.open_windows
        self._close_windows = profile.decision.close_windows
        self._follows = profile.features.follow_s is not None
        self._recovery: Recovery | None = None
        self._run = 0
        self._alone = 0
        self.evidence = 0.0
        self.alarm = False

    @property
    def rests_on(self) -> NDArray[np.bool_] | None:
        """(n_features,) the features that the alarm rests on; None = no alarm, or not told."""
        return self._recovery.features if self._recovery else None

    def update(self, p: float, contributions: NDArray[np.float32] | None = None, stopping: bool = False) -> bool:
        """Take in the next window's p-value, in (0, 1], and (n_features,) contributions; whether the alarm is on after it.
        `stopping`: the machine may be about to stop."""
        if self.alarm:
            self._run = self._run + 1 if self._is_calm(p, contributions) else 0
            if self._run >= self._close_windows:
                self._turn(False)
            return self.alarm
        bet = _PAYOFF / math.sqrt(p) if p <= P_SUSPICIOUS else _HEDGE
        self.evidence = min((self.evidence + self._overlap) * bet**self._overlap, 1e12)
        self._run = self._run + 1 if p <= P_SUSPICIOUS else 0
        self._alone = self._alone + 1 if p <= self._p_alone else 0
        due = max(self._alone, self._run if self.evidence >= 2 * self.bound else 0) >= self._open_windows
        if due and not stopping:
            self._turn(True)
            self._recovery = Recovery(contributions) if self._follows and contributions is not None else None
        return self.alarm

    def _is_calm(self, p: float, contributions: NDArray[np.float32] | None) -> bool:
        if not self._follows or contributions is None:
            return p > P_CALM
        if self._recovery is None:
            self._recovery = Recovery(contributions)
            return False
        return self._recovery.update(contributions)

    def rest(self) -> None:
        """The machine is at rest: what was odd before may have been its stopping, and calm windows before say nothing now."""
        self._turn(self.alarm, self._recovery)

    def take_over(self) -> None:
        """Start in alarm: this detector takes over an alert that is open."""
        self._turn(True)

    def _turn(self, alarm: bool, recovery: Recovery | None = None) -> None:
        self.alarm = alarm
        self.evidence = 0.0
        self._run = self._alone = 0
        self._recovery = recovery
