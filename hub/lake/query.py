"""SQL over the lake: DuckDB in memory, the Delta tables as views.

Beside them stands `timed_aggregates`: all columns of `aggregates`, and when that really was, by what the devices told of
their clocks (`hub.clocks.placing.place_window`, here in SQL): `corrected_start_ns`, `corrected_end_ns`, `time_quality`,
`time_error_ns`.

Read-only by construction: the query sees Arrow datasets, and DuckDB may open no file, network address or extension.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa

from hub.clocks.placing import DRIFT, MAX_NS, OUTSIDE_NS, SLACK_NS, Spans
from hub.clocks.store import spans_table
from hub.lake.lake import DeltaLake, Lake, LakeDay
from hub.lake.tables import SCHEMAS, TABLES, TableName
from models.errors import TocsinError


class QueryError(TocsinError):
    """SQL that cannot be run over the lake: DuckDB says why."""


@dataclass(frozen=True)
class LakeCount:
    """`n_duplicates`: rows beyond one per identity (device_id, epoch, lane, seq, and part of a rollup); 0 by design."""

    n_rows: int
    n_duplicates: int


_TOLD: Final = "span IS NOT NULL AND coalesce(end_mono_ns, 0) != 0"
_TIMED: Final = f"""
CREATE VIEW timed_aggregates AS
WITH chosen AS (
    SELECT a.*, (
        SELECT arg_min(s, abs(s.offset_ns::HUGEINT - a.end_ns + a.end_mono_ns) + CASE
            WHEN a.end_mono_ns >= s.from_mono_ns AND a.end_mono_ns < s.to_mono_ns THEN 0 ELSE {OUTSIDE_NS} END)
        FROM clock_spans s WHERE s.device_id = a.device_id AND s.boot_id = a.boot_id
    ) AS span
    FROM aggregates a
), judged AS (
    SELECT *, CASE
        WHEN NOT ({_TOLD}) THEN CASE WHEN synced THEN 'synced' ELSE 'unknown' END
        WHEN abs(span.offset_ns::HUGEINT - end_ns + end_mono_ns) > {SLACK_NS} THEN 'sensor'
        ELSE span.quality END AS time_quality
    FROM chosen
), moved AS (
    SELECT *,
        CASE WHEN {_TOLD} AND time_quality != 'sensor' THEN span.true_offset_ns::HUGEINT - span.offset_ns ELSE 0 END AS by_ns
    FROM judged
)
SELECT * EXCLUDE (span, by_ns, time_quality),
    least(greatest(end_ns + by_ns, 0), {MAX_NS})::BIGINT - (end_ns - start_ns) AS corrected_start_ns,
    least(greatest(end_ns + by_ns, 0), {MAX_NS})::BIGINT AS corrected_end_ns,
    time_quality,
    CASE WHEN {_TOLD} AND time_quality NOT IN ('unknown', 'sensor') THEN least(CASE
        WHEN time_quality = 'bounded' THEN greatest(
            span.true_offset_ns::HUGEINT - span.low_offset_ns, span.high_offset_ns::HUGEINT - span.true_offset_ns)
        WHEN span.anchor_mono_ns IS NULL THEN span.error_ns
        ELSE span.error_ns + round({DRIFT} * abs(end_ns::HUGEINT - span.offset_ns - span.anchor_mono_ns))::HUGEINT
    END, {MAX_NS})::BIGINT END AS time_error_ns
FROM moved
"""  # noqa: S608  # numbers of ours


def query(sql: str, lake: Lake, spans: Mapping[str, Spans] | None = None) -> pa.Table:
    """The result of one SQL statement over the lake's tables and `timed_aggregates`. `spans`: of the devices' clocks, by
    device; without them the view knows only what each row's stamp says. Raises QueryError."""
    connection = duckdb.connect(":memory:")
    try:
        connection.execute("SET enable_external_access = false")
        for table in TABLES:
            connection.register(table, lake.dataset(table))
        connection.register("clock_spans", spans_table(spans or {}))
        connection.execute(_TIMED)
        connection.execute("SET lock_configuration = true")
        relation = connection.sql(sql)
        return pa.table({}) if relation is None else relation.to_arrow_table()
    except duckdb.Error as error:
        raise QueryError("; ".join(filter(None, map(str.strip, str(error).splitlines()[:2])))) from None
    finally:
        connection.close()


class LakeCounter:
    """Counts the lake's rows, day by day; what has changed since is counted anew. Safe to call from several threads.

    One day at a time, for the identities of all of them do not fit the memory of a hub: of 3 million rows they take 0.4 GB.
    """

    def __init__(self, lake: DeltaLake) -> None:
        self._lake = lake
        self._duplicates: dict[tuple[TableName, LakeDay], int] = {}
        self._counting = threading.Lock()

    def count(self) -> LakeCount:
        """Rows of all tables, and how many of them repeat an identity."""
        with self._counting:  # who asks meanwhile gets the same count
            days = [(table, day) for table in TABLES for day in self._lake.days(table)]
            known = self._duplicates
            self._duplicates = {of: known[of] if of in known else _n_duplicates(self._lake, *of) for of in days}
            return LakeCount(sum(day.n_rows for _, day in days), sum(self._duplicates.values()))


def _n_duplicates(lake: DeltaLake, table: TableName, of: LakeDay) -> int:
    """What comes twice is of the same day. By hashes first, for a third of the memory: where they differ, all do."""
    part = "part" if "part" in SCHEMAS[table].names else "0"
    identity = f"(device_id, epoch, lane, seq, {part})"
    for told_apart_by in (f"hash{identity}", identity):
        statement = f"SELECT count(*) - count(DISTINCT {told_apart_by}) AS n FROM {table} WHERE day = DATE '{of.day}'"  # noqa: S608
        n_more = int(query(statement, lake).to_pylist()[0]["n"])
        if not n_more:
            break
    return n_more
