"""What a device last said of its assets' normal and of itself; what is older than what is known changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select, update

from hub.ingest.log import LogRecord
from hub.projector.rows import Key, RowDict, bodies, load_rows
from hub.state.schema import commissionings, devices
from hub.state.upsert import upsert
from models.contract.items import Commissioning, Health


class Commissionings:
    """Upserts what was learned per asset and feature spec: the one that ended last stands."""

    def apply(self, connection: Connection, records: Sequence[LogRecord]) -> None:
        told = [_commissioning_row(record, body) for record, body in bodies(records, Commissioning)]
        if not told:
            return
        rows = load_rows(connection, commissionings, {_key(row) for row in told})
        for row in told:
            known = rows.get(_key(row))
            if known is None or known["end_ns"] <= row["end_ns"]:
                rows[_key(row)] = row
        upsert(connection, commissionings, list(rows.values()))


class HealthReports:
    """Keeps each device's latest health in its row, with the item's place in the sequence and its wall time."""

    def apply(self, connection: Connection, records: Sequence[LogRecord]) -> None:
        latest: dict[str, RowDict] = {}
        for record, body in bodies(records, Health):
            report = _health_row(record, body)
            if is_newer(report, latest.get(record.device_id)):
                latest[record.device_id] = report
        if not latest:
            return
        known = select(devices.c.device_id, devices.c.health).where(devices.c.device_id.in_(latest))
        for device_id, health in connection.execute(known).all():
            if is_newer(latest[device_id], health):
                connection.execute(update(devices).where(devices.c.device_id == device_id).values(health=latest[device_id]))


def is_newer(told: RowDict, known: RowDict | None) -> bool:
    """Whether `told` comes after `known`: by sequence within an epoch; another epoch is a newer one."""
    return known is None or told["epoch"] != known["epoch"] or told["seq"] > known["seq"]


def _key(row: RowDict) -> Key:
    return row["device_id"], row["asset"], row["spec_hash"]


def _commissioning_row(record: LogRecord, body: Commissioning) -> RowDict:
    return {
        "device_id": record.device_id,
        "asset": body.asset,
        "spec_hash": body.spec_hash,
        "profile": body.profile,
        "n_windows": body.n_windows,
        "start_ns": body.start_ns,
        "end_ns": body.end_ns,
        "location": body.location,
        "scale": body.scale,
    }


def _health_row(record: LogRecord, body: Health) -> RowDict:
    place = {"epoch": record.epoch, "seq": record.seq, "at_ns": record.at.wall_ns}
    return place | msgspec.structs.asdict(body)
