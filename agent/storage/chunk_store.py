"""The chunks and the notes in the database: what the outbox asks of SQLite, and nothing of what it means.

A chunk whose checksum does not hold is one eviction from then on, in its own place: the sequence stays whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from agent.storage.chunk import decode_chunk
from agent.storage.database import Database
from agent.storage.room import Row
from models.contract.clock import Stamp
from models.contract.items import Eviction, Item, Lane, encode_body
from models.errors import ItemError

_CACHED_CHUNKS: Final = 4


class ChunkStore:
    """Called with the database's lock held. Raises StorageError, DamagedError."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._cache: dict[tuple[str, int], list[Item]] = {}  # as they were decoded last

    def forget(self) -> None:
        """After a transaction that failed: what was decoded may not be there."""
        self._cache.clear()

    def insert(self, lane: Lane, items: Sequence[Item], data: bytes, *, merged: bool) -> None:
        row = (lane, items[0].first_seq, items[-1].seq, len(items), int(merged), data)
        self.execute("INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?)", *row)

    def waiting_in(self, row: Row, acked: int) -> int:
        """How many items of a chunk lie beyond the cursor."""
        if row.first_seq > acked:
            return row.n_items
        return 0 if row.last_seq <= acked else sum(item.seq > acked for item in self.items_of(row))

    def delete(self, row: Row) -> None:
        self.execute("DELETE FROM chunks WHERE lane=? AND first_seq=?", row.lane, row.first_seq)
        self._cache.pop((row.lane, row.first_seq), None)

    def rows(self, lane: Lane | None = None, up_to: int | None = None) -> list[Row]:
        """The chunks without their data, of one lane, or of those that begin at or below `up_to`."""
        sql = "SELECT lane, first_seq, last_seq, n_items, length(data), merged FROM chunks"
        if lane is not None:
            sql += " WHERE lane=? AND first_seq<=?"
        rows = self.fetch(sql + " ORDER BY lane, first_seq", *([] if lane is None else [lane, up_to or 2**62]))
        return [Row(name, first, last, n, size, bool(merged)) for name, first, last, n, size, merged in rows]

    def items_of(self, row: Row) -> list[Item]:
        """The items of a chunk; one eviction where it has been damaged, and from then on in its place."""
        key = row.lane, row.first_seq
        items = self._cache.get(key)
        if items is None:
            stored = list(self.fetch("SELECT CAST(data AS BLOB) FROM chunks WHERE lane=? AND first_seq=?", *key))
            if not stored:
                raise self.database.damaged(f"lane {row.lane} has no chunk at {row.first_seq} any more")
            try:
                items = decode_chunk(stored[0][0] or b"")
            except ItemError:
                items = [self._damaged(row)]
            while len(self._cache) >= _CACHED_CHUNKS:
                self._cache.pop(next(iter(self._cache)))
            self._cache[key] = items
        return items

    def _damaged(self, row: Row) -> Item:
        n_items = row.last_seq - row.first_seq + 1
        body = Eviction(reason="damaged on disk", n_items=n_items, n_bytes=row.n_bytes, start_ns=0, end_ns=0)
        at = Stamp(wall_ns=0, mono_ns=0, boot_id="", synced=False)
        raw = msgspec.Raw(encode_body(body))
        return Item(lane=row.lane, seq=row.last_seq, first_seq=row.first_seq, kind="eviction", at=at, body=raw)

    def execute(self, sql: str, *arguments: object) -> None:
        for _ in self.fetch(sql, *arguments):
            pass

    def fetch(self, sql: str, *arguments: object) -> Iterator[Any]:
        """Row by row: what is torn behind the first of them is found only then."""
        try:
            yield from self.database.connection.execute(sql, arguments)
        except sqlite3.Error as error:
            raise self.database.failed(error) from error

    def meta(self, key: str) -> str | None:
        rows = list(self.fetch("SELECT value FROM meta WHERE key=?", key))
        return str(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: str) -> None:
        self.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)
