"""Figures as plain words: how sure, how long ago, how many, how large. Pure; used by the templates as filters.

1. Words never claim more than the figure: a p-value is told as the odds of such a window on a healthy machine.
2. What is not known is said as such ("not measured yet"), never shown as zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

NS_PER_S: Final = 1_000_000_000
UPTAKE: Final = {  # in order of urgency: what a device's state in a rollout is called, of one and of many
    "refused": "refused it",
    "offline": "not heard lately",
    "holding": "still holding it",
    "waiting": "yet to take it",
    "taken": "holding it",
    "returned": "back at what ran before",
    "ahead": "still to come",
}
STATE_WORDS: Final = {  # in order of urgency: what the state of an asset is called
    "alarm": "alarm",
    "silent": "silent",
    "commissioning": "learning",
    "not_judged": "not judged",
    "normal": "normal",
}
MAX_DECADES: Final = 6  # a p-value below 1e-6 rests on the fitted tail alone: it is not told apart further


@dataclass(frozen=True, slots=True)
class HowSure:
    """`decades`: 0..6, powers of ten that separate the window from an ordinary one; what the pips show.
    `odds`: of such a window on a healthy machine, "" where they are ordinary."""

    decades: int
    word: str
    odds: str


_WORDS: Final = (
    "as usual",
    "much as usual",
    "a little unusual",
    "unusual",
    "very unusual",
    "extremely unusual",
    "extremely unusual",
)


def how_sure(p_value: float | None) -> HowSure:
    """`p_value` in (0, 1] as a word and as odds: 0.001 is "1 in 1,000 when healthy"."""
    if p_value is None or not 0 <= p_value <= 1:
        return HowSure(0, "not judged at the moment", "")
    # 1e-12 takes away the rounding of log10(0.001) = -2.9999999999999996
    decades = MAX_DECADES if p_value <= 10**-MAX_DECADES else math.floor(-math.log10(p_value) + 1e-12)
    if decades < 2:  # one healthy window in ten is below 0.1: odds would only alarm people
        return HowSure(decades, _WORDS[decades], "")
    if p_value < 10**-MAX_DECADES:
        return HowSure(decades, _WORDS[decades], "< 1 in 1,000,000 when healthy")
    return HowSure(decades, _WORDS[decades], f"1 in {_two_digits(1 / p_value):,} when healthy")


def _two_digits(value: float) -> int:
    """`value` >= 1 rounded to two significant digits: more would pretend to a precision that nobody has."""
    step: int = 10 ** max(0, math.floor(math.log10(value)) - 1)
    return round(value / step) * step


def span(seconds: float) -> str:
    """A length of time with one unit: 42 s, 7 min, 3 h, 12 days. `live.js` says the same, so that pages agree with it."""
    seconds = max(0.0, seconds)
    for limit, divisor, unit in ((60, 1, "s"), (3600, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // divisor)} {unit}"
    return f"{int(seconds // 86400):,} days"


def exact(seconds: float) -> str:
    """A length of time that somebody chose, nothing rounded away: 10 s, 2 min, 90 s, 2 h."""
    for divisor, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * divisor and seconds % divisor == 0:
            return f"{seconds / divisor:g} {unit}"
    return f"{seconds:g} s"


def rate(hz: float) -> str:
    """How often something is sampled: 5 Hz; what comes less than once a second, as "one each 60 s"."""
    return f"{hz:g} Hz" if hz >= 1 else f"one each {exact(float(f'{1 / hz:.6g}'))}"


def unit(ascii_unit: str) -> str:
    """A profile's ASCII unit as people write it."""
    return {"degC": "°C", "m3/h": "m³/h", "m3": "m³"}.get(ascii_unit, ascii_unit)


def since(then_ns: int | None, now_ns: int) -> str:
    """How long `then_ns` is ago; a moment in the future (a device's clock ahead of the hub's) counts as now."""
    return "unknown" if then_ns is None else span((now_ns - then_ns) / NS_PER_S)


def iso(then_ns: int) -> str:
    """ISO 8601 in UTC, to the second; "" for a time that no calendar holds."""
    try:
        return datetime.fromtimestamp(then_ns / NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""


def day(number: int) -> str:
    """A day counted from 1970-01-01 as its date; "" for one that no calendar holds."""
    return iso(number * 86_400 * NS_PER_S)[:10]


def size(n_bytes: float | None) -> str:
    """Bytes in decimal units: 512 B, 24.1 kB, 3.0 MB."""
    if n_bytes is None:
        return "not measured yet"
    for limit, divisor, unit in ((1e3, 1.0, "B"), (1e6, 1e3, "kB"), (1e9, 1e6, "MB")):
        if n_bytes < limit:
            return f"{n_bytes / divisor:.0f} {unit}" if divisor == 1 else f"{n_bytes / divisor:.1f} {unit}"
    return f"{n_bytes / 1e9:.1f} GB"


def count(n: int, one: str, many: str = "") -> str:
    """`n` with its noun: "1 device", "1,200 devices"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """A share in 0..1: 0 %, 0.4 %, 62 %. Never "100 %" for a share that falls short of one, nor "0 %" for one above zero."""
    value = share * 100
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99.9 < value < 100:
        return "> 99.9 %"
    return f"{value:.1f} %" if 0.1 <= value < 9.95 or 99 <= value < 100 else f"{value:.0f} %"


_FAULTS: Final = {"rate": "wrong rate", "time": "clock", "link": "line"}


def fault_name(kind: str) -> str:
    """A kind of sensor fault as a heading: `time` is "clock"."""
    return _FAULTS.get(kind) or label(kind)


def label(key: str) -> str:
    """A key as a person would say it: `alarm_rate_ratio` is "alarm rate ratio"."""
    return key.replace("_", " ").strip()[:80]
