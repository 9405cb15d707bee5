"""An answer's plot as shapes for the template: geometry in attributes, colours by class, so that no style is inline."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from hub.ask.phrasing import duration, value_text
from hub.ask.plotting import Plot
from hub.web.words import label

WIDTH: Final = 1000
HEIGHT: Final = 240


@dataclass(frozen=True, slots=True)
class Bar:
    """`share` of the largest, 0..1."""

    name: str
    text: str
    share: float


@dataclass(frozen=True, slots=True)
class Line:
    """`points` as an SVG polyline has them, in a box of WIDTH x HEIGHT."""

    name: str
    points: str


@dataclass(frozen=True, slots=True)
class Chart:
    """`low`, `high`: of the axis; `first`, `last`: its times. `words`: for whoever cannot see it."""

    kind: str
    words: str
    bars: tuple[Bar, ...] = ()
    lines: tuple[Line, ...] = ()
    low: str = ""
    high: str = ""
    first: str = ""
    last: str = ""


def chart_of(plot: Plot, zone: str) -> Chart:
    """The shapes, times in `zone`. An axis begins at zero unless values are below."""
    values = [y for _, points in plot.series for _, y in points]
    words = f"{label(plot.y)} by {label(plot.x)}"
    low, high = min(0.0, *values), max(values)
    reach = (high - low) or 1.0
    if plot.kind == "bar":
        bars = [Bar(str(name), _text(y, plot.y), max(0.0, y) / reach) for name, y in plot.series[0][1]]
        return Chart("bar", words, bars=tuple(bars))
    times = [x for _, points in plot.series for x, _ in points]
    first, last = min(times), max(times)
    length = (last - first) or 1.0
    lines = [
        Line(name, " ".join(f"{WIDTH * (x - first) / length:.1f},{HEIGHT * (1 - (y - low) / reach):.1f}" for x, y in points))
        for name, points in plot.series
    ]
    spelt = (_text(low, plot.y), _text(high, plot.y), _moment(first, zone), _moment(last, zone))
    return Chart("line", words, (), tuple(lines), *spelt)


def _text(value: float, column: str) -> str:
    if column.endswith("_s"):
        return duration(value)
    return value_text(int(value) if value == int(value) and abs(value) < 1e15 else value)


def _moment(at_s: float, zone: str) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"
