"""Which devices hold a bundle, by what they said last."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from hub.state.schema import device_slots


def devices_holding(connection: Connection, bundle_id: str) -> int:
    """How many devices have it in a slot, by their last word."""
    query = select(func.count(device_slots.c.device_id.distinct())).where(device_slots.c.bundle_id == bundle_id)
    return int(connection.execute(query).scalar_one())
