"""From p-values to an alarm, with hysteresis. The one dial is the operator's: false alarms per asset and month.

Evidence is collected by an e-detector of Shiryaev-Roberts type (Shin, Ramdas and Rinaldo, "E-detectors", 2024): each
window's p-value becomes a bet that pays off where the machine is not normal, and loses in the long run where it is.

    e(p) = 1/2 for p > P_SUSPICIOUS, else c / sqrt(p), with c such that e has mean 1 under a uniform p
    M    = (M + r) e(p)^r            r = hop / window, because windows that overlap do not bear witness twice

While p-values are honest, the mean time until M passes B is at least B windows; so B is the windows in a month, divided
by the tolerated false alarms. One absurd window and a longer row of merely very unlikely ones both get there, while a row
of slightly unlikely ones, which is what load changes look like, never does.
"""

from __future__ import annotations

import math
from typing import Final

from models.contract.profile import Profile

P_SUSPICIOUS: Final = 1e-3
P_CALM: Final = 1e-2
_MONTH_S: Final = 30 * 24 * 3600.0
_HEDGE: Final = 0.5  # what a window that is not suspicious leaves of the evidence
_PAYOFF: Final = (1 - _HEDGE * (1 - P_SUSPICIOUS)) / (2 * math.sqrt(P_SUSPICIOUS))


def windows_per_false_alarm(profile: Profile) -> float:
    """How many windows the operator wants between two false alarms of an asset."""
    return _MONTH_S / profile.windowing.window_s / profile.decision.false_alarms_per_month


class Hysteresis:
    """Opens once the evidence suffices and the last `open_windows` windows were all suspicious; closes after
    `close_windows` calm ones in a row (p > `P_CALM`). Windows without a verdict are not shown to it."""

    def __init__(self, profile: Profile) -> None:
        self.bound = windows_per_false_alarm(profile)
        self._overlap = min(1.0, profile.windowing.hop / profile.windowing.window_s)
        self._open_windows = profile.decision.open_windows
        self._close_windows = profile.decision.close_windows
        self._run = 0
        self.evidence = 0.0
        self.alarm = False

    def update(self, p: float) -> bool:
        """Take in the next window's p-value, in (0, 1]; whether the alarm is on after it."""
        if self.alarm:
            self._run = self._run + 1 if p > P_CALM else 0
            if self._run >= self._close_windows:
                self._turn(False)
            return self.alarm
        bet = _PAYOFF / math.sqrt(p) if p <= P_SUSPICIOUS else _HEDGE
        self.evidence = min((self.evidence + self._overlap) * bet**self._overlap, 1e12)
        self._run = self._run + 1 if p <= P_SUSPICIOUS else 0
        if self._run >= self._open_windows and self.evidence >= self.bound:
            self._turn(True)
        return self.alarm

    def take_over(self) -> None:
        """Start in alarm: this detector takes over an alert that is open."""
        self._turn(True)

    def _turn(self, alarm: bool) -> None:
        self.alarm = alarm
        self.evidence = 0.0
        self._run = 0
