"""Line plots as geometry for inline SVG: what a model's evaluation is drawn from, worked out on the server.

Coordinates are in the picture's own units, WIDTH by HEIGHT, the plot within its margins. Classes and texts are the template's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hub.web.models.cards import numbers, part
from hub.web.words import percent

WIDTH: Final = 340
HEIGHT: Final = 250
LEFT, RIGHT, TOP, BOTTOM = 60, 18, 10, 36
NAMES: Final[Mapping[str, str]] = {
    "int8": "this model, int8",
    "champion": "the champion",
    "baseline": "baseline",
    "float": "float",
}
_LEAST: Final = 5e-4  # of an alarm rate: drawn no further


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """`kind`: int8, float, baseline or champion: how it is drawn. `points`: as an SVG polyline takes them. `dots`: (x, y)."""

    kind: str
    name: str
    points: str
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """`diagonal`: as points, "" = none. `summary`: what it shows, for those who do not see it."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    diagonal: str
    summary: str


def roc(curves: Mapping[str, Any], kind: str = "all") -> Picture | None:
    """Faults detected over false alarms, both in 0..1; false alarms on a root scale, for the rare ones are what matters."""
    shares = numbers(curves.get("false_alarm_share"))
    lines, at_1 = [], []
    for name in ("baseline", "float", "champion", "int8"):  # what is above is drawn last
        found = numbers(part(curves, "detected", name).get(kind), len(shares))
        if shares and found:
            lines.append(_line(name, [math.sqrt(_in_01(share)) for share in shares], [_in_01(each) for each in found]))
            at_1 += [
                f"{NAMES[name]} {percent(_in_01(each))}" for share, each in zip(shares, found, strict=True) if share == 0.01
            ]
    if not lines:
        return None
    x_ticks = tuple(Tick(_x(math.sqrt(share)), percent(share)) for share in (0.0, 0.01, 0.05, 0.2, 0.5, 1.0))
    y_ticks = tuple(Tick(_y(share), percent(share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    chance = [share / 20 for share in range(21)]
    diagonal = _points(chance, [share * share for share in chance])
    return Picture(tuple(lines), x_ticks, y_ticks, diagonal, f"At 1 % false alarms they detect: {', '.join(at_1)}")


def alarm_rates(curves: Mapping[str, Any]) -> Picture | None:
    """Of healthy windows that were held out: how many had a p-value as small as asked for; both axes logarithmic."""
    asked = numbers(part(curves, "alarm_rate").get("asked"))
    got = part(curves, "alarm_rate", "got")
    scale = _log(_LEAST, 1.0)
    lines = [
        _line(name, [scale(share) for share in asked], [scale(max(_LEAST, share)) for share in found])
        for name in ("champion", "int8")
        if asked and (found := numbers(got.get(name), len(asked)))
    ]
    if not lines:
        return None
    marks = (0.001, 0.01, 0.1, 1.0)
    x_ticks = tuple(Tick(_x(scale(mark)), percent(mark)) for mark in marks)
    y_ticks = tuple(Tick(_y(scale(mark)), percent(mark)) for mark in marks)
    told = [
        f"{NAMES[name]} {percent(got[name][asked.index(0.01)])}"
        for name in ("int8", "champion")
        if got.get(name) and 0.01 in asked
    ]
    summary = f"Healthy windows with p ≤ 0.01, where 1 % was asked for: {', '.join(told) or 'not told'}"
    return Picture(tuple(lines), x_ticks, y_ticks, _points([0, 1], [0, 1]), summary)


def quantization(curves: Mapping[str, Any]) -> Picture | None:
    """The int8 model's scores over the float model's, quantile by quantile, on a root scale."""
    by_float = numbers(part(curves, "quantiles").get("float"))
    by_int8 = numbers(part(curves, "quantiles").get("int8"), len(by_float))
    if not by_float or not by_int8:
        return None
    top = max(*by_float, *by_int8, 1e-9)
    x = [math.sqrt(max(0.0, value) / top) for value in by_float]
    y = [math.sqrt(max(0.0, value) / top) for value in by_int8]
    marks = [top * share for share in (0.0, 0.1, 0.4, 1.0)]
    x_ticks = tuple(Tick(_x(math.sqrt(mark / top)), f"{mark:.3g}") for mark in marks)
    y_ticks = tuple(Tick(_y(math.sqrt(mark / top)), f"{mark:.3g}") for mark in marks)
    apart = max(abs(a - b) for a, b in zip(by_float, by_int8, strict=True))
    summary = f"Quantiles of the scores by int8 over those by float: at most {apart:.3g} apart, of {top:.3g}"
    return Picture((_line("int8", x, y),), x_ticks, y_ticks, _points([0, 1], [0, 1]), summary)


def _line(kind: str, x: Sequence[float], y: Sequence[float]) -> Line:
    dots = tuple((round(_x(a), 1), round(_y(b), 1)) for a, b in zip(x, y, strict=True))
    return Line(kind, NAMES[kind], _points(x, y), dots)


def _points(x: Sequence[float], y: Sequence[float]) -> str:
    return " ".join(f"{_x(a):.1f},{_y(b):.1f}" for a, b in zip(x, y, strict=True))


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _log(low: float, high: float) -> Callable[[float], float]:
    return lambda value: (math.log(min(high, max(low, value))) - math.log(low)) / (math.log(high) - math.log(low))


def _in_01(value: float) -> float:
    return min(1.0, max(0.0, value))
