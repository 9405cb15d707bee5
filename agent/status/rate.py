"""What a day takes of something that is counted: of the last day, or since the start while that is less. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

DAY_S: Final = 86_400.0
_EVERY_S: Final = 900.0
_AT_LEAST_S: Final = 300.0  # a start writes more than a day like any other: less would be no rate but noise


class DailyRate:
    """Told the total now and then, by a clock that does not jump; keeps a sample each quarter of an hour."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()  # (s, total), ascending; the first is at most a day and a bit old
        self._last = (0.0, 0.0)

    def note(self, now_s: float, total: float) -> None:
        if not self._samples or now_s - self._samples[-1][0] >= _EVERY_S:
            self._samples.append((now_s, total))
        while len(self._samples) > 1 and now_s - self._samples[1][0] >= DAY_S:
            self._samples.popleft()
        self._last = (now_s, total)

    @property
    def span_s(self) -> float:
        """Over how long it was measured."""
        return self._last[0] - self._samples[0][0] if self._samples else 0.0

    @property
    def per_day(self) -> float | None:
        """None while less than five minutes were measured."""
        if self.span_s < _AT_LEAST_S:
            return None
        return (self._last[1] - self._samples[0][1]) / self.span_s * DAY_S
