"""What has happened of late, for whoever looks at the device: rates, ages, the last scores. In memory alone, a few kB an asset.

Times are monotonic s: an age stays right when the clock is set. A lock of its own is held for moments only, so that a look
neither waits for the disk nor keeps the pipeline waiting.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from models.contract.items import Aggregate, Body

HISTORY_WINDOWS: Final = 90
_SPAN_S: Final = 10.0
_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Flow:
    """Of one source. `per_s`: readings over the last ten seconds; None while less than one second was watched. `age_s`: since
    the last reading, to a second; None = none yet."""

    per_s: float | None = None
    age_s: float | None = None


@dataclass(frozen=True, slots=True)
class LastWindows:
    """Of one asset. `age_s`: since its last window was told. `top`: that window's channels, the oddest first. `p_values`: of
    its last windows in order, two significant digits; None where a window was not judged."""

    age_s: float | None = None
    top: Sequence[str] = ()
    p_values: Sequence[float | None] = ()


@dataclass(slots=True)
class _Count:
    """A total that grows: its rate over the last ten seconds, and when it last grew."""

    samples: deque[tuple[float, float]] = field(default_factory=deque)
    grew_s: float | None = None

    def note(self, now_s: float, total: float) -> None:
        if total > (self.samples[-1][1] if self.samples else 0.0):
            self.grew_s = now_s
        self.samples.append((now_s, total))
        while len(self.samples) > 2 and now_s - self.samples[1][0] >= _SPAN_S:
            self.samples.popleft()

    @property
    def per_s(self) -> float | None:
        (from_s, before), (to_s, after) = self.samples[0], self.samples[-1]
        return (after - before) / (to_s - from_s) if to_s - from_s >= _EVERY_S else None


@dataclass(slots=True)
class _Asset:
    told_s: float
    top: Sequence[str]
    p_values: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY_WINDOWS))


class Recent:
    """`note` and `hear` from the pipeline's thread, the rest from any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted_s = -1e9
        self._cpu = _Count()
        self._sources: dict[str, _Count] = {}
        self._assets: dict[str, _Asset] = {}

    def due(self, now_s: float) -> bool:
        """Whether `note` would look: once a second."""
        return now_s - self._noted_s >= _EVERY_S

    def note(self, now_s: float, cpu_s: float, readings: Mapping[str, int]) -> None:
        """Totals since the start: of processor time, and of readings by source."""
        with self._lock:
            self._noted_s = now_s
            self._cpu.note(now_s, cpu_s)
            for name, total in readings.items():
                self._sources.setdefault(name, _Count()).note(now_s, total)

    def hear(self, now_s: float, bodies: Sequence[Body]) -> None:
        """What was just told; windows count."""
        with self._lock:
            for body in bodies:
                if isinstance(body, Aggregate):
                    asset = self._assets.setdefault(body.asset, _Asset(now_s, ()))
                    asset.told_s, asset.top = now_s, body.top
                    p_value = body.scores[0].p_value if body.scores else None
                    asset.p_values.append(None if p_value is None else float(f"{p_value:.2g}"))

    def cpu_share(self) -> float | None:
        """Of one core, over the last ten seconds."""
        with self._lock:
            return self._cpu.per_s if self._cpu.samples else None

    def flow(self, source: str, now_s: float) -> Flow:
        with self._lock:
            count = self._sources.get(source)
            if count is None:
                return Flow()
            return Flow(count.per_s, None if count.grew_s is None else max(0.0, now_s - count.grew_s))

    def windows(self, asset: str, now_s: float) -> LastWindows:
        with self._lock:
            known = self._assets.get(asset)
            if known is None:
                return LastWindows()
            return LastWindows(max(0.0, now_s - known.told_s), tuple(known.top), tuple(known.p_values))
