"""The outbox: everything a device has produced and the hub has not yet confirmed, in one SQLite file.

Invariants:
1. A lane's sequence is gapless: the number is given in the transaction that stores the item, so no item is without a
   number and no number without an item, whatever is killed when.
2. Only what is on disk is ever sent (`synchronous=FULL`): a number that the hub has seen is never given to another item.
3. Items are deleted only at or below the cursor that the hub acknowledged, or by `evict`, which leaves an item of kind
   `eviction` in their place: the sequence stays whole and tells what went and why.
4. A fresh file starts a fresh epoch; cursors of another epoch are ignored.
5. One process writes: the file is locked by whoever holds the state directory (`agent/app.py`).

Space is bounded: beyond `max_bytes` of stored items the oldest go, evidence first, then aggregates, alerts last.
"""

from __future__ import annotations

import secrets
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from agent.asset import SavedState
from agent.migrate import SCHEMA_VERSION
from models.contract.clock import Stamp
from models.contract.items import KIND_OF, LANE_OF, LANES, Body, Eviction, Item, Lane, encode_body
from models.errors import StorageError

_EVICTION_ORDER: Final[tuple[Lane, ...]] = ("evidence", "aggregates", "alerts")
_EVICT_TO: Final = 0.9  # of the budget, so that eviction comes in bursts, not with every item
_ROW_BYTES: Final = 48  # what a row costs beside its body, about
_EVICTION_BYTES: Final = 256  # what an eviction's own row takes, at most: to be freed, too, lest a more urgent lane pay for it


class Outbox:
    """Thread-safe. Raises StorageError where the file is from a newer version or no database."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self.max_bytes = max_bytes
        self.stored_bytes = 0  # since the start, to tell the rate
        self._lock = threading.RLock()
        _ensure_schema(path)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA wal_autocheckpoint=500")
        self.backlog_items: int = 0
        self.backlog_bytes: int = 0
        with self._transaction():
            self.epoch = self._first("SELECT value FROM meta WHERE key='epoch'") or self._new_epoch()
            self.starts = int(self._first("SELECT value FROM meta WHERE key='starts'") or 0) + 1
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('starts', ?)", (str(self.starts),))
            self._db.executemany("INSERT OR IGNORE INTO lanes VALUES (?, 1)", [(lane,) for lane in LANES])
        self._next_seq: dict[str, int] = dict(self._db.execute("SELECT lane, next_seq FROM lanes"))
        self.backlog_items, self.backlog_bytes = self._db.execute(
            "SELECT count(*), ifnull(sum(n_bytes), 0) FROM items"
        ).fetchone()

    def _new_epoch(self) -> str:
        epoch = secrets.token_hex(8)
        self._db.execute("INSERT INTO meta VALUES ('epoch', ?)", (epoch,))
        return epoch

    def _first(self, sql: str) -> str | None:
        row = self._db.execute(sql).fetchone()
        return None if row is None else str(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing. Raises StorageError where SQLite cannot: a full or failing disk, a file that was damaged."""
        with self._lock:
            counted = self.backlog_items, self.backlog_bytes
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException as error:
                self.backlog_items, self.backlog_bytes = counted
                if self._db.in_transaction:  # on a full disk SQLite may have rolled back by itself
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise StorageError(f"{self._path}: {error}") from error
                raise

    # --- writing -------------------------------------------------------------------------------------------------

    def append(self, bodies: Sequence[Body], at: Stamp, states: Mapping[str, SavedState] | None = None) -> None:
        """Store `bodies`, and what assets have learned beside them, in one transaction; durable when this returns."""
        if not bodies and not states:
            return
        stamp = msgspec.msgpack.encode(at)
        with self._lock:
            next_seq = dict(self._next_seq)
            rows = [_row(body, next_seq, stamp) for body in bodies]
            with self._transaction():
                self._db.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
                self._db.executemany(
                    "UPDATE lanes SET next_seq=? WHERE lane=?", [(seq, lane) for lane, seq in next_seq.items()]
                )
                saved = [(asset, msgspec.msgpack.encode(state)) for asset, state in (states or {}).items()]
                self._db.executemany("INSERT OR REPLACE INTO asset_state VALUES (?, ?)", saved)
            self._next_seq = next_seq
            self.backlog_items += len(rows)
            n_bytes = sum(row[-1] for row in rows)
            self.backlog_bytes += n_bytes
            self.stored_bytes += n_bytes
            if self.backlog_bytes > self.max_bytes:
                self._make_room(stamp)

    def saved_states(self) -> dict[str, SavedState]:
        """What each asset had learned when it was last stored; a state that does not decode is left out."""
        states = {}
        for asset, blob in self._db.execute("SELECT asset, state FROM asset_state"):
            try:
                states[asset] = msgspec.msgpack.decode(blob, type=SavedState)
            except msgspec.MsgspecError:
                continue
        return states

    def by_lane(self) -> dict[str, tuple[int, int]]:
        """(items, bytes) that wait, by lane."""
        with self._lock:
            rows = self._db.execute("SELECT lane, count(*), sum(n_bytes) FROM items GROUP BY lane")
            return {lane: (count, size) for lane, count, size in rows}

    def heads(self) -> list[Item]:
        """The first item that waits in each lane."""
        query = "SELECT seq, first_seq, kind, at, body FROM items WHERE lane=? ORDER BY seq LIMIT 1"
        with self._lock:
            rows = [(lane, row) for lane in LANES for row in self._db.execute(query, (lane,))]
        return [
            Item(
                lane=lane,
                seq=seq,
                first_seq=first,
                kind=kind,
                at=msgspec.msgpack.decode(at, type=Stamp),
                body=msgspec.Raw(body),
            )
            for lane, (seq, first, kind, at, body) in rows
        ]

    # --- sending -------------------------------------------------------------------------------------------------

    def pending(self, max_items: int, max_bytes: int) -> list[Item]:
        """The next items to send, urgent lanes first, each lane in order; at least one if there is any."""
        items: list[Item] = []
        n_bytes = 0
        with self._lock:
            for lane in LANES:
                rows = self._db.execute(
                    "SELECT seq, first_seq, kind, at, body, n_bytes FROM items WHERE lane=? ORDER BY seq LIMIT ?",
                    (lane, max_items - len(items)),
                )
                for seq, first_seq, kind, at, body, size in rows:
                    if items and n_bytes + size > max_bytes:
                        return items
                    n_bytes += size
                    stamp = msgspec.msgpack.decode(at, type=Stamp)
                    items.append(Item(lane=lane, seq=seq, first_seq=first_seq, kind=kind, at=stamp, body=msgspec.Raw(body)))
        return items

    def acknowledge(self, epoch: str, cursors: Mapping[str, int]) -> int:
        """Delete what the hub has confirmed, per lane up to its cursor; the number of items deleted."""
        if epoch != self.epoch:
            return 0
        with self._transaction():
            return sum(self._delete(lane, 0, cursor) for lane, cursor in cursors.items() if lane in LANES)

    def _delete(self, lane: str, first: int, last: int) -> int:
        where = "FROM items WHERE lane=? AND seq BETWEEN ? AND ?"
        count, size = self._db.execute(f"SELECT count(*), ifnull(sum(n_bytes), 0) {where}", (lane, first, last)).fetchone()
        self._db.execute(f"DELETE {where}", (lane, first, last))
        self.backlog_items -= count
        self.backlog_bytes -= size
        return int(count)

    # --- space ---------------------------------------------------------------------------------------------------

    def _make_room(self, stamp: bytes) -> None:
        """Evict the oldest items of the least urgent lanes until the budget holds again."""
        surplus = self.backlog_bytes - int(self.max_bytes * _EVICT_TO)
        with self._transaction():
            for lane in _EVICTION_ORDER:
                if surplus > 0:
                    surplus -= self._evict(lane, surplus, stamp)

    def _evict(self, lane: Lane, n_bytes: int, stamp: bytes) -> int:
        """Replace the lane's oldest items, about `n_bytes` of them, by one eviction; earlier evictions melt into it."""
        rows = []
        size = 0
        query = self._db.execute("SELECT seq, first_seq, kind, at, body, n_bytes FROM items WHERE lane=? ORDER BY seq", (lane,))
        for row in query:
            rows.append(row)
            size += row[-1]
            if size >= n_bytes + _EVICTION_BYTES:
                break
        query.close()
        if size <= _EVICTION_BYTES or (len(rows) == 1 and rows[0][2] == "eviction"):
            return 0
        eviction = _eviction(rows, size)
        before = self.backlog_bytes
        self._delete(lane, rows[0][0], rows[-1][0])
        body = encode_body(eviction)
        self._db.execute(
            "INSERT INTO items VALUES (?, ?, ?, 'eviction', ?, ?, ?)",
            (lane, rows[-1][0], rows[0][1], stamp, body, len(body) + _ROW_BYTES),
        )
        self.backlog_items += 1
        self.backlog_bytes += len(body) + _ROW_BYTES
        return before - self.backlog_bytes

    def close(self) -> None:
        with self._lock:
            self._db.close()


def _row(body: Body, next_seq: dict[str, int], stamp: bytes) -> tuple[str, int, int, str, bytes, bytes, int]:
    kind = KIND_OF[type(body)]
    lane = LANE_OF[kind]
    seq = next_seq[lane]
    next_seq[lane] = seq + 1
    data = encode_body(body)
    return lane, seq, seq, kind, stamp, data, len(data) + _ROW_BYTES


def _eviction(rows: Sequence[tuple[int, int, str, bytes, bytes, int]], n_bytes: int) -> Eviction:
    """One eviction for `rows`, counting what earlier evictions among them stand for."""
    n_items = 0
    starts, ends = [], []
    for seq, first_seq, kind, at, body, _ in rows:
        n_items += seq - first_seq + 1
        if kind == "eviction":
            earlier = msgspec.msgpack.decode(body, type=Eviction)
            starts.append(earlier.start_ns)
            ends.append(earlier.end_ns)
            n_bytes += earlier.n_bytes
        else:
            wall_ns = msgspec.msgpack.decode(at, type=Stamp).wall_ns
            starts.append(wall_ns)
            ends.append(wall_ns)
    return Eviction(reason="outbox full", n_items=n_items, n_bytes=n_bytes, start_ns=min(starts), end_ns=max(ends))


def _ensure_schema(path: Path) -> None:
    """Migrate where needed, in a child process; refuse a newer file without touching it."""
    try:
        connection = sqlite3.connect(path)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.close()
    except sqlite3.DatabaseError as error:
        raise StorageError(f"{path}: {error}; move it away to start with an empty outbox") from None
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"{path}: written by a newer Tocsin (schema {version}, this one knows {SCHEMA_VERSION}); left untouched"
        )
    if version < SCHEMA_VERSION:
        done = subprocess.run([sys.executable, "-m", "agent.migrate", str(path)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise StorageError(f"{path}: migration failed: {done.stderr.strip().splitlines()[-1:]}")
