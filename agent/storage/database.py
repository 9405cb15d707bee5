"""The device's database: one SQLite file and the outbox's tail beside it, opened, checked, migrated, and set aside if damaged.

Invariants:
1. What a transaction brought is on disk when its outermost `transaction()` ends (`synchronous=FULL`), or it never was:
   then those who take part (`Participant`) are told, and their memory is as before.
2. Starting never fails on stored data: files that cannot be used are set aside under a name with the time, what can be
   read of them is handed on (`salvaged`), and a new epoch begins, for nobody knows what the hub has seen of the old one.
3. A file of a newer version is refused and left untouched.
4. Damage found while running leaves a mark (`outbox.db.suspect`) and ends in StorageError: the agent exits, the service
   manager starts it again, and starting is the one way in which damage is dealt with. Nothing in memory has to be trusted.

One process writes: the directory is locked by whoever holds the state directory (`agent/state_dir.py`).
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from agent.storage.migrate import SCHEMA_VERSION
from agent.storage.salvage import Salvaged, interrupted, read_what_can_be_read, set_aside
from agent.storage.tail import Heads, Scan, Tail, scan, tail_fault
from models.contract.items import LANES
from models.contract.names import is_name
from models.errors import StorageError

log = logging.getLogger("tocsin.storage")
_MALFORMED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
_UNREADABLE: Final = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ)  # a bad sector
_QUICK_CHECK_BYTES: Final = 4 * 1024 * 1024  # a file up to this size is checked whole at each start: some milliseconds
_TAIL_BLOCKS: Final = 64
_CHECKPOINT_PAGES: Final = 256  # 1 MB: the WAL is no larger than that and one transaction


class DamagedError(StorageError):
    """Stored data that cannot be what was written; the next start deals with it."""


class Participant(Protocol):
    """Who keeps in memory what a transaction changes."""

    def begin(self) -> None:
        """Remember how things are."""

    def rolled_back(self) -> None:
        """Be as you were at `begin`."""

    def committed(self) -> None:
        """It is on disk."""


class Database:
    """Thread-safe: a transaction has the lock to itself. Raises StorageError where the file is of a newer version."""

    def __init__(self, path: Path, tail_blocks: int = 64, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.path = path
        self.tail_path = path.with_suffix(".tail")
        self.lock = threading.RLock()
        self.salvaged: Salvaged | None = None
        self._participants: list[Participant] = []
        self._depth = 0
        self._doomed = False
        self.set_aside_ns = 0
        self.damage: DamagedError | None = None
        try:
            self._open_or_start_over(now_ns())
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from None
        try:
            self.tail = Tail(self.tail_path, tail_blocks)
            self.tail.erase(self.scan.unfinished)
        except OSError as error:
            self.connection.close()
            raise StorageError(f"{self.tail_path}: {error.strerror}") from None

    # --- opening -------------------------------------------------------------------------------------------------

    def _open(self) -> str | None:
        """Open and check; the reason why what is there cannot be used, or None. `scan` and `heads` are what was found."""
        suspect = self.path.with_name(self.path.name + ".suspect")
        self.scan = Scan([], torn=False)
        if not self.path.exists() and (self.tail_path.exists() or suspect.exists()):
            return "the database is missing"
        try:
            self._ensure_schema()
            if suspect.exists():
                return f"damage was found while running: {suspect.read_text(errors='replace')[:200]}"
            self.connection = self._connect()
            reason = self._fault()
        except sqlite3.OperationalError as error:
            if _code(error) not in _UNREADABLE and _code(error) & 0xFF not in _MALFORMED:
                raise StorageError(f"{self.path}: {error}") from None  # no room, no access: no damage
            reason = str(error)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            reason = f"{error.filename}: {error.strerror}"
        except (sqlite3.DatabaseError, msgspec.MsgspecError, ValueError, KeyError, TypeError) as error:
            reason = str(error)
        if reason is not None and hasattr(self, "connection"):
            self.connection.close()
        return reason

    def _ensure_schema(self) -> None:
        """Migrate where needed, in a child process; refuse a newer file without touching it."""
        version = _version(self.path)
        if version > SCHEMA_VERSION:
            raise StorageError(
                f"{self.path}: written by a newer Tocsin (schema {version}, this one knows {SCHEMA_VERSION}); left untouched"
            )
        if version < SCHEMA_VERSION:
            self._migrate()

    def _migrate(self) -> None:
        command = [sys.executable, "-m", "agent.storage.migrate", str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["killed"])[-1]
            if "unable to open" in said or "readonly" in said or "full" in said:
                raise StorageError(f"{self.path}: migration failed: {said}")
            raise ValueError(f"migration failed: {said}")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        return connection

    def _fault(self) -> str | None:
        """What is wrong with files that open: the database by SQLite's own check, the tail by its CRCs, each by the other."""
        if self.path.stat().st_size <= _QUICK_CHECK_BYTES:
            said = self.connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if said != "ok":
                return str(said)
        notes = dict(self.connection.execute("SELECT key, value FROM meta"))
        if not is_name(str(notes.get("epoch", "none-yet"))) or not str(notes.get("starts", 0)).isdecimal():
            return "a note in it is not as it was written"
        heads = self.stored_heads()
        if self.tail_path.exists():
            self.scan = scan(self.tail_path.read_bytes())
            return tail_fault(self.scan, heads) or _sequence_fault(self.connection, heads)
        return "the tail is missing" if "epoch" in notes and heads.number else None

    def stored_heads(self) -> Heads:
        """Where the sequences stood at the last commit that went into the database."""
        row = self.connection.execute("SELECT value FROM meta WHERE key='heads'").fetchone()
        if row is None:
            raise ValueError("no heads")
        return msgspec.msgpack.decode(bytes.fromhex(row[0]), type=Heads)

    def _open_or_start_over(self, now_ns: int) -> None:
        reason = self._open()
        base = interrupted(self.path)
        if reason is None and base is None:
            return
        if reason is None and base is not None:  # a start was cut off: before or after what it read was stored
            if self.connection.execute("SELECT count(*) FROM meta WHERE key='epoch'").fetchone()[0]:
                read_what_can_be_read(base, "").finish(0)
                return
            reason = "an earlier start was cut off while it read what had been set aside"
        else:
            base = set_aside(self.path, now_ns)
        self.set_aside_ns = now_ns
        self.salvaged = read_what_can_be_read(base, reason or "")
        self.scan = Scan([], torn=False)
        log.error("%s: %s", self.path, self.salvaged)
        if not self.path.exists():
            self._ensure_schema()
            self.connection = self._connect()

    # --- transactions --------------------------------------------------------------------------------------------

    def join(self, participant: Participant) -> None:
        """Let `participant` be told of each outermost transaction's end."""
        self._participants.append(participant)

    @property
    def in_transaction(self) -> bool:
        """Whether the calling thread is inside `transaction()`; to be asked with the lock held."""
        return self._depth > 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, synced at the outermost end; an inner one joins. Raises StorageError where SQLite cannot."""
        with self.lock:
            if self._depth:
                try:
                    yield
                except BaseException:
                    self._doomed = True  # what it did in part must not be committed by whoever catches this
                    raise
                return
            for participant in self._participants:
                participant.begin()
            self._depth, self._doomed = 1, False
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                yield
                self._refuse_if_doomed()
                self.connection.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):
                    if self.connection.in_transaction:  # on a full disk SQLite may have rolled back by itself
                        self.connection.execute("ROLLBACK")
                for participant in self._participants:
                    participant.rolled_back()
                if isinstance(error, sqlite3.Error):
                    raise self.failed(error) from error
                raise
            finally:
                self._depth = 0
            for participant in self._participants:
                participant.committed()

    def _refuse_if_doomed(self) -> None:
        if self._doomed:
            raise StorageError(f"{self.path}: a part of the transaction failed")

    def failed(self, error: Exception) -> StorageError:
        """The error to raise for what SQLite said; damage is marked for the next start."""
        if _code(error) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self.damaged(str(error))
        return StorageError(f"{self.path}: {error}")

    def damaged(self, what: str) -> DamagedError:
        """The error to raise where stored data is not what was written; leaves the mark that the next start looks for."""
        with suppress(OSError):
            self.path.with_name(self.path.name + ".suspect").write_text(what)
        self.damage = DamagedError(f"{self.path}: {what}; the next start sets it aside and goes on with what can be read")
        return self.damage

    # --- space ---------------------------------------------------------------------------------------------------

    @property
    def file_bytes(self) -> int:
        """What the files take on disk now: database, WAL, shared index and tail."""
        names = ("", "-wal", "-shm")
        files = [self.tail_path, *(self.path.with_name(self.path.name + suffix) for suffix in names)]
        n_bytes = 0
        for file in files:
            with suppress(FileNotFoundError):
                n_bytes += file.stat().st_size
        return n_bytes

    @property
    def wal_bytes(self) -> int:
        try:
            return Path(f"{self.path}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def pages(self) -> tuple[int, int, int]:
        """(pages of the file, free ones among them, bytes of a page)."""
        one = [
            self.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        ]
        return one[0], one[1], one[2]

    def give_back(self, n_pages: int) -> None:
        """Shorten the file by up to `n_pages` free pages, and the WAL to nothing."""
        with self.lock, suppress(sqlite3.OperationalError):  # a reader is in the way, or the disk is full: later, then
            if n_pages:
                self.connection.executescript(f"PRAGMA incremental_vacuum({n_pages})")  # a step a page: `execute` takes one
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        with self.lock:
            self.tail.close()
            self.connection.close()


def _code(error: Exception) -> int:
    """SQLite's own. For text that is no UTF-8 Python gives none: that is damage like any other."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT if isinstance(error, sqlite3.OperationalError) else 0)
    return code


def _sequence_fault(connection: sqlite3.Connection, heads: Heads) -> str | None:
    """Whether the chunks of each lane follow each other, from what was confirmed to the number that was given last."""
    acked = dict(zip(LANES, heads.acked, strict=True))
    ends = dict(acked)
    rows = "SELECT lane, first_seq, last_seq, n_items, typeof(data) FROM chunks ORDER BY lane, first_seq"
    for lane, first, last, n_items, data in connection.execute(rows):
        if data != "blob" or not isinstance(n_items, int):
            return f"lane {lane} has a row at {first} that is no chunk"
        expected = ends[lane] + 1
        follows = first <= expected <= last if ends[lane] == acked[lane] else first == expected <= last
        if not follows:
            return f"lane {lane} has {first}..{last} where {expected} should follow"
        ends[lane] = last
    for lane, next_seq in zip(LANES, heads.next_seq, strict=True):
        if ends[lane] >= next_seq:
            return f"lane {lane} has {ends[lane]}, and {next_seq} is yet to be given"
    return None


def _version(path: Path) -> int:
    """The schema's version as the file has it; opens it for reading only, so that a newer file's WAL stays as it is."""
    if not path.exists() or not path.stat().st_size:
        return 0
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()
