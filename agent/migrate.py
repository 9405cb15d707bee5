"""The device database's schema, by sqlite-utils; run as `python -m agent.migrate FILE` in a process of its own.

sqlite-utils costs a device more memory than everything else the outbox needs, and is needed only when the schema
changes: so the agent runs this once, as a child, when the file's version is not its own.

    meta         key, value                                        epoch, count of starts, enrolment
    lanes        lane; next_seq                                    the number that the lane's next item gets
    items        (lane, seq); first_seq, kind, at, body, n_bytes   what waits for the hub
    asset_state  asset; state                                      what each asset has learned
"""

from __future__ import annotations

import sqlite3
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlite_utils import Database

SCHEMA_VERSION: Final = 1


def migrate(path: str) -> None:
    """Bring the database at `path` to `SCHEMA_VERSION`; one transaction, so a power cut leaves the old version."""
    from sqlite_utils import Database

    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("PRAGMA user_version").fetchone()[0] < 1:
        _version_1(Database(connection))
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")
    connection.close()


def _version_1(database: Database) -> None:
    tables: dict[str, tuple[dict[str, type], str | tuple[str, ...]]] = {
        "meta": ({"key": str, "value": str}, "key"),
        "lanes": ({"lane": str, "next_seq": int}, "lane"),
        "items": (
            {"lane": str, "seq": int, "first_seq": int, "kind": str, "at": bytes, "body": bytes, "n_bytes": int},
            ("lane", "seq"),
        ),
        "asset_state": ({"asset": str, "state": bytes}, "asset"),
        "journal": ({"id": int, "source": str, "data": bytes}, "id"),
        "progress": ({"id": int, "horizons": bytes}, "id"),
    }
    for name, (columns, key) in tables.items():
        database.table(name).create(columns, pk=key, not_null=set(columns), strict=True)


if __name__ == "__main__":
    migrate(sys.argv[1])
