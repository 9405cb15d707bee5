"""Devices' clocks: what they told of them, and what the hub saw; and with each news, times that are known better.

Of a device the newest MAX_BOOTS boots and MAX_MARKS marks are kept: one that boots over and over, or tells of its clock all the
time, would have ever more of them read again with each, while everybody else waits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, Table, delete, func, select, tuple_

from hub.clocks.store import load_spans
from hub.ingest.log import LogRecord
from hub.projector.opened import placed
from hub.projector.rows import RowDict, bodies, load_rows
from hub.state.schema import alerts, boots, clock_marks, sensor_faults
from hub.state.upsert import upsert
from models.contract.clock import NS_PER_S
from models.contract.items import ClockMark

_MINUTE_NS: Final = 60 * NS_PER_S
MAX_BOOTS: Final = 2000  # five years of a device that boots every day
MAX_MARKS: Final = 4000
_MAX_KNOWN: Final = 100_000
_UNSURE: Final = ("unknown", "bounded")
Boot = tuple[str, str]  # device_id, boot_id
Seen = tuple[int, int]  # last_mono_ns, high_offset_ns


class Clocks:
    """Goes before the projections that place times. Writes a boot's row at its beginning, and then once a minute at most: the
    bounds that it keeps are for boots that nothing better is ever known of."""

    def __init__(self) -> None:
        self._known: dict[Boot, Seen] = {}  # as read from the table, so that nothing is in here that is not committed

    def apply(self, connection: Connection, records: Sequence[LogRecord]) -> None:
        fresh = self._note_boots(connection, records)
        told = [_mark_row(record, body) for record, body in bodies(records, ClockMark)]
        upsert(connection, clock_marks, list({(r["device_id"], r["boot_id"], r["mono_ns"]): r for r in told}.values()))
        _forget_marks(connection, {row["device_id"] for row in told})
        devices = {device_id for device_id, _ in fresh} | {row["device_id"] for row in told}
        if devices:
            place_again(connection, devices, {row["boot_id"] for row in told})

    def _note_boots(self, connection: Connection, records: Sequence[LogRecord]) -> list[Boot]:
        """Keep what the records show of their boots; the boots that are new."""
        seen = _seen(records)
        self._read(connection, seen.keys() - self._known.keys())
        news = [boot for boot, of_boot in seen.items() if _is_news(of_boot, self._known.get(boot))]
        if not news:
            return []
        rows = load_rows(connection, boots, news)  # what was erased since is not there, whatever is remembered
        fresh = [boot for boot in news if boot not in rows]
        numbers = _next_numbers(connection, {device_id for device_id, _ in fresh})
        for device_id, boot_id in fresh:
            rows[device_id, boot_id] = {"device_id": device_id, "boot_id": boot_id, "number": numbers[device_id]}
            numbers[device_id] += 1
        for boot, row in rows.items():
            last_ns, high_ns = seen[boot]
            row["last_mono_ns"] = max(last_ns, row.get("last_mono_ns", 0))
            row["high_offset_ns"] = min(high_ns, row.get("high_offset_ns", high_ns))
            self._known.pop(boot, None)
        upsert(connection, boots, list(rows.values()))
        _forget_boots(connection, numbers)
        return fresh

    def _read(self, connection: Connection, wanted: Collection[Boot]) -> None:
        if not wanted:
            return
        if len(self._known) > _MAX_KNOWN:
            self._known.clear()
        for row in load_rows(connection, boots, wanted).values():
            self._known[row["device_id"], row["boot_id"]] = row["last_mono_ns"], row["high_offset_ns"]


def place_again(connection: Connection, device_ids: Collection[str], boot_ids: Collection[str]) -> None:
    """Correct what these devices opened and closed in these boots, and whatever of theirs was not sure yet."""
    spans = load_spans(connection, device_ids)
    for table in (alerts, sensor_faults):
        unsure = table.c.time_quality.in_(_UNSURE)
        touched = table.c.opened_boot_id.in_(boot_ids) | table.c.closed_boot_id.in_(boot_ids) | unsure
        found = connection.execute(select(table).where(table.c.device_id.in_(device_ids), touched)).mappings().all()
        _write_changed(connection, table, [(dict(row), placed(dict(row), spans[row["device_id"]])) for row in found])


def _write_changed(connection: Connection, table: Table, rows: list[tuple[RowDict, RowDict]]) -> None:
    upsert(connection, table, [after for before, after in rows if after != before])


def _seen(records: Sequence[LogRecord]) -> dict[Boot, Seen]:
    seen: dict[Boot, Seen] = {}
    for record in records:
        boot, mono_ns = (record.device_id, record.at.boot_id), record.at.mono_ns
        last_ns, high_ns = seen.get(boot, (0, 2**62))
        seen[boot] = max(last_ns, mono_ns), min(high_ns, record.received_ns - mono_ns)
    return seen


def _is_news(seen: Seen, known: Seen | None) -> bool:
    return known is None or seen[0] - known[0] >= _MINUTE_NS or known[1] - seen[1] >= NS_PER_S


def _next_numbers(connection: Connection, device_ids: Collection[str]) -> dict[str, int]:
    numbers = dict.fromkeys(device_ids, 1)
    if device_ids:
        query = select(boots.c.device_id, func.max(boots.c.number) + 1).where(boots.c.device_id.in_(device_ids))
        numbers |= dict(connection.execute(query.group_by(boots.c.device_id)).tuples().all())
    return numbers


def _forget_boots(connection: Connection, next_numbers: Mapping[str, int]) -> None:
    """Boots of these devices beyond the newest MAX_BOOTS, and what was told in them."""
    for device_id, number in next_numbers.items():
        if number <= MAX_BOOTS + 1:
            continue
        old = select(boots.c.boot_id).where(boots.c.device_id == device_id, boots.c.number < number - MAX_BOOTS)
        connection.execute(delete(clock_marks).where(clock_marks.c.device_id == device_id, clock_marks.c.boot_id.in_(old)))
        connection.execute(delete(boots).where(boots.c.device_id == device_id, boots.c.number < number - MAX_BOOTS))


def _forget_marks(connection: Connection, device_ids: Collection[str]) -> None:
    """Marks of these devices beyond the newest MAX_MARKS."""
    marks = clock_marks.c
    for device_id in device_ids:
        n_marks = connection.execute(select(func.count()).where(marks.device_id == device_id)).scalar_one()
        if n_marks > MAX_MARKS:
            oldest = select(marks.boot_id, marks.mono_ns).where(marks.device_id == device_id)
            gone = oldest.order_by(marks.received_ns, marks.mono_ns).limit(n_marks - MAX_MARKS)
            mine = (marks.device_id == device_id) & tuple_(marks.boot_id, marks.mono_ns).in_(gone)
            connection.execute(delete(clock_marks).where(mine))


def _mark_row(record: LogRecord, body: ClockMark) -> RowDict:
    return {
        "device_id": record.device_id,
        "boot_id": record.at.boot_id,
        "mono_ns": body.mono_ns,
        "reason": body.reason,
        "before_ns": body.before_ns,
        "after_ns": body.after_ns,
        "source": body.source,
        "error_ns": body.error_ns,
        "received_ns": record.received_ns,
    }
