"""What the lake of the pages' examples holds: a few windows, with an alarm, a sensor fault and a gap; evidence; health."""

from __future__ import annotations

from typing import Final

from hub.ingest.log import LogRecord
from hub.lake.lake import DeltaLake
from hub.lake.rows import rows_of
from hub.lake.tables import TABLES
from models.contract.items import KIND_OF, Body
from models.contract.items import encode_body as encoded
from tests.hub.simulated_device import NOW_NS, aggregate, evidence, health, stamp


def _changed(body: Body, **values: object) -> Body:
    return type(body)(**{name: getattr(body, name) for name in body.__struct_fields__} | values)


def _record(body: Body, position: int) -> LogRecord:
    lane = "evidence" if KIND_OF[type(body)] == "evidence" else "aggregates"
    kind = KIND_OF[type(body)]
    return LogRecord(position, "gw-01", "e1", lane, position, position, kind, stamp(), encoded(body), NOW_NS)


_BODIES: Final[list[Body]] = [
    *(aggregate(n) for n in (1, 2, 5)), _changed(aggregate(6), alarm=True), _changed(aggregate(7), faulty=["flow"]),
    evidence(), health(),
]  # fmt: skip


def fill(lake: DeltaLake) -> None:
    """Append all of it."""
    records = [_record(body, position) for position, body in enumerate(_BODIES, start=1)]
    for table in TABLES:
        lake.append(table, rows_of(table, records), "log", len(records))
