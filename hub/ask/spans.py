"""The span of time that a question is about: since X, between X and Y, in X, put together from what `times.py` reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hub.ask.calendar import UNITS, Interval, back
from hub.ask.numbers import number
from hub.ask.question import Language, Span
from hub.ask.text import Token
from hub.ask.times import Times, on_day

_PREPOSITIONS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "since": (
        ("since",), ("depuis",), ("starting",), ("a", "partir", "de"), ("a", "partir", "du"), ("as", "of"),
    ),
    "until": (("until",), ("till",), ("up", "to"), ("jusqu", "a"), ("jusqu", "au"), ("jusque",)),
    "before": (("before",), ("avant",), ("prior", "to")),
    "after": (("after",), ("apres",)),
    "in": (
        ("au", "cours"), ("in",), ("on",), ("during",), ("within",), ("over",), ("for",), ("at",), ("by",), ("en",), ("dans",),
        ("pendant",), ("durant",), ("sur",), ("a",), ("au",), ("pour",), ("le",),
    ),
}  # fmt: skip
_BETWEEN: Final = (
    ("between", "and"), ("entre", "et"), ("from", "to"), ("from", "until"), ("de", "a"), ("du", "au"), ("du", "a"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """A span over tokens `first`..`last` (exclusive); None = open at that end. `clock`: of times of day alone."""

    start: datetime | None
    end: datetime | None
    clock: bool
    first: int
    last: int


def find_span(tokens: Sequence[Token], now: datetime, language: Language, text: str) -> tuple[Span | None, set[int]]:
    """What span is asked about, and the tokens that say so: of two, what both hold; a time of day is on the day beside it."""
    readings = _readings(tokens, now, language)
    if not readings:
        return None, set()
    spans = _combined(readings)
    start = max((span.start for span in spans if span.start), default=None)
    end = min((span.end for span in spans if span.end), default=None)
    kept = readings
    if start is not None and end is not None and start >= end:  # they exclude each other: the first one is meant
        kept = readings[:1]
        start, end = kept[0].start, kept[0].end
    words = " ".join(text[tokens[each.first].start : tokens[each.last - 1].end] for each in kept)
    return Span(start, end, words), {i for each in kept for i in range(each.first, each.last)}


def _combined(readings: Sequence[Reading]) -> list[Reading]:
    days = [each for each in readings if not each.clock]
    clocks = [each for each in readings if each.clock]
    if not days or not clocks or days[0].start is None:
        return list(readings)
    day = Interval(days[0].start, days[0].end or days[0].start)
    moved = []
    for clock in clocks:
        start = on_day(Interval(clock.start, clock.start), day).start if clock.start else None
        end = on_day(Interval(clock.end, clock.end), day).start if clock.end else None
        moved.append(Reading(start, end, False, clock.first, clock.last))
    return [*days, *moved]


def _readings(tokens: Sequence[Token], now: datetime, language: Language) -> list[Reading]:
    times, found, i = Times(tokens, now, language), [], 0
    while i < len(tokens):
        reading = _reading(times, i, now)
        if reading is None:
            i += 1
            continue
        found.append(reading)
        i = reading.last
    return found


def _reading(times: Times, i: int, now: datetime) -> Reading | None:
    between = _between(times, i)
    if between is not None:
        return between
    for how, phrases in _PREPOSITIONS.items():
        n = _said(times, i, phrases)
        if not n:
            continue
        at = times.skip(i + n)
        if how == "since" and (reading := _since_then(times, i, at, now)) is not None:
            return reading
        if (found := times.interval(at, after_preposition=True)) is not None:
            return _bounded(how, found[0], i, found[1])
    at = times.skip(i) if times.interval(i) is None else i
    found = times.interval(at)
    return None if found is None else _whole(found[0], i, found[1])


def _said(times: Times, i: int, phrases: Sequence[tuple[str, ...]]) -> int:
    """How many tokens the longest of `phrases` that stands at `i` has; 0 where none does."""
    fitting = (len(p) for p in phrases if all(times.word(i + k) == word for k, word in enumerate(p)))
    return max(fitting, default=0)


def _whole(interval: Interval, first: int, last: int) -> Reading:
    """A point in time alone is the hour after it."""
    end = back(interval.end, "hour", -1) if interval.is_point else interval.end
    return Reading(interval.start, end, interval.clock, first, last)


def _since_then(times: Times, first: int, at: int, now: datetime) -> Reading | None:
    """Depuis 3 jours, for 3 days: a length of time that ends now."""
    count, unit = number(times.word(at)), UNITS.get(times.stem(at + 1)) or UNITS.get(times.word(at + 1))
    return Reading(back(now, unit, count), None, False, first, at + 2) if count is not None and unit is not None else None


def _bounded(how: str, interval: Interval, first: int, last: int) -> Reading:
    """The interval as seen from its preposition."""
    start = {"since": interval.start, "after": interval.end}.get(how)
    end = {"before": interval.start, "until": interval.end}.get(how)
    return _whole(interval, first, last) if how == "in" else Reading(start, end, interval.clock, first, last)


def _between(times: Times, i: int) -> Reading | None:
    """Between 8 and 10, entre mardi et jeudi, du 9 au 11 mars, from March 9 to March 11: both ends belong to it."""
    for opening, closing in _BETWEEN:
        if times.word(i) != opening:
            continue
        at = times.skip(i + 1)
        left = times.interval(at, after_preposition=True)
        figure = times.bare_number(at) if left is None else None
        middle = left[1] if left else at + 1
        if (left is None and figure is None) or times.word(middle) != closing:
            continue
        last = times.skip(middle + 1)
        right = times.interval(last, after_preposition=True)
        closed = _closed(times, left[0] if left else None, figure, right[0] if right else None, times.bare_number(last))
        if closed is not None:
            return Reading(closed.start, closed.end, closed.clock, i, right[1] if right else last + 1)
    return None


def _closed(
    times: Times, left: Interval | None, figure: int | None, right: Interval | None, right_figure: int | None
) -> Interval | None:
    """Both ends; a bare figure is an hour beside an hour or another figure, and a day of the month beside a date."""
    if right is None and right_figure is not None:
        right = times.clock_at(right_figure) if left is None or left.clock else None
    if right is None:
        return None
    if left is None and figure is not None:
        if right.clock:
            left = times.clock_at(figure)
        elif 1 <= figure <= right.start.day:
            left = Interval(right.start.replace(day=figure), right.start.replace(day=figure))
    if left is None or left.start >= right.end:
        return None
    return Interval(left.start, right.end, clock=left.clock and right.clock)
