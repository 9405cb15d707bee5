"""The lake's tables: their columns, and how ingested items become rows.

Every row carries the identity of its item (device_id, epoch, lane, seq), which is unique in the lake, and its stamp.
Times ending in `_ns` are Unix ns. Features are one list of float32 a row, not columns: profiles have different widths,
a profile's width changes with its spec, and a list is what training reshapes into a matrix without a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, get_args

import msgspec
import pyarrow as pa

from hub.ingest.log import LogRecord
from models.contract.items import Aggregate, Body, Evidence, Health, decode_body, unpack_floats

TableName = Literal["aggregates", "evidence", "health"]
TABLES: Final[tuple[TableName, ...]] = get_args(TableName)
TABLE_OF: Final[dict[str, TableName]] = {"aggregate": "aggregates", "evidence": "evidence", "health": "health"}
PARTITIONS: Final[dict[TableName, list[str]]] = {"aggregates": ["profile", "day"], "evidence": ["day"], "health": ["day"]}

_IDENTITY = [("device_id", pa.string()), ("epoch", pa.string()), ("lane", pa.string()), ("seq", pa.int64())]
_STAMP = [
    ("wall_ns", pa.int64()),
    ("mono_ns", pa.int64()),
    ("boot_id", pa.string()),
    ("synced", pa.bool_()),
    ("received_ns", pa.int64()),
]
_SCORE = pa.struct([("detector", pa.string()), ("score", pa.float64()), ("p_value", pa.float64()), ("alarm", pa.bool_())])

SCHEMAS: Final[dict[TableName, pa.Schema]] = {
    "aggregates": pa.schema(
        [
            *_IDENTITY,
            ("profile", pa.string()),
            ("day", pa.date32()),  # of start_ns, UTC
            ("asset", pa.string()),
            ("spec_hash", pa.string()),
            ("start_ns", pa.int64()),
            ("end_ns", pa.int64()),
            ("features", pa.list_(pa.float32())),  # as computed, before local normalization; NaN where a channel was missing
            ("n_readings", pa.int64()),
            ("n_late", pa.int64()),
            ("faulty", pa.list_(pa.string())),
            ("commissioning", pa.bool_()),
            ("alarm", pa.bool_()),
            ("scores", pa.list_(_SCORE)),  # the first is the detector that decided
            ("top", pa.list_(pa.string())),
            *_STAMP,
        ]
    ),
    "evidence": pa.schema(
        [
            *_IDENTITY,
            ("day", pa.date32()),
            ("alert_id", pa.string()),
            ("asset", pa.string()),
            ("start_ns", pa.int64()),
            ("rate_hz", pa.float64()),
            ("channels", pa.list_(pa.string())),
            ("values", pa.list_(pa.float32())),  # row-major (n, len(channels))
            *_STAMP,
        ]
    ),
    "health": pa.schema(
        [
            *_IDENTITY,
            ("day", pa.date32()),  # of the stamp's wall clock
            ("uptime_s", pa.float64()),
            *[
                (name, pa.int64())
                for name in (
                    "rss_bytes",
                    "peak_rss_bytes",
                    "backlog_items",
                    "backlog_bytes",
                    "readings",
                    "windows",
                    "raw_bytes",
                    "sent_bytes",
                    "frame_errors",
                )
            ],
            *_STAMP,
        ]
    ),
}


def rows_of(table: TableName, records: Sequence[LogRecord]) -> pa.Table:
    """The records that belong to `table`, as rows in the order given; the others are left out."""
    rows = [_row(record) for record in records if TABLE_OF.get(record.kind) == table]
    return pa.Table.from_pylist(rows, schema=SCHEMAS[table])


def day_of(unix_ns: int) -> date:
    """The UTC day of a Unix time in ns."""
    return datetime.fromtimestamp(unix_ns // 1_000_000_000, UTC).date()


def _row(record: LogRecord) -> dict[str, Any]:
    at = record.at
    row = {
        "device_id": record.device_id,
        "epoch": record.epoch,
        "lane": record.lane,
        "seq": record.seq,
        "wall_ns": at.wall_ns,
        "mono_ns": at.mono_ns,
        "boot_id": at.boot_id,
        "synced": at.synced,
        "received_ns": record.received_ns,
    }
    return row | _columns(decode_body(record.kind, record.body), at.wall_ns)


def _columns(body: Body, wall_ns: int) -> dict[str, Any]:
    columns = {name: getattr(body, name) for name in body.__struct_fields__}
    match body:
        case Aggregate():
            scores = [msgspec.structs.asdict(score) for score in body.scores]
            columns |= {"features": unpack_floats(body.features), "scores": scores, "day": day_of(body.start_ns)}
        case Evidence():
            columns |= {"values": unpack_floats(body.values), "day": day_of(body.start_ns)}
        case Health():
            columns |= {"day": day_of(wall_ns)}
    return columns
