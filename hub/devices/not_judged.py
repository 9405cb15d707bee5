"""Which assets their devices do not judge at present, although they say `normal`: inferred from check-ins.

A device whose profile says by what a machine runs (`[running]`) judges no window at rest or after a start, and has no p-value
then. Its check-in has no word for that, only `normal` without a p-value. So this is the hub's inference, and it is careful:

1. Only of a profile whose windows some detector has judged before: one that is watched reading by reading never has a p-value.
2. Only where the check-in before, of the same start of the agent, still had a p-value, or where there is none for an hour: the
   first window after a start or a commissioning may take a while to close.
3. A silence, an alarm and a commissioning stay what they are.

What is at rest, starting, or not judged for another reason, check-ins do not tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, exists, select

from hub.state.schema import assets, profile_days
from models.contract.clock import NS_PER_S

NOT_JUDGED: Final = "not_judged"
_SAID: Final = "normal"  # what the device says meanwhile
_LONG_S: Final = 3600.0
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Heard:
    """Beside what a check-in says of assets: `at_ns`, `uptime_s`, by its device; and the reports of the `earlier` one, if that
    was of the same start of the agent."""

    at_ns: int
    uptime_s: float
    earlier: Sequence[Row]


def mark_not_judged(connection: Connection, rows: Sequence[Row], heard: Mapping[str, Heard], now_ns: int) -> list[Row]:
    """`rows` for the table `assets`, each a report with its `device_id`; those that are not judged say so, and since when by
    the hub's clock. `heard`: by device.

    Costs nothing where all are judged: statements are made only for those without a p-value.
    """
    unsure = [row for row in rows if _is_unsure(row)]
    if not unsure:
        return list(rows)
    since = _since(connection, {row["device_id"] for row in unsure})
    judged = {profile for profile in {row["profile"] for row in unsure} if _is_judged(connection, profile)}

    def told(row: Row) -> Row:
        since_ns = since.get((row["device_id"], row["asset"]))
        if not _is_unsure(row) or row["profile"] not in judged:
            return row
        if since_ns is None and not _has_stopped(row, heard[row["device_id"]]):
            return row
        return row | {"state": NOT_JUDGED, "since_ns": now_ns if since_ns is None else since_ns}

    return [told(row) for row in rows]


def _is_unsure(row: Row) -> bool:
    return row["state"] == _SAID and row["p_value"] is None


def _has_stopped(row: Row, heard: Heard) -> bool:
    """Whether it was judged in this start of the agent, or has had its time to be."""
    if any(report["asset"] == row["asset"] and report["p_value"] is not None for report in heard.earlier):
        return True
    normal_s = heard.uptime_s if row["since_ns"] is None else (heard.at_ns - row["since_ns"]) / NS_PER_S
    return min(heard.uptime_s, normal_s) >= _LONG_S


def _since(connection: Connection, device_ids: set[str]) -> dict[tuple[str, str], int]:
    """Since when those are not judged that were not at the check-in before; over a restart of the agent, too."""
    chosen = select(assets.c.device_id, assets.c.asset, assets.c.since_ns)
    rows = connection.execute(chosen.where(assets.c.device_id.in_(device_ids), assets.c.state == NOT_JUDGED))
    return {(device_id, asset): since_ns for device_id, asset, since_ns in rows}


def _is_judged(connection: Connection, profile: str) -> bool:
    """Whether a detector has ever decided a window of the profile."""
    found = (profile_days.c.profile == profile) & (profile_days.c.detector > "")
    return bool(connection.execute(select(exists().where(found))).scalar())
