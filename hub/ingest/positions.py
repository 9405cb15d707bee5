"""How far each consumer of the ingest log has come: kept beside what the consumer writes, in the same transaction.

Positions are kept per log, so that a log that was replaced is read from its beginning.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from hub.state.schema import consumers
from hub.state.upsert import upsert


def get_position(connection: Connection, consumer: str, log_id: str) -> int:
    """0 where it has read nothing of this log."""
    row = connection.execute(select(consumers.c.position).where(consumers.c.name == f"{consumer}:{log_id}"))
    return int(row.scalar() or 0)


def set_position(connection: Connection, consumer: str, log_id: str, position: int) -> None:
    upsert(connection, consumers, [{"name": f"{consumer}:{log_id}", "position": position}])


def read_by_all(connection: Connection, names: Iterable[str], log_id: str) -> int:
    """Up to where every one of these consumers has read: what lies at or below may be pruned."""
    return min(get_position(connection, name, log_id) for name in names)
