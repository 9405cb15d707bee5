"""What people do about alerts: acknowledge them, and write down what they found.

1. The first acknowledgement stands: who saw it first is what counts, and saying so again changes nothing.
2. Notes are appended, in order, and never changed.
3. Each is in the audit log, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, func, insert, select, tuple_

from hub.audit.log import record
from hub.state.schema import alert_acknowledgements, alert_feedback, alert_notes, alerts
from models.errors import TocsinError

MAX_NOTE: Final = 2000
MAX_NOTES: Final = 100  # of one alert
MAX_AT_ONCE: Final = 2000
AlertKey = tuple[str, str]  # device_id, alert_id


class HandlingError(TocsinError):
    """An alert that is not there, or a note that is none."""


def acknowledge(connection: Connection, keys: Sequence[AlertKey], *, actor: str, now_ns: int) -> int:
    """Say that somebody is on these alerts; how many nobody was on before. Raises HandlingError: one of them is not there."""
    keys = list(dict.fromkeys(keys))[:MAX_AT_ONCE]
    for device_id, alert_id in sorted(set(keys) - _there(connection, alerts, keys)):
        raise _unknown(device_id, alert_id)
    known = _there(connection, alert_acknowledgements, keys)
    fresh = [key for key in keys if key not in known]
    for device_id, alert_id in fresh:
        row = {"device_id": device_id, "alert_id": alert_id, "at_ns": now_ns, "actor": actor}
        connection.execute(insert(alert_acknowledgements).values(row))
        record(connection, at_ns=now_ns, actor=actor, action="alert.acknowledge", subject=f"{device_id}/{alert_id}")
    return len(fresh)


def add_note(connection: Connection, device_id: str, alert_id: str, note: str, *, actor: str, now_ns: int) -> None:
    """Append a note. Raises HandlingError: no such alert; an empty note, one beyond MAX_NOTE characters, or one too many."""
    note = note.strip()
    if not 0 < len(note) <= MAX_NOTE:
        raise HandlingError(f"a note of {len(note)} characters; 1 to {MAX_NOTE} are taken")
    if not _there(connection, alerts, [(device_id, alert_id)]):
        raise _unknown(device_id, alert_id)
    said = alert_notes.c
    here = (said.device_id == device_id) & (said.alert_id == alert_id)
    n_notes, last_ns = connection.execute(select(func.count(), func.max(said.at_ns)).where(here)).one()
    if n_notes >= MAX_NOTES:
        raise HandlingError(f"{device_id}/{alert_id} has {n_notes} notes; no more are taken")
    at_ns = max(now_ns, (last_ns or 0) + 1)  # a clock that was set back must not change the order
    row = {"device_id": device_id, "alert_id": alert_id, "at_ns": at_ns, "actor": actor, "note": note}
    connection.execute(insert(alert_notes).values(row))
    details = {"note": note}
    record(connection, at_ns=now_ns, actor=actor, action="alert.note", subject=f"{device_id}/{alert_id}", details=details)


def alert_detail(connection: Connection, device_id: str, alert_id: str) -> dict[str, Any] | None:
    """An alert with all that people did about it; None where there is none."""
    query = select(alerts).where(alerts.c.device_id == device_id, alerts.c.alert_id == alert_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    acknowledged = handled(connection, alert_acknowledgements, [(device_id, alert_id)])
    return {
        **row,
        "acknowledged": acknowledged[0] if acknowledged else None,
        "feedback": handled(connection, alert_feedback, [(device_id, alert_id)])[-MAX_NOTES:],
        "notes": handled(connection, alert_notes, [(device_id, alert_id)]),
    }


def handled(connection: Connection, table: Table, keys: Collection[AlertKey]) -> list[dict[str, Any]]:
    """The rows of one of the three tables about these alerts, in the order in which they were said."""
    if not keys:
        return []
    chosen = select(table).where(tuple_(table.c.device_id, table.c.alert_id).in_(list(keys))).order_by(table.c.at_ns)
    return [dict(row) for row in connection.execute(chosen).mappings()]


def _there(connection: Connection, table: Table, keys: Sequence[AlertKey]) -> set[AlertKey]:
    chosen = select(table.c.device_id, table.c.alert_id).where(tuple_(table.c.device_id, table.c.alert_id).in_(keys))
    return {(row.device_id, row.alert_id) for row in connection.execute(chosen)}


def _unknown(device_id: str, alert_id: str) -> HandlingError:
    return HandlingError(f"no alert {alert_id!r} of {device_id!r}; `tocsin hub alerts --json` lists them")
