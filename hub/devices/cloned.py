"""Writing down that a device was cloned, from whichever side it was noticed."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from hub.audit.log import record
from hub.devices.clones import Cloned, observe_items
from hub.state.schema import devices


def name_cloned(connection: Connection, device_id: str, epoch: str, boots: tuple[str, str], now_ns: int) -> None:
    """Two boots have sent different items under one number of an epoch."""
    mine = devices.c.device_id == device_id
    row = connection.execute(select(devices.c.writers).where(mine)).first()
    if row is None:
        return  # forgotten a moment ago
    writers, cloned = observe_items(row.writers, epoch, boots, now_ns)
    connection.execute(update(devices).where(mine).values(writers=writers))
    if cloned is not None:
        record_cloned(connection, device_id, cloned)


def record_cloned(connection: Connection, device_id: str, cloned: Cloned) -> None:
    """Into the audit log, once for each finding."""
    told = {"epoch": cloned.epoch, "boots": cloned.boots}
    record(connection, at_ns=cloned.since_ns, actor="hub", action="device.cloned", subject=device_id, details=told)
