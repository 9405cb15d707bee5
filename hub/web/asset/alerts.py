"""The alerts of one asset, with what people said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from hub.state.schema import alert_feedback, alerts
from hub.web.alert_rows import Share

MAX_ALERTS: Final = 50


@dataclass(frozen=True, slots=True)
class Said:
    """The latest word on an alert. `label`: confirm, false-alarm, maintenance."""

    label: str
    actor: str
    at_ns: int
    note: str


@dataclass(frozen=True, slots=True)
class AssetAlert:
    """`opened_ns`, `closed_ns`: corrected; None = still open. `said_opened_ns`: by the device's own clock, by which windows and
    evidence are placed. `time_quality`: see `hub.clocks.placing`. `profile`: of the asset when it opened."""

    alert_id: str
    asset: str
    profile: str
    detector: str
    severity: str
    opened_ns: int
    closed_ns: int | None
    said_opened_ns: int
    p_value: float
    top: tuple[Share, ...]
    time_quality: str
    said: Said | None
    detail: str = ""

    @property
    def top_channel(self) -> str:
        return self.top[0].channel if self.top else ""


def read_asset_alerts(connection: Connection, device_id: str, asset: str, limit: int = MAX_ALERTS) -> tuple[AssetAlert, ...]:
    """Open and closed, newest first."""
    wanted = (alerts.c.device_id == device_id) & (alerts.c.asset == asset)
    rows = connection.execute(select(alerts).where(wanted).order_by(alerts.c.opened_ns.desc()).limit(limit)).all()
    said = _said(connection, device_id, [row.alert_id for row in rows])
    return tuple(_alert(row, said) for row in rows)


def read_alert(connection: Connection, device_id: str, asset: str, alert_id: str) -> AssetAlert | None:
    """One alert; None where the asset has none of that name."""
    wanted = (alerts.c.device_id == device_id) & (alerts.c.alert_id == alert_id) & (alerts.c.asset == asset)
    row = connection.execute(select(alerts).where(wanted)).one_or_none()
    return None if row is None else _alert(row, _said(connection, device_id, [alert_id]))


def _said(connection: Connection, device_id: str, alert_ids: list[str]) -> dict[str, Said]:
    """The latest word on each of a device's alerts."""
    table = alert_feedback.c
    mine = (table.device_id == device_id) & table.alert_id.in_(alert_ids)
    newest = select(table.alert_id, func.max(table.at_ns).label("at_ns")).where(mine).group_by(table.alert_id).subquery()
    latest = (table.alert_id == newest.c.alert_id) & (table.at_ns == newest.c.at_ns) & mine
    rows = connection.execute(select(alert_feedback).join(newest, latest))
    return {row.alert_id: Said(row.label, row.actor, row.at_ns, row.note) for row in rows}


def _alert(row: Row[Any], said: Mapping[str, Said]) -> AssetAlert:
    copied = {name: getattr(row, name) for name in AssetAlert.__dataclass_fields__ if name in row._mapping}
    said_opened_ns = row.opened_ns if row.said_opened_ns is None else row.said_opened_ns
    top = tuple(Share(str(channel), min(1.0, max(0.0, float(share)))) for channel, share in row.top or ())
    return AssetAlert(**{**copied, "said_opened_ns": said_opened_ns, "top": top, "said": said.get(row.alert_id)})
