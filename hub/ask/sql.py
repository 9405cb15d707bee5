"""A question as one SELECT that people can read, and change.

Every value that comes from outside is a quoted literal. What is made here passes the gate like anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

from hub.ask.catalog import VIEWS
from hub.ask.question import Filter, Question, Span

MAX_LISTED: Final = 200
_KEYS: Final = {"asset": ("asset", "device", "site"), "device": ("device", "site")}  # an asset's name is unique on its device


def literal(value: str | float) -> str:
    """A value in SQL: text in quotes, which it cannot leave; numbers as they are."""
    if isinstance(value, str):
        return "'" + value.replace("\0", "").replace("'", "''") + "'"
    return str(int(value)) if value == int(value) else repr(float(value))


def to_sql(question: Question) -> str:
    """The query."""
    if question.never:
        return _never(question)
    if question.bucket or question.group or question.measure is not None:
        return _grouped(question)
    if question.count and not question.more_than:
        return _statement([f"{_how_many(question)} AS n"], question.view, _conditions(question))
    if question.entity:
        return _entities(question)
    return _rows(question)


def _statement(
    columns: Sequence[str],
    source: str,
    conditions: Sequence[str],
    *,
    grouped: bool = False,
    having: str = "",
    order: str = "",
    limit: int = 0,
) -> str:
    lines = [f"SELECT {', '.join(columns)}", f"FROM {source}"]
    lines += [("WHERE " if n == 0 else "  AND ") + condition for n, condition in enumerate(conditions)]
    lines += ["GROUP BY ALL"] * grouped
    lines += [f"HAVING {having}"] * bool(having)
    lines += [f"ORDER BY {order}"] * bool(order)
    lines += [f"LIMIT {limit}"] * bool(limit)
    return "\n".join(lines)


def _rows(question: Question) -> str:
    view = VIEWS[question.view]
    columns = list(view.shown)
    if question.order is not None and question.order[0] not in columns:
        columns.insert(3, question.order[0])
    columns += [each.column for each in question.filters if each.operator in ("<", "<=", ">", ">=")]
    columns += ["verdict"] * any(each.column == "verdict" for each in question.filters)
    columns = list(dict.fromkeys(columns))
    order = _direction(*question.order) + f", {view.shown[0]}" if question.order else view.order
    return _statement(columns, question.view, _conditions(question), order=order, limit=question.limit or MAX_LISTED)


def _how_many(question: Question) -> str:
    if not question.entity:
        return "count(*)"
    return "count(DISTINCT (asset, device))" if question.entity == "asset" else f"count(DISTINCT {question.entity})"


def _key(column: str) -> tuple[str, ...]:
    return _KEYS.get(column, (column,))


def _entities(question: Question) -> str:
    """Whose the rows are, with how many each has and when the latest was."""
    keys = _key(question.entity)
    time = VIEWS[question.view].time
    latest = [f"max({time}) AS {time}"] if time else []
    order = "n DESC"
    if question.order is not None:
        column, falling = question.order
        by = time if column == time else column
        aggregate = "max" if falling else "min"
        latest = [f"{aggregate}({by}) AS {by}"]
        order = _direction(by, falling)
    select = _statement(
        [*keys, "count(*) AS n", *latest],
        question.view,
        _conditions(question),
        grouped=True,
        having=_having(question),
        order=f"{order}, {keys[0]}",
        limit=question.limit or MAX_LISTED,
    )
    return select if not question.count else f"SELECT count(*) AS n\nFROM (\n{select}\n)"


def _grouped(question: Question) -> str:
    keys: list[str] = []
    if question.bucket:
        keys.append(f"date_trunc('{question.bucket}', {question.time}) AS {question.bucket}")
    keys += dict.fromkeys(key for column in question.group for key in _key(column))
    figure = _figure(question)
    name = question.measure.name if question.measure else "n"
    order = ", ".join(["n DESC" if not question.measure else f"{name} DESC", *question.group]) if keys else ""
    if question.bucket:
        order = ", ".join([question.bucket, *question.group])
    if question.order is not None and question.order[0] == "n":
        order = _direction(name, question.order[1]) + f", {(question.group or (question.bucket,))[0]}"
    conditions = _conditions(question)
    if "cause" in question.group and question.view == "alerts":
        conditions.append("cause IS NOT NULL")
    limit = (question.limit or 1000) if keys else 0
    columns = [*keys, f"{figure} AS {name}"]
    return _statement(
        columns, question.view, conditions, grouped=bool(keys), having=_having(question), order=order, limit=limit
    )


def _figure(question: Question) -> str:
    if question.measure is not None:
        return f"{question.measure.aggregate}({question.measure.column})"
    return _how_many(question)


def _having(question: Question) -> str:
    if question.more_than is None:
        return ""
    operator, number = question.more_than
    return f"count(*) {operator} {literal(number)}"


def _never(question: Question) -> str:
    """Entities without such rows."""
    source = "assets" if question.entity in ("asset", "profile") else "devices"
    columns = {"assets": ("asset", "device", "site", "profile"), "devices": ("device", "site")}[source]
    if question.entity in ("site", "profile"):
        columns = (f"DISTINCT {question.entity}",)
    of_entity = {"assets": ("site", "device", "asset", "profile"), "devices": ("site", "device")}[source]
    about = [each for each in question.filters if each.column in of_entity]
    rows = [each for each in question.filters if each.column not in of_entity]
    joined = [
        f"{question.view}.{key} = {source}.{key}"
        for key in _key(question.entity)[:2]
        if key != "site" or question.entity == "site"
    ]
    inner = " AND ".join([*joined, *map(_condition, rows), *_span(question.time, question.span, question.view)])
    conditions = [*map(_condition, about), f"NOT EXISTS (SELECT 1 FROM {question.view} WHERE {inner})"]  # noqa: S608  # literals are quoted
    if question.count:
        what = "count(*)" if not columns[0].startswith("DISTINCT") else f"count({columns[0]})"
        return _statement([f"{what} AS n"], source, conditions)
    return _statement(columns, source, conditions, order=", ".join(columns).replace("DISTINCT ", ""), limit=MAX_LISTED)


def _conditions(question: Question) -> list[str]:
    return [*map(_condition, question.filters), *_span(question.time, question.span, question.view)]


def _condition(each: Filter) -> str:
    positive = _positive(each)
    if not each.negated:
        return positive
    return (
        f"{each.column} != {literal(each.values[0])}" if each.operator == "=" and len(each.values) == 1 else f"NOT ({positive})"
    )


_TESTS: Final = {"true": "{}", "false": "NOT {}", "null": "{} IS NULL", "not null": "{} IS NOT NULL"}


def _positive(each: Filter) -> str:
    column, values = each.column, [literal(value) for value in each.values]
    if each.operator in _TESTS:
        return _TESTS[each.operator].format(column)
    if each.operator == "has":
        contains = [f"list_contains({column}, {value})" for value in values]
        return contains[0] if len(contains) == 1 else f"({' OR '.join(contains)})"
    if each.operator == "=" and len(values) > 1:
        return f"{column} IN ({', '.join(values)})"
    return f"{column} {each.operator} {values[0]}"


def _span(time: str, span: Span | None, view: str) -> list[str]:
    """Conditions on a time; of windows on their day too, so that files of other days stay closed."""
    if span is None or not time:
        return []
    found = []
    if span.start is not None:
        found.append(f"{time} >= {_moment(span.start)}")
    if span.end is not None:
        found.append(f"{time} < {_moment(span.end)}")
    if view == "windows":
        found += [f"day >= DATE '{_utc_day(span.start)}'"] * (span.start is not None)
        found += [f"day <= DATE '{_utc_day(span.end - timedelta(microseconds=1))}'" for _ in [0] if span.end is not None]
    return found


def _moment(moment: datetime) -> str:
    """In the asker's zone, which the query is run in; where the clocks are set back, with its offset."""
    text = f"{moment:%Y-%m-%d %H:%M}" + (f"{moment:%S}" and f":{moment:%S}" if moment.second else "")
    ambiguous = moment.replace(fold=0).utcoffset() != moment.replace(fold=1).utcoffset()
    return f"TIMESTAMPTZ '{text}{moment:%z}'" if ambiguous else f"TIMESTAMPTZ '{text}'"


def _utc_day(moment: datetime | None) -> date:
    assert moment is not None
    return moment.astimezone(UTC).date()


def _direction(column: str, falling: bool) -> str:
    return f"{column} DESC" if falling else column
