"""Which assets their devices do not judge at present, although they say `normal`: inferred from check-ins.

A device whose profile says by what a machine runs (`[running]`) judges no window at rest or after a start, and has no p-value
then. Its check-in has no word for that, only `normal` without a p-value. So this is the hub's inference, and it is careful:

1. Only of a profile whose windows some detector has judged before: one that is watched reading by reading never has a p-value.
2. Only once the check-in before, of the same start of the agent, said `normal` too. The first one after a start, and the
   first after commissioning or an alarm, may come before the next window closes.
3. A silence, an alarm and a commissioning stay what they are.

What is at rest, starting, or not judged for another reason, check-ins do not tell apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, exists, select

from hub.state.schema import assets, profile_days

NOT_JUDGED: Final = "not_judged"
_SAID: Final = "normal"  # what the device says meanwhile
Row = dict[str, Any]


def mark_not_judged(connection: Connection, rows: Sequence[Row], earlier: Mapping[str, Row | None], now_ns: int) -> list[Row]:
    """`rows` for the table `assets`, each a report with its `device_id`; those that are not judged say so, and since when by
    the hub's clock. `earlier`: by device, its check-in before if that was of the same start of its agent, else None.

    Costs nothing where all are judged: statements are made only for those without a p-value.
    """
    unsure = [row for row in rows if row["state"] == _SAID and row["p_value"] is None]
    if not unsure:
        return list(rows)
    since = _since(connection, {row["device_id"] for row in unsure})
    judged = {profile for profile in {row["profile"] for row in unsure} if _is_judged(connection, profile)}

    def told(row: Row) -> Row:
        if row["state"] != _SAID or row["p_value"] is not None or row["profile"] not in judged:
            return row
        known_ns = since.get((row["device_id"], row["asset"]))
        before = earlier.get(row["device_id"])
        if known_ns is None and not (before and _said_normal(before["assets"], row["asset"])):
            return row
        return row | {"state": NOT_JUDGED, "since_ns": now_ns if known_ns is None else known_ns}

    return [told(row) for row in rows]


def _said_normal(reports: Iterable[Row], asset: str) -> bool:
    return any(report["asset"] == asset and report["state"] == _SAID for report in reports)


def _since(connection: Connection, device_ids: set[str]) -> dict[tuple[str, str], int]:
    """Since when those are not judged that were not at the check-in before; over a restart of the agent, too."""
    chosen = select(assets.c.device_id, assets.c.asset, assets.c.since_ns)
    rows = connection.execute(chosen.where(assets.c.device_id.in_(device_ids), assets.c.state == NOT_JUDGED))
    return {(device_id, asset): since_ns for device_id, asset, since_ns in rows}


def _is_judged(connection: Connection, profile: str) -> bool:
    """Whether a detector has ever decided a window of the profile."""
    found = (profile_days.c.profile == profile) & (profile_days.c.detector > "")
    return bool(connection.execute(select(exists().where(found))).scalar())
