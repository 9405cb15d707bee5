"""The lake: Delta tables in a folder by default, in `s3://` or `hdfs://` by URL.

Invariants:
1. A batch is written with the position of its last record as a Delta application transaction, in the same commit. After
   a crash between that commit and the reader's own note of its position, the table itself says how far it is:
   nothing is written twice.
2. On a local disk, `append` returns only after the commit's files are synced: the ingest log forgets what the lake has.
3. Readers name a version or take the newest; a version never changes, and stays readable until `vacuum` forgets it.
4. Compaction, deletion and vacuum may be cut off anywhere: what is not committed is a file that nobody names, and goes with
   the next vacuum.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import ColumnProperties, CommitProperties, DeltaTable, Schema, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from hub.lake.tables import PARTITIONS, SCHEMAS, TABLES, TableName
from models.errors import StorageError

COMPACTED_BYTES: Final = 32 * 1024 * 1024  # a file of this size is not rewritten again
_ATTEMPTS: Final = 5  # of a change that others' commits came before
_CHECKPOINTS: Final = {"delta.checkpointInterval": "20"}  # commits: what came since is read, entry by entry, with each one


@dataclass(frozen=True)
class TableState:
    """`n_small`: files that compaction would still rewrite. `first_day`, `last_day`: ISO dates, "" for an empty table."""

    version: int
    n_files: int
    n_small: int
    n_bytes: int
    n_rows: int
    first_day: str
    last_day: str


@dataclass(frozen=True)
class LakeSize:
    """One table's rows, the bytes of its files, and how many files those are."""

    n_rows: int
    n_bytes: int
    n_files: int


@dataclass(frozen=True)
class LakeDay:
    """A day (ISO) of one table."""

    day: str
    n_rows: int
    n_bytes: int


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
        only: ds.Expression | None = None,
    ) -> pa.Table:
        """Rows of one profile (and spec), in no particular order; columns as in `hub.lake.tables.SCHEMAS`. `only`: those for
        which it holds."""
        ...

    def state(self, table: TableName) -> TableState:
        """What the newest version consists of."""
        ...

    def compact(self, table: TableName, min_files: int = 2) -> int:
        """Rewrite small files of a partition as larger ones, where there are at least `min_files` of them; how many files
        that took away. Older versions stay readable."""
        ...

    def delete(self, table: TableName, where: str) -> int:
        """Take the rows out for which this SQL condition holds; how many that were. Older versions still have them."""
        ...

    def vacuum(self, table: TableName, keep_versions_h: int) -> int:
        """Remove files that no version of the last hours needs; how many. Versions before are no longer readable. With 0 hours
        nobody may be writing: what a writer has not committed yet goes as well."""
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
                    DeltaTable.create(
                        self._uri(table),
                        SCHEMAS[table],
                        mode="ignore",
                        partition_by=PARTITIONS[table],
                        configuration=_CHECKPOINTS,
                    )
                else:
                    _add_columns(DeltaTable(self._uri(table)), SCHEMAS[table])
                    self._configure(table, _CHECKPOINTS)
        except (DeltaError, OSError) as error:
            raise StorageError(f"lake {self._root}: {error}") from error

    def append(self, table: TableName, rows: pa.Table, log_id: str, position: int) -> None:
        note = CommitProperties(app_transactions=[Transaction(_app_id(log_id), position)])

        def add(delta: DeltaTable) -> int:
            write_deltalake(
                delta,
                rows,
                mode="append",
                schema_mode="merge",  # columns that a newer version has added are left null
                commit_properties=note,
                writer_properties=_writing(table),
            )
            return int(rows.num_rows)

        self._changed(table, add)

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
        only: ds.Expression | None = None,
    ) -> pa.Table:
        wanted = ds.field("profile") == profile
        if spec_hash is not None:
            wanted &= ds.field("spec_hash") == spec_hash
        if only is not None:
            wanted &= only
        return self.dataset("aggregates", version).to_table(columns=list(columns) if columns else None, filter=wanted)

    def size(self, table: TableName) -> LakeSize:
        """Of the newest version, from the table's log alone."""
        files = pa.table(self._open(table).get_add_actions(flatten=True))
        n_rows = pc.sum(files.column("num_records")).as_py() or 0
        return LakeSize(n_rows, pc.sum(files.column("size_bytes")).as_py() or 0, files.num_rows)

    def state(self, table: TableName) -> TableState:
        delta = self._open(table)
        files = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
        days = sorted(str(file["partition.day"]) for file in files)
        return TableState(
            version=int(delta.version()),
            n_files=len(files),
            n_small=sum(n for n in _small_files(files).values() if n > 1),
            n_bytes=sum(file["size_bytes"] for file in files),
            n_rows=sum(file["num_records"] or 0 for file in files),
            first_day=days[0] if days else "",
            last_day=days[-1] if days else "",
        )

    def days(self, table: TableName) -> list[LakeDay]:
        """What the newest version holds of each day, by day."""
        files = pa.table(self._open(table).get_add_actions(flatten=True))
        if not files.num_rows:
            return []
        sums = [("num_records", "sum"), ("size_bytes", "sum")]
        rows = files.group_by("partition.day").aggregate(sums).sort_by("partition.day").to_pylist()
        return [LakeDay(str(row["partition.day"]), row["num_records_sum"] or 0, row["size_bytes_sum"]) for row in rows]

    def latest(self, table: TableName, limit: int = 300) -> dict[str, int]:
        """When each kind of operation (WRITE, OPTIMIZE, DELETE, VACUUM END, …) was last, Unix ms, among the newest commits."""
        found: dict[str, int] = {}
        for commit in self._open(table).history(limit):
            found.setdefault(str(commit.get("operation", "")), int(commit.get("timestamp", 0)))
        return found

    def compact(self, table: TableName, min_files: int = 2) -> int:
        files = pa.table(self._open(table).get_add_actions(flatten=True)).to_pylist()
        return sum(
            self._changed(table, partial(_compact, table=table, partition=partition))
            for partition, n_small in sorted(_small_files(files).items())
            if n_small >= max(2, min_files)
        )

    def delete(self, table: TableName, where: str) -> int:
        return self._changed(table, lambda delta: int(delta.delete(where)["num_deleted_rows"] or 0))

    def vacuum(self, table: TableName, keep_versions_h: int) -> int:
        if keep_versions_h:  # what the log says of older versions goes as well: each commit looks through all of its entries
            self._configure(table, {"delta.logRetentionDuration": f"interval {keep_versions_h} hours"})
        delta = self._open(table)
        vacuum = partial(delta.vacuum, keep_versions_h, enforce_retention_duration=False, full=True)
        gone = vacuum(dry_run=True)
        if "://" not in self._root:  # it lists again what went long ago
            gone = [name for name in gone if (Path(self._uri(table)) / unquote(name)).exists()]
        if not gone:  # a vacuum is two commits
            return 0
        delta.create_checkpoint()
        vacuum(dry_run=False)
        delta.cleanup_metadata()
        if "://" not in self._root:
            _sync_log(Path(self._uri(table)))
        return len(gone)

    def _configure(self, table: TableName, properties: dict[str, str]) -> None:
        def configure(delta: DeltaTable) -> int:
            delta.alter.set_table_properties(properties)
            return len(properties)

        known = self._open(table).metadata().configuration
        if any(known.get(name) != value for name, value in properties.items()):
            self._changed(table, configure)

    def _changed(self, table: TableName, change: Callable[[DeltaTable], int]) -> int:
        """Apply a change to the newest version, anew where somebody else's commit came first. Durable when it returns."""
        for attempt in range(_ATTEMPTS):
            delta = self._open(table)
            before = delta.version()
            try:
                n_changed = change(delta)
            except CommitFailedError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            if "://" not in self._root:
                for version in range(before + 1, delta.version() + 1):
                    _sync_commit(Path(self._uri(table)), version)
            return n_changed
        raise AssertionError("unreachable")

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


def _small_files(files: Sequence[dict[str, Any]]) -> Counter[tuple[tuple[str, str], ...]]:
    """How many files each partition has that compaction would rewrite."""
    return Counter(
        tuple((name.removeprefix("partition."), str(file[name])) for name in sorted(file) if name.startswith("partition."))
        for file in files
        if file["size_bytes"] < COMPACTED_BYTES
    )


def _compact(delta: DeltaTable, table: TableName, partition: tuple[tuple[str, str], ...]) -> int:
    filters = [(name, "=", value) for name, value in partition]
    done = delta.optimize.compact(
        filters, target_size=COMPACTED_BYTES, max_concurrent_tasks=1, writer_properties=_writing(table)
    )
    return int(done["numFilesRemoved"])


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
    """Sync the files that commit `version` added, its log entry, a checkpoint that came with it, and the directories that
    name them."""
    entry = table_dir / "_delta_log" / f"{version:020}.json"
    actions = [json.loads(line) for line in entry.read_text(encoding="utf-8").splitlines()]
    files = [table_dir / unquote(action["add"]["path"]) for action in actions if "add" in action]
    _sync([*files, entry, *{file.parent for file in files}, entry.parent])
    if entry.with_suffix(".checkpoint.parquet").exists():  # not by looking through the log: it is long
        _sync_log(table_dir)


def _sync_log(table_dir: Path) -> None:
    """Sync the checkpoints of a table's log, and what names the last one."""
    log_dir = table_dir / "_delta_log"
    _sync([*log_dir.glob("*.checkpoint*"), *log_dir.glob("_last_checkpoint"), log_dir])


def _sync(paths: Iterable[Path]) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
