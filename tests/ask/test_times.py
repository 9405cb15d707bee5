"""Times in questions: what span is meant. It is Wednesday, 18 March 2026, 15:00 in Paris."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.ask.names import Names
from hub.ask.question import LANGUAGES, Language, Question, Span
from hub.ask.spans import find_span
from hub.ask.sql import to_sql
from hub.ask.text import tokens
from hub.ask.understand import understand

NOW = datetime(2026, 3, 18, 15, tzinfo=ZoneInfo("Europe/Paris"))


def span(text: str, language: Language, now: datetime = NOW) -> str:
    """From – to, by the clock on the wall; "" for none."""
    found, _ = find_span(tokens(text), now, language, text)
    if found is None:
        return ""
    return " – ".join(f"{moment:%m-%d %H:%M}" if moment else "…" for moment in (found.start, found.end))


@pytest.mark.parametrize(
    ("english", "french", "expected"),
    [
        ("today", "aujourd'hui", "03-18 00:00 – 03-19 00:00"),
        ("yesterday", "hier", "03-17 00:00 – 03-18 00:00"),
        ("the day before yesterday", "avant-hier", "03-16 00:00 – 03-17 00:00"),
        ("this morning", "ce matin", "03-18 06:00 – 03-18 12:00"),
        ("yesterday evening", "hier soir", "03-17 18:00 – 03-18 00:00"),
        ("last week", "la semaine dernière", "03-09 00:00 – 03-16 00:00"),
        ("this week", "cette semaine", "03-16 00:00 – 03-23 00:00"),
        ("last month", "le mois dernier", "02-01 00:00 – 03-01 00:00"),
        ("this month", "ce mois-ci", "03-01 00:00 – 04-01 00:00"),
        ("in the last 3 days", "ces 3 derniers jours", "03-15 15:00 – 03-18 15:00"),
        ("these last two hours", "ces deux dernières heures", "03-18 13:00 – 03-18 15:00"),
        ("for the past 10 minutes", "les 10 dernières minutes", "03-18 14:50 – 03-18 15:00"),
        ("3 days ago", "il y a 3 jours", "03-15 00:00 – 03-16 00:00"),
        ("since Tuesday", "depuis mardi", "03-17 00:00 – …"),
        ("since last Wednesday", "depuis mercredi dernier", "03-11 00:00 – …"),
        ("on Wednesday", "mercredi", "03-18 00:00 – 03-19 00:00"),
        ("since 3 hours ago", "depuis 3 heures", "03-18 12:00 – …"),
        ("in February", "en février", "02-01 00:00 – 03-01 00:00"),
        ("in December", "en décembre", "12-01 00:00 – 01-01 00:00"),
        ("before March 1st", "avant le 1er mars", "… – 03-01 00:00"),
        ("after March 10", "après le 10 mars", "03-11 00:00 – …"),
        ("until yesterday", "jusqu'à hier", "… – 03-18 00:00"),
        ("on March 14", "le 14 mars", "03-14 00:00 – 03-15 00:00"),
        ("on 14/03/2026", "le 14/03/2026", "03-14 00:00 – 03-15 00:00"),
        ("on 2026-03-04", "le 2026-03-04", "03-04 00:00 – 03-05 00:00"),
        ("on March 14 at 10:30", "le 14 mars à 10 h 30", "03-14 10:30 – 03-14 11:30"),
        ("from March 9 to March 11", "du 9 au 11 mars", "03-09 00:00 – 03-12 00:00"),
        ("between Monday and Tuesday", "entre lundi et mardi", "03-16 00:00 – 03-18 00:00"),
        ("yesterday between 8 and 10", "hier entre 8 h et 10 h", "03-17 08:00 – 03-17 10:00"),
        ("yesterday after 8 pm", "hier après 20 h", "03-17 20:00 – 03-18 00:00"),
        ("the last 3 alerts", "les 3 dernières alertes", ""),
        ("which pumps may fail", "quel temps fait-il", ""),
    ],
)
def test_a_time_is_what_people_mean(english: str, french: str, expected: str) -> None:
    assert (span(english, "en"), span(french, "fr")) == (expected, expected)


def test_of_two_spans_what_both_hold_and_the_first_where_they_exclude_each_other() -> None:
    assert span("last week since Thursday", "en") == "03-12 00:00 – 03-16 00:00"
    assert span("last week since Tuesday", "en") == "03-09 00:00 – 03-16 00:00"


def test_a_day_that_no_calendar_has_is_not_made_into_another(names: Names) -> None:
    understood = understand("alerts on February 30", names, int(NOW.timestamp()) * 10**9, "Europe/Paris")
    assert understood.unknown == ("30",)


def test_an_hour_ago_is_an_hour_over_the_change_of_clocks() -> None:
    """On 29 March 2026 clocks in Paris go from 2:00 to 3:00."""
    now = datetime(2026, 3, 29, 3, 30, tzinfo=ZoneInfo("Europe/Paris"))
    assert span("the last 2 hours", "en", now) == "03-29 00:30 – 03-29 03:30"
    assert span("yesterday", "en", now) == "03-28 00:00 – 03-29 00:00"


def test_a_time_that_comes_twice_is_told_by_its_offset() -> None:
    """On 25 October 2026 the hour from 2:00 comes twice in Paris."""
    twice = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris"))
    assert "'2026-10-25 02:30+0100'" in to_sql(Question("en", "alerts", span=Span(twice, None), time="opened"))
    once = datetime(2026, 10, 25, 4, tzinfo=ZoneInfo("Europe/Paris"))
    assert "'2026-10-25 04:00'" in to_sql(Question("en", "alerts", span=Span(once, None), time="opened"))


_SOME = (
    "since depuis last dernier week semaine 3 31 8h 10:30 march mars between entre and et du au le 14/03/2026 today hier ago "
    "il y a 0 99 2026 noon until the of monday 30 février 99999 25:61 1er to from at"
)
_WORDS = st.sampled_from(_SOME.split())


@given(words=st.lists(_WORDS, max_size=8), language=st.sampled_from(LANGUAGES))
@settings(max_examples=80, deadline=None)
def test_no_words_of_time_break_it(words: list[str], language: Language) -> None:
    text = " ".join(words)
    found, used = find_span(tokens(text), NOW, language, text)
    assert (found is None) == (not used)
    if found is not None and found.start is not None and found.end is not None:
        assert found.start <= found.end
