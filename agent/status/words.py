"""Figures as a person at the device reads them. Pure; shared by `status`, `top` and the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

MARKS: Final = {"normal": "●", "alarm": "▲", "commissioning": "◌", "silent": "○", "at rest": "◦", "starting": "◦"}
RESTS: Final = ("at rest", "starting")  # states of a machine that is well as far as one knows, and not judged
MAX_DECADES: Final = 6.0  # a p-value below one in a million rests on the fitted tail alone: it is not told apart further


def span(seconds: float) -> str:
    """A duration in its two largest units."""
    s = max(0, round(seconds))
    for size_s, unit, next_s, next_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if s >= size_s:
            return f"{s // size_s} {unit} {s % size_s // next_s} {next_unit}"
    return f"{s} s"


def age(seconds: float) -> str:
    """A duration in one unit, at most six characters up to 999 days."""
    s = max(0, round(seconds))
    for limit_s, size_s, unit in ((60, 1, "s"), (3600, 60, "min"), (48 * 3600, 3600, "h")):
        if s < limit_s:
            return f"{s // size_s} {unit}"
    return f"{s // 86400} d"


def size(n_bytes: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


def told_alert(alert: Mapping[str, Any]) -> str:
    """What an alert rests on: `vibration 64%, temperature 35%`, and the figures that it brings."""
    top = ", ".join(f"{channel} {share:.0%}" for channel, share in alert["top"])
    return "; ".join(filter(None, (top, alert.get("detail"))))


def open_alerts(asset: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Of an asset's status."""
    return asset.get("alerts") or ([asset["alert"]] if asset["alert"] else [])


def decades(p_value: float) -> float:
    """0..6: how many powers of ten separate the window from an ordinary one; what bars and curves show."""
    return MAX_DECADES if p_value <= 0 else min(MAX_DECADES, max(0.0, -math.log10(p_value)))


def unjudged(state: str, rest: str, learned: str) -> str:
    """In place of odds, where the machine is at rest or starting: `rest` says which. `learned`: how much, in words."""
    if state == "commissioning":
        return f"{learned}, {rest}"
    return "not judged" if state in RESTS else rest


def odds(p_value: float | None) -> str:
    """How many windows of a healthy machine are as odd: "as usual" where that is one in ten or more."""
    if p_value is None:
        return "not judged yet"
    if p_value > 0.1:
        return "as usual"
    if p_value < 10**-MAX_DECADES:
        return "1 in 1,000,000+"
    rounded = float(f"{1 / p_value:.2g}")  # more would pretend to a precision that nobody has
    return f"1 in {rounded:,.0f}"
