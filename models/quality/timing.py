"""Wrong rate, and clocks that go wrong: judged by the readings' own times.

`rate`: a channel's count in a window is at most 0.6 or at least 1.5 times what is expected, and its intervals are evenly long
or short: readings that are lost here and there are no wrong rate. It is told once it has lasted for three windows; what
is expected is `rate_hz` of the channel, else the median of the first windows, where those were steady. Fewer than four
readings a window are not judged.

`time`: readings that come with times before earlier ones of the same channel, or with the same time and another value
(one and the same reading twice is a redelivery, and no fault); or most of a channel's readings come after their window has
closed. Where that befalls most channels, it is the others' clock that is ahead; where it befalls all, it is the asset's.
A clock that leaps ahead with all of the asset's channels looks like a pause, and is not told.
"""

from __future__ import annotations

import math
import statistics
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.profile import Channel, Profile
from models.quality.finding import Finding
from models.raw_window import RawWindow

_TOO_FEW: Final = 0.6
_TOO_MANY: Final = 1.5
_TOLD_AFTER_WINDOWS: Final = 3
_MIN_EXPECTED: Final = 4
_LEARN_FROM: Final = 12
_STEADY: Final = 0.25
_EVEN: Final = 0.8  # this share of the intervals must be as long, or as short, as the count says
_MIN_DISORDERED: Final = 3
_DISORDERED_SHARE: Final = 0.05
_LATE_SHARE: Final = 0.5
_OVERDUE_PERIODS: Final = 3.0


class RateCheck:
    """Of one asset. `expected`: readings a window by channel; NaN = not known yet, 0 = not judged."""

    def __init__(self, profile: Profile) -> None:
        self._channels = profile.channels
        self._window_ns = round(profile.windowing.window_s * NS_PER_S)
        self.expected = [c.rate_hz * profile.windowing.window_s if c.rate_hz else np.nan for c in profile.channels]
        self._counts: list[list[int]] = [[] for _ in profile.channels]
        self._off_since: dict[int, int] = {}

    def check(self, window: RawWindow) -> dict[int, Finding]:
        """By channel, what is at a wrong rate in this window."""
        found: dict[int, Finding] = {}
        for i, expected in enumerate(self.expected):
            n = len(window.times[i])
            off = not _TOO_FEW * expected < n < _TOO_MANY * expected  # True where nothing is known to expect
            if off and n and expected >= _MIN_EXPECTED and self._evenly(window.times[i], expected, n):
                found[i] = self._finding(i, window, n)
            else:
                self._off_since.pop(i, None)
        return found

    def learn(self, window: RawWindow) -> None:
        """Take in a window without a fault; after the first dozen there is nothing more to learn."""
        for i, expected in enumerate(self.expected):
            if not math.isnan(expected):
                continue
            counts = self._counts[i]
            counts.append(len(window.times[i]))
            if len(counts) == _LEARN_FROM:
                usual = statistics.median(counts)
                unsteady = max(abs(n - usual) for n in counts[1:]) > _STEADY * usual
                self.expected[i] = 0.0 if unsteady else float(usual)

    def forget_times(self) -> None:
        """The asset's clock has jumped: since when a rate is off, nobody knows."""
        self._off_since.clear()

    def _evenly(self, times: NDArray[np.int64], expected: float, n: int) -> bool:
        usual_ns = self._window_ns / expected
        gaps = times[1:] - times[:-1]
        gaps = gaps[gaps > 0]
        if not len(gaps):
            return False
        off = gaps > usual_ns * 1.4 if n < expected else gaps < usual_ns / 1.4
        return bool(off.mean() >= _EVEN)

    def _finding(self, i: int, window: RawWindow, n: int) -> Finding:
        since_ns = self._off_since[i] = min(self._off_since.get(i, window.start_ns), window.start_ns)
        window_s = self._window_ns / NS_PER_S
        usual, now = self.expected[i] / window_s, n / window_s
        told = window.end_ns - since_ns >= _TOLD_AFTER_WINDOWS * self._window_ns
        declared = "its rate_hz" if self._channels[i].rate_hz else "usual"
        detail = f"{now:.3g} readings a second instead of {usual:.3g} ({declared})"
        return Finding(self._channels[i].name, "rate", detail, since_ns, told)


class RareCheck:
    """Of one channel that most windows have no reading of: it is missing once three in a row are overdue."""

    def __init__(self, rate_hz: float) -> None:
        self._late_ns = round(_OVERDUE_PERIODS * NS_PER_S / rate_hz)
        self._last_ns: int | None = None

    def check(self, channel: Channel, times: NDArray[np.int64], window: RawWindow) -> Finding | None:
        """What there is to say after a window; `times`: the channel's in it."""
        if len(times):
            self._last_ns = int(times[-1])
        if self._last_ns is None or window.end_ns - self._last_ns <= self._late_ns:
            return None
        return Finding(channel.name, "missing", f"no reading for {(window.end_ns - self._last_ns) / NS_PER_S:.0f} s")

    def forget_times(self) -> None:
        """The asset's clock has jumped: when it was last heard cannot be told across that."""
        self._last_ns = None


class TimeCheck:
    """Of one asset; it remembers nothing."""

    def __init__(self, profile: Profile) -> None:
        self._names = profile.channel_names

    def check(self, window: RawWindow) -> tuple[list[Finding], list[int]]:
        """(findings, channels whose readings in the window cannot be placed)."""
        disordered = self._disordered(window) | self._mostly_ahead(window)
        late = self._mostly_late(window)
        if not disordered and not late:
            return [], []
        there = [i for i, times in enumerate(window.times) if len(times)]
        findings = [Finding(self._names[i], "time", text) for i, text in disordered.items()]
        if disordered and set(disordered) >= set(there):
            findings = [Finding("", "time", next(iter(disordered.values())))]
        findings += self._tell_late(late, [i for i in there if i not in late], disordered)
        return findings, list(disordered)

    def _disordered(self, window: RawWindow) -> dict[int, str]:
        found: dict[int, str] = {}
        for i, n in enumerate(window.n_behind):
            if n >= max(_MIN_DISORDERED, _DISORDERED_SHARE * len(window.times[i])):
                found[i] = f"{n} of {len(window.times[i])} readings came with times before earlier ones"
        times = np.concatenate(window.times)
        if (times[1:] == times[:-1]).any():
            for i, channel_times in enumerate(window.times):
                n = _n_conflicting(channel_times, window.values[i])
                if i not in found and n >= max(_MIN_DISORDERED, _DISORDERED_SHARE * len(channel_times)):
                    found[i] = f"{n} of {len(channel_times)} readings have the time of another one"
        return found

    def _mostly_ahead(self, window: RawWindow) -> dict[int, str]:
        shares = {i: (n, n + len(window.times[i])) for i, n in enumerate(window.ahead) if n >= _MIN_DISORDERED}
        return {i: f"{n} readings came with times ahead of the other channels'" for i, (n, of) in shares.items()
                if n >= _LATE_SHARE * of}  # fmt: skip

    def _mostly_late(self, window: RawWindow) -> dict[int, int]:
        if not window.n_late:
            return {}
        shares = {i: (n, n + len(window.times[i])) for i, n in enumerate(window.late) if n >= _MIN_DISORDERED}
        return {i: n for i, (n, of) in shares.items() if n >= _LATE_SHARE * of}

    def _tell_late(self, late: dict[int, int], on_time: list[int], known: dict[int, str]) -> list[Finding]:
        if not late:
            return []
        if not on_time:
            if known:
                return []
            n = max(late.values())
            return [Finding("", "time", f"{n} readings a channel came with times before those that had come already")]
        if len(late) > len(on_time):
            text = f"its times are ahead of {len(late)} other channels'"
            return [Finding(self._names[i], "time", text) for i in on_time if i not in known]
        text = "{} readings came with times so far back that their windows had closed"
        return [Finding(self._names[i], "time", text.format(n)) for i, n in late.items() if i not in known]


def _n_conflicting(times: NDArray[np.int64], values: NDArray[np.float64]) -> int:
    """Readings with the time of their predecessor and another value."""
    return int(((times[1:] == times[:-1]) & (values[1:] != values[:-1])).sum())
