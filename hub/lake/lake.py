"""The lake: Delta tables in a folder by default, in `s3://` or `hdfs://` by URL.

Invariants:
1. A batch is written with the position of its last record as a Delta application transaction, in the same commit. After
   a crash between that commit and the reader's own note of its position, the table itself says how far it is:
   nothing is written twice.
2. On a local disk, `append` returns only after the commit's files are synced: the ingest log forgets what the lake has.
3. Readers name a version or take the newest; a version never changes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import ColumnProperties, CommitProperties, DeltaTable, Schema, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from hub.lake.tables import PARTITIONS, SCHEMAS, TABLES, TableName
from models.errors import StorageError


class Lake(Protocol):
    """The seam of storage. One writer at a time; readers as many as there are."""

    def append(self, table: TableName, rows: pa.Table, log_id: str, position: int) -> None:
        """Add `rows` and note that `table` has everything of log `log_id` up to `position`, in one commit."""
        ...

    def position(self, table: TableName, log_id: str) -> int:
        """Up to where `table` has the log `log_id`; 0 where it has nothing of it."""
        ...

    def dataset(self, table: TableName, version: int | None = None) -> ds.Dataset:
        """The table for reading, at `version` or as it is now."""
        ...

    def version(self, table: TableName) -> int:
        """The newest version; 0 for an empty table."""
        ...

    def aggregates(
        self,
        profile: str,
        spec_hash: str | None = None,
        columns: Sequence[str] | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows of one profile (and spec), in no particular order; columns as in `hub.lake.tables.SCHEMAS`."""
        ...

    def compact(self, table: TableName) -> int:
        """Rewrite small files as larger ones; how many files that took away. Older versions stay readable."""
        ...


def open_lake(lake_url: str) -> DeltaLake:
    """The lake at a folder or URL; its tables are made where they are missing. Raises StorageError."""
    return DeltaLake(lake_url)


class DeltaLake:
    """The embedded default and, by URL, the shared one."""

    def __init__(self, lake_url: str) -> None:
        self._root = lake_url.rstrip("/").removeprefix("file://")
        try:
            for table in TABLES:
                if not DeltaTable.is_deltatable(self._uri(table)):
                    DeltaTable.create(self._uri(table), SCHEMAS[table], mode="ignore", partition_by=PARTITIONS[table])
                else:
                    _add_columns(DeltaTable(self._uri(table)), SCHEMAS[table])
        except (DeltaError, OSError) as error:
            raise StorageError(f"lake {self._root}: {error}") from error

    def append(self, table: TableName, rows: pa.Table, log_id: str, position: int) -> None:
        delta = self._open(table)
        note = CommitProperties(app_transactions=[Transaction(_app_id(log_id), position)])
        write_deltalake(delta, rows, mode="append", commit_properties=note, writer_properties=_writing(table))
        if "://" not in self._root:
            _sync_commit(Path(self._uri(table)), delta.version())

    def position(self, table: TableName, log_id: str) -> int:
        return self._open(table).transaction_version(_app_id(log_id)) or 0

    def dataset(self, table: TableName, version: int | None = None) -> ds.Dataset:
        return self._open(table, version).to_pyarrow_dataset()

    def version(self, table: TableName) -> int:
        return int(self._open(table).version())

    def aggregates(
        self,
        profile: str,
        spec_hash: str | None = None,
        columns: Sequence[str] | None = None,
        version: int | None = None,
    ) -> pa.Table:
        wanted = ds.field("profile") == profile
        if spec_hash is not None:
            wanted &= ds.field("spec_hash") == spec_hash
        return self.dataset("aggregates", version).to_table(columns=list(columns) if columns else None, filter=wanted)

    def compact(self, table: TableName) -> int:
        delta = self._open(table)
        removed = int(delta.optimize.compact()["numFilesRemoved"])
        if removed and "://" not in self._root:
            _sync_commit(Path(self._uri(table)), delta.version())
        return removed

    def _open(self, table: TableName, version: int | None = None) -> DeltaTable:
        try:
            return DeltaTable(self._uri(table), version=version)
        except TableNotFoundError as error:
            raise StorageError(f"lake {self._root}: no table {table}") from error
        except DeltaError as error:
            raise StorageError(f"lake {self._root}: {table}: {error}") from error

    def _uri(self, table: TableName) -> str:
        return f"{self._root}/{table}"


def _add_columns(delta: DeltaTable, schema: pa.Schema) -> None:
    """Columns that came with this version: null in the rows that are there."""
    known = {field.name for field in delta.schema().fields}
    missing = pa.schema([field for field in schema if field.name not in known])
    if len(missing):
        delta.alter.add_columns(list(Schema.from_arrow(missing).fields))


@cache
def _writing(table: TableName) -> WriterProperties:
    """Texts repeat, so a dictionary of them pays; numbers hardly do, and one of measured values takes longer to build than
    all the rest of a commit."""
    plain = ColumnProperties(dictionary_enabled=False)
    texts = {field.name: ColumnProperties(dictionary_enabled=True) for field in SCHEMAS[table] if field.type == pa.string()}
    return WriterProperties(compression="SNAPPY", default_column_properties=plain, column_properties=texts)


def _app_id(log_id: str) -> str:
    return f"tocsin-ingest-{log_id}"


def _sync_commit(table_dir: Path, version: int) -> None:
    """Sync the files that commit `version` added, its log entry, and the directories that name them."""
    entry = table_dir / "_delta_log" / f"{version:020}.json"
    actions = [json.loads(line) for line in entry.read_text(encoding="utf-8").splitlines()]
    files = [table_dir / unquote(action["add"]["path"]) for action in actions if "add" in action]
    for path in [*files, entry, *{file.parent for file in files}, entry.parent]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
