"""What devices no longer have as it was: evicted or merged, why, and from which time."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from hub.ingest.log import LogRecord
from hub.projector.rows import RowDict, bodies
from hub.state.schema import losses
from hub.state.upsert import upsert
from models.contract.items import Eviction, Rollup


class Losses:
    """A row for each eviction and each rollup, under the identity of its item."""

    def apply(self, connection: Connection, records: Sequence[LogRecord]) -> None:
        rows = [
            _row(record, body.reason, body.n_items, body.start_ns, body.end_ns) for record, body in bodies(records, Eviction)
        ]
        for record, rollup in bodies(records, Rollup):
            start_ns = min(group.start_ns for group in rollup.groups)
            end_ns = max(group.end_ns for group in rollup.groups)
            rows.append(_row(record, rollup.reason, rollup.n_windows, start_ns, end_ns))
        upsert(connection, losses, rows)


def _row(record: LogRecord, reason: str, n_items: int, start_ns: int, end_ns: int) -> RowDict:
    return {
        **{name: getattr(record, name) for name in ("device_id", "epoch", "lane", "seq", "first_seq", "kind", "received_ns")},
        "reason": reason,
        "n_items": n_items,
        "start_ns": start_ns,
        "end_ns": end_ns,
    }
