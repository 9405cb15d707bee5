"""How odd an asset's last windows were, as a small curve: the newest at the right, the oddest at the top. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Final

from agent.page.html import Html, element
from agent.status.recent import HISTORY_WINDOWS
from agent.status.words import MAX_DECADES, decades, odds

_WIDTH: Final = 178.0
_HEIGHT: Final = 40.0
_MARGIN: Final = 3.0


@lru_cache(128)  # a page is drawn every other second, an asset's window closes every ten
def sparkline(p_values: tuple[float | None, ...]) -> Html:
    """`p_values`: of windows in order; a gap where one was not judged. Up is odd, with a line for each factor of 100."""
    judged = [p for p in p_values if p is not None]
    told = f"; now {odds(judged[-1])}, at most {odds(min(judged))}" if judged else "; none judged yet"
    grid = [element("line", x1=0, x2=_WIDTH, y1=_y(at), y2=_y(at), class_="grid") for at in (0.0, 2.0, 4.0, 6.0)]
    return element(
        "svg", *grid, *_curve(p_values[-HISTORY_WINDOWS:]), class_="spark", viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}", role="img",
        preserveAspectRatio="none",
        aria_label=f"how odd the last {len(p_values)} windows were{told}",
    )  # fmt: skip


def _curve(p_values: Sequence[float | None]) -> Iterator[Html]:
    first = HISTORY_WINDOWS - len(p_values)
    placed = [(_x(first + n), None if p is None else _y(decades(p))) for n, p in enumerate(p_values)]
    for is_judged, run in groupby(placed, key=lambda point: point[1] is not None):
        if is_judged:
            yield element("polyline", points=" ".join(f"{x:g},{y:g}" for x, y in run))
    if placed and placed[-1][1] is not None:  # a line of no length with round ends: a dot, however the picture is stretched
        yield element("path", d=f"M{placed[-1][0]:g} {placed[-1][1]:g}h0", class_="dot")


def _x(n: int) -> float:
    return round(_MARGIN + n * (_WIDTH - 2 * _MARGIN) / (HISTORY_WINDOWS - 1), 1)


def _y(height: float) -> float:
    return round(_HEIGHT - _MARGIN - height / MAX_DECADES * (_HEIGHT - 2 * _MARGIN), 1)
