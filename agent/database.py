"""Stand-in until the outbox's storage is merged."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.migrate import SCHEMA_VERSION
from models.errors import StorageError


class Database:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        _ensure_schema(path)
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        self.connection.execute("PRAGMA wal_autocheckpoint=500")
        self._depth = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self.lock:
            if self._depth:
                yield
                return
            self._depth = 1
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                yield
                self.connection.execute("COMMIT")
            except BaseException as error:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise StorageError(f"{self.path}: {error}") from error
                raise
            finally:
                self._depth = 0

    def close(self) -> None:
        with self.lock:
            self.connection.close()


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
