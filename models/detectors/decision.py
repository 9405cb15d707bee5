"""From p-values to an alarm, with hysteresis. The one dial is the operator's: false alarms per asset and month."""

from __future__ import annotations

from typing import Final

from models.contract.profile import Profile

_MONTH_S: Final = 30 * 24 * 3600.0


def opening_p(profile: Profile) -> float:
    """The p-value at or below which a window is suspicious: the tolerated false alarms, spread over a month's windows.

    Successive windows resemble each other, so asking for several in a row is taken as protection from glitches, not as
    a licence to multiply probabilities.
    """
    return min(0.01, profile.decision.false_alarms_per_month * profile.windowing.hop / _MONTH_S)


class Hysteresis:
    """Opens after `open_windows` suspicious windows in a row, closes after `close_windows` calm ones in a row.

    Suspicious: p <= `p_open`. Calm: p > sqrt(p_open), well away from it. Between the two nothing changes, and a row of
    either kind is broken. Windows without a verdict are not shown to it.
    """

    def __init__(self, profile: Profile) -> None:
        self.p_open = opening_p(profile)
        self.p_close = self.p_open**0.5
        self._open_windows = profile.decision.open_windows
        self._close_windows = profile.decision.close_windows
        self._run = 0
        self.alarm = False

    def update(self, p: float) -> bool:
        """Take in the next window's p-value; whether the alarm is on after it."""
        turning = p > self.p_close if self.alarm else p <= self.p_open
        self._run = self._run + 1 if turning else 0
        if self._run >= (self._close_windows if self.alarm else self._open_windows):
            self.alarm = not self.alarm
            self._run = 0
        return self.alarm
