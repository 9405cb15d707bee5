"""What was marked becomes a question: which view, which of its rows, and what of them.

Nothing is dropped silently: what was made use of is given back, and whoever calls tells the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hub.ask.catalog import VIEWS, ViewName
from hub.ask.comparisons import Comparison
from hub.ask.conditions import comparisons, conditions
from hub.ask.marks import Mark
from hub.ask.question import Question, Span
from hub.ask.ranking import bucket_for, compared_names, entity, groups, measure, order
from hub.ask.reader import Parts, Reader
from hub.ask.roles import EVENTS, OWN, PLACES, view_of

# May add nothing without having been misunderstood: more beside a comparison, now where it is about the present anyway.
_HARMLESS: Final = (
    ("ask", "compare"),
    ("ask", "more"),
    ("ask", "when"),
    ("ask", "why"),
    ("ask", "much"),
    ("value", "now"),
    ("order", "top"),
)


@dataclass(frozen=True, slots=True)
class Composed:
    """`question` None: nothing to go by. `used`, `compared`: what it was made of."""

    question: Question | None
    used: frozenset[Mark]
    compared: frozenset[Comparison]


def compose(parts: Parts) -> Composed:
    """The question, as far as the parts go."""
    reader = Reader(parts)
    values = {value for mark in parts.marks for value in mark.values("value")}
    named = {name.kind for mark in parts.marks for name in mark.names}
    ranked = reader.said("order", "most", "least", "longest", "shortest", "top")
    view = view_of(reader.said, values, named, parts.span is not None, ranked)
    if view is None:
        return Composed(None, frozenset(), frozenset())
    question = _question(reader, view)
    for kind, value in _HARMLESS:
        reader.take(kind, value)
    return Composed(question, frozenset(reader.used), frozenset(reader.compared))


def _question(reader: Reader, view: ViewName) -> Question:
    group, bucket = groups(reader, view)
    whose = entity(reader, view, bool(group or bucket))
    if group and whose and not reader.said("ask", "count"):  # which pumps alarmed on each site: both
        group, whose = tuple(dict.fromkeys((*group, whose))), ""
    reader.take("thing", *OWN[view])
    reader.take("event", "alert", "trouble", "happened")
    never = whose in PLACES and view in EVENTS and (reader.take("ask", "never") is not None or reader.negated_event(*OWN[view]))
    filters = conditions(reader, view)
    group = group or compared_names(reader, filters)
    figure = measure(reader, view, whose)
    compared, more_than = comparisons(reader, view, bool(whose or group))
    count = reader.take("ask", "count") is not None and figure is None
    if reader.take("ask", "trend") and not bucket and VIEWS[view].time:
        bucket = bucket_for(reader.parts.span)
    by, limit = (None, 0) if never else order(reader, view, whose, bool(group or bucket))
    if whose and not group and by is not None and by[0] == "n":
        group, whose = (whose,), ""
    if count:
        reader.take("aggregate", "sum")
    span = _unseen_since(reader, reader.parts.span)
    time = _time_of(reader, view)
    return Question(
        reader.parts.language, view, whose, count, (*filters, *compared), span if time else None, group, bucket, figure,
        more_than, never, by, limit, time,
    )  # fmt: skip


def _unseen_since(reader: Reader, span: Span | None) -> Span | None:
    """Not seen since yesterday: last seen before."""
    if span is None or span.start is None or not reader.said("time", "last_seen"):
        return span
    seen = next(mark for mark in reader.marks if mark.value("time") == "last_seen")
    return Span(None, span.start, span.words) if reader.negation(seen) else span


def _time_of(reader: Reader, view: ViewName) -> str:
    """Which of a view's times a span is about: the one that was said, else its own."""
    for column in ("enrolled", "last_seen", "created", "ended", "started", "since"):
        if column in VIEWS[view].columns and reader.take("time", column):
            return column
    return VIEWS[view].time or ("last_seen" if view == "devices" and reader.parts.span else "")
