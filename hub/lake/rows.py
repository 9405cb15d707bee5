"""How ingested items become rows of the lake: column by column, without a Python object per feature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from itertools import accumulate
from typing import Any, Final

import numpy as np
import pyarrow as pa

from hub.ingest.log import LogRecord
from hub.lake.tables import SCHEMAS, SCORE, TABLE_OF, TableName
from models.contract.items import Body, SlotScore, decode_body

_FROM_RECORD: Final = ("device_id", "epoch", "lane", "seq", "received_ns")
_FROM_STAMP: Final = ("wall_ns", "mono_ns", "boot_id", "synced")


def rows_of(table: TableName, records: Sequence[LogRecord]) -> pa.Table:
    """The records that belong to `table`, as rows in the order given; the others are left out."""
    mine = [record for record in records if TABLE_OF.get(record.kind) == table]
    bodies = [decode_body(record.kind, record.body) for record in mine]
    schema = SCHEMAS[table]
    return pa.Table.from_arrays([_column(field, mine, bodies) for field in schema], schema=schema)


def day_of(unix_ns: int) -> date:
    """The UTC day of a Unix time in ns."""
    return datetime.fromtimestamp(unix_ns // 1_000_000_000, UTC).date()


def _column(field: pa.Field, records: list[LogRecord], bodies: list[Any]) -> pa.Array:
    name = field.name
    if name in _FROM_RECORD:
        return pa.array([getattr(record, name) for record in records], field.type)
    if name in _FROM_STAMP:
        return pa.array([getattr(record.at, name) for record in records], field.type)
    if name == "day":
        return pa.array([day_of(_time_of(record, body)) for record, body in zip(records, bodies, strict=True)], field.type)
    build: Callable[[list[Any]], pa.Array] | None = _LISTS.get(name)
    values = [getattr(body, name) for body in bodies]
    return build(values) if build is not None else pa.array(values, field.type)


def _time_of(record: LogRecord, body: Body) -> int:
    """What a row is filed under: when it was measured; health, which measures nothing, when it was said."""
    return getattr(body, "start_ns", record.at.wall_ns)


def _float_lists(packed: list[bytes]) -> pa.Array:
    """Little-endian float32 bytes as lists of float32."""
    offsets = list(accumulate((len(data) // 4 for data in packed), initial=0))
    values = np.frombuffer(b"".join(packed), dtype="<f4")
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.float32()))


def _score_lists(scores: list[list[SlotScore]]) -> pa.Array:
    offsets = list(accumulate(map(len, scores), initial=0))
    flat = [score for window in scores for score in window]
    columns = [pa.array([getattr(score, field.name) for score in flat], field.type) for field in SCORE]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.StructArray.from_arrays(columns, fields=list(SCORE)))


_LISTS: Final[dict[str, Callable[[list[Any]], pa.Array]]] = {
    "features": _float_lists,
    "values": _float_lists,
    "scores": _score_lists,
}
