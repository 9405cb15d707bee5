"""Times in a question: what span is meant, relative to now and in the asker's zone.

Calendar words (last week, hier, since Tuesday, en mars, ces 3 dernières heures) are a small grammar over tokens, for what they
mean is a span; written dates (March 14, le 1er mars 2026, 14/03/2026) are read by dateparser, which knows points. Days and
months without a year are the latest ones. A date written in figures has its day first, unless it is ISO 8601.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from hub.ask.calendar import (
    AMBIGUOUS,
    MONTHS,
    UNITS,
    WEEKDAYS,
    Interval,
    Unit,
    back,
    begin_of,
    calendar,
    latest_month,
    latest_weekday,
)
from hub.ask.numbers import number
from hub.ask.question import Language
from hub.ask.text import Token

_CLOCK: Final = re.compile(r"(\d{1,2})(?:(?::|h)(\d{2})?)?(am|pm|h)?\Z")
_DATE: Final = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\Z")
_DAY: Final = re.compile(r"(\d{1,2})(?:st|nd|rd|th|er|e)?\Z")
_LAST: Final = frozenset(
    ["last", "past", "previous", "preceding", "dernier", "derniere", "passe", "passee", "precedent", "precedente"]
)
_ROLLING: Final = frozenset({"past"})
_THIS: Final = frozenset(["this", "current", "these", "ce", "cet", "cette", "ces"])
_ARTICLES: Final = frozenset(
    ["debut", "the", "le", "la", "les", "l", "of", "de", "du", "des", "d", "day", "dates", "this", "these", "ces", "cette"]
)
_BEGINNINGS: Final = (("beginning", "of"), ("start", "of"))
_PARTS: Final = {
    "morning": (6, 12), "matin": (6, 12), "matinee": (6, 12), "afternoon": (12, 18), "apres-midi": (12, 18),
    "evening": (18, 24), "soir": (18, 24), "soiree": (18, 24),
}  # fmt: skip
Found = tuple[Interval, int]  # and up to which token, exclusive


class Times:
    """Reads intervals off tokens; `now` has the asker's zone."""

    def __init__(self, tokens: Sequence[Token], now: datetime, language: Language) -> None:
        self._tokens = tokens
        self._now = now
        self._language = language

    def word(self, i: int) -> str:
        return self._tokens[i].folded if 0 <= i < len(self._tokens) else ""

    def stem(self, i: int) -> str:
        return self._tokens[i].stem if 0 <= i < len(self._tokens) else ""

    def interval(self, i: int, *, after_preposition: bool = False) -> Found | None:
        """The interval whose words begin at token `i`, the longest there is."""
        readings: tuple[Callable[[int], Found | None], ...] = (
            self._date, self._relative_day, self._rolling, self._unit, self._ago, self._weekday, self._iso_clock,
        )  # fmt: skip
        found = [each for read in readings if (each := read(i)) is not None]
        if after_preposition or self.word(i) not in AMBIGUOUS:
            found += [each for read in (self._month, self._clock) if (each := read(i)) is not None]
        if after_preposition and (year := self._year(i)):
            found.append(year)
        return self._with_clock(*max(found, key=lambda each: each[1])) if found else None

    def bare_number(self, i: int) -> int | None:
        """A number that is a day or an hour only by what stands beside it: between 8 and 10."""
        found = _DAY.match(self.word(i))
        return int(found[1]) if found else None

    def clock_at(self, hour: int) -> Interval | None:
        if hour > 24:
            return None
        moment = begin_of(self._now, "day") + timedelta(hours=hour)
        return Interval(moment, moment, clock=True)

    def skip(self, i: int) -> int:
        """Over articles, and the beginning of, up to what they stand before."""
        while self._is_article(i) or (self.word(i), self.word(i + 1)) in _BEGINNINGS:
            i += 1
        return i

    def _is_article(self, i: int) -> bool:
        return self.word(i) in _ARTICLES and not (self.word(i) in _THIS and self.stem(i + 1) in UNITS)

    def _with_clock(self, interval: Interval, i: int) -> Found:
        """March 14 at 10:30, hier à 8 h: a time of day behind a day is a point in it."""
        if interval.clock or interval.is_point or interval.end - interval.start > timedelta(days=1, hours=2):
            return interval, i
        at = i + 1 if self.word(i) in ("at", "a", "vers") else i
        found = self._iso_clock(at) or self._clock(at)
        if found is None and at > i and (hour := self.bare_number(at)) is not None and (exact := self.clock_at(hour)):
            found = exact, at + 1
        return (on_day(found[0], interval), found[1]) if found else (interval, i)

    def _relative_day(self, i: int) -> Found | None:
        word, following = self.word(i), self.word(i + 1)
        if word in ("today", "aujourd_hui", "aujourd'hui"):
            return self._part(0, i + 1)
        if word in ("yesterday", "hier"):
            return self._part(-1, i + 1)
        if word == "avant-hier" or (word, following) == ("avant", "hier"):
            return calendar(self._now, "day", -2), i + 1 + (word == "avant")
        if (word, following, self.word(i + 2)) == ("day", "before", "yesterday"):
            return calendar(self._now, "day", -2), i + 3
        if word in _THIS and following in _PARTS:
            return self._part(0, i + 1)
        return None

    def _part(self, days: int, i: int) -> Found:
        """A day, or its morning, afternoon or evening where that is said."""
        day = calendar(self._now, "day", days)
        if self.word(i) not in _PARTS:
            return day, i
        first, last = _PARTS[self.word(i)]
        return Interval(day.start + timedelta(hours=first), day.start + timedelta(hours=last)), i + 1

    def _rolling(self, i: int) -> Found | None:
        """The last 3 hours, les 3 dernières heures, ces dernières 24 heures."""
        at, said, count = i, False, None
        for _ in range(4):
            if self.stem(at) in _LAST or self.word(at) in _LAST:
                said = True
            elif count is None and (n := number(self.word(at))) is not None:
                count = n
            else:
                break
            at += 1
        unit = UNITS.get(self.stem(at)) or UNITS.get(self.word(at))
        if count is not None and unit and (self.stem(at + 1) in _LAST):
            return Interval(back(self._now, unit, count), self._now), at + 2
        if not said or count is None or unit is None:
            return None
        return Interval(back(self._now, unit, count), self._now), at + 1

    def _unit(self, i: int) -> Found | None:
        """This week, last month, la semaine dernière, ce mois-ci, the past hour."""
        first, unit_after, unit_here = self.word(i), self._unit_at(i + 1), self._unit_at(i)
        if unit_after and (first in _LAST or first in _THIS):
            end = i + 2 + (self.word(i + 2) == "ci")
            if self.word(end) in _LAST:  # cette semaine passée
                return calendar(self._now, unit_after, -1), end + 1
            if first in _ROLLING or (first in _LAST and unit_after in ("hour", "minute")):
                return Interval(back(self._now, unit_after, 1), self._now), end
            return calendar(self._now, unit_after, 0 if first in _THIS else -1), end
        if unit_here and self.word(i + 1) in _LAST:
            if unit_here in ("hour", "minute"):
                return Interval(back(self._now, unit_here, 1), self._now), i + 2
            return calendar(self._now, unit_here, -1), i + 2
        return None

    def _unit_at(self, i: int) -> Unit | None:
        return UNITS.get(self.stem(i)) or UNITS.get(self.word(i))

    def _ago(self, i: int) -> Found | None:
        """3 days ago, il y a 2 heures."""
        french = (self.word(i), self.word(i + 1), self.word(i + 2)) == ("il", "y", "a")
        at = i + 3 if french else i
        count, unit = number(self.word(at)), self._unit_at(at + 1)
        if count is None or unit is None or not (french or self.word(at + 2) == "ago"):
            return None
        moment = back(self._now, unit, count)
        end = at + 2 if french else at + 3
        if unit in ("second", "minute", "hour"):
            return Interval(moment, moment), end
        return calendar(moment, unit if unit != "year" else "day"), end

    def _weekday(self, i: int) -> Found | None:
        at = i + (self.word(i) in _LAST or self.word(i) == "this")
        said = WEEKDAYS.get(self.word(at)) if self.word(at) not in AMBIGUOUS else None
        if said is None:
            return None
        before = self.word(i) in _LAST or self.word(at + 1) in _LAST
        return latest_weekday(self._now, said, before_today=before), at + 1 + (self.word(at + 1) in _LAST)

    def _month(self, i: int) -> Found | None:
        month = MONTHS.get(self.word(i))
        if month is None:
            return None
        year = self._year(i + 1)
        if year:
            return latest_month(self._now, month, year[0].start.year), year[1]
        if self.word(i + 1) in _LAST:
            return latest_month(self._now, month), i + 2
        return latest_month(self._now, month), i + 1

    def _year(self, i: int) -> Found | None:
        if not re.fullmatch(r"(19|20)\d\d", self.word(i)):
            return None
        return calendar(begin_of(self._now, "year").replace(year=int(self.word(i))), "year"), i + 1

    def _iso_clock(self, i: int) -> Found | None:
        return self._clock(i) if re.fullmatch(r"\d{1,2}(:\d{2}|h\d{0,2}|am|pm)", self.word(i)) else None

    def _clock(self, i: int) -> Found | None:
        """10:30, 8h, 8 h 30, 8am, 8 pm, noon, minuit."""
        named = {"noon": 12, "midi": 12, "midnight": 0, "minuit": 0}.get(self.word(i))
        if named is not None:
            return (exact, i + 1) if (exact := self.clock_at(named)) else None
        found = _CLOCK.match(self.word(i))
        if found is None:
            return None
        hour, minute, mark, end = int(found[1]), int(found[2] or 0), found[3] or "", i + 1
        if self.word(end) in ("h", "heure", "heures", "am", "pm") and not mark:
            mark, end = self.word(end), end + 1
            if mark == "h" and re.fullmatch(r"[0-5]\d", self.word(end)):
                minute, end = int(self.word(end)), end + 1
        elif not mark and ":" not in self.word(i) and "h" not in self.word(i):
            return None
        hour = hour % 12 + 12 * (mark == "pm") if mark in ("am", "pm") else hour
        exact = self.clock_at(hour)
        if exact is None or minute > 59:
            return None
        moment = exact.start + timedelta(minutes=minute)
        return Interval(moment, moment, clock=True), end

    def _date(self, i: int) -> Found | None:
        """A written date, of up to four tokens: March 14th 2026, 1er mars, 14/03/2026."""
        for n in (4, 3, 2, 1):
            words = [self.word(k) for k in range(i, i + n)]
            if all(words) and _is_date(words):
                day = _read_date(" ".join(words), self._now, self._language)
                if day is not None:
                    return day, i + n
        return None


def _is_date(words: Sequence[str]) -> bool:
    """Whether these look like one day: figures, or a day and a month's name, perhaps a year."""
    if len(words) == 1:
        return _DATE.match(words[0]) is not None
    kinds = sorted(_kind(word) for word in words if word not in ("of", "de", "the"))
    return kinds in (["day", "month"], ["day", "month", "year"]) and words[0] not in ("of", "de", "the")


def _kind(word: str) -> str:
    if word in MONTHS:
        return "month"
    if re.fullmatch(r"(19|20)\d\d", word):
        return "year"
    found = _DAY.match(word)
    return "day" if found and 1 <= int(found[1]) <= 31 else "other"


def _read_date(text: str, now: datetime, language: Language) -> Interval | None:
    import dateparser  # half a second to import: only for whoever writes a date

    text = re.sub(r"\b(\d{1,2})(?:er|e)\b", r"\1", text)
    order = "YMD" if re.match(r"\d{4}", text) else "DMY"
    settings = {
        "RELATIVE_BASE": now.replace(tzinfo=None),
        "PREFER_DATES_FROM": "past",
        "DATE_ORDER": order,
        "PARSERS": ["absolute-time"],
        "RETURN_AS_TIMEZONE_AWARE": False,
    }
    read = dateparser.parse(text, languages=[language], settings=settings)
    if read is None or not 1970 <= read.year < 2200:
        return None
    return calendar(begin_of(now, "day").replace(year=read.year, month=read.month, day=read.day), "day")


def on_day(clock: Interval, day: Interval) -> Interval:
    """A time of day, or a stretch of it, on the first day of `day`."""
    base = begin_of(clock.start, "day")
    start = begin_of(day.start, "day")
    return replace(clock, start=start + (clock.start - base), end=start + (clock.end - base), clock=False)
