"""Which rows are meant: names, states, versions and comparisons as filters."""

from __future__ import annotations

from hub.ask.catalog import VIEWS, ViewName
from hub.ask.question import Filter, Operator
from hub.ask.reader import Reader
from hub.ask.roles import column_of, filter_of, measured_column


def conditions(reader: Reader, view: ViewName) -> list[Filter]:
    """All but comparisons."""
    found = [*_names(reader, view), *_values(reader, view), *_implied(reader, view)]
    return list(dict.fromkeys(found))


def comparisons(reader: Reader, view: ViewName, grouped: bool) -> tuple[list[Filter], tuple[Operator, float] | None]:
    """Comparisons with numbers: of a column, or, of groups, of how many rows each has."""
    found: list[Filter] = []
    more_than: tuple[Operator, float] | None = None
    for each in reader.parts.comparisons:
        if each.is_time:
            column = "duration_s" if "duration_s" in VIEWS[view].columns else None
        else:
            column = measured_column(view, reader.said) or ("n_missing" if view == "ledger" else "")
        if column:
            found.append(Filter(column, each.operator, (each.number,)))
        elif column == "" and grouped:
            more_than = (each.operator, each.number)
        else:
            continue
        reader.compared.add(each)
    return found, more_than


def _names(reader: Reader, view: ViewName) -> list[Filter]:
    """Several names of a kind are alternatives."""
    found: dict[tuple[str, bool, bool], list[str]] = {}
    for mark in reader.marks:
        fitting = [(name, place) for name in mark.names if (place := column_of(view, name.kind))]
        if not fitting or (mark.meanings and mark in reader.used):
            continue
        kind, (column, is_list) = fitting[0][0].kind, fitting[0][1]
        values = found.setdefault((column, is_list, reader.negation(mark)), [])
        values += [name.value for name, _ in fitting if name.kind == kind and name.value not in values]
        reader.used.add(mark)
    return [
        Filter(column, "has" if is_list else "=", tuple(values), negated)
        for (column, is_list, negated), values in found.items()
    ]


def _values(reader: Reader, view: ViewName) -> list[Filter]:
    """States and kinds; now only where no time is said."""
    found: list[Filter] = []
    for mark in reader.marks:
        said = mark.values("value")
        if not said or mark in reader.used:
            continue
        if "alarm" in said and reader.said("ask", "how_long"):  # how long it was in alarm: of all of them
            reader.used.add(mark)
            continue
        if "now" in said and reader.parts.span is not None:
            continue
        condition = next((fitting for value in said if (fitting := filter_of(view, value))), None)
        if condition is not None:
            reader.used.add(mark)
            negated = reader.negation(mark)
            found.append(Filter(condition.column, condition.operator, condition.values, negated))
    return _joined(found)


def _joined(filters: list[Filter]) -> list[Filter]:
    """Two states of one column are alternatives."""
    found: dict[tuple[str, Operator, bool], Filter] = {}
    for each in filters:
        key = (each.column, each.operator, each.negated)
        known = found.get(key)
        values = tuple(dict.fromkeys((*(known.values if known else ()), *each.values)))
        found[key] = Filter(each.column, each.operator, values, each.negated)
    return list(found.values())


def _implied(reader: Reader, view: ViewName) -> list[Filter]:
    """What goes without saying: what is wrong is what is open; what is missing, where something is."""
    found: list[Filter] = []
    if view == "alerts" and reader.said("event", "trouble") and reader.parts.span is None:
        found.append(Filter("is_open", "true"))
    if view == "ledger" and reader.take("thing", "missing"):
        found.append(Filter("n_missing", ">", (0,)))
    if view == "devices" and reader.parts.versions:
        reader.take("measure", "version")
        found.append(Filter("agent_version", "=", reader.parts.versions))
    ranked = reader.said("order", "highest", "lowest", "most", "least")
    if view == "devices" and not reader.parts.comparisons and not ranked and reader.take("measure", "backlog"):
        found.append(Filter("backlog_items", ">", (0,)))
    if view == "assets" and reader.take("thing", "model"):
        found.append(Filter("model", "not null"))
    return found
