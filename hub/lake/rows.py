"""How ingested items become rows of the lake: column by column, without a Python object per feature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, chain, groupby
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from hub.ingest.log import LogRecord
from hub.lake.tables import SCHEMAS, SCORE, TABLE_OF, TableName
from models.contract.items import Body, SlotScore, decode_body

_AT_ONCE: Final = 100  # records: about a millisecond
_DAY_NS: Final = 86_400 * 1_000_000_000
_FROM_RECORD: Final = ("device_id", "epoch", "lane", "seq", "first_seq", "received_ns")
_FROM_STAMP: Final = ("wall_ns", "mono_ns", "boot_id", "synced")


def rows_of(table: TableName, records: Sequence[LogRecord], pause: Callable[[], object] = lambda: None) -> pa.Table:
    """The records that belong to `table`, as rows in the order given; the others are left out.

    Some at a time, with a `pause` after each: while a column is made, nothing else of the process runs, and devices wait for
    their answers.
    """
    mine = [record for record in records if TABLE_OF.get(record.kind) == table]
    parts = []
    for start in range(0, len(mine), _AT_ONCE):
        parts.append(_rows(table, mine[start : start + _AT_ONCE]))
        pause()
    return pa.concat_tables(parts).combine_chunks() if parts else SCHEMAS[table].empty_table()


def _rows(table: TableName, mine: list[LogRecord]) -> pa.Table:
    bodies: list[Any] = [decode_body(record.kind, record.body) for record in mine]
    if table == "rollups":  # a row for each group of windows
        parts = [(record, group) for record, body in zip(mine, bodies, strict=True) for group in body.groups]
        mine, bodies = [record for record, _ in parts], [group for _, group in parts]
    schema = SCHEMAS[table]
    return pa.Table.from_arrays([_column(field, mine, bodies) for field in schema], schema=schema)


def _column(field: pa.Field, records: list[LogRecord], bodies: list[Any]) -> pa.Array:
    name = field.name
    if name in _FROM_RECORD:
        return pa.array(map(attrgetter(name), records), field.type, size=len(records))
    if name in _FROM_STAMP:
        return pa.array(map(attrgetter(f"at.{name}"), records), field.type, size=len(records))
    if name == "day":
        return _days(records, bodies)
    if name == "part":
        return pa.array(_parts(records), field.type)
    build: Callable[[list[Any]], pa.Array] | None = _LISTS.get(name)
    values = list(map(attrgetter(name), bodies))
    return build(values) if build is not None else pa.array(values, field.type)


def _parts(records: Sequence[LogRecord]) -> list[int]:
    """Which row of its record each one is, from 0."""
    return list(chain.from_iterable(range(len(list(group))) for _, group in groupby(records, key=id)))


def _worst(scores: list[SlotScore | None]) -> pa.Array:
    return pa.array([None if score is None else msgspec.structs.asdict(score) for score in scores], SCORE)


def _days(records: Sequence[LogRecord], bodies: Sequence[Body]) -> pa.Array:
    """The UTC days that rows are filed under: of when it was measured; health, which measures nothing, of when it was said."""
    times = (getattr(body, "start_ns", record.at.wall_ns) for record, body in zip(records, bodies, strict=True))
    return pa.array((np.fromiter(times, np.int64, len(bodies)) // _DAY_NS).astype(np.int32), pa.date32())


def _float_lists(packed: list[bytes]) -> pa.Array:
    """Little-endian float32 bytes as lists of float32."""
    offsets = list(accumulate((len(data) // 4 for data in packed), initial=0))
    values = np.frombuffer(b"".join(packed), dtype="<f4")
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.float32()))


def _score_lists(scores: list[list[SlotScore]]) -> pa.Array:
    offsets = list(accumulate(map(len, scores), initial=0))
    flat = list(chain.from_iterable(scores))
    columns = [pa.array(map(attrgetter(field.name), flat), field.type, size=len(flat)) for field in SCORE]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.StructArray.from_arrays(columns, fields=list(SCORE)))


_LISTS: Final[dict[str, Callable[[list[Any]], pa.Array]]] = {
    "features": _float_lists,
    "values": _float_lists,
    "scores": _score_lists,
    "mean": _float_lists,
    "low": _float_lists,
    "high": _float_lists,
    "worst": _worst,
}
