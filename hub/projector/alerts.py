"""Alerts and sensor faults as they stand: opened once, closed once, whatever the order in which that is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from hub.clocks.store import load_spans
from hub.ingest.log import LogRecord
from hub.projector.opened import placed, said, standing
from hub.projector.rows import Key, RowDict, bodies, load_rows
from hub.state.schema import alerts, sensor_faults
from hub.state.upsert import upsert
from models.contract.items import Alert, SensorFault

_SEVERITIES: Final = ("warning", "critical")  # in order


class Alerts:
    """Upserts alerts. A closed alert stays closed; severity, score and p-value are the worst that were told."""

    def apply(self, connection: Connection, records: Sequence[LogRecord]) -> None:
        told = [((record.device_id, body.alert_id), _alert_row(record, body)) for record, body in bodies(records, Alert)]
        if not told:
            return
        rows = load_rows(connection, alerts, {key for key, _ in told})
        for key, row in told:
            rows[key] = merge_alert(rows[key], row) if key in rows else row
        upsert(connection, alerts, _placed(connection, rows))


class SensorFaults:
    """Upserts sensor faults. A closed fault stays closed."""

    def apply(self, connection: Connection, records: Sequence[LogRecord]) -> None:
        told = [((record.device_id, body.fault_id), _fault_row(record, body)) for record, body in bodies(records, SensorFault)]
        if not told:
            return
        rows = load_rows(connection, sensor_faults, {key for key, _ in told})
        for key, row in told:
            rows[key] = standing(rows[key], row) if key in rows else row
        upsert(connection, sensor_faults, _placed(connection, rows))


def merge_alert(known: RowDict, told: RowDict) -> RowDict:
    """Two tellings of one alert, in the order in which they arrived, as one row."""
    return standing(known, told) | {
        "severity": max(known["severity"], told["severity"], key=_SEVERITIES.index),
        "p_value": min(known["p_value"], told["p_value"]),
        "score": max(known["score"], told["score"]),
        "received_ns": known["received_ns"],
    }


def _placed(connection: Connection, rows: Mapping[Key, RowDict]) -> list[RowDict]:
    spans = load_spans(connection, {row["device_id"] for row in rows.values()})
    return [placed(row, spans.get(row["device_id"], {})) for row in rows.values()]


def _alert_row(record: LogRecord, body: Alert) -> RowDict:
    return {
        "device_id": record.device_id,
        "alert_id": body.alert_id,
        "asset": body.asset,
        "profile": body.profile,
        "detector": body.detector,
        "severity": body.severity,
        **said(record, body),
        "p_value": body.p_value,
        "score": body.score,
        "top": [[channel, share] for channel, share in body.top],
        "detail": body.detail,
        "received_ns": record.received_ns,
    }


def _fault_row(record: LogRecord, body: SensorFault) -> RowDict:
    return {
        "device_id": record.device_id,
        "fault_id": body.fault_id,
        "source": body.source,
        "asset": body.asset,
        "channel": body.channel,
        "fault": body.fault,
        "detail": body.detail,
        **said(record, body),
    }
