"""Which plot suits an answer: bars by group, a line over time, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Literal, cast

from hub.ask.calendar import Unit, back, shifted

MAX_BARS: Final = 30
MAX_LINES: Final = 6
MAX_POINTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Plot:
    """`x`, `y`: columns. `series`: by name (one without, where there is no further column), of (x, y): texts for bars; Unix
    seconds in order for lines."""

    kind: Literal["bar", "line"]
    x: str
    y: str
    series: tuple[tuple[str, tuple[tuple[Any, float], ...]], ...]


def plot_of(columns: Sequence[str], rows: Sequence[Sequence[Any]], listed: bool) -> Plot | None:
    """None where a plot would say no more than the table. `listed`: rows are single events or things, not groups."""
    if listed or len(rows) < 2:
        return None
    numeric = [n for n in range(len(columns)) if _all(rows, n, (int, float))]
    times = [n for n in range(len(columns)) if _all(rows, n, (datetime, date))]
    if len(numeric) != 1:
        return None
    y = numeric[0]
    if times and times[0] == 0:
        return _lines(columns, rows, y)
    if _all(rows, 0, (str,)) and len({row[0] for row in rows}) == len(rows):
        bars = tuple((row[0], float(row[y])) for row in rows[:MAX_BARS])
        return Plot("bar", columns[0], columns[y], (("", bars),))
    return None


def _lines(columns: Sequence[str], rows: Sequence[Sequence[Any]], y: int) -> Plot | None:
    names = [n for n in range(1, len(columns)) if n != y and _all(rows, n, (str,))]
    series: dict[str, dict[Any, float]] = {}
    for row in rows[:MAX_POINTS]:
        series.setdefault(row[names[0]] if names else "", {})[row[0]] = float(row[y])
    if columns[y] == "n" and (steps := _steps(columns[0], [row[0] for row in rows[:MAX_POINTS]])):
        series = {name: {step: points.get(step, 0.0) for step in steps} for name, points in series.items()}  # none are none
    drawn = sorted(series.items(), key=lambda each: -sum(each[1].values()))[:MAX_LINES]
    lines = tuple((name, tuple(sorted((_seconds(x), value) for x, value in points.items()))) for name, points in drawn)
    return Plot("line", columns[0], columns[y], lines)


def _steps(column: str, moments: Sequence[Any]) -> list[datetime]:
    """Every hour, day, week or month from the first to the last; [] where the column is none of these, or they are many."""
    if column not in ("hour", "day", "week", "month") or not all(isinstance(moment, datetime) for moment in moments):
        return []
    unit = cast(Unit, column)
    found, last = [min(moments)], max(moments)
    while found[-1] < last and len(found) <= MAX_POINTS:
        found.append(back(found[-1], unit, -1) if unit == "hour" else shifted(found[-1], unit, 1))
    return found if len(found) <= MAX_POINTS else []


def _all(rows: Sequence[Sequence[Any]], n: int, kinds: tuple[type, ...]) -> bool:
    return all(isinstance(row[n], kinds) and not isinstance(row[n], bool) for row in rows)


def _seconds(value: Any) -> float:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001  # a bare date
    return moment.timestamp()
