"""Erasing a device: what it sent and what was made of it go from the ingest log, the state and the lake, and from the disk.

Invariants:
1. An erasure is a row from when it is asked for until it is done: one that was cut off is carried on by whoever looks next.
   Each step may be done twice.
2. The device's key goes first, so nothing new of it comes in; then, with all readers of the log paused, log, state and
   lake. It is done when another look finds nothing: what was under way at the first is found by then.
3. The audit log says how many records and rows went, and the lake's versions before and after. Versions from before are no
   longer readable: of any device, for the lake's files hold many devices' rows.

Not erased: entries of the audit log, the device's name in the plans of rollouts and, until they are forgotten, in incidents
that people were told of, and models that were trained on its data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, delete, insert, select

from hub.audit.log import record
from hub.ingest.log import IngestLog
from hub.lake.lake import Lake
from hub.lake.tables import TABLES
from hub.state.database import reading
from hub.state.schema import devices, erasures, metadata
from models.errors import StorageError

MAX_LOOKS: Final = 10
_OF_DEVICES: Final = [
    table for table in metadata.sorted_tables if "device_id" in table.c and table.name not in ("erasures", "devices")
]
Found = dict[str, Any]  # counts and versions, as the audit log takes them


def ask(connection: Connection, device_id: str, actor: str, now_ns: int) -> None:
    """Note that this device is to be erased; noting it twice is once."""
    if connection.execute(select(erasures.c.device_id).where(erasures.c.device_id == device_id)).first() is None:
        connection.execute(insert(erasures).values(device_id=device_id, actor=actor, asked_ns=now_ns))


def is_asked(connection: Connection, device_id: str) -> bool:
    """Whether an erasure of this device is waiting or under way."""
    return connection.execute(select(erasures.c.device_id).where(erasures.c.device_id == device_id)).first() is not None


def is_known(connection: Connection, device_id: str) -> bool:
    """Whether the state holds anything of this device."""
    return any(_first(connection, table, device_id) for table in (devices, *_OF_DEVICES))


class Eraser:
    """Carries out what was asked for; called from one thread at a time.

    `pauses`: of the log's readers. `forget_key`: makes the hub ask the database for the device's key again. `barrier`: returns
    once what had been admitted before is committed.
    """

    def __init__(
        self,
        engine: Engine,
        log: IngestLog,
        lake: Lake,
        pauses: Sequence[Callable[[], AbstractContextManager[bool]]] = (),
        forget_key: Callable[[str], None] = lambda _device_id: None,
        barrier: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._log = log
        self._lake = lake
        self._pauses = pauses
        self._forget_key = forget_key
        self._barrier = barrier

    def run(self, now_ns: int) -> int:
        """Do all that is asked for; how many devices that were. Raises the storage's errors, and is tried again then."""
        with reading(self._engine).connect() as connection:
            asked = connection.execute(select(erasures).order_by(erasures.c.asked_ns)).all()
        for row in asked:
            self._erase(row.device_id, row.actor, now_ns)
        return len(asked)

    def _erase(self, device_id: str, actor: str, now_ns: int) -> None:
        self._erase_state(device_id, [devices])
        self._forget_key(device_id)
        before = {table: self._lake.version(table) for table in TABLES}
        found: Found = {"log_records": 0, "state_rows": 0, "lake_rows": 0}
        for look in range(MAX_LOOKS):
            self._barrier()
            now_found = self._look(device_id)
            self._forget_key(device_id)  # again: what was under way at the first time brought what is gone by now back to mind
            found = {name: found[name] + now_found[name] for name in found}
            if look and not any(now_found.values()):
                break
        else:
            raise StorageError(f"{device_id} goes on sending while it is being erased")
        self._vacuum()
        found["lake_versions"] = {table: [before[table], self._lake.version(table)] for table in TABLES}
        with self._engine.begin() as connection:
            connection.execute(delete(erasures).where(erasures.c.device_id == device_id))
            record(connection, at_ns=now_ns, actor=actor, action="data.erase", subject=device_id, details=found)

    def _look(self, device_id: str) -> Found:
        """Erase what is there now; how much that was."""
        with ExitStack() as paused:
            for pause in self._pauses:
                paused.enter_context(pause())
            return {
                "log_records": self._log.erase(device_id),
                "state_rows": self._erase_state(device_id, _OF_DEVICES),
                "lake_rows": sum(self._lake.delete(table, f"device_id = {_quoted(device_id)}") for table in TABLES),
            }

    def _erase_state(self, device_id: str, tables: Sequence[Table]) -> int:
        sqlite = self._engine.dialect.name == "sqlite"
        with self._engine.connect() as connection:
            if sqlite:
                connection.exec_driver_sql("PRAGMA secure_delete=ON")  # for this connection: what goes is written over
            n_rows = sum(connection.execute(delete(table).where(table.c.device_id == device_id)).rowcount for table in tables)
            connection.commit()
            if sqlite:
                connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return n_rows

    def _vacuum(self) -> None:
        with ExitStack() as paused:
            for pause in self._pauses:
                paused.enter_context(pause())
            for table in TABLES:
                self._lake.vacuum(table, 0)


def _first(connection: Connection, table: Table, device_id: str) -> bool:
    return connection.execute(select(table.c.device_id).where(table.c.device_id == device_id).limit(1)).first() is not None


def _quoted(text: str) -> str:
    """As a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
