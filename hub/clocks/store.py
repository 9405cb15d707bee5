"""What the hub keeps of its devices' clocks, as values for `placing`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import pyarrow as pa
from sqlalchemy import Connection, select

from hub.clocks.placing import Boot, Mark, Span, Spans, spans_of
from hub.state.schema import boots, clock_marks


def load_spans(connection: Connection, device_ids: Collection[str] | None = None) -> dict[str, Spans]:
    """The spans of each of these devices, of all of them where none are named."""
    marks = _marks(connection, device_ids)
    found: defaultdict[str, list[Boot]] = defaultdict(list)
    query = select(boots).order_by(boots.c.device_id, boots.c.number)
    for row in connection.execute(query if device_ids is None else query.where(boots.c.device_id.in_(device_ids))):
        of_boot = tuple(marks.get((row.device_id, row.boot_id), ()))
        found[row.device_id].append(Boot(row.boot_id, of_boot, row.last_mono_ns, row.high_offset_ns))
    return {device_id: spans_of(of_device) for device_id, of_device in found.items()}


def spans_table(spans: Mapping[str, Spans]) -> pa.Table:
    """All spans as one table for SQL: `device_id`, and the fields of a `Span`."""
    columns: dict[str, list[object]] = {name: [] for name in ("device_id", *Span.__dataclass_fields__)}
    for device_id, of_device in spans.items():
        for span in (span for of_boot in of_device.values() for span in of_boot):
            columns["device_id"].append(device_id)
            for name in Span.__dataclass_fields__:
                columns[name].append(getattr(span, name))
    types = {name: pa.string() if name in ("device_id", "boot_id", "quality") else pa.int64() for name in columns}
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})


def _marks(connection: Connection, device_ids: Collection[str] | None) -> dict[tuple[str, str], list[Mark]]:
    query = select(clock_marks).order_by(clock_marks.c.device_id, clock_marks.c.boot_id, clock_marks.c.mono_ns)
    marks: defaultdict[tuple[str, str], list[Mark]] = defaultdict(list)
    for row in connection.execute(query if device_ids is None else query.where(clock_marks.c.device_id.in_(device_ids))):
        mark = Mark(row.mono_ns, row.after_ns - row.mono_ns, row.source, row.error_ns)
        marks[row.device_id, row.boot_id].append(mark)
    return marks
