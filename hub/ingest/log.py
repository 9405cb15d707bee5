"""The ingest log: what the hub has acknowledged, in the order in which it came, until every consumer has read it.

This is the seam where a distributed log takes over; the embedded default is one SQLite file of its own, so that its
commits wait for nobody else's.

Invariants, for every implementation:
1. When `append` returns, the records are durable: a power cut does not take them back.
2. A record whose identity (device_id, epoch, lane, seq) is in the log already is left out, whatever it carries.
3. Positions only rise and are never given twice, not even after pruning; readers see them in order, whole commits only.
4. `log_id` is made with the log: positions of another log, or of one that was replaced, cannot be mistaken for this one's.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec

from models.contract.clock import Stamp
from models.errors import StorageError

VERSION: Final = 1
MAX_READ_BYTES: Final = 32 * 1024 * 1024  # a drained backlog of evidence must not fill the memory
_PRUNE_SLICE: Final = 10_000  # records; commits wait while a slice goes, so it is kept short


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One item as it came. `position`: 0 before it is appended. `body`: the item's msgpack, known to decode as `kind`.

    A Struct, for each item becomes one three times over; a frozen dataclass takes several times as long to make.
    """

    position: int
    device_id: str
    epoch: str
    lane: str
    seq: int
    first_seq: int
    kind: str
    at: Stamp
    body: bytes
    received_ns: int


class IngestLog(Protocol):
    """See the module's text. `append` comes from one thread at a time; the rest from any thread."""

    @property
    def log_id(self) -> str: ...

    def append(self, records: Sequence[LogRecord]) -> None: ...

    def read(self, after_position: int, limit: int) -> list[LogRecord]:
        """At most `limit` records with higher positions, in order; fewer, but at least one, where their bodies are so large
        that together they would exceed MAX_READ_BYTES."""
        ...

    def end(self) -> int:
        """The highest position ever given; 0 for a new log."""
        ...

    def prune(self, up_to_position: int) -> int:
        """Forget records up to and including this position; how many went."""
        ...

    def close(self) -> None: ...


_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (log_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS records (
    position    INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id   TEXT NOT NULL,
    epoch       TEXT NOT NULL,
    lane        TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    first_seq   INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    wall_ns     INTEGER NOT NULL,
    mono_ns     INTEGER NOT NULL,
    boot_id     TEXT NOT NULL,
    synced      INTEGER NOT NULL,
    body        BLOB NOT NULL,
    received_ns INTEGER NOT NULL,
    UNIQUE (device_id, epoch, lane, seq)
);
"""
_INSERT = """
INSERT OR IGNORE INTO records
    (device_id, epoch, lane, seq, first_seq, kind, wall_ns, mono_ns, boot_id, synced, body, received_ns)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_SELECT = """
SELECT position, device_id, epoch, lane, seq, first_seq, kind, wall_ns, mono_ns, boot_id, synced, body, received_ns
FROM records WHERE position > ? ORDER BY position LIMIT ?
"""


class SqliteIngestLog:
    """The embedded default: one file, WAL, synchronous=FULL; one connection writes, another reads."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the log. Raises StorageError: not a log, from a newer version, unreadable."""
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        try:
            self._writer = _connect(path)
            self._reader = _connect(path)
            self._log_id = _prepare(self._writer, path)
            self._end = _end(self._writer)
        except sqlite3.Error as error:
            raise StorageError(f"{path}: {error}") from error

    @property
    def log_id(self) -> str:
        return self._log_id

    def append(self, records: Sequence[LogRecord]) -> None:
        with self._write_lock, _transaction(self._writer):
            self._writer.executemany(_INSERT, map(_to_row, records))
            end = _end(self._writer)
        self._end = end

    def read(self, after_position: int, limit: int) -> list[LogRecord]:
        records: list[LogRecord] = []
        n_bytes = 0
        with self._read_lock, closing(self._reader.execute(_SELECT, (after_position, limit))) as rows:
            for row in rows:
                record = _from_row(row)
                n_bytes += len(record.body)
                if records and n_bytes > MAX_READ_BYTES:
                    break
                records.append(record)
        return records

    def end(self) -> int:
        return self._end

    def prune(self, up_to_position: int) -> int:
        n_gone = 0
        while first := self._first(up_to_position):
            last = min(up_to_position, first + _PRUNE_SLICE - 1)
            with self._write_lock, _transaction(self._writer):
                n_gone += self._writer.execute("DELETE FROM records WHERE position <= ?", (last,)).rowcount
        return n_gone

    def _first(self, up_to_position: int) -> int | None:
        """The lowest position that is left, None where none is at or below `up_to_position`."""
        with self._read_lock:
            row = self._reader.execute("SELECT min(position) FROM records WHERE position <= ?", (up_to_position,)).fetchone()
        return None if row[0] is None else int(row[0])

    def close(self) -> None:
        with self._read_lock, self._write_lock:
            self._reader.close()
            self._writer.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> str:
    """Make the tables where they are missing; the log's id."""
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        raise StorageError(f"{path}: version {found}, from a newer Tocsin; this one reads up to {VERSION}")
    with _transaction(connection):
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute(
            "INSERT INTO meta SELECT ? WHERE NOT EXISTS (SELECT * FROM meta)",
            (secrets.token_hex(6),),
        )
    return str(connection.execute("SELECT log_id FROM meta").fetchone()[0])


def _end(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
    return int(row[0]) if row else 0


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. Also a COMMIT may fail, on a full disk say; then SQLite may have rolled back by itself, or not."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _to_row(record: LogRecord) -> tuple[object, ...]:
    _, device_id, epoch, lane, seq, first_seq, kind, at, body, received_ns = msgspec.structs.astuple(record)
    return device_id, epoch, lane, seq, first_seq, kind, at.wall_ns, at.mono_ns, at.boot_id, at.synced, body, received_ns


def _from_row(row: tuple[int, str, str, str, int, int, str, int, int, str, int, bytes, int]) -> LogRecord:
    position, device_id, epoch, lane, seq, first_seq, kind, wall_ns, mono_ns, boot_id, synced, body, received_ns = row
    at = Stamp(wall_ns, mono_ns, boot_id, bool(synced))
    return LogRecord(position, device_id, epoch, lane, seq, first_seq, kind, at, body, received_ns)
