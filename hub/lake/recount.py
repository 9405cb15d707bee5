"""Counting the lake's windows by day anew: for a lake that is older than the counts, or was changed by other hands.

Nobody may write to the lake meanwhile. What was received by kind is not told by the lake, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pyarrow as pa
from sqlalchemy import Engine, delete

from hub.lake.days import add_counts, count_days
from hub.lake.lake import Lake
from hub.lake.tables import SCHEMAS, TableName
from hub.lake.writer import LakeWriter
from hub.state.schema import device_days, profile_days
from models.errors import StorageError

_COLUMNS: Final[dict[TableName, list[str]]] = {
    table: [name for name in SCHEMAS[table].names if name not in ("features", "mean", "low", "high", "top", "boot_id")]
    for table in ("aggregates", "rollups")
}


def recount(engine: Engine, lake: Lake, log_id: str, told: Callable[[int], None] = lambda _n: None) -> int:
    """How many rows were counted; one transaction. `told`: how many by now.

    Raises StorageError where the writer has not noted all that it wrote: that would be counted twice.
    """
    writer = LakeWriter(lake, engine, log_id)
    if writer.written() > writer.position():
        raise StorageError("the lake is ahead of what its writer has noted; start the hub once, and stop it, before counting")
    n_rows = 0
    with engine.begin() as connection:
        connection.execute(delete(device_days))
        connection.execute(delete(profile_days))
        for aggregates, rollups in _batches(lake):
            add_counts(connection, count_days(aggregates, rollups, []))
            n_rows += aggregates.num_rows + rollups.num_rows
            told(n_rows)
    return n_rows


def _batches(lake: Lake) -> Iterator[tuple[pa.Table, pa.Table]]:
    """All of both tables, a batch at a time."""
    none = {table: SCHEMAS[table].empty_table().select(columns) for table, columns in _COLUMNS.items()}
    for table, columns in _COLUMNS.items():
        for batch in lake.dataset(table).scanner(columns=columns).to_batches():
            if batch.num_rows:
                rows = pa.Table.from_batches([batch])
                yield (rows, none["rollups"]) if table == "aggregates" else (none["aggregates"], rows)
