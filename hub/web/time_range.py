"""The stretch of time that a page looks at, as its address says it: `?span=24h`, or `?from=…&to=…`.

Times are ISO 8601 (UTC where they name no zone) or Unix seconds. What is no time, or no stretch of one, is as if it were not
there: an address that somebody mistyped shows the default, not an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from hub.web.words import NS_PER_S

SPANS_S: Final[Mapping[str, int]] = {"10min": 600, "1h": 3600, "24h": 86_400, "7d": 604_800}
MAX_S: Final = 31 * 86_400  # what is read of the lake for one picture
MIN_S: Final = 10


@dataclass(frozen=True, slots=True)
class TimeRange:
    """`[from_ns, to_ns]`, Unix ns. `follows`: the end is now, and where nothing is that new, the newest there is.
    `span`: the name of the stretch, "" for one between two times."""

    from_ns: int
    to_ns: int
    follows: bool
    span: str

    @property
    def length_ns(self) -> int:
        return self.to_ns - self.from_ns

    def ending(self, to_ns: int) -> TimeRange:
        """The same length with another end."""
        return TimeRange(to_ns - self.length_ns, to_ns, self.follows, self.span)

    def query(self) -> str:
        """As an address says it, without the question mark."""
        return f"span={self.span}" if self.follows else f"from={self.from_ns / NS_PER_S:.0f}&to={self.to_ns / NS_PER_S:.0f}"


def time_range(query: Mapping[str, str], now_ns: int, default: str = "1h") -> TimeRange:
    """What the address asks for, never longer than MAX_S; else the last `default`."""
    start, end = _unix_s(query.get("from", "")), _unix_s(query.get("to", ""))
    if start is not None:
        end = now_ns / NS_PER_S if end is None else end
        if end - start >= MIN_S:
            start = max(start, end - MAX_S)
            return TimeRange(round(start * NS_PER_S), round(end * NS_PER_S), False, "")
    span = query.get("span", default)
    span = span if span in SPANS_S else default
    return TimeRange(now_ns - SPANS_S[span] * NS_PER_S, now_ns, True, span)


def _unix_s(text: str) -> float | None:
    """Unix seconds within 1970..2200; None where the text is no such time."""
    try:
        value = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return value if math.isfinite(value) and 0 <= value <= 7_258_118_400 else None
