"""An asset's sensor faults over a stretch of time, open and closed: what plots mark as bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, or_, select

from hub.state.schema import sensor_faults
from hub.web.time_range import TimeRange

MAX_BANDS: Final = 200


@dataclass(frozen=True, slots=True)
class FaultBand:
    """`channel` "" = a whole source. `closed_ns` None = still open."""

    channel: str
    fault: str
    opened_ns: int
    closed_ns: int | None


def read_bands(connection: Connection, device_id: str, asset: str, within: TimeRange) -> tuple[FaultBand, ...]:
    """The newest MAX_BANDS faults of the asset, and of its device's sources, that touch the range; oldest first."""
    table = sensor_faults.c
    touches = (table.opened_ns <= within.to_ns) & or_(table.closed_ns.is_(None), table.closed_ns >= within.from_ns)
    mine = (table.device_id == device_id) & table.asset.in_((asset, ""))
    chosen = select(table.channel, table.fault, table.opened_ns, table.closed_ns).where(mine & touches)
    rows = connection.execute(chosen.order_by(table.opened_ns.desc()).limit(MAX_BANDS)).all()
    return tuple(FaultBand(*row) for row in reversed(rows))
