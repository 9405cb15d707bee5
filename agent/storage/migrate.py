"""The device database's schema, by sqlite-utils; run as `python -m agent.storage.migrate FILE` in a process of its own.

sqlite-utils costs a device more memory than everything else the outbox needs, and is needed only when the schema
changes: so the agent runs this once, as a child, when the file's version is not its own.

    meta         key, value                        epoch, count of starts, heads (`tail.Heads`, msgpack in hexadecimal)
    chunks       (lane, first_seq); last_seq, n_items, merged, data        what waits for the hub (`chunk.py`)
    asset_state  asset; state                      what each asset has learned, packed with a checksum
    journal      id; source, data                  acknowledged readings whose windows are open (`journal.py`)

`merged`: whether the chunk's aggregates are rollups already. Version 1 had a row for each item (`items`) and the next number
of each lane (`lanes`).
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from agent.storage.chunk import encode_chunk, pack
from agent.storage.tail import Heads
from models.contract.clock import Stamp
from models.contract.items import LANES, Item

if TYPE_CHECKING:
    from sqlite_utils import Database

SCHEMA_VERSION: Final = 2
CHUNK_ITEMS: Final = 500  # in one row: what one batch to the hub takes


def migrate(path: str) -> None:
    """Bring the database at `path` to `SCHEMA_VERSION`; one transaction, so a power cut leaves the old version."""
    from sqlite_utils import Database

    connection = sqlite3.connect(path, isolation_level=None)
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != 2:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("VACUUM")  # makes an existing file one that can give space back
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version < 1:
        _version_1(Database(connection))
    if version < 2:
        _version_2(Database(connection))
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")
    connection.close()


def _version_1(database: Database) -> None:
    _create(database, "meta", {"key": str, "value": str}, "key")
    _create(database, "lanes", {"lane": str, "next_seq": int}, "lane")
    items = {"lane": str, "seq": int, "first_seq": int, "kind": str, "at": bytes, "body": bytes, "n_bytes": int}
    _create(database, "items", items, ("lane", "seq"))
    _create(database, "asset_state", {"asset": str, "state": bytes}, "asset")


def _version_2(database: Database) -> None:
    chunks = {"lane": str, "first_seq": int, "last_seq": int, "n_items": int, "merged": int, "data": bytes}
    _create(database, "chunks", chunks, ("lane", "first_seq"))
    _create(database, "journal", {"id": int, "source": str, "data": bytes}, "id")
    connection = database.conn
    next_seq = dict(connection.execute("SELECT lane, next_seq FROM lanes"))
    acked = []
    for lane in LANES:
        items = old_items(connection, lane)
        while batch := list(islice(items, CHUNK_ITEMS)):
            row = (lane, batch[0].first_seq, batch[-1].seq, len(batch), 0, encode_chunk(batch))
            connection.execute("INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)", row)
        first = connection.execute("SELECT min(first_seq) FROM items WHERE lane=?", (lane,)).fetchone()[0]
        acked.append((next_seq.get(lane, 1) if first is None else first) - 1)
    heads = Heads(0, [next_seq.get(lane, 1) for lane in LANES], acked, 1, 0)
    connection.execute("INSERT INTO meta VALUES ('heads', ?)", (msgspec.msgpack.encode(heads).hex(),))
    for asset, state in connection.execute("SELECT asset, state FROM asset_state").fetchall():
        connection.execute("UPDATE asset_state SET state=? WHERE asset=?", (pack(state), asset))
    connection.execute("DROP TABLE items")
    connection.execute("DROP TABLE lanes")


def old_items(connection: sqlite3.Connection, lane: str, seq: int | None = None) -> Iterator[Item]:
    """The items of one lane as version 1 has them, or the one with that number."""
    span = (0, 2**62) if seq is None else (seq, seq)
    rows = "SELECT seq, first_seq, kind, at, body FROM items WHERE lane=? AND seq BETWEEN ? AND ? ORDER BY seq"
    for number, first_seq, kind, at, body in connection.execute(rows, (lane, *span)):
        stamp = msgspec.msgpack.decode(at, type=Stamp)
        yield Item(lane=lane, seq=number, first_seq=first_seq, kind=kind, at=stamp, body=msgspec.Raw(body))  # type: ignore[arg-type]


def _create(database: Database, name: str, columns: dict[str, Any], key: str | tuple[str, ...]) -> None:
    database.table(name).create(columns, pk=key, not_null=set(columns), strict=True)


if __name__ == "__main__":
    migrate(sys.argv[1])
