"""The lake's writer: gathers what came into a few large commits, and writes each record once.

A crash can fall between the tables' commits and the note of the position. Then the same records are read again, and each
table, which knows how far it is, takes only those beyond.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import pyarrow as pa
from sqlalchemy import Engine

from hub.ingest.log import LogRecord
from hub.ingest.positions import get_position, set_position
from hub.lake.days import add_counts, count_days
from hub.lake.lake import Lake
from hub.lake.rows import rows_of
from hub.lake.tables import TABLE_OF, TABLES, TableName
from hub.state.database import reading


class LakeWriter:
    """A consumer of the ingest log."""

    name = "lake"

    def __init__(self, lake: Lake, engine: Engine, log_id: str) -> None:
        self._lake = lake
        self._engine = engine
        self._log_id = log_id
        self._written: dict[TableName, int] = {}  # of the tables, as far as known: there is one writer

    def position(self) -> int:
        with reading(self._engine).connect() as connection:
            return get_position(connection, self.name, self._log_id)

    def written(self) -> int:
        return max(self.position(), *(self._lake.position(table, self._log_id) for table in TABLES))

    def consume(self, records: Sequence[LogRecord]) -> None:
        """Raises DeltaError, OSError; what was committed by then is not written again."""
        rows = {table: self._write(table, records) for table in TABLES}
        counts = count_days(rows["aggregates"], rows["rollups"], records)
        with self._engine.begin() as connection:
            set_position(connection, self.name, self._log_id, records[-1].position)
            add_counts(connection, counts)

    def _write(self, table: TableName, records: Sequence[LogRecord]) -> pa.Table:
        """Rows of all `records` that belong to `table`; those are written that it has not got."""
        kinds = {kind for kind, name in TABLE_OF.items() if name == table}
        mine = [record for record in records if record.kind in kinds]
        rows = rows_of(table, mine, Breath())
        if not mine:
            return rows
        written = self._written.pop(table, None)  # after a failure it is looked up
        if written is None:
            written = self._lake.position(table, self._log_id)
        fresh = [record for record in mine if record.position > written]
        if fresh:
            fresh_rows = rows if len(fresh) == len(mine) else rows_of(table, fresh, Breath())
            self._lake.append(table, fresh_rows, self._log_id, fresh[-1].position)
            written = fresh[-1].position
        self._written[table] = written
        return rows


class Breath:
    """Called between steps of a long piece of work: rests for twice as long as the step took, so that who answers devices finds
    the interpreter free most of the time."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def __call__(self) -> None:
        time.sleep(2 * (time.monotonic() - self._begun))
        self._begun = time.monotonic()
