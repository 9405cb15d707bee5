"""What came, counted by day as it is written to the lake: reading the lake for that would mean reading all of it.

    device_days     by device, epoch and day: windows, those merged, late and faulty ones, and between which numbers they lie
    profile_days    by profile, detector that decided and day: time watched, and how often it found something unlikely
    received_days   by kind and the day of receipt: items and bytes

Invariants:
1. Counts change in the transaction that notes the reader's position: each record counts once, whatever is killed when.
2. Whatever devices say, counts fit 64 bits: a window that is longer than a day tells of a clock, and counts as one.
3. Days are UTC, counted from 1970-01-01. A window is of the day that it began, by its device's clock, as in the lake.
4. `device_days` goes after KEEP_DEVICE_DAYS, with a device's erasure even before; sums over many devices stay.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, delete

from hub.ingest.log import LogRecord
from hub.state.schema import device_days, profile_days, received_days
from hub.state.upsert import merge

KEEP_DEVICE_DAYS: Final = 92
UNLIKELY_P: Final = 0.05  # as the drift trigger has it (hub/training/watch.py)
_MAX_INT: Final = 2**63 - 1
_LATE_NS: Final = 3600 * 1_000_000_000
DAY_NS: Final = 86_400 * 1_000_000_000
_MERGED: Final = [
    *("device_id", "epoch", "lane", "seq", "asset", "profile"),
    *("n_windows", "n_readings", "commissioning", "alarm", "faulty", "start_ns", "end_ns"),
]
_EXTREMES: Final = {"first_seq": "min", "last_seq": "max"}
Row = dict[str, Any]


@dataclass(slots=True)
class Counts:
    """Rows to be added to what is there."""

    devices: list[Row] = field(default_factory=list)
    profiles: list[Row] = field(default_factory=list)
    received: list[Row] = field(default_factory=list)


def count_days(aggregates: pa.Table, rollups: pa.Table, records: Sequence[LogRecord]) -> Counts:
    """`aggregates`, `rollups`: rows of the lake that were made of `records`."""
    return Counts(_of_devices(aggregates, rollups), _of_profiles(aggregates, rollups), _received(records))


def add_counts(connection: Connection, counts: Counts) -> None:
    merge(connection, device_days, counts.devices, _EXTREMES)
    merge(connection, profile_days, counts.profiles, {})
    merge(connection, received_days, counts.received, {})


def prune_days(connection: Connection, now_ns: int) -> int:
    """How many rows went."""
    before = now_ns // DAY_NS - KEEP_DEVICE_DAYS
    return connection.execute(delete(device_days).where(device_days.c.day < before)).rowcount


def _received(records: Sequence[LogRecord]) -> list[Row]:
    counts: defaultdict[tuple[int, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for (received_ns, kind), group in groupby(records, attrgetter("received_ns", "kind")):  # many come in one commit
        sizes = [len(record.body) for record in group]
        n_items, n_bytes = counts[received_ns // DAY_NS, kind]
        counts[received_ns // DAY_NS, kind] = n_items + len(sizes), n_bytes + sum(sizes)
    return [{"day": day, "kind": kind, "n_items": n, "n_bytes": n_bytes} for (day, kind), (n, n_bytes) in counts.items()]


def _of_devices(aggregates: pa.Table, rollups: pa.Table) -> list[Row]:
    n, m = aggregates.num_rows, rollups.num_rows
    if not n + m:
        return []
    late = pc.greater(pc.subtract(aggregates["received_ns"], aggregates["end_ns"]), _LATE_NS)
    columns = {
        "device_id": [aggregates["device_id"], rollups["device_id"]],
        "epoch": [aggregates["epoch"], rollups["epoch"]],
        "day": [_days(aggregates), _days(rollups)],
        "n_windows": [_ones(n), _zeros(m)],
        "n_merged": [_zeros(n), rollups["n_windows"]],
        "n_faulty": [_faulty(aggregates), _zeros(m)],
        "n_late": [late.cast(pa.int64()), _zeros(m)],
        "first_seq": [aggregates["seq"], rollups["first_seq"]],
        "last_seq": [aggregates["seq"], rollups["seq"]],
    }
    table = pa.table({name: _joined(parts) for name, parts in columns.items()})
    sums = [(name, _EXTREMES.get(name, "sum")) for name in list(columns)[3:]]
    return _grouped(table, ["device_id", "epoch", "day"], sums)


def _of_profiles(aggregates: pa.Table, rollups: pa.Table) -> list[Row]:
    rows = [*_judged(aggregates), *_merged(rollups)]
    sums: defaultdict[tuple[str, str, int], Counter[str]] = defaultdict(Counter)
    for row in rows:
        key = row.pop("profile"), row.pop("detector"), row.pop("day")
        sums[key].update(row)
    names = ("n_windows", "n_learning", "n_faulty", "n_alarm", "n_clean", "n_unlikely", "watched_ns", "n_readings")
    return [
        {"profile": profile, "detector": detector[:64], "day": day, **{name: min(total[name], _MAX_INT) for name in names}}
        for (profile, detector, day), total in sums.items()
    ]


def _judged(aggregates: pa.Table) -> list[Row]:
    """`n_clean`: windows whose p-value says something of drift: no alarm, no sensor fault, not while learning."""
    if not aggregates.num_rows:
        return []
    detector, p = first_scores(aggregates)
    learning, alarm = (np.asarray(aggregates[name].to_numpy(), np.bool_) for name in ("commissioning", "alarm"))
    faulty = np.asarray(_faulty(aggregates)).astype(np.bool_)
    partial = np.asarray(pc.fill_null(aggregates["partial"], False).to_numpy(), np.bool_)
    clean = ~(learning | alarm | faulty | partial | np.isnan(p))
    length = np.asarray(pc.subtract(aggregates["end_ns"], aggregates["start_ns"]).to_numpy(), np.int64)
    watched = np.where(learning | (detector == ""), 0, np.clip(length, 0, DAY_NS))
    table = pa.table(
        {
            "profile": aggregates["profile"].combine_chunks(),
            "detector": pa.array(detector.tolist(), pa.string()),
            "day": _days(aggregates),
            "n_windows": _ones(aggregates.num_rows),
            "n_learning": learning.astype(np.int64),
            "n_faulty": faulty.astype(np.int64),
            "n_alarm": (alarm & ~learning).astype(np.int64),
            "n_clean": clean.astype(np.int64),
            "n_unlikely": (clean & (np.nan_to_num(p, nan=1.0) <= UNLIKELY_P)).astype(np.int64),
            "watched_ns": watched,
            "n_readings": aggregates["n_readings"].combine_chunks(),
        }
    )
    return _grouped(table, ["profile", "detector", "day"], [(name, "sum") for name in table.column_names[3:]])


def _merged(rollups: pa.Table) -> list[Row]:
    """Windows that a device merged: how unlikely each was is not known any more."""
    worst = rollups["worst"].to_pylist()
    days = _days(rollups).to_pylist()
    rows = rollups.select(_MERGED).to_pylist()
    hulls = _hulls(rows)
    found = []
    for row, score, day in zip(rows, worst, days, strict=True):
        n, watching = row["n_windows"], score is not None and not row["commissioning"]
        found.append(
            {
                "profile": row["profile"],
                "detector": score["detector"] if score else "",
                "day": day,
                "n_windows": n,
                "n_learning": n if row["commissioning"] else 0,
                "n_faulty": n if row["faulty"] else 0,
                "n_alarm": n if row["alarm"] and not row["commissioning"] else 0,
                "watched_ns": min(_merged_ns(row, hulls), n * DAY_NS) if watching else 0,
                "n_readings": row["n_readings"],
            }
        )
    return found


def _merged_ns(row: Row, hulls: Mapping[tuple[Any, ...], list[int]]) -> int:
    """How long the group's windows took: its span, but no more than its share of the windows of its asset in the same rollup.
    A machine that runs, rests and runs again has windows at rest in a group of their own, in the midst of that span."""
    n_all, start_ns, end_ns = hulls[_asset_of(row)]
    share_ns = (end_ns - start_ns) * int(row["n_windows"]) // max(1, n_all)
    return max(0, min(int(row["end_ns"] - row["start_ns"]), share_ns))


def _hulls(rows: Sequence[Row]) -> dict[tuple[Any, ...], list[int]]:
    """By rollup and asset: how many windows, from when, to when."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        hull = found.setdefault(_asset_of(row), [0, row["start_ns"], row["end_ns"]])
        hull[:] = hull[0] + row["n_windows"], min(hull[1], row["start_ns"]), max(hull[2], row["end_ns"])
    return found


def _asset_of(row: Row) -> tuple[Any, ...]:
    return row["device_id"], row["epoch"], row["lane"], row["seq"], row["asset"]


def first_scores(aggregates: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(n,) the detector that decided, "" where none did, and its p-value, NaN where there is none."""
    scores = aggregates["scores"].combine_chunks()
    lengths = np.nan_to_num(np.asarray(scores.value_lengths().to_numpy(zero_copy_only=False), np.float64)).astype(np.int64)
    has = lengths > 0
    at = (np.cumsum(lengths) - lengths)[has]
    flat = scores.flatten()
    detector = np.full(len(lengths), "", dtype=object)
    detector[has] = flat.field("detector").take(pa.array(at)).to_pylist()
    p = np.full(len(lengths), np.nan)
    p[has] = np.asarray(flat.field("p_value").take(pa.array(at)).to_numpy(zero_copy_only=False), np.float64)
    return detector, p


def _grouped(table: pa.Table, keys: list[str], sums: list[tuple[str, str]]) -> list[Row]:
    found = table.group_by(keys).aggregate(sums)
    renamed = {f"{name}_{how}": name for name, how in sums}
    rows: list[Row] = found.rename_columns([renamed.get(name, name) for name in found.column_names]).to_pylist()
    return rows


def _days(table: pa.Table) -> pa.Array:
    return _joined([table["day"].cast(pa.int32())]).cast(pa.int64())


def _faulty(aggregates: pa.Table) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(aggregates["faulty"]), 0)
    return _joined([pc.greater(lengths, 0).cast(pa.int64())])


def _ones(n: int) -> pa.Array:
    return pa.array(np.ones(n, np.int64))


def _zeros(n: int) -> pa.Array:
    return pa.array(np.zeros(n, np.int64))


def _joined(parts: Sequence[pa.Array | pa.ChunkedArray]) -> pa.Array:
    chunks = [part.combine_chunks() if isinstance(part, pa.ChunkedArray) else part for part in parts]
    return pa.concat_arrays(chunks)
