"""The lake's tables and their columns.

Every row carries the identity of its item (device_id, epoch, lane, seq), which is unique in the lake, and its stamp. A rollup
is a row for each group of its windows, told apart by `part`.
Times ending in `_ns` are Unix ns. Features are one list of float32 a row, not columns: profiles have different widths,
a profile's width changes with its spec, and a list is what training reshapes into a matrix without a copy.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import pyarrow as pa

TableName = Literal["aggregates", "rollups", "evidence", "health"]
TABLES: Final[tuple[TableName, ...]] = get_args(TableName)
TABLE_OF: Final[dict[str, TableName]] = {
    "aggregate": "aggregates",
    "rollup": "rollups",
    "evidence": "evidence",
    "health": "health",
}
PARTITIONS: Final[dict[TableName, list[str]]] = {
    "aggregates": ["profile", "day"],
    "rollups": ["profile", "day"],
    "evidence": ["day"],
    "health": ["day"],
}

_IDENTITY = [("device_id", pa.string()), ("epoch", pa.string()), ("lane", pa.string()), ("seq", pa.int64())]
_STAMP = [
    ("wall_ns", pa.int64()),
    ("mono_ns", pa.int64()),
    ("boot_id", pa.string()),
    ("synced", pa.bool_()),
    ("received_ns", pa.int64()),
]
SCORE: Final = pa.struct([("detector", pa.string()), ("score", pa.float64()), ("p_value", pa.float64()), ("alarm", pa.bool_())])

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
            ("scores", pa.list_(SCORE)),  # the first is the detector that decided
            ("top", pa.list_(pa.string())),
            ("partial", pa.bool_()),  # cut short by a clock that jumped, or the machine did not run in it
            ("end_mono_ns", pa.int64()),  # end_ns by the device's monotonic clock; 0 = not told
            *_STAMP,
        ]
    ),
    "rollups": pa.schema(
        [
            *_IDENTITY,
            ("part", pa.int64()),  # from 0 within the item
            ("first_seq", pa.int64()),  # the item stands for first_seq..seq
            ("profile", pa.string()),
            ("day", pa.date32()),  # of start_ns, UTC
            ("asset", pa.string()),
            ("spec_hash", pa.string()),
            ("start_ns", pa.int64()),
            ("end_ns", pa.int64()),
            ("n_windows", pa.int64()),
            ("n_readings", pa.int64()),
            ("n_late", pa.int64()),
            ("mean", pa.list_(pa.float32())),  # each window weighed by its readings
            ("low", pa.list_(pa.float32())),
            ("high", pa.list_(pa.float32())),
            ("faulty", pa.list_(pa.string())),
            ("commissioning", pa.bool_()),
            ("alarm", pa.bool_()),
            ("worst", SCORE),  # of the detector that decided, the smallest p-value
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
            ("sample", pa.bool_()),  # a whole window of normal running, not around an alert
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
