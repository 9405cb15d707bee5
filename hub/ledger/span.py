"""What the hub has of a device over a span of time: received, late, merged, evicted and why, missing.

Times are those that the device said. The account by sequence numbers (`ledger.py`) is exact and knows no times; here it is laid
beside the times of what was received. A gap lies between the times of the items before and after it; where the lake has
neither, or an eviction tells no times, it may be of any span, and is told in each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pyarrow.compute as pc
import pyarrow.dataset as ds
from pydantic import BaseModel
from sqlalchemy import Connection, select

from hub.lake.lake import Lake
from hub.lake.tables import TableName
from hub.ledger.ledger import load_device
from hub.state.schema import device_days, losses
from models.contract.clock import NS_PER_S

LATE_AFTER_S: Final = 3600
MAX_GAPS_TOLD: Final = 200
_TIMED: Final[dict[str, tuple[TableName, ...]]] = {"aggregates": ("aggregates", "rollups"), "evidence": ("evidence",)}


class Loss(BaseModel):
    """What the device no longer has as it was: `kind` eviction or rollup, in place of first_seq..seq. Times 0 = not told."""

    epoch: str
    lane: str
    first_seq: int
    seq: int
    kind: str
    reason: str
    n_items: int
    start_ns: int
    end_ns: int


class Gap(BaseModel):
    """Sequence numbers that never came. `after_ns`, `before_ns`: of the items next to them; null = not known."""

    epoch: str
    lane: str
    first_seq: int
    last_seq: int
    after_ns: int | None
    before_ns: int | None


class Day(BaseModel):
    """Windows by the UTC day of their start."""

    day: str
    received: int
    late: int
    merged: int


class SpanLedger(BaseModel):
    """`received`, `late`, `merged`: windows. `late`: received more than an hour after their end. `late_readings`: readings that
    came to the device after their window had closed. `evicted`, `missing`: items. `losses`, `gaps`: the newest 200 of each."""

    device_id: str
    since_ns: int
    until_ns: int
    received: int
    late: int
    late_readings: int
    merged: int
    evicted: int
    missing: int
    days: list[Day]
    losses: list[Loss]
    gaps: list[Gap]


def span_ledger(connection: Connection, lake: Lake, device_id: str, since_ns: int, until_ns: int) -> SpanLedger:
    """The account of one device from `since_ns` up to `until_ns`."""
    received, late, late_readings = _received(lake, device_id, since_ns, until_ns)
    merged = _merged(lake, device_id, since_ns, until_ns)
    told = _losses(connection, device_id, since_ns, until_ns)
    gaps = [gap for gap in _gaps(connection, lake, device_id) if _touches(gap.after_ns, gap.before_ns, since_ns, until_ns)]
    days = sorted({*received, *merged})
    return SpanLedger(
        device_id=device_id,
        since_ns=since_ns,
        until_ns=until_ns,
        received=received.total(),
        late=late.total(),
        late_readings=late_readings,
        merged=merged.total(),
        evicted=sum(loss.n_items for loss in told if loss.kind == "eviction"),
        missing=sum(gap.last_seq - gap.first_seq + 1 for gap in gaps),
        days=[Day(day=day, received=received[day], late=late[day], merged=merged[day]) for day in days],
        losses=told[:MAX_GAPS_TOLD],
        gaps=gaps[:MAX_GAPS_TOLD],
    )


def _received(lake: Lake, device_id: str, since_ns: int, until_ns: int) -> tuple[Counter[str], Counter[str], int]:
    """Windows by day, those of them that came late, and readings that were late for their window."""
    columns = ["day", "end_ns", "received_ns", "n_late"]
    table = lake.dataset("aggregates").to_table(columns=columns, filter=_within(device_id, since_ns, until_ns))
    is_late = pc.greater(pc.subtract(table["received_ns"], table["end_ns"]), LATE_AFTER_S * NS_PER_S)
    late = table.filter(is_late)
    return _by_day(table["day"]), _by_day(late["day"]), pc.sum(table["n_late"]).as_py() or 0


def _merged(lake: Lake, device_id: str, since_ns: int, until_ns: int) -> Counter[str]:
    within = _within(device_id, since_ns, until_ns)
    table = lake.dataset("rollups").to_table(columns=["day", "n_windows"], filter=within)
    found: Counter[str] = Counter()
    for row in table.to_pylist():
        found[str(row["day"])] += row["n_windows"]
    return found


def _within(device_id: str, since_ns: int, until_ns: int) -> ds.Expression:
    """Rows of the device that begin in the span; whole days elsewhere are not opened."""
    field, day = ds.field, timedelta(days=1)
    first, last = (datetime.fromtimestamp(at_ns // NS_PER_S, UTC).date() for at_ns in (since_ns, until_ns))
    of_days = (field("day") >= first - day) & (field("day") <= last + day)
    of_span = (field("start_ns") >= since_ns) & (field("start_ns") < until_ns)
    return of_days & (field("device_id") == device_id) & of_span


def _by_day(days: Any) -> Counter[str]:
    return Counter({str(row["values"]): row["counts"] for row in pc.value_counts(days).to_pylist()})


def _losses(connection: Connection, device_id: str, since_ns: int, until_ns: int) -> list[Loss]:
    """Newest first."""
    query = select(losses).where(losses.c.device_id == device_id).order_by(losses.c.received_ns.desc(), losses.c.seq.desc())
    found = [Loss(**row) for row in connection.execute(query).mappings()]
    return [loss for loss in found if _touches(loss.start_ns or None, loss.end_ns or None, since_ns, until_ns)]


def _gaps(connection: Connection, lake: Lake, device_id: str) -> Iterable[Gap]:
    """Every gap of every lane, the epoch that was active last first, its newest gap first."""
    for (_, epoch, lane), account in load_device(connection, device_id).items():
        missing = account.missing
        wanted = {seq for first, last in missing for seq in (first - 1, last + 1) if seq}
        days = _days_of(connection, device_id, epoch, wanted) if lane == "aggregates" else None
        times = _times(lake, device_id, epoch, lane, wanted, days)
        for first, last in reversed(missing):
            after = times.get(first - 1, (None, None))[1]
            before = times.get(last + 1, (None, None))[0]
            yield Gap(epoch=epoch, lane=lane, first_seq=first, last_seq=last, after_ns=after, before_ns=before)


def _days_of(connection: Connection, device_id: str, epoch: str, seqs: set[int]) -> list[date] | None:
    """The days on which the windows of these numbers can have begun, None = any: counts by day are not kept for ever."""
    mine = (device_days.c.device_id == device_id) & (device_days.c.epoch == epoch)
    spans = connection.execute(select(device_days.c.day, device_days.c.first_seq, device_days.c.last_seq).where(mine)).all()
    if not all(any(first <= seq <= last for _, first, last in spans) for seq in seqs):
        return None
    days = [day for day, first, last in spans if any(first <= seq <= last for seq in seqs)]
    return [date(1970, 1, 1) + timedelta(days=day) for day in days]


def _times(
    lake: Lake, device_id: str, epoch: str, lane: str, seqs: set[int], days: Sequence[date] | None
) -> dict[int, tuple[int | None, int | None]]:
    """Start and end of these items, where the lake has them on these days; other days' files are not opened."""
    found: dict[int, tuple[int | None, int | None]] = {}
    field = ds.field
    for table in _TIMED.get(lane, ()) if seqs else ():
        wanted = (field("device_id") == device_id) & (field("epoch") == epoch) & field("seq").isin(sorted(seqs))
        if days is not None:
            wanted &= field("day").isin(days)
        end = "end_ns" if table != "evidence" else "start_ns"
        for row in lake.dataset(table).to_table(columns=list({"seq", "start_ns", end}), filter=wanted).to_pylist():
            found[row["seq"]] = row["start_ns"], row[end]
    return found


def _touches(start_ns: int | None, end_ns: int | None, since_ns: int, until_ns: int) -> bool:
    """Whether something between these times, as far as they are known, may lie in the span."""
    return (start_ns is None or start_ns < until_ns) and (end_ns is None or end_ns > since_ns)
