"""Insert, update or add by primary key, in the dialects that the state may live in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Executable, Table, case
from sqlalchemy.dialects import postgresql, sqlite

_MAX_INT: Final = 2**63 - 1


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


def merge(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], extremes: Mapping[str, str]) -> None:
    """Add `rows`, all of numbers >= 0 beside their key, to those that are there. `extremes`: columns of which the least ("min")
    or the greatest ("max") stands instead of the sum. A sum stays within 64 bits: beyond, SQLite would go on in floating point,
    and PostgreSQL refuse the whole batch."""
    if rows:
        statement = _merging(table, tuple(rows[0]), tuple(sorted(extremes.items())), connection.dialect.name)
        connection.execute(statement, list(rows))


@lru_cache(64)
def _merging(table: Table, columns: tuple[str, ...], extremes: tuple[tuple[str, str], ...], dialect: str) -> Executable:
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    key = [column.name for column in table.primary_key]
    how = dict(extremes)

    def value(name: str) -> Any:
        there, new = table.c[name], insert.excluded[name]
        if name not in how:
            return case((there > _MAX_INT - new, _MAX_INT), else_=there + new)
        return case((new < there if how[name] == "min" else new > there, new), else_=there)

    return insert.on_conflict_do_update(index_elements=key, set_={name: value(name) for name in columns if name not in key})
