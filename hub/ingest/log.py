"""The ingest log: what the hub has acknowledged, in the order in which it came, until every consumer has read it.

This is the seam where a distributed log takes over; the embedded default is one SQLite file of its own, so that its
commits wait for nobody else's.

Invariants, for every implementation:
1. When `append` returns, the records are durable: a power cut does not take them back.
2. Positions only rise and are never given twice, not even after pruning; readers see them in order, whole commits only.
3. `log_id` is made with the log: positions of another log, or of one that was replaced, cannot be mistaken for this one's.
4. What came twice is not the log's business: the ledger knows (`committer.py`), and appends each identity once.

The SQLite file keeps records in chunks, many to a row: a row for each record, with an index of identities over them, was
half of what a commit cost.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec.structs import force_setattr

from models.contract.clock import Stamp
from models.errors import StorageError

VERSION: Final = 2
MAX_READ_BYTES: Final = 32 * 1024 * 1024  # a drained backlog of evidence must not fill the memory
_PRUNE_SLICE: Final = 10_000  # positions; commits wait while a slice goes, so it is kept short; not less than a chunk
_CHUNK_RECORDS: Final = 1000
_KEPT_BYTES: Final = 16 * 1024 * 1024  # of chunks that are kept decoded
_CHUNK_BYTES: Final = 512 * 1024  # of bodies, where more than one


class LogRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One item as it came. `position`: 0 before it is appended. `body`: the item's msgpack, known to decode as `kind`.

    A Struct, for each item becomes one twice over; a frozen dataclass takes several times as long to make.
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

    def append(self, records: Sequence[LogRecord]) -> None:
        """The records are the log's own from then on: it gives them their positions."""
        ...

    def read(self, after_position: int, limit: int) -> list[LogRecord]:
        """At most `limit` records with higher positions, in order; fewer, but at least one, where their bodies are so large
        that together they would exceed MAX_READ_BYTES."""
        ...

    def end(self) -> int:
        """The highest position ever given; 0 for a new log."""
        ...

    def prune(self, up_to_position: int) -> int:
        """Forget records up to and including this position, some of them perhaps only with the next; how many went."""
        ...

    def erase(self, device_id: str) -> int:
        """Forget every record of this device, read or not; how many went. Positions stay as they are."""
        ...

    def close(self) -> None: ...


_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (log_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS chunks (
    last  INTEGER PRIMARY KEY AUTOINCREMENT,
    first INTEGER NOT NULL,
    body  BLOB NOT NULL
);
"""
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[LogRecord])


class SqliteIngestLog:
    """The embedded default: one file, WAL, synchronous=FULL; one connection writes, another reads.

    A chunk holds the records of the positions first..last, in order, as msgpack; one that was erased has no device.
    """

    def __init__(self, path: Path) -> None:
        """Opens or makes the log. Raises StorageError: not a log, from a newer version, unreadable."""
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        try:
            self._writer = _connect(path)
            self._reader = _connect(path)
            self._log_id = _prepare(self._writer, path)
            self._end = _end(self._writer)
            self._decoded = _Decoded()
        except sqlite3.Error as error:
            raise StorageError(f"{path}: {error}") from error

    @property
    def log_id(self) -> str:
        return self._log_id

    def append(self, records: Sequence[LogRecord]) -> None:
        with self._write_lock:
            chunks = list(_chunks(records, self._end))
            if not chunks:
                return
            with _transaction(self._writer):
                rows = [(last, first, _encoder.encode(chunk)) for last, first, chunk in chunks]
                self._writer.executemany("INSERT INTO chunks (last, first, body) VALUES (?, ?, ?)", rows)
            self._end = rows[-1][0]
            for (last, first, chunk), (_, _, body) in zip(chunks, rows, strict=True):
                self._decoded.keep(last, _placed(chunk, first), len(body))

    def read(self, after_position: int, limit: int) -> list[LogRecord]:
        records: list[LogRecord] = []
        n_bytes = 0
        select = "SELECT last, first, body FROM chunks WHERE last > ? ORDER BY last"
        with self._read_lock, closing(self._reader.execute(select, (after_position,))) as rows:
            for record in self._decoded.records(rows, after_position):
                n_bytes += len(record.body)
                if len(records) == limit or (records and n_bytes > MAX_READ_BYTES):
                    break
                records.append(record)
        return records

    def end(self) -> int:
        return self._end

    def prune(self, up_to_position: int) -> int:
        n_gone = 0
        while (first := self._first(up_to_position)) is not None:
            last = min(up_to_position, first + _PRUNE_SLICE - 1)
            with self._write_lock, _transaction(self._writer):
                n_gone += _delete_up_to(self._writer, last)
        return n_gone

    def erase(self, device_id: str) -> int:
        n_gone = 0
        last: int | None = 0
        self._writer.execute("PRAGMA secure_delete=ON")  # what is written over goes from the disk, too
        while last is not None:
            with self._write_lock, _transaction(self._writer):
                last, n_here = _erase_next(self._writer, device_id, last)
                n_gone += n_here
        with self._read_lock:
            self._decoded.clear()
        with self._write_lock:
            self._writer.execute("PRAGMA secure_delete=OFF")
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return n_gone

    def _first(self, up_to_position: int) -> int | None:
        """The lowest position of a chunk that may go, None where none lies at or below `up_to_position` as a whole."""
        with self._read_lock:
            row = self._reader.execute("SELECT min(first) FROM chunks WHERE last <= ?", (up_to_position,)).fetchone()
        return None if row[0] is None else int(row[0])

    def close(self) -> None:
        with self._read_lock, self._write_lock:
            self._reader.close()
            self._writer.close()


def _chunks(records: Sequence[LogRecord], end: int) -> Iterator[tuple[int, int, Sequence[LogRecord]]]:
    """What goes into a row each (last, first, records) when they are appended after position `end`."""
    start, n_bytes = 0, 0
    for n, record in enumerate(records):
        n_bytes += len(record.body)
        if n > start and (n - start == _CHUNK_RECORDS or n_bytes > _CHUNK_BYTES):
            yield end + n, end + start + 1, records[start:n]
            start, n_bytes = n, len(record.body)
    if records:
        yield end + len(records), end + start + 1, records[start:]


class _Decoded:
    """Chunks as records. The latest are kept: each reader of the log comes by within seconds. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[int, Sequence[LogRecord]]] = OrderedDict()  # by the chunk's last position
        self._n_bytes = 0

    def records(self, rows: Iterable[tuple[int, int, bytes]], after_position: int) -> Iterator[LogRecord]:
        """The records of these chunks (last, first, body), with their positions, beyond `after_position`."""
        for last, first, body in rows:
            kept = self._kept.get(last)
            records = kept[1] if kept is not None else self._decode(last, first, body)
            yield from records if after_position < first else [one for one in records if one.position > after_position]

    def keep(self, last: int, records: Sequence[LogRecord], n_bytes: int) -> None:
        """The records of the chunk that ends at `last`, and the size of their encoding."""
        with self._lock:
            self._forget(last)
            self._kept[last] = n_bytes, records
            self._n_bytes += n_bytes
            while self._n_bytes > _KEPT_BYTES:
                self._forget(next(iter(self._kept)))

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._n_bytes = 0

    def _forget(self, last: int) -> None:
        self._n_bytes -= self._kept.pop(last, (0, ()))[0]

    def _decode(self, last: int, first: int, body: bytes) -> Sequence[LogRecord]:
        records = [record for record in _placed(_decoder.decode(body), first) if record.device_id]
        self.keep(last, records, len(body))
        return records


def _placed(records: Sequence[LogRecord], first: int) -> Sequence[LogRecord]:
    """The same, which nobody else may have yet, with their positions."""
    for position, record in enumerate(records, first):
        force_setattr(record, "position", position)
    return records


def _delete_up_to(connection: sqlite3.Connection, position: int) -> int:
    """Drop the chunks that end at or before `position`; how many records that were."""
    counted = connection.execute("SELECT coalesce(sum(last - first + 1), 0) FROM chunks WHERE last <= ?", (position,))
    n_gone = int(counted.fetchone()[0])
    connection.execute("DELETE FROM chunks WHERE last <= ?", (position,))
    return n_gone


def _erase_next(connection: sqlite3.Connection, device_id: str, after: int) -> tuple[int | None, int]:
    """Empty the device's records in the next chunk after `after`: that chunk's last position, and how many they were."""
    select = "SELECT last, body FROM chunks WHERE last > ? ORDER BY last LIMIT 1"
    row = connection.execute(select, (after,)).fetchone()
    if row is None:
        return None, 0
    records = _decoder.decode(row[1])
    mine = [record.device_id == device_id for record in records]
    if any(mine):
        kept = [_ERASED if gone else record for record, gone in zip(records, mine, strict=True)]
        connection.execute("UPDATE chunks SET body = ? WHERE last = ?", (_encoder.encode(kept), row[0]))
    return int(row[0]), sum(mine)


_ERASED: Final = LogRecord(0, "", "", "", 0, 0, "", Stamp(0, 0, "", synced=False), b"", 0)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> str:
    """Make the tables where they are missing, convert those of version 1; the log's id."""
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        raise StorageError(f"{path}: version {found}, from a newer Tocsin; this one reads up to {VERSION}")
    with _transaction(connection):
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
        if found == 1:
            _convert(connection)
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute(
            "INSERT INTO meta SELECT ? WHERE NOT EXISTS (SELECT * FROM meta)",
            (secrets.token_hex(6),),
        )
    return str(connection.execute("SELECT log_id FROM meta").fetchone()[0])


def _convert(connection: sqlite3.Connection) -> None:
    """From version 1, a row for each record: each keeps its position, for readers have noted theirs."""
    select = """SELECT position, device_id, epoch, lane, seq, first_seq, kind, wall_ns, mono_ns, boot_id, synced, body,
        received_ns FROM records ORDER BY position"""
    for (
        position,
        device_id,
        epoch,
        lane,
        seq,
        first_seq,
        kind,
        wall_ns,
        mono_ns,
        boot_id,
        synced,
        body,
        received_ns,
    ) in connection.execute(select):
        at = Stamp(wall_ns, mono_ns, boot_id, bool(synced))
        record = LogRecord(0, device_id, epoch, lane, seq, first_seq, kind, at, body, received_ns)
        connection.execute("INSERT INTO chunks VALUES (?, ?, ?)", (position, position, _encoder.encode([record])))
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'chunks'")
    connection.execute("UPDATE sqlite_sequence SET name = 'chunks' WHERE name = 'records'")
    connection.execute("DROP TABLE records")


def _end(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
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
