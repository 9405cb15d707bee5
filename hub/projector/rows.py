"""What the projections share: reading the rows that a batch touches, merging, writing them back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, select, tuple_

from hub.ingest.log import LogRecord
from models.contract.items import KIND_OF, Body, decode_body

B = TypeVar("B", bound=Body)
RowDict = dict[str, Any]
Key = tuple[Any, ...]


def bodies(records: Sequence[LogRecord], body_type: type[B]) -> Iterable[tuple[LogRecord, B]]:
    """The records of one kind, with their bodies."""
    kind = KIND_OF[body_type]
    for record in records:
        if record.kind == kind:
            body = decode_body(kind, record.body)
            assert isinstance(body, body_type)
            yield record, body


def load_rows(connection: Connection, table: Table, keys: Iterable[Key]) -> dict[Key, RowDict]:
    """The rows with these primary keys, by key."""
    columns = list(table.primary_key)
    rows = connection.execute(select(table).where(tuple_(*columns).in_(list(keys)))).mappings()
    return {tuple(row[column.name] for column in columns): dict(row) for row in rows}
