"""What the pages show of alerts and sensor faults. Invariants 1 to 3 of `queries.py` hold here too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, case, func, select, tuple_
from sqlalchemy.sql.elements import ColumnElement

from hub.state.schema import alerts, devices, sensor_faults

MAX_ALERTS: Final = 50


@dataclass(frozen=True, slots=True)
class Share:
    """A channel's part of a score; `share` in 0..1."""

    channel: str
    share: float


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One alert as it stands; `closed_ns` None while open. `time_quality`: see `hub.clocks.placing`."""

    device_id: str
    asset: str
    site: str
    severity: str
    detector: str
    opened_ns: int
    closed_ns: int | None
    p_value: float
    top: tuple[Share, ...]
    time_quality: str


@dataclass(frozen=True, slots=True)
class Alerts:
    """Open alerts, critical ones first, and how many there are in all; `latest_closed` for when there are none."""

    shown: tuple[AlertRow, ...]
    n_open: int
    latest_closed: AlertRow | None


@dataclass(frozen=True, slots=True)
class FaultRow:
    """One open sensor fault; `channel` "" = the whole source."""

    device_id: str
    source: str
    asset: str
    channel: str
    fault: str
    detail: str
    opened_ns: int
    time_quality: str


@dataclass(frozen=True, slots=True)
class Faults:
    shown: tuple[FaultRow, ...]
    n_open: int


def read_alerts(connection: Connection, limit: int = MAX_ALERTS) -> Alerts:
    is_open = alerts.c.closed_ns.is_(None)
    rank = case((alerts.c.severity == "critical", 0), else_=1)
    chosen = _alert_select().where(is_open).order_by(rank, alerts.c.opened_ns.desc(), alerts.c.alert_id).limit(limit)
    shown = tuple(_alert(row) for row in connection.execute(chosen))
    n_open = len(shown)
    if n_open == limit:
        n_open = connection.execute(select(func.count()).where(is_open)).scalar_one()
    latest = None if shown else _latest_closed(connection)
    return Alerts(shown, n_open, latest)


def read_faults(connection: Connection, device_id: str = "", asset: str = "", limit: int = MAX_ALERTS) -> Faults:
    """Open sensor faults, newest first; of one asset (and of its device's sources) where that is given."""
    of_asset = [sensor_faults.c.device_id == device_id, sensor_faults.c.asset.in_((asset, ""))]
    return _open_faults(connection, of_asset if device_id else [], limit)


def read_device_faults(connection: Connection, device_id: str, limit: int = MAX_ALERTS) -> Faults:
    """Open sensor faults of one device and all of its assets, newest first."""
    return _open_faults(connection, [sensor_faults.c.device_id == device_id], limit)


def _open_faults(connection: Connection, of: Sequence[ColumnElement[bool]], limit: int) -> Faults:
    wanted = [sensor_faults.c.closed_ns.is_(None), *of]
    columns = (sensor_faults.c[name] for name in FaultRow.__dataclass_fields__)
    rows = connection.execute(select(*columns).where(*wanted).order_by(sensor_faults.c.opened_ns.desc()).limit(limit)).all()
    n_open = len(rows)
    if n_open == limit:
        n_open = connection.execute(select(func.count()).select_from(sensor_faults).where(*wanted)).scalar_one()
    return Faults(tuple(FaultRow(*row) for row in rows), n_open)


def top_channels(connection: Connection, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Share]:
    """The first channel of the newest open alert of each of these (device, asset)."""
    if not wanted:
        return {}
    chosen = select(alerts.c.device_id, alerts.c.asset, alerts.c.top).where(
        alerts.c.closed_ns.is_(None), tuple_(alerts.c.device_id, alerts.c.asset).in_(wanted)
    )
    rows = connection.execute(chosen.order_by(alerts.c.opened_ns))
    return {(device_id, asset): shares[0] for device_id, asset, top in rows if (shares := shares_of(top))}


def _alert_select() -> Any:
    columns = [alerts.c[name] for name in AlertRow.__dataclass_fields__ if name != "site"]
    joined = alerts.outerjoin(devices, devices.c.device_id == alerts.c.device_id)
    return select(*columns, func.coalesce(devices.c.site, "").label("site")).select_from(joined)


def _alert(row: Row[Any]) -> AlertRow:
    return AlertRow(**{**row._mapping, "top": shares_of(row.top)})


def _latest_closed(connection: Connection) -> AlertRow | None:
    chosen = _alert_select().where(alerts.c.closed_ns.is_not(None)).order_by(alerts.c.opened_ns.desc()).limit(1)
    row = connection.execute(chosen).one_or_none()
    return None if row is None else _alert(row)


def shares_of(top: Any) -> tuple[Share, ...]:
    """The stored [[channel, share], …]; shares are kept within 0..1 so that a bar stays in its frame."""
    return tuple(Share(str(channel), min(1.0, max(0.0, float(share)))) for channel, share in top or ())
