"""Insert or update by primary key, in the dialects that the state may live in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows`, all with the same columns; a row whose primary key is there already replaces those columns."""
    if rows:
        connection.execute(_statement(table, tuple(rows[0]), connection.dialect.name), list(rows))


@lru_cache(256)
def _statement(table: Table, columns: tuple[str, ...], dialect: str) -> Executable:
    """Built once: that takes longer than writing a few dozen rows."""
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    key = [column.name for column in table.primary_key]
    changed = {name: insert.excluded[name] for name in columns if name not in key}
    return insert.on_conflict_do_update(index_elements=key, set_=changed) if changed else insert.on_conflict_do_nothing()
