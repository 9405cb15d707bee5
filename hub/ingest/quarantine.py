"""How long what could not be used is kept: long enough for a person to look into it, and for a hub to be updated."""

from __future__ import annotations

from sqlalchemy import Connection, delete

from hub.audit.log import record
from hub.state.schema import quarantine
from models.contract.clock import NS_PER_S


def prune_quarantine(connection: Connection, keep_days: int, now_ns: int) -> int:
    """Take out what came more than `keep_days` days ago, and say so in the audit log; how many items. 0 days: none."""
    if not keep_days:
        return 0
    before_ns = now_ns - keep_days * 86_400 * NS_PER_S
    n_items = connection.execute(delete(quarantine).where(quarantine.c.received_ns < before_ns)).rowcount
    if n_items:
        details: dict[str, str | int] = {"items": n_items, "keep_days": keep_days}
        record(connection, at_ns=now_ns, actor="hub", action="quarantine.retention", subject="quarantine", details=details)
    return n_items
