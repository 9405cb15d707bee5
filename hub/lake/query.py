"""SQL over the lake: DuckDB in memory, the Delta tables as views.

Read-only by construction: the query sees Arrow datasets, and DuckDB may open no file, network address or extension.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import pyarrow as pa

from hub.lake.lake import Lake
from hub.lake.tables import SCHEMAS, TABLES
from models.errors import TocsinError


class QueryError(TocsinError):
    """SQL that cannot be run over the lake: DuckDB says why."""


@dataclass(frozen=True)
class LakeCount:
    """`n_duplicates`: rows beyond one per identity (device_id, epoch, lane, seq, and part of a rollup); 0 by design."""

    n_rows: int
    n_duplicates: int


def query(sql: str, lake: Lake) -> pa.Table:
    """The result of one SQL statement over the tables aggregates, evidence and health. Raises QueryError."""
    connection = duckdb.connect(":memory:")
    try:
        connection.execute("SET enable_external_access = false")
        for table in TABLES:
            connection.register(table, lake.dataset(table))
        connection.execute("SET lock_configuration = true")
        relation = connection.sql(sql)
        return pa.table({}) if relation is None else relation.to_arrow_table()
    except duckdb.Error as error:
        raise QueryError("; ".join(filter(None, map(str.strip, str(error).splitlines()[:2])))) from None
    finally:
        connection.close()


class LakeCounter:
    """Counts the lake's rows; counted anew only when the lake has changed. Safe to call from several threads."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._counted: tuple[list[int], LakeCount] | None = None

    def count(self) -> LakeCount:
        """Rows of all tables, and how many of them repeat an identity."""
        versions = [self._lake.version(table) for table in TABLES]
        counted = self._counted
        if counted is None or counted[0] != versions:
            counted = (versions, _count(self._lake))
            self._counted = counted
        return counted[1]


def _count(lake: Lake) -> LakeCount:
    parts = {table: "part" if "part" in SCHEMAS[table].names else "0" for table in TABLES}
    identities = " UNION ALL ".join(
        f"SELECT device_id, epoch, lane, seq, {part} AS part FROM {table}"  # noqa: S608
        for table, part in parts.items()
    )
    statement = f"SELECT count(*) AS n, count(DISTINCT (device_id, epoch, lane, seq, part)) AS n_distinct FROM ({identities})"  # noqa: S608
    row = query(statement, lake).to_pylist()[0]
    return LakeCount(row["n"], row["n"] - row["n_distinct"])
