"""The gate and the wall behind it: what is no plain SELECT over the views gets through neither."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from hub.ask.catalog import VIEW_NAMES
from hub.ask.engine import MAX_CELL, MAX_RESULT_ROWS, AskBusy, AskEngine
from hub.ask.gate import FUNCTIONS, MAX_SQL, QueryRefused, check
from hub.ask.question import Filter, Question
from hub.ask.sql import to_sql
from hub.lake.lake import DeltaLake
from hub.lake.query import QueryError
from tests.ask.seeding import ZONE
from tests.waiting import PATIENCE_S

REFUSED = (
    # more than one statement, or no SELECT
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE alerts",
    "",
    "-- nothing",
    "INSERT INTO alerts VALUES (1)",
    "UPDATE alerts SET site = 'x'",
    "DELETE FROM alerts",
    "CREATE TABLE t AS SELECT 1",
    "CREATE MACRO f(x) AS x",
    "DROP VIEW alerts",
    "COPY alerts TO '/tmp/out.csv'",
    "COPY (SELECT 1) TO '/tmp/out.parquet'",
    "EXPORT DATABASE '/tmp/out'",
    "IMPORT DATABASE '/tmp/out'",
    "ATTACH '/tmp/x.db'",
    "USE main",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "RESET memory_limit",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN ANALYZE SELECT 1",
    "DESCRIBE alerts",
    "SHOW TABLES",
    "SUMMARIZE alerts",
    "FROM alerts PIVOT (count(*) FOR site IN ('lyon'))",
    "PIVOT alerts ON site",
    "UNPIVOT assets ON p_value",
    "WITH x AS (DELETE FROM alerts RETURNING *) SELECT * FROM x",
    # files, network, settings, catalog
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'alerts.csv'",
    'SELECT * FROM "/etc/passwd"',
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_parquet('http://127.0.0.1/x')",
    "SELECT * FROM parquet_metadata('x')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM sqlite_scan('hub.db', 'users')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('alerts')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM pragma_table_info('alerts')",
    "SELECT * FROM duckdb_tables",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_tables",
    "SELECT * FROM main.alerts",
    "SELECT * FROM memory.main.alerts",
    "SELECT * FROM lake_aggregates",
    "SELECT * FROM device_sites",
    "SELECT * FROM users",
    "SELECT * FROM sessions",
    "SELECT * FROM api_tokens",
    "SELECT getenv('HOME')",
    "SELECT current_setting('memory_limit')",
    "SELECT current_database()",
    "SELECT version()",
    "SELECT main.getenv('HOME')",
    "SELECT system.main.current_setting('threads')",
    "SELECT json_execute_serialized_sql('x')",
    "SELECT repeat('x', 1000000000)",
    "SELECT setseed(0.5)",
    "SELECT nextval('s')",
    "SELECT txid_current()",
    "SELECT * FROM test_all_types()",
    # the same in hiding
    "SELECT (SELECT max(content) FROM read_text('/etc/passwd'))",
    "SELECT 1 FROM alerts WHERE site IN (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM alerts JOIN read_csv('/etc/passwd') ON true",
    "SELECT * FROM alerts, LATERAL (SELECT * FROM glob('/*'))",
    "WITH alerts_x AS (SELECT * FROM glob('/*')) SELECT * FROM alerts_x",
    "WITH users AS (SELECT 1) SELECT * FROM (SELECT * FROM users), (SELECT * FROM sessions)",
    "SELECT * FROM (WITH sqlite_master AS (SELECT 1) SELECT * FROM sqlite_master), sqlite_master",
    "SELECT 1 UNION ALL SELECT count(*) FROM read_text('/etc/passwd')",
    "SELECT 1 ORDER BY (SELECT count(*) FROM glob('/*'))",
    "SELECT 1 LIMIT (SELECT count(*) FROM glob('/*'))",
    "SELECT count(*) FILTER (WHERE getenv('HOME') = 'x') FROM alerts",
    "SELECT sum(1) OVER (PARTITION BY getenv('HOME')) FROM alerts",
    "SELECT CASE WHEN true THEN getenv('HOME') END",
    "SELECT list_transform([1], x -> getenv('HOME'))",
    "SELECT [getenv(x) FOR x IN ['HOME']]",
    "SELECT GETENV('HOME')",
    "SELECT \"getenv\"('HOME')",
    "SELECT 'HOME'.getenv()",
    "SELECT * FROM alerts AT (VERSION => 1)",
    "SELECT $1",
    "SELECT ?",
    "SELECT $name",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT * FROM r",
    'WITH "duckdb tables" AS (SELECT 1) SELECT * FROM "duckdb tables"',
    "SELECT \0",
    "SELECT 1 -- " + "x" * MAX_SQL,
    "SELECT " + "(" * 3000 + "1" + ")" * 3000 + " FROM read_csv('x')",
    "SELECT " + "NOT " * 1500 + "true",
    "SELECT \ud800",
)


@pytest.mark.parametrize("sql", REFUSED, ids=lambda sql: ascii(sql[:60]))
def test_what_is_no_plain_select_over_the_views_is_refused(sql: str) -> None:
    with pytest.raises(QueryRefused):
        check(sql, VIEW_NAMES)


@pytest.mark.parametrize(
    ("sql", "views"),
    [
        ("SELECT * FROM alerts", {"alerts"}),
        ("select site, count(*) from ALERTS group by all -- how many", {"alerts"}),
        ("FROM devices", {"devices"}),
        ("SELECT a.asset FROM alerts a JOIN devices d USING (device) WHERE d.online", {"alerts", "devices"}),
        ("WITH x AS (SELECT * FROM alerts) SELECT * FROM x UNION SELECT * FROM x", {"alerts"}),
        (
            "SELECT date_trunc('hour', opened), list_contains(causes, 'x') FROM alerts WHERE opened > now() - INTERVAL 1 DAY",
            {"alerts"},
        ),
        ("SELECT row_number() OVER (ORDER BY p_value) FROM windows", {"windows"}),
        ("SELECT * FROM range(3)", set()),
        ("SELECT unnest(causes) FROM alerts;", {"alerts"}),
        ("SELECT 1", set()),
    ],
)
def test_a_plain_select_passes_and_its_views_are_known(sql: str, views: set[str]) -> None:
    assert check(sql, VIEW_NAMES) == views


def test_every_function_that_passes_exists_and_only_three_are_tables() -> None:
    rows = duckdb.execute("SELECT DISTINCT function_name, function_type FROM duckdb_functions()").fetchall()
    forms = {"coalesce", "current_timestamp", "ifnull"}  # of the parser
    assert {name for name, _ in rows} | forms >= FUNCTIONS
    tables = {name for name, kind in rows if kind in ("table", "pragma", "table_macro")}
    assert tables & FUNCTIONS == {"unnest", "range", "generate_series"}


@given(value=st.text(st.characters(codec="utf-8"), max_size=40))
@settings(max_examples=60, deadline=None)
def test_no_name_leaves_its_quotes(value: str) -> None:
    sql = to_sql(Question("en", "alerts", filters=(Filter("site", "=", (value,)), Filter("causes", "has", (value, value)))))
    assert check(sql, VIEW_NAMES) == {"alerts"}
    assert literals_of(sql)[:3] == [value.replace("\0", "")] * 3


def literals_of(sql: str) -> list[str]:
    """The texts in a statement, as DuckDB reads them."""
    row = duckdb.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    assert row is not None
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("class") == "CONSTANT" and node.get("literal", {}).get("kind") == "STRING":
                found.append(node["literal"]["text"])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(json.loads(row[0]))
    return found


@pytest.mark.parametrize("name", ["x' OR 1=1 --", "'; DROP TABLE alerts; --", "x\\' OR true", "' UNION SELECT * FROM users --"])
def test_a_hostile_site_is_a_site_that_is_not_there(name: str, runner: AskEngine) -> None:
    assert runner.run(to_sql(Question("en", "alerts", filters=(Filter("site", "=", (name,)),))), ZONE).rows == ()


# --- the second wall ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM read_text('/etc/passwd')", "COPY (SELECT 1) TO '{}'", "SET memory_limit = '8GB'", "ATTACH '{}'"]
)
def test_behind_the_gate_no_file_opens_and_no_setting_moves(
    sql: str, runner: AskEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.ask.engine.check", lambda _sql, _views: frozenset())
    target = tmp_path / "made"
    with pytest.raises(QueryError):
        runner.run(sql.format(target), ZONE)
    assert not target.exists()


@pytest.mark.parametrize("timeout_s", [0.0, 0.3])  # before it has begun, and while it goes on
def test_a_query_that_takes_too_long_is_ended(fleet: tuple[Engine, DeltaLake], timeout_s: float) -> None:
    runner = AskEngine(*fleet, 90, timeout_s=timeout_s)  # of work for days
    started = time.monotonic()
    with pytest.raises(QueryRefused, match=rf"longer than {timeout_s:g} s"):
        runner.run("SELECT count(*) FROM range(100000000000) a, range(100000) b WHERE a.range % 7 = b.range % 11", ZONE)
    assert time.monotonic() - started < PATIENCE_S


def test_memory_is_bounded(runner: AskEngine) -> None:
    with pytest.raises(QueryError, match=r"(?i)memory|longer than"):
        runner.run(
            "SELECT len(list(a.range::VARCHAR || 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')) FROM range(100000000) a", ZONE
        )


def test_rows_and_cells_are_bounded(runner: AskEngine) -> None:
    result = runner.run("SELECT a.range FROM range(1000000000000) a", ZONE)
    assert (len(result.rows), result.truncated) == (MAX_RESULT_ROWS, True)
    cell = runner.run("SELECT string_agg('x', '') FROM range(5000)", ZONE).rows[0][0]
    assert len(cell) == MAX_CELL + 1


def test_more_than_a_few_at_a_time_are_told_to_come_again(runner: AskEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.ask.engine._WAIT_S", 0.01)
    turns = runner._turns
    taken = [turns.acquire(timeout=PATIENCE_S) for _ in range(2)]
    try:
        with pytest.raises(AskBusy):
            runner.run("SELECT 1", ZONE)
    finally:
        for _ in taken:
            turns.release()
    assert runner.run("SELECT 1", ZONE).rows == ((1,),)


def test_a_name_of_a_table_is_never_a_variable_of_the_process(runner: AskEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.ask.engine.check", lambda _sql, _views: frozenset())
    with pytest.raises(QueryError, match="does not exist"):
        runner.run("SELECT * FROM rows", ZONE)
