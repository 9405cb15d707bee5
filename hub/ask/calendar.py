"""Units of time, days and months in both languages, and where a day, week or month begins. Weeks begin on Monday."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

Unit = Literal["second", "minute", "hour", "day", "week", "month", "year"]

_UNIT_WORDS: Final[dict[Unit, str]] = {
    "second": "second sec s seconde",
    "minute": "minute min",
    "hour": "hour hr h heure",
    "day": "day d jour journee j",
    "week": "week semaine",
    "month": "month mois",
    "year": "year an annee",
}
UNITS: Final[dict[str, Unit]] = {word: unit for unit, words in _UNIT_WORDS.items() for word in words.split()}
SECONDS: Final[dict[Unit, int]] = {
    "second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800, "month": 2_592_000, "year": 31_536_000,
}  # fmt: skip
WEEKDAYS: Final = {
    word: index
    for index, words in enumerate(
        ("monday mon lundi", "tuesday tue mardi", "wednesday wed mercredi", "thursday thu jeudi", "friday fri vendredi",
         "saturday sat samedi", "sunday dimanche")
    )
    for word in words.split()
}  # fmt: skip
MONTHS: Final = {
    word: index
    for index, words in enumerate(
        ("january jan janvier", "february feb fevrier", "march mar mars", "april apr avril", "may mai", "june jun juin",
         "july jul juillet", "august aug aout", "september sep sept septembre", "october oct octobre",
         "november nov novembre", "december dec decembre"),
        start=1,
    )
    for word in words.split()
}  # fmt: skip
AMBIGUOUS: Final = frozenset({"may", "march", "mar", "mon", "sat", "sun", "sec", "s", "d", "j", "h", "an", "second"})


@dataclass(frozen=True, slots=True)
class Interval:
    """From `start` on and before `end`, wall times with a zone. `clock`: a time of day, whose date is nobody's word. A point in
    time has an `end` that is its `start`."""

    start: datetime
    end: datetime
    clock: bool = False

    @property
    def is_point(self) -> bool:
        return self.start == self.end


def begin_of(moment: datetime, unit: Unit) -> datetime:
    """Where the calendar's `unit` that `moment` is in begins."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "week":
        return day - timedelta(days=day.weekday())
    if unit == "month":
        return day.replace(day=1)
    if unit == "year":
        return day.replace(month=1, day=1)
    if unit == "hour":
        return moment.replace(minute=0, second=0, microsecond=0)
    return day


def shifted(begin: datetime, unit: Unit, n: int) -> datetime:
    """The begin of a unit, `n` units on (or back), by the calendar."""
    if unit == "month":
        months = begin.year * 12 + begin.month - 1 + n
        return begin.replace(year=months // 12, month=months % 12 + 1)
    if unit == "year":
        return begin.replace(year=begin.year + n)
    return begin + timedelta(seconds=n * SECONDS[unit])


def calendar(moment: datetime, unit: Unit, n: int = 0) -> Interval:
    """The calendar's `unit` that `moment` is in, or the one `n` units on."""
    begin = shifted(begin_of(moment, unit), unit, n)
    return Interval(begin, shifted(begin, unit, 1))


def back(moment: datetime, unit: Unit, n: float) -> datetime:
    """`n` units before `moment`, over changes of the clocks too; a month is 30 days here, a year 365."""
    return (moment.astimezone(UTC) - timedelta(seconds=n * SECONDS[unit])).astimezone(moment.tzinfo)


def latest_weekday(now: datetime, weekday: int, *, before_today: bool) -> Interval:
    """The latest such day: today counts unless `before_today`."""
    days = (now.weekday() - weekday) % 7 or (7 if before_today else 0)
    return calendar(now, "day", -days)


def latest_month(now: datetime, month: int, year: int | None = None) -> Interval:
    """That month of `year`, else the latest one that has begun."""
    chosen = year or (now.year if month <= now.month else now.year - 1)
    return calendar(begin_of(now, "month").replace(year=chosen, month=month), "month")
