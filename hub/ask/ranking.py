"""What of the rows is wanted: whose they are, in which groups, which figure of them, in which order and how many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

from hub.ask.catalog import VIEWS, ViewName
from hub.ask.marks import Mark
from hub.ask.question import Aggregate, Bucket, Filter, Measure, Span
from hub.ask.reader import Reader
from hub.ask.roles import EVENTS, OWN, entity_column, measured_column

_KEY: Final = {"assets": "asset", "devices": "device", "models": "model", "rollouts": "model", "training_runs": "profile"}
_TOP: Final = 5  # where no number is said
_DAY_S: Final = 86_400
ADVERBS: Final = frozenset(
    [
        "hourly",
        "daily",
        "weekly",
        "monthly",
        "quotidien",
        "quotidiennes",
        "quotidienne",
        "horaire",
        "hebdomadaire",
        "mensuel",
        "mensuelle",
    ]
)
Order = tuple[str, bool] | None


def groups(reader: Reader, view: ViewName) -> tuple[tuple[str, ...], Bucket]:
    """What stands behind per, by, each, also after an and: columns, and a stretch of time."""
    columns: list[str] = []
    buckets: list[str] = []
    for per in [mark for mark in reader.marks if mark.value("ask") == "per"]:
        behind = reader.after(per)
        while behind is not None and _groups_by(view, behind, columns, buckets):
            reader.used.update((per, behind))
            following = reader.after(behind)
            behind = following if following is not None and following.first == behind.last + 1 else None
    for mark in reader.marks:  # daily alerts; on which day were most
        meant = mark.text.lower() in ADVERBS or reader.said("order", "most", "least")
        if mark.value("bucket") and VIEWS[view].time and mark not in reader.used and meant:
            reader.used.add(mark)
            buckets.append(mark.value("bucket"))
    bucket = buckets[0] if buckets and VIEWS[view].time else ""
    return tuple(dict.fromkeys(columns)), bucket if bucket in get_args(Bucket) else ""  # type: ignore[return-value]


def _groups_by(view: ViewName, mark: Mark, columns: list[str], buckets: list[str]) -> bool:
    """Whether a mark says what is grouped by, or ranked by; the first goes into one of the lists."""
    if column := _column(view, mark):
        columns.append(column)
    elif bucket := mark.value("bucket"):
        buckets.append(bucket)
    else:
        return mark.value("thing") in OWN[view] or bool(mark.value("measure")) or _counts(mark)
    return True


def _counts(mark: Mark) -> bool:
    return mark.value("ask") == "count"


def _column(view: ViewName, mark: Mark) -> str | None:
    """The column of a thing, or of a profile by whose name its assets are meant."""
    if thing := mark.value("thing"):
        return None if thing in OWN[view] else entity_column(view, thing)
    return entity_column(view, "asset") if any(name.kind == "profile" for name in mark.names) else None


def entity(reader: Reader, view: ViewName, grouped: bool) -> str:
    """Whose the rows are, where those are asked for and not the view's own rows: which pumps alarmed."""
    own = [mark for mark in reader.marks if mark.value("thing") in OWN[view]]
    heads = [mark for mark in reader.marks if mark not in reader.used and _column(view, mark)]
    if view not in EVENTS:
        reader.used.update(mark for mark in heads if mark.value("thing"))
    if grouped:
        asked = heads[0] if heads and not (own and own[0].first < heads[0].first) else None
        _pass_over(reader, heads, asked.value("thing") if asked else "")
        return (_column(view, asked) or "") if asked and view in EVENTS else ""
    if not heads:
        verb = view == "alerts" and reader.said("event", "alert") and not own and not reader.named("asset")
        return "asset" if verb else ""
    head = heads[0]
    column = _column(view, head) or ""
    _pass_over(reader, heads, head.value("thing"))
    compound = own and head.last == own[0].first and reader.parts.language == "en"  # pump alerts
    if own and (own[0].first < head.first or compound):
        return ""
    return column if view in EVENTS or (column != _KEY.get(view) and head.value("thing")) else ""


def _pass_over(reader: Reader, heads: Sequence[Mark], asked: str) -> None:
    """Things that are asked for, and those that only say what a name is (the Brest plant), are understood; others are not."""
    for mark in heads:
        thing = mark.value("thing")
        if thing and (thing == asked or reader.named(thing)):
            reader.used.add(mark)


def compared_names(reader: Reader, filters: Sequence[Filter]) -> tuple[str, ...]:
    """Two of a kind that are compared are groups."""
    several = [each.column for each in filters if each.operator == "=" and len(each.values) > 1 and not each.negated]
    return tuple(several[:1]) if several and (reader.take("ask", "compare") or reader.take("ask", "more")) else ()


def measure(reader: Reader, view: ViewName, whose: str) -> Measure | None:
    """The figure that is asked for; None for how many, and for rows."""
    said = [mark.value("aggregate") for mark in reader.marks if mark.value("aggregate")]
    column = measured_column(view, reader.said, reader.take)
    if view == "ledger" and reader.take("ask", "count", "much"):
        return Measure("sum", "n_missing")
    lasting = "duration_s" if "duration_s" in VIEWS[view].columns else ""
    if lasting and reader.take("ask", "how_long"):
        reader.take("aggregate", *said)
        return Measure(_aggregate(said, "sum"), lasting)
    if said and not reader.said("ask", "count") and (column or lasting):
        reader.take("aggregate", *said)
        return Measure(_aggregate(said, "avg"), column or lasting)
    if column and view in EVENTS and not whose:
        extreme = reader.take("order", "highest", "lowest")
        if extreme is not None:
            return Measure("max" if extreme.value("order") == "highest" else "min", column)
    if reader.said("ask", "trend") and view == "windows":
        return Measure("max", "score") if column == "score" else Measure("min", "p_value")
    return None


def _aggregate(said: Sequence[str], default: Aggregate) -> Aggregate:
    return said[0] if said and said[0] in get_args(Aggregate) else default  # type: ignore[return-value]


def bucket_for(span: Span | None) -> Bucket:
    """How finely a course is told: about as many points as a plot can bear."""
    if span is None or span.start is None:
        return "week"
    if span.end is None:
        return "day"
    length_s = (span.end - span.start).total_seconds()
    return "hour" if length_s <= 3 * _DAY_S else "day" if length_s <= 62 * _DAY_S else "week"


def order(reader: Reader, view: ViewName, whose: str, grouped: bool) -> tuple[Order, int]:
    """By what, falling or not, and how many; `n` is how many rows there are of each."""
    mark = next((mark for mark in reader.marks if mark.value("order") and mark not in reader.used), None)
    if mark is None:
        return None, 0
    said = mark.value("order")
    heads = [each for each in reader.marks if each.value("thing") or each.names]
    n = reader.number(mark, *heads)
    column = measured_column(view, reader.said)
    plural = any(each.text[-1:] in ("s", "x") for each in heads[:1]) and not reader.said("ask", "when")
    if said in ("last", "first"):
        time = _time(reader, view)
        chosen: Order = (time, said == "last") if time else None
        n = n or (0 if plural else 1)
    elif said in ("longest", "shortest"):
        chosen = ("duration_s", said == "longest") if "duration_s" in VIEWS[view].columns else None
        n = n or 1
    elif column and not grouped:
        chosen, n = (column, said not in ("lowest", "least", "shortest")), n or 1
    elif whose or grouped:
        chosen, n = ("n", said not in ("lowest", "least")), n or (_TOP if said == "top" or plural else 1)
    else:
        chosen = None
    if chosen is None:
        return None, 0
    reader.used.update(each for each in reader.marks if each.value("order"))
    return chosen, n


def _time(reader: Reader, view: ViewName) -> str:
    """The column of times that is meant."""
    for column in ("enrolled", "last_seen", "created", "ended", "started"):
        if column in VIEWS[view].columns and reader.take("time", column):
            return column
    return VIEWS[view].time or ("last_seen" if view == "devices" else "")
