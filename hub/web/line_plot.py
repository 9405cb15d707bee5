"""A small plot as numbers for an SVG: computed here, so that it is there without JavaScript and prints as it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 300
HEIGHT: Final = 90
MAX_POINTS: Final = 200


@dataclass(frozen=True, slots=True)
class Line:
    """`points`: as the attribute of a polyline, "x,y x,y". `kind`: its class. `last`: where it ends."""

    kind: str
    points: str
    last: tuple[float, float]


@dataclass(frozen=True, slots=True)
class LinePlot:
    """`top`: the value at the upper edge; 0 is the lower one. `band`: a polygon's points, "" = none. `words`: what it shows."""

    lines: tuple[Line, ...]
    band: str
    top: float
    first_x: float
    last_x: float
    words: str


def line_plot(
    x: Sequence[float],
    series: Sequence[tuple[str, Sequence[float]]],
    *,
    band: tuple[Sequence[float], Sequence[float]] | None = None,
    least_top: float = 0.0,
    most_top: float = float("inf"),
    words: str = "",
) -> LinePlot:
    """`series`: (class, a value for each x). `band`: lower and upper bound. Values above `most_top` are drawn at the edge.

    Of more than MAX_POINTS points, each so many are drawn, and the last.
    """
    keep = _thinned(len(x))
    xs = [x[i] for i in keep]
    highest = max((value for _, values in series for value in values), default=0.0)
    top = max(least_top, min(most_top, highest * 1.1)) or 1.0
    width = (xs[-1] - xs[0]) if xs and xs[-1] > xs[0] else 1.0

    def place(at: float, value: float) -> tuple[float, float]:
        return round((at - xs[0]) / width * WIDTH, 1), round(HEIGHT * (1 - min(max(value, 0.0), top) / top), 1)

    def run(values: Sequence[float]) -> list[tuple[float, float]]:
        return [place(at, values[i]) for at, i in zip(xs, keep, strict=True)]

    lines = []
    for kind, values in series:
        places = run(values)
        if len(places) == 1:
            places = [(0.0, places[0][1]), (float(WIDTH), places[0][1])]
        if places:
            lines.append(Line(kind, _attribute(places), places[-1]))
    edge = ""
    if band is not None and len(xs) > 1:
        edge = _attribute([*run(band[0]), *reversed(run(band[1]))])
    return LinePlot(tuple(lines), edge, top, xs[0] if xs else 0.0, xs[-1] if xs else 0.0, words)


def _thinned(n: int) -> list[int]:
    step = max(1, -(-n // MAX_POINTS))
    kept = list(range(0, n, step))
    return kept if not n or kept[-1] == n - 1 else [*kept, n - 1]


def _attribute(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)
