"""What may be run: exactly one SELECT, over the views that are stated, with functions that are stated.

Everything passes it, whoever wrote it: the grammar, a person who edits, a model behind the endpoint.

1. DuckDB's own parser says what a text is, never a pattern of ours: what is checked is what will run.
2. Only what is listed passes: kinds of nodes, tables and functions. What a later DuckDB adds is refused until it is listed.
3. It decides without running anything, and needs no data. `engine.py` adds the second wall: no files, no network, no settings,
   bounded memory, time and rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any, Final

import duckdb
import msgspec

from hub.lake.query import QueryError

MAX_SQL: Final = 8000  # characters
_QUERIES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE"})  # recursion is not among them
_TABLES: Final = frozenset({"BASE_TABLE", "JOIN", "SUBQUERY", "EMPTY", "EMPTY_FROM", "EXPRESSION_LIST", "TABLE_FUNCTION"})
_TABLE_FUNCTIONS: Final = frozenset({"unnest", "range", "generate_series"})
_EXPRESSION_WORDS: Final = (
    "BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA OPERATOR POSITIONAL_REFERENCE STAR "
    "SUBQUERY TYPE WINDOW"
)
_EXPRESSIONS: Final = frozenset(_EXPRESSION_WORDS.split())
_FUNCTION_WORDS: Final = """
    + - * / // % ^ ** || ~~ !~~ ~~* !~~* ~~~
    any_value approx_count_distinct arg_max arg_min avg bool_and bool_or corr count count_if count_star first last
    list max max_by mean median min min_by mode quantile_cont quantile_disc regr_slope stddev stddev_samp string_agg sum
    variance
    cume_dist dense_rank first_value lag last_value lead ntile percent_rank rank row_number
    abs ceil ceiling exp floor greatest isfinite isnan least ln log log10 mod pow power round sign sqrt trunc
    coalesce if ifnull nullif
    age date_add date_diff date_part date_sub date_trunc datediff datepart datetrunc day dayname dayofmonth dayofweek dayofyear
    epoch hour isodow make_date minute month monthname quarter second strftime time_bucket timezone to_days to_hours to_minutes
    to_months to_seconds to_timestamp to_weeks week weekday year now today current_date current_timestamp
    get_current_timestamp
    concat concat_ws contains ends_with ilike_escape instr left length like_escape lower ltrim not_ilike_escape not_like_escape
    position prefix regexp_full_match regexp_matches replace right rtrim split_part starts_with strlen strpos substr substring
    suffix trim upper
    array_contains array_extract array_length len list_contains list_extract list_has list_sort list_value row
    struct_extract struct_pack unnest range generate_series
"""
FUNCTIONS: Final = frozenset(_FUNCTION_WORDS.split())
_CTE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}\Z")


class QueryRefused(QueryError):
    """SQL that the gate does not let through: what about it, in one line."""


def check(sql: str, views: Collection[str]) -> frozenset[str]:
    """The views of `views` that the statement reads. Raises QueryRefused."""
    if len(sql) > MAX_SQL:
        raise QueryRefused(f"a query of {len(sql)} characters; at most {MAX_SQL}")
    statements = _parsed(sql)
    if len(statements) != 1:
        raise QueryRefused(f"exactly one SELECT can be run; there are {len(statements)}")
    if statements[0].get("named_param_map"):
        raise QueryRefused("a query has no parameters")
    return frozenset(_read(statements[0]["node"], frozenset(view.lower() for view in views), frozenset()))


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """An empty database, whose parser is asked."""
    return duckdb.connect(":memory:", config={"enable_external_access": False, "threads": 1})


def _parsed(sql: str) -> list[dict[str, Any]]:
    if "\0" in sql:
        raise QueryRefused("a query has no NUL characters")
    try:
        with _parser().cursor() as cursor:  # each thread has its own
            row = cursor.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
        told = msgspec.json.decode(row[0]) if row else {}
    except (duckdb.Error, msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise QueryRefused(f"this cannot be read as SQL: {_first_line(error)}") from None
    if told.get("error", True):
        message = str(told.get("error_message", ""))
        if told.get("error_type") == "not implemented":
            message = "only SELECT can be run"
        raise QueryRefused(message.splitlines()[0] if message else "this is no SQL")
    statements: list[dict[str, Any]] = told["statements"]
    return statements


def _read(node: Any, views: frozenset[str], ctes: frozenset[str]) -> Iterator[str]:
    """The views under a node of the parsed statement. `ctes`: names of WITH that are in sight there."""
    try:
        yield from _walk(node, views, ctes)
    except RecursionError:
        raise QueryRefused("a query that is nested too deeply") from None


def _walk(node: Any, views: frozenset[str], ctes: frozenset[str]) -> Iterator[str]:
    if isinstance(node, list):
        for each in node:
            yield from _walk(each, views, ctes)
    if not isinstance(node, dict):
        return
    if "class" in node:
        _check_expression(node)
    elif "cte_map" in node:
        _expect(node["type"], _QUERIES, "a query")
        ctes = ctes | _named(node["cte_map"])
    elif "sample" in node:
        yield from _table(node, views, ctes)
    if "function_name" in node:
        _check_function(node)
    for value in node.values():
        yield from _walk(value, views, ctes)


def _named(cte_map: dict[str, Any]) -> frozenset[str]:
    names = [str(entry["key"]) for entry in cte_map["map"]]
    for name in names:
        if not _CTE_NAME.match(name):
            raise QueryRefused(f"WITH {name[:40]!r}: a plain name of letters, digits and underscores was expected")
    return frozenset(name.lower() for name in names)


def _table(node: dict[str, Any], views: frozenset[str], ctes: frozenset[str]) -> Iterator[str]:
    _expect(node["type"], _TABLES, "a table")
    if node["type"] == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name", "")).lower()
        if name not in _TABLE_FUNCTIONS:
            raise QueryRefused(f"{name}() cannot be read from; there are the views {', '.join(sorted(views))}")
    if node["type"] != "BASE_TABLE":
        return
    name = str(node["table_name"])
    if node.get("schema_name") or node.get("catalog_name") or node.get("at_clause"):
        raise QueryRefused(f"{name}: a view is named alone, without schema, catalog or version")
    if name.lower() in ctes:
        return
    if name.lower() not in views:
        raise QueryRefused(f"there is no view {name[:80]!r}; there are {', '.join(sorted(views))}")
    yield name.lower()


def _check_expression(node: dict[str, Any]) -> None:
    _expect(node["class"], _EXPRESSIONS, "an expression")


def _check_function(node: dict[str, Any]) -> None:
    name = str(node["function_name"])
    if node.get("schema") or node.get("catalog"):
        raise QueryRefused(f"{name}(): a function is named alone")
    if name.lower() not in FUNCTIONS:
        raise QueryRefused(f"{name[:80]}() is not among the functions that a query may use")


def _expect(found: str, allowed: frozenset[str], what: str) -> None:
    if found not in allowed:
        raise QueryRefused(f"{what} of the kind {found.replace('_', ' ').lower()} cannot be run")


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
