"""What becomes of stored data that cannot be used as it is: set aside whole, and read as far as it can be.

    outbox.db.salvage-TIME, -wal, .tail     while it is being read: a start that is cut off begins again with these
    outbox.db.damaged-TIME, -wal, .tail     afterwards; the two newest are kept, if they fit the outbox's budget

Invariants:
1. Set-aside files are opened for reading only.
2. An item is taken only if its chunk's checksum holds; one that the hub had confirmed, as far as is known, is left out.
3. Each item is taken once, each lane in its old order. The numbers are the old epoch's: they are given anew, because the
   hub may have seen numbers that these files no longer know of.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.storage.chunk import decode_chunk, unpack
from agent.storage.migrate import CHUNK_ITEMS, old_items
from agent.storage.tail import Heads, Record, counting, scan
from models.contract.items import LANES, Item
from models.errors import ItemError

_KEEP: Final = 2
_TIME_LENGTH: Final = len("20261126T204500Z")
_SUFFIXES: Final = ("", "-wal", ".tail")


@dataclass(slots=True)
class Salvaged:
    """What a damaged outbox still tells. `heads`: the furthest that any part of it knows; None = nothing does.

    `journal`: its rows (source, data), as far as they can be read. `lost_states`: assets whose state cannot be read.
    `found`: by lane, how many sequence numbers `items` has accounted for; complete once it has been read to its end.
    """

    base: Path
    reason: str
    epoch: str = ""
    starts: int = 0
    states: dict[str, bytes] = field(default_factory=dict)
    lost_states: list[str] = field(default_factory=list)
    heads: Heads | None = None
    tail: list[Record] = field(default_factory=list)
    journal: list[tuple[str, bytes]] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.reason}; set aside as {self.damaged_name}, a new epoch begins"

    @property
    def damaged_name(self) -> str:
        return self.base.name.replace(".salvage-", ".damaged-")

    @property
    def n_lost(self) -> int | None:
        """How many sequence numbers were neither confirmed nor found; None = nobody can say. After `items` was read."""
        if self.heads is None:
            return None
        waiting = sum(n - 1 - acked for n, acked in zip(self.heads.next_seq, self.heads.acked, strict=True))
        return max(0, waiting - sum(self.found.values()))

    def items(self) -> Iterator[list[Item]]:
        """What can be read, lane by lane in order, some at a time."""
        acked = dict(zip(LANES, self.heads.acked if self.heads else (0, 0, 0), strict=True))
        for lane in LANES:
            last = acked[lane]
            for batch in self._batches(lane):
                fresh = [item for item in batch if item.lane == lane and item.seq > last]
                for item in fresh:
                    self.found[lane] = self.found.get(lane, 0) + item.seq - max(item.first_seq - 1, last)
                    last = item.seq
                if fresh:
                    yield fresh

    def _batches(self, lane: str) -> Iterator[list[Item]]:
        for data in _chunks(self.base, lane):
            with suppress(ItemError):
                yield decode_chunk(data)
        yield from _old_batches(self.base, lane)
        for record in self.tail:
            with suppress(ItemError):
                yield decode_chunk(record.chunk) if record.chunk else []

    def finish(self, max_bytes: int) -> None:
        """All of it is stored elsewhere: rename, and let go of older ones; one stays if it is within `max_bytes` with this."""
        for suffix in _SUFFIXES:
            file = Path(f"{self.base}{suffix}")
            if file.exists():
                file.rename(file.with_name(file.name.replace(".salvage-", ".damaged-")))
        Path(f"{self.base}-shm").unlink(missing_ok=True)
        _forget_old(self.base.parent, self.base.name.split(".salvage-")[0], max_bytes)


def set_aside(path: Path, now_ns: int) -> Path:
    """Move the database at `path`, its WAL and its tail out of the way; the new name of the database. Raises OSError.

    Where an earlier start had begun to, go on with that. A database that it had begun to fill already is let go of.
    """
    at = datetime.fromtimestamp(now_ns // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
    base = interrupted(path) or path.with_name(f"{path.name}.salvage-{at}")
    begun_anew = base.exists() and path.exists()
    for file, suffix in ((path, ""), (Path(f"{path}-wal"), "-wal"), (path.with_suffix(".tail"), ".tail")):
        if begun_anew:
            file.unlink(missing_ok=True)
        elif file.exists():
            file.rename(Path(f"{base}{suffix}"))
    Path(f"{path}-shm").unlink(missing_ok=True)
    Path(f"{path}.suspect").unlink(missing_ok=True)
    return base


def interrupted(path: Path) -> Path | None:
    """What an earlier start had set aside and not finished reading."""
    for file in sorted(path.parent.glob(f"{path.name}.salvage-*")):
        return Path(str(file).removesuffix("-wal").removesuffix(".tail").removesuffix("-shm"))
    return None


def read_what_can_be_read(base: Path, reason: str) -> Salvaged:
    """Never raises on content."""
    salvaged = Salvaged(base, reason)
    heads = []
    with suppress(sqlite3.Error, OSError), closing(_connect(base)) as connection:
        meta = dict(_texts(connection, "meta", "key", "value"))
        salvaged.epoch = meta.get("epoch", b"").decode(errors="replace")[:64]
        with suppress(ValueError):
            salvaged.starts = int(meta.get("starts", 0))
        with suppress(ValueError, msgspec.MsgspecError):
            heads.append(msgspec.msgpack.decode(bytes.fromhex(meta["heads"].decode()), type=Heads) if "heads" in meta else None)
        for asset, state in _texts(connection, "asset_state", "asset", "state"):
            try:
                salvaged.states[asset] = unpack(state)
            except ItemError:
                salvaged.lost_states.append(asset)
        salvaged.journal = _journal(connection)
    stored = heads[0] if heads else None
    tail = Path(f"{base}.tail")
    if tail.exists():
        alive, _ = counting(scan(tail.read_bytes()).records)
        salvaged.tail = [record for record in alive if stored is None or record.heads.number > stored.number]
        heads += [record.heads for record in alive[-1:]]
    salvaged.heads = _furthest([each for each in heads if each is not None])
    return salvaged


def _furthest(known: list[Heads]) -> Heads | None:
    if not known:
        return None
    next_seq = [max(column) for column in zip(*(heads.next_seq for heads in known), strict=True)]
    acked = [max(column) for column in zip(*(heads.acked for heads in known), strict=True)]
    progress = {asset: max(heads.progress.get(asset, 0) for heads in known) for heads in known for asset in heads.progress}
    return msgspec.structs.replace(known[0], next_seq=next_seq, acked=acked, progress=progress)


def _connect(base: Path) -> sqlite3.Connection:
    if not base.exists() or not base.stat().st_size:
        raise FileNotFoundError(base)
    return sqlite3.connect(f"{base.absolute().as_uri()}?mode=ro", uri=True)


def _chunks(base: Path, lane: str) -> Iterator[bytes]:
    """The data of the lane's chunks in order."""
    with suppress(sqlite3.Error, OSError), closing(_connect(base)) as connection:
        for first_seq in _numbers(connection, "first_seq", "chunks", lane):
            for row in _rows(connection, "SELECT data FROM chunks WHERE lane=? AND first_seq=?", lane, first_seq):
                if isinstance(row[0], bytes):
                    yield row[0]


def _journal(connection: sqlite3.Connection) -> list[tuple[str, bytes]]:
    """Its rows (source, data) in order, read from both ends: what lies between two torn pages is lost."""
    found: dict[int, tuple[str, bytes]] = {}
    for order in ("", " DESC"):
        sql = f"SELECT id, CAST(source AS BLOB), CAST(data AS BLOB) FROM journal ORDER BY id{order}"  # noqa: S608
        for row_id, source, data in _rows(connection, sql):
            if source is not None and data is not None:
                found[row_id] = (source.decode(errors="replace"), data)
    return [found[row_id] for row_id in sorted(found)]


def _old_batches(base: Path, lane: str) -> Iterator[list[Item]]:
    """What a file of version 1 has."""
    with suppress(sqlite3.Error, OSError), closing(_connect(base)) as connection:
        numbers = iter(_numbers(connection, "seq", "items", lane))
        while batch := list(islice(numbers, CHUNK_ITEMS)):
            items: list[Item] = []
            for number in batch:
                with suppress(sqlite3.Error, msgspec.MsgspecError, UnicodeDecodeError, TypeError):
                    items += old_items(connection, lane, number)
            yield items


def _numbers(connection: sqlite3.Connection, column: str, table: str, lane: str) -> list[int]:
    """The numbers in a table, by its index and by its rows, each from both ends: what lies between two torn pages is lost."""
    found: set[int] = set()
    for source in (table, f"{table} NOT INDEXED"):
        for order in ("", " DESC"):
            by = column if source == table else "rowid"
            sql = f"SELECT {column} FROM {source} WHERE lane=? ORDER BY {by}{order}"  # noqa: S608  # names of this file's own
            rows = _rows(connection, sql, lane)
            found.update(row[0] for row in rows if isinstance(row[0], int))
    return sorted(found)


def _texts(connection: sqlite3.Connection, table: str, key: str, value: str) -> Iterator[tuple[str, bytes]]:
    """Each key with its value, whatever damage made of them."""
    sql = f"SELECT CAST({key} AS BLOB), CAST({value} AS BLOB) FROM {table}"  # noqa: S608  # names of this file's own
    for name, data in _rows(connection, sql):
        if name is not None:
            yield name.decode(errors="replace"), data or b""


def _rows(connection: sqlite3.Connection, sql: str, *arguments: Any) -> Iterator[tuple[Any, ...]]:
    """The rows up to the first that cannot be read."""
    with suppress(sqlite3.Error):
        yield from connection.execute(sql, arguments)


def _forget_old(directory: Path, name: str, max_bytes: int) -> None:
    """Keep the newest, and one older where both are within `max_bytes`."""
    sets: dict[str, list[Path]] = {}
    for file in sorted(directory.glob(f"{name}.damaged-*")):
        sets.setdefault(file.name.removeprefix(f"{name}.damaged-")[:_TIME_LENGTH], []).append(file)
    newest = sorted(sets, reverse=True)
    sizes = {time: sum(file.stat().st_size for file in files) for time, files in sets.items()}
    for i, time in enumerate(newest):
        if i and (i >= _KEEP or sum(sizes[each] for each in newest[: i + 1]) > max_bytes):
            for file in sets[time]:
                file.unlink(missing_ok=True)
